"""Challenges: how good an answer of one's own is, beside what random settings have reached.

`challenge(id)` says what is asked. `challenge(id, answer)` runs the function, scores what it
returns on images that it has not seen, and places the score in a recorded distribution
(recorded/challenges/, made by authoring/assets/record_challenges.py). Nothing leaves the machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers import plots, progress, vae
from vaetl_helpers.data import load
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.tasks import load_task, source_model
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.flops import FORMULAS
from vaetl_helpers.output import say
from vaetl_helpers.practice import panels
from vaetl_helpers.training.evaluation import evaluate

Answer = Callable[..., Any]
Recorded = Mapping[str, Any]  # seconds, scores (None: the goal was missed), machine, date, …

SECONDS = 60.0  # of CPU time, where no distribution is recorded
TOLERANCE = 1.1  # of these seconds may be used: training stops after a step, not in it
ENOUGH_DIGITS = 0.9  # the accuracy that the smallest network must reach
ENOUGH_SHIRTS = 0.81  # the accuracy that the cheapest fine-tuning must reach
DRAWS = 5  # of twenty labels
FOLDER = Path(__file__).parents[1] / "recorded" / "challenges"


@dataclass(frozen=True)
class Challenge:
    """What is asked, an `example` of an answer, and `play`, which scores one in some seconds."""

    id: str
    chapter: str
    task: str
    example: str
    measure: str
    is_lower_better: bool
    play: Callable[[Answer, float], float]


def challenge(id: str, answer: Answer | None = None) -> None:
    """Says what the challenge asks; with `answer`, scores it and places it among random settings.

    The score is noted in progress.jsonl. Where no person works, nothing is run. Raises CourseError
    for an unknown challenge, and where the answer breaks a rule or misses the goal.
    """
    if id not in CHALLENGES:
        raise unknown_name_error("challenge", id, CHALLENGES)
    chosen = CHALLENGES[id]
    recorded = recorded_scores(id)
    if answer is None or not progress.is_learner_here():
        panels.show_text(_description(chosen, recorded))
        return
    if not callable(answer) or isinstance(answer, nn.Module):
        kind = type(answer).__name__
        raise CourseError(
            "challenge takes your function itself, without brackets, and not what it returns "
            f"({kind})."
        )
    score = chosen.play(answer, limit(recorded))
    progress.add(challenge=id, score=score)
    say(f"{chosen.measure}: {number_text(score)}. {placed(chosen, score, recorded)}")
    if recorded is not None:
        _draw(chosen, score, recorded)


def limit(recorded: Recorded | None) -> float:
    """The seconds of CPU time: those of the recorded settings, so that all have the same."""
    return SECONDS if recorded is None else float(recorded["seconds"])


def recorded_scores(id: str) -> Recorded | None:
    """What random settings have reached; None where none were recorded."""
    path = FOLDER / f"{id}.json"
    if not path.exists():
        return None
    content: Recorded = json.loads(path.read_text("utf-8"))
    return content


def number_text(number: float) -> str:
    """A score, with a digit more than `output.number_texts` has: one improves it in small steps."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def placed(chosen: Challenge, score: float, recorded: Recorded | None) -> str:
    """Where the score stands among the recorded ones, in a sentence."""
    if recorded is None:
        return "No distribution is recorded to compare it with."
    scores = recorded["scores"]
    better = sum(_is_better(chosen, score, other) for other in scores)
    return f"That is better than {better} of {len(scores)} random settings."


def _is_better(chosen: Challenge, score: float, other: float | None) -> bool:
    """Whether the score beats another one, which is None where that missed the goal."""
    if other is None:
        return True
    return score < other if chosen.is_lower_better else score > other


def _description(chosen: Challenge, recorded: Recorded | None) -> str:
    """The challenge as Markdown, with an answer to start from."""
    seconds = limit(recorded)
    lines = [f"**Challenge {chosen.id}.** {chosen.task.format(seconds=f'{seconds:g}')}"]
    better = "Lower" if chosen.is_lower_better else "Higher"
    lines.append(f"Measured: {chosen.measure}. {better} is better.")
    if recorded is not None:
        lines.append(_distribution(chosen, recorded))
    call = f'challenge("{chosen.id}", mine)'
    lines.append(f"```python\n{chosen.example}\n\n{call}\n```")
    return "\n\n".join(lines)


