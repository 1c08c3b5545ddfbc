"""Chapters as notebooks: which there are, what they need and take, and a learner's own copy."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from vaetl_helpers.errors import CourseError, unknown_name_error

TYPES = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None), "list": list}


@dataclass(frozen=True)
class Chapter:
    """A notebook of the course: its names, the extras it needs, its parameters' types, minutes and exercises."""

    number: str
    name: str
    title: str
    path: Path
    requires: tuple[str, ...]
    parameters: dict[str, str]
    minutes: dict[str, Any]
    exercises: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A hash of the notebook: another one means that earlier results are not of this chapter."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def chapters_in(folder: Path) -> dict[str, Chapter]:
    """The chapters whose notebooks lie in `folder`, by number ("01", "03b"), in order."""
    import nbformat

    found = {}
    for path in sorted(folder.glob("[0-9]*_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        facts = notebook.metadata.get("vaetl", {})
        number, title = (
            str(facts.get("chapter", path.stem.partition("_")[0])),
            facts.get("title", path.stem),
        )
        requires, parameters = tuple(facts.get("requires", ())), _parameters(notebook)
        checks = tuple(
            c.metadata.vaetl.check for c in notebook.cells if "check" in c.metadata.get("vaetl", {})
        )
        minutes = dict(facts.get("minutes", {}))
        found[number] = Chapter(
            number, path.stem, title, path, requires, parameters, minutes, checks
        )
    if not found:
        raise CourseError(f"There are no notebooks in {folder}: write them with `vaetl build`.")
    return found


def _parameters(notebook: Any) -> dict[str, str]:
    """Names and annotations in the cell tagged `parameters` (papermill's own reader misses `int | None`)."""
    cells = [
        cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())
    ]
    lines = ast.parse(cells[0]).body if cells else []
    return {
        ast.unparse(a.target): ast.unparse(a.annotation)
        for a in lines
        if isinstance(a, ast.AnnAssign)
    }


def choose(names: Iterable[str], known: Mapping[str, Chapter]) -> list[Chapter]:
    """The chapters called `names` ("01", "1", "01_training_basics", a path), in order; all for no names."""
    chosen = set()
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        fits = [
            n
            for n, c in known.items()
            if stem in (n, n.lstrip("0"), c.name, c.name.partition("_")[2])
        ]
        if len(fits) != 1:
            raise unknown_name_error("chapter", name, known)
        chosen.update(fits)
    return [chapter for number, chapter in known.items() if number in chosen or not chosen]


def typed(name: str, given: Any, annotation: str) -> Any:
    """A parameter's value: text is read as YAML, then checked against the annotation (`int | None`)."""
    value = given
    if isinstance(given, str):
        with contextlib.suppress(yaml.YAMLError):
            value = yaml.safe_load(given)
    kinds = [kind.strip().partition("[")[0] for kind in annotation.split("|")]
    if "float" in kinds and isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3 as text
    if "str" in kinds and not isinstance(value, str | None):
        value = str(given)
    if not any(type(value) is TYPES.get(kind, type(value)) for kind in kinds):
        raise CourseError(
            f"The parameter {name} takes {annotation}, not '{given}': mend -p {name}={given}."
        )
    return value


def share(given: Mapping[str, Any], chosen: Sequence[Chapter]) -> dict[str, dict[str, Any]]:
    """Each chapter's part of the given parameters, checked; says which chapters do not take one."""
    known = {name for chapter in chosen for name in chapter.parameters} - {"profile"}
    if "data_root" in given:  # the kernels run in a folder of their own
        given = {**given, "data_root": str(Path(given["data_root"]).absolute())}
    for name in given:
        if name == "profile":
            raise CourseError("The profile is no parameter of its own: give it as --profile NAME.")
        if name not in known:
            raise unknown_name_error("parameter", name, known)
    parts = {}
    for chapter in chosen:
        types = chapter.parameters
        parts[chapter.number] = {n: typed(n, v, types[n]) for n, v in given.items() if n in types}
    for name in given:
        without = [number for number, part in parts.items() if name not in part]
        if without:
            print(f"The parameter {name} is not known to {', '.join(without)}: left out there.")
    return parts


def collect(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What an executed notebook says of itself: its `record`s, `receipt`s, `run` settings and the `data` it used."""
    found: dict[str, list[dict[str, Any]]] = {"record": [], "receipt": [], "run": [], "data": []}
    for cell in json.loads(path.read_text("utf-8"))["cells"] if path.exists() else ():
        for output in cell.get("outputs", ()):
            for kind, contents in found.items():
                mime = f"application/vnd.vaetl.{kind}+json"
                content = output.get("data", {}).get(mime, [])
                contents += content if isinstance(content, list) else [content]
    return found


def copy_course(course: Path, folder: Path) -> Path:
    """Copies the learners' notebooks of `course` into `folder` and returns the first one; what is there stays as it is.

    A notebook that has changed since it was copied arrives beside the learner's as NAME.new-VERSION.ipynb.
    """
    notebooks = [chapter.path for chapter in chapters_in(course).values()]
    note = folder / ".vaetl-copied.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copied = dict(json.loads(note.read_text("utf-8"))) if note.exists() else {}
        for notebook in notebooks:
            digest = hashlib.sha256(notebook.read_bytes()).hexdigest()
            if copied.get(notebook.name) != digest or not (folder / notebook.name).exists():
                _copy_beside(notebook, folder)
            copied[notebook.name] = digest
        note.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    except (OSError, ValueError, TypeError) as error:
        raise CourseError(
            f"{folder} cannot hold the course ({error}): choose another with --dir."
        ) from error
    return folder / notebooks[0].name


def _copy_beside(notebook: Path, folder: Path) -> None:
    target = folder / notebook.name
    if target.exists() and target.read_bytes() != notebook.read_bytes():
        target = folder / f"{notebook.stem}.new-{metadata.version('vaetl-helpers')}.ipynb"
        if (
            target.exists() and target.read_bytes() != notebook.read_bytes()
        ):  # a checkout: same version, another state
            target = target.with_stem(
                f"{target.stem}-{hashlib.sha256(notebook.read_bytes()).hexdigest()[:6]}"
            )
        print(f"{notebook.name} has a newer version; yours stays, the new one is {target.name}")
    if not target.exists():
        shutil.copyfile(
            notebook, target
        )  # not the permissions: the installed course may be read-only


def course_dir() -> Path:
    """The folder of the notebooks: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "course", package.parent / "course"):
        if folder.is_dir():
            return folder
    raise CourseError(
        "The course's notebooks are missing from this installation: install vaetl-helpers again."
    )
