# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "02b"
#     title: Levers, and borrowed GPUs
#     minutes: {reading: 28, exercises: 32, cpu: 0.6, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # Levers, and borrowed GPUs
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - pull levers such as resident data, batch size and precision, and tell what each is worth on *your* machine;
# - train in several processes and get the same weights;
# - borrow a GPU, and lose nothing when it is taken away.
#
# You need [chapter 2](02_hardware_acceleration.ipynb).

# %% [markdown]
# ## The question
#
# Chapter 2 asked when an accelerator helps.
# Before you rent one, what can be had for nothing on the machine that is there?
# And when you do borrow one, how do you keep your work?

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
with_compile: bool | None = None  # torch.compile too (it may take half a minute)
full_data: bool | None = None  # all of Fashion-MNIST, not 12,000 images

# %%
from vaetl_helpers.runtime import report, setup, show_table

P = setup(
    "02b",
    profile,
    seed=seed,
    images=images,
    repeats=repeats,
    with_compile=with_compile,
    full_data=full_data,
)

# %%
import copy
import json
import math
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from vaetl_helpers import hardware, hardware_comparisons, nets, plots, study
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.exercises.hardware import gap_after_resuming, shared_backward_source
from vaetl_helpers.machines import compiling
from vaetl_helpers.machines.steps import NETWORKS, Levers, Pass, seconds_in_turns
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import classification_loss, evaluate, fit

data = load("fashion-mnist", full=P.full_data, device=P.device)
train = data.train.subset(slice(0, P.images))

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("02b")

# %% [markdown]
# ## 1. The levers, one by one
#
# The usual way to feed a network is a `DataLoader`, which takes one image at a time, makes a picture object of it, turns that into a tensor, and stacks the tensors to a batch.
# For 28 × 28 pixels that is needless work, and it is our baseline, with batch 128 and Adam without options.
# Those that this machine has are compared with it, and each is a line of code.
#
# | lever | what changes | its line |
# |---|---|---|
# | **worker** | a second process makes the pictures while the first one computes | `DataLoader(pictures, 128, shuffle=True, num_workers=1)` |
# | **ready** | the pictures have been turned into tensors beforehand, at the cost of four times the memory | `DataLoader(TensorDataset(images, labels), 128, shuffle=True)` |
# | **resident** | the whole set lies on the device as uint8, and a batch is cut out at once | `images.index_select(0, rows).div(255)` |
# | **fused** | Adam makes its update in one operation instead of many, so that the overhead is paid once | `Adam(model.parameters(), fused=True)` |
# | **channels last** | all channels of one pixel lie side by side, so that pooling and filters read them in one go | `model.to(memory_format=torch.channels_last)` |
# | **bf16** | products are computed in *bfloat16*, 16-bit numbers with the range of float32 but only 8 significant bits | `with torch.autocast(device.type, torch.bfloat16):` around the loss |
# | **fp16** | on an NVIDIA GPU only: the same in *float16*, whose small range needs a scaled loss | the loop with `GradScaler`, below |
# | **compiled** | the network is translated into code of its own, with fewer operations | `model.compile()` |
# | **batch 512** | fewer, larger steps, which is *another training*, as chapter 1b showed | `batch_size=512` |
# | **accumulated** | a batch is taken in four pieces, which saves memory and costs time | exercise 1 |
#
# Resident data come with fused Adam, unless the row says "not fused".
#
# ### What does your processor do with bfloat16?
#
# PyTorch says of many processors that they support bfloat16, but that promises no speed.
# Units for whole products of bfloat16 *matrices*, which Intel calls AMX, make them quick.
# A processor may have only the older `avx512_bf16` or neither, and then bfloat16 can be slower than float32.
# So read a CPU's flags, where the system tells them, and time one product of two large matrices in each type.

# %%
has_fp16 = P.device.type == "cuda"
side = 1024 if P.device.type == "cpu" else 4096
dtypes = [torch.float32, torch.bfloat16] + [torch.float16] * has_fp16
rates = {dtype: hardware.peak_flops(P.device, side, dtype) for dtype in dtypes}
flags = hardware.bf16_units() if P.device.type == "cpu" else {}
show_table(
    flags
    | {str(dtype): f"{2e3 * side**3 / rate:.1f} ms" for dtype, rate in rates.items()},
    header=(f"{side} x {side} on {P.device.type}", ""),
)

# %%
predict("hardware.resident")

