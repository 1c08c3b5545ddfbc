"""Chapters as notebooks: which there are, what they need and take, and a learner's own copy."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import say, user_path, write_whole
from vaetl_helpers.syntax import parsed

TYPES = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None), "list": list}
# Parameters that may name a folder.
FOLDERS = {"data_root", "photos", "pictures", "model", "task"}
# How a value of each type is written on the command line.
EXAMPLES = {
    "int": "3",
    "float": "0.5",
    "bool": "True",
    "str": "NAME",
    "None": "None",
    "list": "[10,100]",
}


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
    for statement in parsed(source).body:
        if isinstance(statement, ast.AnnAssign):
            name = ast.unparse(statement.target)
            annotations[name] = ast.unparse(statement.annotation)
    return annotations


def number_of(path: Path) -> str:
    """The number of the chapter in a file's name: "03b" for 03b_vae_in_depth.ipynb."""
    return path.stem.partition("_")[0]


def find_number(text: str, paths: Mapping[str, Path]) -> str:
    """The number of the chapter that a person calls `text`: the one rule for every command.

    `text` is "3", "03", "03_variational_autoencoder", "variational_autoencoder", or the path of one
    of the course's own files; `paths` has the file of each chapter by its number. Raises
    CourseError for any other text, and for a file that is not the course's: another one would be
    used in its place.
    """
    if is_path(text):
        number = number_of_own_file(text, paths)
        if number is None:
            raise CourseError(
                f"{text} is a file of yours, and a chapter of the course is meant here: "
                f"name it, {examples(paths)}."
            )
        return number
    name = text.casefold()
    for number, path in paths.items():
        title = path.stem.partition("_")[2]
        if name in (number, number.removeprefix("0"), path.stem.casefold(), title.casefold()):
            return number
    raise unknown_name_error("chapter", text, paths)


def is_path(text: str) -> bool:
    """Whether a person means a file, and not the name of a chapter."""
    separators = {os.sep, os.altsep or "/"}
    return text.endswith((".ipynb", ".py")) or any(separator in text for separator in separators)


def is_folder_path(text: str) -> bool:
    """Whether a task is somebody's folder of pictures or a zip file, and not one of the course's.

    A name alone is the course's: a folder of that name is written ./NAME.
    """
    separators = {os.sep, os.altsep or "/"}
    return text.endswith(".zip") or any(separator in text for separator in separators)


def number_of_own_file(text: str, paths: Mapping[str, Path]) -> str | None:
    """The chapter whose notebook, solution or source this file is; None for a file of others.

    Raises CourseError where there is no such file.
    """
    file = user_path(text).absolute()
    if not file.is_file():
        raise CourseError(
            f"There is no file {text}: mend the path, or name a chapter, {examples(paths)}."
        )
    for number, path in paths.items():
        course = path.parent
        if course.name in ("solutions", "source"):
            course = course.parent
        folders = [course, course / "solutions", course / "source"]
        lies_there = file.resolve().parent in [folder.resolve() for folder in folders]
        if file.stem == path.stem and lies_there:
            return number
        if file_digest(file) == file_digest(path):  # an unchanged copy
            return number
    return None


def examples(paths: Mapping[str, Path]) -> str:
    """How a chapter can be named, for a message."""
    path = next(iter(paths.values()))
    return f"such as {next(iter(paths)).removeprefix('0')} or {path.stem}"


def number_in_name(name: str, paths: Mapping[str, Path]) -> str | None:
    """The chapter that a file's name speaks of, whatever was put around it; None for none.

    Colab saves "Copy of 01_training_step.ipynb", Kaggle "01-training-step.ipynb", JupyterLab
    "01_training_step-Copy1.ipynb", a browser "01_training_step (1).ipynb".
    """
    words = plain_words(name)
    for number, path in paths.items():
        if f"_{plain_words(path.stem)}_" in f"_{words}_":
            return number
    return None


