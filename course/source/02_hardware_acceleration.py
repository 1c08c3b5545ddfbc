# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "02"
#     title: Hardware acceleration
#     minutes: {reading: 28, exercises: 27, cpu: 0.4, gpu: not yet measured}
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
# A **GPU**, or graphics processing unit, is a processor with thousands of simple arithmetic units.
# A **TPU**, or tensor processing unit, is one made for matrix products.
# The **CPU** is the processor that every computer has.
# We ask what an accelerator is essential *for*, and for which network.

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

from vaetl_helpers import hardware, nets, plots, study, vae, widgets
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.timeline import device_timeline
from vaetl_helpers.output import record_id, show_record
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import classification_loss

data = load("fashion-mnist", full=P.full_data, device=P.device)
processor = torch.device("cpu")

# %% [markdown]
# The claim in its own words, on a card; what decides it is a step of a wide network on a GPU, against one thread of a CPU.

# %%
question_cards("acceleration")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("02")

# %% [markdown]
# ## 1. How to time a device
#
# A GPU works *asynchronously*: Python hands it an operation and goes on at once, while the device computes.
# If you stop the clock when Python returns, you have measured the handing over and not the work.
#
# The figure has two lanes, Python's and the device's, and a clock that is read at the orange lines.
# When the clock starts, the device still has some earlier work to do (grey).
# Choose when the clock waits, and look for a reading that is too short, one too long, and one that is right.

# %% slide="Python hands work over and goes on"
device_timeline(alt="02/clocks")
plt.show()

# %% [markdown]
# The clock that never waits reads only how long the handing over took, 80 µs, and would read the same if the device computed for an hour.
# The one that waits at the end alone reads 550 µs, because it also pays for what was in the queue before.
# Only the clock that waits on both sides tells the true time, 410 µs.
# Now make the device quick, so that it needs less time for each operation than Python needs to hand it over.
# Then the device waits for Python, and a faster device would change nothing: that is the *overhead* of section 3.

# %% [markdown]
# The figure is a model: each operation takes the same time to hand over and the same time to compute, and the queue between the lanes is never full.
#
# So you have to **synchronise**, that is, wait until the device is done, before the clock starts and again before it stops.
# The first call, the *warm-up*, does not count, because it compiles, allocates memory and fills *caches*, small fast memories close to the arithmetic units.
# Finally, single times scatter, mostly upwards, so take the median.
#
# ### Exercise 1: time it · 12 minutes
#
# `work()` gives the device something to do, and `synchronise()` waits until all of it is done.
# Warm up first, then return the median seconds of one call of `work()` over `repeats` timed calls, with `time.perf_counter()` for the clock.
# The check pretends to be a device with a clock of its own, so the result does not depend on your machine.

# %% exercise="hardware.time_it"

# %% check="hardware.time_it" tags=["nbval-check-output"]
time_it_checked = check("hardware.time_it", time_it)

# %% [markdown]
# Now time a matrix product on your device, with and without waiting.
# On a CPU the two times differ only by scatter, 10 or 20 %, because it has finished when Python goes on.
# On a GPU the second time is far too short to be true.

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
# ## 2. What can your machine do?
#
# Some devices say that they are available and then fail, so an accelerator is listed only after it has done real work, a convolution and a matrix product.

# %%
show_table(hardware.machine(), header=("this machine", ""))
print("To get an accelerator:", advice())