# %%
levers = {
    "DataLoader": Levers(resident=False, fused=False),
    "DataLoader, worker": Levers(resident=False, fused=False, workers=1),
    "DataLoader, ready": Levers(resident=False, fused=False, ready=True),
    "resident, not fused": Levers(fused=False),
    "resident": Levers(),
    "resident, channels last": Levers(channels_last=True),
    "resident, bf16": Levers(bf16=True),
    "resident, batch 512": Levers(batch_size=512),
    "resident, batch 512, bf16": Levers(batch_size=512, bf16=True),
    "resident, accumulated": Levers(pieces=4),
}
of_cnn = ["DataLoader", "resident", "resident, channels last", "resident, bf16"]
if has_fp16:
    levers["resident, fp16"] = Levers(fp16=True)
    of_cnn.append("resident, fp16")
pulled = {
    "VAE": {name: one for name, one in levers.items() if "channels" not in name},
    "CNN": {name: levers[name] for name in of_cnn},
}
if P.platform == "Binder":
    del pulled["VAE"]["DataLoader, worker"]  # a process more is too much there
seconds = {}
for network in ("VAE", "CNN"):
    passes = {
        name: Pass(NETWORKS[network], train, one)
        for name, one in pulled[network].items()
    }
    seconds[network] = seconds_in_turns(passes, P.repeats)
del passes  # and with them the worker


# %%
def ratios(seconds):
    """Each lever's speed against the DataLoader: an effect of logarithms over turns."""
    base = np.log(seconds["DataLoader"])
    return {
        name: study.effect_of(base - np.log(values))
        for name, values in seconds.items()
        if name != "DataLoader"
    }


gains = {network: ratios(of_network) for network, of_network in seconds.items()}

# %% slide="Pull the free levers first"
titles = {
    network: hardware_comparisons.free_levers(network, of_network)
    for network, of_network in gains.items()
}
plots.gains(
    {
        network: {name: effect.times for name, effect in of_network.items()}
        for network, of_network in gains.items()
    },
    titles=titles,
    x="times as fast as the DataLoader (95 %)",
    alt="02b/levers",
)
plt.show()

# %%
settle("hardware.resident", gains["VAE"]["resident, not fused"].times[0])

# %% [markdown]
# Each row is a *set* of levers on your machine, a point with its 95 % interval.
# Titles count only rows that leave training as it is.
# A point on the dashed line at 1 gains nothing, and where the interval holds 1, no gain has been shown.
# What one lever does you see, roughly, by comparing two rows that differ in it alone; an appendix says how to do it exactly.
#
# Read the VAE's rows of the worker, of ready tensors and of resident data.
# Most of what resident data gain is had by not making a picture of each image; the worker needs a core of its own for it, and on a machine whose cores are busy it gains little or nothing.
# The CNN needs about twice as many FLOPs per image and reaches a much lower rate.
# So computing takes most of its time, and on the recorded machines channels last added most, because pooling, a large part of the step, becomes several times as quick.
#
# `torch.compile` has no row, because its start takes longer than all rows together.
# Recorded on the machine without AMX, a start of these networks took 11 to 13 s, and after it a step of the VAE ran at 0.96 [0.94, 0.98] of its plain speed, and one of the CNN with channels last at 0.47 [0.43, 0.51].
# Compiling is strong in chains such as `((x + 1) * 2 - 3).relu()`, which on 16 million numbers ran four times as fast, because it moves them once and not four times.
# The appendix says what slows the CNN, and can time the VAE here.
#
# The table has them beside two recorded machines, with AMX and without.

# %%
others = hardware_comparisons.recorded_levers()  # on two other machines
hardware_comparisons.show_levers(gains, others, P.repeats)

# %%
plots.changes(
    hardware_comparisons.bf16_elsewhere(others),
    title="bf16: a loss without AMX, a gain with it",
    x="the VAE, times as fast as the DataLoader (95 %)",
    labels=("without bf16", "with bf16"),
    alt="02b/two_machines",
)
plt.show()

# %% [markdown]
# The same line of code moves the two machines in opposite directions.
# AMX turns 3.11 into 5.06 at batch 512, the best set of all, while the machine that has only `avx512_bf16` falls from 2.73 to 1.65.
# So for the VAE bf16 pays where the processor has units for whole matrices, and the products that you timed above say beforehand which of the two machines yours resembles.
# They say less of the CNN, whose time goes into other operations, too: by bf16 it went from 1.24 to 1.15 without AMX and from 1.35 to 1.49 with it, and in some of our runs without AMX it gained.
#
# ### What does bfloat16 cost?
#
# Does the network still learn as well at the beginning, where it learns most?
# We train the same CNN, with channels last, from the same six seeds in float32 and in bfloat16, for one short epoch, and compare the accuracy on validation images seed by seed.

