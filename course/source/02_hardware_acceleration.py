# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "02"
#     title: Hardware acceleration
#     minutes: {reading: 26, exercises: 34, cpu: 0.4, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # Hardware acceleration
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - time code on a device that computes while Python goes on;
# - measure what a machine can compute and what it can move, and say which of the two limits a network;
# - say beforehand when an accelerator will help, and when it will not.
#
# You need chapters [1](01_training_step.ipynb) and [1c](01c_what_training_costs.ipynb) for the training loop, FLOPs, batch and epoch.

# %% [markdown] slide="The claim: an accelerator is essential"
# ## The claim that this chapter looks at
#
# The first article behind this course, Vito Lavecchia's "Differenza tra Training e Transfer Learning nel machine learning", says, in our summary: *training takes enormous computing power, so that an accelerator, a GPU or a TPU, is essential; and some platforms make one available.*
#
# A **GPU**, or graphics processing unit, has thousands of simple arithmetic units, a **TPU**, or tensor processing unit, is made for matrix products, and the **CPU** is what every computer has.
# Somebody [trained two networks](https://stackoverflow.com/questions/42097115) on handwritten digits with a CPU and with a GPU, once each, on unknown machines:
#
# | hidden units | CPU | GPU |
# |---|---|---|
# | 1,000 | 104 s | 30 s |
# | 100 | about 15 s | about 20 s |
#
# The GPU helped one network and hindered the other.
# Which of the two is yours?

# %% [markdown]
# ## Set-up
#
# The parameters are explained in [chapter 1](01_training_step.ipynb).

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
images: int | None = None  # images in one timed pass
repeats: int | None = None  # times that each measurement is repeated
batches: list | None = None  # batch sizes for the crossover
widths: list | None = None  # widths of the network for the crossover
full_data: bool | None = None  # all of Fashion-MNIST, not 12,000 images

# %%
from vaetl_helpers.runtime import advice, report, setup, show_table

P = setup(
    "02",
    profile,
    seed=seed,
    images=images,
    repeats=repeats,
    batches=batches,
    widths=widths,
    full_data=full_data,
)

# %%
import os
import statistics
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy

from vaetl_helpers import (
    hardware,
    hardware_comparisons,
    nets,
    plots,
    study,
    vae,
    widgets,
)
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.timeline import device_timeline
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import classification_loss

data = load("fashion-mnist", full=P.full_data, device=P.device)
processor = torch.device("cpu")
cores = os.cpu_count() or 1
torch.set_num_threads(1)  # the baseline: more threads only where they are asked for

# %% [markdown]
# What decides the claim is a wide network's step on a GPU, against one thread of a CPU.

# %%
question_cards("acceleration")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters; in a notebook, what you miss comes back sooner.

# %%
recall("02")

# %% [markdown]
# ## 1. How to time a device
#
# Each operation of PyTorch starts a *GPU kernel*, a small program that runs on the device.
# Python hands it over, which is a *kernel launch*, and goes on at once.
# Under this *asynchronous execution* a clock can lie: stopped now, it has measured the launch and not the work.
#
# In the figure a clock is read at the orange lines, and when it starts, the device still has some earlier work to do (grey).
# Choose when the clock waits, and look for a reading that is too short, one too long, and one that is right.

# %% slide="Python hands work over and goes on"
device_timeline(alt="02/clocks")
plt.show()

# %% [markdown]
# The clock that never waits reads only how long the launches took, 80 µs.
# The one that waits at the end alone reads 550 µs, because it also pays for what was in the queue before.
# Only the one that waits on both sides tells the true time, 410 µs.
# Now make the device quick, so that it needs less time for each operation than Python needs to launch it.
# Then it waits for Python, and a faster one would change nothing: what is left is *latency*, the time until an operation begins and answers, however small it is.
#
# So *synchronise* with `torch.cuda.synchronize()`, which waits until the device is done, before the clock starts and again before it stops.
# The first call, the *warm-up*, does not count, because it compiles, allocates memory and fills *caches*, small fast memories close to the arithmetic units.
# Finally, single times scatter, mostly upwards, so take the median.
#
# ### Exercise 1: time it · 12 minutes
#
# `work()` gives the device something to do, and `synchronise()` waits until all of it is done.
# Warm up first, then return the median seconds of one call of `work()` over `repeats` timed calls, with `time.perf_counter()` for the clock.
# The check pretends to be a device with a clock of its own.

# %% exercise="hardware.time_it"

# %% check="hardware.time_it" tags=["nbval-check-output"]
time_it_checked = check("hardware.time_it", time_it)

