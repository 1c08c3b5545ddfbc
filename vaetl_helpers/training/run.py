"""The state of a training run: device, precision, micro-batches, shards, out of memory, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaetl_helpers.data.images import ImageSet, shard
from vaetl_helpers.device import Part, best_device, best_precision, piece_of_batch
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import is_interactive
from vaetl_helpers.training.checkpoints import (
    read_checkpoint,
    save_checkpoint,
    set_state_tensors,
    state_tensors,
)
from vaetl_helpers.training.evaluation import (
    History,
    LossFunction,
    NonFiniteLoss,
    evaluate,
    history_line,
    loss_and_monitored,
)


class Run:
    """The state of one call of `fit`: everything that the loop itself should not have to show."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        train: ImageSet,
        batch_size: int,
        seed: int,
        checkpoint: Path | str | None,
        epochs: int,
        max_seconds: float | None,
        micro_batch: int | None,
        precision: str | None,
    ) -> None:
        self.deadline = time.monotonic() + (float("inf") if max_seconds is None else max_seconds)
        self.accelerator = _accelerator(precision)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        self.bare = model  # without the wrapper of data parallelism: what is saved and evaluated
        self.model, wrapped = self.accelerator.prepare(model, optimizer)
        # The wrapper costs 5 % of a small network's step; only a TPU and float16's scaler need it.
        self.optimizer = (
            wrapped if wrapped.scaler or self.accelerator.distributed_type == "XLA" else optimizer
        )
        self.train, self.batch_size, self.seed = train.to(self.accelerator.device), batch_size, seed
        self.epochs, self.steps = epochs, -(-len(train) // max(1, batch_size))
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.micro_batch = (
            batch_size if micro_batch is None else max(1, min(micro_batch, batch_size))
        )
        self.history = History()
        self.checkpoint = Path(checkpoint) if checkpoint else None
        held = sum(len(group["params"]) for group in optimizer.param_groups)
        self.facts = {"seed": seed, "batch_size": batch_size, "images": len(train)}
        self.facts["optimiser"] = f"{type(optimizer).__name__} of {held} tensors"
        if self.checkpoint and self.checkpoint.exists():
            self._resume()

    def say(self, text: str) -> None:
        """Prints once, however many processes there are."""
        if self.rank == 0:
            print(text)

    def expired(self, within_epoch: bool = False) -> bool:
        """Whether max_seconds are over. Several processes ask between epochs only, and the first one decides."""
        over = time.monotonic() >= self.deadline
        if self.world == 1 or within_epoch:
            return over and self.world == 1
        from accelerate.utils import broadcast

        return bool(
            broadcast(
                torch.tensor([over], dtype=torch.int32, device=self.accelerator.device)
            ).item()
        )

    @property
    def mixed(self) -> bool:
        return self.accelerator.mixed_precision != "no"

    @property
    def epoch(self) -> int:
        return len(self.history)

    def _resume(self) -> None:
        facts, named = read_checkpoint(self.checkpoint, self.bare)
        rows = facts.get("history", [])
        mine = self.facts | {"epochs": self.epochs}
        theirs = facts | {
            "epochs": max(self.epochs, len(rows))
        }  # to have done fewer is what resuming is for
        differ = [name for name in mine if theirs.get(name) != mine[name]]
        if differ:
            told = [
                ", ".join(f"{name} {run.get(name)}" for name in differ) for run in (theirs, mine)
            ]
            raise CourseError(
                f"{self.checkpoint} belongs to a run with {told[0]}, this one has {told[1]}: give the new run another "
                "checkpoint path, or remove the file to start again."
            )
        set_state_tensors(named, self.bare, self.optimizer)
        self.history.rows = rows
        self.say(f"Continuing after epoch {self.epoch} of {self.epochs}, from {self.checkpoint}.")

    def begin_epoch(self) -> None:
        """Notes the state to fall back on; seeds by (seed, epoch), so that a resumed run draws the same numbers."""
        self.fallback = {
            name: value.to("cpu", copy=True)
            for name, value in state_tensors(self.bare, self.optimizer).items()
        }
        self.records: list[Tensor] = []  # stays on the device until the epoch ends
        self.sizes: list[int] = []
        self.rates: list[float] = []
        torch.manual_seed(self.seed * 1_000_003 + self.epoch)
        self.model.train()
        self.started = time.monotonic()

    def progress(self, quiet: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of the epoch's batches, under a progress bar where a person watches."""
        batches = self.train.batches(self.batch_size, self.seed, self.epoch, self.rank, self.world)
        if quiet or self.rank or not is_interactive():
            return batches
        from tqdm.auto import tqdm

        return iter(tqdm(batches, f"epoch {self.epoch + 1}/{self.epochs}", self.steps, leave=False))

    def set_learning_rate(self, schedule: Callable[[float], float] | None) -> None:
        """Scales every group's learning rate by schedule(progress); progress is counted in steps."""
        done = (self.epoch * self.steps + len(self.sizes)) / (self.epochs * self.steps)
        factor = 1.0 if schedule is None else float(schedule(done))
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        self.rates.append(self.optimizer.param_groups[0]["lr"])

    def forward_backward(self, loss_fn: LossFunction, images: Tensor, labels: Tensor) -> None:
        """Adds the batch's gradients, in micro-batches weighted by their images, and records loss and monitors."""
        whole = min(
            self.batch_size, len(self.train) - len(self.sizes) * self.batch_size
        )  # of all processes
        start, stop = shard(whole, self.rank, self.world)
        ends = [*range(self.micro_batch, len(images), self.micro_batch), len(images)]
        alone = len(ends) == self.world == 1
        state = None if alone else _random_state(self.accelerator.device)
        records = []
        for first, end in zip([0, *ends], ends, strict=False):
            part = Part(start + first, start + end, whole, end == len(images))
            weight = (
                (end - first) / whole if stop > start else 0.0
            )  # the stand-in of an empty share counts nothing
            sync = nullcontext() if part.last else self.accelerator.no_sync(self.model)
            with sync, nullcontext() if alone else _draws_of(part, state, self.accelerator.device):
                with self.accelerator.autocast() if self.mixed else nullcontext():
                    loss, monitored = loss_and_monitored(
                        loss_fn(self.model, images[first:end], labels[first:end])
                    )
                self.accelerator.backward(
                    loss * (weight * self.world)
                )  # the processes' gradients are averaged
            self.names = ["loss", *monitored]
            records.append(weight * torch.stack([loss.detach(), *monitored.values()]))
        self.records.append(sum(records))
        self.sizes.append(whole)

    def halve_micro_batch(self, error: RuntimeError) -> None:
        """After running out of memory: back to the epoch's start, with micro-batches of half the size."""
        from accelerate.utils import release_memory
        from accelerate.utils.memory import should_reduce_batch_size

        self.restore()
        no_memory = isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)
        if (
            not no_memory or self.micro_batch == 1 or self.world > 1
        ):  # the others would wait for ever
            raise error
        self.micro_batch //= 2
        release_memory()
        self.say(f"Out of memory: epoch {self.epoch + 1} starts again in micro-batches of {self.micro_batch} images; "
                 f"the weights are still updated once every {self.batch_size}.")  # fmt: skip

    def restore(self) -> None:
        """Puts the model and the optimiser back to the epoch's start."""
        set_state_tensors(self.fallback, self.bare, self.optimizer)
        self.optimizer.zero_grad()

    def end_epoch(self, loss_fn: LossFunction, validation: ImageSet | None, quiet: bool) -> None:
        """The epoch's one synchronisation: checks the losses, adds a row to the history, saves the checkpoint."""
        records = torch.stack(self.records)
        if self.world > 1:
            records = self.accelerator.reduce(records, "sum")
        broken = ~records[:, :1].isfinite()
        broken[-1] |= ~torch.stack(
            [p.isfinite().all() for p in self.bare.parameters()]
        ).all()  # by the last step
        both = torch.cat([records, broken.to(records)], 1).cpu()
        seconds = time.monotonic() - self.started
        records = both[:, :-1]
        self._refuse_non_finite(records, broken=both[:, -1])
        sizes = torch.tensor(self.sizes, dtype=records.dtype)
        means = (records * sizes[:, None]).sum(0) / sizes.sum()
        row = {"epoch": self.epoch + 1} | dict(zip(self.names, means.tolist(), strict=True))
        row |= {
            "lr": self.rates[-1],
            "steps": len(self.sizes),
            "images": sum(self.sizes),
            "seconds": seconds,
        }
        if validation is not None:
            validation = validation.to(self.accelerator.device)
            # Every process measures all of it, so that the numbers do not depend on how many there are.
            measured = evaluate(
                self.bare, validation, loss_fn, self.micro_batch
            )  # which is known to fit
            row |= {f"validation_{name}": value for name, value in measured.items()}
        self.history.rows.append(row)
        if not quiet:
            self.say(history_line(row, self.epochs))
        if (
            self.checkpoint and len(self.sizes) == self.steps
        ):  # a part of an epoch could not be resumed exactly
            facts = self.facts | {"history": self.history.rows}
            if self.rank == 0:
                save_checkpoint(self.checkpoint, self.bare, self.optimizer, **facts)
            self.accelerator.wait_for_everyone()

    def _refuse_non_finite(self, records: Tensor, broken: Tensor) -> None:
        if not broken.any():
            return
        step = int(broken.argmax())
        values = ", ".join(
            f"{n} {v:.4g}" for n, v in zip(self.names, records[step].tolist(), strict=True)
        )
        self.restore()
        back = f"back at the end of epoch {self.epoch}" if self.epoch else "as it was before"
        raise NonFiniteLoss(
            f"Training broke down in epoch {self.epoch + 1}, step {step + 1} of {self.steps} ({values}; learning rate "
            f"{self.rates[step]:.3g}): the model is {back}; lower the learning rate, or look for a logarithm or a "
            "division that can meet zero."
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Says why training ended early, where it did, and what is kept; gives the optimiser its own rates back."""
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate
        if self.mixed:  # the network computes in float32 again
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            self.bare.__dict__.pop("forward", None)
        kept = (
            f"the same call continues from {self.checkpoint}"
            if self.checkpoint
            else "give `checkpoint` to continue"
        )
        if kind is KeyboardInterrupt:
            self.say(
                f"Interrupted in epoch {self.epoch + 1} of {self.epochs}: the model is as it was then; {kept}."
            )
        partial = self.history.rows and self.history.rows[-1]["steps"] < self.steps
        if kind is None and (partial or self.epoch < self.epochs):
            when = "in" if partial else "after"
            self.history.stopped = (
                f"Stopped by max_seconds {when} epoch {self.epoch} of {self.epochs}; {kept}."
            )
            self.say(self.history.stopped)


def _accelerator(precision: str | None) -> Any:
    """Accelerate on the device that works, in this precision (None: what suits the device)."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = best_device().device  # not one that failed
    precision = precision or best_precision(device)
    if precision not in ("no", "bf16", "fp16"):
        raise unknown_name_error("precision", precision, ("no", "bf16", "fp16"))
    if precision == "fp16" and device.type not in ("cuda", "xpu", "mps"):
        raise CourseError(f"fp16 needs a GPU, and this is {device}: use precision='no', or 'bf16'.")
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # it keeps the first precision for ever; the processes' group stays
    return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)


def _random_state(device: torch.device) -> list[Tensor]:
    own = [] if device.type in ("cpu", "xla") else [torch.get_device_module(device).get_rng_state()]
    return [torch.get_rng_state(), *own]


@contextmanager
def _draws_of(part: Part, state: list[Tensor], device: torch.device) -> Iterator[None]:
    """Inside, a VAE's noise is drawn for the whole batch, from the same state for each piece, and cut to `part`."""
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.get_device_module(device).set_rng_state(state[1])
    token = piece_of_batch.set(part)
    try:
        yield
    finally:
        piece_of_batch.reset(token)