# %%
predict("hardware.bf16")

# %%
reached = {"no": [], "bf16": []}
for number in range(6):
    for precision in ("no", "bf16"):
        torch.manual_seed(P.seed + number)
        network = nets.small_cnn().to(P.device, memory_format=torch.channels_last)
        fit(
            network,
            data.train.subset(slice(0, 4 * P.images // 3)),
            epochs=1,
            batch_size=32,
            seed=P.seed + number,
            precision=precision,
            quiet=True,
        )
        reached[precision].append(100 * evaluate(network, data.validation)["accuracy"])
differences = np.subtract(reached["bf16"], reached["no"])
print(
    f"after {4 * P.images // 3 // 32} steps: float32 {np.mean(reached['no']):.1f} %, "
    f"bfloat16 {np.mean(reached['bf16']):.1f} % of the validation images right"
)
change, low, high = study.mean_interval(differences)
report(
    "accuracy of bf16 minus float32",
    change,
    "points",
    id="02/accuracy/bf16-float32",
    low=low,
    high=high,
    n=len(differences),
    data=data.source,
)

# %%
if low > -1 and high < 1:
    found = "same"  # the whole interval lies within a point
elif high < -1:
    found = "loses"
else:
    found = "gains" if low > 1 else "open"
settle("hardware.bf16", found)

# %% [markdown]
# The bet is settled by the whole interval and not by its middle: only if both ends lie within a point of 0 have these seeds shown that the accuracy stays.
# It holds for these first steps; in a whole training small errors could add up, so compare your own at its end.
# The weights and their updates stay in float32, while the products, and the activations that come out of them, are bfloat16.
# That is *mixed precision*.
#
# ### Why does float16 need a scaled loss?
#
# float16 has 11 significant bits, three more than bfloat16, but its smallest number is 0.00000006, and a gradient that is much smaller becomes 0.
# Here is one of 0.00000001, first as it is, then from a loss that was multiplied by 65,536.


# %% tags=["nbval-check-output"]
def tiny_gradient(dtype, factor=1.0):
    """The gradient 1e-8 of a weight whose product is computed in a 16-bit type."""
    weight = torch.ones(1, 1, requires_grad=True)
    with torch.autocast("cpu", dtype):
        product = nn.functional.linear(torch.tensor([[1e-4]]), weight)
    loss = 1e-4 * product.float().sum()
    (factor * loss).backward()
    return weight.grad.item() / factor


print(f"bfloat16:         {tiny_gradient(torch.bfloat16):.1e}")
print(f"float16:          {tiny_gradient(torch.float16):.1e}")
print(f"float16, scaled:  {tiny_gradient(torch.float16, 2.0**16):.1e}")

# %% [markdown]
# The chain rule multiplies every gradient by the factor of the loss, which lifts it into float16's range, and the division comes afterwards, in float32.
# But with too large a factor gradients become infinite.
# So `GradScaler` looks for the factor while it trains, and four of its lines are all that the loop of chapter 1 needs.
# We let it begin far too high.

# %%
few = data.train.subset(slice(0, 1280)).to("cpu")  # ten batches
torch.manual_seed(P.seed)
network = nets.mlp_classifier(32)
adam = torch.optim.Adam(network.parameters())
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)  # on a GPU: "cuda"
factors = []
for images, labels in few.batches(128, seed=P.seed):
    with torch.autocast("cpu", torch.float16):  # products in float16
        loss = nn.functional.cross_entropy(network(images), labels)
    adam.zero_grad()
    scaler.scale(loss).backward()  # gradients of factor times loss
    scaler.step(adam)  # divides them by the factor; no update where one is infinite
    scaler.update()  # halves the factor in that case
    factors.append(f"{scaler.get_scale():,.0f}")
print("the factor after each step:", *factors, sep="\n  ")

# %% [markdown]
# A step whose gradients overflow is left out, and the factor halved; after 2,000 good steps it is doubled as a trial.
# bfloat16 has float32's range, so `autocast` alone is enough.
#
# The T4 that Colab and Kaggle lend has tensor cores for float16 and none for bfloat16.
# Yet `torch.cuda.is_bf16_supported()` says True there, because by default it counts emulation, too; so it stands in `torch/cuda/__init__.py` of PyTorch 2.15.
# Ask with `including_emulation=False`: then an NVIDIA GPU needs compute capability 8, and a T4 has 7.5.
# `fit` asks so, and falls back to float32, so on a T4 say `fit(..., precision="fp16")`, which runs the loop above.
#
# ### Exercise 1: accumulate gradients · 12 minutes
#
# What if a batch does not fit into the device's memory?
# Work it off in pieces and add up their gradients, so that there is one update for the whole batch.
# A piece's activations stay in memory until its `backward()`, so mind when you call it.
# `loss_fn(logits, labels)`, here a plain PyTorch loss and not `fit`'s, returns the *mean* over its images.
# The last piece may be smaller than the others, and must count less.
# The result must equal the step on the whole batch.

# %% exercise="hardware.accumulate"

# %% check="hardware.accumulate" tags=["nbval-check-output"]
accumulated_checked = check("hardware.accumulate", accumulated_step)

# %% [markdown]
# Compare one step on 100 images with one in pieces of 32, 32, 32 and 4.

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
# And the memory?
# Count what the forward passes of a CNN keep for its backward passes, at the moment when it is most.

# %%
cnn = nets.small_cnn()
for size in (100, 32):
    meter = hardware.ActivationMeter(cnn)
    with meter:
        accumulated_checked(
            cnn,
            nn.functional.cross_entropy,
            torch.optim.SGD(cnn.parameters(), lr=0.1),
            some,
            names,
            size,
        )
    print(f"at most {size} images at a time: {meter.peak / 1e6:.1f} MB of activations")

# %% [markdown]
# The largest piece decides, so the memory falls to about a third.
# The price is time, because each piece has its own overhead.
# In section 1 the row *resident, accumulated* worked off each batch in four pieces, and against the row *resident*, turn by turn, it ran at this speed:

# %%
turns = np.divide(seconds["VAE"]["resident"], seconds["VAE"]["resident, accumulated"])
print(f"{turns.min():.2f} to {turns.max():.2f} times, in {len(turns)} turns")

# %% [markdown]
# `fit(..., micro_batch=32)` does the same.
# When memory runs out in the middle of an epoch, `fit` begins the epoch again with pieces of half the size, and says so.
# A network with BatchNorm computes its statistics from each *piece*, so there the result is not quite the same.

# %% [markdown]
# ### What to expect on a GPU
#
# The levers above are timed on a GPU, too, if it runs this notebook.
# These four are mostly used on GPUs, and we have not measured them there: what follows is PyTorch's documentation, so time each.
#
# - **TF32**: `torch.set_float32_matmul_precision("high")` lets float32 products read only 10 bits behind the point, from Ampere on, which a T4 is not, and they may be much faster.
#   For matrix products this is off unless you ask, for convolutions it is on ([numerical accuracy](https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html)).
# - **Pinned memory**: with `DataLoader(..., pin_memory=True)` and `images.to(device, non_blocking=True)` Python goes on while a batch is copied.
#   To call `pin_memory()` yourself just before the copy can be slower than a plain `to` ([guide](https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html)).
#   Resident data need neither.
# - **Activation checkpointing**: `checkpoint(block, x, use_reentrant=False)` from `torch.utils.checkpoint` does not keep a block's activations but computes them again in the backward pass, which saves memory and costs time ([its page](https://docs.pytorch.org/docs/stable/checkpoint.html)).
# - **Channels last with 16 bits**: section 1's line inside `autocast` gains most on tensor cores in float16, 8 to 35 % for a list of networks on Volta GPUs ([tutorial](https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html)).

# %% [markdown] slide="Two devices share a batch"
# ## 2. Several devices
#
# Two devices can share a batch.
# Each has a copy of the network, takes a part of the images, and computes the gradients of its part.
# Then the gradients are combined, and both make the same update.
# That is **data parallelism**.
# If the parts differ in size, each image must still count equally.
#
# The processes that drive the devices run the same program, and each is told its number, its `rank`.
# All begin with the same weights and see the same batch, and `all_reduce` replaces a tensor by its sum over all processes, in each of them.
#
# {diagram: shared-batch}
#
# ### Exercise 2: share a batch · 8 minutes
#
# Write what one of `world` processes does in place of `backward()`: take your part of the batch, and leave in every weight's `.grad` the gradient of the *whole* batch's mean loss.
# The check starts several at once, and their parts differ in size: `tensor_split(world)` makes as many as you ask for, `chunk` sometimes fewer.

# %% exercise="hardware.shared_backward"

# %% check="hardware.shared_backward" tags=["nbval-check-output"]
shared_checked = check("hardware.shared_backward", shared_backward)

# %%
predict("hardware.two_processes")

# %% [markdown]
# Now your function runs in two real processes: its text becomes part of a program.
# With 129 images in a batch, the one takes 65 and the other 64.
# Beside it stands PyTorch's `DistributedDataParallel`, which sends gradients while `backward` still computes, and averages them with equal weights, so it needs equal parts.

# %%
LOOPS = """
import json, os, sys, torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import distributed, nn
from vaetl_helpers.data import load
from vaetl_helpers.training import fit

rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if world > 1:
    distributed.init_process_group("gloo")  # for CPUs; on NVIDIA GPUs "nccl"

def add_up(tensor):
    if world > 1:
        distributed.all_reduce(tensor)

def by_hand(model):
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for images, labels in clothes.batches(129, seed=0):  # the same in all processes
        shared_backward(model, F.cross_entropy, images, labels, rank, world, add_up)
        sgd.step()

def by_ddp(model):
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapped = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    for images, labels in clothes.batches(128, seed=0):
        x, y = images.chunk(world)[rank], labels.chunk(world)[rank]  # my part
        sgd.zero_grad()
        F.cross_entropy(wrapped(x), y).backward()  # and gradients are averaged
        sgd.step()
"""

# %% [markdown]
# Usually each process loads only its own images, which a `DistributedSampler` deals out.
# `fit` shares batches by itself, so a program that calls it need not change.
# Such programs are started alike:
#
# ```
# torchrun --nproc-per-node 2 program.py         # two processes on this machine
# accelerate launch program.py                   # the same, as `accelerate config` was told
# ```
#
# Our program, in one process and then in two, trains a small network in the three ways and times `fit` with it, with one that has BatchNorm, and with a wide one.

# %%
PROGRAM = """
def build(width, norm=()):
    torch.manual_seed(0)
    layers = nn.Linear(784, width), *norm, nn.Tanh(), nn.Linear(width, width), nn.Tanh()
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, 10))

def keep(kind, model):
    if rank == 0:  # all have the same, so the first one writes
        save_file(dict(model.named_parameters()), f"{sys.argv[1]}/{kind}.safetensors")

def by_fit(kind, model, batch_size=128):
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    done = fit(model, clothes, optimizer=sgd, epochs=2, batch_size=batch_size, quiet=True)
    keep(kind, model)
    if rank == 0:
        sent = 4 * sum(weight.numel() for weight in model.parameters())
        steps = len(clothes) // batch_size
        print(json.dumps([kind, [min(done["seconds"]), sent, steps]]))

if __name__ == "__main__":
    clothes = load("fashion-mnist").train.subset(slice(0, 2048))
    for kind, train in (("by hand", by_hand), ("by DDP", by_ddp)):
        model = build(64)
        train(model)
        keep(kind, model)
    by_fit("plain", build(64))
    by_fit("with BatchNorm", build(64, [nn.BatchNorm1d(64)]))
    by_fit("wide", build(1024), batch_size=512)
"""
folder = Path(tempfile.mkdtemp())
yours = shared_backward_source(shared_checked)
(folder / "program.py").write_text(LOOPS + yours + PROGRAM)
quickest = {}
for where, count in (("one", 1), ("two", 2)):
    (folder / where).mkdir()
    if P.platform == "Binder":
        print(
            "Binder has too little memory: run this on your machine, Colab or Kaggle."
        )
        break
    out = hardware.run_processes(folder / "program.py", count, where)
    lines = [line for line in out.splitlines() if line.startswith("[")]
    quickest[where] = dict(map(json.loads, lines))
    if not lines:
        print(out)  # what went wrong

# %%
rows = []
for kind, (one, sent, steps) in quickest.get("one", {}).items():
    if kind not in quickest.get("two", {}):
        continue
    two = quickest["two"][kind][0]
    rows.append(
        (
            kind,
            f"{sent / 1e6:.1f} MB",
            f"{1e3 * one:.0f} ms",
            f"{1e3 * two:.0f} ms",
            f"{one / two:.2f}",
            f"{1e3 * (two - one / 2) / steps:.1f} ms",
        )
    )
show_table(
    rows,
    header=(
        "network",
        "gradients, each step",
        "an epoch in one process",
        "in two",
        "times as fast",
        "beyond half, each step",
    ),
)

# %% [markdown]
# Each process has one thread, so to share perfectly would be twice as fast.
# But at every step the two must exchange all gradients, and each makes the whole update: the last column is what does not halve.
# For 64 units that exceeds the step itself, though 0.2 MB are little: most is a fixed price, like chapter 2's overhead.
# The wide network sends more, but its batches of 512 meet a quarter as often, so it comes near even or beyond on two cores.
# Now look at the largest difference of any weight.


# %%
def largest_difference(kind):
    """Between the weights that one process left, and those of two."""
    files = [folder / where / f"{kind}.safetensors" for where in ("one", "two")]
    if not all(file.exists() for file in files):
        return math.nan  # the two processes could not be started here
    one, two = map(load_file, files)
    return max((one[name] - two[name]).abs().max().item() for name in two)


print("largest difference between one process and two")
print(f"  your function, 65 and 64 images: {largest_difference('by hand'):.1e}")
print(f"  DistributedDataParallel:         {largest_difference('by DDP'):.1e}")
print(f"  fit:                             {largest_difference('plain'):.1e}")

# %%
settle("hardware.two_processes", largest_difference("plain"))

# %% [markdown]
# The weights agree up to rounding, because sums are taken in another order, and that holds for all three.
# A VAE needs one precaution more: draw the noise for the *whole* batch, then split it, or both processes would use the same noise.
# `fit` does that.
#
# One thing is *not* the same.
# **BatchNorm** takes mean and variance from the images that it sees, and each process sees only its half.

# %%
predict("hardware.batchnorm")

# %%
print(f"the same with BatchNorm: {largest_difference('with BatchNorm'):.1e}")

# %%
rounding = max(largest_difference("plain"), 1e-12)
settle("hardware.batchnorm", largest_difference("with BatchNorm") / rounding)

# %% [markdown]
# This difference is tens of thousands of times larger.
# It is not an error but another network, trained with slightly noisier statistics.
# Its running averages *are* copied from the first process at each step, which is part of why its row is slower.
# `torch.nn.SyncBatchNorm` shares the statistics themselves, at the cost of communication.

# %% [markdown] slide="Borrow a GPU, and lose nothing"
# ## 3. Borrow a GPU, and lose nothing
#
# | | Colab | Kaggle |
# |---|---|---|
# | open | *File > Upload notebook* | *File > Import Notebook*; sign in |
# | switch | Runtime > Change runtime type > T4 GPU | Settings > Accelerator > GPU T4 x2 |
# | condition | a Google account | an account verified by telephone; "Internet on" to install the course |
# | taken away | after some idle time, or when others need it | after some hours; a weekly allowance of GPU hours |
# | what stays | what you save in Google Drive | what lies in `/kaggle/working` when you press "Save version" |
# | to go on | mount the drive again | Add input > your notebook's output |
#
# Limits change: look at each platform's page.
# We have not run the course on either, but a test of it rebuilds the versions of PyTorch, NumPy and others that they have, and runs all notebooks with them.
#
# One thing never changes: *the machine will be taken away*.
# So save after every epoch, in a folder that outlives the machine, and be able to go on.
# `kept` gives you the path.

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
# After a disconnect run the same cells again, and `fit` continues after the last epoch that was saved.
# On Kaggle train by *Save Version*, because an interactive session's files may go with it.
# You write now what it needs for that.
#
# ### Exercise 3: what must a checkpoint hold? · 12 minutes
#
# The checkpoint below resumes wrongly.
# We train a network with dropout and Adam for an epoch, call it, and train on; then everything is built anew, the checkpoint is loaded, and training ends as before.
# The weights should agree exactly.


# %% tags=["nbval-check-output"]
def too_little(model, optimizer, epoch):
    return {"model": model.state_dict(), "epoch": epoch}


print(f"a weight is off by up to {gap_after_resuming(too_little):.2f},")
copied = gap_after_resuming(lambda *a: copy.deepcopy(too_little(*a)))
print(f"and with the weights copied by {copied:.2f}")

# %% [markdown]
# Three things are wrong with it.
# Why does copying matter, if the state was taken before training went on?
# And which two things besides weights and epoch decide the next step of *this* training?
# Write both down before you open the line below, which names the keys.
#
# <details><summary>Under which keys?</summary>
#
# `"optimizer"`, since Adam keeps two moving averages for each weight, and `"rng"`, since dropout draws at random: the bytes that `torch.set_rng_state` can load.
# On a GPU dropout has a random state of its own, which you leave out here.
# </details>

# %% exercise="hardware.resume"

# %% check="hardware.resume"
checkpoint_checked = check("hardware.resume", checkpoint)

# %% [markdown]
# Copying matters because `state_dict()` hands out the very tensors that the next step changes, so that a state taken after epoch 1 would hold the weights of the end.
# From there the first run above trained on, so the two gaps cannot be compared.
#
# Now put your checkpoint into a file.
# The machine may go while the file is being written, so write it under another name and rename it, which the system does at once or not at all.
# And read it with `weights_only=True`, because a file of `torch.save` could otherwise run any code when it is loaded.
#
# We train two epochs in one go, and once more with the machine lost in the middle of the second.


# %%
def train_with_file(file, epochs, breaks_at=None):
    """Trains from the file on, or from the beginning where there is none."""
    torch.manual_seed(P.seed)
    model = nets.mlp_classifier(32)
    adam = torch.optim.Adam(model.parameters())
    finished = step = 0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        adam.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        finished = saved["epoch"]
        print("going on after epoch", finished)
    images, labels = few.images / 255, few.labels
    for epoch in range(finished, epochs):
        for rows in torch.randperm(len(images)).split(128):
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            step += 1
            if step == breaks_at:
                raise ConnectionError("the machine was taken away")
        state = checkpoint_checked(model, adam, epoch + 1)
        torch.save(dict(state, epoch=epoch + 1), f"{file}.new")
        os.replace(f"{file}.new", file)  # the old file or the new one, never half
    return model


whole = train_with_file(folder / "whole.pt", epochs=2)
try:
    train_with_file(folder / "broken.pt", epochs=2, breaks_at=15)
except ConnectionError as error:
    print(error)
again = train_with_file(folder / "broken.pt", epochs=2)

# %% tags=["nbval-check-output"]
same = all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))
print("the interrupted run ended with the same weights, bit for bit:", same)

