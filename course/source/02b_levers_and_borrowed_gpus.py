# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "02b"
#     title: Levers, and borrowed GPUs
#     minutes: {reading: 25, exercises: 24, cpu: 1.5, gpu: not yet measured}
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
from vaetl_helpers.runtime import CourseError, report, setup, show_table

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

from vaetl_helpers import hardware, nets, plots, study, vae
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.output import record_id
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
# For 28 × 28 pixels that is needless work, and it is our baseline, with batch 128.
# You can skip the next cell, in which `Levers` trains with some levers pulled.


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
        return train.batches(self.size, seed=0)

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
# All levers are compared with it.
#
# - **Resident** data lie on the device as uint8 and are cast batch by batch, so that nothing is made or sent anew.
# - **Batch 512** means fewer, larger steps, which changes training too, as chapter 1b showed.
# - **Fused** means that Adam makes its update in one operation instead of many, so that the overhead is paid once; all but the baseline and "not fused" have it.
# - **bf16** computes products in *bfloat16*, 16-bit numbers with the range of float32 but only 8 significant bits.
# - **Accumulated** takes each batch in four pieces, which saves memory and is not meant to be faster.
# - **Channels last**, for the CNN only, puts all channels of one pixel side by side in memory, as a filter needs them together.

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


rows, records = [], []
for network, seconds in (("VAE", vae_seconds), ("CNN", cnn_seconds)):
    for name, e in ratios(seconds).items():
        id = lever_id(network, name)
        records.append(e.to_record(f"{network}: {name}", "times", id=id))
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
    records=records,
)


# %% slide="Pull the free levers first"
def best_of(network, ratios):
    """Says which set of levers was fastest."""
    name = max(ratios, key=lambda name: ratios[name][0])
    return f"{network}: at best {ratios[name][0]:.1f} times,\n{name}"


groups = {"VAE": {}, "CNN": {}}
for network, name, *ends in rows:
    groups[network][name] = ends
plots.gains(
    {best_of(network, ratios): ratios for network, ratios in groups.items()},
    before={
        "resident": "resident, not fused",
        "resident, batch 512": "resident",
        "resident, bf16": "resident",
        "resident, accumulated": "resident",
        "resident, channels last": "resident",
        "resident, batch 512, bf16": "resident, batch 512",
    },
    x="times as fast as the DataLoader (95 %)",
    alt="02b/levers",
)
plt.show()

# %%
settle("hardware.resident", ratios(vae_seconds)["resident"].times[0])

# %% [markdown]
# A point on the dashed line at 1 gains nothing, and the bar through a point is its 95 % interval.
# Each point is a *set* of levers, and the arrow below it begins at the set without the last one.
# So in the row "resident, bf16" the arrow shows what bf16 alone does, and an arrow to the left is a loss.
#
# Resident data gain most for the VAE.
# The CNN needs about twice as many FLOPs per image and, as the roofline of chapter 2 shows for large batches, reaches a much lower rate.
# So computing takes most of its time and feeding only a small part, and what helps is a lever that raises the rate, such as channels last.
# Whether bf16 helps depends on the processor.
# If it is *emulated*, done by float32 units with conversions, it costs time.
# The appendix puts a recorded run beside yours, and measures `torch.compile`.
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
for name, precision in (("float32", "no"), ("bf16", "bf16")):
    mean = sum(accuracies[precision]) / len(accuracies[precision])
    print(f"{name}: mean accuracy {100 * mean:.1f} %")
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
# ### Exercise 1: accumulate gradients · 12 minutes
#
# What if a batch does not fit into the device's memory?
# Work it off in pieces and add up their gradients, so that there is one update for the whole batch.
# `loss_fn(logits, labels)`, here a plain PyTorch loss and not `fit`'s, returns the *mean* over its images.
# The last piece may be smaller than the others, and must count less.
# The result must equal the step on the whole batch.
# Return nothing.

# %% exercise="hardware.accumulate"

# %% check="hardware.accumulate" tags=["nbval-check-output"]
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

# %% [markdown] slide="Two devices share a batch"
# ## 2. Several devices
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
predict("hardware.batchnorm")

# %%
print(f"the same with BatchNorm: {largest_difference('with BatchNorm'):.1e}")

# %%
rounding = max(largest_difference("plain"), 1e-12)
settle("hardware.batchnorm", largest_difference("with BatchNorm") / rounding)

# %% [markdown]
# This difference is more than a hundred thousand times larger.
# It is not an error but another network, trained with slightly noisier statistics.
# `torch.nn.SyncBatchNorm` shares the statistics, at the cost of communication.

# %% [markdown] slide="Borrow a GPU, and lose nothing"
# ## 3. Borrow a GPU, and lose nothing
#
# | | Colab | Kaggle |
# |---|---|---|
# | open | the link at the top, or *File > Upload notebook* | the link at the top, or *File > Import Notebook*; sign in |
# | switch | Runtime > Change runtime type > T4 GPU | Settings > Accelerator > GPU T4 x2 |
# | condition | a Google account | an account verified by telephone; "Internet on" to install the course |
# | taken away | after some idle time, or when others need it | after some hours; a weekly allowance of GPU hours |
# | what stays | what you save in Google Drive | what lies in `/kaggle/working` when you press "Save version" |
# | to go on | mount the drive again | Add input > your notebook's output |
#
# Limits change, so look at each platform's own page.
# We have not run the course on either, but a test of it rebuilds the versions of PyTorch, NumPy and others that they have, and runs all notebooks with them.
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
# ### Exercise 2: what must a checkpoint hold? · 12 minutes
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
# ## 4. The receipt
#
# What does one pass of the CNN cost here, with resident data, fused Adam and channels last, in float32?
# The receipt lists time and operations, the share of the measured peak, memory (the whole process so far), energy (measured on an NVIDIA GPU, *assumed* elsewhere), and the rent of a machine.

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
report("share_of_peak", bill.flops / bill.seconds / bill.peak, id="02/share_of_peak")

# %% [markdown]
# Look at the share of the peak: it says how much of what the cores in use *can* do the network really used.
#
# ## 5. So, what can be had for nothing?
#
# Your figure of section 1 says what resident data, the batch, precision and layout are worth on this machine.
# Pull these levers before you rent a GPU.
# Two processes give the same weights as one, and a checkpoint after every epoch makes a borrowed machine as good as your own.

# %% [markdown]
# ## An open task
#
# Do gains multiply?
# Add a bar to section 1 for two or three levers together that has not been tried there, such as `Levers(nets.small_cnn, classification_loss, channels_last=True, bf16=True)`.
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
# Right, and ends with the same weights as if nothing had happened.
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
# - Pull the free levers first: resident data, a larger batch, a layout that the processor likes.
# - Several processes give the same weights if shares and noise are those of the whole batch, but BatchNorm differs.
# - After every epoch save weights, optimiser, epoch, and the random state or a seed for each epoch.
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
# For two points the figure does not tell whether one is really faster, because their intervals can overlap although the same one won in every turn.
# Take the ratio of their times in each turn, from `vae_seconds` or `cnn_seconds`, and see whether the interval of its mean leaves out 1.
#
# The `DataLoader` is the right tool for images in files that do not fit into memory.
# Here it runs without the worker processes (`num_workers`) that would hide part of its cost on a machine with free cores.
#
# For comparison, here is a recorded run with more images.
# Our intervals cover the scatter within one run, not the difference between two runs, so a recorded value may well lie outside.

# %%
try:
    other = study.recorded("02b")
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
# If you have one, the points above *are* that run.
#
# ### float16
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
