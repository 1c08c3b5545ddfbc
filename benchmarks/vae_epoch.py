"""One training epoch of a VAE: `fit` beside the classical loop, and beside the bare step.

    python benchmarks/vae_epoch.py --json --data-root FOLDER_WITH_MNIST

All three train the same VAE (784-400-20, grey pixels, batch 128, Adam 1e-3) from the same weights
on MNIST's 60,000 training images. The classical loop does the work of pytorch/examples
`vae/main.py`, written anew: `DataLoader`, `ToTensor` on a PIL image, default Adam, the summed
loss, `.item()` at each step. The bare step is the course's model, loss and optimiser on one
constant batch, without any data or bookkeeping. Each has a process of its own, so that no setting
of one reaches another; their epochs alternate, and the median epoch of each is compared. Run it
on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from vaetl_helpers.data import ImageSet, load
from vaetl_helpers.machines.steps import Pictures
from vaetl_helpers.training import fit
from vaetl_helpers.vae import VAE, mlp_vae, vae_loss

BATCH = 128


def sixty_thousand(root: str | None) -> ImageSet:
    """All of MNIST's training images: the training and validation splits joined."""
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result
        splits = load("mnist", full=True, root=root)
    parts = splits.train, splits.validation
    data = ImageSet(
        torch.cat([p.images for p in parts]),
        torch.cat([p.labels for p in parts]),
        splits.train.classes,
    )
    if len(data) != 60_000:
        raise SystemExit(
            "This benchmark needs the full MNIST: give --data-root, or set VAETL_DATA."
        )
    return data


class Fit:
    """The course: images resident as uint8, fused Adam, `fit`."""

    def __init__(self, data: ImageSet, seed: int) -> None:
        torch.set_flush_denormal(True)  # as `setup` does
        torch.manual_seed(seed)
        self.data, self.seed, self.model = data, seed, mlp_vae()
        self.adam = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)
        self.loss_fn = vae_loss(binarisation=None)
        fit(
            mlp_vae(), data.subset(slice(0, 10 * BATCH)), self.loss_fn, epochs=1, quiet=True
        )  # imports, first steps

    def epoch(self, number: int) -> float:
        """A call of `fit` for one epoch, which goes on with the same optimiser; the mean loss."""
        history = fit(
            self.model,
            self.data,
            self.loss_fn,
            epochs=1,
            batch_size=BATCH,
            optimizer=self.adam,
            seed=self.seed + number,
            quiet=True,
        )
        return history["loss"][-1]


class Bare(Fit):
    """The same model, loss and optimiser, on one batch over and over: computing alone."""

    def epoch(self, number: int) -> float:
        """As many steps as an epoch has."""
        images = self.data.images[:BATCH] / 255
        for _ in range(-(-len(self.data) // BATCH)):
            loss, _ = self.loss_fn(self.model, images)
            loss.backward()
            self.adam.step()
            self.adam.zero_grad()
        return loss.item()


class ClassicalVAE(nn.Module):
    """The classical VAE, with a sigmoid at the end; it takes the weights of the course's model."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)
        own = (self.fc1, self.fc21, self.fc22, self.fc3, self.fc4)
        given = (
            model.encoder.body[1],
            model.encoder.mu,
            model.encoder.log_var,
            model.decoder[0],
            model.decoder[2],
        )
        for layer, source in zip(own, given, strict=True):
            layer.load_state_dict(source.state_dict())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.relu(self.fc1(x.view(-1, 784)))
        mu, log_var = self.fc21(hidden), self.fc22(hidden)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, log_var


class Classical:
    """The classical loop."""

    def __init__(self, data: ImageSet, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = ClassicalVAE(mlp_vae())
        self.loader = DataLoader(Pictures(data), batch_size=BATCH, shuffle=True, num_workers=0)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def epoch(self, number: int) -> float:
        """One epoch; returns the mean loss in nats per image."""
        self.model.train()
        total = 0.0
        for x, _ in self.loader:
            self.optimizer.zero_grad()
            y, mu, log_var = self.model(x)
            bce = F.binary_cross_entropy(y, x.view(-1, 784), reduction="sum")
            loss = bce - 0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
            loss.backward()
            total += loss.item()
            self.optimizer.step()
        return total / len(self.loader.dataset)


KINDS = {"fit": Fit, "bare": Bare, "classical": Classical}
runner: Fit | Classical  # this process's own


def start(kind: str, root: str | None, threads: int, seed: int) -> None:
    """Prepares a process for its kind."""
    global runner
    torch.set_num_threads(threads)
    runner = KINDS[kind](sixty_thousand(root), seed)


def epoch(number: int) -> tuple[float, float]:
    """Seconds and loss of one epoch."""
    began = time.perf_counter()
    loss = runner.epoch(number)
    return time.perf_counter() - began, loss


def measure(
    root: str | None, epochs: int, threads: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds and losses of each epoch of each kind; the kinds take turns."""
    pools = {
        kind: ProcessPoolExecutor(1, get_context("spawn"), start, (kind, root, threads, seed))
        for kind in KINDS
    }
    results = {kind: [] for kind in KINDS}
    for pool in pools.values():
        pool.submit(abs, 0).result()  # ready before the first epoch is timed
    for number in range(epochs):
        for kind, pool in pools.items():
            results[kind].append(pool.submit(epoch, number).result())
    for pool in pools.values():
        pool.shutdown()
    return {
        kind: dict(zip(("seconds", "losses"), map(list, zip(*rows, strict=True)), strict=True))
        for kind, rows in results.items()
    }


def main() -> None:
    """Prints the result, as one JSON object with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", help="a folder that holds MNIST/raw (default: VAETL_DATA)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    results = measure(options.data_root, options.epochs, options.threads, options.seed)
    middle = {kind: statistics.median(rows["seconds"]) for kind, rows in results.items()}
    compared = min(3, options.epochs) - 1
    ours, theirs = (results[kind]["losses"][compared] for kind in ("fit", "classical"))
    result = {
        "speedup_vs_pytorch_example": middle["classical"] / middle["fit"],
        "fraction_of_bare_step": middle["bare"] / middle["fit"],
        "speedup_if_data_and_bookkeeping_were_free": middle["classical"] / middle["bare"],
        "loss": ours,
        "loss_pytorch_example": theirs,
        "loss_difference": ours / theirs - 1,
        "loss_unit": f"nats per image, mean over training epoch {compared + 1}, grey pixels",
        "epochs": results,
        "images": 60_000,
        "batch_size": BATCH,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load_before": load_before,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"fit is {result['speedup_vs_pytorch_example']:.2f} times as fast as the classical loop "
        f"and runs at {result['fraction_of_bare_step']:.3f} of the bare step's speed."
    )
    print(f"Loss {ours:.2f} against {theirs:.2f} nats per image.")


if __name__ == "__main__":
    main()
