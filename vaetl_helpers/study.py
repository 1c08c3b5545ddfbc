"""Repeated runs and what may be said of them: label draws, studies, paired effects, intervals and verdicts.

A repeat is a pair of fresh seeds (pretraining seed, label draw), the same pair for every method. What a run returns is
kept in a tidy table; accuracies are in per cent, so that differences between methods are in points.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import joblib
import numpy as np
import torch
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from vaetl_helpers.runtime import CourseError, someone_watches, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("study", "data", "method", "labels", "draw", "pretrain_seed", "metric", "value", "seconds")
SHARED = "shared labels"  # a metric of every run: the mean fraction of its labels that another draw has too
CENSORED = " censored"  # ends the name of the metric that says whether a cost is a bound


# ---------------------------------------------------------------- label draws


@dataclass(frozen=True)
class Draws:
    """Label draws from a pool of `pool` images: for each draw its indices [labels], sorted, and what it shares.

    `shared` is, for each draw, the mean fraction of its labels that another draw has too: 0 where all are disjoint.
    """

    indices: list[Tensor]
    pool: int
    shared: list[float]

    @property
    def disjoint(self) -> bool:
        return not any(self.shared)


def draw_labels(labels: Tensor, per_class: int, draws: int, seed: int, disjoint: str = "where possible") -> Draws:
    """Draws `per_class` labels of every class, `draws` times: stratified, seeded, and the same for every method.

    Each class is dealt out like a shuffled pack of cards; where it is used up, it is shuffled again and draws overlap,
    unless `disjoint` is "always". The first draws stay the same however many follow. `labels`: class numbers [pool].
    Raises CourseError where a class has too few images.
    """
    if disjoint not in ("where possible", "always"):
        raise unknown("value of disjoint", disjoint, ("where possible", "always"))
    labels = labels.cpu()
    classes, sizes = labels.unique(return_counts=True)
    needed = per_class * (draws if disjoint == "always" else 1)
    if draws < 1 or not 1 <= needed <= int(sizes.min()):
        raise CourseError(
            f"{draws} draws of {per_class} labels a class need at least {max(1, needed)} of each class, but the "
            f"smallest class of the pool has {int(sizes.min())}: take fewer, and at least one."
        )
    deals = [_deal((labels == c).nonzero().flatten(), per_class, draws, [seed, per_class, c]) for c in classes.tolist()]
    indices = [torch.cat(hands).sort().values for hands in zip(*deals, strict=True)]
    others = torch.bincount(torch.cat(indices), minlength=len(labels)) - 1  # how many other draws have this image
    shared = [others[chosen].sum().item() / (len(chosen) * max(1, draws - 1)) for chosen in indices]
    return Draws(indices, len(labels), shared)


def _deal(pool: Tensor, size: int, draws: int, seed: list[int]) -> list[Tensor]:
    """Hands of `size` from a shuffled pack; the rest of a pack is dealt before any card comes a second time."""
    generator, pack, hands = np.random.default_rng(seed), np.empty(0, int), []
    for _ in range(draws):
        if len(pack) < size:
            fresh = generator.permutation(pool.numpy())
            pack = np.append(pack, fresh[np.isin(fresh, pack).argsort(kind="stable")])  # those still held come last
        hands.append(torch.from_numpy(pack[:size]))
        pack = pack[size:]
    return hands


# ---------------------------------------------------------------- running a study


@dataclass(frozen=True)
class Draw:
    """One repeat: sorted `indices` [labels] into the pool, and the seeds of pretraining and of everything else."""

    labels: int
    number: int
    indices: Tensor
    shared: float  # as in Draws
    pretrain_seed: int
    seed: int


class Reached(NamedTuple):
    """A cost at which a target was reached, or a bound: `censored` is 1 for "at least", -1 for "at most"."""

    value: float
    censored: int = 0


@dataclass(frozen=True)
class Method:
    """A way to learn from few labels; `run(draw)` returns a dict of metrics, accuracies in per cent.

    A metric is a number, a `Reached`, or one value a test image [images], where booleans count as per cent correct:
    its mean is the metric, and the spread over images then enters the intervals. "seconds" replaces the measured time.
    `run` is a function of its draw alone: a run starts with PyTorch and NumPy seeded by `draw.seed`. With `together` it
    takes the list of all draws and returns a list. `settings` is what a study must still have to be resumed (JSON).
    """

    name: str
    run: Callable[[Any], Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    together: bool = False


def run_study(
    name: str,
    methods: Sequence[Method],
    counts: Sequence[int],
    draws: int,
    *,
    labels: Tensor,
    data: str = "",
    seed: int = 0,
    pretrain_seeds: Sequence[int] | None = None,
    out: Path | str | None = None,
    jobs: int | None = None,
    threads: int = 1,
    quiet: bool = False,
) -> Table:
    """Runs every method on `draws` label draws at each of `counts` labels (of all classes together) from one pool.

    `labels`: class numbers of the pool [pool]. `pretrain_seeds` are taken in turn; by default every draw has a fresh
    one. With `out` (a CSV path) finished runs are kept beside it in a .jsonl file, from which the same call continues.
    Runs go parallel in `jobs` processes. On a cluster leave `jobs` out and put one line around the call:
    `with distributed.Client("HOST:8786"), joblib.parallel_config("dask"):`, with your scheduler's address and this
    package on its workers; without a client joblib raises ValueError. Only the caller writes files. The table depends
    on none of this; each run has `threads` threads, because their number changes rounding.
    Raises CourseError for a method that fails, for other settings than the file's, and where the file is damaged.
    """
    plan = {int(count): _repeats(labels, int(count), draws, seed, pretrain_seeds) for count in counts}
    journal = _Journal(out, _facts(methods, plan, labels, study=name, data=data, seed=seed, threads=threads))
    for count, repeats in plan.items():
        started, tasks = time.monotonic(), journal.missing(methods, repeats)
        workers = joblib.Parallel(jobs, return_as="generator_unordered")
        runs = workers(joblib.delayed(_execute)(*task, threads, os.getpid()) for task in tasks)
        for entries in tqdm(runs, f"{count} labels", len(tasks), leave=False, disable=quiet or not someone_watches()):
            journal.add(entries)
        if journal.failed:
            raise journal.failed
        if not quiet:
            print(f"{count} labels: {len(methods)} methods × {draws} draws, {time.monotonic() - started:.1f} s")
    if out:
        journal.table().write(out)
    return journal.table()


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0]) >> 1


def _repeats(labels: Tensor, count: int, draws: int, seed: int, pretrain_seeds: Sequence[int] | None) -> list[Draw]:
    """The repeats at `count` labels, seeded by (study seed, labels, draw) and not by their order."""
    classes = len(labels.unique())
    if count % classes:
        raise CourseError(f"{count} labels cannot be split over {classes} classes: take a multiple of {classes}.")
    drawn = draw_labels(labels, count // classes, draws, seed)
    turn = [_seed(0, seed, n) for n in range(draws)] if pretrain_seeds is None else list(pretrain_seeds)
    return [
        Draw(count, number, chosen, drawn.shared[number], turn[number % len(turn)], _seed(1, seed, count, number))
        for number, chosen in enumerate(drawn.indices)
    ]


def _facts(methods: Sequence[Method], plan: dict[int, list[Draw]], labels: Tensor, **others: Any) -> dict[str, Any]:
    """What two studies must have in common to be the same one, as JSON."""
    settings = {method.name: dict(method.settings) for method in methods}
    if len(settings) < len(methods) or not plan or not methods:
        raise CourseError("A study needs numbers of labels and methods, each with a name of its own: check the lists.")
    seeds = {draw.number: draw.pretrain_seed for repeats in plan.values() for draw in repeats}
    pool = sha256(labels.cpu().numpy().tobytes()).hexdigest()[:12]
    facts = others | {"pool": pool, "methods": settings, "counts": list(plan), "pretrain_seeds": seeds}
    return json.loads(json.dumps(facts, default=str))


@cache
def _end_with(study: int) -> None:
    """Ends this worker process soon after the one that runs the study was killed; joblib would leave it 5 minutes."""

    def watch() -> None:
        while os.getppid() == study:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _alone(seed: int, threads: int) -> Iterator[None]:
    """Seeds the generators and fixes the number of threads; both are put back afterwards."""
    from threadpoolctl import threadpool_limits

    with torch.random.fork_rng(devices=[]), threadpool_limits(threads), ExitStack() as afterwards:
        afterwards.callback(torch.set_num_threads, torch.get_num_threads())
        afterwards.callback(np.random.set_state, np.random.get_state())
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)  # as `setup` does, which another process has not called
        torch.manual_seed(seed)
        np.random.seed(seed)
        yield


def _execute(method: Method, repeats: list[Draw], threads: int, study: int) -> list[dict[str, Any]] | CourseError:
    """Runs a method, perhaps in another process: one entry a repeat, or what went wrong, to be raised by the study."""
    if os.getppid() == study:
        _end_with(study)
    try:
        with _alone(repeats[0].seed, threads):
            started = time.perf_counter()
            results = method.run(repeats) if method.together else [method.run(repeats[0])]
            seconds = (time.perf_counter() - started) / len(repeats)
        return [_entry(method.name, draw, dict(r), seconds) for draw, r in zip(repeats, results, strict=True)]
    except Exception as error:  # a method is the reader's own code
        which = "all draws" if method.together else f"draw {repeats[0].number}"
        failure = CourseError(
            f"Method '{method.name}' failed at {repeats[0].labels} labels, {which} ({type(error).__name__}: {error}): "
            "mend it and run the study again; with `out`, the runs that were finished are kept."
        )
        failure.__cause__ = error
        failure.add_note(traceback.format_exc())  # survives the way back from another process, the cause does not
        return failure


def _entry(method: str, draw: Draw, result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """A finished run: its metrics as numbers, and the values by image of those that have them."""
    seconds = float(result.pop("seconds", seconds))
    metrics, images = {SHARED: draw.shared}, {}
    for metric, value in result.items():
        number, *bound = value if isinstance(value, Reached) else (value,)
        given = torch.as_tensor(number).detach().cpu()
        values = given.double().numpy() * (100 if given.dtype == torch.bool else 1)
        if given.dim():
            images[metric] = values = values.astype(np.float32)  # as in the file, so that a resumed study has the same
        metrics[metric] = float(values.mean(dtype=np.float64))
        if bound:
            metrics[metric + CENSORED] = float(bound[0])
        if not math.isfinite(metrics[metric]):
            raise CourseError(f"{metric} is not finite: return a number, or Reached(bound, 1) for a censored run")
        if "accuracy" in metric and 0 < metrics[metric] <= 1 and given.dtype != torch.bool:
            raise CourseError(f"{metric} is {metrics[metric]:.3g}, but per cent were expected: multiply it by 100")
    facts = {"method": method, "labels": draw.labels, "draw": draw.number, "pretrain_seed": draw.pretrain_seed}
    return facts | {"seconds": seconds, "metrics": metrics, "images": images}


class _Journal:
    """A study's facts and finished runs, kept in a file of one JSON line each; without a path, in memory only."""

    def __init__(self, path: Path | str | None, facts: dict[str, Any]) -> None:
        self.path = Path(path).with_suffix(".jsonl") if path else None
        self.failed: CourseError | None = None
        stored = self._read(mend=bool(facts))
        if not stored and not facts:
            raise CourseError(f"No study was kept in {self.path}: check the path, or run the study.")
        if not stored:
            self._append([facts])
        self.facts, *runs = stored or [facts]
        if differ := [key for key in facts if self.facts.get(key) != facts[key]]:
            told = "; ".join(f"{key} {self.facts.get(key)} there and {facts[key]} here" for key in differ)
            raise CourseError(f"{self.path} is of another study ({told}): give another `out`, or remove the file.")
        self.runs = {_key(run): run for run in runs}

    def _read(self, mend: bool) -> list[dict[str, Any]]:
        """The lines; one that a kill cut off is dropped, from the file too unless a study may still be writing it."""
        content = self.path.read_bytes() if self.path and self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if mend and whole != content:
            os.truncate(self.path, len(whole))
        lines = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                lines.append(json.loads(line))
                if number == 1:
                    lines[0]["study"], lines[0]["data"], lines[0]["methods"], lines[0]["counts"]
                else:
                    _key(lines[-1]), lines[-1]["metrics"], lines[-1]["seconds"]
                    lines[-1]["images"] = {name: _unpack(text) for name, text in lines[-1]["images"].items()}
            except (ValueError, KeyError, TypeError, zlib.error) as error:
                raise CourseError(
                    f"{self.path} is damaged in line {number}, which is no finished run: remove that line and run the "
                    "study again, which makes up for it, or remove the file to start anew."
                ) from error
        return lines

    def _append(self, entries: list[dict[str, Any]]) -> None:
        if not self.path:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write("".join(json.dumps(entry, default=_pack) + "\n" for entry in entries).encode())
        except OSError as error:
            raise CourseError(
                f"{self.path} cannot be written ({error.strerror}): free some space or choose another `out`, and run "
                "the study again; what it holds is kept."
            ) from error

    def missing(self, methods: Sequence[Method], repeats: list[Draw]) -> list[tuple[Method, list[Draw]]]:
        """What is still to be run, draw by draw; of a method that takes its draws together, all of them."""
        todo = [(m, d) for d in repeats for m in methods if (m.name, d.labels, d.number) not in self.runs]
        whole = [m for m in methods if m.together and any(m is method for method, _ in todo)]
        return [(m, [d]) for m, d in todo if not m.together] + [(m, repeats) for m in whole]

    def add(self, entries: list[dict[str, Any]] | CourseError) -> None:
        """Keeps the entries of a finished run; where one failed, raises, or says so and keeps those still to come."""
        if not isinstance(entries, CourseError):
            self._append(entries)
            self.runs |= {_key(entry): entry for entry in entries}
        elif self.path:
            print(entries)
            self.failed = self.failed or entries
        else:
            raise entries

    def table(self) -> Table:
        """The table of all runs, in the plan's order whatever the order in which they ended."""
        table, names, counts = Table([]), list(self.facts["methods"]), self.facts["counts"]
        for key in sorted(self.runs, key=lambda key: (counts.index(key[1]), key[2], names.index(key[0]))):
            for metric, value in self.runs[key]["metrics"].items():
                known = self.facts | self.runs[key] | {"metric": metric, "value": value}
                table.rows.append({column: known[column] for column in COLUMNS})
            table.images |= {(*key, metric): values for metric, values in self.runs[key]["images"].items()}
        return table


