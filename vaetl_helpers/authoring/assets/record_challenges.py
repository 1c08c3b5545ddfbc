"""Records what random settings reach in the challenges, for `practice.challenge`.

    python -m vaetl_helpers.authoring.assets.record_challenges vae.minute --settings 200 \\
        --seconds 60 --machine "two x86-64 cores" --out runs/challenges

Each setting is drawn with a seed of its own, so that the list is the same on every machine and in
however many pieces it is run. What a setting reached is a line in OUT/ID-SECONDS.jsonl; the same
command goes on after a kill, and `--max-minutes` ends it in between. Once all are there, the result
is kept in recorded/challenges/ID.json; with `--partial` what there is so far.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vaetl_helpers import nets, transfer, vae
from vaetl_helpers.authoring.assets.facts import origin
from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.data.registry import load
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say, write_whole
from vaetl_helpers.practice.challenges import CHALLENGES, FOLDER, Answer
from vaetl_helpers.training import NonFiniteLoss
from vaetl_helpers.training.evaluation import LossFunction, classification_loss
from vaetl_helpers.training.loop import fit
from vaetl_helpers.training.schedules import one_cycle
from vaetl_helpers.transfer.probes import SCALINGS

Setting = dict[str, Any]
FOR_EVER = 100_000  # epochs: the CPU time ends the training
WIDTHS = {"mlp": (4, 6, 8, 12, 16, 24, 32, 64), "cnn": (1, 2, 3, 4, 6, 8)}


def log_uniform(chance: random.Random, low: float, high: float) -> float:
    """A number whose logarithm is uniform between those of the ends."""
    return math.exp(chance.uniform(math.log(low), math.log(high)))


# ---------------------------------------------------------------- the settings of each challenge


def minute_setting(chance: random.Random) -> Setting:
    """A size of the VAE, a batch and a learning rate."""
    width = chance.choice((50, 100, 200, 400, 800))  # of each hidden layer
    return {
        "latent": chance.choice((2, 5, 10, 20, 50)),
        "widths": [width] * chance.choice((1, 2)),
        "batch_size": chance.choice((16, 32, 64, 128, 256)),
        "rate": log_uniform(chance, 3e-4, 1e-2),
    }


def minute_answer(setting: Setting) -> Answer:
    """A VAE that is trained with this setting as long as there is time."""

    def train(digits: ImageSet, seconds: float) -> nn.Module:
        model = vae.mlp_vae(setting["latent"], setting["widths"])
        _train(model, digits, setting, seconds, vae.vae_loss())
        return model

    return train


def smallest_setting(chance: random.Random) -> Setting:
    """A perceptron or a small CNN of some width, a batch and a learning rate."""
    kind = chance.choice(list(WIDTHS))
    return {
        "kind": kind,
        "width": chance.choice(WIDTHS[kind]),
        "batch_size": chance.choice((16, 32, 64, 128)),
        "rate": log_uniform(chance, 1e-3, 3e-2),
    }


def smallest_answer(setting: Setting) -> Answer:
    """A network of this setting, trained as long as there is time."""

    def train(digits: ImageSet, seconds: float) -> nn.Module:
        width = setting["width"]
        model = nets.mlp_classifier(width) if setting["kind"] == "mlp" else pooled_cnn(width)
        _train(model, digits, setting, seconds)
        return model

    return train


def pooled_cnn(width: int) -> nn.Sequential:
    """Two convolutions of `width` and twice as many filters, pooled to 3 × 3, and a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3),
        nn.Conv2d(width, 2 * width, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 9, 10),
    )


def twenty_setting(chance: random.Random) -> Setting:
    """Which features of the images, which scaling, and how strong the regression is."""
    return {
        "features": chance.choice(("pixels", "pca", "vae", "vae hidden")),
        "components": chance.choice((5, 10, 20, 40)),
        "scaling": chance.choice(SCALINGS),
        "c": log_uniform(chance, 1e-4, 1e2),
    }


def twenty_answer(setting: Setting) -> Answer:
    """Logistic regression on these features."""
    describe = _features(setting)

    def train(labelled: ImageSet) -> Callable[[Tensor], Any]:
        scalings = [setting["scaling"]]
        x = describe(labelled.images)
        probe = transfer.linear_probe(x, labelled.labels, grid=[setting["c"]], scalings=scalings)
        return lambda images: probe.predict(describe(images))

    return train


def _features(setting: Setting) -> Callable[[Tensor], Tensor]:
    """A function from images to features, none of which needs a label."""
    if setting["features"] == "pixels":
        return lambda images: images.flatten(1).float() / 255
    if setting["features"] == "pca":
        pool = load("mnist").train.images.flatten(1).float() / 255
        centre = pool.mean(0)
        *_, axes = torch.pca_lowrank(pool, setting["components"], niter=4)
        return lambda images: (images.flatten(1).float() / 255 - centre) @ axes
    model, _ = vae.pretrained("vae-mnist")
    is_hidden = setting["features"] == "vae hidden"
    network = model.encoder.get_submodule("body") if is_hidden else _Mean(model)
    return lambda images: transfer.features(network, images)


