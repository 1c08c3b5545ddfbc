"""Runtime: settings, the probe, where it runs, and how numbers leave a notebook."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import vaetl_helpers
from vaetl_helpers import chapters, device, output, recorded, settings
from vaetl_helpers.app.doctor import checkup
from vaetl_helpers.chapters import course_dir
from vaetl_helpers.device import DeviceStatus, best_device
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import emit, is_interactive, number_texts, report, say, user_path
from vaetl_helpers.settings import PROFILES, platform_name, profiles, setup, versions

KNOBS = {
    "01": {
        profile: {"epochs": number, "full_data": profile == "gpu"}
        for number, profile in enumerate(PROFILES, 1)
    },
    "03b": {profile: {"latent": 2} for profile in PROFILES},
}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A plain interpreter without an accelerator, and profiles that do not change."""
    for name in ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "BINDER_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(settings, "profiles", lambda: KNOBS)
    forget()
    yield
    forget()


def forget() -> None:
    best_device.cache_clear()
    device.status.cache_clear()


def accelerator(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(device))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr("vaetl_helpers.device.device_name", lambda device: f"the {device.type}")


# ---------------------------------------------------------------- what outputs can show


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "1 -> 2, ×, ?, half ?\n"),
        ("cp437", "1 -> 2, x, ?, half ?\n"),
        ("ascii", "1 -> 2, x, ?, half ?\n"),
        ("utf-8", "1 → 2, ×, ё, half ?\n"),
    ],
)
def test_every_line_can_be_printed_whatever_the_system_writes(
    encoding: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "out.txt"
    with open(path, "w", encoding=encoding) as file, contextlib.redirect_stdout(file):
        say("1 → 2", "×", "ё", "half \ud800", sep=", ")
    assert path.read_text(encoding) == text


PRINTERS = (
    "from vaetl_helpers.app.cli import main; sys.argv = ['vaetl', 'claims']; main()",
    "from vaetl_helpers.app.cli import main; sys.argv = ['vaetl', 'claims', '--json']; main()",
    "from vaetl_helpers.app.start import course_map; course_map()",
    "from vaetl_helpers.exercises import hint; hint('vae.bernoulli_log_likelihood')",
    "from vaetl_helpers.exercises import solution; solution('vae.kl')",
)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_commands_and_functions_write_into_files_of_any_encoding(
    encoding: str, tmp_path: Path
) -> None:
    code = "import contextlib, sys\n"
    for printer in PRINTERS:
        code += f"with contextlib.suppress(SystemExit):\n    {printer}\n"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    with open(tmp_path / "out.txt", "wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=file, stderr=subprocess.PIPE, env=environment
        )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    assert "hint 1 of" in (tmp_path / "out.txt").read_text(encoding)


def test_no_module_prints_past_the_guard() -> None:
    # The guard itself; what runs before it is there, and where the package is not.
    allowed = {"output.py", "bootstrap.py", "watch.py"}
    for path in Path(vaetl_helpers.__file__).parent.rglob("*.py"):
        if path.name not in allowed:
            nodes = ast.walk(ast.parse(path.read_text("utf-8")))
            called = [node.func for node in nodes if isinstance(node, ast.Call)]
            assert "print" not in [getattr(function, "id", "") for function in called], path


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert user_path("~/runs") == tmp_path / "runs" and user_path("~") == tmp_path
    assert user_path("runs/~") == Path("runs/~")
    assert user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
    output.write_whole("~/note.txt", "here")
    assert (tmp_path / "note.txt").read_text("utf-8") == "here"


# ---------------------------------------------------------------- setup


@pytest.mark.parametrize("backend", ["agg", "Agg", "svg"])
def test_setup_says_that_the_shells_backend_hides_figures(
    backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", backend)
    setup("01")
    assert "MPLBACKEND" not in capsys.readouterr().out, "a plain program may save its figures"
    monkeypatch.setattr(settings, "notebook_kernel", lambda: object())
    setup("01")
    assert "run %matplotlib inline" in capsys.readouterr().out


def test_setup_fills_what_is_not_given_from_the_profile_and_prints_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = setup("01", "smoke", seed=3, epochs=None, full_data=True)
    assert vars(settings) == {
        "chapter": "01",
        "profile": "smoke",
        "seed": 3,
        "platform": "Python",
        "device": torch.device("cpu"),
        "precision": "no",
        "epochs": 1,
        "full_data": True,
    }
    line = f"Chapter 01 · Python · CPU, {os.cpu_count()} cores · profile smoke · seed 3\n"
    assert capsys.readouterr() == (line, "")
    assert setup("01", "paper").epochs == 4
    assert setup("01", "paper", epochs=0).epochs == 0, "0 and False are values, only None is not"
    assert setup("01", "gpu", full_data=False).full_data is False
    assert KNOBS["01"]["gpu"]["full_data"] is True, "the profiles stay as they are"


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (("1",), {}, "Unknown chapter '1': did you mean '01'? Known: 01, 03b."),
        ((1,), {}, "Unknown chapter '1': did you mean '01'? Known: 01, 03b."),
        (("zz",), {}, "Unknown chapter 'zz'. Known: 01, 03b."),
        (
            ("01", "smok"),
            {},
            "Unknown profile 'smok': did you mean 'smoke'? Known: auto, cpu, gpu, paper, smoke.",
        ),
        (("01", "zz"), {}, "Unknown profile 'zz'. Known: auto, cpu, gpu, paper, smoke."),
        (
            ("01", "cpu"),
            {"epoch": 3},
            "Unknown parameter 'epoch': did you mean 'epochs'? Known: epochs, full_data.",
        ),
        (("03b", "cpu"), {"epochs": None}, "Unknown parameter 'epochs'. Known: latent."),
    ],
)
def test_setup_refuses_unknown_names_with_the_near_match(
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(CourseError) as error:
        setup(*arguments, **named)
    assert str(error.value) == message
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("chapter", "knob", "value"),
    [
        ("03b", "epochs", "3"),
        ("03b", "epochs", 2.5),
        ("03b", "epochs", True),
        ("03b", "full_data", "no"),
        ("03b", "full_data", 1),
        ("03b", "betas", ["1e-1", 1]),
        ("03b", "betas", 0.1),
        ("05", "targets", "digits"),
        ("05", "counts", [50, 100.5]),
        ("04", "task", 3),
    ],
)
def test_setup_refuses_a_knob_of_another_kind(
    chapter: str, knob: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "profiles", profiles)
    with pytest.raises(CourseError, match=f"parameter {knob} is like .*: try {knob}=") as refused:
        setup(chapter, "smoke", **{knob: value})
    assert ("1.0e-3" in str(refused.value)) == ("1e-" in str(value)), "a hint where it helps"