# %% [markdown]
# Every measurement is made on *your* machine, and numbers from other machines are marked as such.
#
# Two rates describe a processor:
#
# - how fast it *computes*, in **FLOPs per second**, at its best in a product of two large matrices;
# - how fast it *moves* numbers between its memory and its arithmetic units, in **bytes per second**, at its best in a large copy.
#   This rate is called the *bandwidth*.
#
# A product of two $n\times n$ matrices takes $2n^3$ FLOPs, because each of its $n^2$ results needs $n$ multiplications and $n$ additions.
# A copy reads and writes every byte once.
# We measure both rates on every device.

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
data_sheets = {
    "NVIDIA T4 (Colab, Kaggle): data sheet": (8.1e12, 320e9),
    "NVIDIA H100 SXM: data sheet": (67e12, 3350e9),
}
used = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
rates = {
    f"{name}: measured here, {used}": (peak[name], moved[name]) for name in present
} | data_sheets
show_table(
    [
        (
            name,
            f"{flops / 1e9:,.0f} GFLOP/s",
            f"{move / 1e9:,.0f} GB/s",
            f"{flops / move:.0f}",
        )
        for name, (flops, move) in rates.items()
    ],
    header=("device", "computes (float32)", "moves", "FLOPs per byte"),
)
report("peak_gflops", peak[list(present)[-1]] / 1e9, "GFLOP/s", id="02/peak_gflops")
report("bandwidth", moved[list(present)[-1]] / 1e9, "GB/s", id="02/bandwidth")

# %%
settle("hardware.peak", peak[list(present)[-1]] / 1e9)

# %% [markdown]
# The last column is the first rate divided by the second: the number of operations the device can do while it fetches one byte.
# So a computation that does little with each byte leaves the arithmetic units idle, as section 3 will show.
#
# A vendor's specification is a peak that real programs do not reach, while ours is measured.
# Both are for 32-bit numbers.
# NVIDIA's data-centre GPUs since 2017 also have *tensor cores*, units for products of 16-bit numbers that are several times as fast.
#
# ### Exercise 2: the FLOPs of a layer · 5 minutes
#
# How much work is one *training step* of a linear layer without bias?
# In the forward pass a batch of inputs, `[batch, inputs]`, is multiplied by the weights, `[inputs, outputs]`.
# The backward pass has two products of the same size.
# One gives the gradient of the weights, the other the gradient of the layer's *input*, which the layer before needs.
# For the first layer nobody needs this second product.
# A multiplication and an addition count as 2 FLOPs.

# %% exercise="hardware.flops_linear"

# %% check="hardware.flops_linear" tags=["nbval-check-output"]
flops_linear_checked = check("hardware.flops_linear", flops_linear)

# %% [markdown]
# Compare your function with PyTorch's own counter on the fully connected network of chapter 1, 784 → 128 → 10, with batch 128.
# The counter leaves out the biases, as we do.

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
# A device that computes $F$ FLOPs per second and moves $B$ bytes per second needs at least FLOPs/$F$ seconds for the step, and at least bytes/$B$ seconds.
# So a step of intensity $I$ can reach at most
#
# $$\text{rate} \le \min(F,\; B \cdot I) .$$
#
# Drawn over $I$, this is a slanted roof, the bandwidth, that meets a flat one, the peak.
# The picture is called the **roofline** (Williams, Waterman and Patterson 2009).
# Under its slanted part a faster arithmetic unit does not help.
#
# We place three networks of this course under it, each with a small and a large batch.
# The VAE is that of chapter 3, a network that encodes an image, adds noise, and decodes it.
# FLOPs are counted, but bytes are only estimated, as if there were no cache.
# We charge four numbers for each activation and ten for each weight, which is read forward and backward and has a gradient and Adam's numbers.
# So a point may really lie further left or right than it is drawn.
#
# In the figure each colour is a network, and its arrow leads from the small batch to the large one.
# Look how far to the right each arrow goes, and how close it comes to the roofs.

# %%
predict("hardware.batch")

# %%
networks = {
    "MLP": (nets.mlp_classifier, classification_loss),
    "CNN": (nets.small_cnn, classification_loss),
    "VAE": (vae.mlp_vae, vae.vae_loss()),
}
points, needs = {name: [] for name in networks}, {}
for name, (build, loss_fn) in networks.items():
    for size in (8, 512):
        x, y = torch.rand(size, 1, 28, 28), torch.zeros(size, dtype=torch.long)
        flops, traffic = (
            hardware.count_flops(build(), x, y, loss_fn),
            hardware.bytes_moved(build(), x),
        )
        seconds = hardware.time_it(
            hardware.training_step(build(), loss_fn, size, P.device),
            P.device,
            P.repeats,
        )
        points[name].append((flops / traffic, flops / seconds))
        needs[name, size] = flops, traffic, seconds

