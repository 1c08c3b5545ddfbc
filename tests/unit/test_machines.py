"""A machine is measured in ten minutes, whatever ends it, and becomes one file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vaetl_helpers import recorded, widgets
from vaetl_helpers.data import ImageSet
from vaetl_helpers.device import DeviceStatus
from vaetl_helpers.errors import CourseError
from vaetl_helpers.machines import busy, compiling, measures, recording, steps
from vaetl_helpers.machines.busy import covered
from vaetl_helpers.machines.children import MeasurementError, in_child
from vaetl_helpers.machines.measures import PLAN, Bench, Measured, Measurement, number
from vaetl_helpers.machines.recording import record_machine
from vaetl_helpers.machines.steps import NETWORKS, Levers, Pass, Step
from vaetl_helpers.settings import profiles

ROOT = Path(__file__).parents[2]
CARD = torch.device("cuda", 0)
NAMES = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looked at quickly, as busy at each look, and left as it was."""
    threads = torch.get_num_threads()
    facts = {"processor": "Some processor"}
    monkeypatch.setattr(recording.hardware, "machine", lambda: facts)
    monkeypatch.setattr(recording, "_load", lambda: None)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


class Plan:
    """Measurements that note their calls; `at` may do something before one of them ends."""

    def __init__(self, at: dict[str, Callable[[Bench], Any]] | None = None) -> None:
        self.calls: list[str] = []
        self.at = at or {}
        self.plan = [Measurement(name, name.upper(), 10, self.one(name)) for name in NAMES]

    def one(self, name: str) -> Callable[[Bench], Measured]:
        def run(bench: Bench) -> Measured:
            self.calls.append(name)
            if name in self.at:
                self.at[name](bench)
            return Measured([number(name, ord(name), "s", name)], {"figure": [{"x": name}]})

        return run


def cut_off(_: Bench) -> None:
    raise KeyboardInterrupt


def record(path: Path, plan: Plan, **more: Any) -> bytes:
    return record_machine(path, "here", "smoke", plan=plan.plan, **more).read_bytes()


