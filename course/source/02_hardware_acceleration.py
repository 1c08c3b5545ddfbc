# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "02"
#     title: Hardware acceleration
#     minutes: {reading: 55, exercises: 55, cpu: 2, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # Hardware acceleration
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - measure what a machine can compute and what it can move, and say which of the two limits a network;
# - time code on a device that computes while Python goes on;
# - say beforehand when an accelerator will help, and when it will not;
# - pull levers such as resident data, batch size, precision and compilation, and tell what each is worth on *your* machine;
# - train in several processes and get the same weights;
# - borrow a GPU on Colab or Kaggle, and lose nothing when it is taken away.
#
# You need chapter 1 for the training loop, FLOPs, batch and epoch.

# %% [markdown] slide="The claim: an accelerator is essential"
# ## The claim that this chapter looks at
#
# The first article behind this course, Vito Lavecchia's "Differenza tra Training e Transfer Learning nel machine learning", says, in our summary: *training takes enormous computing power, so that an accelerator, a GPU or a TPU, is essential; and some platforms make one available.*
# A card below has its own words.
# Of the platforms they are "mettono a disposizione", so that what they charge is our addition: Colab and Kaggle lend one free of charge, for a limited time.
#
# A **GPU**, or graphics processing unit, is a processor with thousands of simple arithmetic units.
# A **TPU**, or tensor processing unit, is one made for matrix products.
# The **CPU** is the processor that every computer has.
# We ask what an accelerator is essential *for*, how many times faster it is and for which network, and what can be gained without one.
#
# Every measurement below is made on *your* machine.
# Numbers from other machines are recorded runs or vendors' specifications, and are marked as such.

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
images: int | None = None  # images in one timed pass
repeats: int | None = None  # times that each measurement is repeated
batches: list | None = None  # batch sizes for the crossover
widths: list | None = None  # widths of the network for the crossover
with_compile: bool | None = None  # torch.compile too (it may take half a minute)
full_data: bool | None = None  # all of Fashion-MNIST, not 12,000 images

# %%
from vaetl_helpers.runtime import CourseError, advice, report, setup, show_table

P = setup(
    "02",
    profile,
    seed=seed,
    images=images,
    repeats=repeats,
    batches=batches,
    widths=widths,
    with_compile=with_compile,
    full_data=full_data,
)

# %%
import copy
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vaetl_helpers import hardware, nets, plots, study, vae, widgets
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.timeline import device_timeline
from vaetl_helpers.output import record_id, show_record
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import classification_loss, evaluate, fit

data = load("fashion-mnist", full=P.full_data, device=P.device)
train = data.train.subset(slice(0, P.images))
processor = torch.device("cpu")

# %% [markdown]
# The claim, on a card; what decides it is a step of a wide network on a GPU, against one thread of a CPU.

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
# ## 1. What can your machine do?
#
# We begin with the machine.
# Some devices say that they are available and then fail, so an accelerator is listed only after it has done real work, a convolution and a matrix product.

# %%
show_table(hardware.machine(), header=("this machine", ""))
print("To get an accelerator:", advice())

# %% [markdown]
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
# ### Exercise 1: the FLOPs of a layer · 5 minutes
#
# (This partly repeats chapter 1.)
#
# How much work is one *training step* of a linear layer without bias?
# In the forward pass a batch of inputs, `[batch, inputs]`, is multiplied by the weights, `[inputs, outputs]`.
# The backward pass has two products of the same size.
# One gives the gradient of the weights, the other the gradient of the layer's *input*, which the layer before needs.
# For the first layer nobody needs this second product.
# A multiplication and an addition count as 2 FLOPs.


# %% exercise="hardware.flops_linear"

# %% check="hardware.flops_linear"
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

