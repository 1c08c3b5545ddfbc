"""What all tests share: notebooks as tests (nbval, profile smoke) and tests that need a Debian package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

PARAMETERS = {"profile": "smoke"}


class Notebook(IPyNbFile):
    """A notebook, run with papermill's parameters for `smoke`; it sees which cells the kernel ran."""

    ran: str | None = None

    def collect(self) -> Iterator[IPyNbCell]:
        """nbval's items; the parameters go into their own cell, so that each item is still one cell."""
        items = list(super().collect())
        cells = [
            cell.source
            for cell in self.nb.cells
            if cell.cell_type == "code" and cell.source.strip()
        ]
        for item in items:
            if "parameters" in item.cell.metadata.get("tags", []):
                item.cell.source += f"\n\n{injected(self.path)}"
            item.add_marker("slow")
            item.user_properties.append(("notebook", [self.nodeid, len(cells)]))
        return iter(items)

    def setup(self) -> None:
        """Starts the kernel; where it runs a solution, a failing check raises instead of being mended."""
        os.environ["VAETL_GRADING"] = str(int("solutions" in self.path.parts))
        try:
            super().setup()
        finally:
            del os.environ["VAETL_GRADING"]

    def get_kernel_message(
        self, timeout: float | None = None, stream: str = "iopub"
    ) -> dict[str, Any]:
        """nbval's reader of messages: an execute_input is the kernel's own word that it runs a cell."""
        message = super().get_kernel_message(timeout, stream)
        if message["msg_type"] == "execute_input":
            self.ran = message["content"]["code"]
        return message


def injected(path: Path) -> str:
    """The source of the cell that papermill would add to this notebook."""
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = parameterize_notebook(load_notebook_node(str(path)), PARAMETERS)
    return next(
        cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.tags
    )


class Notebooks:
    """Fails the session where a notebook that took part was not executed cell by cell."""

    def __init__(self) -> None:
        self.cells: dict[str, int] = {}  # notebook -> code cells that are not empty
        self.executed: dict[str, set[str]] = {}  # notebook -> the tests whose cell the kernel ran

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> Iterator[None]:
        collectors = yield
        return [
            Notebook.from_parent(parent, path=file_path) if isinstance(found, IPyNbFile) else found
            for found in collectors
        ]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        if not isinstance(item.parent, Notebook):
            return (yield)
        item.parent.ran = None
        try:
            return (yield)
        finally:
            ran = bool(item.cell.source.strip()) and item.parent.ran == item.cell.source
            item.user_properties.append(("executed", ran))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts from the reports, which reach the main process from pytest-xdist's workers too."""
        facts = dict(report.user_properties)
        if report.when == "teardown" and "notebook" in facts:
            name, cells = facts["notebook"]
            self.cells[name] = cells
            self.executed.setdefault(name, set()).update(
                {report.nodeid} if facts.get("executed") else ()
            )

    def unexecuted(self) -> list[str]:
        """One line for each notebook with cells that no kernel ran."""
        counts = ((name, len(self.executed[name]), cells) for name, cells in self.cells.items())
        return [
            f"{name}: {ran} of {of} code cells were executed"
            for name, ran, of in counts
            if ran != of
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and self.unexecuted():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.unexecuted():
            terminalreporter.section("notebook not executed", red=True, bold=True)
            terminalreporter.line(
                f"{line}; run the whole notebook, without skipping or deselecting cells"
            )


def pytest_configure(config: pytest.Config) -> None:
    # Two workers share two cores: with more threads they wait for each other, and small networks run ten times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.addinivalue_line(
        "markers", "slow: executes a notebook or trains; -m 'not slow' leaves it out"
    )
    config.addinivalue_line(
        "markers", "nightly: what is run at night only, not in the default run"
    )
    config.addinivalue_line("markers", "debian(package, path): needs this path of a Debian package")
    # A plugin of its own: the hooks of this file alone would not be asked about notebooks in course/.
    config.pluginmanager.register(Notebooks(), "notebooks")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose Debian package is absent, by name; with CI=true that is a failure."""
    for mark in item.iter_markers("debian"):
        package, path = mark.args
        if Path(path).exists():
            continue
        if os.environ.get("CI") == "true":
            pytest.fail(
                f"{path} is missing and CI allows no skip: apt-get install {package}", pytrace=False
            )
        pytest.skip(f"needs the Debian package {package} ({path} is missing)")
