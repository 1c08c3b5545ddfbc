"""The journal of a study: one line a run, so that a study that was killed goes on where it was."""

from __future__ import annotations

import base64
import json
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaetl_helpers.errors import CourseError
from vaetl_helpers.study.draws import Draw, Method
from vaetl_helpers.study.table import CENSORED, COLUMNS, SHARED, Reached, Table, row_key


def journal_entry(
    method: str, draw: Draw, result: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """A finished run: its metrics as numbers, and the values by image of those that have them."""
    seconds = float(result.pop("seconds", seconds))
    metrics, images = {SHARED: draw.shared}, {}
    for metric, value in result.items():
        number, *bound = value if isinstance(value, Reached) else (value,)
        given = torch.as_tensor(number).detach().cpu()
        values = given.double().numpy() * (100 if given.dtype == torch.bool else 1)
        if given.dim():
            images[metric] = values = values.astype(
                np.float32
            )  # as in the file, so that a resumed study has the same
        metrics[metric] = float(values.mean(dtype=np.float64))
        if bound:
            metrics[metric + CENSORED] = float(bound[0])
        if not math.isfinite(metrics[metric]):
            raise CourseError(
                f"{metric} is not finite: return a number, or Reached(bound, 1) for a censored run"
            )
        if "accuracy" in metric and 0 < metrics[metric] <= 1 and given.dtype != torch.bool:
            raise CourseError(
                f"{metric} is {metrics[metric]:.3g}, but per cent were expected: multiply it by 100"
            )
    facts = {
        "method": method,
        "labels": draw.labels,
        "draw": draw.number,
        "pretrain_seed": draw.pretrain_seed,
    }
    return facts | {"seconds": seconds, "metrics": metrics, "images": images}


class Journal:
    """A study's facts and finished runs, kept in a file of one JSON line each; without a path, in memory only."""

    def __init__(self, path: Path | str | None, facts: dict[str, Any]) -> None:
        self.path = Path(path).with_suffix(".jsonl") if path else None
        self.failed: CourseError | None = None
        stored = self._read(mend=bool(facts))
        if not stored and not facts:
            raise CourseError(
                f"No study was kept in {self.path}: check the path, or run the study."
            )
        if not stored:
            self._append([facts])
        self.facts, *runs = stored or [facts]
        if differ := [key for key in facts if self.facts.get(key) != facts[key]]:
            told = "; ".join(
                f"{key} {self.facts.get(key)} there and {facts[key]} here" for key in differ
            )
            raise CourseError(
                f"{self.path} is of another study ({told}): give another `out`, or remove the file."
            )
        self.runs = {row_key(run): run for run in runs}

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
                    row_key(lines[-1]), lines[-1]["metrics"], lines[-1]["seconds"]
                    lines[-1]["images"] = {
                        name: _unpack(text) for name, text in lines[-1]["images"].items()
                    }
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
                file.write(
                    "".join(json.dumps(entry, default=_pack) + "\n" for entry in entries).encode()
                )
        except OSError as error:
            raise CourseError(
                f"{self.path} cannot be written ({error.strerror}): free some space or choose another `out`, and run "
                "the study again; what it holds is kept."
            ) from error

    def missing(
        self, methods: Sequence[Method], repeats: list[Draw]
    ) -> list[tuple[Method, list[Draw]]]:
        """What is still to be run, draw by draw; of a method that takes its draws together, all of them."""
        todo = [
            (m, d)
            for d in repeats
            for m in methods
            if (m.name, d.labels, d.number) not in self.runs
        ]
        whole = [m for m in methods if m.together and any(m is method for method, _ in todo)]
        return [(m, [d]) for m, d in todo if not m.together] + [(m, repeats) for m in whole]

    def add(self, entries: list[dict[str, Any]] | CourseError) -> None:
        """Keeps the entries of a finished run; where one failed, raises, or says so and keeps those still to come."""
        if not isinstance(entries, CourseError):
            self._append(entries)
            self.runs |= {row_key(entry): entry for entry in entries}
        elif self.path:
            print(entries)
            self.failed = self.failed or entries
        else:
            raise entries

    def table(self) -> Table:
        """The table of all runs, in the plan's order whatever the order in which they ended."""
        table, names, counts = Table([]), list(self.facts["methods"]), self.facts["counts"]
        for key in sorted(
            self.runs, key=lambda key: (counts.index(key[1]), key[2], names.index(key[0]))
        ):
            for metric, value in self.runs[key]["metrics"].items():
                known = self.facts | self.runs[key] | {"metric": metric, "value": value}
                table.rows.append({column: known[column] for column in COLUMNS})
            table.images |= {
                (*key, metric): values for metric, values in self.runs[key]["images"].items()
            }
        return table


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.tobytes())).decode()


def _unpack(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.float32)
