"""The package's walls: which module may import which, what is public, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vaetl_helpers"
# What stands further down may import what stands above it, and its own line; never the contrary.
LAYERS = (
    ("errors", "seeds", "syntax"),
    (
        "requirements",
        "output",
        "progress",
        "provenance",
        "device",
        "settings",
        "bootstrap",
        "runtime",
    ),
    ("recorded", "nets"),
    ("data", "tasks"),
    ("vae", "linear_gaussian"),
    ("training", "flops"),
    ("transfer",),
    ("study",),
    (
        "claims",
        "tuned",
        "supervised_transfer",
        "vae_transfer",
        "pretraining",
        "vae_comparisons",
        "m2",
        "representations",
        "combine",
        "joint",
        "text",
        "detection",
        "detection_comparisons",
        "hardware",
        "machines",
        "samples",
    ),
    (
        "figures",
        "plots",
        "widgets",
        "living",
        "collecting",
        "page_figures",
        "alt_texts",
        "text_runs",
        "vae_uses",
        "hardware_comparisons",
    ),
    ("exercises", "chapters"),
    ("practice",),
    ("app", "start"),
    ("authoring", "grading"),
)
# Imports inside functions, and why they stand there.
LAZY = {
    "app.cli": "each command imports what it needs, so that `vaetl --help` is quick",
    "grading.course": "the gradebook needs nbgrader, which not every grading does",
    "authoring.build": "Jupyter is needed only where notebooks are executed",
    "app.running": "papermill and nbconvert are asked for before they are imported",
}
# What a module may import against the order of the layers, and why.
ALLOWED = {
    ("app", "grading"): "the command `vaetl grade`",
    ("app", "authoring"): "the commands `vaetl build` and `vaetl site`, and the pages of a run",
}
# Every import of the package in the sources of the first release (6a131b7).
FIRST_RELEASE = """\
from vaetl_helpers import claims, combine, data, nets, plots, study, transfer, vae, widgets
from vaetl_helpers import combine, data, joint, plots, study, transfer, vae
from vaetl_helpers import data, nets, plots, study, tasks, transfer, widgets
from vaetl_helpers import detection, plots, study
from vaetl_helpers import hardware, nets, plots, study, vae
from vaetl_helpers import hardware, plots, widgets
from vaetl_helpers import plots, study, text, transfer
from vaetl_helpers import plots, vae
from vaetl_helpers import plots, vae, widgets
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.exercises.combine import principal_components, ridge
from vaetl_helpers.hardware import count_flops
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.runtime import CourseError, advice, report, setup, show_table
from vaetl_helpers.runtime import CourseError, record, report, setup, show_table
from vaetl_helpers.runtime import CourseError, report, setup, show_table
from vaetl_helpers.runtime import kept
from vaetl_helpers.runtime import report, setup, show_table
from vaetl_helpers.runtime import setup
from vaetl_helpers.start import course_map, self_test
from vaetl_helpers.study import mean_interval
from vaetl_helpers.study import mean_interval, recorded_value
from vaetl_helpers.training import NonFiniteLoss, evaluate, fit
from vaetl_helpers.training import classification_loss, evaluate, fit
from vaetl_helpers.training import evaluate, fit
from vaetl_helpers.training import fit
from vaetl_helpers.transfer import freeze, trainable
"""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without the package's: "data.files"."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


MODULES = modules()


def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str, str | None]]:
    """Each import of the package: its statement, the module, and the name taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE.name:
                    yield node, alias.name.partition(".")[2], None
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            module = node.module.partition(".")[2]
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                if inner in MODULES:
                    yield node, inner, None
                else:
                    yield node, module, alias.name


def layer(name: str) -> int:
    """How far down a module stands."""
    first = name.split(".")[0]
    for number, names in enumerate(LAYERS):
        if first in names:
            return number
    raise AssertionError(f"{first} has no place in LAYERS")


def at_the_top(name: str) -> Iterator[str]:
    """The modules that are imported together with a module."""
    tree = parsed(name)
    lazy = {id(node) for node, *_ in inside_functions(tree)}
    for node, module, _ in imports(tree):
        if id(node) not in lazy and not is_for_types(tree, node):
            yield module