# %% [markdown]
# ## 2. How to time a device
#
# A GPU works *asynchronously*: Python hands it an operation and goes on at once, while the device computes.
# If you stop the clock when Python returns, you have measured the handing over and not the work.
# So you have to **synchronise**, that is, wait until the device is done, before the clock starts and again before it stops.
# The first call, the *warm-up*, does not count, because it compiles, allocates memory and fills *caches*, small fast memories close to the arithmetic units.
# Finally, single times scatter, mostly upwards, so take the median.
#
# ### Exercise 2: time it · 12 minutes
#
# `work()` gives the device something to do, and `synchronise()` waits until all of it is done.
# Warm up first, then return the median seconds of one call of `work()` over `repeats` timed calls, with `time.perf_counter()` for the clock.
# The check pretends to be a device with a clock of its own, so the result does not depend on your machine.


# %% exercise="hardware.time_it"

# %% check="hardware.time_it"
time_it_checked = check("hardware.time_it", time_it)

# %% [markdown]
# Now time a matrix product on your device, with and without waiting.
# On a CPU the two times differ only by scatter, 10 or 20 %, because it has finished when Python goes on.
# On a GPU the second time is far too short to be true.

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

# %% [markdown]
# What happens on a GPU, a figure can show on any machine.
# It has two lanes of time, Python's and the device's, and a clock that is read at the orange lines.
# It is a model: each operation takes the same time to hand over and the same time to compute, the device does one after the other, and the queue between them is never full.
# When the clock starts, the device still has some earlier work to do (grey).
# Choose when the clock waits, move the times, and look for a clock that is too short, one that is too long, and one that is right.

# %% slide="Python hands work over and goes on"
device_timeline(
    alt="02/clocks",
    measured={"waiting": waiting, "without waiting": not_waiting},
    device=P.device.type,
)
plt.show()

# %% [markdown]
# The clock that never waits reads only how long the handing over took, 80 µs, and would read the same if the device computed for an hour.
# The one that waits at the end alone reads 550 µs, because it also pays for what was in the queue before.
# Only the clock that waits on both sides tells the true time, 410 µs.
# Now make the device quick, so that it needs less time for each operation than Python needs to hand it over.
# Then the device waits for Python, and a faster device would change nothing: that is the *overhead* of section 3.

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
# So a point is uncertain sideways.
#
# In the figure each colour is a network, with a dot for its small batch and a square for its large one.
# Look how far to the right each point lies, and how close it comes to the roofs.

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
recorded = {width: hardware.recorded_steps(width) for width in P.widths}
plots.crossover(
    own,
    recorded,
    alt="02/devices",
)
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
# The next figure shows a recorded machine in grey, and on top of it the lines that you have just measured.
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
        "recorded machine",
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
plots.crossover(
    measured_here,
    {width: predicted[width] | recorded[width] for width in P.widths},
    alt="02/crossover",
)
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
# That is slower than in section 1, where the memory was in use already and reading and writing were both counted.
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

# %% [markdown]
# ## 5. The levers, one by one
#
# The usual way to feed a network, found in nearly every tutorial, is a `DataLoader`.
# It takes one image at a time, makes a picture object of it, turns that into a tensor, and stacks the tensors to a batch.
# It is the right tool for images in files that do not fit into memory, but for 28 × 28 pixels it is needless work.
# We take it as the baseline, without the worker processes (`num_workers`) that would hide part of its cost on a machine with free cores.


# %%
class Pictures(Dataset):
    """One image at a time, as a picture through a transform: the usual way."""

    def __init__(self, images):
        self.images, self.labels, self.transform = (
            images.images[:, 0].cpu(),
            images.labels.cpu(),
            ToTensor(),
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index].numpy())), int(
            self.labels[index]
        )