@pytest.mark.parametrize("place", NAMES)
def test_cut_off_anywhere_and_called_again_it_is_the_same_file(tmp_path: Path, place: str) -> None:
    whole = record(tmp_path / "whole.json", Plan())
    first, second = Plan({place: cut_off}), Plan()
    path = tmp_path / "cut.json"
    with pytest.raises(KeyboardInterrupt):
        record(path, first)
    assert record(path, second) == whole
    # Only the measurement that was at work is made twice.
    assert first.calls + second.calls == sorted([*NAMES, place])
    third = Plan()
    assert record(path, third) == whole and third.calls == []


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_machines import Plan, recording, record
recording.hardware.machine = lambda: {"processor": "Some processor"}
recording._load = lambda: None
Path(sys.argv[1]).with_suffix(".started").touch()
print(record(Path(sys.argv[1]), Plan({"c": lambda bench: time.sleep(float(sys.argv[3]))})) and "")
"""


@pytest.mark.slow
def test_killed_by_the_system_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "killed.json"
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent), "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not (path.exists() and len(json.loads(path.read_text())["measured"]) == 2):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.wait()
    process.stdout.close()
    plan = Plan()
    assert record(path, plan) == record(tmp_path / "whole.json", Plan())
    assert plan.calls == ["c", "d"]


def test_what_fails_is_named_costs_nothing_else_and_is_tried_again(tmp_path: Path) -> None:
    def no_driver(_: Bench) -> None:
        raise RuntimeError("no driver\nand a long trace")

    path = tmp_path / "here.json"
    record(path, Plan({"b": no_driver}))
    content = json.loads(path.read_text())
    assert list(content["measured"]) == ["a", "c", "d"]
    assert content["left_out"] == {"b": "no driver"}
    again = Plan()
    content = json.loads(record(path, again))
    assert again.calls == ["b"] and content["left_out"] == {}
    assert list(content["measured"]) == list(NAMES)


def test_the_limit_is_kept_and_the_next_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(recording.time, "monotonic", lambda: clock.now)
    given: list[float] = []

    def takes_25_seconds(bench: Bench) -> None:
        given.append(bench.until - clock.now)
        clock.now += 25

    path = tmp_path / "here.json"
    slow = Plan(dict.fromkeys(NAMES, takes_25_seconds))
    content = json.loads(record(path, slow, minutes=0.5))
    assert slow.calls == ["a", "b"], "after 50 of 30 seconds nothing is begun"
    assert given == [10, 5], "never more than what is left"
    assert set(content["left_out"]) == {"c", "d"}
    assert "same command goes on" in content["left_out"]["c"]
    content = json.loads(record(path, Plan(), minutes=0.5))
    assert list(content["measured"]) == list(NAMES) and not content["left_out"]


def test_the_plan_takes_less_than_ten_minutes_and_names_are_those_of_the_file() -> None:
    assert sum(measurement.seconds for measurement in PLAN) <= 60 * recording.MINUTES
    assert len({measurement.name for measurement in PLAN}) == len(PLAN)


def test_a_file_of_other_versions_or_machines_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "here.json"
    record(path, Plan())
    with pytest.raises(CourseError, match="machine here, and this is there.*--out, or remove it"):
        record_machine(path, "there", "smoke", plan=Plan().plan)
    monkeypatch.setattr(recording.hardware, "software", lambda: {"torch": "9.9"})
    with pytest.raises(CourseError, match=r"torch .*, and this is 9\.9"):
        record(path, Plan())
    path.write_text('{"other": 1}')
    with pytest.raises(CourseError, match="no file of vaetl record-machine"):
        record(path, Plan())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"out": "machine.txt"}, "ends in .json"),
        ({"profile": "fast"}, "profile"),
        ({"minutes": 0}, "give some"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(CourseError, match=says):
        record_machine(**{"plan": Plan().plan} | arguments)


@pytest.mark.parametrize(
    ("variable", "folder"), [("COLAB_RELEASE_TAG", "drive"), ("KAGGLE_KERNEL_RUN_TYPE", "working")]
)
def test_on_a_lent_machine_the_file_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, folder: str
) -> None:
    monkeypatch.setenv(variable, "any")
    monkeypatch.setattr("vaetl_helpers.settings.DRIVE", tmp_path / "drive")
    monkeypatch.setattr("vaetl_helpers.settings.KAGGLE", tmp_path)
    (tmp_path / "drive").mkdir()
    path = record_machine(plan=Plan().plan, profile="smoke")
    assert path.is_relative_to(tmp_path / folder) and path.name.startswith("machine-some_processor")
    machine = json.loads(path.read_text())["machine"]
    assert machine.endswith("Colab" if folder == "drive" else "Kaggle")


# ---------------------------------------------------------------- a faked device


def moved(
    model: torch.nn.Module, device: torch.device | None = None, memory_format: Any = None
) -> torch.nn.Module:
    """`Module.to`, which would swap the parameters in place: faked ones cannot be swapped."""
    for module in model.modules() if device is not None else ():
        for name, parameter in module._parameters.items():
            module._parameters[name] = torch.nn.Parameter(parameter.detach().to(device))
        for name, buffer in module._buffers.items():
            module._buffers[name] = buffer.to(device)
    return model


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A CUDA device that does not exist: PyTorch checks kinds, shapes and devices, and no more.

    What computes no number without a driver is put in its place, and noted.
    """
    seen: list[str] = []
    mode = FakeTensorMode()
    monkeypatch.setattr(
        "vaetl_helpers.machines.recording.best_device", lambda: DeviceStatus(CARD, "Faked T4", None)
    )
    monkeypatch.setattr(recording, "device_name", lambda _: "Faked T4")
    monkeypatch.setattr("vaetl_helpers.device.torch.accelerator.synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    monkeypatch.setattr(torch.nn.Module, "to", moved)

    def digits(count: int) -> ImageSet:
        images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
        # Checking the range would need the numbers themselves.
        return ImageSet._of_checked(images, torch.zeros(count, dtype=torch.long), ("a", "b"))

    def no_graph(step: Step) -> Callable[[], None]:
        seen.append("captured")
        assert step.adam.defaults["capturable"]
        return step

    def child(module: list[str], *_: Any) -> dict[str, float]:
        seen.append(" ".join(module))
        return {"seconds": 1.0, "plain": 0.002, "compiled": 0.001, "start": 20.0}

    class Meter:
        read, source, joules, seconds = True, "measured", 30.0, 2.0

        def __init__(self, device: torch.device) -> None:
            assert device == CARD

        def __enter__(self) -> Meter:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def training(model: torch.nn.Module, images: ImageSet, *_: Any, **__: Any) -> None:
        assert {parameter.device for parameter in model.parameters()} == {CARD}
        assert images.device == CARD

    def backward(loss: torch.Tensor) -> None:
        """The engine asks a driver, so here every parameter gets a gradient of zeros."""
        assert loss.device in (CARD, torch.device("cpu")) and loss.dim() == 0
        todo, known = [loss.grad_fn], set()
        while todo:
            node = todo.pop()
            if node is None or node in known:
                continue
            known.add(node)
            if hasattr(node, "variable"):
                node.variable.grad = torch.zeros_like(node.variable)
            todo += [following for following, _ in node.next_functions]

    class NoLoader(Pass):
        """Pillow has no pictures without numbers, and no loss is read."""

        def _source(self, images: ImageSet, workers: int = 0) -> ImageSet:
            return images

        def __call__(self) -> None:
            self.levers = Levers(**vars(self.levers) | {"waits": False})
            super().__call__()

        warm_up = __call__

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(steps, "fit", training)
    for name, stand_in in {
        "repeated_digits": digits,
        "load": lambda _, device: SimpleNamespace(
            train=digits(500).to(device), validation=digits(50).to(device), source="faked"
        ),
        "captured": no_graph,
        "in_child": child,
        "EnergyMeter": Meter,
        "fit": training,
        "evaluate": lambda *_: {"accuracy": 0.5},
        "busy_share": lambda work, device: 0.9,
        "count_flops": lambda *_: 1000,
        "bytes_moved": lambda *_: 500,
        "best_precision": lambda _: "bf16",
        "Pass": NoLoader,
    }.items():
        monkeypatch.setattr(measures, name, stand_in)
    with mode:
        yield seen


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_the_whole_plan_runs_on_a_faked_card(card: list[str], tmp_path: Path) -> None:
    levers = profiles()["02b"]["smoke"] | {"with_compile": True}
    small = {"02": profiles()["02"], "02b": {"smoke": levers}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "profiles", lambda: small)
        path = record_machine(tmp_path / "card.json", profile="smoke")
    content = json.loads(path.read_text())
    assert content["left_out"] == {}
    assert list(content["measured"]) == [measurement.name for measurement in PLAN]
    assert content["machine"] == "2 × Faked T4" and content["device"] == "cuda"
    assert card.count("captured") == 2
    assert any("nproc-per-node 2 -m vaetl_helpers.machines.sharing" in call for call in card)
    machine = recorded.RecordedMachine(path, content)
    assert set(machine.crossover(64)) >= {"CPU, 1 thread", "CUDA"}
    assert machine.value("02/energy/epoch") > 0 and machine.value("02/busy") == 0.9
    assert machine.value("02/levers/vae/resident_batch_512") > 0


def test_a_compiled_network_is_timed_in_turns_and_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(compiling.CACHE, "mine")
    inside = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda model: model.register_forward_pre_hook(note(inside))
    )
    result = compiling.against_plain("CNN, channels last", bench().images, turns=2)
    assert len(result.plain) == len(result.compiled) == 2 and result.steps == 2
    assert len({*inside}) == 1 and inside[0] != "mine", "all in one new folder"
    assert not Path(inside[0]).exists() and os.environ[compiling.CACHE] == "mine"