def _distribution(chosen: Challenge, recorded: Recorded) -> str:
    """The recorded scores in two sentences."""
    reached = sorted(score for score in recorded["scores"] if score is not None)
    missed = len(recorded["scores"]) - len(reached)
    low, middle, high = np.quantile(reached, [0.05, 0.5, 0.95])
    text = (
        f"{len(recorded['scores'])} random settings reached {number_text(middle)} in the median, "
        f"and 90 % of them {number_text(low)} to {number_text(high)}"
    )
    if missed:
        text += f"; {missed} missed the goal and are not in these numbers"
    origin = f"recorded: {recorded['machine']}, {recorded['date']}"
    return f"{text} ({origin}, {recorded['seconds']:g} s each)."


def _draw(chosen: Challenge, score: float, recorded: Recorded) -> None:
    """A histogram of the recorded scores, with a line at one's own."""
    reached = [value for value in recorded["scores"] if value is not None]
    where = placed(chosen, score, recorded)
    mine = number_text(score)
    alt = f"A histogram of {len(reached)} recorded scores, with a line at {mine}. {where}"
    axis = plots.panels([f"Yours and {len(reached)} random settings"], alt, width=6)[0]
    is_wide = min(reached) > 0 and max(reached) > 20 * min(reached)
    span = np.geomspace if is_wide else np.linspace
    bins = span(min(*reached, score), max(*reached, score), 25).tolist()
    axis.hist(reached, bins=bins, color=plots.COLOURS[0], alpha=0.6, label="random settings")
    axis.axvline(score, color=plots.COLOURS[1], linewidth=2, label=f"yours: {mine}")
    axis.set(xlabel=chosen.measure, ylabel="settings")
    axis.set_xscale("log" if is_wide else "linear")
    axis.legend(frameon=False)
    plt.show()


# ---------------------------------------------------------------- rules


def in_time(work: Callable[[], Any], seconds: float) -> Any:
    """What `work` returns, run on one thread; CourseError where it took more CPU time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.process_time()
    try:
        result = work()
    finally:
        torch.set_num_threads(threads)
    used = time.process_time() - started
    if used > TOLERANCE * seconds + 1:
        raise CourseError(
            f"Your answer took {used:.0f} s of CPU time where {seconds:g} s are allowed: stop "
            "earlier, for example by fit(..., max_seconds=seconds)."
        )
    return result


def _network(model: Any, kind: type[nn.Module], what: str) -> Any:
    """The model, in eval mode; CourseError where it is none of this kind."""
    if not isinstance(model, kind):
        raise CourseError(
            f"Your answer returned {type(model).__name__} and not {what}: end it with return model."
        )
    return model.eval()


def _goal(accuracy: float, enough: float) -> None:
    """CourseError below the accuracy that counts."""
    if accuracy < enough:
        raise CourseError(
            f"Your network gets {100 * accuracy:.1f} % of the test images right, and the goal is "
            f"{100 * enough:.0f} %: it does not count yet."
        )


# ---------------------------------------------------------------- the four challenges


def play_minute(answer: Answer, seconds: float) -> float:
    """Minus the ELBO of the VAE on the 1,000 test digits, nats per image."""
    digits = load("mnist")
    made = in_time(lambda: answer(digits.train, seconds), seconds)
    model = _network(made, vae.VAE, "a VAE")
    with torch.random.fork_rng(()):
        torch.manual_seed(0)  # the same binarisation and noise for every answer
        return evaluate(model, digits.test, vae.vae_loss())["loss"]


def play_twenty_labels(answer: Answer, seconds: float) -> float:
    """The mean test accuracy in per cent over five draws of two labels for each digit."""
    digits = load("mnist")

    def work() -> list[Callable[[Tensor], Any]]:
        return [answer(twenty_labels(digits.train, draw)) for draw in range(DRAWS)]

    hits = []
    for predict in in_time(work, seconds):
        if not callable(predict):
            kind = type(predict).__name__
            raise CourseError(
                f"Your answer returned {kind} and not a function: return one that takes images "
                "[n, 1, 28, 28] and gives their labels."
            )
        labels = torch.as_tensor(np.asarray(predict(digits.test.images)))
        if labels.shape != digits.test.labels.shape:
            raise CourseError(
                f"Your function gave labels of the shape {list(labels.shape)} for "
                f"{len(digits.test)} images: give one label for each."
            )
        hits.append((labels == digits.test.labels).double().mean().item())
    return 100 * sum(hits) / len(hits)


def twenty_labels(pool: ImageSet, draw: int) -> ImageSet:
    """Two images of each class, drawn with this number as the seed."""
    generator = torch.Generator().manual_seed(draw)
    rows = []
    for label in pool.labels.unique():
        of_class = (pool.labels == label).nonzero().flatten()
        rows.append(of_class[torch.randperm(len(of_class), generator=generator)[:2]])
    return pool.subset(torch.cat(rows))


def play_smallest(answer: Answer, seconds: float) -> float:
    """The number of parameters of a network that reaches the goal on the test digits."""
    digits = load("mnist")
    made = in_time(lambda: answer(digits.train, seconds), seconds)
    model = _network(made, nn.Module, "a network")
    _goal(evaluate(model, digits.test)["accuracy"], ENOUGH_DIGITS)
    return float(sum(parameter.numel() for parameter in model.parameters()))


def play_cheapest(answer: Answer, seconds: float) -> float:
    """Millions of operations that the answer took to reach the goal on pullover or shirt.

    Matrix products and convolutions are counted, forward and backward, as in `flops`.
    """
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    task = load_task("tops")
    source, _ = source_model("tops")
    labelled = fifty_a_class(task.pool)
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with counter:
        made = in_time(lambda: answer(deepcopy(source), labelled), seconds)
    model = _network(made, nn.Module, "a network")
    _goal(evaluate(model, task.test)["accuracy"], ENOUGH_SHIRTS)
    return counter.get_total_flops() / 1e6


def fifty_a_class(pool: ImageSet) -> ImageSet:
    """The first fifty images of each class."""
    rows = [(pool.labels == label).nonzero().flatten()[:50] for label in pool.labels.unique()]
    return pool.subset(torch.cat(rows))


MINUTE = """\
from vaetl_helpers import vae
from vaetl_helpers.training import fit

