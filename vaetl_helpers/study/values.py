"""Values by image and by epoch, in one compressed file beside a recorded table.

With them every number that was recorded of a study can be computed again. The file is NumPy's .npz:
an array for each metric of a method at a number of labels, and a list that says which is which.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole
from vaetl_helpers.recorded import recorded_path
from vaetl_helpers.study.table import ImageKey, Table, recorded_table

ENDING = ".npz"
LIST = "list"  # the array that holds, as JSON, what the others are
RIGHT = 100.0  # an accuracy of one image, in per cent; the other is 0


def write_values(path: Path, values: Mapping[ImageKey, NDArray[Any]]) -> None:
    """Writes a table's values; accuracies by image take one bit each.

    The bits of one image stand side by side for all draws where these have the same images, because
    an image that is easy for one draw is easy for most, so that the file becomes a quarter smaller.
    """
    groups: dict[tuple[str, int, str], dict[int, NDArray[Any]]] = {}
    for (method, labels, draw, metric), of_run in values.items():
        groups.setdefault((method, labels, metric), {})[draw] = of_run
    arrays: dict[str, NDArray[Any]] = {}
    entries = []
    for number, ((method, labels, metric), by_draw) in enumerate(sorted(groups.items())):
        draws = sorted(by_draw)
        joined = np.concatenate([by_draw[draw] for draw in draws])
        lengths = [len(by_draw[draw]) for draw in draws]
        is_bits = bool(np.isin(joined, (0.0, RIGHT)).all())
        is_by_image = is_bits and len(set(lengths)) == 1
        entry = {"method": method, "labels": labels, "metric": metric, "draws": draws}
        entry |= {"lengths": lengths, "is_bits": is_bits, "is_by_image": is_by_image}
        entries.append(entry)
        if is_by_image:
            joined = joined.reshape(len(draws), -1).T
        arrays[str(number)] = np.packbits(joined == RIGHT) if is_bits else joined
    arrays[LIST] = np.array(json.dumps(entries, ensure_ascii=False))
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    write_whole(path, file.getvalue())


def read_values(path: Path) -> dict[ImageKey, NDArray[Any]]:
    """The values of a file of `write_values`, accuracies by image as float32.

    Raises CourseError where it is none.
    """
    values: dict[ImageKey, NDArray[Any]] = {}
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            entries = json.loads(str(file[LIST]))
            for number, entry in enumerate(entries):
                joined = _unpacked(file[str(number)], entry)
                parts = np.split(joined, np.cumsum(entry["lengths"])[:-1])
                for draw, of_run in zip(entry["draws"], parts, strict=True):
                    values[entry["method"], entry["labels"], draw, entry["metric"]] = of_run
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise CourseError(
            f"{path} holds no values of a study: install the package anew, or record them again."
        ) from error
    return values


def recorded_values(chapter: str, name: str) -> dict[ImageKey, NDArray[Any]]:
    """Those of a recorded study; raises CourseError where none were kept."""
    return read_values(_path(chapter, name))


def _path(chapter: str, name: str) -> Path:
    return recorded_path(f"{chapter}_{name}{ENDING}", f"values of {chapter}_{name}")


def recorded_study(chapter: str, name: str) -> Table:
    """`recorded_table` with its values by image and by epoch, where these were kept.

    Intervals of what is compared in it then contain the test images.
    """
    table, path = recorded_table(chapter, name), None
    with suppress(CourseError):  # none were kept; but a damaged file is told
        path = _path(chapter, name)
    if path:
        table.images = read_values(path)
    return table


def _unpacked(array: NDArray[Any], entry: Mapping[str, Any]) -> NDArray[Any]:
    if not entry["is_bits"]:
        return array
    bits = np.unpackbits(array, count=sum(entry["lengths"]))
    if entry["is_by_image"]:
        bits = bits.reshape(-1, len(entry["lengths"])).T.ravel()
    return (RIGHT * bits).astype(np.float32)