# %% slide="Where our networks lie under the roof"
here = list(present)[-1]
plots.roofline(
    points,
    moved[here],
    peak[here],
    title=f"This machine ({here}, {used}): arrows from batch 8 to batch 512",
    alt="02/roofline",
)
plt.show()

# %%
settle("hardware.batch", needs["MLP", 512][2] / needs["MLP", 8][2])

# %% [markdown]
# The large batch lies further right than the small one, because the weights are read once and used for more images.
# In a forward pass, for example, a weight of 4 bytes takes part in 2 FLOPs per image, which is half a FLOP per byte for one image and 256 for a batch of 512, if nothing but the weights had to be moved.
# A point that touches the slanted roof is limited by memory, and one near the flat roof by computing.
# A small network may even lie above the slanted roof if its weights fit into the processor's cache, which is faster than the memory that we measured.
# A point well below both roofs is limited by something else: a layer whose shape suits the processor badly, or *overhead*, the microseconds that Python and PyTorch need for each operation, however small it is.
# Make the arithmetic 50 times faster and the overhead stays: what was 2 % of a step is then half of it.
#
# ## 4. When does an accelerator help?
#
# So we expect an accelerator to help large networks and large batches a lot, and small ones hardly at all.
# If so, the lines of two devices cross somewhere.
# We measure the time of a training step over the batch size, for a narrow and a wide network, on every device that is here.
#
# There is a small version of the question on *every* machine with two cores or more: does it pay to let a second core help?
# For each operation the cores have to agree on who does what, and that is the same trade of overhead against speed.

# %%
predict("hardware.essential")

# %%
threads = torch.get_num_threads()
configurations = {"CPU, 1 thread": (processor, 1)}
if (os.cpu_count() or 1) > 1:
    configurations[f"CPU, {os.cpu_count()} threads"] = (processor, os.cpu_count())
if P.device.type != "cpu":
    configurations[P.device.type.upper()] = (P.device, threads)
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
for axis, width in zip(axes, P.widths):
    lines = [f"width {width:,}, quickest here:"]
    for end in (0, -1):
        quickest = min(own[width], key=lambda name: times[name, width][end])
        lines.append(f"{quickest} (batch {P.batches[end]:,})")
    axis.set_title("\n".join(lines))
plt.show()

# %% [markdown]
# Read the left end first.
# From 16 to 64 images the work is four times as large, but the time is not.
# What does not grow with the batch is paid once per step.
# In the narrow network that is overhead.
# In the wide one it is mostly memory, because its 0.8 million weights, their gradients and Adam's numbers are some 33 MB to move, whatever the batch.
# Then compare the lines: a device pays where its line is the lower one.
# For a narrow network and small batches it may not pay, and then the honest answer to "is an accelerator essential?" is *no, it would not even help*.
#
# How do other machines compare?
# `vaetl record-machine` makes every measurement of this chapter in at most ten minutes and keeps them in one file.
# In a cell of a notebook, on Colab and Kaggle as well, write `!vaetl record-machine`.
# If the machine is taken away, the same command goes on where it was.
#
# The next cell shows such a machine in grey, and on top of it the lines that you have just measured.
# The course brings one machine with two cores and no GPU yet, and the menu has yours as well once you have made its file.
# Look whose line is lower at your batch size, and where two lines cross.

# %%
own_files = sorted(Path().glob("machine-*.json"))  # of `vaetl record-machine`
widgets.machines(
    {
        width: {
            name: (P.batches, [1e3 * t for t in times[name, width]])
            for name in configurations
        }
        for width in P.widths
    },
    "Milliseconds per step over the batch size, for two widths: dashed grey lines of "
    "a recorded machine, and thick lines of this one.",
    own_files,
)
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

# %% [markdown]
# The table says for each recorded machine what it computes and moves, and how long it takes for an epoch of 60,000 images.
#
# If the machine is idle, a second thread is a lever: `torch.set_num_threads(os.cpu_count())`.
# The course leaves one core alone all the same, because beside one busy program all threads wait for the slowest, and a step can take ten times as long.