def test_a_chain_of_operations_is_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "NUMBERS", 1000)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    result = compiling.chain_against_plain(turns=3)
    assert len(result.plain) == len(result.compiled) == 3 and result.steps == 1


def note(folders: list[str]) -> Callable[..., None]:
    return lambda *_: folders.append(os.environ[compiling.CACHE])


def test_every_profile_has_what_the_measurements_ask_for(tmp_path: Path) -> None:
    asked = re.findall(r"settings\[\"(\w+)\"\]", Path(str(measures.__file__)).read_text("utf-8"))
    for profile in ("smoke", "cpu", "gpu", "paper"):
        seen: list[Bench] = []
        plan = Plan({"a": seen.append}).plan[:1]
        record_machine(tmp_path / f"{profile}.json", profile=profile, plan=plan)
        assert asked and set(asked) <= set(seen[0].settings)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_lies_on_the_card_and_never_waits_for_it(card: list[str], name: str) -> None:
    step = Step(NETWORKS[name], 8, CARD, capturable=True)
    step()  # reading a number of the card would raise DataDependentOutputException
    assert all(parameter.grad.device == CARD for parameter in step.model.parameters())


def test_a_graph_is_captured_after_warm_up_on_its_own_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Stream:
        def wait_stream(self, _: Any) -> None:
            events.append("wait")

    @contextmanager
    def within(what: str) -> Iterator[None]:
        events.append(f"begin {what}")
        yield
        events.append(f"end {what}")

    graph = SimpleNamespace(replay=lambda: events.append("replay"))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: within("stream"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda _: within("graph"))

    class OneStep:
        adam = SimpleNamespace(zero_grad=lambda set_to_none: events.append("no gradients"))

        def __call__(self) -> None:
            events.append("step")

    steps.captured(OneStep())()
    warm = ["wait", "begin stream", *["step"] * 3, "end stream", "wait"]
    assert events == [*warm, "no gradients", "begin graph", "step", "end graph", "replay"]


