"""The state of a training run: what the loop itself should not have to show.

Device and precision, micro-batches and the shards of several processes, out of memory, time limits,
progress, the check of the losses, and checkpoints.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaetl_helpers.data.images import Batch, ImageSet, Rows, images_of_rows, shard
from vaetl_helpers.device import best_device, best_precision
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import is_interactive, say, user_path
from vaetl_helpers.training.checkpoints import (
    set_state_tensors,
    state_tensors,
    write_checkpoint,
)
from vaetl_helpers.training.evaluation import (
    VALIDATION,
    History,
    LossFunction,
    NonFiniteLoss,
    Row,
    evaluate,
    evaluating,
    evaluation_batch,
    history_line,
    loss_and_monitored,
)
from vaetl_helpers.training.inputs import (
    check_batch_norm,
    check_images,
    check_loss,
    check_network,
    check_optimiser,
    has_batch_norm,
)
from vaetl_helpers.training.options import RunOptions
from vaetl_helpers.training.resuming import IDENTITY, RunIdentity, note_left, read_own_checkpoint
from vaetl_helpers.training.schedules import Step, seed_of_epoch

PRECISIONS = ("no", "bf16", "fp16")


@dataclass
class EpochState:
    """What is noted during an epoch; the records stay on the device until it ends."""

    fallback: dict[str, Tensor]  # the model and the optimiser at the epoch's start
    started: float = field(default_factory=lambda: time.monotonic())
    names: list[str] = field(default_factory=list)  # of the columns of a record
    records: list[Tensor] = field(default_factory=list)  # a step's mean loss and monitored values
    sizes: list[int] = field(default_factory=list)  # images of a step, of all processes
    rates: list[float] = field(default_factory=list)  # a step's learning rate


@dataclass(slots=True)
class MicroBatch:
    """Rows of a batch that are worked off at a time; `weight` is their fraction of the batch.

    The images know their rows (`data.images.ImagesOfRows`). `vae.draw_noise` draws for the whole
    batch, from the same random state for each micro-batch, and keeps these rows of it: so an
    image's noise does not depend on how the batch is cut, or on the number of processes.
    """

    images: Tensor
    labels: Tensor
    rows: Rows
    weight: float = 1.0
    is_first: bool = True


class Run:
    """The state of one run of `training_epochs`, which is in effect inside a `with` block."""

    def __init__(
        self,
        model: nn.Module,
        train: ImageSet,
        loss_fn: LossFunction,
        options: RunOptions,
        history: History | None = None,
    ) -> None:
        check_network(model)
        check_images(train, "train")
        check_loss(loss_fn)
        check_optimiser(options.optimizer, model)
        self.options = options
        self.loss_fn = loss_fn
        self.history = History() if history is None else history
        seconds = math.inf if options.max_seconds is None else options.max_seconds
        self.deadline = time.monotonic() + seconds
        self.checkpoint = user_path(options.checkpoint) if options.checkpoint else None
        self.shared = SharedStates()
        try:
            self._begin(model, train, options)
        except BaseException:
            self.shared.give_back()
            raise

    def _begin(self, model: nn.Module, train: ImageSet, options: RunOptions) -> None:
        self.accelerator = _accelerator(options.precision)
        self.device = self.accelerator.device
        self.rank = self.accelerator.process_index
        self.world = self.accelerator.num_processes
        self.is_mixed = self.accelerator.mixed_precision != "no"
        optimizer = options.optimizer
        if optimizer is None:
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        self.bare = model  # without the wrapper of data parallelism: saved and evaluated
        self.model, self.optimizer = self._prepare(model, optimizer)
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.train = train.to(self.device)
        self.batch_size = options.batch_size
        self.steps = math.ceil(len(train) / self.batch_size)
        self.micro_batch = min(options.micro_batch or self.batch_size, self.batch_size)
        check_batch_norm(model, train, self.batch_size, self.micro_batch, self.world)
        self.identity: RunIdentity | None = None
        if self.checkpoint:
            precision = self.accelerator.mixed_precision
            self.identity = RunIdentity(
                model, self.train, self.loss_fn, options, optimizer, precision
            )
            self._resume(self.checkpoint, self.identity)

    def _prepare(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """The two as Accelerate needs them on this device, in this precision and processes."""
        prepared, wrapped = self.accelerator.prepare(model, optimizer)
        # The wrapper costs 5 % of a small network's step; only a TPU and float16's scaler need it.
        if wrapped.scaler or self.accelerator.distributed_type == "XLA":
            optimizer = wrapped
        return prepared, optimizer

    # ------------------------------------------------------------ checkpoints

    def _resume(self, path: Path, identity: RunIdentity) -> None:
        """Continues from the checkpoint, if there is one; CourseError if it is another run's."""
        if not path.exists():
            return
        facts, tensors = read_own_checkpoint(path, identity, self.options.epochs)
        set_state_tensors(tensors, self.bare, self.optimizer)
        if self.options.stopping:
            self.options.stopping.restore(tensors, facts["stopping"])
        self.history.rows[:] = facts.get("history", [])
        self.say(f"Continuing after epoch {self.epoch} of {self.options.epochs}, from {path}.")
        if IDENTITY not in facts:
            self.say(
                "It was written by an earlier version of the course: whether learning rate, loss "
                "and pictures are the same cannot be seen."
            )

    def _save(self, path: Path, identity: RunIdentity) -> None:
        """Called by all processes, of which the first one writes."""
        if self.rank == 0:
            facts = identity.facts()
            facts["history"] = self.history.rows
            tensors = state_tensors(self.bare, self.optimizer)
            if self.options.stopping:
                facts["stopping"] = self.options.stopping.facts()
                tensors |= self.options.stopping.tensors()
            write_checkpoint(path, tensors, facts)
        self.accelerator.wait_for_everyone()

    # ------------------------------------------------------------ how far it has come

    @property
    def epoch(self) -> int:
        """How many epochs are over."""
        return len(self.history)

    def goes_on(self) -> bool:
        """Whether there is another epoch, and time for it."""
        return self.epoch < self.options.epochs and not self.expired()

    def expired(self, within_epoch: bool = False) -> bool:
        """Whether max_seconds are over.

        Several processes ask between epochs only, and the first one's clock decides for all.
        """
        is_late = time.monotonic() >= self.deadline
        if self.world == 1:
            return is_late
        if within_epoch:
            return False
        from accelerate.utils import broadcast

        answer = torch.tensor([is_late], dtype=torch.int32, device=self.device)
        return bool(broadcast(answer).item())

    def say(self, text: str) -> None:
        """Prints once, however many processes there are."""
        if self.rank == 0:
            say(text)

    def begin_epoch(self) -> None:
        """Notes the state to fall back on, and seeds: a resumed run draws the same numbers."""
        if self.epoch == 0:
            self._let_watch({"epoch": 0})
        tensors = state_tensors(self.bare, self.optimizer)
        fallback = {name: value.to("cpu", copy=True) for name, value in tensors.items()}
        seed, epoch = self._seed()
        torch.manual_seed(seed * 1_000_003 + epoch)
        self.model.train()
        self.state = EpochState(fallback)

    def _seed(self) -> tuple[int, int]:
        """Seed and number of the epoch; with early stopping each epoch has a seed of its own."""
        if self.options.stopping:
            return seed_of_epoch(self.options.seed, self.epoch), 0
        return self.options.seed, self.epoch

    def batches(self) -> Iterator[Batch]:
        """The epoch's batches, under a progress bar where a person watches."""
        seed, epoch = self._seed()
        batches = self.train.batches(self.batch_size, seed, epoch)
        if self.options.quiet or self.rank or not is_interactive():
            return batches
        from tqdm.auto import tqdm

        title = f"epoch {self.epoch + 1}/{self.options.epochs}"
        return iter(tqdm(batches, title, self.steps, leave=False))

    # ------------------------------------------------------------ a step

    def set_learning_rate(self) -> None:
        """Scales every group's learning rate by the schedule at the run's progress."""
        factor = 1.0
        if self.options.schedule:
            step = Step(self.epoch, self.options.epochs, len(self.state.rates), self.steps)
            progress = step.progress_by_epoch() if self.options.stopping else step.progress()
            factor = float(self.options.schedule(progress))
        groups = self.optimizer.param_groups
        for group, rate in zip(groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        self.state.rates.append(groups[0]["lr"])

    def micro_batches(self, images: Tensor, labels: Tensor) -> Iterator[MicroBatch]:
        """Cuts this process's shard of a batch into micro-batches."""
        whole = len(images)
        self.state.sizes.append(whole)
        if self.world == 1 and whole <= self.micro_batch:
            yield MicroBatch(images, labels, Rows(0, whole, whole, is_last=True))
            return
        start, stop = shard(whole, self.rank, self.world)
        is_empty = start == stop
        if is_empty:  # every process must take part: one image stands in, and counts nothing
            stop = start + 1
        random_state = _random_state(self.device)
        for row in range(start, stop, self.micro_batch):
            next_row = min(row + self.micro_batch, stop)
            rows = Rows(row, next_row, whole, is_last=next_row == stop)
            weight = 0.0 if is_empty else rows.size / whole
            _set_random_state(self.device, random_state)
            with self._local_gradients(rows):
                yield MicroBatch(
                    images_of_rows(images, rows),
                    labels[row:next_row],
                    rows,
                    weight,
                    is_first=row == start,
                )

    def _local_gradients(self, rows: Rows) -> AbstractContextManager[Any]:
        """The processes exchange gradients once a batch, with their last micro-batch."""
        if rows.is_last:
            return nullcontext()
        context: AbstractContextManager[Any] = self.accelerator.no_sync(self.model)
        return context

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside, the network computes in the run's precision."""
        if not self.is_mixed:
            return nullcontext()
        context: AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    def record(self, result: Any, piece: MicroBatch) -> Tensor:
        """Notes what a loss function returned, and returns the loss."""
        loss, monitored = loss_and_monitored(result)
        loss = loss.as_subclass(Tensor)  # which knows no rows
        self.state.names = ["loss", *monitored]
        means = torch.stack([loss.detach(), *monitored.values()])
        if piece.weight != 1:
            means = means * piece.weight
        records = self.state.records
        if piece.is_first:
            records.append(means)
        else:
            records[-1] = records[-1] + means
        return loss

    def backward(self, loss: Tensor, piece: MicroBatch) -> None:
        """Adds the gradients of a micro-batch, which counts by its images."""
        weight = piece.weight * self.world  # the gradients of the processes are averaged
        if weight != 1:
            loss = loss * weight
        self.accelerator.backward(loss)

    # ------------------------------------------------------------ when it goes wrong

    def halve_micro_batch(self, error: RuntimeError) -> None:
        """After running out of memory: back to the epoch's start, with half the micro-batches.

        Raises `error` again if it is another one, or if no smaller micro-batch is possible.
        """
        from accelerate.utils import release_memory
        from accelerate.utils.memory import should_reduce_batch_size

        self.restore()
        is_out_of_memory = isinstance(error, torch.OutOfMemoryError)
        is_out_of_memory = is_out_of_memory or should_reduce_batch_size(error)
        others_wait = self.world > 1  # and would do so for ever
        if not is_out_of_memory or self.micro_batch == 1 or others_wait:
            raise error
        self.micro_batch //= 2
        release_memory()
        check_batch_norm(self.bare, self.train, self.batch_size, self.micro_batch)
        line = (
            f"Out of memory: epoch {self.epoch + 1} starts again in micro-batches of "
            f"{self.micro_batch} images; the weights are still updated once every "
            f"{self.batch_size}."
        )
        if has_batch_norm(self.bare):
            line += " BatchNorm sees only a micro-batch at a time, so the result differs."
        self.say(line)

    def restore(self) -> None:
        """Puts the model and the optimiser back to the epoch's start."""
        set_state_tensors(self.state.fallback, self.bare, self.optimizer)
        self.optimizer.zero_grad()

    def _refuse_non_finite(self, records: Tensor, is_broken: Tensor) -> None:
        """Raises NonFiniteLoss for the first step that is broken, with the model put back."""
        if not is_broken.any():
            return
        step = int(is_broken.argmax())
        values = zip(self.state.names, records[step].tolist(), strict=True)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values)
        self.restore()
        place = f"back at the end of epoch {self.epoch}" if self.epoch else "as it was before"
        raise NonFiniteLoss(
            f"Training broke down in epoch {self.epoch + 1}, step {step + 1} of {self.steps} "
            f"({shown}; learning rate {self.state.rates[step]:.3g}): the model is {place}; "
            "lower the learning rate, or look for a logarithm or a division that can meet zero."
        )

    # ------------------------------------------------------------ the end of an epoch

    def end_epoch(self) -> Row:
        """Checks the losses, validates, saves the checkpoint; returns the epoch's row."""
        row: Row = {"epoch": self.epoch + 1} | self._means()
        validation = self._validate()
        row |= {f"{VALIDATION}{name}": value for name, value in validation.items()}
        self.history.rows.append(row)
        if self.options.stopping:
            self.options.stopping.look(self.bare, validation)
        if not self.options.quiet:
            self.say(history_line(row, self.options.epochs))
        # A part of an epoch could not be resumed exactly.
        is_whole = len(self.state.sizes) == self.steps
        if self.checkpoint and self.identity and is_whole:
            self._save(self.checkpoint, self.identity)
        self._let_watch(row)
        return row

    def _let_watch(self, row: Row) -> None:
        """Shows `watch` the network in eval mode; what it draws at random leaves no trace."""
        if self.options.watch is None or self.rank > 0:
            return
        random_state = _random_state(self.device)
        with evaluating(self.bare), torch.no_grad():
            self.options.watch(self.bare, row)
        _set_random_state(self.device, random_state)

    def _means(self) -> Row:
        """Means over the epoch's images, after the epoch's one synchronisation with the device."""
        state = self.state
        records = torch.stack(state.records)
        if self.world > 1:
            records = self.accelerator.reduce(records, "sum")
        is_broken = ~records[:, 0].isfinite()
        is_sound = torch.stack([p.isfinite().all() for p in self.bare.parameters()]).all()
        is_broken[-1] |= ~is_sound  # by the last update
        table = torch.cat([records, is_broken.to(records)[:, None]], 1).cpu()
        seconds = time.monotonic() - state.started
        records = table[:, :-1]
        self._refuse_non_finite(records, table[:, -1])
        sizes = torch.tensor(state.sizes, dtype=records.dtype)
        means = (records * sizes[:, None]).sum(0) / sizes.sum()
        row = dict(zip(state.names, means.tolist(), strict=True))
        return row | {
            "lr": state.rates[-1],
            "steps": len(state.sizes),
            "images": sum(state.sizes),
            "seconds": seconds,
        }

    def _validate(self) -> dict[str, float]:
        """Every process measures the whole set: the numbers do not depend on how many there are."""
        if self.options.validation is None:
            return {}
        validation = self.options.validation.to(self.device)
        at_once = evaluation_batch(validation, self.batch_size, self.micro_batch)
        return evaluate(self.bare, validation, self.loss_fn, at_once)

    # ------------------------------------------------------------ the end of the run

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Says why training ended early, where it did; gives the optimiser its own rates back."""
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate
        self._unwrap()
        self.shared.give_back()
        if self.checkpoint and self.identity:
            stopping = self.options.stopping
            best = stopping.weights if stopping else {}
            note_left(self.identity, self.optimizer, best, self.checkpoint)
        if kind is KeyboardInterrupt:
            self.say(
                f"Interrupted in epoch {self.epoch + 1} of {self.options.epochs}: "
                f"the model is as it was then; {self._how_to_continue()}."
            )
        if kind is None:
            self._explain_early_end()

    def _unwrap(self) -> None:
        """Leaves no trace of Accelerate: the network computes in float32 again."""
        if self.is_mixed:
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            vars(self.bare).pop("forward", None)
        # Otherwise the next run with this network would get it as it is now: on another device
        # perhaps, and not in the precision asked for.
        vars(self.bare).pop("_is_accelerate_prepared", None)

    def _explain_early_end(self) -> None:
        """Only max_seconds end a run before its last epoch without an exception."""
        rows = self.history.rows
        is_partial = bool(rows) and rows[-1]["steps"] < self.steps
        if is_partial or self.epoch < self.options.epochs:
            place = "in" if is_partial else "after"
            self.history.stopped = (
                f"Stopped by max_seconds {place} epoch {self.epoch} of {self.options.epochs}; "
                f"{self._how_to_continue()}."
            )
            self.say(self.history.stopped)

    def _how_to_continue(self) -> str:
        if self.checkpoint:
            return f"the same call continues from {self.checkpoint}"
        return "give `checkpoint` to continue"


class SharedStates:
    """What all of Accelerate's objects share, as it was: an Accelerator may belong to the caller.

    Accelerate keeps the first precision for ever, and the steps of accumulation of the last object.
    The group of the processes stays.
    """

    def __init__(self) -> None:
        from accelerate.state import AcceleratorState, GradientState

        self.kinds = (AcceleratorState, GradientState)
        self.contents = [dict(kind._shared_state) for kind in self.kinds]
        for kind in self.kinds:
            kind._reset_state()

    def give_back(self) -> None:
        """Puts everything back."""
        for kind, content in zip(self.kinds, self.contents, strict=True):
            kind._reset_state()
            kind._shared_state.update(content)


def _accelerator(precision: str | None) -> Any:
    """Accelerate on the device that works, in this precision (None: what suits the device)."""
    from accelerate import Accelerator

    device = best_device().device  # not one that failed
    precision = precision or best_precision(device)
    if precision not in PRECISIONS:
        raise unknown_name_error("precision", precision, PRECISIONS)
    if precision == "fp16" and device.type not in ("cuda", "xpu", "mps"):
        raise CourseError(f"fp16 needs a GPU, and this is {device}: use precision='no', or 'bf16'.")
    return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)


def _random_state(device: torch.device) -> list[Tensor]:
    """The states of the generators that a loss function may draw from."""
    states = [torch.get_rng_state()]
    if device.type not in ("cpu", "xla"):
        states.append(torch.get_device_module(device).get_rng_state())
    return states


def _set_random_state(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.get_device_module(device).set_rng_state(states[1])
