"""What a newcomer and a platform read: README, environments, licences, sizes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from vaetl_helpers import __version__
from vaetl_helpers.settings import PROFILES, profiles

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vaetl_helpers"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def bash_commands() -> list[str]:
    block = (ROOT / "README.md").read_text("utf-8").split("```bash\n")[1].split("```")[0]
    return [line for line in block.splitlines() if line.strip()]


def test_readme_starts_with_two_commands_that_make_the_same_environment() -> None:
    first, second = bash_commands()
    assert first.endswith("vaetl run")
    assert second.endswith("-m pytest")
    for command in (first, second):
        assert command.startswith("python3 -m venv .venv && ")


def extras_in(text: str) -> set[str]:
    """The extras of the package that a command installs, as in ".[lab,text]"."""
    (names,) = re.findall(r"\.\[([a-z,]+)\]", text)
    return set(names.split(","))


def test_all_ways_to_install_agree_on_the_extras() -> None:
    extras = set(PROJECT["project"]["optional-dependencies"])
    for_learners, for_tests = bash_commands()
    install = (ROOT / "scripts" / "install").read_text("utf-8")
    for text in (for_tests, install):
        assert extras_in(text) == extras and "--group dev" in text
    for name in ("environment.yml", "binder/postBuild"):
        assert extras_in((ROOT / name).read_text("utf-8")) == extras_in(for_learners)
    assert extras_in(for_learners) == extras - {"grading", "certificate"}


def test_what_binder_installs_first_is_new_enough_for_the_package() -> None:
    requirements = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["lab"],
    ]
    binder = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text("utf-8"))
    bounds = [line for line in binder["dependencies"] if ">=" in line]
    assert bounds
    for bound in bounds:
        assert bound.replace("pytorch-cpu", "torch") in requirements


def test_dependencies_have_lower_bounds_only() -> None:
    groups = [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
    ]
    for requirement in (line for group in groups for line in group):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+>=[\d.]+", requirement), requirement


def test_version_is_written_once_and_the_same() -> None:
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "vaetl_helpers/__init__.py"
    assert PROJECT["tool"]["vaetl"]["tag"] == f"v{__version__}"
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_conda_environments_are_readable() -> None:
    for name in ("environment.yml", "binder/environment.yml"):
        environment = yaml.safe_load((ROOT / name).read_text("utf-8"))
        assert environment["dependencies"]
        assert environment["channels"] == ["conda-forge"]


def test_binder_folder_is_accepted() -> None:
    command = [
        str(Path(sys.executable).with_name("jupyter-repo2docker")),
        "--no-build",
        "--debug",
        str(ROOT),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "binder/postBuild" in result.stdout + result.stderr


def test_every_chapter_has_every_profile() -> None:
    for source in (ROOT / "course" / "source").glob("*.py"):
        assert set(profiles()[source.name.split("_")[0]]) == set(PROFILES)


def test_package_data_are_small_and_noticed() -> None:
    files = [path for folder in ("assets", "recorded") for path in (PACKAGE / folder).rglob("*")]
    # Of these, 15 MB are what forty pairs of chapters 4 and 5 got right, image by image.
    assert sum(path.stat().st_size for path in files) < 45e6
    notices = (ROOT / "DATA_NOTICES.md").read_text("utf-8")
    assert all(path.name in notices for path in (PACKAGE / "assets").glob("*.npz"))
    assert "`vaetl_helpers/recorded/`" in notices


@pytest.mark.parametrize("word", ["raises-exception", "nbval-skip"])
def test_no_notebook_hides_a_cell(word: str) -> None:
    for path in (ROOT / "course").rglob("*.ipynb"):
        assert word not in path.read_text("utf-8"), path.name


def test_each_finding_is_listed_and_says_what_was_seen_when_and_why_it_matters() -> None:
    scripts = {path.name: path for path in (ROOT / "findings").glob("*.sh")}
    listed = re.findall(r"\]\((\w+\.sh)\)", (ROOT / "findings" / "README.md").read_text("utf-8"))
    assert listed == sorted(scripts)
    for name, path in scripts.items():
        header = path.read_text("utf-8").partition("\nset -euo pipefail\n")[0]
        assert re.search(r"^# Seen on \d{4}-\d\d-\d\d", header, re.MULTILINE), name
        assert "\n# Why it matters here: " in header, name
        assert header.endswith("\n# Exit code 0: still so. 1: it has changed."), name


def test_ruff_is_clean() -> None:
    for action in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *action, str(ROOT)], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr


PROSE = """# %% [markdown]
# ## A heading: not counted
#
# One two three, by Kingma et al. 2013. Four five (six seven) eight: nine; ten $x: y$ `a: b`.
#
# | a table | (of: words) |
#
# - eleven twelve
# - [thirteen](http://example.org/a:b)

# %%
print("code: (is) no prose; none")
"""


def test_the_counts_of_a_text_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import prose

    counts = prose.count(PROSE)
    # Sentences of 8 and 9 words, a formula and code being one each, and two items of 2 and 1.
    assert counts.words == 8 + 9 + 2 + 1 and counts.typical == (8 + 2) / 2
    assert counts.in_brackets == pytest.approx(100 * 2 / counts.words)
    assert counts.colons == counts.semicolons == pytest.approx(1000 / counts.words)