def test_busy_time_counts_once_what_overlaps() -> None:
    assert covered([]) == 0
    assert covered([(4, 5), (0, 2), (1, 3), (1, 2)]) == 4
    event = SimpleNamespace(
        device_type=torch.autograd.DeviceType.CUDA, time_range=SimpleNamespace(start=0, end=5e5)
    )
    on_cpu = SimpleNamespace(**vars(event) | {"device_type": torch.autograd.DeviceType.CPU})
    gaps_too = SimpleNamespace(
        **vars(event)
        | {"is_user_annotation": True, "time_range": SimpleNamespace(start=0, end=1e6)}
    )

    class Profiler:
        def __init__(self, **_: Any) -> None: ...
        def __enter__(self) -> Profiler:
            return self

        def __exit__(self, *_: object) -> None: ...
        def events(self) -> list[Any]:
            return [event, on_cpu, gaps_too]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(busy, "profile", Profiler)
        patch.setattr(busy, "synchronise", lambda _: None)
        patch.setattr(busy, "time", SimpleNamespace(perf_counter=iter([0.0, 1.0]).__next__))
        assert busy.busy_share(lambda: None, CARD) == 0.5


# ---------------------------------------------------------------- in real


def bench(seconds: float = 300, **settings: Any) -> Bench:
    small = {"images": 256, "repeats": 3, "batches": [16], "widths": [8], "with_compile": False}
    now = time.monotonic()
    return Bench(torch.device("cpu"), "smoke", small | settings, now + seconds, now + 300)


