"""One setting holds the address, everything follows it, and what is not ready is named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from vaetl_helpers import __version__
from vaetl_helpers.authoring import release
from vaetl_helpers.authoring.address import PLACEHOLDER, Address, address_in, remote_repository
from vaetl_helpers.authoring.release import HEADINGS, OWN_FILES, cited, faults, set_address
from vaetl_helpers.errors import CourseError

ROOT = Path(__file__).parents[2]
TAG = f"v{__version__}"


def git(root: Path, *words: str) -> None:
    author = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(root), *author, *words], check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "All")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the course's own files, ready to be released."""
    for name in (*OWN_FILES, "pyproject.toml", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "git@github.com:some/where.git")
    set_address(tmp_path)
    edit(tmp_path / "README.md", "ORG/REPO", "nowhere")
    edit(
        tmp_path / "CHANGELOG.md",
        f"## {__version__} (unreleased)",
        f"## {__version__} (2026-01-31)",
    )
    with (tmp_path / "CITATION.cff").open("a", encoding="utf-8") as file:
        file.write("date-released: 2026-01-31\n")
    notebook = tmp_path / "course" / "01_first.ipynb"
    notebook.parent.mkdir()
    notebook.write_text(f"https://x.org/some/where/blob/{TAG}/course/01_first.ipynb")
    monkeypatch.setattr(release.build, "check", lambda course: [])
    commit(tmp_path)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/some/where",
        "https://github.com/some/where.git",
        "https://user:token@github.com/some/where/",
        "git@github.com:some/where.git",
        "ssh://git@github.com/some/where.git",
    ],
)
def test_the_remote_is_read_however_it_is_written(tmp_path: Path, url: str) -> None:
    git(tmp_path, "init", "-q")
    assert remote_repository(tmp_path) is None
    git(tmp_path, "remote", "add", "origin", url)
    assert remote_repository(tmp_path) == "some/where"


def test_a_remote_elsewhere_is_no_address(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "/srv/git/course.git")
    assert remote_repository(tmp_path) is None
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with pytest.raises(CourseError, match="--repository owner/name"):
        set_address(tmp_path)


def test_setting_and_citation_follow_the_remote(checkout: Path) -> None:
    assert address_in(checkout) == Address("some/where", TAG)
    citation = yaml.safe_load((checkout / "CITATION.cff").read_text("utf-8"))
    assert citation["repository-code"] == "https://github.com/some/where"
    assert citation["version"] == __version__
    set_address(checkout, "an/other")
    assert address_in(checkout).repository == "an/other"
    with pytest.raises(CourseError, match="no name of a repository"):
        set_address(checkout, "https://github.com/an/other")


def test_a_checkout_that_is_ready_has_no_fault(checkout: Path) -> None:
    assert faults(checkout) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("pyproject.toml", '"some/where"', '"ORG/REPO"', "The address is still ORG/REPO"),
        ("pyproject.toml", '"some/where"', '"an/other"', "The git remote is some/where"),
        ("pyproject.toml", f'"{TAG}"', '"v0.0.9"', "The tag v0.0.9 is not that"),
        ("CITATION.cff", f"version: {__version__}", "version: 0.0.9", "has version 0.0.9, not"),
        ("CITATION.cff", "date-released", "date-written", "no date-released"),
        ("CITATION.cff", "authors:", "people:", "no authors"),
        ("CITATION.cff", "title:", "title: [", "cannot be read"),
        ("CHANGELOG.md", "(2026-01-31)", "(unreleased)", "no day for"),
        ("CHANGELOG.md", f"## {__version__}", "## 0.0.9", "no heading"),
        ("CHANGELOG.md", "### Added", "### New", "heading 'New'"),
        ("README.md", "nowhere", "ORG/REPO", "README.md still speaks of"),
        ("course/01_first.ipynb", "some/where", "an/other", "badges of course/01_first.ipynb"),
    ],
)
def test_each_fault_is_named(checkout: Path, name: str, old: str, new: str, says: str) -> None:
    edit(checkout / name, old, new)
    commit(checkout)
    assert any(says in fault for fault in faults(checkout))


def test_what_is_missing_stale_uncommitted_or_tagged_elsewhere_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(checkout, "tag", TAG)
    (checkout / "docs" / "accessibility.md").unlink()
    monkeypatch.setattr(release.build, "check", lambda course: ["a", "b"])
    text = "\n".join(faults(checkout))
    assert "docs/accessibility.md is missing" in text and "stale in 2 places" in text
    assert "not committed" in text and "another commit" not in text
    commit(checkout)
    assert f"The tag {TAG} is at another commit" in "\n".join(faults(checkout))


def test_the_repositorys_own_files_fit_its_setting() -> None:
    """What holds on every day, and not only on that of a release."""
    address = address_in(ROOT)
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert cited(citation, address) == citation
    for name in OWN_FILES:
        assert (ROOT / name).is_file(), name
    headings = [
        line.removeprefix("### ")
        for line in (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
        if line.startswith("### ")
    ]
    assert set(headings) <= set(HEADINGS)
    # That each solution has the cells of its notebook is checked by `vaetl build --check`.
    has_address = address.repository != PLACEHOLDER
    for path in sorted((ROOT / "course").glob("*.ipynb")):
        badge = f"{address.repository}/blob/{address.tag}/course/{path.name}"
        assert (badge in path.read_text("utf-8")) == has_address, path.name