# %% [markdown]
# `fit(checkpoint=...)` does this after each epoch.
# Instead of keeping the random state it begins each epoch with a seed made of the run's seed and the epoch, and it continues only the run that the file belongs to.
# So the seed that you set before the network matters: with other weights at the start, another learning rate or other images `fit` says what differs, and changes nothing.

# %% [markdown]
# ## 4. The receipt
#
# What does one pass of the CNN cost here, with resident data, fused Adam and channels last, in float32?
# Energy is measured on an NVIDIA GPU and *assumed* elsewhere.
# Chapter 2's roofline had this CNN well below both roofs, so how near to the flat one does it come now?

# %%
predict("hardware.share")

# %%
best = hardware.peak_flops(P.device, 1024 if P.device.type == "cpu" else 4096)
with hardware.EnergyMeter(30, P.device) as meter:
    final = nets.small_cnn().to(P.device, memory_format=torch.channels_last)
    final_history = fit(
        final,
        data.train.subset(slice(0, 4 * P.images)),
        epochs=1,
        precision="no",
        quiet=True,
    )
bill = hardware.receipt(final_history, final, train, meter, peak=best)
bill.show("the CNN, one pass")
share = bill.flops / bill.seconds / bill.peak
report("share_of_peak", share, id="02/share_of_peak")
needs = hardware.step_needs(nets.small_cnn(), classification_loss, 128)
moved = hardware.bandwidth(P.device)
print(
    f"a step: {1e3 * bill.seconds * 128 / bill.images:.0f} ms; its FLOPs alone take "
    f"{1e3 * needs[0] / best:.1f} ms at the peak, its bytes {1e3 * needs[1] / moved:.1f} ms"
)
times_as_many = 50 * 60_000 / bill.images
print(
    f"50 epochs of 60,000 images at this speed: "
    f"{times_as_many * bill.seconds / 60:.0f} minutes, "
    f"{times_as_many * bill.joules / 3600:.2g} Wh, "
    f"{times_as_many * bill.cost:.2g} {bill.currency}"
)

