"""Hardware: what is here, how it is timed, what a training step needs and what a run cost."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaetl_helpers import hardware, output, plots
from vaetl_helpers.data import ImageSet
from vaetl_helpers.device import DeviceStatus, synchronise
from vaetl_helpers.errors import CourseError
from vaetl_helpers.hardware import (
    EnergyMeter,
    Receipt,
    bandwidth,
    bytes_moved,
    count_flops,
    machine,
    peak_flops,
    peak_memory,
    receipt,
    software,
    time_it,
    transfer_rate,
)
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.training import History, classification_loss, fit

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
BATCH = 16


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread of a CPU, on whatever machine the tests run."""
    before = torch.get_num_threads()
    monkeypatch.setattr(
        "vaetl_helpers.training.run.best_device", lambda: DeviceStatus(CPU, "CPU", None)
    )
    monkeypatch.setitem(sys.modules, "pynvml", None)  # cannot be imported
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(count: int = 100) -> ImageSet:
    """Noise: 8 × 8 pixels, four classes."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)
    return ImageSet(pixels, generator.integers(0, 4, count), tuple("abcd"))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return mlp_classifier(16, pixels=64, classes=4)


def with_batchnorm() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)
    )


def train(model: nn.Module, epochs: int = 3, **more: Any) -> History:
    """`fit` on the images above, silent."""
    return fit(model, images(), epochs=epochs, **{"batch_size": BATCH, "quiet": True} | more)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def identical(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Clock:
    """A clock that only moves when it is told, and by a second at each training step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now, perf_counter=lambda: self.now)
        monkeypatch.setattr("vaetl_helpers.training.run.time", clock)
        monkeypatch.setattr(hardware, "time", clock)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Any:
        self.now += model.training
        return classification_loss(model, x, y)


# ---------------------------------------------------------------- timing


class QueuedDevice:
    """An accelerator that takes work in a moment and does it later, before a synchronisation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
        self.clock, self.seconds, self.queued = Clock(monkeypatch), iter(seconds), 0.0
        monkeypatch.setattr(torch.accelerator, "synchronize", self.synchronise)

    def work(self) -> None:
        self.clock.now += 0.25  # Python's part
        self.queued += next(self.seconds)

    def synchronise(self, device: torch.device) -> None:
        assert device == GPU
        self.clock.now, self.queued = self.clock.now + self.queued, 0.0


def test_time_it_is_the_median_of_whole_calls_after_one_that_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = QueuedDevice(
        monkeypatch, [1000, 3, 1, 500, 2, 4]
    )  # the first call compiles, one is disturbed
    assert time_it(device.work, GPU) == 3.25
    assert next(device.seconds, None) is None, "six calls: one and five"
    device = QueuedDevice(monkeypatch, [1000, 1, 2, 9])
    assert time_it(device.work, GPU, repeats=3) == 2.25


def test_on_the_cpu_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(
        torch.accelerator, "synchronize", lambda device: pytest.fail("the CPU computes at once")
    )

    def work() -> None:
        clock.now += 2

    assert time_it(work, CPU) == 2


def test_on_a_tpu_the_result_is_held_until_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a tensor is computed when somebody synchronises, and only if it still exists."""
    made: list[weakref.ref] = []
    computed: list[bool] = []

    def work() -> Tensor:
        result = torch.ones(1)
        made.append(weakref.ref(result))
        return result

    def sync(wait: bool) -> None:
        assert wait
        gc.collect()
        computed.append(made[-1]() is not None)

    monkeypatch.setitem(sys.modules, "torch_xla", SimpleNamespace(sync=sync))
    time_it(work, torch.device("xla", 0), repeats=3)
    assert computed == [True] * 6


def test_synchronise_asks_the_module_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.accelerator, "synchronize", asked.append)
    for device in (CPU, GPU, torch.device("mps")):
        synchronise(device)
    assert asked == [GPU, torch.device("mps")]