def test_passes_train_and_each_lever_does_what_it_says() -> None:
    images = bench().images
    torch.manual_seed(0)
    for levers in (
        Levers(),
        Levers(resident=False, waits=True),
        Levers(pieces=4, bf16=True),
        Levers(fp16=True),
    ):
        one = Pass(NETWORKS["VAE"], images, levers)
        before = [parameter.clone() for parameter in one.model.parameters()]
        one()
        moved = [bool((a != b).any()) for a, b in zip(before, one.model.parameters(), strict=True)]
        assert all(moved) and all(one.isfinite().all() for one in one.model.parameters())
        assert one.adam.defaults["fused"] is True
    usual = Pass(NETWORKS["CNN"], images, Levers(resident=False))
    assert [len(batch) for batch, _ in usual.batches(usual.source)] == [128, 128]
    assert [len(batch) for batch, _ in usual.batches(usual.first)] == [25]
    resident = Pass(NETWORKS["CNN"], images, Levers())
    sums = []
    for way in (usual, resident):
        sums.append(sum(batch.sum().item() for batch, _ in way.batches(way.source)))
    assert sums[0] == pytest.approx(sums[1], rel=1e-5), "the same pixels, in another order"


def test_a_loader_takes_ready_tensors_and_has_workers() -> None:
    images = bench().images
    ready = Pass(NETWORKS["CNN"], images, Levers(resident=False, ready=True))
    pixels = sum(batch.sum().item() for batch, _ in ready.batches(ready.source))
    assert pixels == pytest.approx(images.images.sum().item() / 255, rel=1e-5)
    helped = Pass(NETWORKS["CNN"], images, Levers(resident=False, workers=1))
    seconds = steps.seconds_in_turns({"ready": ready, "helped": helped}, 2)
    assert [len(values) for values in seconds.values()] == [2, 2] and helped.source.num_workers == 1


class Noting:
    """A pass that notes its calls in a list, and may take long."""

    def __init__(self, name: str, order: list[str], seconds: float = 0.0) -> None:
        self.name, self.order, self.seconds = name, order, seconds

    def __call__(self) -> None:
        time.sleep(self.seconds)
        self.order.append(self.name)

    def warm_up(self) -> None:
        time.sleep(self.seconds / 10)
        self.order.append(self.name.upper())


def test_all_warm_up_and_then_take_turns() -> None:
    order: list[str] = []
    seconds = measures.in_turns({name: Noting(name, order) for name in "ab"}, bench())
    assert "".join(order) == "ABababab"
    assert [len(values) for values in seconds.values()] == [3, 3]
    order.clear()
    measures.in_turns({name: Noting(name, order) for name in "ab"}, bench(-1))
    assert "".join(order) == "ABabab", "if time is up, enough for an interval"


def test_nothing_is_begun_that_would_end_after_the_limit() -> None:
    order: list[str] = []
    now = time.monotonic()
    passes = {"a": Noting("a", order), "b": Noting("b", order, seconds=10)}
    with pytest.raises(MeasurementError, match="same command goes on"):
        measures.in_turns(passes, Bench(torch.device("cpu"), "smoke", {"repeats": 3}, now, now + 3))
    assert order == ["A", "B", "a"], "a warm-up of 1 s says that the pass would take 10"


def test_the_roofline_and_the_crossover_have_a_row_for_each_point() -> None:
    points = measures.roofline(bench()).rows["roofline"]
    assert [(p["network"], p["batch"]) for p in points][:2] == [("MLP", 8), ("MLP", 512)]
    assert all(p["flops"] > 0 and p["bytes"] > 0 and p["seconds"] > 0 for p in points)
    lines = measures.crossover(bench()).rows["crossover"]
    assert lines[0]["configuration"] == "CPU, 1 thread" and lines[0]["batches"] == [16]
    assert all(value > 0 for line in lines for value in line["milliseconds"])


@pytest.mark.parametrize("measure", [measures.busy, measures.energy, measures.graphs])
def test_what_needs_a_gpu_says_so(measure: Callable[[Bench], Measured]) -> None:
    with pytest.raises(MeasurementError, match="NVIDIA GPU"):
        measure(bench())