def test_setup_takes_what_a_person_may_write_for_a_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "profiles", profiles)
    taken = setup("03b", "smoke", epochs=np.int64(4), betas=(1, 0.5), data_root=Path("data"))
    assert (taken.epochs, taken.betas, taken.data_root) == (4, (1, 0.5), Path("data"))
    assert setup("05b", "smoke", parts=["parts"], jobs=2).parts == ["parts"]
    assert setup("04", "smoke", task="./pictures").task == "./pictures"
    for chapter, by_profile in profiles().items():
        for profile in by_profile:
            for values in by_profile.values():
                setup(chapter, profile, **values)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, "0", None, float("nan")])
def test_setup_refuses_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(CourseError, match="whole number from 0 to 2147483647.*try seed=0"):
        setup("01", "smoke", seed=seed)


def test_freed_memory_is_kept_but_where_time_and_memory_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = []
    monkeypatch.setattr(settings, "profiles", lambda: {"01": KNOBS["01"], "02": KNOBS["01"]})
    monkeypatch.setattr(settings, "keep_freed_memory", lambda: kept.append("here"))
    setup("02", "smoke")
    assert kept == []
    setup("01", "smoke")
    assert kept == ["here"]
    monkeypatch.setattr(settings, "platform_name", lambda: "Binder")
    setup("01", "smoke")
    assert kept == ["here"], "Binder has little memory"
    device.keep_freed_memory()  # raises nothing, whatever the system