# %%
settle("hardware.share", 100 * share)

# %% [markdown]
# Compare the two times below the table: moving the step's bytes takes its time, too, so a program that moves each layer's numbers to memory and back needs about the longer of the two.
# What a step takes beyond that, a better layout or program could still gain, and one that fuses layers or keeps their numbers in a cache would move fewer bytes.
# And the rent of such a training is small, so the question is what your waiting is worth.
#
# ## 5. So, what can be had for nothing?
#
# The next cell says it of this machine, of levers that leave the training as it is.

# %%
for one in titles.values():
    print(one.replace("\n", " by "))

# %% [markdown]
# Pull these levers before you rent a GPU, and measure each, because the next machine gives another order.
# On the recorded machines a batch of 512 gained a quarter to a third more, but then you train differently and have to compare accuracies, too.
# Two processes give the same weights as one, and pay only where a step takes much longer than the way of its gradients.
# With a checkpoint after every epoch a lost machine costs you one epoch at most.

# %% [markdown]
# ## An open task
#
# Do gains multiply?
# Add a row to `levers` in section 1 for two or three together that have not been tried there, such as `Levers(channels_last=True, bf16=True)`.
# Four turns leave wide intervals, so set `repeats` to 12 in the parameters.
# Write down beforehand what the product of the single gains would be, and then what you measured, with its interval.
# The task is answered when you can say for one pair of levers that it gains less than the product, or that the interval allows the product, and why that may be.