CHILD = """
import json, os, sys, time
from vaetl_helpers.machines.children import end_with_parent
end_with_parent()
if sys.argv[2] == "fails":
    sys.exit("no compiler is here")
if sys.argv[2] == "waits":
    open(sys.argv[3], "w").write(str(os.getpid()))
    time.sleep(600)
json.dump({"got": sys.argv[2:]}, open(sys.argv[1], "w"))
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "one_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    return ["one_child"]


def test_a_child_answers_or_says_what_is_wrong_in_time(child: list[str], tmp_path: Path) -> None:
    assert in_child(child, ["7"], 100) == {"got": ["7"]}
    with pytest.raises(MeasurementError, match="no compiler is here"):
        in_child(child, ["fails"], 100)
    note = tmp_path / "pid"
    with pytest.raises(MeasurementError, match="more than the"):
        in_child(child, ["waits", str(note)], 1)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_child_ends_with_a_parent_that_was_killed(child: list[str], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"""
from vaetl_helpers.machines.children import in_child
in_child(["one_child"], ["waits", {str(note)!r}], 300)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 120
    while not (note.exists() and note.read_text()):
        assert parent.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    number = int(note.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    os.kill(number, signal.SIGKILL)
    pytest.fail("the child went on")


# ---------------------------------------------------------------- shown


def machine_file(folder: Path, name: str, load: float = 0.0) -> Path:
    line = {
        "configuration": "CUDA",
        "width": 64,
        "batches": [16, 64],
        "milliseconds": [0.2, 0.3],
    }
    epoch = {"seconds": 1, "records": [number("an epoch", 0.2, "s", "epoch", "fit")]}
    content = {
        "machine": name,
        "date": "2026-01-31",
        "load": load,
        "measured": {
            "crossover": {"seconds": 1, "records": [], "crossover": [line]},
            "epoch": epoch,
        },
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def test_every_recorded_machine_is_there_and_ones_own_comes_first(tmp_path: Path) -> None:
    packaged = [machine.name for machine in recorded.recorded_machines()]
    assert len(packaged) == len([*(ROOT / "vaetl_helpers" / "recorded" / "machines").glob("*")])
    own = machine_file(tmp_path, "Faked T4", load=3.5)
    first, *others = recorded.recorded_machines(own)
    assert [machine.name for machine in others] == packaged
    assert first.crossover(64) == {"CUDA": ([16, 64], [0.2, 0.3])} and not first.crossover(8)
    assert first.value("02/epoch/fit") == 0.2 and first.value("02/busy") is None
    assert first.label == "recorded (Faked T4, 2026-01-31), beside other work (load 3.5)"
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(CourseError, match="no file of `vaetl record-machine`"):
        recorded.recorded_machines(tmp_path / "other.json")


def test_the_figure_shows_the_chosen_machine_above_the_wide_line_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: dict[str, Any] = {}

    def explore(draw: Callable[[str], Any], choices: Any) -> None:
        chosen["choices"] = choices["name"][1]
        chosen["figure"] = draw("Faked T4")

    monkeypatch.setattr(widgets, "explore", explore)
    files = [machine_file(tmp_path, name) for name in ("Faked T4", "Another")]
    widgets.machines({64: {"CPU": ([16, 64], [1.0, 2.0])}}, "Steps.", files)
    assert chosen["choices"][:2] == ["Faked T4", "Another"]
    (axis,) = chosen["figure"].axes
    assert axis.get_lines()[1].get_zorder() >= axis.get_lines()[0].get_zorder()
    assert [line.get_label() for line in axis.get_lines()] == ["here: CPU", "there: CUDA"]
    assert widgets.machine_rows(files)[0] == (
        "recorded (Faked T4, 2026-01-31)",
        "not measured",
        "not measured",
        "0.20 s",
        "not measured",
    )