class _Mean(nn.Module):
    """The posterior means of a VAE, as features."""

    def __init__(self, model: vae.VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.encode(images).mean


def cheapest_setting(chance: random.Random) -> Setting:
    """What is trained, for how many epochs, in which batches and with which rate."""
    return {
        "trained": chance.choice(("head", "last block", "all")),
        "epochs": chance.choice((1, 2, 3, 5, 8, 12, 20)),
        "batch_size": chance.choice((5, 10, 20)),
        "rate": log_uniform(chance, 3e-4, 3e-2),
        "keep": chance.choice((True, False)),
    }


def cheapest_answer(setting: Setting) -> Answer:
    """The source model with a new head, some of it trained."""

    def adapt(source: nn.Sequential, labelled: ImageSet) -> nn.Module:
        keep = {0: 0} if setting["keep"] else {}
        generator = torch.Generator().manual_seed(0)
        old = cast(nn.Linear, source.get_submodule("head"))
        source.head = transfer.new_head(old, keep, 2, generator)
        parts = list(source)
        fixed = {"head": parts[:-1], "last block": parts[:-2], "all": []}[setting["trained"]]
        for part in fixed:
            transfer.freeze(part)
        adam = torch.optim.Adam(nets.trainable(source), lr=setting["rate"])
        options = {"batch_size": setting["batch_size"], "schedule": one_cycle, "quiet": True}
        fit(source, labelled, epochs=setting["epochs"], optimizer=adam, **options)
        return source

    return adapt


class TimeIsUp(Exception):
    """The CPU time of a setting is spent."""


def _train(
    model: nn.Module,
    digits: ImageSet,
    setting: Setting,
    seconds: float,
    loss_fn: LossFunction = classification_loss,
) -> None:
    """Trains with Adam at the setting's rate and batch until the CPU time is spent.

    `fit(max_seconds=…)` looks at the clock on the wall, which runs on while other programs work.
    """
    end = time.process_time() + seconds

    def timed(network: nn.Module, images: Tensor, labels: Tensor) -> Any:
        if time.process_time() > end:
            raise TimeIsUp
        return loss_fn(network, images, labels)

    adam = torch.optim.Adam(model.parameters(), lr=setting["rate"], fused=True)
    options = {"batch_size": setting["batch_size"], "optimizer": adam, "quiet": True}
    with contextlib.suppress(TimeIsUp):
        fit(model, digits, timed, epochs=FOR_EVER, **options)


SETTINGS: dict[str, tuple[Callable[[random.Random], Setting], Callable[[Setting], Answer]]] = {
    "vae.minute": (minute_setting, minute_answer),
    "training.smallest": (smallest_setting, smallest_answer),
    "transfer.twenty_labels": (twenty_setting, twenty_answer),
    "transfer.cheapest": (cheapest_setting, cheapest_answer),
}


# ---------------------------------------------------------------- running them, in pieces


def run(id: str, count: int, seconds: float, journal: Path, max_minutes: float) -> list[Setting]:
    """Runs the settings that are missing in the journal; all lines that are there, in order."""
    draw, answer_of = SETTINGS[id]
    lines = _read(journal)
    started = time.monotonic()
    for number in range(count):
        if number in lines:
            continue
        if time.monotonic() - started > 60 * max_minutes:
            say(
                f"Stopped after {max_minutes:g} minutes: {len(lines)} of {count} settings are done."
            )
            break
        setting = draw(random.Random(f"{id} {number}"))
        torch.manual_seed(number)
        score = _score(id, answer_of(setting), seconds)
        lines[number] = {"number": number, "score": score, **setting}
        with journal.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(lines[number])}\n")
        say(f"{id} {number + 1} of {count}: {score} {setting}", flush=True)
    return [lines[number] for number in sorted(lines) if number < count]


def _score(id: str, answer: Answer, seconds: float) -> float | None:
    """The score of a setting; None where it misses the goal, or its loss stopped being a number."""
    try:
        return CHALLENGES[id].play(answer, seconds)
    except (CourseError, NonFiniteLoss) as error:
        say(error)
        return None


def _read(journal: Path) -> dict[int, Setting]:
    """The whole lines of a journal, by the number of the setting."""
    lines = {}
    if journal.exists():
        for text in journal.read_text("utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # cut off by a kill
                continue
            lines[line["number"]] = line
    return lines


def main() -> None:
    """Records one challenge, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id", choices=sorted(SETTINGS))
    parser.add_argument("--settings", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU time of each setting")
    parser.add_argument("--machine", required=True, help="in a few words")
    parser.add_argument("--out", type=Path, default=Path("runs/challenges"))
    parser.add_argument("--max-minutes", type=float, default=math.inf, help="stop after that")
    parser.add_argument("--partial", action="store_true", help="keep what there is so far")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    journal = options.out / f"{options.id}-{options.seconds:g}.jsonl"
    lines = run(options.id, options.settings, options.seconds, journal, options.max_minutes)
    if len(lines) < options.settings and not options.partial:
        say(f"{options.settings - len(lines)} settings are missing: run the same command again.")
        return
    # The command that gives this very list, in however many pieces it was made.
    arguments = [options.id, "--settings", str(len(lines)), "--seconds", f"{options.seconds:g}"]
    arguments += ["--machine", options.machine]
    content = {
        "challenge": options.id,
        "seconds": options.seconds,
        "scores": [line["score"] for line in lines],
        "settings": [{k: v for k, v in line.items() if k != "score"} for line in lines],
        **origin("record_challenges", arguments, options.machine),
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{options.id}.json"
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    say(f"{len(lines)} settings are kept in {path.name}.")


if __name__ == "__main__":
    main()
