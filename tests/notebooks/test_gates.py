"""Breaks one thing at a time and sees the gate that is meant to catch it go red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from vaetl_helpers.authoring.build import check

ROOT = Path(__file__).parents[2]
NAME = "01_training_step.ipynb"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A copy of the repository's course, with the one setting that its badges are made from."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return Path(
        shutil.copytree(ROOT / "course", tmp_path / "course", ignore=shutil.ignore_patterns(".*"))
    )


def edit(path: Path, change: Callable[[nbformat.NotebookNode], None]) -> None:
    """Changes a stored notebook."""
    notebook = nbformat.read(path, 4)
    change(notebook)
    nbformat.write(notebook, path)


def store_an_output(notebook: nbformat.NotebookNode) -> None:
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("stream", text="left over")]


def change_a_solution(notebook: nbformat.NotebookNode) -> None:
    cell = next(cell for cell in notebook.cells if "def cross_entropy" in cell.source)
    cell.source = cell.source.replace("return -", "return ")


def lose_an_execution(notebook: nbformat.NotebookNode) -> None:
    cell = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    cell.execution_count, cell.outputs = None, []


def allow_an_exception(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[-3].metadata["tags"] = ["raises-exception"]


def test_the_committed_course_is_green(course: Path) -> None:
    assert check(course) == []


@pytest.mark.parametrize(
    ("notebook", "change"),
    [
        (NAME, store_an_output),
        (f"solutions/{NAME}", change_a_solution),
        (f"solutions/{NAME}", lose_an_execution),
        (NAME, allow_an_exception),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_build_check_goes_red(
    course: Path, notebook: str, change: Callable[[nbformat.NotebookNode], None]
) -> None:
    edit(course / notebook, change)
    assert any(notebook in line for line in check(course))


def test_stale_notebook_goes_red(course: Path) -> None:
    source = course / "source" / NAME.replace(".ipynb", ".py")
    source.write_text(source.read_text("utf-8").replace("log 10 =", "ln 10 ="), "utf-8")
    lines = check(course)
    assert any(line.startswith("course/01") for line in lines), lines
    assert any(line.startswith("solutions/01") for line in lines), lines


def pytest_with(
    breakage: str, selection: list[str], tmp_path: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a few of this suite's tests in a process whose start is `breakage`."""
    (tmp_path / "breakage.py").write_text(breakage)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "breakage",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "-q",
        *selection,
    ]
    environment = kept | {"PYTHONPATH": str(tmp_path)} | variables
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


BROKEN_EVALUATE = """
from vaetl_helpers import training
whole = training.evaluate
def evaluate(model, data, loss_fn=training.classification_loss, batch_size=1000):
    starts = range(0, len(data), batch_size)
    batches = [data.subset(slice(start, start + batch_size)) for start in starts]
    parts = [whole(model, batch, loss_fn) for batch in batches]
    # Batches weigh the same.
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
training.evaluate = evaluate
"""
BROKEN_KL = """
from vaetl_helpers import vae
whole = vae.kl
# A factor, as in a forgotten one half.
vae.kl = lambda mu, log_var, *rest: 2 * whole(mu, log_var, *rest)
"""
NO_FASHION = """
from pathlib import Path
whole = Path.exists
ABSENT = "datasets/fashion-mnist"
Path.exists = lambda path, **options: ABSENT not in str(path) and whole(path, **options)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breakage", "selection"),
    [
        (BROKEN_EVALUATE, ["tests/unit/test_training.py", "-k", "evaluate"]),
        (BROKEN_KL, ["tests/unit/test_vae.py", "-k", "kl"]),
    ],
    ids=["unweighted evaluation", "a factor in the KL"],
)
def test_wrong_mathematics_goes_red(breakage: str, selection: list[str], tmp_path: Path) -> None:
    # That they pass with nothing broken is what the suite itself shows.
    broken = pytest_with(breakage, selection, tmp_path)
    assert broken.returncode == 1, broken.stdout
    assert "failed" in broken.stdout


@pytest.mark.slow
def test_missing_debian_package_is_red_in_ci(tmp_path: Path) -> None:
    """Without CI it is a skip by name: see test_notebooks."""
    selection = ["tests/unit/test_data.py", "-k", "official", "-rs"]
    in_ci = pytest_with(NO_FASHION, selection, tmp_path, CI="true")
    assert in_ci.returncode == 1, in_ci.stdout
    assert "apt-get install dataset-fashion-mnist" in in_ci.stdout