# %% [markdown]
# How sure is a ratio of two times?
# We measure both in turn, several times, and take the logarithm of each turn's ratio: twice as fast and half as fast then lie equally far from 0.


# %%
def speedup(width, where):
    """How many times as fast as one thread, at the largest batch: an effect over turns."""
    size, ratios = P.batches[-1], []
    for _ in range(P.repeats):
        slow = hardware.step_seconds(width, size, processor, 1, repeats=4)
        ratios.append(slow / hardware.step_seconds(width, size, *where, repeats=4))
    return study.effect_of(np.log(ratios))


report_rows, speedups = [], []
for width in P.widths:
    one = times["CPU, 1 thread", width]
    for name in list(configurations)[1:]:
        gain = [a / b for a, b in zip(one, times[name, width])]
        first = next((size for size, g in zip(P.batches, gain) if g > 1.1), None)
        pays = f"from batch {first}" if first else "at none of these batches"
        report_rows.append((width, name, pays, f"{gain[0]:.2f}", f"{gain[-1]:.2f}"))
        size = f"width {width}", f"batch {P.batches[-1]}"
        id = record_id("02", "speedup", name, *size)
        measured = speedup(width, configurations[name])
        title = f"speedup of {name}, {', '.join(size)}"
        speedups.append(measured.to_record(title, "times", id=id))
        show_record(speedups[-1])
show_table(
    report_rows,
    header=(
        "width",
        "compared with 1 thread",
        "more than 10 % faster",
        f"at batch {P.batches[0]}",
        f"at batch {P.batches[-1]}",
    ),
    records=hardware.step_records(times, P.batches),
)

# %%
settle("hardware.essential")

# %% [markdown]
# ### Estimate before you rent
#
# You can roughly predict the time of a step on a device that you do not have: $t \approx \text{overhead} + \max(\text{FLOPs}/F,\ \text{bytes}/B)$.
# Take $F$ and $B$ from its data sheet and the overhead from your narrowest network at your smallest batch.
# This assumes that Python is as fast there.

# %%
overhead = times["CPU, 1 thread", P.widths[0]][0]
F, B = data_sheets["NVIDIA T4 (Colab, Kaggle): data sheet"]
predicted = {
    key: overhead + max(flops / F, traffic / B)
    for key, (flops, traffic, _) in needs.items()
}
show_table(
    [
        (
            name,
            size,
            f"{1e3 * seconds:.2f} ms",
            f"{1e3 * predicted[name, size]:.2f} ms",
            f"{seconds / predicted[name, size]:.1f}",
        )
        for (name, size), (_, _, seconds) in needs.items()
    ],
    header=("network", "batch", "measured here", "predicted for a T4", "times as fast"),
)

# %% [markdown]
# This is a prediction, not a measurement, and an optimistic one, because it takes the vendor's peak for granted.
# Yet it shows the pattern: in each network the large batch gains more than the small one.
#
# Now draw it for all batch sizes, on top of your own line.
# The grey lines are other machines.
# For the two GPUs of the data sheets they are predicted by the formula above, and for the machine of our recorded run by the formula with the rates that were measured there.
# Look for the batch size from which a grey line leaves yours: left of it the device would not help you.

# %% slide="Estimate before you rent"
rates_of = {
    "T4, predicted": data_sheets["NVIDIA T4 (Colab, Kaggle): data sheet"],
    "H100, predicted": data_sheets["NVIDIA H100 SXM: data sheet"],
    "our 2 cores, predicted": (
        1e9 * study.recorded_value("02", "02/peak_gflops")["value"],
        1e9 * study.recorded_value("02", "02/bandwidth")["value"],
    ),
}
predicted = {
    width: {
        name: (
            P.batches,
            [
                hardware.predicted_step(width, size, overhead, *rates)
                for size in P.batches
            ],
        )
        for name, rates in rates_of.items()
    }
    for width in P.widths
}
measured_here = {
    width: {"this CPU, measured": (P.batches, times["CPU, 1 thread", width])}
    for width in P.widths
}
plots.crossover(measured_here, predicted, alt="02/crossover")
plt.show()

