"""Turns each course/source/NN_name.py into the learner's notebook and the executed solution."""

from __future__ import annotations

import copy
import hashlib
import importlib
import os
import re
import sys
import tempfile
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
from nbformat import NotebookNode

from vaetl_helpers import exercises
from vaetl_helpers.authoring.lint import WIDGET, lint
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import write_whole

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CELL_SECONDS = (
    600  # always a limit: without one, a widget can hang an execution for ever (nbclient#312)
)
OPTIONS = {"exercise", "check", "tags", "lines_to_next_cell"}  # the last one is jupytext's own
MINUTES = {"reading": "reading", "exercises": "exercises", "cpu": "run on CPU", "gpu": "run on GPU"}
# Links, not pictures: a notebook that is opened asks no other machine for anything.
BADGES = (
    "**Run it yourself:** "
    "[Open in Colab](https://colab.research.google.com/github/{repository}/blob/{tag}/course/{name}.ipynb) · "
    "[Open in Kaggle](https://kaggle.com/kernels/welcome?src="
    "https://github.com/{repository}/blob/{tag}/course/{name}.ipynb) · "
    "[Launch Binder](https://mybinder.org/v2/gh/{repository}/{tag}?labpath=course%2F{name}.ipynb)"
)
# Where the package comes from; this package alone, so that nothing can move, or one sentence; then the rest.
BOOTSTRAP = """\
import glob, importlib.util, IPython, os, subprocess, sys; source = max(glob.glob(os.getenv("VAETL_SOURCE", \
"/kaggle/input/**/vaetl_helpers-*.whl"), recursive=True), \
default="https://github.com/{repository}/archive/refs/tags/{tag}.tar.gz")
if not importlib.util.find_spec("vaetl_helpers") and subprocess.call([sys.executable, "-m", "pip", "install", "-qqq", \
"--no-deps", "--retries", "0", source]): raise IPython.core.error.UsageError("The course's helpers could not be \
fetched: check the connection (on Kaggle: Settings > Internet on, or attach a data set with their wheels), then run \
this cell again.")
from vaetl_helpers.bootstrap import ready; ready({extras})  # on Colab, Kaggle: what is missing; nothing else moves"""
FOLDED = {
    "jupyter": {"source_hidden": True},
    "_kg_hide-input": True,
}  # long lines that nobody need read
KAGGLE = {"accelerator": "nvidiaTeslaT4", "isGpuEnabled": True, "isInternetEnabled": True}
METADATA = {
    "accelerator": "GPU",
    "colab": {"provenance": [], "gpuType": "T4", "toc_visible": True},
    "kaggle": KAGGLE | {"dataSources": [], "language": "python", "sourceType": "notebook"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def build(
    chapters: list[str] | None, course: Path, execute: bool = True, profile: str = "cpu"
) -> list[Path]:
    """Writes the notebooks of the chapters (None: all) and returns their paths.

    Without `execute`, a solution keeps its outputs where its code is unchanged, and is left alone elsewhere.
    Raises CourseError for a faulty source or a failing cell; the chapter's notebooks then stay as they were.
    """
    written = []
    for source in sources(course, chapters):
        learner, solution = generate(source)
        path, solved = (
            course / f"{source.stem}.ipynb",
            course / "solutions" / f"{source.stem}.ipynb",
        )
        print(
            _name(path), *lint(learner, solution=False), sep="\n  ", flush=True
        )  # before the long part
        if execute:
            _execute(solution, course, profile)
        made = {path: learner}
        if execute or _keep_outputs(solution, solved):
            made[solved] = solution
            print(_name(solved), *lint(solution, solution=True), sep="\n  ")
        else:
            print(f"{_name(solved)} is left as it was: its code must be executed")
        for target, notebook in made.items():
            _write(notebook, target)
        written += made
    return written


def check(course: Path) -> list[str]:
    """One message for each way in which the stored notebooks are not what their sources give."""
    messages, expected = [], set()
    for source in sources(course):
        paths = (course / f"{source.stem}.ipynb", course / "solutions" / f"{source.stem}.ipynb")
        expected.update(paths)
        try:
            pair = generate(source)
        except CourseError as error:
            messages.append(str(error))
            continue
        for path, fresh in zip(paths, pair, strict=True):
            breaches = _breaches(path, fresh, solution=fresh is pair[1])
            messages += [
                f"{_name(path)}: {what}; run vaetl build {_chapter(source)}" for what in breaches
            ]
    orphans = {*course.glob("*.ipynb"), *course.glob("solutions/*.ipynb")} - expected
    return messages + [
        f"{_name(path)}: it has no source; delete it or add one" for path in sorted(orphans)
    ]


def sources(course: Path, chapters: list[str] | None = None) -> list[Path]:
    """The source files of the chapters, given as '01' (None: all), in order."""
    found = {_chapter(path): path for path in sorted(course.glob("source/*.py"))}
    if not found or not (course.parent / "pyproject.toml").exists():
        raise CourseError(
            f"{course} has no source/NN_name.py, or no pyproject.toml above: use a checkout."
        )
    if odd := [chapter for chapter in chapters or [] if chapter not in found]:
        raise unknown_name_error("chapter", odd[0], found)
    return [found[chapter] for chapter in sorted({*chapters} if chapters else found)]


def generate(source: Path) -> tuple[NotebookNode, NotebookNode]:
    """The learner's notebook and the solution that a source gives, neither of them executed."""
    text = _need("jupytext", "jupytext").read(source, fmt="py:percent")
    about = dict(text.metadata.get("vaetl", {}))
    complete = about.keys() == {"chapter", "title", "minutes", "requires"}
    if (
        not complete
        or about["chapter"] != _chapter(source)
        or about["minutes"].keys() != MINUTES.keys()
    ):
        raise _faulty(
            source, f"header needs chapter (quoted), title, requires, minutes of {[*MINUTES]}"
        )
    cells = [cell for cell in text.cells if cell.source.strip()]
    _fill(cells, about, source)
    solution = nbformat.v4.new_notebook(metadata=copy.deepcopy(METADATA) | {"vaetl": about})
    solution.cells = [_cell(cell, i, source) for i, cell in enumerate(cells)]
    if len({cell.id for cell in solution.cells}) < len(cells):
        raise _faulty(source, "cells name an exercise or a check twice")
    learner = copy.deepcopy(solution)
    for cell in learner.cells:
        cell.source = _stub(cell, source)
        tags = [tag for tag in cell.metadata.pop("tags", []) if tag != "nbval-check-output"]
        cell.metadata |= {"tags": tags} if tags else {}
    nbformat.validate(solution)
    return learner, solution


def _chapter(source: Path) -> str:
    return source.stem.split("_")[0]


def _faulty(source: Path, fault: str) -> CourseError:
    return CourseError(
        f"{source.name}: its {fault}; mend it and run vaetl build {_chapter(source)}."
    )


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _need(module: str, requirement: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CourseError(
            f"Building needs {module}; it is missing: pip install '{requirement}'"
        ) from error


def _fill(cells: list[NotebookNode], about: dict[str, Any], source: Path) -> None:
    """Puts badges, measured minutes and bootstrap into the cells: no author writes them by hand."""
    project = tomllib.loads((source.parents[2] / "pyproject.toml").read_text("utf-8"))["tool"][
        "vaetl"
    ]
    spots = [i for i, cell in enumerate(cells) if "bootstrap" in cell.metadata.get("tags", [])]
    badges = [i for i, cell in enumerate(cells) if re.search(r"(?m)^\{badges\}$", cell.source)]
    if badges != [0] or len(spots) != 1 or cells[spots[0]].source != "pass":
        raise _faulty(
            source, "first cell needs a line {badges}; one cell, tagged bootstrap, must be pass"
        )
    extras = ", ".join(f'"{extra}"' for extra in about["requires"])
    minutes = " · ".join(f"{label} {about['minutes'][key]}" for key, label in MINUTES.items())
    cells[0].source = cells[0].source.replace(
        "{badges}", BADGES.format(name=source.stem, **project)
    )
    aims = (
        cell for cell in cells if re.search("(?im)^#+ what you will be able to do", cell.source)
    )
    next(aims, cells[0]).source += f"\n\n**Minutes** (runs measured, the rest estimated): {minutes}"
    cells[spots[0]].source = BOOTSTRAP.format(extras=extras, **project)


def _cell(raw: NotebookNode, ordinal: int, source: Path) -> NotebookNode:
    """A cell with a derived id, and nbgrader's metadata (schema 3) in place of its author's options."""
    if odd := set(raw.metadata) - OPTIONS:
        raise _faulty(
            source, f"cell {ordinal} has the option {odd} (known: exercise, check and tags)"
        )
    name, metadata = f"{ordinal:03d}", {"tags": raw.metadata.tags} if "tags" in raw.metadata else {}
    metadata |= FOLDED if "bootstrap" in metadata.get("tags", ()) else {}
    for kind in {"exercise", "check"} & set(raw.metadata):
        exercise, grade = exercises.get(raw.metadata[kind]), kind == "check"
        name = exercise.id.replace(".", "-") + ("-check" if grade else "")
        flags = {"grade": grade, "locked": grade, "solution": not grade, "task": False}
        points = {"points": exercise.points} if grade else {}
        metadata |= {"nbgrader": {"schema_version": 3, "grade_id": name} | flags | points}
        metadata |= {"vaetl": {kind: exercise.id}}
    new = nbformat.v4.new_code_cell if raw.cell_type == "code" else nbformat.v4.new_markdown_cell
    return new(raw.source, id=f"c{_chapter(source)}-{name}", metadata=metadata)


def _stub(cell: NotebookNode, source: Path) -> str:
    """The cell's source with a stub for each solution; CourseError where a solution would leak."""
    stub, count = re.subn(
        rf"(?ms)^( *){BEGIN}$.*?^ *{END}$", r"\1return ...  # your code", cell.source
    )
    paired = cell.source.count(BEGIN) == count == cell.source.count(END)
    if not paired or bool(count) != ("exercise" in cell.metadata.get("vaetl", {})):
        raise _faulty(
            source, f"cell {cell.id} needs both exercise=... and '{BEGIN}' to '{END}', or neither"
        )
    return stub


def _execute(solution: NotebookNode, course: Path, profile: str) -> None:
    """Runs the solution through papermill and copies outputs and counts back to it, cell by cell."""
    papermill = _need("papermill", "vaetl-helpers[lab]")
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    chapter = solution.metadata.vaetl.chapter
    options = {
        "execution_timeout": CELL_SECONDS,
        "progress_bar": {"desc": chapter},
        "kernel_name": "python3",
    }
    options["coalesce_streams"] = (
        True  # one block for the lines that a cell prints, however fast they come
    )
    os.environ["VAETL_GRADING"] = "1"  # a solution that fails its own check stops the build
    try:
        done = papermill.execute_notebook(
            solution, None, {"profile": profile}, cwd=course, **options
        )
    except (papermill.PapermillExecutionError, CellTimeoutError, DeadKernelError) as error:
        what = f"{getattr(error, 'source', '')}\n{error}"
        raise CourseError(
            f"Chapter {chapter} stopped and nothing was written:\n\n{what}"
        ) from error
    finally:
        del os.environ["VAETL_GRADING"]
    ran, places = {cell.id: cell for cell in done.cells}, _places(course)
    for count, cell in enumerate(_code(solution), start=1):
        kept = [output for output in ran[cell.id].outputs if WIDGET not in output.get("data", {})]
        cell.outputs = [_scrub(output, places) for output in kept]
        cell.execution_count = ran[cell.id].execution_count and count
        for output in cell.outputs:
            output |= {"execution_count": count} if "execution_count" in output else {}
    solution.metadata.vaetl |= {"executed": _fingerprint(solution), "profile": profile}


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _fingerprint(notebook: NotebookNode) -> str:
    return hashlib.sha256("\0".join(cell.source for cell in _code(notebook)).encode()).hexdigest()


def _places(course: Path) -> list[tuple[str, str]]:
    """Folders of this machine and what stored outputs say instead, the longest first."""
    folders = (course.resolve().parent, Path(sys.prefix), Path.home(), Path(tempfile.gettempdir()))
    names = zip(
        (f"{folder}/" for folder in folders), ("", "<python>/", "~/", "<tmp>/"), strict=True
    )
    return sorted(names, key=lambda pair: -len(pair[0]))


def _scrub(value: Any, places: list[tuple[str, str]], kind: str = "") -> Any:
    """The value without paths of this machine; images are left alone, since their letters are no text."""
    if isinstance(value, dict):
        return NotebookNode({key: _scrub(inner, places, key) for key, inner in value.items()})
    if isinstance(value, list):
        return [_scrub(inner, places) for inner in value]
    if isinstance(value, str) and not kind.startswith("image/"):
        value = re.sub(r"\S*/ipykernel_\d+/\d+\.py", "<cell>", value)
        for path, name in places:
            value = value.replace(path, name)
    return value


def _keep_outputs(solution: NotebookNode, path: Path) -> bool:
    """Copies the outputs of the stored solution if they were made by the same code; says whether."""
    stored = nbformat.read(path, 4) if path.exists() else NotebookNode(metadata={}, cells=[])
    about = stored.metadata.get("vaetl", {})
    if not about.get("executed") == _fingerprint(stored) == _fingerprint(solution):
        return False
    for cell, old in zip(_code(solution), _code(stored), strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    solution.metadata.vaetl |= {key: about[key] for key in ("executed", "profile")}
    return True


def _write(notebook: NotebookNode, path: Path) -> None:
    """A notebook is either whole or untouched."""
    path.parent.mkdir(exist_ok=True)
    write_whole(path, nbformat.writes(notebook) + "\n")


def _breaches(path: Path, fresh: NotebookNode, solution: bool) -> list[str]:
    """How a stored notebook departs from the fresh one, outputs and counts apart, and from the contract."""
    if not path.exists():
        return ["it is missing"]
    try:
        stored = nbformat.read(path, 4)
    except (
        Exception
    ) as error:  # damaged, of another format: whatever it is, its author needs to know
        return [f"it cannot be read ({type(error).__name__}: {error})"]
    about, found = dict(stored.metadata.get("vaetl", {})), []
    if solution and about.pop("executed", None) != _fingerprint(stored):
        found.append("its sources are not those that were executed")
    if solution and about.pop("profile", None) != "cpu":
        found.append("its outputs are not from the profile cpu")
    if stored.metadata | {"vaetl": about} != fresh.metadata:
        found.append("the notebook's metadata differ from what the source gives")
    if len(stored.cells) != len(fresh.cells):
        found.append(f"it has {len(stored.cells)} cells where the source gives {len(fresh.cells)}")
    for i, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=False)):
        keys = sorted((old.keys() | new.keys()) - {"outputs", "execution_count"})
        if parts := [key for key in keys if old.get(key) != new.get(key)]:
            found.append(
                f"cell {i} ({new.id}): {' and '.join(parts)} differ from what the source gives"
            )
    return found + lint(stored, solution)
