"""Several processes: `fit` under torchrun gives what one process gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from parallel_worker import everything
from safetensors.torch import load_file
from torch import Tensor

from vaetl_helpers.data import shard

WORKER = Path(__file__).parents[1] / "helpers" / "parallel_worker.py"
ALONE = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def torchrun(job: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-u",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    return subprocess.Popen(
        [*command, str(WORKER), job, str(folder)],
        env=ALONE | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """All jobs, by one process, and by the first and the second of two."""
    folder = tmp_path_factory.mktemp("parallel")
    process = torchrun("all", folder)
    alone = everything()
    out, err = finish(process)
    assert process.returncode == 0, err[-3000:]
    return alone, load_file(folder / "rank0.safetensors"), load_file(folder / "rank1.safetensors")


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor], job: str) -> float:
    names = [name for name in a if name.startswith(f"{job}/")]
    assert len(names) > 5
    return max((a[name].double() - b[name].double()).abs().max().item() for name in names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "tolerance"),
    [
        ("float64", 1e-10),
        ("float32", 1e-5),
        ("vae", 1e-10),
        ("vae in pieces", 1e-10),
        ("uneven", 1e-10),
        ("one left over", 1e-10),
        ("validation", 1e-10),
    ],
)
def test_two_processes_give_the_weights_and_the_history_of_one(
    results: tuple, job: str, tolerance: float
) -> None:
    alone, first, second = results
    assert largest_difference(alone, first, job) < tolerance
    assert largest_difference(first, second, job) < tolerance


@pytest.mark.slow
def test_pieces_of_a_batch_give_what_the_batch_gives_noise_included(results: tuple) -> None:
    alone = results[0]
    pieces = {
        name.replace("vae in pieces/", "vae/"): value
        for name, value in alone.items()
        if "pieces" in name
    }
    assert max((alone[name] - value).abs().max() for name, value in pieces.items()) < 1e-10


@pytest.mark.slow
def test_batch_norm_sees_each_process_for_itself(results: tuple) -> None:
    """The chapter's warning: statistics of 16 images are not those of 32."""
    alone, first, _ = results
    assert largest_difference(alone, first, "norm") > 1e-3


@pytest.mark.parametrize(("count", "world"), [(32, 2), (97, 4), (1, 3), (5, 8)])
def test_shares_are_even_and_cover_everything_once(count: int, world: int) -> None:
    shares = [shard(count, rank, world) for rank in range(world)]
    assert [index for start, stop in shares for index in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    deadline = time.monotonic() + 90
    for line in process.stdout:
        assert time.monotonic() < deadline
        if line.startswith(words):
            return
    pytest.fail(f"ended before '{words}': {process.stderr.read()[-2000:]}")


def a_worker(launcher: int) -> int:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(
        int(pid)
        for pid in children
        if b"parallel_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers through /proc")
def test_run_of_which_a_process_is_killed_resumes_to_the_same_weights(tmp_path: Path) -> None:
    out, err = finish(torchrun("checkpoint", tmp_path / "whole", EPOCHS="40"))
    assert out.count("finished with 40") == 2 and out.count("epoch 40/40") == 1, err[
        -2000:
    ]  # one line from all
    killed = torchrun("checkpoint", tmp_path / "cut", EPOCHS="40")
    wait_for(killed, "epoch 2/")
    os.kill(a_worker(killed.pid), signal.SIGKILL)
    finish(killed)
    assert killed.returncode != 0
    out, err = finish(torchrun("checkpoint", tmp_path / "cut", EPOCHS="40"))
    assert out.count("Continuing after epoch") == 1 and "epoch 1/40" not in out, err[-2000:]
    whole, cut = (load_file(tmp_path / name / "run.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    assert not any("module." in name for name in whole)


@pytest.mark.slow
def test_time_runs_out_for_all_processes_at_once(tmp_path: Path) -> None:
    out, err = finish(torchrun("time", tmp_path))
    assert sorted(line for line in out.splitlines() if line.startswith("rank")) == [
        "rank 0 stopped: True",
        "rank 1 stopped: True",
    ], err[-2000:]


@pytest.mark.slow
def test_out_of_memory_in_several_processes_ends_them_all(tmp_path: Path) -> None:
    process = torchrun("memory", tmp_path)
    _, err = finish(process)
    assert process.returncode != 0 and "out of memory" in err


NOTEBOOK = """
import os
from accelerate import notebook_launcher

def work():
    import torch
    from parallel_worker import images, mlp
    from vaetl_helpers.training import fit
    model = mlp().double()
    loss = lambda m, x, y: torch.nn.functional.cross_entropy(m(x.double()), y)
    fit(model, images(64), loss, epochs=2, quiet=True)
    total = sum(p.sum().item() for p in model.parameters())
    said = f"{torch.distributed.get_world_size()} {total}"
    os.write(1, f"{said}\\n".encode())  # in one piece: two processes write

notebook_launcher(work, num_processes=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="notebook_launcher forks")
def test_notebook_launcher_starts_two_processes_with_the_same_weights(tmp_path: Path) -> None:
    script = tmp_path / "cell.py"
    script.write_text(NOTEBOOK)
    paths = os.pathsep.join([str(WORKER.parent), str(WORKER.parent.parent)])
    ended = subprocess.run(
        [sys.executable, str(script)],
        env=ALONE | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = [line.split() for line in ended.stdout.splitlines() if line.startswith("2 ")]
    assert len(said) == 2 and said[0] == said[1], ended.stderr[-2000:]