# %% [markdown]
# ## Quiz
#
# **1.
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
#
# **2.
# A batch is worked off in pieces of 32, 32, 32 and 4 images, and `loss_fn` returns the mean over a piece.
# How does the last piece count?**
#
# <details><summary>As much as the others, a quarter.</summary>
#
# Then its four images would weigh eight times as much as others.
# </details>
#
# <details><summary>By its share of the batch, 0.04.</summary>
#
# Right, so that the sum of gradients is that of the whole batch.
# </details>
#
# <details><summary>Not at all, because it is too small.</summary>
#
# Its images belong to the batch.
# </details>
#
# **3.
# Your Colab machine is taken away in the middle of epoch 7.
# What does `fit` with a checkpoint do when you run the cells again?**
#
# <details><summary>It begins again with epoch 1.</summary>
#
# Only if the file is gone, or belongs to another run.
# </details>
#
# <details><summary>It goes on after epoch 6, the last whole one.</summary>
#
# Right, and on the same kind of device it ends with the same weights.
# </details>
#
# <details><summary>It goes on in the middle of epoch 7.</summary>
#
# The state is written at the end of an epoch.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("02b")
my_bets("02b")

# %% [markdown]
# ## Take-away
#
# - Pull the free levers first: resident data, a fused optimiser, a layout that the processor likes.
# - bfloat16 pays where the processor has units for its matrix products, so time one product before you use it.
# - Several processes give the same weights if shares and noise are those of the whole batch, but BatchNorm differs.
# - After every epoch save weights, optimiser, epoch, the random state or a seed for each epoch, and whatever else has a `state_dict`, such as a schedule or the scaler of float16.
#
# Go on with [chapter 3](03_variational_autoencoder.ipynb), *The variational autoencoder*.