def _key(run: dict[str, Any]) -> tuple[str, int, int]:
    return run["method"], run["labels"], run["draw"]


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.tobytes())).decode()


def _unpack(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.float32)


# ---------------------------------------------------------------- the table


@dataclass
class Table:
    """A study's results: tidy rows with COLUMNS, and where runs gave them, values by image [images] of their metrics.

    `images` is keyed by (method, labels, draw, metric). Tables of one plan are joined by adding their rows and images.
    """

    rows: list[dict[str, Any]]
    images: dict[tuple[str, int, int, str], np.ndarray] = field(default_factory=dict)

    def known(self, column: str) -> list[Any]:
        """The different values of a column, in the order of the rows."""
        return list(dict.fromkeys(row[column] for row in self.rows))

    def values(self, method: str, metric: str, labels: int) -> dict[int, float]:
        """One value a draw; CourseError for an unknown name, and for a value that is not finite."""
        for column, value in (("method", method), ("metric", metric), ("labels", labels)):
            if value not in self.known(column):
                raise unknown(column, value, map(str, self.known(column)))
        wanted = (method, metric, labels)
        found = {r["draw"]: r["value"] for r in self.rows if (r["method"], r["metric"], r["labels"]) == wanted}
        broken = [draw for draw, value in found.items() if not math.isfinite(value)]
        if broken or not found:
            what = f"is not finite in draw {broken[0]}" if broken else "was not measured"
            raise CourseError(f"{metric} of '{method}' at {labels} labels {what}: run these again before you compare.")
        return dict(sorted(found.items()))

    def reached(self, method: str, metric: str, labels: int) -> dict[int, Reached]:
        """One cost a draw, with whether it is a bound."""
        values = self.values(method, metric, labels)
        bounds = self.values(method, metric + CENSORED, labels) if metric + CENSORED in self.known("metric") else {}
        return {draw: Reached(value, int(bounds.get(draw, 0))) for draw, value in values.items()}

    def write(self, path: Path | str) -> None:
        """Writes the rows as CSV, whole or not at all."""
        partial = Path(path).with_name(f".{Path(path).name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(path)


def read_table(path: Path | str) -> Table:
    """The runs that a study kept beside its CSV `path`, with values by image; CourseError where there are none."""
    return _Journal(path, {}).table()


# ---------------------------------------------------------------- effects and verdicts


@dataclass(frozen=True)
class Effect:
    """A mean difference with its 95 % interval over `n` repeats, and in `label` what the interval holds for.

    `sd` is the standard deviation of the differences between repeats, `se` the standard error of the mean, `df` its
    degrees of freedom. An end that is infinite says that the effect is only bounded.
    """

    effect: float
    low: float
    high: float
    n: int
    sd: float
    label: str
    se: float
    df: float

    @property
    def p(self) -> float:
        """Two-sided p value of "no effect"; 1 where the effect lies on the side that is not bounded."""
        if math.isinf(self.high if self.effect < 0 else self.low):
            return 1.0
        if self.se == 0:
            return float(self.effect == 0)
        return float(2 * stats.t.sf(abs(self.effect) / self.se, self.df))

    @property
    def times(self) -> tuple[float, float, float]:
        """For the effect of a logarithm: the ratio and the ends of its interval."""
        return math.exp(self.effect), math.exp(self.low), math.exp(self.high)


def effect_of(differences: Any, shared: float = 0.0, label: str = "") -> Effect:
    """The mean of paired differences [repeats] or [repeats, images] with its 95 % Student t interval.

    SE² = s²·(1/n + ρ/(1 − ρ)) + σ²_images/m. s² is the variance of the n repeats' means. ρ, `shared`, is the mean
    fraction of its labels that a draw has in common with another: repeats correlate by it, and this is the correction
    of Nadeau and Bengio (2003, section 3), whose ρ = n₂/(n₁ + n₂) likewise is the fraction of the pool in one sample
    (simulated at 5 %: 5 to 6.4 % false claims for ρ up to 0.22, 7.4 % at 0.4).
    σ²_images = max(0, s²_images − MS_rest/n) is the component of the m test images in the two-way random effects model
    D[r, i] = μ + repeat r + image i + rest, from the variance of the images' means and the residual mean square. The
    degrees of freedom are Satterthwaite's. The correction takes all of s² for the labels' doing, so that it is too wide
    where other things (initialisation, the pretrained model) vary more; the null hypothesis is then kept in above 95 %.
    Raises CourseError below 2 repeats, and for values that are not finite.
    """
    table = np.asarray(differences, float)
    means = table.mean(1) if table.ndim == 2 else table
    n, effect = len(means), float(means.mean())
    if n < 2 or not np.isfinite(means).all():
        what = "one repeat has none" if n < 2 else "a difference is not finite"
        raise CourseError(f"An interval needs at least 2 repeats with finite values, but {what}: take more draws.")
    variance = means.var(ddof=1)
    repeats = variance * (1 / n + shared / (1 - shared))
    images, m = 0.0, table.shape[-1]
    if table.ndim == 2 and m > 1:
        of_image = table.mean(0)
        rest = ((table - means[:, None] - of_image + effect) ** 2).sum() / ((n - 1) * (m - 1))
        images = max(0.0, of_image.var(ddof=1) - rest / n) / m
    se = math.sqrt(repeats + images)
    df = (repeats + images) ** 2 / (repeats**2 / (n - 1) + images**2 / (m - 1)) if images else n - 1
    half = float(stats.t.ppf(0.975, df)) * se
    return Effect(effect, effect - half, effect + half, n, math.sqrt(variance), label, se, float(df))


def paired(table: Table, a: str, b: str, metric: str, labels: int, over: str = "draws") -> Effect:
    """By how much method `a` lies above `b` in `metric`, in its unit (points for per cent), draw by draw.

    Test images enter the interval where runs gave values by image. `over="seeds"` takes the mean of the draws with one
    pretraining seed as a repeat; over draws, seeds that repeat make the interval conditional, and the label says so.
    """
    pairs = _pairs(table.values(a, metric, labels), table.values(b, metric, labels), a, b)
    images = {draw: [table.images.get((method, labels, draw, metric)) for method in (a, b)] for draw in pairs}
    if all(values is not None for pair in images.values() for values in pair):
        by_image = {draw: left.astype(float) - right for draw, (left, right) in images.items()}
        return _over(table, by_image, [labels], over)
    notes = ["for these test images"] if "test" in metric else []
    return _over(table, {draw: left - right for draw, (left, right) in pairs.items()}, [labels], over, notes)


def _pairs(first: Mapping[int, Any], second: Mapping[int, Any], a: str, b: str) -> dict[int, tuple[Any, Any]]:
    if odd := sorted(first.keys() ^ second.keys()):
        raise CourseError(f"Draw {odd[0]} was run with only one of '{a}' and '{b}': run the study to its end.")
    return {draw: (first[draw], second[draw]) for draw in first}


def _over(table: Table, of: Mapping[int, Any], counts: Sequence[int], over: str, notes: Sequence[str] = ()) -> Effect:
    """The effect of differences by draw, over draws or pretraining seeds, corrected or labelled for what they share."""
    if over not in ("draws", "seeds"):
        raise unknown("value of over", over, ("draws", "seeds"))
    rows = [row for row in table.rows if row["labels"] in counts]
    shared = float(np.mean([row["value"] for row in rows if row["metric"] == SHARED] or 0.0))
    seed_of = {row["draw"]: row["pretrain_seed"] for row in rows}
    seeds, differences = np.array([seed_of[draw] for draw in of]), np.stack(list(of.values()))
    different = len(set(seeds))
    if over == "seeds":
        differences = np.stack([differences[seeds == seed].mean(0) for seed in dict.fromkeys(seeds)])
        each = len(seeds) / different  # means of draws correlate more strongly than draws
        shared = each * shared / (1 + (each - 1) * shared)
    elif different < len(seeds):
        models = "this pretrained model" if different == 1 else f"these {different} pretrained models"
        notes = [*notes, f"conditional on {models}"]
    if shared > 1 - 1e-9:  # nothing is drawn: the variance of the labels cannot be known
        shared, notes = 0.0, [*notes, "conditional on this pool"]
    elif shared:
        notes = [*notes, f"corrected for draws that share {100 * shared:.0f} % of their labels"]
    return effect_of(differences, shared, "; ".join(notes))


def verdict(effect: Effect, delta: float = 1.0, p: float | None = None) -> str:
    """What may be said: "supported", "contradicted", "no gain" (worth `delta`, in the effect's unit) or "undecided".

    In this order: below 5 repeats undecided; interval above 0 supported, even where it is inside ±delta; below 0
    contradicted; inside ±delta no gain; otherwise undecided. An interval that ends on a boundary is not beyond it.
    With `p`, adjusted for other comparisons, the first two also need p < 0.05.
    """
    if effect.n < 5:
        return "undecided"
    beyond = "supported" if effect.low > 0 else "contradicted" if effect.high < 0 else ""
    if beyond and (p is None or p < 0.05):
        return beyond
    return "no gain" if -delta < effect.low and effect.high < delta else "undecided"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values: comparing them with 0.05 keeps the chance of any false claim below 5 %."""
    order = np.argsort(p_values, kind="stable")
    steps = np.sort(p_values) * np.arange(len(order), 0, -1)
    return np.minimum(1, np.maximum.accumulate(steps))[np.argsort(order)].tolist()


def verdicts(effects: Sequence[Effect], delta: float = 1.0) -> list[str]:
    """The verdicts of the primary comparisons together, adjusted by Holm."""
    return [verdict(e, delta, p) for e, p in zip(effects, holm([e.p for e in effects]), strict=True)]


# ---------------------------------------------------------------- what it takes to reach an accuracy


def time_to(history: Any, target: float, metric: str = "validation_accuracy", cost: str = "steps") -> Reached:
    """The cost ("steps", "seconds" or "images", summed over epochs) after the first epoch that reaches `target`.

    `history`: fit's History, or any mapping of columns. A run that never does is kept, as "at least what it spent".
    """
    spent = np.cumsum(history[cost])
    hits = np.flatnonzero(np.asarray(history[metric]) >= target)
    if not len(spent):
        raise CourseError("The history is empty, so nothing can be read from it: train for an epoch at least.")
    return Reached(float(spent[hits[0]])) if len(hits) else Reached(float(spent[-1]), 1)


def add_costs(
    table: Table, labels: int, target_of: str, curve: str = "validation curve", costs: Sequence[str] = ("steps",)
) -> None:
    """Adds to each run at `labels` what it cost to reach the accuracy that method `target_of` ended at, in that draw.

    Runs gave `curve` and "COST by epoch" (spent so far) as one value an epoch; the target is the best of the curve,
    where early stopping ends. A run that never gets there is censored. The new metrics are "COST to NAME's accuracy".
    """
    runs = {key[:3]: values for key, values in table.images.items() if key[1] == labels and key[3] == curve}
    for key, values in runs.items():
        row = next(row for row in table.rows if _key(row) == key)
        hits = np.flatnonzero(values >= runs[target_of, labels, key[2]].max())
        for cost in costs:
            if (spent := table.images.get((*key, f"{cost} by epoch"))) is not None:
                name, last = f"{cost} to {target_of}'s accuracy", hits[0] if len(hits) else -1
                table.rows.append(row | {"metric": name, "value": float(spent[last])})
                table.rows.append(row | {"metric": name + CENSORED, "value": float(not len(hits))})


def labels_to(table: Table, method: str, target: float, metric: str = "test accuracy") -> dict[int, Reached]:
    """For each draw the labels at which `metric` first reaches `target`, linear in log labels between two counts.

    A draw that never does takes at least the largest count, one that does at the smallest count at most that.
    """
    counts = sorted(table.known("labels"))
    values = [table.values(method, metric, count) for count in counts]
    found = {}
    for draw in values[0]:
        curve = [value[draw] for value in values]
        k = next((k for k, value in enumerate(curve) if value >= target), len(curve))
        if 0 < k < len(curve):
            part = (target - curve[k - 1]) / (curve[k] - curve[k - 1])
            found[draw] = Reached(counts[k - 1] * (counts[k] / counts[k - 1]) ** part)
        else:
            found[draw] = Reached(counts[-1], 1) if k else Reached(counts[0], -1)
    return found


def saving(
    table: Table, a: str, b: str, metric: str, labels: int = 0, target: float | None = None, over: str = "draws"
) -> Effect:
    """How much less `a` takes than `b`: log(b's cost / a's cost), above 0 where `a` needs less; `times` is the ratio.

    The cost is `metric`, as `Reached` by the runs at `labels`; or with `target`, the labels until `metric` is there.
    A censored cost counts as its bound, and the end of the interval that it leaves open is infinite: where `b` takes
    "at least" so much, the true ratio is larger, the lower end holds and there is no upper one.
    """
    if bool(labels) != (target is None):
        raise CourseError("Say either at which number of labels the cost counts, or the target for labels to reach it.")
    costs = [table.reached(m, metric, labels) if labels else labels_to(table, m, target, metric) for m in (a, b)]
    pairs = _pairs(*costs, a, b)
    if any(cost.value <= 0 for pair in pairs.values() for cost in pair):
        raise CourseError(f"A ratio needs costs above 0, but {metric} is 0 in a draw: measure it in another unit.")
    logs = {draw: math.log(right.value / left.value) for draw, (left, right) in pairs.items()}
    beyond = [{-left.censored, right.censored} - {0} for left, right in pairs.values()]  # 1: the true ratio is larger
    more, less = (any(end in ends for ends in beyond) for end in (1, -1))
    bound = "unknown" if more and less else "at least" if more else "at most"
    notes = [f"{bound}: {sum(map(bool, beyond))} of {len(pairs)} pairs are censored"] if more or less else []
    effect = _over(table, logs, [labels] if labels else table.known("labels"), over, notes)
    return replace(effect, low=-math.inf if less else effect.low, high=math.inf if more else effect.high)


# ---------------------------------------------------------------- figures


Tables = Table | Mapping[str, Table]  # one, or several named by their origin


def learning_curves(
    tables: Tables, metric: str, title: str, y: str, alt: str, axis: Axes | None = None, methods: Sequence[str] = ()
) -> Axes:
    """Mean and 95 % interval over draws, a line a method, over the number of labels (logarithmic).

    Several tables are named by their origin ("run here", "recorded (machine, date)"); the first one's points are full.
    `methods`, by default all, are those to draw from the tables that have them.
    """
    from vaetl_helpers import plots

    tables = {"": tables} if isinstance(tables, Table) else tables
    methods = methods or list(dict.fromkeys(method for table in tables.values() for method in table.known("method")))
    axis, ticks = axis or plots.panels([title], alt, width=6)[0], set()
    for number, (origin, table) in enumerate(tables.items()):
        counts = sorted(table.known("labels"))
        for method in (name for name in methods if name in table.known("method")):
            values = (list(table.values(method, metric, count).values()) for count in counts)
            mean, low, high = zip(*map(mean_interval, values), strict=True)
            look = methods.index(method) % len(plots.COLOURS)
            style = {"color": plots.COLOURS[look], "linestyle": plots.STYLES[look]}
            label, fill = f"{method}, {origin}" if origin else method, "none" if number else "full"
            axis.plot(counts, mean, marker="o", fillstyle=fill, label=label, **style)
            axis.fill_between(counts, low, high, color=style["color"], alpha=0.15, linewidth=0)
        ticks |= set(counts)
    axis.set(title=title, xlabel="labels", ylabel=y, xscale="log")
    axis.set_xticks(sorted(ticks), [f"{count:,}" for count in sorted(ticks)], fontsize=9)
    axis.set_xticks([], minor=True)
    axis.legend(frameon=False)
    return axis


# ---------------------------------------------------------------- intervals of single methods, recorded runs


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and the ends of its Student t interval over independent repeats; the ends are nan for one repeat."""
    mean = float(np.mean(values))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)) if len(values) > 1 else math.nan
    return mean, mean - half, mean + half


