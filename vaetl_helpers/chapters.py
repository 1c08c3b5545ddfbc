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
    """A notebook of the course.

    Its names, the extras it needs, its parameters' types, its minutes and its exercises.
    """

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
        """A hash of the notebook: with another one, earlier results are not of this chapter."""
        return file_digest(self.path)


def chapters_in(folder: Path) -> dict[str, Chapter]:
    """The chapters whose notebooks lie in `folder`, by number ("01", "03b"), in order."""
    chapters = {}
    for path in sorted(folder.glob("[0-9]*_*.ipynb")):
        chapter = _read(path)
        chapters[chapter.number] = chapter
    if not chapters:
        raise CourseError(f"There are no notebooks in {folder}: write them with `vaetl build`.")
    return chapters


def _read(path: Path) -> Chapter:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    about = notebook.metadata.get("vaetl", {})
    marks = [cell.metadata.get("vaetl", {}) for cell in notebook.cells]
    return Chapter(
        number=str(about.get("chapter", number_of(path))),
        name=path.stem,
        title=about.get("title", path.stem),
        path=path,
        requires=tuple(about.get("requires", ())),
        parameters=_parameters(notebook),
        minutes=dict(about.get("minutes", {})),
        exercises=tuple(mark["check"] for mark in marks if "check" in mark),
    )


def _parameters(notebook: Any) -> dict[str, str]:
    """Names and annotations in the cell tagged `parameters`.

    papermill's own reader misses `int | None`.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            return _annotations(cell.source)
    return {}


def _annotations(source: str) -> dict[str, str]:
    annotations = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign):
            name = ast.unparse(statement.target)
            annotations[name] = ast.unparse(statement.annotation)
    return annotations


def number_of(path: Path) -> str:
    """The number of the chapter in a file's name: "03b" for 03b_vae_in_depth.ipynb."""
    return path.stem.partition("_")[0]


def find_number(text: str, paths: Mapping[str, Path]) -> str:
    """The number of the chapter that a person calls `text`: the one rule for every command.

    `text` is "3", "03", "03_variational_autoencoder", "variational_autoencoder", or a path to the
    chapter's notebook or source; `paths` has the file of each chapter by its number. Raises
    CourseError for any other text.
    """
    name = Path(text).name.removesuffix(".ipynb").removesuffix(".py")
    for number, path in paths.items():
        title = path.stem.partition("_")[2]
        if name in (number, number.removeprefix("0"), path.stem, title):
            return number
    raise unknown_name_error("chapter", text, paths)


def find(text: str, chapters: Mapping[str, Chapter] | None = None) -> Chapter:
    """The chapter that a person calls `text`, as in `find_number`; by default of this course."""
    if chapters is None:
        chapters = chapters_in(course_dir())
    paths = {number: chapter.path for number, chapter in chapters.items()}
    return chapters[find_number(text, paths)]


def choose(texts: Iterable[str], chapters: Mapping[str, Chapter]) -> list[Chapter]:
    """The chapters that are called so, each once and in order; all of them where none is named."""
    numbers = {find(text, chapters).number for text in texts}
    if not numbers:
        return list(chapters.values())
    return [chapter for number, chapter in chapters.items() if number in numbers]


def typed(name: str, text: Any, annotation: str) -> Any:
    """A parameter's value: text is read as YAML, then checked against its annotation.

    The annotation is as in a notebook, `int | None`. Raises CourseError where it does not fit.
    """
    value = text
    if isinstance(text, str):
        with contextlib.suppress(yaml.YAMLError):
            value = yaml.safe_load(text)
    types = [kind.strip().partition("[")[0] for kind in annotation.split("|")]
    if "float" in types and isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3 as text
    if "str" in types and not isinstance(value, str | None):
        value = str(text)
    if not any(type(value) is TYPES.get(kind, type(value)) for kind in types):
        raise CourseError(
            f"The parameter {name} takes {annotation}, not '{text}': mend -p {name}={text}."
        )
    return value