# %% [markdown]
# We gave every machine the overhead of this one's narrowest network, so that in the left panel all lines begin at about the same height.
# There they stay together while the batch is small, and a GPU would hardly help.
# For the wide network they part at once, since there is enough to compute and to move.
# A faster GPU than the T4 changes little as long as both only wait for Python.
#
# ### The way to the device
#
# An accelerator has memory of its own, so the data must first travel there, over a bus that is slower than either memory.
# One $28\times 28$ image has 3,136 bytes as float32, but only 784 as uint8, a quarter.
# The table shows how long the training images travel.

# %%
rate = hardware.transfer_rate(P.device)
show_table(
    [
        (
            "as float32",
            f"{len(data.train) * 3136 / 1e6:.0f} MB",
            f"{1e3 * len(data.train) * 3136 / rate:.1f} ms",
        ),
        (
            "as uint8",
            f"{len(data.train) * 784 / 1e6:.0f} MB",
            f"{1e3 * len(data.train) * 784 / rate:.1f} ms",
        ),
    ],
    header=(
        f"{len(data.train):,} images",
        "size",
        f"to the {P.device.type.upper()}, at {rate / 1e9:.1f} GB/s",
    ),
)

# %% [markdown]
# Without an accelerator nothing travels, and the table shows a copy into newly allocated memory.
# That is slower than in section 2, where the memory was in use already and reading and writing were both counted.
#
# To send the data once is cheap.
# But a loop that sends every batch anew pays again in every epoch, and waits each time.
# So if the data fit, send them *once*, as uint8, and leave them there, as this course's `ImageSet` does.
#
# ### Exercise 3: resident data · 10 minutes
#
# `images` (uint8, `[n, 1, height, width]`) and `labels` lie on the device.
# Yield one epoch of batches in random order, `torch.randperm(n, generator=generator)`.
# Each batch is a pair of images as *floats in [0, 1]* and labels, and the last one holds what is left.
# Convert each batch by itself and never the whole set, because as floats it would take four times the memory.

# %% exercise="hardware.batches_resident"

# %% check="hardware.batches_resident"
batches_checked = check("hardware.batches_resident", resident_batches)

# %% [markdown] slide="So, was the claim right?"
# ## 5. So, was the claim right?
#
# *An accelerator is essential.*
# It depends, and now you can say on what.
#
# - **For large networks and large batches it should help a lot.**
#   That is what the table of section 4 predicts.
#   We have not measured it, but on a machine with a GPU the figure of the crossover does.
# - **For small batches it should help much less.**
#   In the same table every network gains less at batch 8 than at batch 512.
#   Where overhead decides, a faster processor only waits longer, so look where the lines cross on your machine.
# - *Some platforms make one available* is true.
#   Colab and Kaggle lend one for a limited time, and free of charge, of which the article says nothing.
#
# What can be gained without one, and how to keep your work on a borrowed one, is the subject of [chapter 2b](02b_levers_and_borrowed_gpus.ipynb).

# %%
verdict_cards("acceleration", records=speedups)

# %% [markdown]
# ## An open task
#
# For which network would *you* rent a GPU?
# Give `widths` and `batches` numbers of your own, and look for the place from which a second core, or the GPU if there is one, pays on this machine.
# Write down the batch size at which this happens for three widths, and whether you think that overhead, memory or computing decides it.
# The task is answered when your explanation has named beforehand on which side a fourth width would lie.

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
# - One of three things limits you: the rate of computing, the rate of moving, or the overhead of each operation.
# - To time a device, warm up, synchronise, and take the median.
# - Data that fit into memory belong there, as uint8, once.
#
# Go on with [chapter 2b](02b_levers_and_borrowed_gpus.ipynb), *Levers, and borrowed GPUs*, or with [chapter 3](03_variational_autoencoder.ipynb).

# %% [markdown]
# ## Further reading
#
# - Williams, Waterman and Patterson, *Roofline: an insightful visual performance model*, Communications of the ACM 52 (2009).
# - PyTorch's *Performance Tuning Guide*.