def recorded(chapter: str, task: str = "") -> dict[str, Any]:
    """A chapter's recorded run, of one `task` if it has several: command, commit, date, machine, versions, records."""
    what = f"run of chapter {chapter}" + (f" with task {task}" if task else "")
    return json.loads(_recorded(f"{chapter}_*_{task}.json" if task else f"{chapter}_*.json", what))


def _recorded(pattern: str, what: str) -> str:
    """The text of the package's first recorded file of this pattern."""
    if not (files := sorted((Path(__file__).parent / "recorded").glob(pattern))):
        raise CourseError(f"No recorded {what} is in the package: run it with --profile paper.")
    return files[0].read_text("utf-8")


def recorded_value(chapter: str, name: str, task: str = "") -> dict[str, Any]:
    """One record of a recorded run: value, unit, low, high, n, data, and `label`, 'recorded (machine, date)'."""
    run = recorded(chapter, task)
    record = next((r for r in run["records"] if r["name"] == name), None)
    if record is None:
        raise unknown("recorded number", name, [r["name"] for r in run["records"]])
    return record | {"label": f"recorded ({run['machine']}, {run['date']})"}


def recorded_table(chapter: str, name: str) -> Table:
    """The table of a recorded study, recorded/CHAPTER_NAME.csv, without values by image."""
    rows = csv.DictReader(_recorded(f"{chapter}_{name}.csv", f"table {chapter}_{name}").splitlines())
    numbers = {"labels": int, "draw": int, "pretrain_seed": int, "value": float, "seconds": float}
    return Table([{column: numbers.get(column, str)(row[column]) for column in COLUMNS} for row in rows])