# %% [markdown]
# ## Further reading
#
# - Micikevicius et al., *Mixed Precision Training* (2018), arXiv 1710.03740: why float16 needs a scaled loss.
# - Goyal et al., *Accurate, Large Minibatch SGD* (2017), arXiv 1706.02677: data parallelism on 256 GPUs, and BatchNorm in it.
# - Accelerate's documentation of `notebook_launcher`.

# %% [markdown]
# ## Appendix: details
#
# ### Reading the figure of section 1
#
# The figure compares two rows roughly, because their intervals can overlap although the same one won in every turn.
# Take the ratio of their times in each turn, from `seconds`, and see whether the interval of its mean leaves out 1.
# Our intervals cover the scatter within one run, not the difference between two runs, so the recorded value of another machine may well lie outside.
# Those of the machine with AMX are intervals of the ratios themselves and not of their logarithms, which puts their ends a little lower.
#
# The `DataLoader` is the right tool for images in files that do not fit into memory, and then its workers hide the reading of files as well.

# %% [markdown]
# No run on a GPU has been recorded yet.
# If you have one, the points above *are* that run.
#
# ### torch.compile
#
# Whether the start is worth it depends on how long you train, so the table says after how many steps it is repaid.
# ReLU has a large part in what the CNN loses: trained alone, it takes about 25 times as long forward when compiled, because its code keeps the sign of each number in a slow way for the pass back.
# A start is a cold one where nothing has been compiled before; later ones find code in a folder, and are quicker.
# The recorded intervals are of ten turns on one machine, as those of section 1.

# %%
own = {}
if P.with_compile:
    try:
        own["VAE"] = compiling.against_plain("VAE", train, P.repeats)
        own[compiling.CHAIN] = compiling.chain_against_plain(P.repeats)
    except Exception as error:  # no compiler, for example
        print(f"torch.compile does not work here: {str(error).splitlines()[0]}")
else:
    print("The VAE and the chain are measured with with_compile=True, at the top.")
hardware_comparisons.show_compiled(own)

# %% [markdown]
# ### Several GPUs on Kaggle, and a cluster
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
# ### The course on Colab and Kaggle
#
# The first code cell of each notebook adds what the course needs there, and moves nothing that is installed.
# On Kaggle without the internet it looks for an attached data set with wheels.
# Make one on a machine with a network: `pip wheel --no-deps --wheel-dir wheels ADDRESS jaxtyping wadler-lindig`, with the address that stands in that cell.
# Chapters 4, 4b, 4c and 4d want the wheels of their extras, too, and full data sets are also found in attached ones.
#
# On Kaggle's P100 recent versions of PyTorch say that the GPU is available, and fail at the first operation.
# `setup` tries it first, and tells you.
