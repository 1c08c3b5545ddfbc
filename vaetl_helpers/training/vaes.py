"""Training several fully connected VAEs of one shape at once, each with its own random numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import stack_module_state

from vaetl_helpers.data.images import ImageSet, shuffled
from vaetl_helpers.nets import Encoder
from vaetl_helpers.output import say, user_path
from vaetl_helpers.training.adam import StackedAdam
from vaetl_helpers.training.checkpoints import (
    set_state_tensors,
    state_tensors,
    write_checkpoint,
)
from vaetl_helpers.training.evaluation import History, LossFunction, NonFiniteLoss, Row
from vaetl_helpers.training.linear import (
    Layer,
    Weights,
    by_inputs,
    linear_layers,
    outputs,
    set_gradients,
    transposed,
)
from vaetl_helpers.training.options import RunOptions
from vaetl_helpers.training.resuming import RunIdentity, read_own_checkpoint
from vaetl_helpers.training.schedules import Step
from vaetl_helpers.vae import LOG_VAR_RANGE, VAE, binarise, vae_loss

MU = Layer("encoder.mu.weight", "encoder.mu.bias", has_relu=False)
LOG_VAR = Layer("encoder.log_var.weight", "encoder.log_var.bias", has_relu=False)


def fit_vaes(
    models: Sequence[VAE],
    source: ImageSet,
    options: Sequence[RunOptions],
    beta: float,
    binarisation: str | None = None,
) -> list[History]:
    """`fit` with `vae_loss(beta, binarisation=binarisation)` for several VAEs at once, in float32.

    Each has `options` of its own, with an Adam; epochs, batch_size and schedule are the same for
    all. It draws the random numbers that it would draw alone, sees its images in the same
    order, and ends with the same weights but for rounding. Its checkpoint is one of `fit`: either
    continues what the other has begun. Seconds are shared equally, and histories have no losses.
    Raises NonFiniteLoss, and CourseError for a checkpoint as `fit` does.
    """
    loss = vae_loss(beta, binarisation=binarisation)
    runs = [
        VaeRun(model, source, option, loss) for model, option in zip(models, options, strict=True)
    ]
    for epochs_done in sorted({run.epoch for run in runs}):  # of runs that were cut off
        group = [run for run in runs if run.epoch == epochs_done]
        _fit_group(group, source, beta, binarisation)
    return [run.history for run in runs]


def _fit_group(
    runs: Sequence[VaeRun], source: ImageSet, beta: float, binarisation: str | None
) -> None:
    """Trains VAEs that have come equally far, to their end."""
    options = runs[0].options
    schedule = options.schedule or _constant
    stack = VaeStack(runs, beta)
    for epoch in range(runs[0].epoch, options.epochs):
        started = time.monotonic()
        orders = torch.stack([run.order(len(source)) for run in runs]).to(source.device)
        batches = orders.split(options.batch_size, 1)
        generators = [run.generator(source.device) for run in runs]
        for step, rows in enumerate(batches):
            progress = Step(epoch, options.epochs, step, len(batches)).progress()
            rate = runs[0].rate * schedule(progress)
            images = _pixels(source, rows)
            if binarisation:  # drawn before the noise, as `vae_loss` does
                pairs = zip(images, generators, strict=True)
                images = torch.stack([binarise(x, binarisation, of_one) for x, of_one in pairs])
            stack.step(images, stack.noise(generators, rows.shape[1]), rate)
        stack.check_finite(runs)
        seconds = (time.monotonic() - started) / len(runs)
        for number, run in enumerate(runs):
            row: Row = {"epoch": epoch + 1, "lr": rate, "steps": len(batches)}
            run.history.rows.append(row | {"images": len(source), "seconds": seconds})
            if run.options.checkpoint or run.epoch == options.epochs:
                stack.give_to(run, number)
                run.save()


def _constant(progress: float) -> float:
    """The schedule of a run that has none."""
    return 1.0


def _pixels(source: ImageSet, rows: Tensor) -> Tensor:
    """Pixels in [0, 1] of the images in these rows [networks, batch], [networks, batch, pixels]."""
    images = source.images.index_select(0, rows.flatten()).flatten(1)
    return images.float().div_(255).view(*rows.shape, -1)


class VaeRun:
    """One VAE of a stack: its optimiser and history, and its checkpoint, which is one of `fit`."""

    def __init__(
        self, model: VAE, source: ImageSet, options: RunOptions, loss: LossFunction
    ) -> None:
        self.model = model
        self.options = options
        self.optimizer = cast(torch.optim.Adam, options.optimizer)
        self.rate: float = self.optimizer.param_groups[0]["lr"]
        self.history = History()
        self.images = len(source)
        if options.checkpoint:
            self.path = user_path(options.checkpoint)
            precision = "no"
            self.identity = RunIdentity(model, source, loss, options, self.optimizer, precision)
            self._resume()

    @property
    def epoch(self) -> int:
        """How many epochs are over."""
        return len(self.history)

    def _resume(self) -> None:
        if not self.path.exists():
            return
        facts, tensors = read_own_checkpoint(self.path, self.identity, self.options.epochs)
        set_state_tensors(tensors, self.model, self.optimizer)
        self.history.rows[:] = facts["history"]
        say(f"Continuing after epoch {self.epoch} of {self.options.epochs}, from {self.path}.")

    def save(self) -> None:
        """Writes the checkpoint, if there is to be one."""
        if self.options.checkpoint:
            facts = self.identity.facts() | {"history": self.history.rows}
            write_checkpoint(self.path, state_tensors(self.model, self.optimizer), facts)

    def order(self, count: int) -> Tensor:
        """The order of the images in this epoch, [count]."""
        return shuffled(count, self.options.seed, self.epoch)

    def generator(self, device: torch.device) -> torch.Generator:
        """What draws the noise of this epoch, seeded as `fit` seeds."""
        seed = self.options.seed * 1_000_003 + self.epoch
        return torch.Generator(device).manual_seed(seed)


class VaeStack:
    """The weights of several VAEs as one tensor each, and steps that train them all."""

    def __init__(self, runs: Sequence[VaeRun], beta: float) -> None:
        models = [run.model for run in runs]
        self.beta = beta
        self.encoder, self.decoder = _layers(models[0])
        self.layers = [*self.encoder, MU, LOG_VAR, *self.decoder]
        weights, _ = stack_module_state(cast(list[nn.Module], models))
        weights = {name: weight.detach() for name, weight in weights.items()}
        self.weights = transposed(weights, self.layers)
        self.gradients = {name: torch.empty_like(value) for name, value in self.weights.items()}
        self.adam = StackedAdam(list(self.weights.values()))
        if runs[0].epoch:
            self._take_moments(runs)

    def noise(self, generators: Sequence[torch.Generator], batch: int) -> Tensor:
        """Standard normal numbers of each network's generator, [networks, batch, latent]."""
        shape = (batch, self.weights[MU.bias].shape[1])
        parts = [
            torch.randn(shape, generator=generator, device=generator.device)
            for generator in generators
        ]
        return torch.stack(parts)

    @torch.no_grad()
    def step(self, images: Tensor, noise: Tensor, rate: float) -> None:
        """A step of each VAE on its images [networks, batch, pixels], down its −ELBO."""
        weights, gradients, batch = self.weights, self.gradients, images.shape[1]
        hidden = outputs(self.encoder, weights, images)
        mu = outputs([MU], weights, hidden[-1])[1]
        raw_log_var = outputs([LOG_VAR], weights, hidden[-1])[1]
        log_var = raw_log_var.clamp(*LOG_VAR_RANGE)
        sigma = (0.5 * log_var).exp()
        decoded = outputs(self.decoder, weights, mu + sigma * noise)
        # Gradients by what each part gives, from the loss back; at first by the logits.
        error = decoded[-1].sigmoid_().sub_(images).div_(batch)
        error = set_gradients(self.decoder, weights, decoded, error, gradients)
        by_z = by_inputs(self.decoder[0], weights, error)
        weight_of_kl = self.beta / batch
        by_mu = by_z + weight_of_kl * mu
        by_log_var = 0.5 * (by_z * noise * sigma + weight_of_kl * (sigma.square() - 1))
        by_log_var *= raw_log_var == log_var  # none beyond the clamp
        set_gradients([MU], weights, [hidden[-1]], by_mu, gradients)
        set_gradients([LOG_VAR], weights, [hidden[-1]], by_log_var, gradients)
        error = by_inputs(MU, weights, by_mu) + by_inputs(LOG_VAR, weights, by_log_var)
        set_gradients(self.encoder, weights, hidden, error, gradients)
        self.adam.step(list(gradients.values()), rate)

    def check_finite(self, runs: Sequence[VaeRun]) -> None:
        """Raises NonFiniteLoss unless all weights are numbers, after the epoch's only wait."""
        weights = self.weights.values()
        is_sound = torch.stack([weight.flatten(1).isfinite().all(1) for weight in weights]).all(0)
        for run, sound in zip(runs, is_sound.tolist(), strict=True):
            if not sound:
                raise NonFiniteLoss(
                    f"The VAE of seed {run.options.seed} broke down in epoch {run.epoch + 1}: "
                    "lower the learning rate."
                )

    @torch.no_grad()
    def give_to(self, run: VaeRun, number: int) -> None:
        """Puts weights and the state of Adam into a run."""
        weights = self._of_network(self.weights.values(), number)
        run.model.load_state_dict(weights, strict=False)
        run.model.seen.fill_(run.epoch * run.images)
        means = self._of_network(self.adam.means, number)
        squares = self._of_network(self.adam.squares, number)
        for name, parameter in run.model.named_parameters():
            run.optimizer.state[parameter] = {
                "step": self.adam.steps.clone(),
                "exp_avg": means[name].clone(),
                "exp_avg_sq": squares[name].clone(),
            }

    def _of_network(self, values: Iterable[Tensor], number: int) -> Weights:
        """Of stacked values, in the order of the weights, those of one network, shaped as there."""
        named = {
            name: value[number : number + 1]
            for name, value in zip(self.weights, values, strict=True)
        }
        return {name: value[0] for name, value in transposed(named, self.layers).items()}

    def _take_moments(self, runs: Sequence[VaeRun]) -> None:
        """Goes on with the state of Adam that the runs have from their checkpoints."""
        states = [
            [run.optimizer.state[parameter] for parameter in run.model.parameters()] for run in runs
        ]
        self.adam.steps.copy_(states[0][0]["step"])
        for key, moments in (("exp_avg", self.adam.means), ("exp_avg_sq", self.adam.squares)):
            stacked = [
                torch.stack([state[key] for state in of_one])
                for of_one in zip(*states, strict=True)
            ]
            names = [name for name, _ in runs[0].model.named_parameters()]
            whole = transposed(dict(zip(names, stacked, strict=True)), self.layers)
            for name, moment in zip(self.weights, moments, strict=True):
                moment.copy_(whole[name])


def can_be_stacked(model: VAE) -> bool:
    """Whether it is a VAE for Bernoulli pixels, of linear layers and ReLUs alone."""
    is_known = type(model) is VAE and type(model.encoder) is Encoder
    if not is_known or model.gaussian_log_var is not None:
        return False
    encoder, decoder = _layers(model)
    return bool(encoder and decoder) and not decoder[-1].has_relu


def _layers(model: VAE) -> tuple[list[Layer], list[Layer]]:
    """The layers of the encoder's body and of the decoder, which ends by giving pixels a shape."""
    body = cast(Encoder, model.encoder).body
    encoder = linear_layers(body, "encoder.body")
    decoder = model.decoder
    if not isinstance(decoder, nn.Sequential) or type(decoder[-1]) is not nn.Unflatten:
        return encoder, []
    return encoder, linear_layers(decoder[:-1], "decoder", flattens=False)