def mine(digits, seconds):
    model = vae.mlp_vae(latent=10)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    fit(model, digits, vae.vae_loss(), epochs=1000, optimizer=adam, max_seconds=seconds)
    return model"""
TWENTY = """\
from vaetl_helpers import transfer

def mine(labelled):
    probe = transfer.linear_probe(labelled.images.flatten(1) / 255, labelled.labels)
    return lambda images: probe.predict(images.flatten(1) / 255)"""
SMALLEST = """\
from vaetl_helpers import nets
from vaetl_helpers.training import fit

def mine(digits, seconds):
    model = nets.mlp_classifier(width=32)
    fit(model, digits, epochs=1000, max_seconds=seconds)
    return model"""
CHEAPEST = """\
from vaetl_helpers import transfer
from vaetl_helpers.training import fit

def mine(source, labelled):
    transfer.freeze(source[:-1])
    generator = torch.Generator().manual_seed(0)
    source.head = transfer.new_head(source.head, {0: 0}, 2, generator)
    fit(source, labelled, epochs=20, batch_size=20)
    return source"""

CHALLENGES = {
    entry.id: entry
    for entry in (
        Challenge(
            id="vae.minute",
            chapter="03",
            task=(
                "Train the best VAE that {seconds} s of one CPU core give, on the 3,500 digits of "
                "the package. Your function gets the digits and the seconds, and returns a VAE."
            ),
            example=MINUTE,
            measure="minus the ELBO on 1,000 test digits (nats per image)",
            is_lower_better=True,
            play=play_minute,
        ),
        Challenge(
            id="transfer.twenty_labels",
            chapter="04",
            task=(
                "Read digits after twenty labels, two of each, in five draws. Your function gets "
                "twenty labelled images and returns a function from images to labels; it has "
                "{seconds} s for all five, and may use whatever was learned from images without "
                "labels, such as the VAE of the package."
            ),
            example=TWENTY,
            measure="accuracy on 1,000 test digits (%, mean of five draws)",
            is_lower_better=False,
            play=play_twenty_labels,
        ),
        Challenge(
            id="training.smallest",
            chapter="01c",
            task=(
                "Train the smallest network that gets 90 % of the test digits right, in "
                "{seconds} s of one CPU core. Your function gets the digits and the seconds, and "
                "returns the network."
            ),
            example=SMALLEST,
            measure="parameters of a network above 90 %",
            is_lower_better=True,
            play=play_smallest,
        ),
        Challenge(
            id="transfer.cheapest",
            chapter="04",
            task=(
                "Turn the source model for pullover or coat into one for pullover or shirt that "
                "gets 81 % of the test images right, with as few operations as you can. Your "
                "function gets the model, which misses that goal as it is, and fifty labelled "
                "images of each class, has {seconds} s, and returns the new network; all that it "
                "computes is counted."
            ),
            example=CHEAPEST,
            measure="operations of the adaptation (millions)",
            is_lower_better=True,
            play=play_cheapest,
        ),
    )
}