class Levers:
    """A network and how to take it once over the images, with some levers pulled."""

    def __init__(
        self,
        build,
        loss_fn,
        size=128,
        resident=True,
        fused=True,
        channels_last=False,
        bf16=False,
        pieces=1,
    ):
        self.model = build().to(P.device)
        if channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.loss_fn, self.size, self.bf16, self.pieces = loss_fn, size, bf16, pieces
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), **({"fused": True} if fused else {})
        )
        self.loader = (
            None if resident else DataLoader(Pictures(train), size, shuffle=True)
        )

    def batches(self):
        if self.loader:
            return self.loader
        return batches_checked(
            train.images, train.labels, self.size, torch.Generator().manual_seed(0)
        )

    def run(self):
        for x, y in self.batches():
            self.optimizer.zero_grad()
            for part, part_y in zip(
                x.to(P.device).chunk(self.pieces), y.to(P.device).chunk(self.pieces)
            ):
                with torch.autocast(P.device.type, torch.bfloat16, enabled=self.bf16):
                    loss = self.loss_fn(self.model, part, part_y)[0]
                (loss * len(part) / len(x)).backward()
            self.optimizer.step()
        hardware.synchronise(P.device)


def compare(**levers):
    """Seconds of each lever's pass, in turns so that a slow moment hits all alike;
    after one pass that does not count.
    """
    seconds = {name: [] for name in levers}
    for turn in range(P.repeats + 1):
        for name, lever in levers.items():
            start = time.perf_counter()
            lever.run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


# %% [markdown]
# All levers are compared with the same baseline, the `DataLoader` with batch 128.
#
# - **Resident** data lie on the device as uint8, and are cast batch by batch, by *your* function of exercise 3.
# - **Batch 512** means fewer, larger steps, which changes training too, as chapter 1 showed.
# - **Fused** means that Adam makes its update in one operation instead of many.
#   All but the baseline and "not fused" have it.
# - **bf16** computes products in *bfloat16*, 16-bit numbers with the range of float32 but only 8 significant bits.
# - **Accumulated** takes each batch in four pieces, which saves memory and is not meant to be faster.
# - **Channels last**, for the CNN only, puts all channels of one pixel side by side in memory, here the 16 and 32 feature maps.
#   Many convolution routines read in that order.

# %%
predict("hardware.resident")

# %%
vae_loss = vae.vae_loss()
vae_seconds = compare(
    **{
        "DataLoader": Levers(vae.mlp_vae, vae_loss, resident=False, fused=False),
        "resident, not fused": Levers(vae.mlp_vae, vae_loss, fused=False),
        "resident": Levers(vae.mlp_vae, vae_loss),
        "resident, batch 512": Levers(vae.mlp_vae, vae_loss, size=512),
        "resident, bf16": Levers(vae.mlp_vae, vae_loss, bf16=True),
        "resident, accumulated": Levers(vae.mlp_vae, vae_loss, pieces=4),
        "resident, batch 512, bf16": Levers(vae.mlp_vae, vae_loss, size=512, bf16=True),
    }
)

# %%
cnn_seconds = compare(
    **{
        "DataLoader": Levers(
            nets.small_cnn, classification_loss, resident=False, fused=False
        ),
        "resident, not fused": Levers(nets.small_cnn, classification_loss, fused=False),
        "resident": Levers(nets.small_cnn, classification_loss),
        "resident, channels last": Levers(
            nets.small_cnn, classification_loss, channels_last=True
        ),
        "resident, bf16": Levers(nets.small_cnn, classification_loss, bf16=True),
    }
)


# %%
def ratios(seconds):
    """Each lever's speed against the DataLoader: an effect over turns, of logarithms."""
    base = np.log(seconds["DataLoader"])
    return {
        name: study.effect_of(base - np.log(values))
        for name, values in seconds.items()
        if name != "DataLoader"
    }


def lever_id(network, name):
    return record_id("02", "levers", network, name)


rows = []
for network, seconds in (("VAE", vae_seconds), ("CNN", cnn_seconds)):
    for name, e in ratios(seconds).items():
        id = lever_id(network, name)
        show_record(e.to_record(f"{network}: {name}", "times", id=id))
        rows.append((network, name, *e.times))
show_table(
    [
        (network, name, f"{ratio:.2f} [{low:.2f}, {high:.2f}]")
        for network, name, ratio, low, high in rows
    ],
    header=(
        "network",
        "levers",
        f"times as fast as the DataLoader (95 % interval, {P.repeats} turns)",
    ),
)

