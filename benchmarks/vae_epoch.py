"""One training epoch of a VAE: the course's `fit` beside the classical loop, and beside the bare step.

    python benchmarks/vae_epoch.py --json --data-root FOLDER_WITH_MNIST

All three train the same VAE (784-400-20, grey pixels, batch 128, Adam 1e-3) from the same weights on MNIST's 60,000
training images. The classical loop does the work of pytorch/examples `vae/main.py`, written anew: `DataLoader`,
`ToTensor` on a PIL image, default Adam, the summed loss, `.item()` at each step. The bare step is the course's model,
loss and optimiser on one constant batch, without any data or bookkeeping. Epochs of the three alternate, and the
fastest epoch of each is compared: other programs on the machine can only slow an epoch down. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vaetl_helpers.data import ImageSet, load
from vaetl_helpers.training import fit
from vaetl_helpers.vae import VAE, mlp_vae, vae_loss

BATCH = 128


def sixty_thousand(root: str | None) -> ImageSet:
    """All of MNIST's training images: the training and validation splits joined."""
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result
        splits = load("mnist", full=True, root=root)
    parts = splits.train, splits.validation
    data = ImageSet(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]), splits.train.classes)
    if len(data) != 60_000:
        raise SystemExit("This benchmark needs the full MNIST: give --data-root, or set VAETL_DATA.")
    return data


class Pictures(Dataset):
    """As torchvision's MNIST: one PIL image at a time, through a transform."""

    def __init__(self, data: ImageSet) -> None:
        self.images, self.labels, self.transform = data.images[:, 0], data.labels, ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.images[index].numpy())
        return self.transform(picture), int(self.labels[index])


class Classical(nn.Module):
    """The classical VAE, with a sigmoid at the end; its layers take the weights of the course's model."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)
        own = (self.fc1, self.fc21, self.fc22, self.fc3, self.fc4)
        given = (model.encoder.body[1], model.encoder.mu, model.encoder.log_var, model.decoder[0], model.decoder[2])
        for layer, source in zip(own, given, strict=True):
            layer.load_state_dict(source.state_dict())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.relu(self.fc1(x.view(-1, 784)))
        mu, log_var = self.fc21(hidden), self.fc22(hidden)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, log_var


def classical_epoch(model: Classical, loader: DataLoader, optimizer: torch.optim.Optimizer) -> float:
    """One epoch of the classical loop; returns its mean loss in nats per image."""
    model.train()
    total = 0.0
    for x, _ in loader:
        optimizer.zero_grad()
        y, mu, log_var = model(x)
        bce = F.binary_cross_entropy(y, x.view(-1, 784), reduction="sum")
        loss = bce - 0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
        loss.backward()
        total += loss.item()
        optimizer.step()
    return total / len(loader.dataset)


def bare_epoch(model: VAE, images: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """As many steps as an epoch has, all on one batch: what computing alone costs."""
    loss_fn = vae_loss(binarisation=None)
    for _ in range(steps):
        loss_fn(model, images)[0].backward()
        optimizer.step()
        optimizer.zero_grad()


def bare_seconds(start: dict[str, Tensor], images: Tensor, steps: int) -> float:
    """Seconds of an epoch of bare steps, from the given weights, after a short warm-up."""
    model = mlp_vae()
    model.load_state_dict(start)
    adam = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    bare_epoch(model, images, adam, 20)
    began = time.perf_counter()
    bare_epoch(model, images, adam, steps)
    return time.perf_counter() - began


def measure(data: ImageSet, epochs: int, seed: int) -> dict[str, object]:
    """Runs `epochs` epochs of each in turn; `fit` resumes from its optimiser, as one run of so many epochs would."""
    torch.manual_seed(seed)
    model = mlp_vae()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    adam = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    classical = Classical(model)
    classical_adam = torch.optim.Adam(classical.parameters(), lr=1e-3)
    loader = DataLoader(Pictures(data), batch_size=BATCH, shuffle=True, num_workers=0)
    first, steps = data.images[:BATCH] / 255, -(-len(data) // BATCH)
    loss_fn, times, losses = vae_loss(binarisation=None), {"fit": [], "bare": [], "classical": []}, {}
    fit(mlp_vae(), data.subset(slice(0, 10 * BATCH)), loss_fn, epochs=1, quiet=True)  # imports, first steps
    for epoch in range(epochs):
        began = time.perf_counter()
        history = fit(model, data, loss_fn, epochs=1, batch_size=BATCH, optimizer=adam, seed=seed + epoch, quiet=True)
        times["fit"].append(time.perf_counter() - began)  # everything, also what comes before and after the steps
        times["bare"].append(bare_seconds(start, first, steps))
        began = time.perf_counter()
        losses["classical"] = classical_epoch(classical, loader, classical_adam)
        times["classical"].append(time.perf_counter() - began)
        losses["fit"] = history["loss"][-1]
    return {"seconds": times, "loss_in_last_epoch": losses}


def summary(times: dict[str, list[float]], losses: dict[str, float]) -> dict[str, object]:
    """Ratios of the fastest epochs, the losses and the conditions."""
    best = {name: min(values) for name, values in times.items()}
    return {
        "speedup_vs_pytorch_example": best["classical"] / best["fit"],
        "fraction_of_bare_step": best["bare"] / best["fit"],
        "loss": losses["fit"],
        "loss_pytorch_example": losses["classical"],
        "loss_difference": losses["fit"] / losses["classical"] - 1,
        "loss_unit": "nats per image, mean over the last epoch of training, grey pixels",
        "seconds": times,
        "images": 60_000,
        "batch_size": BATCH,
        "epochs": len(times["fit"]),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def main() -> None:
    """Prints the result, as one JSON object with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="a folder that holds MNIST/raw (default: VAETL_DATA)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load_before = os.getloadavg()[0]
    measured = measure(sixty_thousand(options.data_root), options.epochs, options.seed)
    result = summary(measured["seconds"], measured["loss_in_last_epoch"]) | {"load_before": load_before}
    if options.json:
        print(json.dumps(result))
        return
    print(f"fit is {result['speedup_vs_pytorch_example']:.2f} times as fast as the classical loop and runs at "
          f"{result['fraction_of_bare_step']:.3f} of the bare step's speed.")  # fmt: skip
    print(f"Loss {result['loss']:.2f} against {result['loss_pytorch_example']:.2f} nats per image.")


if __name__ == "__main__":
    main()
