"""The wheel and the source archive: built, complete, and of use in a clean environment."""

from __future__ import annotations

import json
import os
import posixpath
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from vaetl_helpers import __version__
from vaetl_helpers.authoring.text_pages import texts_beside

ROOT = Path(__file__).parents[2]
UV = (sys.executable, "-m", "uv")
MOST_BYTES = 60e6


def run(*command: object, **more: str) -> str:
    """What a command says; it sees nothing of this checkout."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=clean | more, cwd="/"
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source archive, and the wheel that is made of it, as an index of packages gets them."""
    out = tmp_path_factory.mktemp("dist")
    run(*UV, "build", "--out-dir", out, ROOT)
    (wheel,) = out.glob("*.whl")
    (archive,) = out.glob("*.tar.gz")
    return {"wheel": wheel, "archive": archive}


def tracked(folder: str) -> set[str]:
    """The files of a folder that git knows."""
    names = subprocess.check_output(["git", "ls-files", folder], cwd=ROOT, text=True)
    return set(names.split())


@pytest.mark.slow
def test_both_hold_the_course_and_nothing_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        in_wheel = set(wheel.namelist())
    with tarfile.open(built["archive"]) as archive:
        in_archive = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked("vaetl_helpers") <= in_wheel
    for folder in ("course", "docs"):
        assert {f"vaetl_helpers/{name}" for name in tracked(folder)} <= in_wheel
        assert tracked(folder) <= in_archive
    assert tracked("vaetl_helpers") | tracked("tests") <= in_archive
    for names in (in_wheel, in_archive):
        unwanted = [
            name for name in names if "__pycache__" in name or "/.ipynb_checkpoints" in name
        ]
        assert unwanted == [] and not [
            name for name in names if name.startswith((".venv", "runs/"))
        ]
    assert max(path.stat().st_size for path in built.values()) < MOST_BYTES


@pytest.mark.slow
def test_what_an_instructor_reads_in_the_wheel_leads_nowhere_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = set(wheel.namelist())
        pages = [name for name in names if name.startswith("vaetl_helpers/docs/instructors/")]
        texts = {name: wheel.read(name).decode() for name in pages if name.endswith(".md")}
    assert len(texts) > 3
    for page, text in texts.items():
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert posixpath.normpath(posixpath.join(posixpath.dirname(page), link)) in names, link


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "archive"])
def test_it_is_installed_and_works_in_a_clean_environment(
    built: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    run(*UV, "venv", "--python", sys.executable, tmp_path / "env")
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(*UV, "pip", "install", "--no-deps", "--python", scripts / "python", built[kind])
    # PyTorch and the other libraries, of some gigabytes, are taken from where the tests run: a
    # folder in a .pth file is searched last, and an editable course in it is not followed.
    purelib = run(
        scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    libraries = Path(purelib.strip(), "libraries.pth")
    libraries.write_text(sysconfig.get_path("purelib"), "utf-8")
    said = run(
        scripts / "python", "-c", "import vaetl_helpers as v; print(v.__file__, v.__version__)"
    )
    where, version = said.split()
    assert Path(where).is_relative_to(tmp_path) and version == __version__
    assert "record-machine" in run(scripts / "vaetl", "--help")
    assert "embedded subset" in run(scripts / "vaetl", "data", VAETL_DATA=str(tmp_path))
    claims = json.loads(run(scripts / "vaetl", "claims", "--json"))
    assert claims, "recorded runs and claims.yaml came along"
    # Jupyter's templates lie where its libraries are.
    templates = str(Path(sys.prefix, "share", "jupyter"))
    run(scripts / "vaetl", "site", "--out", tmp_path / "site", JUPYTER_PATH=templates)
    pages = list((tmp_path / "site").glob("*.html"))
    texts = texts_beside(ROOT / "course").paths  # cheat sheets and what else `docs` has for readers
    assert len(pages) == 1 + len(list((ROOT / "course").glob("*.ipynb"))) + len(texts)
    page = re.search(r"(?m)^for instructors +(.+)$", run(scripts / "vaetl", "doctor", HOME="/home"))
    assert page and Path(page[1]).is_relative_to(tmp_path) and Path(page[1]).is_file()