def inside_functions(tree: ast.Module) -> Iterator[tuple[ast.stmt, str, str | None]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(function)


def is_for_types(tree: ast.Module, wanted: ast.stmt) -> bool:
    """Whether an import stands under `if TYPE_CHECKING`."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return any(inner is wanted for inner in ast.walk(node))
    return False


def test_every_module_has_a_place() -> None:
    for name in MODULES:
        if name:
            layer(name)


def test_there_is_no_circle() -> None:
    graph = {name: set(at_the_top(name)) - {name, ""} for name in MODULES if name}
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_go_one_way(name: str) -> None:
    for _, module, _ in imports(parsed(name)):
        if not module:
            continue
        pair = (name.split(".")[0], module.split(".")[0])
        assert layer(module) <= layer(name) or pair in ALLOWED, f"{name} imports {module}"


@pytest.mark.parametrize("name", MODULES)
def test_no_private_name_crosses_a_module(name: str) -> None:
    tree = parsed(name)
    for _, module, attribute in imports(tree):
        private = [part for part in (*module.split("."), attribute or "") if is_private(part)]
        assert not private, f"{name} imports {private} from {module}"
    bound = module_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of_module = node.value.id in bound and is_private(node.attr)
            assert not of_module, f"{name}:{node.lineno} uses {ast.unparse(node)}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def module_names(tree: ast.Module) -> set[str]:
    """The names under which modules of the package are known in a file."""
    names = set()
    for node, _, attribute in imports(tree):
        if attribute is None:
            for alias in node.names:
                names.add(alias.asname or alias.name.split(".")[-1])
    return names


@pytest.mark.parametrize("name", [name for name in MODULES if name not in LAZY])
def test_no_import_of_the_package_hides_in_a_function(name: str) -> None:
    hidden = [f"line {node.lineno}: {module}" for node, module, _ in inside_functions(parsed(name))]
    assert not hidden, f"{name}: {hidden}"


@pytest.mark.parametrize("name", [n for n, path in MODULES.items() if path.name == "__init__.py"])
def test_what_a_folder_offers_is_there(name: str) -> None:
    module = importlib.import_module(f"{PACKAGE.name}.{name}".rstrip("."))
    public = getattr(module, "__all__", [])
    assert len(set(public)) == len(public)
    for attribute in public:
        assert getattr(module, attribute) is not None
        assert not attribute.startswith("_") or attribute == "__version__"
    tree = parsed(name)
    taken = {attribute for node, _, attribute in imports(tree) if attribute is not None}
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    named = {attribute for attribute in taken | defined if not attribute.startswith("_")}
    if name in ("data", "training", "transfer", "study"):
        assert set(public) >= named


@pytest.mark.parametrize("line", FIRST_RELEASE.splitlines())
def test_notebooks_of_the_first_release_import_what_they_did(line: str) -> None:
    exec(line, {})


COST = """
import json, os, time
times = []
for names in NAMES:
    before = dict(os.environ)  # libraries set some
    started = time.process_time()
    for name in names:
        __import__(name)
    times.append(time.process_time() - started)
import torch
changed = sorted(n for n in before.keys() | os.environ.keys() if before.get(n) != os.environ.get(n))
print(json.dumps(dict(times=times, changed=changed, opened=torch.cuda.is_initialized())))
"""
TORCH = ["torch", "torchvision"]
LIBRARIES = [*TORCH, "accelerate", "matplotlib.pyplot", "sklearn", "tqdm.auto", "yaml"]
DATA = [PACKAGE.name, *(f"{PACKAGE.name}.{name}" for name in ("errors", "data", "nets", "vae"))]
ALL = [*DATA, *(f"{PACKAGE.name}.{name}" for name in ("training", "transfer", "study", "plots"))]


def cost(*names: list[str]) -> dict[str, Any]:
    """What it costs to import these groups one after the other, in a process of its own."""
    command = [sys.executable, "-c", COST.replace("NAMES", json.dumps(names))]
    environment = {**os.environ, "VAETL_DATA": "somewhere", "VAETL_CACHE": "~/elsewhere"}
    return json.loads(subprocess.check_output(command, env=environment, text=True))


@pytest.mark.slow
@pytest.mark.parametrize(("libraries", "package"), [(TORCH, DATA), (LIBRARIES, ALL)])
def test_importing_the_package_is_quick_and_changes_nothing(
    libraries: list[str], package: list[str]
) -> None:
    """By itself it takes about a hundredth of what the libraries take."""
    ratios = []
    for _ in range(3):  # a busy machine may need a second try
        facts = cost(libraries, package)
        assert facts["changed"] == []
        assert not facts["opened"]
        ratios.append(facts["times"][1] / facts["times"][0])
        if ratios[-1] < 0.1:
            return
    pytest.fail(f"importing the package takes {min(ratios):.2f} of importing its libraries")