# %% slide="Pull the free levers first"
names = [f"{network}: {name}" for network, name, *_ in rows]
values = [ratio for _, _, ratio, _, _ in rows]
axis = plots.bars(
    dict(zip(names, values)),
    [""] * len(names),
    title="Levers together, against the DataLoader",
    x="times as fast as the DataLoader (mean and 95 % interval)",
    alt="02/levers",
)
ends = [
    [ratio - low for _, _, ratio, low, _ in rows],
    [high - ratio for _, _, ratio, _, high in rows],
]
axis.errorbar(values, names, xerr=ends, fmt="none", color="black", capsize=3)
axis.axvline(1, color="grey", linewidth=1)
axis.margins(y=0.03)
plt.show()

# %%
settle("hardware.resident", ratios(vae_seconds)["resident"].times[0])

# %% [markdown]
# A bar at 1 gains nothing.
# Each bar is a *set* of levers, so compare "resident, bf16" with "resident" to see bf16 alone.
# For two such bars the figure does not tell whether one is really faster, because their intervals can overlap although the same one won in every turn.
# Take the ratio of their times in each turn, from `vae_seconds` or `cnn_seconds`, and see whether the interval of its mean leaves out 1.
#
# Resident data gain most for the VAE.
# The CNN needs about twice as many FLOPs per image and, as the roofline shows for large batches, reaches a much lower rate.
# So computing takes most of its time and feeding only a small part, and what helps is a lever that raises the rate, such as channels last.
# Whether bf16 helps depends on the processor.
# If it is *emulated*, done by float32 units with conversions, it costs time.
#
# For comparison, here is a recorded run with more images.
# Our intervals cover the scatter within one run, not the difference between two runs, so a recorded value may well lie outside.

# %%
try:
    other = study.recorded("02")
except CourseError as error:
    print(error)
else:
    shown = {record["id"]: record["value"] for record in other["records"]}
    show_table(
        [
            (
                f"{network}: {lever}",
                f"{ratio:.2f}",
                f"{shown[lever_id(network, lever)]:.2f}",
            )
            for network, lever, ratio, _, _ in rows
            if lever_id(network, lever) in shown
        ],
        header=(
            "levers",
            "run here",
            f"recorded ({other['machine']}, {other['date']})",
        ),
    )

# %% [markdown]
# No run on a GPU has been recorded yet.
# If you have one, the bars above *are* that run.
#
# ### What does bfloat16 cost?
#
# Eight significant bits are few.
# Does the network still learn as well?
# We train the same CNN from the same seeds in float32 and in bfloat16, and compare the accuracy on validation images seed by seed.

# %%
predict("hardware.bf16")

# %%
accuracies = {"no": [], "bf16": []}
for number in range(3):
    for precision, values in accuracies.items():
        torch.manual_seed(P.seed + number)
        network = nets.small_cnn().to(P.device)
        fit(
            network,
            train,
            epochs=1,
            batch_size=64,
            seed=P.seed + number,
            precision=precision,
            quiet=True,
        )
        values.append(evaluate(network, data.validation)["accuracy"])
differences = [100 * (b - a) for a, b in zip(accuracies["no"], accuracies["bf16"])]
change, low, high = study.mean_interval(differences)
print(
    {
        name: f"mean accuracy {100 * sum(values) / 3:.1f} %"
        for name, values in accuracies.items()
    }
)
report(
    "accuracy of bf16 minus float32",
    change,
    "points",
    id="02/accuracy/bf16-float32",
    low=low,
    high=high,
    n=3,
    data=data.source,
)

# %%
settle("hardware.bf16", change)