def test_setup_seeds_all_generators() -> None:
    def draw(seed: int) -> tuple[float, ...]:
        setup("01", "smoke", seed=seed)
        return torch.rand(()).item(), float(np.random.rand()), random.random()

    assert draw(1) == draw(1)
    assert all(one != other for one, other in zip(draw(1), draw(2), strict=True))
    setup("01", "smoke", seed=2**31 - 1)


def test_setting_that_does_not_exist_names_the_near_match() -> None:
    settings = setup("01", "smoke")
    with pytest.raises(AttributeError, match="'epoch': did you mean 'epochs'"):
        _ = settings.epoch
    assert not hasattr(settings, "latent")
    assert getattr(settings, "latent", 7) == 7


def test_profiles_file_holds_every_profile_with_the_same_knobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert "01" in profiles()
    for chapter, by_profile in profiles().items():
        assert tuple(by_profile) == PROFILES, chapter
        assert len({tuple(knobs) for knobs in by_profile.values()}) == 1, chapter
        # The parameters cell shows at most six of them, which the lint sees to.
        assert all(len(knobs) <= 12 for knobs in by_profile.values()), chapter


def test_unknown_says_so_where_nothing_is_known() -> None:
    assert str(unknown_name_error("thing", "x", [])) == "Unknown thing 'x'. Known: none."


# ---------------------------------------------------------------- files, whole or not at all