def plain_words(name: str) -> str:
    """Small letters and digits, with "_" between words."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def find(text: str, chapters: Mapping[str, Chapter] | None = None) -> Chapter:
    """The chapter that a person calls `text`, as in `find_number`; by default of this course."""
    if chapters is None:
        chapters = chapters_in(course_dir())
    return chapters[find_number(text, files_of(chapters))]


def files_of(chapters: Mapping[str, Chapter]) -> dict[str, Path]:
    """The file of each chapter, by its number."""
    return {number: chapter.path for number, chapter in chapters.items()}


def choose(texts: Iterable[str], chapters: Mapping[str, Chapter]) -> list[Chapter]:
    """The chapters that are called so, each once and in order; all of them where none is named."""
    numbers = {find(text, chapters).number for text in texts}
    if not numbers:
        return list(chapters.values())
    return [chapter for number, chapter in chapters.items() if number in numbers]


def choose_or_read(texts: Iterable[str], chapters: Mapping[str, Chapter]) -> list[Chapter]:
    """As `choose`, but a path is that very file: a learner's own notebook stands for its chapter.

    Raises CourseError for a file that is no notebook of the course, and for two of one chapter.
    """
    chosen: dict[str, Chapter] = {}
    for text in texts:
        chapter = read_file(text, chapters) if is_path(text) else find(text, chapters)
        other = chosen.setdefault(chapter.number, chapter)
        if other.path != chapter.path:
            raise CourseError(
                f"{other.path} and {chapter.path} are both chapter {chapter.number}: "
                "run one after the other, each with an --out of its own."
            )
    if not chosen:
        return list(chapters.values())
    return [chosen[number] for number in sorted(chosen)]


def read_file(text: str, chapters: Mapping[str, Chapter]) -> Chapter:
    """The chapter in this file; the course's own where it is that file.

    Raises CourseError where there is no such file, and where it is no notebook of the course.
    """
    file = user_path(text).absolute()
    own = number_of_own_file(text, files_of(chapters))
    if own is not None and file.resolve() == chapters[own].path.resolve():
        return chapters[own]
    try:
        chapter = _read(file)
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise CourseError(
            f"{text} is no notebook: give one, or name a chapter, {examples(files_of(chapters))}."
        ) from error
    number = chapter.number
    if number not in chapters:  # without its metadata
        number = number_in_name(file.stem, files_of(chapters)) or ""
    if not number:
        raise CourseError(
            f"{text} is no notebook of the course: nothing in it and in its name says which "
            "chapter it is."
        )
    return replace(chapter, number=number)


def typed(name: str, text: Any, annotation: str) -> Any:
    """A parameter's value: text is read as YAML, then checked against its annotation.

    The annotation is as in a notebook, `int | None`, and so may None be written; a list may go
    without its brackets. Raises CourseError, which says how to write it, where it does not fit.
    """
    types = [kind.strip().partition("[")[0] for kind in annotation.split("|")]
    value = _read_text(text, types) if isinstance(text, str) else text
    if "float" in types and isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 1e-3 as text
    if "str" in types and not isinstance(value, str | None):
        value = str(text)
    fits = any(type(value) is TYPES.get(kind, type(value)) for kind in types)
    if not fits or not _has_elements(value, annotation):
        written = " or ".join(f"-p {name}={EXAMPLES[kind]}" for kind in types if kind in EXAMPLES)
        raise CourseError(
            f"The parameter {name} takes {annotation}, not '{text}': write {written}."
        )
    return value


def _read_text(text: str, types: Sequence[str]) -> Any:
    """What a person means by the text, where one of these types is asked for."""
    value: Any = text
    with contextlib.suppress(yaml.YAMLError):
        value = yaml.safe_load(text)
    if value == "None" and "None" in types:
        return None
    if "bool" in types and "int" not in types and value in (0, 1):
        return bool(value)
    if "list" in types and value is not None and not isinstance(value, list):
        with contextlib.suppress(yaml.YAMLError):
            value = yaml.safe_load(f"[{text}]")
    return value


def _has_elements(value: Any, annotation: str) -> bool:
    """Whether the elements of a list have the type that `list[int]` names."""
    _, bracket, inner = annotation.partition("list[")
    kind = TYPES.get(inner.partition("]")[0])
    if not isinstance(value, list) or not bracket or kind is None:
        return True
    return all(type(element) is kind for element in value)


def share(parameters: Mapping[str, Any], chapters: Sequence[Chapter]) -> dict[str, dict[str, Any]]:
    """Each chapter's part of the parameters, checked; says which chapters do not take one."""
    _refuse_unknown(parameters, chapters)
    parameters = dict(parameters)
    for name in FOLDERS & parameters.keys():
        parameters[name] = _absolute(name, parameters[name])
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
            say(f"The parameter {name} is not known to {', '.join(without)}: left out there.")
    return by_chapter


def _absolute(name: str, folder: Any) -> Any:
    """A folder as kernels, which run in folders of their own, find it."""
    if folder in ("", "null", "None", None):
        return folder
    path = user_path(folder).absolute()
    if name == "model" and not path.is_dir():  # a name on the Hugging Face hub
        return folder
    if name == "task" and not is_folder_path(str(folder)):  # the name of a task
        return folder
    return str(path)


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
    write_whole(note, json.dumps(digests, indent=1))


def _copy_beside(notebook: Path, folder: Path) -> None:
    target = folder / notebook.name
    if _is_another(target, notebook):
        target = folder / f"{notebook.stem}.new-{metadata.version('vaetl-helpers')}.ipynb"
        if _is_another(target, notebook):  # a checkout: same version, another state
            target = target.with_stem(f"{target.stem}-{file_digest(notebook)[:6]}")
        say(f"{notebook.name} has a newer version; yours stays, the new one is {target.name}")
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