# %% [markdown]
# Now time a matrix product on your device, with and without waiting.

# %%
predict("hardware.waiting")

# %%
square = torch.ones(1024, 1024, device=P.device)
waiting = time_it_checked(
    lambda: square @ square, lambda: hardware.synchronise(P.device), 20
)
not_waiting = time_it_checked(lambda: square @ square, lambda: None, 20)
print(
    f"a 1024 x 1024 product on {P.device.type}: {1e3 * waiting:.3f} ms; without "
    f"waiting: {1e3 * not_waiting:.3f} ms"
)

# %%
settle("hardware.waiting", not_waiting / waiting)

# %% [markdown]
# On a CPU the two times differ only by scatter, 10 or 20 %, because it has finished when Python goes on.
# On a GPU the second time is far too short to be true.
#
# ## 2. What can your machine do?
#
# Some devices say that they are available and then fail, so an accelerator is listed only after it has done real work.

# %%
show_table(hardware.machine(), header=("this machine", ""))
print("To get an accelerator:", advice())

# %% [markdown]
# Every program for an accelerator begins with the same three lines: is one there, move the network, move the images.
# Then come the two errors that you will meet most often, the first with PyTorch's `FakeTensorMode`, which pretends to have a GPU.

# %% tags=["nbval-check-output"]
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
network = nets.mlp_classifier(64).to(device)
logits = network(torch.zeros(8, 1, 28, 28).to(device))
print("both moved:", logits.device == next(network.parameters()).device)
try:
    with FakeTensorMode():
        torch.zeros(8, 784) @ torch.zeros(784, 10, device="cuda")  # images left behind
except RuntimeError as error:
    print("one forgotten:", error)
try:
    cross_entropy(torch.zeros(1, 10), torch.tensor([10]))  # the classes are 0 to 9
except IndexError as error:
    print("a wrong label, on the CPU:", error)

# %% [markdown]
# The first is cured by `.to(device)` for what stayed behind.
# A network moves in place, but a tensor does not, so `images.to(device)` must be given a name.
# The second is as clear as here only on the CPU.
# A GPU says `CUDA error: device-side assert triggered`, some lines too late, since Python had gone on.
# So restart Python, and run the step on the CPU, or with `CUDA_LAUNCH_BLOCKING=1`, which makes every launch wait.
#
# Two rates describe a processor:
#
# - how fast it *computes*, in **FLOPs per second**, at its best in a product of two large matrices;
# - how fast it *moves* numbers between its memory and its arithmetic units, its *bandwidth* in **bytes per second**, at its best in a large copy.
#
# A product of two $n\times n$ matrices takes $2n^3$ FLOPs, because each of its $n^2$ results needs $n$ multiplications and $n$ additions.
# A copy reads and writes every byte once.

# %%
predict("hardware.peak")

# %% slide="Two rates describe a processor"
present = {"CPU": processor} | (
    {} if P.device.type == "cpu" else {P.device.type.upper(): P.device}
)
peak = {
    name: hardware.peak_flops(device, 1024 if device.type == "cpu" else 4096)
    for name, device in present.items()
}
moved = {name: hardware.bandwidth(device) for name, device in present.items()}
in_cache = hardware.bandwidth(processor, megabytes=0.5)  # what is copied stays there
data_sheets = {
    "NVIDIA T4 (Colab, Kaggle): data sheet": (8.1e12, 320e9),
    "NVIDIA H100 SXM: data sheet": (67e12, 3350e9),
}
tensor_cores = {  # products of 16-bit matrices, none of whose numbers are left out
    "T4, its tensor cores: data sheet": (65e12, 320e9),
    "H100 SXM, its tensor cores: data sheet": (989e12, 3350e9),
}
about = {"CPU": "CPU, 1 thread"} | {
    name: hardware.short_name(device)
    for name, device in present.items()
    if name != "CPU"
}
rates = {f"{about[name]}: measured here": (peak[name], moved[name]) for name in present}
rates["CPU, 1 thread, in its cache"] = peak["CPU"], in_cache
with hardware.using_threads(cores):
    whole = hardware.peak_flops(processor), hardware.bandwidth(processor)
rates[f"CPU, all {cores} threads: measured here"] = whole
hardware_comparisons.show_rates(rates | data_sheets | tensor_cores)
report("peak_gflops", peak[list(present)[-1]] / 1e9, "GFLOP/s", id="02/peak_gflops")
report("bandwidth", moved[list(present)[-1]] / 1e9, "GB/s", id="02/bandwidth")

