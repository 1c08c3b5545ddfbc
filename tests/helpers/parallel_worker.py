"""What `torchrun` starts in test_parallel.py: the same training in one process or in several.

python -m torch.distributed.run --standalone --nproc-per-node 2 tests/parallel_worker.py JOB OUT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vaetl_helpers import vae
from vaetl_helpers.data import ImageSet
from vaetl_helpers.training import fit

FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()
SHAPE = (1, 6, 5)


def images(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    return ImageSet(pictures, torch.randint(0, 3, (count,), generator=generator), ("a", "b", "c"))


def classify(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    logits = model(x.to(next(model.parameters()).dtype))
    return F.cross_entropy(logits, labels), {
        "accuracy": (logits.argmax(1) == labels).double().mean()
    }


def mlp(norm: bool = False) -> nn.Module:
    torch.manual_seed(1)
    middle = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Flatten(), nn.Linear(30, 16), *middle, nn.Tanh(), nn.Linear(16, 3))


def trained(
    model: nn.Module, loss_fn=classify, count=320, epochs=10, batch_size=32, **more
) -> dict[str, Tensor]:
    """100 steps unless told otherwise; the weights, and the history as a tensor."""
    sgd = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    data = images(count)
    history = fit(
        model,
        data,
        loss_fn,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=sgd,
        quiet=True,
        **more,
    )
    result = dict(model.state_dict())
    columns = [name for name in history.rows[0] if name != "seconds"] if history.rows else []
    return result | {
        f"history.{name}": torch.tensor(history[name], dtype=torch.float64) for name in columns
    }


def small_vae() -> nn.Module:
    torch.manual_seed(1)
    return vae.mlp_vae(latent=4, widths=(16,), shape=SHAPE, activation="Tanh").double()


def vae_loss(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    loss, monitored = vae.vae_loss(warm_up_images=2000)(model, x.double(), labels)
    return loss / 30, monitored


JOBS = {
    "float64": lambda: trained(mlp().double()),
    "float32": lambda: trained(mlp()),
    "vae": lambda: trained(small_vae(), vae_loss),
    "vae in pieces": lambda: trained(small_vae(), vae_loss, micro_batch=5),
    "uneven": lambda: trained(
        mlp().double(), count=99, batch_size=32, epochs=4
    ),  # last, one image and two
    "one left over": lambda: trained(
        mlp().double(), count=97, batch_size=32, epochs=4
    ),  # last, none and one
    "validation": lambda: trained(mlp().double(), epochs=2, validation=images(50)),
    "norm": lambda: trained(mlp(norm=True).double(), epochs=3),
}


def everything() -> dict[str, Tensor]:
    """The results of all jobs, in one flat dictionary."""
    results = {name: job() for name, job in JOBS.items()}
    return {
        f"{name}/{key}": value.clone()
        for name, result in results.items()
        for key, value in result.items()
    }


def all_jobs() -> None:
    save_file(everything(), FOLDER / f"rank{os.environ['RANK']}.safetensors")


def with_checkpoint() -> None:
    """Prints a line an epoch; may be killed at any time."""
    torch.manual_seed(1)
    history = fit(
        small_vae(),
        images(320),
        vae_loss,
        epochs=int(os.environ["EPOCHS"]),
        batch_size=32,
        checkpoint=FOLDER / "run.safetensors",
    )
    print(f"finished with {len(history)}", flush=True)


def out_of_time() -> None:
    """One process is late: the first one's clock decides for all."""
    seconds = 0.5 if os.environ["RANK"] == "0" else 60.0
    history = fit(
        mlp(), images(320), classify, epochs=100_000, batch_size=32, max_seconds=seconds, quiet=True
    )
    print(f"rank {os.environ['RANK']} stopped: {bool(history.stopped)}", flush=True)


def out_of_memory() -> None:
    def fail(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    fit(mlp(), images(320), fail, epochs=1, batch_size=32)


if __name__ == "__main__":
    # torchrun runs Python with -u, and then a line and its end are two writes: the other
    # process's may come between.
    sys.stdout.reconfigure(write_through=False, line_buffering=True)
    torch.set_num_threads(1)
    world = Accelerator(cpu=True).num_processes
    assert world == int(os.environ["WORLD_SIZE"]) == 2, (
        "these would be two processes that know nothing of each other"
    )
    {"all": all_jobs, "checkpoint": with_checkpoint, "time": out_of_time, "memory": out_of_memory}[
        sys.argv[1]
    ]()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