def share(parameters: Mapping[str, Any], chapters: Sequence[Chapter]) -> dict[str, dict[str, Any]]:
    """Each chapter's part of the parameters, checked; says which chapters do not take one."""
    _refuse_unknown(parameters, chapters)
    if "data_root" in parameters:  # the kernels run in a folder of their own
        root = Path(parameters["data_root"]).expanduser().absolute()
        parameters = {**parameters, "data_root": str(root)}
    by_chapter = {}
    for chapter in chapters:
        values = {}
        for name, value in parameters.items():
            if name in chapter.parameters:
                values[name] = typed(name, value, chapter.parameters[name])
        by_chapter[chapter.number] = values
    for name in parameters:
        without = [number for number, values in by_chapter.items() if name not in values]
        if without:
            print(f"The parameter {name} is not known to {', '.join(without)}: left out there.")
    return by_chapter


def _refuse_unknown(parameters: Iterable[str], chapters: Sequence[Chapter]) -> None:
    known_names = {name for chapter in chapters for name in chapter.parameters}
    for name in parameters:
        if name == "profile":
            raise CourseError("The profile is no parameter of its own: give it as --profile NAME.")
        if name not in known_names:
            raise unknown_name_error("parameter", name, known_names - {"profile"})


def collect(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What an executed notebook says of itself: MIME contents by kind.

    Its `record`s, `receipt`s, `run` settings and the `data` it used.
    """
    contents: dict[str, list[dict[str, Any]]] = {}
    for kind in ("record", "receipt", "run", "data"):
        contents[kind] = []
    if not path.exists():
        return contents
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            for kind, entries in contents.items():
                mime = f"application/vnd.vaetl.{kind}+json"
                content = output.get("data", {}).get(mime, [])
                entries += content if isinstance(content, list) else [content]
    return contents


def copy_course(course: Path, folder: Path) -> Path:
    """Copies the learners' notebooks of `course` into `folder`; returns the path of the first one.

    What is there stays as it is. A notebook that has changed since it was copied arrives beside
    the learner's as NAME.new-VERSION.ipynb.
    """
    notebooks = [chapter.path for chapter in chapters_in(course).values()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy_new(notebooks, folder)
    except (OSError, ValueError, TypeError) as error:
        raise CourseError(
            f"{folder} cannot hold the course ({error}): choose another with --dir."
        ) from error
    return folder / notebooks[0].name


def _copy_new(notebooks: Iterable[Path], folder: Path) -> None:
    """Copies what was not copied before in this state, and notes it in the folder."""
    note = folder / ".vaetl-copied.json"
    digests: dict[str, str] = {}
    if note.exists():
        digests = dict(json.loads(note.read_text("utf-8")))
    for notebook in notebooks:
        digest = file_digest(notebook)
        if digests.get(notebook.name) != digest or not (folder / notebook.name).exists():
            _copy_beside(notebook, folder)
        digests[notebook.name] = digest
    note.write_text(json.dumps(digests, indent=1), encoding="utf-8")


def _copy_beside(notebook: Path, folder: Path) -> None:
    target = folder / notebook.name
    if _is_another(target, notebook):
        target = folder / f"{notebook.stem}.new-{metadata.version('vaetl-helpers')}.ipynb"
        if _is_another(target, notebook):  # a checkout: same version, another state
            target = target.with_stem(f"{target.stem}-{file_digest(notebook)[:6]}")
        print(f"{notebook.name} has a newer version; yours stays, the new one is {target.name}")
    if not target.exists():
        # Not the permissions: the installed course may be read-only.
        shutil.copyfile(notebook, target)


def _is_another(target: Path, notebook: Path) -> bool:
    return target.exists() and target.read_bytes() != notebook.read_bytes()


def file_digest(path: Path) -> str:
    """sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def course_dir() -> Path:
    """The folder of the notebooks: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "course", package.parent / "course"):
        if folder.is_dir():
            return folder
    raise CourseError(
        "The course's notebooks are missing from this installation: install vaetl-helpers again."
    )
