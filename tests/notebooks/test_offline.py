"""The whole course without a network: an empty home, an ordinary user, a package that cannot be
written.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from in_browser import CHROMIUM, SCREENS

from vaetl_helpers.chapters import chapters_in, course_dir

ROOT = Path(__file__).parents[2]
BWRAP = "/usr/bin/bwrap"
USER = "4321"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")


def sandbox(out: Path) -> list[str]:
    """bubblewrap: the system, Python and the course to read; a home, /tmp and `out` to write; no
    network.
    """
    words = [BWRAP, "--die-with-parent", "--unshare-net", "--unshare-pid", "--unshare-ipc"]
    for path in filter(os.path.exists, SYSTEM):
        linked = os.path.islink(path)
        words += ["--symlink", os.readlink(path), path] if linked else ["--ro-bind", path, path]
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]
    words += ["--perms", "1777", "--tmpfs", "/tmp", "--perms", "0777", "--dir", "/home/learner"]
    python = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    folders = [path for path in sorted(python) if not path.is_relative_to("/usr")]
    for path in (*folders, ROOT / "vaetl_helpers", ROOT / "course", ROOT / "tests"):
        above = [word for parent in reversed(path.parents[:-1]) for word in ("--dir", str(parent))]
        words += [*above, "--ro-bind", str(path), str(path)]
    words += ["--bind", str(out), "/out", "--chdir", "/home/learner", "--clearenv"]
    settings = {
        "HOME": "/home/learner",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    settings |= {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT / 'tests' / 'helpers'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words += [word for pair in settings.items() for word in ("--setenv", *pair)]
    if (
        os.geteuid() == 0
    ):  # root hands the rest to another user; bubblewrap leaves it the right to do so
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        return [*words, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    return [*words, "--unshare-user"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.debian("chromium", CHROMIUM)
@pytest.mark.debian("bubblewrap", BWRAP)
def test_the_whole_course_works_without_a_network_for_an_ordinary_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    command = [
        *sandbox(tmp_path),
        sys.executable,
        str(ROOT / "tests" / "helpers" / "offline_learner.py"),
        "/out",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    facts = {
        key: value for line in done.stdout.splitlines() for key, value in json.loads(line).items()
    }
    assert facts.get("done"), (facts, done.stderr[-3000:])
    assert facts["uid"] == (int(USER) if os.geteuid() == 0 else os.getuid())
    assert (facts["home"], facts["writable"], facts["network"]) == ([], [], False)
    chapters = chapters_in(course_dir())
    assert facts["notebooks"] == [chapter.path.name for chapter in chapters.values()]
    assert (facts["errors"], facts["outside"]) == ([], [])
    assert "6 of 6 tests passed" in facts["tested"], facts["tested"]
    assert facts["policy"].startswith("default-src 'self'")
    assert (facts["told"], facts["maps"], facts["picture"]) == ("1 1 1", 1, 0)
    assert facts["run"] == dict.fromkeys(chapters, "passed"), facts["end"]
    assert facts["code"] == 0
    SCREENS.mkdir(exist_ok=True)
    shutil.copy(tmp_path / "offline_start_page.png", SCREENS)
