"""The start page: a test of this machine in seconds, and a map of the chapters with the learner's progress."""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from vaetl_helpers import data, nets, vae
from vaetl_helpers.bootstrap import hosted_platform
from vaetl_helpers.chapters import Chapter, chapters_in, course_dir
from vaetl_helpers.device import best_device
from vaetl_helpers.errors import CourseError
from vaetl_helpers.exercises.progress import solved
from vaetl_helpers.output import show_table
from vaetl_helpers.requirements import extras, install_command, missing
from vaetl_helpers.settings import versions
from vaetl_helpers.training.evaluation import evaluate
from vaetl_helpers.training.loop import fit


def _packages() -> str:
    asked = (
        () if hosted_platform() else extras()
    )  # where a machine is lent, each chapter's first cell adds what that one needs
    lacking = {
        extra: needs
        for extra in asked
        if extra not in ("grading", "lab") and (needs := missing(extra))
    }
    if lacking:
        needs = [need for part in lacking.values() for need in part]
        raise CourseError(f"for {', '.join(lacking)} run {install_command(needs)}")
    return ", ".join(f"{name} {version}" for name, version in versions().items())


def _device() -> str:
    device = best_device()
    if device.problem:
        raise CourseError(device.problem)
    a = torch.ones(1000, 1000, device=device.device)
    start = time.perf_counter()
    error = ((a @ a) - 1000).abs().max().item()  # .item() waits for the device
    if error:
        raise CourseError(
            f"A matrix product is wrong by {error:g}: restart the machine, or use another one."
        )
    return f"{device.name}: a product of 1000 × 1000 matrices in {1000 * (time.perf_counter() - start):.0f} ms"


@functools.cache
def _clothes() -> data.Splits:
    return data.load("fashion-mnist")


def _images() -> str:
    images = _clothes().train.images
    mean = images.float().mean().item() / 255
    if abs(mean - 0.286) > 0.005:  # the mean over all 60,000 training images is 0.2860
        raise CourseError(
            f"The mean pixel is {mean:.4f} and not 0.286: install vaetl-helpers again."
        )
    return f"{len(images):,} training images, mean pixel {mean:.3f} (all of Fashion-MNIST: 0.286)"


def _training() -> str:
    splits = _clothes()
    torch.manual_seed(0)
    model = nets.mlp_classifier()
    fit(model, splits.train, epochs=1, batch_size=128, quiet=True)
    accuracy = 100 * evaluate(model, splits.validation)["accuracy"]
    if accuracy < 65:
        raise CourseError(
            f"One epoch gives {accuracy:.0f} % where about 78 % are usual: please report this."
        )
    return f"one epoch on the CPU, then {accuracy:.0f} % of {len(splits.validation):,} validation images are right"


def _mathematics() -> str:
    """KL(N(mu, sigma²) || N(0, 1)) by its formula and as the mean of log q(z) - log p(z) over drawn z."""
    generator = torch.Generator().manual_seed(0)
    mu, log_var = torch.tensor([[0.8]]), torch.tensor([[-0.7]])
    noise = torch.randn(100_000, generator=generator)
    z = mu[0] + (0.5 * log_var[0]).exp() * noise
    drawn = -0.5 * (noise.square() + log_var[0]) + 0.5 * z.square()
    exact, error = vae.kl(mu, log_var).item(), drawn.std().item() / len(drawn) ** 0.5
    if abs(drawn.mean().item() - exact) > 5 * error:
        raise CourseError(
            f"A KL divergence of {exact:.4f} came out as {drawn.mean():.4f}: please report this."
        )
    return f"KL by its formula {exact:.4f} nats, by 100,000 draws {drawn.mean():.4f} ± {error:.4f}"


def _folder() -> str:
    with tempfile.NamedTemporaryFile(dir=Path(), prefix=".vaetl-") as file:
        file.write(bytes(10**6))
        file.flush()
    free = shutil.disk_usage(Path()).free / 1e9
    if free < 2:
        raise CourseError(f"Only {free:.1f} GB of disk are free: runs and data need 2 GB.")
    return f"your work is written to this folder, {free:.0f} GB are free"


TESTS: dict[str, Callable[[], str]] = {
    "packages": _packages,
    "device": _device,
    "images": _images,
    "training": _training,
    "mathematics": _mathematics,
    "folder": _folder,
}


def self_test() -> bool:
    """Tries on this machine what the chapters need, shows a table and says what to mend; True where all is well."""
    rows, start = [], time.perf_counter()
    for name, test in TESTS.items():
        begun = time.perf_counter()
        try:
            mark, found = "[ok]", test()
        except Exception as error:  # whatever is wrong with a machine, the other tests go on
            text = str(error).strip() or type(error).__name__
            mark, found = (
                "[!!]",
                text if isinstance(error, CourseError) else f"{type(error).__name__}: {text}",
            )
        rows.append((mark, name, " ".join(found.split()), f"{time.perf_counter() - begun:.1f} s"))
    show_table(rows, ("", "tested", "found", "took"))
    wrong = [row[1] for row in rows if row[0] != "[ok]"]
    ending = (
        f"to mend: {', '.join(wrong)}. The chapters that do not need it work all the same."
        if wrong
        else "ready."
    )
    print(
        f"{len(rows) - len(wrong)} of {len(rows)} tests passed in {time.perf_counter() - start:.0f} s; {ending}"
    )
    return not wrong


def course_map(folder: Path | None = None) -> None:
    """Shows every chapter with its minutes, and how many of its exercises progress.jsonl in `folder` has as correct."""
    done = solved(folder)
    chapters = [chapter for chapter in chapters_in(course_dir()).values() if chapter.number != "00"]
    header = ("chapter", "solved", "reading (min)", "exercises (min)", "run (min)")
    show_table([_row(chapter, done) for chapter in chapters], header)
    every = {exercise for chapter in chapters for exercise in chapter.exercises}
    print(f"{len(every & done)} of {len(every)} exercises are solved.")


def _row(chapter: Chapter, done: set[str]) -> tuple[str, ...]:
    minutes = [f"{chapter.minutes.get(kind) or '–'}" for kind in ("reading", "exercises", "cpu")]
    count, of = len(done.intersection(chapter.exercises)), len(chapter.exercises)
    bar = f"{'■' * count}{'□' * (of - count)} {count} of {of}" if of else "–"
    return (f"[{chapter.number} {chapter.title}]({chapter.name}.ipynb)", bar, *minutes)
