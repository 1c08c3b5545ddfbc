"""The notebooks as tests: which are collected, with which parameters, and that skipping a cell goes
red.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import suite

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT / "course" / "solutions"
WORKERS = ("-n", "2", "--dist", "loadscope", "--no-loadscope-reorder")


def pytest_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest in a folder, as a person would, without the settings of the suite that is
    running.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=inherited, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with this suite's conftest, to be filled with one notebook."""
    tests = ROOT / "tests"
    shutil.copy(tests / "conftest.py", tmp_path)
    settings = (
        f"[pytest]\npythonpath = {tests / 'helpers'}\naddopts = --nbval-lax --strict-markers\n"
    )
    (tmp_path / "pytest.ini").write_text(settings)
    return tmp_path


def notebook(folder: Path, *sources: str, tags: dict[int, list[str]] | None = None) -> None:
    """Writes notebook.ipynb with these code cells and the tags of some of them."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": spec})
    nb.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for number, names in (tags or {}).items():
        nb.cells[number].metadata.tags = names
    nbformat.write(nb, folder / "notebook.ipynb")


@pytest.mark.slow
def test_profile_is_smoke_and_every_cell_is_executed(folder: Path) -> None:
    cells = (
        'profile: str = "auto"',
        'assert profile == "smoke"',
        "import os; assert os.environ['VAETL_GRADING'] == '0'",
        "",
    )
    notebook(folder, *cells, tags={0: ["parameters"]})
    result = pytest_run(folder)
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


@pytest.mark.slow
def test_skipped_cell_is_red_with_xdist(folder: Path) -> None:
    notebook(folder, "x = 1", "assert x == 2", tags={1: ["nbval-skip"]})
    result = pytest_run(folder, *WORKERS)
    assert "1 passed, 1 skipped" in result.stdout
    assert result.returncode == 1, result.stdout
    assert "notebook.ipynb: 1 of 2 code cells were executed" in result.stdout


@pytest.mark.slow
def test_cells_that_pass_without_a_kernel_are_red(folder: Path) -> None:
    notebook(folder, "x = 1", "assert x == 2")
    with (folder / "conftest.py").open("a") as copy:
        copy.write("\nimport suite\nsuite.IPyNbCell.runtest = lambda self: None\n")
    result = pytest_run(folder)
    assert "2 passed" in result.stdout
    assert result.returncode == 1, result.stdout
    assert "notebook.ipynb: 0 of 2 code cells were executed" in result.stdout


@pytest.mark.slow
def test_deselected_cell_is_red_and_a_deselected_notebook_is_not(folder: Path) -> None:
    notebook(folder, "x = 1", "y = 2")
    (folder / "test_other.py").write_text("def test_other(): pass\n")
    part = pytest_run(folder, "--deselect", "notebook.ipynb::Cell 1")
    assert part.returncode == 1, part.stdout
    assert "1 of 2 code cells" in part.stdout
    assert pytest_run(folder, "-m", "not slow").returncode == 0


def test_suite_collects_every_code_cell_of_every_solution(request: pytest.FixtureRequest) -> None:
    """The learners' notebooks have the same cells but for stubs; test_offline runs them."""
    assert "course/solutions" in request.config.getini("testpaths")
    solutions = sorted(ROOT.glob("course/solutions/*.ipynb"))
    assert [path.name for path in solutions] == sorted(
        path.name for path in ROOT.glob("course/*.ipynb")
    )
    for path in solutions:
        collected = list(suite.Notebook.from_parent(request.session, path=path).collect())
        cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        assert [item.cell.id for item in collected] == [cell.id for cell in cells] != [], path.name
        assert all(item.get_closest_marker("slow") for item in collected)


def needs(path: str) -> SimpleNamespace:
    """What pytest would hand over for a test that needs a path of the Debian package toy-data."""
    return SimpleNamespace(
        iter_markers=lambda name: [getattr(pytest.mark, name)("toy-data", path).mark]
    )


def test_absent_debian_package_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match="Debian package toy-data .*/nowhere is missing"
    ):
        suite.pytest_runtest_setup(needs("/nowhere"))


def test_absent_debian_package_fails_where_ci_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install toy-data"):
        suite.pytest_runtest_setup(needs("/nowhere"))
    suite.pytest_runtest_setup(needs("/"))


# What a cell says where a recorded run that its text speaks of is missing.
NOT_RECORDED = re.compile(
    r"is recorded with its values|No recorded run|Unknown recorded|No study of"
)


@pytest.mark.parametrize("path", sorted(SOLUTIONS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_what_the_text_speaks_of_is_recorded(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            said = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert not NOT_RECORDED.search(said), said