@pytest.fixture
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every piece of work takes half a second; the results of the work."""
    results = []

    def timed(work: Callable[[], Any], device: torch.device) -> float:
        assert device == CPU
        results.append(work())
        return 0.5

    monkeypatch.setattr(hardware, "time_it", timed)
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_counts_two_operations_a_product_and_sum(
    dtype: torch.dtype, half_a_second: list[Tensor]
) -> None:
    assert peak_flops(CPU, size=64, dtype=dtype) == 2 * 64**3 / 0.5
    (product,) = half_a_second
    assert product.dtype == dtype and torch.equal(product, torch.full((64, 64), 64, dtype=dtype))


def test_bandwidth_counts_what_is_read_and_what_is_written(half_a_second: list[Tensor]) -> None:
    assert bandwidth(CPU, megabytes=2) == 2 * 2_000_000 / 0.5
    (copy,) = half_a_second
    assert copy.nbytes == 2_000_000 and copy.min() == 1


def test_transfer_is_a_copy_that_counts_once(half_a_second: list[Tensor]) -> None:
    assert transfer_rate(CPU, megabytes=3) == 3_000_000 / 0.5
    (copy,) = half_a_second
    assert copy.nbytes == 3_000_000 and copy.min() == 1


def test_a_transfer_can_begin_in_memory_that_is_never_moved(
    half_a_second: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = torch.full((3,), 7.0)
    monkeypatch.setattr(Tensor, "pin_memory", lambda _: pinned)
    assert transfer_rate(CPU, megabytes=3, pinned=True) == pinned.nbytes / 0.5
    assert torch.equal(half_a_second[0], pinned)


def test_rates_of_this_machine_are_positive() -> None:
    rates = peak_flops(CPU, size=32), bandwidth(CPU, megabytes=1), transfer_rate(CPU, megabytes=1)
    assert all(0 < rate < float("inf") for rate in rates)


# ---------------------------------------------------------------- what is here


def test_machine_lists_every_accelerator_with_what_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second, apple = torch.device("cuda", 1), torch.device("mps", 0)
    found = [
        DeviceStatus(CPU, "CPU, 2 cores", None),
        DeviceStatus(GPU, "Tesla T4", None),
        DeviceStatus(second, "Tesla P100", "The device cuda:1 fails."),
        DeviceStatus(apple, "Apple GPU", None),
    ]
    monkeypatch.setattr(hardware, "devices", lambda: found)
    monkeypatch.setattr(
        hardware, "best_precision", lambda device: "bf16" if device == GPU else "no"
    )
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: (15_000_000_000, {GPU: 16_000_000_000}[device])
    )
    facts = machine()
    assert {name: fact for name, fact in facts.items() if name.startswith("accelerator")} == {
        "accelerator cuda:0": "Tesla T4: works, precision bf16, 15.0 of 16.0 GB free",
        "accelerator cuda:1": "Tesla P100: The device cuda:1 fails.",
        "accelerator mps:0": "Apple GPU: works, precision no",
    }
    assert list(facts)[:3] == ["processor", "cores", "memory"]


@pytest.mark.parametrize(
    "problem", [None, "There is an NVIDIA GPU, but this PyTorch was built without CUDA."]
)
def test_machine_without_an_accelerator_says_so_or_why(
    problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "devices", lambda: [DeviceStatus(CPU, "CPU", None)])
    monkeypatch.setattr(hardware, "best_device", lambda: DeviceStatus(CPU, "CPU", problem))
    facts = machine()
    assert list(facts) == ["processor", "cores", "memory", "accelerator"]
    assert facts["accelerator"] == (problem or "none found")
    assert facts["processor"] and facts["cores"].endswith(", 1 used")
    assert float(facts["memory"].removesuffix(" GB")) > 0


def test_processor_has_a_name_where_linux_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.platform, "processor", lambda: "")
    monkeypatch.setattr(hardware.platform, "machine", lambda: "arm64")
    for content in ("processor : 0\n", None):  # no such line; no such file

        def read(path: Path, encoding: str, content: str | None = content) -> str:
            if content is None:
                raise FileNotFoundError
            return content

        monkeypatch.setattr(hardware.Path, "read_text", read)
        assert machine()["processor"] == "arm64"


def test_units_for_bfloat16_are_those_of_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = "flags\t\t: fpu avx2 avx512_bf16 avx512_fp16\n"
    monkeypatch.setattr(hardware.Path, "read_text", lambda path, encoding: flags)
    assert hardware.bf16_units() == {"amx_bf16": "no", "avx512_bf16": "yes"}
    monkeypatch.setattr(hardware.Path, "read_text", lambda path, encoding: "")
    assert hardware.bf16_units() == {}, "where nothing is told"


def test_a_program_runs_in_one_process_and_says_what_went_wrong(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os, sys; print(sys.argv[1], os.environ['OMP_NUM_THREADS'])", "utf-8")
    assert hardware.run_processes(program, 1, "here").split() == ["here", "1"]
    program.write_text("raise ValueError('no such thing')", "utf-8")
    assert "no such thing" in hardware.run_processes(program, 1)


@pytest.mark.parametrize("cuda", ["13.0", None])
def test_software_says_for_which_cuda_torch_was_built(
    cuda: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = software()
    assert found["torch cuda"] == (cuda or "none")
    assert {
        "python",
        "torch",
        "torchvision",
        "numpy",
        "vaetl-helpers",
        "accelerate",
        "system",
    } <= set(found)


def test_peak_memory_is_in_bytes_and_holds_what_was_allocated() -> None:
    big = torch.ones(25_000_000)
    peak = peak_memory(CPU)
    assert peak >= big.nbytes == 100_000_000
    del big
    assert peak_memory(CPU) >= peak, "a peak stays"


def test_peak_memory_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: {GPU: 12_345}[device])
    assert peak_memory(GPU) == 12_345


# ---------------------------------------------------------------- what a step needs


@pytest.mark.parametrize(("width", "batch"), [(128, 128), (7, 1), (300, 33)])
def test_flops_of_the_mlp_are_those_of_the_formula(width: int, batch: int) -> None:
    """Forward 2B(784w + 10w), as many for the weights' gradients, 2B·10w for the hidden layer's."""
    model = mlp_classifier(width)
    counted = count_flops(
        model, torch.zeros(batch, 1, 28, 28), torch.zeros(batch, dtype=torch.long)
    )
    assert counted == 2 * batch * (784 * width + 10 * width) * 2 + 2 * batch * 10 * width


def test_flops_of_784_400_10_are_those_counted_by_hand() -> None:
    """635,200 forward, as many for the weights' gradients, 8,000 for the hidden layer's."""
    counted = count_flops(
        mlp_classifier(400), torch.zeros(50, 1, 28, 28), torch.zeros(50, dtype=torch.long)
    )
    assert counted == 50 * (635_200 + 635_200 + 8_000)


def test_counting_leaves_gradients_statistics_and_the_model_alone() -> None:
    model = with_batchnorm()
    x, y = next(images().batches(10))
    assert count_flops(model, x, y) > 0 and bytes_moved(model, x) > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    classification_loss(model, x, y)[0].backward()
    gradients, before = [p.grad.clone() for p in model.parameters()], state(model)
    objects = [p.grad for p in model.parameters()]
    assert count_flops(model, x, y) == count_flops(model, x, y)
    assert bytes_moved(model, x) == bytes_moved(model, x)
    assert all(p.grad is kept for p, kept in zip(model.parameters(), objects, strict=True))
    assert all(
        torch.equal(p.grad, kept) for p, kept in zip(model.parameters(), gradients, strict=True)
    )
    assert identical(before, state(model))
    assert not any(module._forward_hooks for module in model.modules())


def test_bytes_of_the_mlp_are_those_counted_by_hand() -> None:
    """Ten images through 64 → 16 → 4: ten numbers a parameter, four an activation."""
    parameters = 64 * 16 + 16 + 16 * 4 + 4
    activations = 64 + 16 + 16 + 4  # images, linear, ReLU, linear; Flatten moves nothing
    assert (
        bytes_moved(mlp(), torch.rand(10, 1, 8, 8))
        == 4 * (10 * parameters + 4 * 10 * activations)
        == 60_320
    )


def test_bytes_of_the_cnn_are_those_counted_by_hand() -> None:
    parameters = (9 * 4 + 4) + (4 * 9 * 8 + 8) + (32 * 32 + 32) + (32 * 4 + 4)
    first = 2 * 4 * 8 * 8 + 4 * 4 * 4  # convolution, ReLU, pooling
    second = 2 * 8 * 4 * 4 + 8 * 2 * 2
    activations = 64 + first + second + 2 * 32 + 4
    expected = 4 * (10 * parameters + 4 * 3 * activations)
    assert (
        bytes_moved(small_cnn(4, size=8, classes=4), torch.rand(3, 1, 8, 8)) == expected == 108_768
    )


# ---------------------------------------------------------------- what a run costs


@pytest.fixture
def ten_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "peak_memory", lambda device: 10_000_000)


def test_receipt_adds_up(monkeypatch: pytest.MonkeyPatch, ten_megabytes: None) -> None:
    clock, model = Clock(monkeypatch), mlp()
    with EnergyMeter(watts=20) as meter:
        history = train(model, epochs=2, loss_fn=clock.loss, max_seconds=10.5)
        clock.now += 100  # not training
    bill = receipt(history, model, images(), meter, price_per_hour=3.6, currency="EUR", peak=1e6)
    assert bill.seconds == history.seconds == 11
    assert bill.images == 100 + 4 * BATCH
    per_image = 2 * (64 * 16 + 16 * 4) * 2 + 2 * 16 * 4
    assert bill.flops == pytest.approx(bill.images * per_image)
    assert bill.joules == pytest.approx(20 * 11), "mean power times the seconds of training"
    assert bill.energy_source == "assumed 20 W"
    assert bill.cost == pytest.approx(0.011)
    assert (bill.peak, bill.memory) == (1e6, 10_000_000)
    assert bill.lines() == {
        "time": "11.0 s",
        "images seen": "164",
        "speed": "15 images/s",
        "work": f"{164 * per_image:.3g} FLOPs",
        "throughput": "0.0 GFLOP/s",
        "share of the measured peak": f"{164 * per_image / 11 / 1e6:.1%} of 0 GFLOP/s",
        "peak memory": "10 MB",
        "energy": "0.0611 Wh (assumed 20 W)",
        "rent": "0.011 EUR (at 3.6 EUR per hour)",
    }


def test_receipt_takes_the_memory_before_counting_takes_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    monkeypatch.setattr(hardware, "peak_memory", lambda device: calls.append(device) or 1)
    monkeypatch.setattr(hardware, "count_flops", lambda *_: calls.append("count") or 1)
    meter = SimpleNamespace(joules=1.0, seconds=1.0, source="assumed")
    model = mlp()
    history = train(model, epochs=1)
    assert receipt(history, model, images(), meter).memory == 1
    assert calls == [CPU, "count"]
    assert receipt(history, model, images(), meter, memory=7).memory == 7


def test_receipt_counts_the_images_of_the_run_whatever_the_batch_size() -> None:
    model = mlp()
    with EnergyMeter() as meter:
        history = train(model, epochs=1, batch_size=100)
    for size in (1, 128):
        assert receipt(history, model, images(), meter, size).images == 100


def test_receipt_of_a_resumed_run_takes_the_power_of_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path, model = Clock(monkeypatch), tmp_path / "run.safetensors", mlp()
    train(model, epochs=1, loss_fn=clock.loss, checkpoint=path)
    with EnergyMeter(watts=10) as meter:
        history = train(model, epochs=2, loss_fn=clock.loss, checkpoint=path)
    bill = receipt(history, model, images(), meter)
    assert bill.seconds == 14
    assert bill.joules == pytest.approx(140)


def test_energy_is_read_from_nvml_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([5_000, 5_000, 12_500])  # millijoules: can it be read at all, before, after
    asked = []
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda identity: asked.append(identity),
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(readings),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    second = SimpleNamespace(uuid="the-second")  # NVML may number the GPUs in another way
    monkeypatch.setattr(torch.cuda, "get_device_properties", {1: second}.__getitem__)
    with EnergyMeter() as meter:
        pass
    assert meter.joules == 7.5 and asked == [b"GPU-the-second"]
    assert "NVML" in meter.source
    with EnergyMeter(20, torch.device("cpu")) as meter:
        pass
    assert meter.source == "assumed 20 W", "a GPU's joules are not the CPU's"


BILL = Receipt(seconds=3600, images=10, flops=7.2e12, joules=3600, energy_source="assumed 1 W")


def test_receipt_shows_only_what_was_measured() -> None:
    lines = BILL.lines()
    assert BILL.cost == 0.35
    assert lines["throughput"] == "2.0 GFLOP/s"
    assert lines["energy"] == "1 Wh (assumed 1 W)"
    assert "share of the measured peak" not in lines and "peak memory" not in lines
    known = Receipt(3600, 10, 7.2e12, 3600, "assumed 1 W", peak=8e9, memory=1_234_000_000).lines()
    assert known["share of the measured peak"] == "25.0% of 8 GFLOP/s"
    assert known["peak memory"] == "1,234 MB"


def test_receipt_of_a_run_without_a_step_can_be_read() -> None:
    lines = Receipt(
        seconds=0.0, images=0, flops=0.0, joules=0.0, energy_source="assumed 1 W", peak=1e9
    ).lines()
    assert (lines["speed"], lines["throughput"]) == ("0 images/s", "0.0 GFLOP/s")


def test_receipt_is_shown_as_a_table_and_attached_as_plain_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(output, "notebook_kernel", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda content, raw=False: shown.append(content))
    BILL.show("Ten epochs")
    table, data = shown
    rows = [line.strip("| ").split(" | ") for line in table["text/markdown"].splitlines()]
    assert rows[0] == ["Ten epochs", "cost"]
    assert dict(rows[2:]) == BILL.lines()
    attached = data["application/vnd.vaetl.receipt+json"]
    assert (
        json.loads(json.dumps(attached, allow_nan=False))
        == attached
        == {
            "title": "Ten epochs",
            "cost": 0.35,
            "seconds": 3600,
            "images": 10,
            "flops": 7.2e12,
            "joules": 3600,
            "energy_source": "assumed 1 W",
            "price_per_hour": 0.35,
            "currency": "USD",
            "peak": 0.0,
            "memory": 0,
        }
    )


def test_receipt_of_a_real_run_is_plain_data(capsys: pytest.CaptureFixture[str]) -> None:
    model = mlp()
    with EnergyMeter() as meter:
        history = train(model, epochs=1)
    bill = receipt(history, model, images(), meter, peak=peak_flops(CPU, size=32))
    assert json.loads(json.dumps(vars(bill), allow_nan=False)) == vars(bill)
    bill.show("One epoch")
    assert "| peak memory | " in capsys.readouterr().out


# ---------------------------------------------------------------- FLOPs of other layers


def flops(model: nn.Module, x: Tensor) -> int:
    """Of a step whose loss is a mean."""
    return count_flops(model, x, torch.zeros(len(x)), lambda model, x, y: _mean(model(x)))


def _mean(output: Any) -> Tensor:
    return (output[0] if isinstance(output, tuple) else output).mean()


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_flops_of_grouped_convolutions_are_those_counted_by_hand(
    kind: type[nn.Module], groups: int
) -> None:
    """Each of 3 × 3 weights meets each of 36 places of each of two images; padding keeps them."""
    layer = kind(8, 8, 3, padding=1, groups=groups)
    x = torch.rand(2, 8, 6, 6)
    forward = 2 * 2 * 36 * (8 * 8 // groups) * 9
    assert flops(layer, x) == 2 * forward, "without the gradient of the images"
    assert flops(nn.Sequential(nn.Conv2d(8, 8, 1), layer), x) == 3 * forward + 2 * (2 * 2 * 36 * 64)


@pytest.mark.parametrize("kind, gates", [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_flops_of_recurrent_layers_are_those_counted_by_hand(
    kind: type[nn.Module], gates: int, bidirectional: bool
) -> None:
    """Each gate multiplies the input (8) and the state (6) at each of 5 steps of 3 texts."""
    directions = 1 + bidirectional
    layer = kind(8, 6, batch_first=True, bidirectional=bidirectional)
    of_input = 2 * 3 * 5 * gates * 6 * 8 * directions
    of_state = 2 * 3 * 5 * gates * 6 * 6 * directions
    counted = flops(layer, torch.rand(3, 5, 8))
    # A fused LSTM has the gradient of its input, too; the first step's state has none.
    assert 2 * of_input + 2.5 * of_state < counted <= 3 * (of_input + of_state)


@pytest.mark.parametrize("rows", [4, 40])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_flops_of_distances_are_those_of_all_pairs(rows: int, p: float) -> None:
    prototypes = nn.Parameter(torch.rand(30, 8))

    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prototypes = prototypes

        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(x, self.prototypes, p=p)

    assert flops(Prototypes(), torch.rand(rows, 8)) in (
        2 * (2 * rows * 30 * 8),
        3 * (2 * rows * 30 * 8),
    )


def test_flops_of_distances_within_a_batch_are_those_of_each_pair_once() -> None:
    class Pairs(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.pdist(super().forward(x))

    products = 2 * 6 * 8 * 3  # six rows, from 8 numbers to 3
    assert flops(Pairs(8, 3), torch.rand(6, 8)) == 2 * products + 2 * (2 * 15 * 3)


def test_flops_of_products_with_vectors_are_counted() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(8))

        def forward(self, x: Tensor) -> Tensor:
            return torch.mv(x, self.weight) + torch.dot(self.weight, self.weight)

    assert flops(Attention(), torch.rand(40, 8)) == 2 * (2 * 40 * 8) + 2 * 8


@pytest.mark.parametrize("frozen", [False, True])
def test_flops_of_a_transformer_layer_are_counted_on_its_fast_path_too(frozen: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    model = nn.Sequential(layer, nn.Linear(8, 1))
    products = 4 * 8 * 8 + 2 * 8 * 16  # projections, and the two layers behind them
    attention = 2 * 5 * 8
    forward = 2 * 3 * 5 * (products + attention)
    if frozen:
        layer.eval().requires_grad_(False)
        assert flops(model, torch.rand(3, 5, 8)) == forward + 2 * (2 * 3 * 5 * 8)
    else:
        assert 2.5 * forward < flops(model, torch.rand(3, 5, 8)) < 3.5 * forward
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_operation_without_a_formula_is_refused_with_its_layer() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft(x).abs()

    model = nn.Sequential(nn.Linear(8, 8), Spectrum(), nn.Linear(8, 1))
    with pytest.raises(CourseError, match=r"_fft_r2c in layer 1 \(Spectrum\) cannot be counted"):
        flops(model, torch.rand(4, 8))


def test_a_solver_without_a_formula_is_refused() -> None:
    class Solver(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cholesky_solve(x.T, torch.eye(4, requires_grad=True))

    with pytest.raises(CourseError, match=r"cholesky_solve.* cannot be counted"):
        flops(nn.Sequential(nn.Linear(8, 4), Solver()), torch.rand(6, 8))


def test_a_training_step_of_a_mobile_network_costs_three_times_its_forward_pass() -> None:
    def block(channels: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(),
            nn.Conv2d(channels, channels, 1, bias=False),
        )

    model = nn.Sequential(nn.Conv2d(1, 64, 1), block(64), block(64), nn.Flatten(2))
    x = torch.rand(2, 1, 8, 8)
    step = flops(model, x)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert 2.9 < step / flops(model, x) <= 3


# ---------------------------------------------------------------- the crossover


def test_a_step_is_timed_with_these_threads_and_gives_them_back() -> None:
    before, seen = torch.get_num_threads(), []

    class Noted(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(x.flatten(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "mlp_classifier", lambda width: Noted(784, 10))
        assert hardware.step_seconds(4, 8, torch.device("cpu"), threads=2, repeats=2) > 0
    assert set(seen) == {2} and torch.get_num_threads() == before


def test_starting_an_operation_is_timed_over_many_that_compute_nothing(
    half_a_second: list[Tensor],
) -> None:
    seconds = hardware.launch_seconds(torch.device("cpu"), operations=50)
    assert seconds == pytest.approx(0.5 / 50), "one wait for all of them"
    (number,) = half_a_second
    assert number == 50 and number.numel() == 1


def test_a_training_step_trains() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    before = model[1].weight.clone()
    step = hardware.training_step(model, classification_loss, 8, torch.device("cpu"))
    step()
    step()
    assert not torch.equal(before, model[1].weight)


def test_a_predicted_step_is_the_slower_of_two_rates_and_the_overhead() -> None:
    flops, moved = needs = hardware.step_needs(mlp_classifier(64), classification_loss, 16)
    images, labels = torch.zeros(16, 1, 28, 28), torch.zeros(16, dtype=torch.long)
    assert flops == hardware.count_flops(mlp_classifier(64), images, labels)
    assert moved == hardware.bytes_moved(mlp_classifier(64), images)
    computing = hardware.predicted_step(needs, (flops, 1e18), 0.5)
    moving = hardware.predicted_step(needs, (1e18, moved / 2), 0.5)
    assert (computing, moving) == (pytest.approx(1.5), pytest.approx(2.5))


def test_a_measured_step_is_a_record_of_its_configuration() -> None:
    times = {("CPU, 1 thread", 64): [0.1, 0.2], ("CUDA", 64): [0.3, 0.4]}
    records = hardware.step_records(times, [16, 256])
    assert [(one["id"], one["value"]) for one in records] == [
        ("02/step_seconds/cpu_1_thread/width_64/batch_16", 0.1),
        ("02/step_seconds/cpu_1_thread/width_64/batch_256", 0.2),
        ("02/step_seconds/cuda/width_64/batch_16", 0.3),
        ("02/step_seconds/cuda/width_64/batch_256", 0.4),
    ]


def test_the_crossover_names_each_line_once_at_its_end() -> None:
    own = {width: {"this machine": ([16, 64], [1e-3, 4e-3])} for width in (64, 1024)}
    others = {width: {"a GPU": ([16, 64], [1e-3, 3.9e-3])} for width in (64, 1024)}
    axes = plots.crossover(own, others, alt="Two panels with two lines each.")
    for axis in axes:
        names = {text.get_text(): text.get_position() for text in axis.texts}
        assert set(names) == {"this machine", "a GPU"}
        upper, lower = names["this machine"][1], names["a GPU"][1]
        assert upper > 1.05 * lower, "two names that would overlap are moved apart"
        assert [line.get_ydata()[-1] for line in axis.lines] == pytest.approx([3.9, 4.0])
    assert axes[0].get_ylim() == axes[1].get_ylim()
    plt.close(axes[0].figure)


def test_operations_that_only_look_at_a_tensor_are_not_counted_as_started() -> None:
    model = mlp_classifier(8)
    before = [parameter.clone() for parameter in model.parameters()]
    started = hardware.operations_started(model, classification_loss)
    assert 10 < started < 40, "and not the more than a hundred calls of the profiler"
    assert started == hardware.operations_started(mlp_classifier(64), classification_loss)
    assert started < hardware.operations_started(small_cnn(), classification_loss)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_an_activation_meter_notes_the_most_that_is_kept_at_one_time() -> None:
    model = mlp_classifier(8)
    peaks = []
    for size in (40, 10):
        meter = hardware.ActivationMeter(model)
        with meter:
            for part in torch.rand(40, 1, 28, 28).split(size):
                model(part).sum().backward()
        peaks.append(meter.peak)
    inputs_and_hidden = 4 * 40 * (784 + 8)
    assert inputs_and_hidden <= peaks[0] < 1.1 * inputs_and_hidden
    assert peaks[0] == pytest.approx(4 * peaks[1], rel=0.05)


def test_a_small_rent_is_no_power_of_ten() -> None:
    bill = Receipt(seconds=0.9, images=6144, flops=4e10, joules=27, energy_source="assumed 30 W")
    assert bill.lines()["rent"] == "less than 0.001 USD (at 0.35 USD per hour)"