# %%
settle("hardware.peak", peak[list(present)[-1]] / 1e9)

# %% [markdown]
# The last column is the first rate divided by the second: the number of operations the device can do while it fetches one byte.
# So a computation that does little with each byte leaves the arithmetic units idle.
# The row "in its cache" copies half a megabyte instead of 128, which the processor keeps close by, and there bytes move several times as fast.
#
# A data sheet's peak is one that real programs do not reach, while ours is measured.
# Both are for 32-bit numbers, but for the last two rows: **tensor cores** multiply 16-bit matrices, 8 and 15 times as fast here.
# They do not move a byte more per second, so only a program that does hundreds of FLOPs with each byte can keep them busy.
#
# ### Exercise 2: the FLOPs of a layer · 5 minutes
#
# How much work is one *training step* of a linear layer without bias?
# In the forward pass a batch of inputs, `[batch, inputs]`, is multiplied by the weights, `[inputs, outputs]`.
# The backward pass gets the gradient of the layer's output.
# Find out which gradients it must compute from that, what size the products have, and which of them nobody needs in the *first* layer.
# A multiplication and an addition count as 2 FLOPs.

# %% exercise="hardware.flops_linear"

# %% check="hardware.flops_linear" tags=["nbval-check-output"]
flops_linear_checked = check("hardware.flops_linear", flops_linear)

# %% [markdown]
# Compare your function with PyTorch's own counter on the fully connected network of chapter 1, 784 → 128 → 10, with batch 128.

# %% tags=["nbval-check-output"]
mlp = nets.mlp_classifier(128)
counted = hardware.count_flops(
    mlp, torch.zeros(128, 1, 28, 28), torch.zeros(128, dtype=torch.long)
)
by_hand = flops_linear_checked(128, 784, 128, first=True) + flops_linear_checked(
    128, 128, 10, first=False
)
print(f"by hand: {by_hand:,} FLOPs a step; PyTorch's counter: {counted:,}")

# %% [markdown] slide="A step is limited by computing or by moving"
# ## 3. Two roofs
#
# A training step needs some FLOPs and moves some bytes.
# Their quotient is its **arithmetic intensity**, in FLOPs per byte.
# A device that computes $F$ FLOPs per second and moves $B$ bytes per second from its memory needs at least FLOPs/$F$ seconds for the step, and at least bytes/$B$ seconds, if no byte is found in a cache.
# So a step of intensity $I$ can reach at most
#
# $$\text{rate} \le \min(F,\; B \cdot I) .$$
#
# Drawn over $I$, this is a slanted roof, the bandwidth, that meets a flat one, the peak.
# The picture is called the **roofline**.
# Under its slanted part a faster arithmetic unit does not help.
#
# We place three networks of this course under it, each with a small and a large batch.
# The VAE, of chapter 3, encodes an image, adds noise, and decodes it.
# FLOPs are counted, but bytes are only estimated, as if there were no cache, so a point may lie further left or right than drawn.
#
# In the figure each colour is a network, and its arrow leads from the small batch to the large one.
# The dash-dotted roof is that of the cache, and the thin dashed ones are those of two GPUs by their data sheets.
# Look under which roof each arrow begins, and how close to the flat one it ends.

# %%
predict("hardware.batch")

# %%
networks = {  # how it is built, its width, and its loss
    "MLP": (nets.mlp_classifier, 128, classification_loss),
    "CNN": (nets.small_cnn, 16, classification_loss),
    "VAE": (lambda width: vae.mlp_vae(widths=(width,)), 400, vae.vae_loss()),
}