def test_write_whole_replaces_a_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    (tmp_path / ".numbers.json.partial").write_text("what a killed process has left")
    output.write_whole(path, "ä\r\n")
    assert path.read_bytes() == b"\xc3\xa4\r\n"
    output.write_whole(str(path), b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(tmp_path.iterdir()) == [path]


def test_write_whole_leaves_the_old_file_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "numbers.json"
    output.write_whole(path, "old")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        output.write_whole(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_write_whole_makes_a_secret_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    output.write_whole(path, "secret", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


# ---------------------------------------------------------------- the probe


def test_probe_without_an_accelerator_is_the_cpu() -> None:
    assert best_device() == DeviceStatus(torch.device("cpu"), f"CPU, {os.cpu_count()} cores", None)


def test_auto_is_cpu_here_and_gpu_where_an_accelerator_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert setup("01").profile == "cpu"
    apple = DeviceStatus(torch.device("mps"), "MPS", None)
    monkeypatch.setattr("vaetl_helpers.settings.best_device", lambda: apple)
    chosen = setup("01")
    assert (chosen.profile, chosen.device.type, chosen.epochs) == ("gpu", "mps", 3)
    assert setup("01", "smoke").profile == "smoke"


NO_KERNEL = (
    "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors "
    "might be"
)
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040)."


@pytest.mark.parametrize(
    "operation", [(torch.nn.functional, "conv2d"), (torch.Tensor, "__matmul__")]
)
@pytest.mark.parametrize(
    ("error", "words", "advice"),
    [
        (
            RuntimeError(NO_KERNEL),
            "(CUDA error: no kernel image is available for execution on the device)",
            "T4 x2",
        ),
        (
            RuntimeError(OLD_DRIVER),
            "too old (found version 11040).)",
            "update it, or install an older PyTorch",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "(CUDA out of memory.)",
            "end the other programs",
        ),
        (RuntimeError(), "(RuntimeError)", "restart the kernel"),
        (OSError("libcuda.so: cannot open"), "(libcuda.so: cannot open)", "restart the kernel"),
    ],
)
def test_device_that_reports_available_and_fails_on_first_use_is_named_and_the_cpu_used(
    error: Exception,
    words: str,
    advice: str,
    operation: tuple[Any, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    accelerator(monkeypatch, "cpu")  # stands for one: its tensors can be made
    monkeypatch.setattr(*operation, fail)
    found = best_device()
    assert (found.device, found.name) == (torch.device("cpu"), "the cpu")
    assert found.problem.startswith("The device cpu:0 says that it is available but fails (")
    assert (
        words in found.problem
        and advice in found.problem
        and found.problem.endswith(". Using the CPU.")
    )
    chosen = setup("01")
    assert (chosen.profile, chosen.device) == ("cpu", torch.device("cpu"))
    assert capsys.readouterr().out.splitlines()[0] == found.problem


def test_probe_does_real_work_and_looks_at_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator(monkeypatch, "meta")  # takes every operation and computes nothing
    assert best_device().device == torch.device("cpu")
    assert "The device meta:0 says" in str(best_device().problem)
    forget()
    accelerator(monkeypatch, "cpu")
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: torch.zeros(8, 8))
    assert "computes wrong results" in str(best_device().problem)


def test_probe_of_a_working_device_is_one_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator(monkeypatch, "cpu")
    assert best_device() == DeviceStatus(torch.device("cpu", 0), "the cpu", None)
    forget()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert best_device().device == torch.device("cpu", 1)
    assert [found.device for found in device.devices()] == [
        torch.device(d) for d in ("cpu", "cpu:0", "cpu:1")
    ]


@pytest.mark.parametrize(
    ("built", "error", "words"),
    [
        (None, None, "this PyTorch was built without CUDA"),
        (
            "13.2",
            RuntimeError(OLD_DRIVER),
            "update it, or install an older PyTorch, made for CUDA 12.6",
        ),
        ("13.2", None, None),
    ],
)
def test_gpu_that_pytorch_does_not_see_is_mentioned(
    built: str | None, error: Exception | None, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init() -> None:
        if error:
            raise error

    monkeypatch.setattr(device.Path, "exists", lambda path: str(path) == "/dev/nvidiactl")
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "init", init)
    assert (words in best_device().problem) if words else best_device().problem is None


def fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An nvidia-smi on PATH that answers as the script says."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def too_old_a_driver() -> None:
    raise RuntimeError(OLD_DRIVER)


@pytest.mark.parametrize("card", ["NVIDIA GeForce GTX 1080, 6.1", "Tesla V100-SXM2-16GB, 7.0"])
def test_gpu_that_pytorch_left_behind_is_named_with_the_way_out(
    card: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, f'echo "{card}"')
    forget()
    name, capability = card.split(", ")
    problem = str(best_device().problem)
    assert f"The GPU {name} (compute capability {capability}) is older" in problem
    assert '"torch<2.15"' in problem and "whl/cu126" in problem and "Colab" in problem
    setup("01")
    assert capsys.readouterr().out.splitlines()[0] == problem
    assert problem in checkup()[1], "the doctor says the same"


def test_driver_of_cuda_12_under_a_newer_pytorch_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, 'echo "Tesla T4, 7.5"')
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "init", too_old_a_driver)
    problem = str(device.hidden_gpu())
    assert "update it, or install an older PyTorch" in problem and "whl/cu126" in problem


@pytest.mark.parametrize(
    "script",
    [
        "exit 9",  # no driver answers
        'case "$1" in *compute_cap*) exit 2;; esac; exit 0',  # an old one, without a card
    ],
)
def test_nvidia_smi_without_a_card_is_no_gpu(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, script)
    monkeypatch.setattr(device.Path, "exists", lambda path: False)
    assert device.hidden_gpu() is None


def test_gpus_that_were_hidden_on_purpose_are_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, 'echo "NVIDIA GeForce GTX 1080, 6.1"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.hidden_gpu() is None


def test_driver_too_old_to_know_capabilities_is_read_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'case "$1" in *compute_cap*) exit 2;; esac; echo "Quadro K2000"'
    fake_nvidia_smi(tmp_path, monkeypatch, script)
    assert device.nvidia_cards() == [device.Card("Quadro K2000", 0)]


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "no")])
def test_bfloat16_only_where_it_is_native(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation
    )
    assert device.best_precision(torch.device("cuda")) == expected
    assert [device.best_precision(torch.device(kind)) for kind in ("cpu", "mps")] == ["no", "no"]
    assert setup("01").precision == "no"


@pytest.mark.parametrize("platform", ["Colab", "Kaggle", "Binder", "Python"])
def test_advice_names_the_switch_of_the_platform(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "platform_name", lambda: platform)
    words = {
        "Colab": "Change runtime type",
        "Kaggle": "GPU T4 x2",
        "Binder": "lends no accelerator",
    }
    assert words.get(platform, "lend one") in settings.advice()


