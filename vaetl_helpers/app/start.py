"""The start page: a test of this machine, and a map of the chapters with the learner's progress."""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from vaetl_helpers import data, nets, vae
from vaetl_helpers.bootstrap import hosted_platform
from vaetl_helpers.chapters import Chapter, chapters_in, course_dir
from vaetl_helpers.device import best_device
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import say, show_table
from vaetl_helpers.progress import solved
from vaetl_helpers.requirements import extras, install_command, missing
from vaetl_helpers.settings import versions
from vaetl_helpers.training.evaluation import evaluate
from vaetl_helpers.training.loop import fit


def _packages() -> str:
    # On a hosted machine each chapter's first cell adds what that one needs.
    checked = () if hosted_platform() else extras()
    not_installed = {extra: missing(extra) for extra in checked if extra not in ("grading", "lab")}
    names = [extra for extra, needs in not_installed.items() if needs]
    if names:
        needs = [need for extra in names for need in not_installed[extra]]
        raise CourseError(f"for {', '.join(names)} run {install_command(needs)}")
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
    milliseconds = 1000 * (time.perf_counter() - start)
    return f"{device.name}: a product of 1000 × 1000 matrices in {milliseconds:.0f} ms"


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
    count = len(splits.validation)
    return f"one epoch on the CPU, then {accuracy:.0f} % of {count:,} validation images are right"


def _mathematics() -> str:
    """KL(N(mu, sigma²) || N(0, 1)) by its formula, and as the mean of log q(z) - log p(z)."""
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


class Finding(NamedTuple):
    """What a test has found, in words, and how long it took."""

    name: str
    passed: bool
    text: str
    seconds: float

    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        mark = "[ok]" if self.passed else "[!!]"
        return mark, self.name, " ".join(self.text.split()), f"{self.seconds:.1f} s"


def self_test() -> bool:
    """Tries on this machine what the chapters need; True where all is well.

    Shows a table and says what to mend.
    """
    start = time.perf_counter()
    findings = [_tried(name, test) for name, test in TESTS.items()]
    show_table([finding.row() for finding in findings], ("", "tested", "found", "took"))
    wrong = [finding.name for finding in findings if not finding.passed]
    ending = "ready."
    if wrong:
        ending = f"to mend: {', '.join(wrong)}. The chapters that do not need it work all the same."
    passed = len(findings) - len(wrong)
    seconds = time.perf_counter() - start
    say(f"{passed} of {len(findings)} tests passed in {seconds:.0f} s; {ending}")
    return not wrong


def _tried(name: str, test: Callable[[], str]) -> Finding:
    start = time.perf_counter()
    passed = False
    try:
        text = test()
        passed = True
    except CourseError as error:
        text = str(error).strip() or type(error).__name__
    except Exception as error:  # whatever is wrong with a machine, the other tests go on
        text = f"{type(error).__name__}: {str(error).strip() or type(error).__name__}"
    return Finding(name, passed, text, time.perf_counter() - start)


def course_map(folder: Path | None = None) -> None:
    """Shows every chapter with its minutes, and how many of its exercises are solved.

    Those are solved that progress.jsonl in `folder` has as correct.
    """
    solved_ids = solved(folder)
    chapters = [chapter for chapter in chapters_in(course_dir()).values() if chapter.number != "00"]
    header = ("chapter", "solved", "reading (min)", "exercises (min)", "run (min)")
    show_table([_row(chapter, solved_ids) for chapter in chapters], header)
    exercises = {exercise for chapter in chapters for exercise in chapter.exercises}
    say(f"{len(exercises & solved_ids)} of {len(exercises)} exercises are solved.")


def _row(chapter: Chapter, solved_ids: set[str]) -> tuple[str, ...]:
    minutes = [str(chapter.minutes.get(kind) or "–") for kind in ("reading", "exercises", "cpu")]
    total = len(chapter.exercises)
    count = len(solved_ids.intersection(chapter.exercises))
    bar = "–"
    if total:
        bar = f"{'■' * count}{'□' * (total - count)} {count} of {total}"
    return (f"[{chapter.number} {chapter.title}]({chapter.name}.ipynb)", bar, *minutes)
