"""Small networks trained at once, and VAEs at once, against what the course did before.

    python benchmarks/fit_together.py --json

*Networks*: chapter 5's (784-256-32-10), from scratch and from a VAE, ten label draws of the
embedded MNIST at once with the study's epochs and early stopping, validation and test included,
against the same at commit 6a131b7. Each ratio is draws per CPU second, now over then. Both versions
draw the same labels and end with the same accuracies, which is checked.

*VAEs*: ten of chapter 5's (784-256-32 and back) on one source at once, against one after the other.

Two processes with one thread each take turns, so that what else runs on the machine hits both; the
ratios are medians over turns. Needs the repository with its history.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EARLIER = "6a131b7"
COUNTS = (50, 100, 500)  # labels
METHODS = ("scratch", "VAE fine-tuned")
STEPS = 200  # about as many in each training, as in the study
RATE = 3e-3
STARTS_SEEN = 10_000  # images in the pretraining of each VAE that is fine-tuned
MOST_POINTS = 0.1  # by which mean accuracies may differ
MOST_NATS = 0.1  # by which the bounds of VAEs may differ

Result = dict[str, Any]


# ---------------------------------------------------------------- in a process of its own


class Worker:
    """Runs cases with the `vaetl_helpers` on Python's path: of today, or of the earlier commit."""

    def __init__(self, draws: int, seen: int) -> None:
        import torch

        try:
            from vaetl_helpers import vae_transfer
        except ImportError:  # its name at the earlier commit
            from vaetl_helpers import combine as vae_transfer

        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # as in the workers of a study
        self.transfer = vae_transfer
        self.target = vae_transfer.load_target("mnist")
        self.source = vae_transfer.load_source("MNIST")
        self.seeds = range(draws)
        self.seen = seen
        self.starts = {k: vae_transfer.pretrain(self.source, k, STARTS_SEEN) for k in self.seeds}

    def networks(self, method: str, labels: int) -> Result:
        """Trains a network on each label draw; CPU seconds and accuracies in per cent."""
        draws = self._label_draws(labels)
        started = time.process_time()
        if method == "scratch":
            runs = self.transfer.scratch(self.target, draws, rate=RATE, steps=STEPS)
        else:
            runs = self.transfer.fine_tuned(self.target, self.starts, draws, rate=RATE, steps=STEPS)
        seconds = time.process_time() - started
        accuracies = [100 * run["test accuracy"].float().mean().item() for run in runs]
        return {"seconds": seconds, "accuracies": accuracies}

    def vaes(self, at_once: bool) -> Result:
        """Trains a VAE from each seed; CPU seconds and bounds on validation images, in nats."""
        import torch

        from vaetl_helpers.vae import elbo

        train = self.transfer.pretrain
        started = time.process_time()
        if at_once:
            made = self.transfer.pretrain_together(self.source, self.seeds, self.seen)
        else:
            made = [train(self.source, seed, self.seen) for seed in self.seeds]
        seconds = time.process_time() - started
        images = self.target.validation.images / 255
        bounds = []
        with torch.no_grad():
            for one in made:
                torch.manual_seed(0)
                bounds.append(elbo(one.model, images).elbo.mean().item())
        return {"seconds": seconds, "bounds": bounds}

    def _label_draws(self, labels: int) -> list[SimpleNamespace]:
        from vaetl_helpers import study

        of_pool = self.target.train
        per_class = labels // len(of_pool.classes)
        drawn = study.draw_labels(of_pool.labels, per_class, len(self.seeds), 0)
        indices = getattr(drawn, "indices", None) or [draw.indices for draw in drawn]
        return [
            SimpleNamespace(indices=indices[k], pretrain_seed=k, seed=1000 + k) for k in self.seeds
        ]


def work(draws: int, seen: int) -> None:
    """Answers each line of standard input, the name of a method of Worker and its arguments."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        worker = Worker(draws, seen)
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(getattr(worker, name)(*arguments)), file=answers, flush=True)


# ---------------------------------------------------------------- the comparison


class Process:
    """A worker in a process of its own, with the package in the folder `root`."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        command = [sys.executable, __file__, "--work"]
        command += ["--draws", str(options.draws), "--seen", str(options.seen)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | threads | {"PYTHONPATH": str(root)},
        )
        self._answer()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def ask(self, *case: Any) -> Any:
        """What the worker's method returns; it gets its arguments as JSON."""
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("A worker ended early: run it alone, with --work, to see why.")
        return json.loads(line)


@contextlib.contextmanager
def earlier_version() -> Iterator[Path]:
    """A folder with the package at the earlier commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", EARLIER, "vaetl_helpers"],
            capture_output=True,
            check=True,
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def compare_networks(now: Process, then: Process, turns: int) -> dict[str, float]:
    """The ratios of draws per CPU second, by method and number of labels."""
    ratios = {}
    for method in METHODS:
        for labels in COUNTS:
            pairs = []
            for _ in range(turns):
                before = then.ask("networks", method, labels)
                after = now.ask("networks", method, labels)
                check_close(before["accuracies"], after["accuracies"], MOST_POINTS)
                pairs.append((before["seconds"], after["seconds"]))
            ratios[f"{method}, {labels} labels"] = median_ratio(pairs)
    return ratios


def compare_vaes(now: Process, turns: int) -> float:
    """The ratio of VAEs per CPU second, at once over one after the other."""
    pairs = []
    for _ in range(turns):
        alone = now.ask("vaes", False)
        at_once = now.ask("vaes", True)
        check_close(alone["bounds"], at_once["bounds"], MOST_NATS)
        pairs.append((alone["seconds"], at_once["seconds"]))
    return median_ratio(pairs)


def check_close(before: Sequence[float], after: Sequence[float], most: float) -> None:
    """Raises AssertionError where the means over the networks differ by more than `most`."""
    gap = abs(statistics.mean(after) - statistics.mean(before))
    assert gap <= most, f"the two do not train the same networks: {before}, {after}"


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Seconds before over seconds after, the median over turns."""
    return statistics.median(before / after for before, after in pairs)


def main() -> None:
    """Prints the ratios, as JSON with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seen", type=int, default=10_000, help="images shown to each VAE")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.draws, options.seen)
        return
    with earlier_version() as folder, Process(ROOT, options) as now:
        with Process(folder, options) as then:
            ratios = compare_networks(now, then, options.turns)
        vaes = compare_vaes(now, options.turns)
    facts = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": importlib.metadata.version("torch"),
    }
    if options.json:
        print(json.dumps({"networks": ratios, "vaes": vaes} | facts))
        return
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f} times as many draws per CPU second as at {EARLIER}")
    print(f"{options.draws} VAEs at once: {vaes:.1f} times as many per CPU second as one by one")
    print(", ".join(facts.values()))


if __name__ == "__main__":
    main()