def test_small_numbers_do_not_slow_the_optimiser_down_after_setup() -> None:
    setup("01")
    assert (torch.tensor([1e-39]) * 1).item() == 0


# ---------------------------------------------------------------- where it runs


def test_platform_is_told_by_its_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert platform_name() == "Python"
    monkeypatch.setattr("vaetl_helpers.settings.notebook_kernel", lambda: object())
    assert platform_name() == "JupyterLab"
    for variable, name in (
        ("BINDER_SERVICE_HOST", "Binder"),
        ("KAGGLE_KERNEL_RUN_TYPE", "Kaggle"),
        ("COLAB_RELEASE_TAG", "Colab"),
    ):
        monkeypatch.setenv(variable, "x")
        assert platform_name() == name


@pytest.mark.parametrize(
    ("variable", "value"),
    [("BINDER_SERVICE_HOST", "x"), ("VAETL_GRADING", "1"), ("VAETL_GRADING", "true")],
)
def test_auto_is_small_on_binder_and_where_a_grader_runs_many(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapter = next(iter(KNOBS))
    assert setup(chapter).profile == "cpu"
    monkeypatch.setenv(variable, value)
    assert setup(chapter).profile == "smoke"
    assert setup(chapter, "cpu").profile == "cpu"


def test_a_notebook_is_a_running_kernel_not_an_imported_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ipykernel  # noqa: F401

    assert output.notebook_kernel() is None
    for shell, expected in (
        (SimpleNamespace(), None),
        (SimpleNamespace(kernel="kernel"), "kernel"),
    ):
        monkeypatch.setattr("IPython.get_ipython", lambda shell=shell: shell)
        assert output.notebook_kernel() == expected


@pytest.mark.parametrize("watched", [True, False])
def test_someone_watches_a_terminal_or_a_notebook_that_could_ask(
    watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: watched, raising=False)
    assert is_interactive() is watched
    monkeypatch.setattr(sys.stdout, "isatty", lambda: not watched, raising=False)
    monkeypatch.setattr(output, "notebook_kernel", lambda: SimpleNamespace(_allow_stdin=watched))
    assert is_interactive() is watched


def test_course_is_in_the_package_or_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "vaetl_helpers"
    package.mkdir()
    monkeypatch.setattr(chapters, "__file__", str(package / "chapters.py"))
    (tmp_path / "course").write_text("a file")
    with pytest.raises(CourseError, match="notebooks are missing.*install vaetl-helpers again"):
        course_dir()
    (tmp_path / "course").unlink()
    (tmp_path / "course").mkdir()
    assert course_dir() == tmp_path / "course"
    (package / "course").mkdir()
    assert course_dir() == package / "course"


def test_course_of_this_checkout_is_found() -> None:
    assert course_dir() == Path(vaetl_helpers.__file__).parent.parent / "course"


def test_versions_are_those_of_what_is_installed() -> None:
    assert (
        versions()["torch"] == torch.__version__.split("+")[0]
        or versions()["torch"] == torch.__version__
    )
    assert list(versions()) == ["python", "torch", "torchvision", "numpy", "vaetl-helpers"]


# ---------------------------------------------------------------- numbers out of a notebook


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a notebook would show."""
    shown: list[dict[str, Any]] = []

    def display(bundle: dict[str, Any], raw: bool = False) -> None:
        assert raw
        shown.append(json.loads(json.dumps(bundle)))  # it has to pass through JSON

    for module in ("output", "settings"):
        monkeypatch.setattr(f"vaetl_helpers.{module}.notebook_kernel", lambda: object())
    monkeypatch.setattr("IPython.display.display", display)
    return shown


def test_report_shows_a_line_and_attaches_the_record(
    displayed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    data = "Fashion-MNIST, embedded"
    report("accuracy", 0.87654, "%", id="00/accuracy", low=0.86, high=0.89, n=5, data=data)
    assert displayed == [
        {
            "text/plain": "accuracy = 0.877 % [0.860, 0.890] (Fashion-MNIST, embedded, n = 5)",
            "application/vnd.vaetl.record+json": {
                "id": "00/accuracy",
                "name": "accuracy",
                "value": 0.87654,
                "unit": "%",
                "low": 0.86,
                "high": 0.89,
                "n": 5,
                "se": None,
                "df": None,
                "conditional": [],
                "data": data,
            },
        }
    ]
    assert capsys.readouterr().out == ""


def test_report_takes_tensors_and_numpy_numbers(displayed: list[dict[str, Any]]) -> None:
    report("loss", torch.tensor(2.5), low=np.float32(2), high=torch.tensor(3), n=np.int64(4))
    record = displayed[0]["application/vnd.vaetl.record+json"]
    assert (record["value"], record["low"], record["high"], record["n"]) == (2.5, 2.0, 3.0, 4)
    assert displayed[0]["text/plain"] == "loss = 2.5 [2.0, 3.0] (n = 4)"


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({}, "x = 1.5"),
        ({"unit": "s"}, "x = 1.5 s"),
        ({"unit": "s", "data": "MNIST"}, "x = 1.5 s (MNIST)"),
        ({"unit": "s", "n": 3}, "x = 1.5 s (n = 3)"),
        ({"low": 1, "high": 2, "data": "MNIST", "n": 3}, "x = 1.5 [1.0, 2.0] (MNIST, n = 3)"),
        ({"low": 1, "conditional": ["these 2 VAEs"]}, "x = 1.5 (conditional on these 2 VAEs)"),
        (
            {"conditional": ["these test images", "this model"], "n": 3},
            "x = 1.5 (for these test images; conditional on this model, n = 3)",
        ),
    ],
)
def test_report_prints_a_line_in_a_plain_interpreter(
    named: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report("x", 1.5, **named)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ((1.14, 0.594, 1.68), ["1.14", "0.59", "1.68"]),
        ((7, 1.94, 12.1), ["7.0", "1.9", "12.1"]),
        ((1, 0, 2), ["1", "0", "2"]),
        ((1766,), ["1,770"]),
        ((999.6, -12), ["1,000", "−12"]),
        ((9e9, 8.1e9, None), ["9.0 billion", "8.1 billion", "open"]),
        ((2.11e12,), ["2.11 trillion"]),
        ((-0.0675, 0.0978), ["−0.0675", "0.0978"]),
        ((-0.0001, 2), ["0", "2"]),
        ((1.2e-7, 0), ["1.2 × 10⁻⁷", "0"]),
        ((0,), ["0"]),
        ((math.inf, 1), ["inf", "1"]),
        ((None,), ["open"]),
    ],
)
def test_numbers_that_are_compared_have_the_same_decimals(
    numbers: tuple[float | None, ...], texts: list[str]
) -> None:
    assert number_texts(*numbers) == texts


def test_a_fraction_is_shown_as_per_cent(capsys: pytest.CaptureFixture[str]) -> None:
    report("cnn_test_accuracy", 0.8805, "fraction", low=0.8739, high=0.8871, n=3)
    assert capsys.readouterr().out == "cnn test accuracy = 88.0 % [87.4, 88.7] (n = 3)\n"


def test_setup_attaches_the_facts_of_the_run(displayed: list[dict[str, Any]]) -> None:
    setup("01", "smoke", seed=2)
    facts = displayed[0]["application/vnd.vaetl.run+json"]
    assert displayed[0]["text/plain"].startswith("Chapter 01 · JupyterLab")
    assert (facts["chapter"], facts["profile"], facts["seed"], facts["device"]) == (
        "01",
        "smoke",
        2,
        f"CPU, {os.cpu_count()} cores",
    )
    assert facts["torch"]


def test_emit_attaches_any_content(displayed: list[dict[str, Any]]) -> None:
    emit("line", "data", {"a": 1})
    assert displayed == [{"text/plain": "line", "application/vnd.vaetl.data+json": {"a": 1}}]


# ---------------------------------------------------------------- importing


def run(
    code: str, folder: Path, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("VAETL_")
    } | variables
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_importing_the_package_takes_no_time_and_touches_no_accelerator(tmp_path: Path) -> None:
    code = """if True:
        import sys, torch
        before = set(sys.modules)
        import vaetl_helpers
        print(sorted(set(sys.modules) - before))
        from vaetl_helpers import data, nets, runtime, training
        heavy = {"torchvision", "accelerate", "sklearn", "matplotlib"}
        heavy |= {"IPython", "pooch", "PIL", "tqdm"}
        print(sorted(heavy & (set(sys.modules) - before)))
        print(any(getattr(torch, kind).is_initialized() for kind in ("cuda", "xpu")))
    """
    done = run(code, tmp_path, "-X", "importtime")
    assert done.stdout.splitlines() == ["['vaetl_helpers']", "[]", "False"]
    lines = [
        line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")
    ]
    seconds = {
        name.strip(): int(total) / 1e6 for _, total, name in lines if total.strip().isdigit()
    }
    assert seconds["vaetl_helpers"] <= 0.15


@pytest.mark.slow
def test_importing_changes_no_environment_variable_and_folders_are_absolute_where_they_are_read(
    tmp_path: Path,
) -> None:
    code = """if True:
        import os
        before = dict(os.environ)
        from vaetl_helpers import data, exercises, plots, runtime, study, training, widgets
        changed = dict(os.environ).items() ^ before.items()
        changed.discard(("KMP_INIT_AT_FORK", "FALSE"))  # by scikit-learn
        print(sorted(changed), data.data_root(), data.cache_dir(), sep="\\n")
    """
    (tmp_path / "mine").mkdir()
    done = run(code, tmp_path, VAETL_DATA="mine", VAETL_CACHE="kept")
    assert done.stdout.splitlines() == ["[]", str(tmp_path / "mine"), str(tmp_path / "kept")]


def test_setup_leaves_a_core_to_others_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for cores, variable, expected in (
        (2, None, [1]),
        (1, None, [1]),
        (4, None, [3]),
        (16, None, [4]),
        (2, "2", []),
    ):
        chosen.clear()
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if variable:
            monkeypatch.setenv("OMP_NUM_THREADS", variable)
        setup("01")
        assert chosen == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            ("04", "accuracy", ("fine-tuned", "scratch"), "10 a class"),
            "04/accuracy/fine_tuned-scratch/10_a_class",
        ),
        (("03b", "bound gain", "β = 20 (collapse)"), "03b/bound_gain/beta_20_collapse"),
        (("05", "tuning", "probe on μ", 0.003), "05/tuning/probe_on_mu/0.003"),
        (("04", "layers", "A1B+"), "04/layers/a1b_plus"),
    ],
)
def test_ids_are_plain(parts: tuple[Any, ...], expected: str) -> None:
    assert output.record_id(*parts) == expected


def test_a_table_carries_its_records_out_of_sight(
    displayed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        output.record("gain", torch.tensor(2.0), "points", low=1, high=3, n=5, data="tops"),
        output.record("loss", 1.0),
    ]
    output.show_table([("gain", "+2.0")], header=("what", "points"), records=records)
    output.show_table({"a": "b"})
    assert displayed[0]["application/vnd.vaetl.record+json"][0] == {
        "id": None,
        "name": "gain",
        "value": 2.0,
        "unit": "points",
        "low": 1.0,
        "high": 3.0,
        "n": 5,
        "se": None,
        "df": None,
        "conditional": [],
        "data": "tops",
    }
    assert displayed[0]["text/markdown"] == "| what | points |\n| --- | --- |\n| gain | +2.0 |"
    assert len(displayed[0]["application/vnd.vaetl.record+json"]) == 2
    assert "application/vnd.vaetl.record+json" not in displayed[1]
    assert capsys.readouterr().out == ""


def test_the_weights_of_a_model_come_with_their_facts() -> None:
    weights, facts = recorded.packaged_weights("source-tops")
    assert weights["head.weight"].shape == (2, 64) and facts["classes"] == ["pullover", "coat"]
    assert "pretrain_source tops" in facts["command"]
