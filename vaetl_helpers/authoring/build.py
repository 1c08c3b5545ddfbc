"""Turns each course/source/NN_name.py into the learner's notebook and the executed solution."""

from __future__ import annotations

import copy
import hashlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
from nbformat import NotebookNode

from vaetl_helpers import exercises, figures
from vaetl_helpers.authoring import stubs
from vaetl_helpers.authoring.address import PLACEHOLDER, address_in
from vaetl_helpers.authoring.lint import WIDGET, lint
from vaetl_helpers.chapters import find_number, number_of
from vaetl_helpers.errors import CourseError
from vaetl_helpers.living.figure import LIVING
from vaetl_helpers.output import say, write_whole

# Always a limit: without one, a widget can hang an execution for ever (nbclient#312).
CELL_SECONDS = 600
SLIDE = "slide"  # the option whose text is a slide's title; the cell is what the slide shows
OPTIONS = stubs.OPTIONS | {"check", "tags", SLIDE, "lines_to_next_cell"}  # the last is jupytext's
MINUTES = {"reading": "reading", "exercises": "exercises", "cpu": "run on CPU", "gpu": "run on GPU"}
ABOUT = {"chapter", "title", "minutes", "requires"}  # what a source says of itself
# Links, not pictures: a notebook that is opened asks no other machine for anything.
COLAB = "https://colab.research.google.com/github/{repository}/blob/{tag}/course/{name}.ipynb"
KAGGLE = (
    "https://kaggle.com/kernels/welcome?src="
    "https://github.com/{repository}/blob/{tag}/course/{name}.ipynb"
)
BINDER = "https://mybinder.org/v2/gh/{repository}/{tag}?labpath=course%2F{name}.ipynb"
BADGES = (
    "**Run it yourself:** "
    f"[Open in Colab]({COLAB}) · [Open in Kaggle]({KAGGLE}) · [Launch Binder]({BINDER})"
)
# Where the package is missing, it is fetched alone, so that nothing can move, or one sentence says
# what to do; then the package itself adds what else is missing.
BOOTSTRAP = """\
import glob, importlib.util, os, subprocess, sys
from IPython.core.error import UsageError

if not importlib.util.find_spec("vaetl_helpers"):  # on Colab and Kaggle
    published = "https://github.com/{repository}/archive/refs/tags/{tag}.tar.gz"
    attached = os.getenv("VAETL_SOURCE", "/kaggle/input/**/vaetl_helpers-*.whl")
    source = max(glob.glob(attached, recursive=True), default=published)
    pip = [sys.executable, "-m", "pip", "install", "-qqq", "--retries", "0"]
    if subprocess.call([*pip, "--no-deps", source]) != 0:
        raise UsageError(
            "The course's helpers could not be fetched: check the connection "
            "(on Kaggle: Settings > Internet on, or attach a data set with their wheels), "
            "then run this cell again."
        )

from vaetl_helpers.bootstrap import ensure_installed

ensure_installed({extras})  # adds what is missing on Colab and Kaggle; nothing else moves"""
DIAGRAM = re.compile(r"(?m)^\{diagram: (?P<name>[\w-]+)\}$")
FOLDED = {"jupyter": {"source_hidden": True}, "_kg_hide-input": True}
METADATA = {
    "accelerator": "GPU",
    "colab": {"provenance": [], "gpuType": "T4", "toc_visible": True},
    "kaggle": {
        "accelerator": "nvidiaTeslaT4",
        "isGpuEnabled": True,
        "isInternetEnabled": True,
        "dataSources": [],
        "language": "python",
        "sourceType": "notebook",
    },
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def build(
    chapters: Sequence[str] | None, course: Path, execute: bool = True, profile: str = "cpu"
) -> list[Path]:
    """Writes the notebooks of the chapters (None: all) and returns their paths.

    Without `execute`, a solution keeps its outputs where its code is unchanged, and is left alone
    elsewhere. Raises CourseError for a faulty source or a failing cell; the chapter's notebooks
    then stay as they were.
    """
    written: list[Path] = []
    for source in sources(course, chapters):
        learner, solution = generate(source)
        path, solved_path = _targets(source, course)
        _report(path, lint(learner, solution=False))  # before the long part
        if execute:
            execute_solution(solution, course, profile)
        notebooks = {path: learner}
        if execute or _keep_outputs(solution, solved_path):
            notebooks[solved_path] = solution
            _report(solved_path, lint(solution, solution=True))
        else:
            say(f"{_name(solved_path)} is left as it was: its code must be executed")
        for target, notebook in notebooks.items():
            target.parent.mkdir(exist_ok=True)
            write_whole(target, nbformat.writes(notebook) + "\n")
        written += notebooks
    return written


def check(course: Path) -> list[str]:
    """One message for each way in which the stored notebooks are not what their sources give."""
    messages = []
    expected: set[Path] = set()
    for source in sources(course):
        path, solved_path = _targets(source, course)
        expected |= {path, solved_path}
        try:
            learner, solution = generate(source)
        except CourseError as error:
            messages.append(str(error))
            continue
        messages += _breaches(path, learner, source, is_solution=False)
        messages += _breaches(solved_path, solution, source, is_solution=True)
    stored = {*course.glob("*.ipynb"), *course.glob("solutions/*.ipynb")}
    for path in sorted(stored - expected):
        messages.append(f"{_name(path)}: it has no source; delete it or add one")
    return messages


def sources(course: Path, chapters: Sequence[str] | None = None) -> list[Path]:
    """The source files of the chapters, named as in `chapters.find` (None: all), in order."""
    paths = {number_of(path): path for path in sorted(course.glob("source/*.py"))}
    if not paths or not (course.parent / "pyproject.toml").exists():
        raise CourseError(
            f"{course} has no source/NN_name.py, or no pyproject.toml above: use a checkout."
        )
    if not chapters:
        return list(paths.values())
    numbers = {find_number(text, paths) for text in chapters}
    return [paths[number] for number in sorted(numbers)]


def _targets(source: Path, course: Path) -> tuple[Path, Path]:
    """Where the learner's notebook and the solution go."""
    name = f"{source.stem}.ipynb"
    return course / name, course / "solutions" / name


def _report(path: Path, messages: Sequence[str]) -> None:
    say(_name(path), *messages, sep="\n  ", flush=True)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


# ---------------------------------------------------------------- from a source to two notebooks


def generate(source: Path) -> tuple[NotebookNode, NotebookNode]:
    """The learner's notebook and the solution that a source gives, neither of them executed."""
    text = _need("jupytext", "jupytext").read(source, fmt="py:percent")
    about = _about(text, source)
    blank = {"tags", "lines_to_next_cell"}  # options that do not make a cell of nothing
    cells = []
    for cell in text.cells:
        if cell.source.strip() or set(cell.metadata) - blank:
            cells.append(cell)
    _fill(cells, about, source)
    _draw(cells, source)
    _mark_levels(cells, source)
    solution = nbformat.v4.new_notebook(metadata=copy.deepcopy(METADATA) | {"vaetl": about})
    solution.cells = [_cell(cell, i, source) for i, cell in enumerate(cells)]
    if len({cell.id for cell in solution.cells}) < len(cells):
        raise _faulty(source, "cells name an exercise or a check twice")
    learner = copy.deepcopy(solution)
    for cell in learner.cells:
        cell.source = stubs.learners_text(cell)
        tags = [tag for tag in cell.metadata.pop("tags", []) if tag != "nbval-check-output"]
        if tags:
            cell.metadata["tags"] = tags
        _forget_slide(cell)
    learner.cells = [cell for one in learner.cells for cell in _with_hint(one)]
    nbformat.validate(solution)
    return learner, solution


def _forget_slide(cell: NotebookNode) -> None:
    """Slides are made of the solutions: learners' notebooks need no titles of slides."""
    marks = cell.metadata.get("vaetl", {})
    marks.pop(SLIDE, None)
    if not marks:
        cell.metadata.pop("vaetl", None)


def _with_hint(cell: NotebookNode) -> list[NotebookNode]:
    """A check of a learner's notebook, and below it a cell that gives hints when it is asked to."""
    id = cell.metadata.get("vaetl", {}).get("check")
    if id is None:
        return [cell]
    below = cell.id.removesuffix("-check") + "-hint"
    return [cell, nbformat.v4.new_code_cell(stubs.hint_text(id), id=below)]


def _mark_levels(cells: list[NotebookNode], source: Path) -> None:
    """Adds to the title above each exercise how hard it is: authors write it in the block only."""
    above = None
    for cell in cells:
        if cell.cell_type == "markdown" and stubs.TITLE.search(cell.source):
            above = cell
        if "exercise" not in cell.metadata:
            continue
        exercise = exercises.get(cell.metadata["exercise"])
        if above is None:
            raise _faulty(
                source, f"exercise {exercise.id} needs a title, as in ### Sum · 5 minutes"
            )
        try:
            above.source = stubs.with_level(above.source, exercise)
        except ValueError as error:
            raise _faulty(source, f"text {error}") from error
        above = None


def _about(text: NotebookNode, source: Path) -> dict[str, Any]:
    """What the header of a source says of the chapter."""
    about: dict[str, Any] = dict(text.metadata.get("vaetl", {}))
    complete = about.keys() == ABOUT and about["minutes"].keys() == MINUTES.keys()
    if not complete or about["chapter"] != number_of(source):
        raise _faulty(
            source, f"header needs chapter (quoted), title, requires, minutes of {[*MINUTES]}"
        )
    return about


def _faulty(source: Path, fault: str) -> CourseError:
    return CourseError(
        f"{source.name}: its {fault}; mend it and run vaetl build {number_of(source)}."
    )


def _need(module: str, requirement: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CourseError(
            f"Building needs {module}; it is missing: pip install '{requirement}'"
        ) from error


def _fill(cells: list[NotebookNode], about: dict[str, Any], source: Path) -> None:
    """Puts badges, measured minutes and bootstrap into the cells: no author writes them by hand."""
    marked = [i for i, cell in enumerate(cells) if re.search(r"(?m)^\{badges\}$", cell.source)]
    tagged = [cell for cell in cells if "bootstrap" in cell.metadata.get("tags", [])]
    if marked != [0] or [cell.source for cell in tagged] != ["pass"]:
        raise _faulty(
            source, "first cell needs a line {badges}; one cell, tagged bootstrap, must be pass"
        )
    address = address_in(source.parents[2])
    badges = ""
    if address.repository != PLACEHOLDER:
        badges = BADGES.format(name=source.stem, **vars(address))
    cells[0].source = re.sub(r"\n*\{badges\}", f"\n\n{badges}", cells[0].source).strip()
    minutes = [f"{label} {about['minutes'][key]}" for key, label in MINUTES.items()]
    line = f"**Minutes** (runs measured, the rest estimated): {' · '.join(minutes)}"
    _cell_of_the_aims(cells).source += f"\n\n{line}"
    extras = ", ".join(f'"{extra}"' for extra in about["requires"])
    tagged[0].source = BOOTSTRAP.format(extras=extras, **vars(address))


def _draw(cells: list[NotebookNode], source: Path) -> None:
    """Puts the diagrams into the cells that name them: picture, alternative text and caption."""
    for cell in cells:
        if cell.cell_type == "code":
            continue
        try:
            cell.source = DIAGRAM.sub(lambda line: figures.markdown(line["name"]), cell.source)
        except CourseError as error:
            raise _faulty(source, f"line {{diagram: …}} names none ({error})") from error


def _cell_of_the_aims(cells: list[NotebookNode]) -> NotebookNode:
    for cell in cells:
        if re.search("(?im)^#+ what you will be able to do", cell.source):
            return cell
    return cells[0]


def _cell(raw: NotebookNode, ordinal: int, source: Path) -> NotebookNode:
    """A cell with a derived id; nbgrader's metadata (schema 3) take the place of its options."""
    unknown = set(raw.metadata) - OPTIONS
    if unknown:
        options = "exercise, broken, check, slide and tags"
        raise _faulty(source, f"cell {ordinal} has the option {unknown} (known: {options})")
    name, metadata = f"{ordinal:03d}", {"tags": raw.metadata.tags} if "tags" in raw.metadata else {}
    metadata |= FOLDED if "bootstrap" in metadata.get("tags", ()) else {}
    if SLIDE in raw.metadata:
        metadata |= {"vaetl": {SLIDE: raw.metadata[SLIDE]}}
    for kind in {"exercise", "check"} & set(raw.metadata):
        exercise, grade = exercises.get(raw.metadata[kind]), kind == "check"
        name = exercise.id.replace(".", "-") + ("-check" if grade else "")
        flags = {"grade": grade, "locked": grade, "solution": not grade, "task": False}
        points = {"points": exercise.points} if grade else {}
        metadata |= {"nbgrader": {"schema_version": 3, "grade_id": name} | flags | points}
        metadata |= {"vaetl": metadata.get("vaetl", {}) | {kind: exercise.id}}
    new = nbformat.v4.new_code_cell if raw.cell_type == "code" else nbformat.v4.new_markdown_cell
    cell_id = f"c{number_of(source)}-{name}"
    try:
        return new(stubs.solved_text(raw), id=cell_id, metadata=metadata)
    except ValueError as error:
        raise _faulty(source, f"cell {cell_id} {error}") from error


# ---------------------------------------------------------------- executing a solution


def execute_solution(solution: NotebookNode, course: Path, profile: str) -> None:
    """Runs the solution through papermill and copies outputs and counts back, cell by cell."""
    done = _executed(solution, course, profile)
    executed = {cell.id: cell for cell in done.cells}
    replacements = machine_paths(course)
    for count, cell in enumerate(_code(solution), start=1):
        result = executed[cell.id]
        cell.execution_count = result.execution_count and count
        cell.outputs = []
        for output in result.outputs:
            if WIDGET in output.get("data", {}):
                continue
            output = without_machine_paths(output, replacements)
            if "execution_count" in output:
                output["execution_count"] = count
            cell.outputs.append(output)
    solution.metadata.vaetl |= {"executed": fingerprint(solution), "profile": profile}


def _executed(solution: NotebookNode, course: Path, profile: str) -> NotebookNode:
    """papermill's copy of the notebook; CourseError where a cell fails."""
    papermill = _need("papermill", "vaetl-helpers[lab]")
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from vaetl_helpers.app.kernels import OwnKernel

    chapter = solution.metadata.vaetl.chapter
    os.environ["VAETL_GRADING"] = "1"  # a solution that fails its own check stops the build
    try:
        return papermill.execute_notebook(
            solution,
            None,
            {"profile": profile},
            cwd=course,
            kernel_name="python3",
            execution_timeout=CELL_SECONDS,
            progress_bar={"desc": chapter},
            kernel_manager_class=OwnKernel,
            coalesce_streams=True,  # one block of lines, however fast a cell prints them
            extra_arguments=["--log-level=CRITICAL"],  # the kernel's own log breaks the bar
        )
    except (papermill.PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
        details = f"{getattr(error, 'source', '')}\n{error}"
        raise CourseError(
            f"Chapter {chapter} stopped and nothing was written:\n\n{details}"
        ) from error
    finally:
        del os.environ["VAETL_GRADING"]


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def fingerprint(notebook: NotebookNode) -> str:
    """A hash of a notebook's code: outputs with this one were made by this code."""
    sources = [cell.source for cell in _code(notebook)]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def machine_paths(course: Path) -> dict[str, str]:
    """Folders of this machine and what stored outputs say instead, the longest first."""
    names = {
        f"{course.resolve().parent}/": "",
        f"{Path(sys.prefix)}/": "<python>/",
        f"{Path.home()}/": "~/",
        f"{Path(tempfile.gettempdir())}/": "<tmp>/",
    }
    return {folder: names[folder] for folder in sorted(names, key=len, reverse=True)}


def without_machine_paths(value: Any, replacements: dict[str, str]) -> Any:
    """An output without paths of this machine.

    Images and the data of living figures stay, since their letters are no text.
    """
    if isinstance(value, dict):
        cleaned = NotebookNode()
        for key, inner in value.items():
            is_image = key.startswith("image/") and isinstance(inner, str)
            stays = is_image or key == LIVING
            cleaned[key] = inner if stays else without_machine_paths(inner, replacements)
        return cleaned
    if isinstance(value, list):
        return [without_machine_paths(inner, replacements) for inner in value]
    if not isinstance(value, str):
        return value
    text = value
    if "/ipykernel_" in text:  # to search takes minutes in a picture's one long word
        text = re.sub(r"\S*/ipykernel_\d+/\d+\.py", "<cell>", text)
    for folder, name in replacements.items():
        text = text.replace(folder, name)
    return text


def _keep_outputs(solution: NotebookNode, path: Path) -> bool:
    """Copies the outputs of the stored solution if the same code made them; says whether."""
    if not path.exists():
        return False
    stored = nbformat.read(path, 4)
    facts = stored.metadata.get("vaetl", {})
    if not facts.get("executed") == fingerprint(stored) == fingerprint(solution):
        return False
    for cell, old in zip(_code(solution), _code(stored), strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    for key in ("executed", "profile"):
        solution.metadata.vaetl[key] = facts[key]
    return True


# ---------------------------------------------------------------- comparing what is stored


def _breaches(path: Path, fresh: NotebookNode, source: Path, is_solution: bool) -> list[str]:
    """How a stored notebook departs from the fresh one and from the contract, outputs apart."""
    breaches = _read_and_compare(path, fresh, is_solution)
    command = f"vaetl build {number_of(source)}"
    return [f"{_name(path)}: {breach}; run {command}" for breach in breaches]


def _read_and_compare(path: Path, fresh: NotebookNode, is_solution: bool) -> list[str]:
    if not path.exists():
        return ["it is missing"]
    try:
        stored = nbformat.read(path, 4)
    except Exception as error:  # damaged, of another format: its author needs to know
        return [f"it cannot be read ({type(error).__name__}: {error})"]
    facts = dict(stored.metadata.get("vaetl", {}))
    breaches = []
    if is_solution:
        if facts.pop("executed", None) != fingerprint(stored):
            breaches.append("its sources are not those that were executed")
        if facts.pop("profile", None) != "cpu":
            breaches.append("its outputs are not from the profile cpu")
    if stored.metadata | {"vaetl": facts} != fresh.metadata:
        breaches.append("the notebook's metadata differ from what the source gives")
    breaches += _differing_cells(stored, fresh)
    return breaches + lint(stored, is_solution)


def _differing_cells(stored: NotebookNode, built: NotebookNode) -> list[str]:
    differences = []
    if len(stored.cells) != len(built.cells):
        differences.append(
            f"it has {len(stored.cells)} cells where the source gives {len(built.cells)}"
        )
    for i, (old, new) in enumerate(zip(stored.cells, built.cells, strict=False)):
        keys = sorted((old.keys() | new.keys()) - {"outputs", "execution_count"})
        changed = [key for key in keys if old.get(key) != new.get(key)]
        if changed:
            names = " and ".join(changed)
            differences.append(f"cell {i} ({new.id}): {names} differ from what the source gives")
    return differences