# %% [markdown]
# If the interval includes 0, three seeds cannot tell the two apart.
# The weights and their updates stay in float32, while the products, and the activations that come out of them, are bfloat16.
# That is *mixed precision*.
#
# The older relative of bfloat16, *float16*, has more digits but a small range, so gradients vanish in it unless the loss is scaled up first.
# `fit(..., precision="fp16")` does that, on a GPU.
# By default `fit` takes bfloat16 if the device has it and float32 otherwise.
# The T4 that Colab and Kaggle lend has tensor cores for float16 and integers but not for bfloat16, so try `precision="fp16"` there.
#
# ### torch.compile
#
# `model.compile()` translates a network in place into code of its own, with fewer operations and less overhead.
# The translation itself takes a while, so whether it is worth it depends on how long you train.

# %%
os.environ["TORCHINDUCTOR_CACHE_DIR"] = (
    tempfile.mkdtemp()
)  # so that an earlier run does not flatter the start-up
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
if P.with_compile:
    plain, compiled = Levers(vae.mlp_vae, vae_loss), Levers(vae.mlp_vae, vae_loss)
    compiled.model.compile()
    start = time.perf_counter()
    try:
        compiled.run()
        first_pass = time.perf_counter() - start
        both = {
            name: statistics.median(values)
            for name, values in compare(plain=plain, compiled=compiled).items()
        }
        start_up, gain = first_pass - both["compiled"], both["plain"] - both["compiled"]
        steps = start_up / gain * -(-len(train) // 128) if gain > 0 else math.inf
        verdict = (
            f"repaid after {steps:,.0f} steps"
            if gain > 0.1 * both["plain"]
            else "no clear gain here"
        )
        share = both["compiled"] / both["plain"]
        print(
            f"start-up {start_up:.0f} s; a compiled step takes {share:.0%} of the "
            f"time of a plain one: {verdict}"
        )
    except Exception as error:  # no compiler, for example
        print(f"torch.compile does not work here: {str(error).splitlines()[0]}")
else:
    print("Not measured in this profile: its start-up alone may take half a minute.")

# %% [markdown]
# ### Exercise 4: accumulate gradients · 12 minutes
#
# What if a batch does not fit into the device's memory?
# Work it off in pieces and add up their gradients, so that there is one update for the whole batch.
# `loss_fn(logits, labels)`, here a plain PyTorch loss and not `fit`'s, returns the *mean* over its images.
# The last piece may be smaller than the others, and must count less.
# The result must equal the step on the whole batch.
# Return nothing.


# %% exercise="hardware.accumulate"

# %% check="hardware.accumulate"
accumulated_checked = check("hardware.accumulate", accumulated_step)

# %% [markdown]
# Compare one step on 100 images at once with one in pieces of 32, 32, 32 and 4.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
at_once, in_pieces = nets.mlp_classifier(16), nets.mlp_classifier(16)
in_pieces.load_state_dict(at_once.state_dict())
some, names = torch.rand(100, 1, 28, 28), torch.randint(0, 10, (100,))
for network, size in ((at_once, 100), (in_pieces, 32)):
    accumulated_checked(
        network,
        nn.functional.cross_entropy,
        torch.optim.SGD(network.parameters(), lr=0.1),
        some,
        names,
        size,
    )
gap = max(
    (a - b).abs().max().item()
    for a, b in zip(at_once.parameters(), in_pieces.parameters())
)
print("the same weights, up to rounding:", gap < 1e-6)

# %% [markdown]
# `fit(..., micro_batch=32)` does the same.
# When memory runs out in the middle of an epoch, `fit` begins the epoch again with pieces of half the size, and says so.
# A network with BatchNorm computes its statistics from each *piece*, so there the result is not quite the same.
#
# ## 6. Several devices
#
# Two devices can share a batch.
# Each has a copy of the network, takes *half* of the images, and computes the gradients of its half.
# Then the gradients are averaged, and both make the same update.
# That is **data parallelism**.
#
# A program that calls `fit` need not change, because `fit` shares out the batch and averages the gradients.
# A loop of your own would need PyTorch's `DistributedDataParallel`.
# Only the way to *start* it differs:
#
# ```
# torchrun --nproc-per-node 2 program.py         # two processes on this machine
# accelerate launch program.py                   # the same, as `accelerate config` was told
# ```
#
# It works without any GPU, so here are two processes on the CPU, beside the same program in one process.

# %%
predict("hardware.two_processes")

# %%
PROGRAM = """
import os, sys, torch
from safetensors.torch import save_file
from vaetl_helpers.data import load
from vaetl_helpers.training import fit

def work(kind):
    torch.manual_seed(0)
    norm = [torch.nn.BatchNorm1d(64)] if kind == "with BatchNorm" else []
    layers = torch.nn.Linear(784, 64), *norm, torch.nn.Tanh(), torch.nn.Linear(64, 10)
    model = torch.nn.Sequential(torch.nn.Flatten(), *layers)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    clothes = load("fashion-mnist").train.subset(slice(0, 1280))
    fit(model, clothes, epochs=2, batch_size=128, optimizer=sgd)
    return dict(model.named_parameters())

if __name__ == "__main__":
    for kind in ("plain", "with BatchNorm"):
        weights = work(kind)  # the same in all processes, so the first one writes them
        if os.environ.get("RANK", "0") == "0":
            save_file(weights, f"{sys.argv[1]}/{kind}.safetensors")
"""
folder = Path(tempfile.mkdtemp())
(folder / "program.py").write_text(PROGRAM)
launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
on_cpu = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
running = {}
ways = (("one", []), ("two", launcher))
if P.platform == "Binder":
    print(
        "Binder has too little memory for this cell: run it on your own machine, on "
        "Colab or on Kaggle."
    )
    ways = ()
for where, how in ways:  # both at once
    (folder / where).mkdir()
    command = [sys.executable, *how, "program.py", where]
    pipe = subprocess.PIPE
    running[where] = subprocess.Popen(
        command, cwd=folder, env=on_cpu, stdout=pipe, stderr=pipe, text=True
    )
for where, process in running.items():
    out, problem = process.communicate(timeout=300)
    print(f"{where}:\n{out if process.returncode == 0 else problem[-500:]}")

# %% [markdown]
# Only the first process prints its progress; both print the line about the data.
# For so small a network two processes are no faster, because at every step all gradients travel between them.
# Now look at the largest difference of any weight.


# %%
def largest_difference(kind):
    """Between the weights that one process left, and those of two."""
    files = [folder / where / f"{kind}.safetensors" for where in ("one", "two")]
    if not all(file.exists() for file in files):
        return math.nan  # the two processes could not be started here
    one, two = map(load_file, files)
    return max((one[name] - two[name]).abs().max().item() for name in two)


print(
    f"largest difference between one process and two: {largest_difference('plain'):.1e}"
)

# %%
settle("hardware.two_processes", largest_difference("plain"))

# %% [markdown]
# The weights agree up to rounding, because sums are taken in another order.
# A VAE needs one precaution more: draw the noise for the *whole* batch, then split it, or both processes would use the same noise.
# `fit` does that.
#
# One thing is *not* the same.
# **BatchNorm** takes mean and variance from the images that it sees, and each process sees only its half.

# %%
print(f"the same with BatchNorm: {largest_difference('with BatchNorm'):.1e}")

# %% [markdown]
# This difference is more than a hundred thousand times larger.
# It is not an error but another network, trained with slightly noisier statistics.
# `torch.nn.SyncBatchNorm` shares the statistics, at the cost of communication.
#
# **On Kaggle** a session has two T4 GPUs.
# `torchrun` cannot start a notebook, so Accelerate's `notebook_launcher` starts the processes from inside.
# Restart the kernel, and let this be the *first* cell that touches a GPU:
#
# ```
# from accelerate import notebook_launcher
#
# def work():
#     from vaetl_helpers import nets
#     from vaetl_helpers.data import load
#     from vaetl_helpers.training import fit
#     fit(nets.small_cnn(), load("fashion-mnist").train, epochs=5,
#         checkpoint="/kaggle/working/cnn.safetensors")
#
# notebook_launcher(work, num_processes=2)       # on a TPU: without num_processes
# ```
#
# **On a cluster**, when training outgrows one machine, the same program runs on several.
# With *Slurm*, the program that shares out a cluster, this uses four machines with four GPUs each (the file's first line is `#!/bin/bash`):
#
# ```
# #SBATCH --nodes=4 --ntasks-per-node=1 --gpus-per-node=4
# export HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun bash -c 'accelerate launch --num_machines 4 --num_processes 16 \
#     --machine_rank $SLURM_NODEID --main_process_ip $HEAD \
#     --main_process_port 29500 program.py'
# ```
#
# We have run two processes on a CPU, as above.
# The GPU, TPU and Slurm commands follow their documentation; we have not run them.
#
# ## 7. Borrow a GPU, and lose nothing
#
# | | Colab | Kaggle |
# |---|---|---|
# | open | the link at the top | the link at the top; sign in |
# | switch | Runtime > Change runtime type > T4 GPU | Settings > Accelerator > GPU T4 x2 |
# | condition | a Google account | an account verified by telephone; "Internet on" to install the course |
# | taken away | after some idle time, or when others need it | after some hours; a weekly allowance of GPU hours |
# | what stays | what you save in Google Drive | what lies in `/kaggle/working` when you press "Save version" |
# | to go on | mount the drive again | Add input > your notebook's output |
#
# Limits change, so look at each platform's own page.
# We have not run the course on either, but a test of it rebuilds the versions of PyTorch, NumPy and others that they have, and runs all notebooks with them.
#
# The first code cell of each notebook adds what the course needs there, and moves nothing that is installed.
# On Kaggle without the internet it looks for an attached data set with wheels.
# Make one on a machine with a network: `pip wheel --no-deps --wheel-dir wheels ADDRESS jaxtyping wadler-lindig`, with the address that stands in that cell.
# Chapters 4, 4b and 4c want the wheels of their extras, too, and full data sets are also found in attached ones.
#
# One thing never changes: *the machine will be taken away*.
# So save after every epoch, in a folder that outlives the machine, and be able to go on.
# Each platform has its own; `kept` gives you the path.

# %%
from vaetl_helpers.runtime import kept

print("a checkpoint that is kept:", kept("cnn.safetensors"))

# %% [markdown]
# On your own machine the path leads to the current folder.
# On Kaggle it leads to `/kaggle/working`, and if an attached output holds a file of that name, it is copied there first.
# On Colab it leads to the folder `vaetl` of your Google Drive, which you must mount before:
#
# ```
# from google.colab import drive
# drive.mount("/content/drive")
# torch.manual_seed(0)
# model = nets.small_cnn()
# fit(model, train, epochs=50, checkpoint=kept("cnn.safetensors"))
# ```
#
# After a disconnect run the same cells again, and `fit` finds the file and continues after the last whole epoch.
# The seed that you set before the network matters, because `fit` continues only the run that the file belongs to.
# With other weights at the start, another learning rate or other images it says what differs, and changes nothing.
#
# On Kaggle's P100 recent versions of PyTorch say that the GPU is available, and fail at the first operation.
# `setup` tries it first, and tells you.
#
# ### Exercise 5: what must a checkpoint hold? · 12 minutes
#
# Weights alone are not enough to go on *exactly* as if nothing had happened.
# Return a dict with four keys.
# `"model"` and `"optimizer"` hold their `state_dict()`, and `"epoch"` the number of finished epochs.
# `"rng"` holds `torch.get_rng_state()`, because dropout draws from it, and often shuffling too.
# Mind that a `state_dict` refers to the *same tensors* that the next step changes, so return copies.
# On a GPU dropout has a random state of its own, `torch.cuda.get_rng_state()`, which you leave out here.


# %% exercise="hardware.resume"

# %% check="hardware.resume"
checkpoint_checked = check("hardware.resume", checkpoint)

# %% [markdown]
# See the idea at work in `fit`, which saves weights, optimiser and finished epochs.
# Instead of keeping the random state it begins each epoch with a seed made of the run's seed and the epoch, which serves the same purpose.
#
# One network is trained for two epochs in one go.
# Another, with the same start, loses its machine in the middle of the second epoch.
# Then everything is built anew, as on a new machine, and `fit` is called again.


# %%
def loss_until_the_machine_goes(model, images, labels):
    """The loss of chapter 1, which fails at its 15th batch."""
    seen.append(len(images))
    if len(seen) == 15:
        raise ConnectionError("the machine was taken away")
    return classification_loss(model, images, labels)


seen, saved = [], folder / "run.safetensors"
few = data.train.subset(slice(0, 1280))  # ten batches an epoch


def new_network():
    """The same network each time it is called."""
    torch.manual_seed(P.seed)
    return nets.mlp_classifier(32)


whole = new_network()
fit(whole, few, epochs=2, quiet=True)
try:
    fit(
        new_network(),
        few,
        loss_until_the_machine_goes,
        epochs=2,
        checkpoint=saved,
        quiet=True,
    )
except ConnectionError as error:
    print(error)
again = new_network()
continued = fit(
    again,
    few,
    loss_until_the_machine_goes,
    epochs=2,
    checkpoint=saved,
    quiet=True,
)

# %% tags=["nbval-check-output"]
same = all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))
print("the interrupted run ended with the same weights, bit for bit:", same)

