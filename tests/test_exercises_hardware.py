"""Chapter 2's exercises: other right answers, wrong ones as learners write them, the pretended device's clock."""

import copy
import io
import statistics
import threading
import time
from time import perf_counter
from timeit import default_timer

import pytest
import torch
import torch.nn.functional as F

from vaetl_helpers.exercises import evaluate, get, hardware

CLOCKS = ("perf_counter", "monotonic", "time", "perf_counter_ns", "monotonic_ns", "time_ns")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny problems
    yield
    torch.set_num_threads(before)


def flops_in_one_line(batch, inputs, outputs, first=False):
    return (4.0 if first else 6.0) * batch * inputs * outputs


def flops_as_tensor(batch, inputs, outputs, first):
    return torch.tensor([batch, inputs, outputs, 2, 3 - first]).prod()


def time_with_two_warm_ups(work, synchronise, repeats):
    for _ in range(2):
        work()
    synchronise()  # once: afterwards nothing is queued when the clock starts
    times = torch.zeros(repeats)
    for i in range(repeats):
        start = perf_counter()
        work()
        synchronise()
        times[i] = perf_counter() - start
    return times.median()


def time_by_nanoseconds(work, synchronise, repeats):
    work()
    synchronise()
    readings = [time.monotonic_ns()]
    for _ in range(repeats):
        work()
        synchronise()
        readings.append(time.monotonic_ns())  # the end of one is the start of the next
    pairs = zip(readings, readings[1:], strict=False)
    return sorted(after - before for before, after in pairs)[repeats // 2] / 1e9


def time_with_an_imported_alias(work, synchronise, repeats):
    def once():
        synchronise()
        start = default_timer()
        work()
        synchronise()
        return default_timer() - start

    return statistics.median([once() for _ in range(repeats + 1)][1:])  # the first is the warm-up


def time_after_warming_for_a_second(work, synchronise, repeats):
    deadline = time.time() + 1
    while time.time() < deadline:
        work()
    times = []
    for _ in range(repeats):
        synchronise()
        start = time.time()
        work()
        synchronise()
        times.append(time.time() - start)
    return statistics.median(times)


def batches_as_a_list(images, labels, batch_size, generator):
    order = torch.randperm(images.shape[0], generator=generator)
    starts = range(0, len(order), batch_size)
    pieces = [order[start : start + batch_size] for start in starts]
    return [
        [images.index_select(0, piece).div(255), labels.index_select(0, piece)] for piece in pieces
    ]


def batches_of_a_shuffled_copy(images, labels, batch_size, generator):
    order = torch.randperm(len(images), generator=generator)
    images, labels = images[order], labels[order]  # still uint8
    for i in range(0, len(images), batch_size):
        yield images[i : i + batch_size].to(torch.float32) * (1 / 255), labels[i : i + batch_size]


def accumulate_by_sums(model, loss_fn, optimizer, images, labels, micro_batch):
    model.zero_grad(set_to_none=False)
    total = 0.0
    for start in range(0, len(images), micro_batch):
        part = slice(start, start + micro_batch)
        loss = loss_fn(model(images[part]), labels[part]) * len(labels[part])
        (loss / len(images)).backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total / len(images)


def accumulate_in_even_parts(model, loss_fn, optimizer, images, labels, micro_batch):
    parts = -(-len(images) // micro_batch)
    optimizer.zero_grad()
    for x, y in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
        loss_fn(model(x), y).backward(torch.tensor(len(x) / len(images)))
    optimizer.step()


def checkpoint_by_a_file(model, optimizer, epoch):
    file = io.BytesIO()
    torch.save(
        {
            "rng": torch.get_rng_state(),
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr": optimizer.param_groups[0]["lr"],
        },
        file,
    )
    file.seek(0)
    return torch.load(file)


def checkpoint_by_clones(model, optimizer, epoch):
    return {
        "model": {name: x.detach().clone() for name, x in model.named_parameters()},
        "optimizer": copy.deepcopy(optimizer).state_dict(),
        "epoch": torch.tensor(epoch),
        "rng": torch.random.get_rng_state(),
    }


RIGHT = (
    ("flops_linear", flops_in_one_line),
    ("flops_linear", flops_as_tensor),
    ("time_it", time_with_two_warm_ups),
    ("time_it", time_by_nanoseconds),
    ("time_it", time_with_an_imported_alias),
    ("time_it", time_after_warming_for_a_second),
    ("batches_resident", batches_as_a_list),
    ("batches_resident", batches_of_a_shuffled_copy),
    ("accumulate", accumulate_by_sums),
    ("accumulate", accumulate_in_even_parts),
    ("resume", checkpoint_by_a_file),
    ("resume", checkpoint_by_clones),
)


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_other_right_answers_are_correct(name, function):
    outcome = evaluate(get(f"hardware.{name}"), function, range(8))
    assert outcome.status == "correct", outcome


def time_all_together(work, synchronise, repeats):
    work()
    synchronise()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronise()
    return (time.perf_counter() - start) / repeats


def time_without_repeats(work, synchronise, repeats):
    work()
    synchronise()
    start = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - start


def time_by_a_hidden_clock(work, synchronise, repeats, clock=time.perf_counter):
    work()
    times = []
    for _ in range(repeats):
        synchronise()
        start = clock()
        work()
        synchronise()
        times.append(clock() - start)
    return statistics.median(times)


def batches_with_an_order_of_each_epoch_the_same(images, labels, batch_size, generator):
    generator = torch.Generator().manual_seed(0)
    return hardware.batches(images, labels, batch_size, generator)


def batches_with_text_labels(images, labels, batch_size, generator):
    return [
        (x, [str(label) for label in y])
        for x, y in hardware.batches(images, labels, batch_size, generator)
    ]


def batches_with_float_labels(images, labels, batch_size, generator):
    return hardware.batches(images, labels.float(), batch_size, generator)


def batches_without_end(images, labels, batch_size, generator):
    while True:
        yield from hardware.batches(images, labels, batch_size, generator)


def batches_flattened(images, labels, batch_size, generator):
    for x, y in hardware.batches(images, labels, batch_size, generator):
        yield x.flatten(1), y


def accumulate_another_loss(model, loss_fn, optimizer, images, labels, micro_batch):
    hardware.accumulated_step(model, F.cross_entropy, optimizer, images, labels, micro_batch)


def checkpoint_with_a_seed(model, optimizer, epoch):
    return copy.deepcopy(
        hardware.checkpoint(model, optimizer, epoch) | {"rng": torch.initial_seed()}
    )


def checkpoint_in_eval_mode(model, optimizer, epoch):
    return hardware.checkpoint(model.eval(), optimizer, epoch)


WRONG = (
    ("flops_linear", lambda *sizes: sum(sizes), "a first layer takes 4"),
    ("flops_linear", lambda *sizes: None, "is a return missing?"),
    ("time_it", time_all_together, "time each call of work() by itself"),
    ("time_it", time_without_repeats, "ran too few times"),
    ("time_it", time_by_a_hidden_clock, "call time.perf_counter()"),
    (
        "batches_resident",
        batches_with_an_order_of_each_epoch_the_same,
        "not those of torch.randperm",
    ),
    ("batches_resident", batches_with_text_labels, "a pair of tensors"),
    ("batches_resident", batches_with_float_labels, "labels must stay whole numbers"),
    ("batches_resident", batches_without_end, "the last one what is left"),
    ("batches_resident", batches_flattened, "expected a float tensor of shape"),
    ("batches_resident", lambda *args: None, "a list of batches was expected, got None"),
    ("accumulate", accumulate_another_loss, "with loss_fn's mean loss"),
    ("resume", checkpoint_with_a_seed, "the checkpoint does not load (TypeError"),
    ("resume", checkpoint_in_eval_mode, "changed the run itself"),
    ("resume", lambda model, optimizer, epoch: (model, optimizer, epoch), "a dict was expected"),
)


@pytest.mark.parametrize(("name", "function", "says"), WRONG)
def test_hand_written_wrong_answers_are_named(name, function, says):
    for seed in range(4):
        outcome = evaluate(get(f"hardware.{name}"), function, [seed])
        assert outcome.status == "incorrect" and says in outcome.message, outcome


def test_every_wrong_answer_is_told_in_a_whole_sentence():
    for exercise in hardware.EXERCISES:
        for wrong in exercise.wrong:
            message = evaluate(exercise, wrong.function, [7]).message
            assert len(message.split()) > 5 and not message.endswith((":", ",", "expected")), (
                message
            )


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
