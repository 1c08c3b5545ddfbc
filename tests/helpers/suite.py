"""What all tests share: notebooks as tests (nbval, profile smoke), markers, the order of tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from xdist.scheduler import LoadScopeScheduling

from vaetl_helpers.app.kernels import forking

PARAMETERS = {"profile": "smoke"}
MARKERS = (
    "slow: executes a notebook or trains; -m 'not slow' leaves it out",
    "nightly: what is run at night only, not in the default run; -m nightly runs it",
    "debian(package, path): needs this path of a Debian package",
)
# Files whose tests share something dear (a browser, an executed course), which two workers would
# make twice: all tests of a file on one worker. The first ones take longest and begin first.
TOGETHER = (
    "test_offline",
    "test_platforms",
    "test_hostile",
    "test_course",
    "test_browser",
    "test_gradebook",
    "test_running",
    "test_accessibility",
    "test_browser_grading",
    "test_site",
    "test_browser_controls",
    "test_parallel",
    "test_detection",
    "test_text",
    "test_judge",
)
FORKING = pytest.StashKey[ExitStack]()


class Notebook(IPyNbFile):
    """A notebook, run with papermill's parameters for `smoke`; it sees which cells have run."""

    ran: str | None = None

    def collect(self) -> Iterator[IPyNbCell]:
        """nbval's items; the parameters go into their own cell: each item is still one cell."""
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
        """Starts the kernel; where it runs a solution, a failing check raises, unmended."""
        fork_kernels(self.config)
        os.environ["VAETL_GRADING"] = str(int("solutions" in self.path.parts))
        try:
            super().setup()
        finally:
            del os.environ["VAETL_GRADING"]

    def get_kernel_message(
        self, timeout: float | None = None, stream: str = "iopub"
    ) -> dict[str, Any]:
        """nbval's reader of messages: by an execute_input the kernel says that it runs a cell."""
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


def fork_kernels(config: pytest.Config) -> None:
    """From now on the kernels of this process, and of all it starts, are forked from a warm one."""
    if FORKING not in config.stash:
        stack = config.stash.setdefault(FORKING, ExitStack())
        config.add_cleanup(stack.close)
        stack.enter_context(forking())


@pytest.fixture(scope="session")
def warm_kernels(pytestconfig: pytest.Config) -> None:
    """For tests that start kernels: see `fork_kernels`."""
    fork_kernels(pytestconfig)


def pytest_configure(config: pytest.Config) -> None:
    # Two workers share two cores: with more threads they wait for each other, and small networks
    # run ten times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    # A plugin of its own: the hooks of this file alone would not be asked about notebooks in
    # course/.
    config.pluginmanager.register(Notebooks(), "notebooks")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is for the night, keeps groups on one worker, and begins with the longest."""
    if "nightly" not in config.option.markexpr:
        for_the_night = [item for item in items if item.get_closest_marker("nightly")]
        if for_the_night:
            config.hook.pytest_deselected(items=for_the_night)
            items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    items.sort(key=rank)  # a stable order: within a file as it was


class Scheduler(LoadScopeScheduling):
    """Gives a worker one test after the other, but a notebook and a file of TOGETHER as a whole.

    xdist's own `--dist loadgroup` would do, but pytest-xdist 3.8.0 writes the groups into an
    attribute that pytest 9.2 does not read any more: without a word, all groups are torn apart.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        is_whole = path.endswith(".ipynb") or Path(path).stem in TOGETHER
        return path if is_whole else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler:
    return Scheduler(config, log)


def rank(item: pytest.Item) -> int:
    """Small for what is to begin early: groups, then other slow tests, then quick ones."""
    if isinstance(item.parent, Notebook):
        return 1
    slow = item.get_closest_marker("slow") is not None
    if slow and item.path.stem in TOGETHER:
        return 2 * TOGETHER.index(item.path.stem)  # the notebooks come after the longest file
    return 100 if slow else 101


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