# %% [markdown]
# ## 8. The receipt
#
# What does one pass of the CNN cost here, with resident data, fused Adam and channels last, in float32?
# The receipt lists time and operations, the share of the measured peak, memory (the whole process so far), energy (measured on an NVIDIA GPU, *assumed* elsewhere), and the rent of a machine.

# %%
with hardware.EnergyMeter(30, P.device) as meter:
    final = nets.small_cnn().to(P.device, memory_format=torch.channels_last)
    final_history = fit(
        final,
        data.train.subset(slice(0, 4 * P.images)),
        epochs=1,
        precision="no",
        quiet=True,
    )
bill = hardware.receipt(final_history, final, train, meter, peak=peak[here])
bill.show("the CNN, one pass")
report("share_of_peak", bill.flops / bill.seconds / bill.peak, id="02/share_of_peak")

# %% [markdown] slide="So, was the claim right?"
# Look at the share of the peak: it says how much of what the cores in use *can* do the network really used.
#
# ## 9. So, was the claim right?
#
# *An accelerator is essential.*
# It depends, and now you can say on what.
#
# - **For large networks and large batches it helps a lot.**
#   The table of section 4 predicts by how much.
#   We have not measured it, but on a machine with a GPU the crossover figure does.
# - **For small batches it helps much less.**
#   In the same table every network gains less at batch 8 than at batch 512.
#   Where overhead decides, a faster processor only waits more, so look at your own crossover.
# - **Before you rent a GPU, pull the free levers.**
#   Your table says what resident data, the batch, precision and layout are worth on this machine.
# - *Some platforms make one available* is true, with a time limit.
#   So save after every epoch.

# %%
verdict_cards("acceleration", records=speedups)

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
# Two processes, batch 128 in all.
# How many images does each take per step?**
#
# <details><summary>128 each.</summary>
#
# Then a step would use 256 images, which is another training.
# In this course `batch_size` counts all processes together.
# </details>
#
# <details><summary>64 each.</summary>
#
# Right, and so the result is that of one process.
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
# - Several processes give the same weights if shares and noise are those of the whole batch, but BatchNorm differs.
# - After every epoch save weights, optimiser, epoch, and the random state or a seed for each epoch.

# %% [markdown]
# ## Further reading
#
# - Williams, Waterman and Patterson, *Roofline: an insightful visual performance model*, Communications of the ACM 52 (2009).
# - Micikevicius et al., *Mixed Precision Training* (2018), arXiv 1710.03740: why float16 needs a scaled loss.
# - Goyal et al., *Accurate, Large Minibatch SGD* (2017), arXiv 1706.02677: data parallelism on 256 GPUs, and BatchNorm in it.
# - PyTorch's *Performance Tuning Guide*, and Accelerate's documentation of `notebook_launcher`.