def measure(model, loss_fn, size, device):
    """Median seconds of a training step."""
    step = hardware.training_step(model, loss_fn, size, device)
    return hardware.time_it(step, device, P.repeats * (1 + 64 // size))


here = list(present)[-1]
points, seconds = {name: [] for name in networks}, {}
for name, (build, width, loss_fn) in networks.items():
    for size in (8, 512):
        flops, traffic = hardware.step_needs(build(width), loss_fn, size)
        seconds[name, size] = measure(build(width), loss_fn, size, present[here])
        points[name].append((flops / traffic, flops / seconds[name, size]))

# %% slide="Where our networks lie under the roof"
plots.roofline(
    points,
    moved[here],
    peak[here],
    title=f"This machine ({about[here]}): arrows from batch 8 to batch 512",
    alt="02/roofline",
    others=data_sheets,
    in_cache=in_cache if here == "CPU" else None,
)
plt.show()

# %%
settle("hardware.batch", seconds["MLP", 512] / seconds["MLP", 8])

# %% [markdown]
# The large batch lies further right than the small one, because the weights are read once and used for more images.
# A point that touches the slanted roof is *memory-bound*, and one near the flat roof *compute-bound*.
# One that lies above the roof of the memory has found part of its numbers in the cache.
# A point well below both is limited by something else: an operation that does hardly any FLOPs, such as pooling, or *overhead*, the microseconds that Python and PyTorch need for each operation; an appendix takes a step apart.
#
# ## 4. When does an accelerator help?
#
# So we expect an accelerator to help large networks and large batches a lot, and small ones hardly at all.
# We measure the time of a training step over the batch size, for a narrow and a wide network, on every device that is here.
# The baseline of every gain in this chapter is *one thread* of this CPU, and beside it stand *all* its threads, since one GPU against the whole CPU is as fair a question.
#
# Whether the other cores pay is the same question in small, because for each operation they have to agree on who does what.

# %%
predict("hardware.essential")

# %%
configurations = {"CPU, 1 thread": (processor, 1)}
if cores > 1:
    configurations[f"CPU, {cores} threads"] = (processor, cores)
if P.device.type != "cpu":
    configurations[P.device.type.upper()] = (P.device, 1)
times = {
    (name, width): [
        hardware.step_seconds(width, size, *where, 4 * P.repeats) for size in P.batches
    ]
    for width in P.widths
    for name, where in configurations.items()
}

# %% slide="When does more hardware help?"
own = {
    width: {name: (P.batches, times[name, width]) for name in configurations}
    for width in P.widths
}
axes = plots.crossover(own, alt="02/devices")
hardware_comparisons.title_by_quickest(axes, times, P.batches)
wide = nets.mlp_classifier(P.widths[-1])
_, traffic = hardware.step_needs(wide, classification_loss, 1)
from_memory = f"{traffic / 1e6:.0f} MB would take {1e3 * traffic / moved['CPU']:.1f} ms"
print(f"width {P.widths[-1]:,}, one image: from memory its {from_memory}")
hardware_comparisons.say_if_busy(times)
plt.show()

# %% [markdown]
# Read the left end first.
# From 1 to 64 images the work is 64 times as large, but the time is not, because a part of it is paid once per step.
# In the narrow network that is overhead.
# In the wide one the weights count as well, because 0.8 million of them, their gradients and Adam's numbers have to move, whatever the batch.
# Above the figure stands what that takes from memory; a shorter step shows that they have stayed in the cache.
#
# Then compare the lines: a device pays where its line is lower.
# PyTorch shares out an operation only if it is large enough, so a second thread of an idle machine costs little where it cannot help.
# In the wide network it can pay from the first image on.
#
# So on an idle machine `torch.set_num_threads(os.cpu_count())` is a lever.
# The course leaves one core alone all the same, because beside one busy program all threads wait for the slowest.

# %% [markdown]
# How sure is a ratio of two times?
# We measure both in turn, several times, and take the logarithm of each turn's ratio: twice as fast and half as fast then lie equally far from 0.


# %%
def speedup(width, name, size=P.batches[-1]):
    """How many times as fast as one thread: an effect over turns."""
    where, ratios = configurations[name], []
    for _ in range(P.repeats):
        slow = hardware.step_seconds(width, size, processor, 1, repeats=3)
        ratios.append(slow / hardware.step_seconds(width, size, *where, repeats=3))
    return study.effect_of(np.log(ratios))


speedups = hardware_comparisons.show_speedups(times, P.batches, speedup)

# %% [markdown]
# ### Estimate before you rent
#
# You can roughly predict the time of a step on a device that you do not have.
# Its rates are in its data sheet.
# To measure the overhead, make the same layers one unit wide and give them a single image, because then nearly nothing is left to compute.
#
# ### Exercise 3: predict a step · 8 minutes
#
# `needs` are the FLOPs and the bytes of a step, and `rates` how many of each a device computes and moves per second.
# A device moves the next bytes while it computes with those that it has.
# On a CPU Python waits for each operation, so the overhead is paid on top.
# Return the seconds of a CPU's step.

# %% exercise="hardware.predicted_step"

# %% check="hardware.predicted_step" tags=["nbval-check-output"]
predicted_checked = check("hardware.predicted_step", predicted_step)

# %% [markdown]
# On a GPU launching and computing *overlap*, as in section 1's figure, so there we take the longer of overhead and work.
#
# Run operation by operation, a step cannot become shorter than its overhead, if Python is as fast there as here.
# So the step of one thread, divided by its overhead, is about the most that any accelerator can gain.
# The overhead can be lowered, by `torch.compile` or by CUDA graphs, which launch a whole step at once.

# %%
predict("hardware.limit")

# %% [markdown]
# The table has this number in its last column, and before it your formula is tested on this machine.
# A T4's step is predicted as a range, whose best case is the data sheet.
# In the bad case the T4
#
# - computes at half its peak: a large product has reached 92 % of it ([Armbruster 2024](https://alexarmbr.github.io/2024/08/10/How-To-Write-A-Fast-Matrix-Multiplication-From-Scratch-With-Tensor-Cores.html)), and under load its clock has fallen from 1,590 to about 900 MHz ([MLPerf](https://github.com/mlcommons/inference_results_v0.5/issues/20)), together 52 %;
# - moves 220 GB/s, as measured by Jia and others (2019, arXiv 1903.07486, quoted by Armbruster);
# - falls as far short of the formula as this CPU does;
# - launches each kernel 10 µs late, our assumption, which a GPU here replaces by its own measurement.

# %%
T4 = data_sheets["NVIDIA T4 (Colab, Kaggle): data sheet"]
T4_BAD = T4[0] / 2, 220e9
start = {name: hardware.launch_seconds(device) for name, device in present.items()}
LATE = max(0, start[here] - start["CPU"]) if here != "CPU" else 10e-6  # seconds
for name, one in start.items():
    print(f"{about[name]}: {1e6 * one:.1f} µs to start an operation, measured")


def estimate(title, build, units, loss_fn, size):
    """What a step takes here, and by prediction on a T4."""
    needs = hardware.step_needs(build(units), loss_fn, size)
    on_cpu, *on_gpu = (
        measure(build(units), loss_fn, size, device) for device in present.values()
    )
    with hardware.using_threads(cores):
        step = hardware.training_step(build(units), loss_fn, size, processor)
        on_all = hardware.time_it(step, processor, P.repeats)
    return hardware_comparisons.Estimate(
        title,
        size,
        overhead=measure(build(1), loss_fn, 1, processor),
        measured=on_cpu,
        all_threads=on_all,
        roof_here=predicted_checked(needs, (peak["CPU"], moved["CPU"]), 0),
        roofs_there=tuple(predicted_checked(needs, one, 0) for one in (T4, T4_BAD)),
        late=LATE * hardware.operations_started(build(units), loss_fn),
        elsewhere=on_gpu,
    )


def show(estimates):
    hardware_comparisons.show_estimates(estimates, "T4", list(about.values())[1:])


estimates = [
    estimate(name, build, width, loss_fn, size)
    for name, (build, width, loss_fn) in networks.items()
    for size in (8, 512)
]
show(estimates)

# %%
settle("hardware.limit", estimates[0].limit)  # of the MLP with 8 images

# %% [markdown]
# Here the formula was right within a factor of two for the MLP and the VAE, but the CNN with 512 images took several times as long.
# A profile puts about half of its step into pooling and ReLU, which do hardly any FLOPs.
# Where a step is *shorter* than predicted, its weights were in the cache and not in memory.
# And where the T4's best case equals the last column, its work hides behind Python, and no faster device helps.
#
# ### Your own network
#
# Replace `nets.small_cnn` by your own function of a width.

# %%
show([estimate("mine", nets.small_cnn, 64, classification_loss, 64)])

# %% [markdown]
# Now draw the prediction for all batch sizes up to 4,096, and with it your own lines and, as a test, the formula for one thread.
# The T4's band reaches from its data sheet to half its peak, 220 GB/s and late launches, without this CPU's shortfall.
# Where a GPU is here, its measured line is drawn, too, and a T4's should lie inside, if Python is as quick there.
# Look where your lines leave the band, and where the gap widens.

# %%
overhead = measure(nets.mlp_classifier(1), classification_loss, 1, processor)
late = LATE * hardware.operations_started(nets.mlp_classifier(1), classification_loss)
drawn = sorted({*P.batches, 4096})
needs = {
    width: [
        hardware.step_needs(nets.mlp_classifier(width), classification_loss, size)
        for size in drawn
    ]
    for width in P.widths
}


def work(units, rates):
    """Predicted seconds of computing or moving, for each batch size."""
    return [predicted_checked(need, rates, 0) for need in needs[units]]


names = {name: name.removeprefix("CPU, ") for name in configurations}
if here != "CPU":
    names[here] = about[here]
measured_here = hardware_comparisons.measured_lines(times, P.batches, names)

# %% slide="Estimate before you rent"
H100 = data_sheets["NVIDIA H100 SXM: data sheet"]
CPU = peak["CPU"], moved["CPU"]


def on_gpu(units, rates, wait):
    """Predicted seconds: the longer of handing over, `wait`, and work."""
    return drawn, [max(wait, seconds) for seconds in work(units, rates)]


predicted, in_bad_case = {}, {}
for width in P.widths:
    predicted[width] = {
        "T4, predicted": on_gpu(width, T4, overhead),
        "H100, predicted": on_gpu(width, H100, overhead),
        "1 thread, predicted": (drawn, [overhead + one for one in work(width, CPU)]),
    }
    in_bad_case[width] = {"T4, predicted": on_gpu(width, T4_BAD, overhead + late)}
plots.crossover(measured_here, predicted, up_to=in_bad_case, alt="02/crossover")
plt.show()

# %%
if here == "CPU":
    print("No GPU is here, so nothing is measured that could contradict the band.")
else:
    for width in P.widths:
        hardware_comparisons.say_hits(
            f"width {width:,}, {about[here]} against a T4's band",
            measured_here[width][f"{about[here]}, measured"],
            predicted[width]["T4, predicted"],
            in_bad_case[width]["T4, predicted"],
        )

# %% [markdown]
# In the narrow network your line begins about where the band is: with few images a GPU may be the slower one, as it was with 100 units at the beginning.
# In the wide one your line lies above the band at once.
# An H100, with eight times the arithmetic of a T4, changes little as long as both only wait for Python.
#
# ### And the bet?
#
# The bet asks for a step that no GPU has made for this course yet, so only a GPU of yours can settle it, and elsewhere there is only a prediction.

# %%
wide_step = estimate(
    "MLP, 1,024 units", nets.mlp_classifier, 1024, classification_loss, 4096
)
for one in (wide_step, estimates[0]):
    print(
        f"{one.network}, batch {one.batch:,}: a T4 would be {one.said} times as fast as "
        f"1 thread, {one.said_against_all} times as all {cores} (predicted)."
    )

# %%
by_own_gpu = None  # without a GPU the records decide
if P.device.type != "cpu":
    own_gpu = speedup(1024, P.device.type.upper(), 4096)
    print("{:.1f} times as fast [{:.1f}, {:.1f}], measured here".format(*own_gpu.times))
    by_own_gpu = hardware_comparisons.answered_here(own_gpu)
settle("hardware.essential", by_own_gpu)

# %% [markdown]
# The wide step gains much even in the bad case and against all threads, so our answer is *yes, by prediction*.
# The small step would gain little.
# To settle your bet, upload this notebook to Colab by *File > Upload notebook* and choose a T4; the tables then have a column measured there.
#
# Others have measured a large network.
# ResNet-50, forward and backward on 16 images, took two Xeons with 16 cores together 6.63 s and a GTX 1080 0.15 s, 43 times less ([cnn-benchmarks](https://github.com/jcjohnson/cnn-benchmarks)).
#
# ### The way to the device
#
# An accelerator has memory of its own, so each batch must first travel there from the host's, in a *host-to-device copy*.
# A T4 is reached over 16 lanes of PCI Express 3.0, which carry 15.8 GB/s at most, a twentieth of what its own memory moves.
# One $28\times 28$ image has 3,136 bytes as float32, but only 784 as uint8.
#
# The figure takes a T4's predicted step apart, into the overhead, the work, and the way of the batch as float32.
# Look which of the three is longest, and from which batch size on.

# %%
predict("hardware.way")

# %%
LANES = 16 * 8e9 * 128 / 130 / 8  # 8 Gbit/s in each, of which 128 in 130 are data
way = [size * 3136 / LANES for size in drawn]

# %% slide="The way to the device"
parts = {
    width: {
        "T4: overhead": (drawn, [overhead] * len(drawn)),
        "T4: work": (drawn, work(width, T4)),
        "T4: way": (drawn, way),
    }
    for width in P.widths
}
one_thread = hardware_comparisons.measured_lines(
    times, P.batches, {"CPU, 1 thread": "1 thread"}
)
plots.crossover(one_thread, parts, alt="02/way")
plt.show()

# %%
print(f"The way is as long as the overhead at {overhead * LANES / 3136:,.0f} images.")
settle("hardware.way", way[-1] / work(P.widths[0], T4)[-1])

# %% [markdown]
# In the narrow network the images of a large batch travel for about four times as long as the T4 works on them.
# Up to the batch size in the line above the overhead is the longest part, so that the T4 waits for Python, and beyond it for images.
# In the wide one the way never leads.
#
# If the data fit, send them *once*, as uint8, and leave them there, as this course's `ImageSet` does.
# The appendix tells what to do if they do not.
#
# ### Exercise 4: resident data · 10 minutes
#
# `images` (uint8, `[n, 1, height, width]`) and `labels` lie on the device.
# Yield one epoch of batches in random order, `torch.randperm(n, generator=generator)`.
# Each batch is a pair of images as *floats in [0, 1]* and labels, and the last one holds what is left.
# Convert each batch by itself when it is asked for and never the whole set, because as floats it would take four times the memory.

# %% exercise="hardware.batches_resident"

# %% check="hardware.batches_resident"
batches_checked = check("hardware.batches_resident", resident_batches)

# %% [markdown] slide="So, was the claim right?"
# ## 5. So, was the claim right?
#
# *An accelerator is essential.*
# It depends.
#
# - **For large networks and large batches it should help a lot.**
#   That is what section 4 predicts, and what others have measured.
# - **Where a step is only a few overheads long it helps little, whatever the GPU.**
#   The last column of section 4's table is a limit that a dearer GPU does not lift.
# - *Some platforms make one available* is true.
#   Colab and Kaggle lend one for a limited time.
#
# So three questions decide whether a GPU will help *your* model.
# How many times its overhead is a step?
# What limits the rest of it, computing or moving?
# And do the images lie on the device, or travel there in every step?
#

# %%
verdict_cards("acceleration", records=speedups)

# %% [markdown]
# ## An open task
#
# For which network would *you* rent a GPU?
# Put it into the cell of "Your own network".
# Write down beforehand what the last three columns will say.
# Then find, by prediction, the narrowest width at which a T4 is five times as fast at batch 128.
# The task is answered when you have measured one of your rows on a borrowed T4, and can say why it lies inside or outside the predicted range.

# %% [markdown]
# ## Quiz
#
# **1.
# You time an operation on a GPU and get 0.01 ms, for any size of the matrices.
# What is wrong?**
#
# <details><summary>Nothing: GPUs are that fast.</summary>
#
# No. A time that does not depend on the size is the time of handing over.
# </details>
#
# <details><summary>The clock was stopped before the device was done.</summary>
#
# Right.
# Synchronise before both readings of the clock.
# </details>
#
# **2.
# A GPU computes 50 times as fast as your CPU.
# Your small network trains 3 times as fast on it.
# Why?**
#
# <details><summary>Most of a step is overhead or feeding, which the GPU does not speed up.</summary>
#
# Right.
# Try a larger batch and resident data first.
# </details>
#
# <details><summary>The GPU is broken.</summary>
#
# Probably not.
# Where would this network lie under the roofline?
# </details>
#
# **3.
# A network lies under the slanted part of the roofline.
# What would make its step faster?**
#
# <details><summary>A processor that computes twice as fast.</summary>
#
# It would wait for the memory as before.
# </details>
#
# <details><summary>A larger batch, or a memory that moves more bytes per second.</summary>
#
# Right, because the first moves the point to the right, and the second lifts the roof.
# </details>
#
# <details><summary>More FLOPs per step.</summary>
#
# They move the point, but they do not make a step faster.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("02")
my_bets("02")

# %% [markdown]
# ## Take-away
#
# - A step is compute-bound, memory-bound, or limited by the overhead of each operation.
# - To time a device, warm up, synchronise, and take the median.
# - A step divided by its overhead is the most that an accelerator can gain for code that runs operation by operation.
# - Data that fit into memory belong there, as uint8, once.
#
# Go on with [chapter 2b](02b_levers_and_borrowed_gpus.ipynb), *Levers, and borrowed GPUs*, or with [chapter 3](03_variational_autoencoder.ipynb).

# %% [markdown]
# ## Further reading
#
# - Williams, Waterman and Patterson, *Roofline: an insightful visual performance model*, Communications of the ACM 52 (2009).
# - Wang, Wei and Brooks, *Benchmarking TPU, GPU, and CPU Platforms for Deep Learning* (2019), arXiv 1907.10701.
# - He, [*Making Deep Learning Go Brrrr From First Principles*](https://horace.io/brrr_intro.html) (2022).

# %% [markdown]
# ## Appendix: a step, operation by operation
#
# Where does a step's time go?
# PyTorch's *profiler*, `torch.profiler.profile`, writes down every operation that a piece of code calls, and how long each took.
# Here it watches one step of the MLP with 8 images and one with 512.
# Compare the number of calls in both, and then which of them take the time.

# %%
hardware_comparisons.show_operations(
    {
        f"batch {size}": hardware.training_step(
            nets.mlp_classifier(128), classification_loss, size, processor
        )
        for size in (8, 512)
    }
)

# %% [markdown]
# Both steps call the same operations, because the program is the same.
# With 512 images the matrix products, `mm` and `addmm`, take about two thirds of the time, and they are what an accelerator makes faster.
# With 8 images they take about a quarter, and the rest is spread over more than a hundred calls of a few microseconds each, among them many that only look at a tensor in another way, such as `t` and `view`.
# Those calls are the overhead.
# A GPU is given only the others, about twenty, and their kernel launches are what section 4 assumes to be late.
#
# One kind of operation is missing in these counts, because in a step of the MLP it is small, though not in one of the CNN: adding, multiplying or clipping number by number.
# It does one FLOP with each number that it moves, so it lies far left under the slanted roof.
# How many operations per second does it reach, beside a product of matrices?

# %%
numbers, side = torch.rand(16_000_000), torch.rand(1024, 1024)
out = torch.empty_like(numbers)
tries = {
    "a product of matrices": (2 * 1024**3, lambda: side @ side),
    "x + 1 into memory that is there": (16e6, lambda: torch.add(numbers, 1, out=out)),
    "x + 1 into new memory": (16e6, lambda: numbers + 1),
    "((x + 1) * 2 - 3).relu()": (64e6, lambda: ((numbers + 1) * 2 - 3).relu()),
}
show_table(
    [
        (
            name,
            f"{1e3 * (taken := hardware.time_it(work_of, processor, P.repeats)):.1f} ms",
            f"{flops / taken / 1e9:.1f} GFLOP/s",
        )
        for name, (flops, work_of) in tries.items()
    ],
    header=("operation", "time", "rate"),
)

# %% [markdown]
# Number by number a processor computes about a hundred times as slowly, because it waits for the memory: 16 million numbers of four bytes, read and written, are 128 MB, and divided by the bandwidth of section 2 they give about the second row.
# New memory costs even more than moving the numbers, since the system has to prepare it.
# Four such operations take about four times as long as one, since each reads all numbers and writes them to new memory.
# A compiler such as `torch.compile` makes one operation of them, which moves the numbers once, and that is called *fusion*; chapter 2b has its recorded gain.
#
# ## Appendix: the bus
#
# If the data do not fit, a loop can let the next batch travel while this one is computed, from *pinned* memory with `non_blocking=True`, which hides the shorter of the two times behind the longer.
# With a GPU the next cell says what its bus really carries.

# %%
buses = {"PCI Express 3.0, 16 lanes, at most": LANES}
if P.device.type == "cuda":
    buses["measured here"] = hardware.transfer_rate(P.device)
    buses["measured here, pinned"] = hardware.transfer_rate(P.device, pinned=True)
show_table(
    [
        (name, f"{rate / 1e9:.1f} GB/s")
        + tuple(f"{1e3 * len(data.train) * size / rate:.1f} ms" for size in (3136, 784))
        for name, rate in buses.items()
    ],
    header=("bus", "rate", f"{len(data.train):,} images as float32", "as uint8"),
)

# %% [markdown]
# ## Appendix: other machines
#
# How do other machines compare?
# `vaetl record-machine` makes every measurement of this chapter in at most ten minutes and keeps them in one file.
# In a cell of a notebook, on Colab and Kaggle as well, write `!vaetl record-machine`.
# If the machine is taken away, the same command goes on where it was.
#
# The next cell shows the lines that you measured in section 4, wide and pale, and on top of them such a machine's.
# The course brings one machine with two cores and no GPU yet, and the menu has yours as well once you have made its file.
# Look whose line is lower at your batch size, and where two lines cross.

# %%
own_files = sorted(Path().glob("machine-*.json"))  # of `vaetl record-machine`
milliseconds = {
    width: {
        name: (P.batches, [1e3 * t for t in times[name, width]])
        for name in configurations
    }
    for width in P.widths
}
widgets.machines(milliseconds, alt="02/machines", files=own_files)
plt.show()

# %% [markdown]
# The table says for each recorded machine what it computes and moves, and how long it takes for an epoch of 60,000 images.

# %%
show_table(
    widgets.machine_rows(own_files),
    header=(
        "machine",
        "computes (float32)",
        "moves",
        "epoch of the VAE, batch 512",
        "times as fast as a DataLoader",
    ),
)
