"""Chapter 2's exercises: the pretended device's clock, and references beside PyTorch."""

import copy
import threading
import time
from time import perf_counter
from timeit import default_timer

import torch
import torch.nn.functional as F

from vaetl_helpers.exercises import evaluate, get, hardware
from vaetl_helpers.exercises.engine import source_of

CLOCKS = ("perf_counter", "monotonic", "time", "perf_counter_ns", "monotonic_ns", "time_ns")


def test_clocks_are_real_again_also_after_a_crash():
    real = [getattr(time, name) for name in CLOCKS] + [perf_counter, default_timer]

    def crash(work, synchronise, repeats):
        assert (
            time.perf_counter() < 1001
            and time.time_ns() < 1001e9
            and perf_counter() < default_timer() < 1001
        )
        raise ZeroDivisionError

    outcome = evaluate(get("hardware.time_it"), crash, [0])
    assert outcome.status == "crashed" and "ZeroDivisionError" in outcome.message
    assert [getattr(time, name) for name in CLOCKS] + [perf_counter, default_timer] == real


def test_other_threads_keep_their_time():
    seen = []

    def looking(work, synchronise, repeats):
        thread = threading.Thread(target=lambda: seen.append(time.time()))
        thread.start()
        thread.join()
        return hardware.time_it(work, synchronise, repeats)

    before = time.time()
    assert evaluate(get("hardware.time_it"), looking, [0]).status == "correct"
    assert before <= seen[0] <= time.time()


def test_the_reference_flops_are_those_that_pytorch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    for first in (True, False):
        images, layer = (
            torch.randn(7, 5, requires_grad=not first),
            torch.nn.Linear(5, 3, bias=False),
        )
        with FlopCounterMode(display=False) as counter:
            layer(images).sum().backward()
        assert counter.get_total_flops() == hardware.flops_linear(7, 5, 3, first)


def test_a_checkpoint_resumes_exactly_only_if_nothing_is_missing():
    assert hardware.gap_after_resuming(hardware.checkpoint) == 0
    for key in ("model", "optimizer", "rng", "epoch"):

        def lacking(*run, key=key):
            saved = hardware.checkpoint(*run)
            del saved[key]
            return saved

        assert hardware.gap_after_resuming(lacking) > 0


def test_parts_give_the_weights_of_the_whole_batch():
    for micro_batch in (1, 3, 8, 20):
        model = torch.nn.Sequential(torch.nn.Linear(4, 3)).double()
        whole = copy.deepcopy(model)
        images, labels = torch.randn(8, 4, dtype=torch.float64), torch.randint(3, (8,))
        optimizers = [torch.optim.Adam(net.parameters()) for net in (model, whole)]
        hardware.accumulated_step(
            model, F.cross_entropy, optimizers[0], images, labels, micro_batch
        )
        F.cross_entropy(whole(images), labels).backward()
        optimizers[1].step()
        for a, b in zip(model.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_checkpoint_that_lacks_a_key_is_told_without_the_answer_and_its_other_fault():
    def message(function):
        return evaluate(get("hardware.resume"), function, [0]).message

    def without_rng(*run):
        saved = hardware.checkpoint(*run)
        del saved["rng"]
        return saved

    def neither_copied(model, optimizer, epoch):
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}

    assert 'lacks "rng"' in message(without_rng)
    assert "get_rng_state" not in message(without_rng) and "changed" not in message(without_rng)
    assert "weights changed while training went on" in message(neither_copied)


def test_gradients_from_before_the_call_are_named():
    def cleared_after(model, loss_fn, optimizer, images, labels, micro_batch):
        for part, names in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
            (loss_fn(model(part), names) * len(part) / len(images)).backward()
        optimizer.step()
        for parameter in model.parameters():
            parameter.grad = None

    outcome = evaluate(get("hardware.accumulate"), cleared_after, [0])
    assert "gradients from before the call are still there" in outcome.message


def test_what_a_function_does_in_pretended_processes_is_seen_in_all_of_them():
    def message(edit):
        text = source_of(get("hardware.shared_backward").reference)
        assert text.count("all_reduce(weight.grad)") == 1
        space = {"F": F, "torch": torch}
        exec(text.replace("all_reduce(weight.grad)", edit), space)
        return evaluate(get("hardware.shared_backward"), space["shared_backward"], [0]).message

    one_process = "if rank == 1:\n            "
    left_off = "torch.set_grad_enabled(False)"
    assert "gradients are switched off for all cells" in message(
        f"all_reduce(weight.grad)\n        {one_process}{left_off}"
    )
    assert "SystemExit: 3" in message(f"{one_process}raise SystemExit(3)")
