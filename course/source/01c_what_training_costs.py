# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "01c"
#     title: What training costs
#     minutes: {reading: 26, exercises: 10, cpu: 0.4, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # What training costs
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - count what training costs in operations, hours, energy and memory before you pay it;
# - measure how its time grows, and write a receipt in seconds, energy and money;
# - say what a very large model would cost on the machine in front of you.
#
# You need the training step of [chapter 1](01_training_step.ipynb).

# %% [markdown] slide="The claim: training needs enormous computing power"
# ## The claim that this chapter tests
#
# This course grew out of two articles.
# One is Vito Lavecchia's "Differenza tra Training e Transfer Learning nel machine learning", the other "VAE e Transfer Learning: Un Approfondimento Specialistico".
# The first says, in our summary: *for a data set of considerable size training needs enormous computing power, because operations that may involve matrices of many dimensions are repeated for every object, over and over.*
# A card below has its own words.
#
# It gives no number, so we ask three questions and answer each by a measurement:
#
# 1. Does the cost really grow with the number of images, with the repetitions and with the size of the matrices?
# 2. How much is "enormous", in seconds and in operations, for a network that learns something useful?
# 3. What would a really large model cost on the machine you are using now?

# %% [markdown]
# ## Set-up
#
# The parameters are explained in chapter 1.

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
epochs: int | None = None  # passes over the training images for the main network
points: int | None = None  # points on each curve of the cost figure
batch_size: int | None = None  # images in one training step
full_data: bool | None = None  # all of Fashion-MNIST (a download of 30 MB)
data_root: str | None = None  # a folder with your own copy of Fashion-MNIST

# %%
from vaetl_helpers.runtime import report, setup, show_table

P = setup(
    "01c",
    profile,
    seed=seed,
    epochs=epochs,
    points=points,
    batch_size=batch_size,
    full_data=full_data,
    data_root=data_root,
)

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

from vaetl_helpers import hardware, plots
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.output import show_record
from vaetl_helpers.practice import challenge, my_bets, predict, quiz, recall, settle
from vaetl_helpers.study import effect_of, mean_interval, recorded_value
from vaetl_helpers.training import fit

data = load("fashion-mnist", full=P.full_data, root=P.data_root, device=P.device)

# %% [markdown]
# The claim, on a card.
# The axis below it is still empty; where will our three marks fall?

# %%
question_cards("cost")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("01c")

# %% [markdown]
# ## 1. How enormous is enormous?
#
# A *floating-point operation*, or *FLOP*, is one addition or one multiplication, and training can be counted in them before it is run.
# The figure compares the small CNN of chapter 1b with two published models, ResNet-50 and GPT-3; section 6 says where their numbers come from.
# How many powers of ten lie between them?

# %%
cnn = small_cnn()
first_images, first_labels = next(data.train.batches(P.batch_size))
step_flops = hardware.count_flops(cnn, first_images.cpu(), first_labels.cpu())
flops = {
    "the small CNN": step_flops / P.batch_size * len(data.train) * P.epochs,
    "ResNet-50": 3 * 2 * 3.8e9 * 60e4 * 256,
    "GPT-3": 6 * 174.6e9 * 300e9,
}
plots.bars(
    flops,
    labels=[f"{value:.1e} FLOPs" for value in flops.values()],
    title="Operations to train once: "
    f"{math.log10(flops['GPT-3'] / flops['the small CNN']):.0f} powers of ten "
    "from the small CNN to GPT-3",
    x="floating-point operations, log scale",
    log=True,
    alt="01c/operations",
)
plt.show()

# %% [markdown]
# Eleven to twelve powers of ten lie between the first and the last.
# So "may need enormous computing power" is true of one of them and far from true of another, and the rest of the chapter asks what the number depends on.

# %% [markdown]
# ## 2. Counting by hand
#
# Almost all the work of a network is multiplying matrices.
# A product of an $m \times k$ and a $k \times n$ matrix takes $m\,k\,n$ multiplications and almost as many additions, together $2\,m\,k\,n$ FLOPs.
#
# Take the network of chapter 1, $784 \to w \to 10$, on a batch of $B$ images:
#
# - The **forward** pass takes $2B\,(784\,w + 10\,w)$.
# - In the **backward** pass, the gradients of the weights take $2B\,(784\,w + 10\,w)$ again.
#   That of $W_1$, for example, is the product of a $w \times B$ and a $B \times 784$ matrix.
# - The **gradient passed down** to $h$ takes $2B \cdot 10\,w$.
#   Nothing is passed below the first layer, because nobody needs the gradient of the pixels.
#
# When all layers are alike, the third count is nearly as large as the first, and a step takes about three times the forward pass.
# Here it is a little over twice.
# PyTorch can count as well, and like us it leaves out the small things, which are adding $b$, ReLU and Adam.
# Do we agree?

# %% tags=["nbval-check-output"]
B, w = 128, 128
by_formula = 2 * B * (784 * w + 10 * w) * 2 + 2 * B * 10 * w
network = mlp_classifier(w)
counted = hardware.count_flops(
    network, torch.zeros(B, 1, 28, 28), torch.zeros(B, dtype=torch.long)
)
print(
    f"by hand {by_formula:,} FLOPs a step, PyTorch's counter {counted:,}, equal: "
    f"{by_formula == counted}"
)

# %% [markdown]
# ## 3. How the time grows
#
# The article says that cost comes from *every object*, *many times*, through *large matrices*.
# Each of these is a number that we can change: images, epochs, width.
# We change one at a time and time it, and the batch size is a fourth.
#
# On logarithmic axes, "proportional" is a straight line of *slope 1*, so ten times as many images take ten times the time.
# A slope below 1 means that part of the time does not depend on what we change, or that larger pieces run more efficiently.
# In the first three panels of the figure, compare the measured times with the dashed line, which has slope 1 and goes through the first measured point.

# %%
predict("training.width")
predict("training.cost")

# %%
TURNS = 5


def step(model, optimizer, images, labels):
    """The training step of chapter 1; returns the loss before the update."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def seconds_to_train(images_used=2000, epochs=1, width=512, batch=128):
    """Seconds for `epochs` passes over `images_used` images in each of five turns, after
    one that does not count.
    """
    network = mlp_classifier(width).to(P.device)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    some = data.train.subset(slice(images_used))
    times = []
    for _ in range(1 + TURNS):
        start = time.perf_counter()
        for epoch in range(epochs):
            for images, labels in some.batches(batch, seed=P.seed, epoch=epoch):
                last_loss = step(network, adam, images, labels)
        float(
            last_loss
        )  # on a GPU the work runs on while Python goes ahead: this waits for it
        times.append(time.perf_counter() - start)
    return times[1:]


doublings = range(P.points)
measured = {
    "images": {
        500 * 2**i: seconds_to_train(500 * 2**i)
        for i in doublings
        if 500 * 2**i <= len(data.train)
    },
    "epochs": {2**i: seconds_to_train(images_used=500, epochs=2**i) for i in doublings},
    "width": {
        64 * 2**i: seconds_to_train(images_used=1000, width=64 * 2**i)
        for i in doublings
    },
    "batch size": {32 * 2**i: seconds_to_train(batch=32 * 2**i) for i in doublings},
}

# %% slide="How the time grows"
slopes = {}  # of each turn; 1 would mean: in proportion
for name, values in measured.items():
    x, y = np.log(list(values)), np.log(list(values.values()))  # y: [points, turns]
    slopes[name] = np.polyfit(x, y, 1)[0]
best = {
    name: {x: min(turns) for x, turns in of.items()} for name, of in measured.items()
}
axes = plots.panels(
    [
        f"twice the {name}: {2 ** slopes[name].mean():.2f} times the time"
        for name in measured
    ],
    alt="01c/proportion",
)
for axis, (name, values) in zip(axes, best.items(), strict=True):
    first = next(iter(values))
    proportional = [values[first] * x / first for x in values]
    curves = {"measured": (list(values), list(values.values()))}
    if name != "batch size":
        curves["slope 1"] = (list(values), proportional)
    plots.lines(
        curves, axis.get_title(), name, "seconds", alt="", scale="log-log", axis=axis
    )
plt.show()

# %%
for name, of_turns in slopes.items():
    mean, low, high = mean_interval(of_turns)
    slug = name.replace(" ", "_")
    report(
        f"slope_{slug}",
        mean,
        id=f"01/slope/{slug}",
        low=low,
        high=high,
        n=TURNS,
        data="this machine",
    )
proportions = []
for name in ("images", "epochs", "width"):
    # Twice as many take 2^slope times as long, and half of that is 1 in proportion.
    e = effect_of((slopes[name] - 1) * np.log(2))
    title = f"seconds for twice the {name}, divided by two"
    id = f"01/proportion/{name}"
    proportions.append(e.to_record(title, "times", id=id, data="this machine"))
    show_record(proportions[-1])

# %%
doubled = {name: 2 ** float(slopes[name].mean()) for name in slopes}  # times as long
claimed = ("images", "epochs", "width")
settle("training.width", doubled["width"])
settle("training.cost", sum(1.8 < doubled[name] < 2.2 for name in claimed))

# %% [markdown]
# *Images* and *epochs* give nearly straight lines, with slopes close to 1 on a machine that does nothing else meanwhile.
# The printed ratios say it with an interval: the seconds for twice as many, divided by two, where 1 is in proportion.
#
# *Width* is different: in our run on two CPU cores, sixteen times the width took only about six times as long.
# Part of each step does not depend on the width, such as starting each operation and fetching the batch, and a computer does more operations per second on larger matrices.
# Only for matrices much larger than ours, which we have not reached here, would the time follow the number of operations.
#
# *Batch size* goes the other way.
# The matrix products are the same in total, but each step also has costs that do not depend on the batch, namely starting the operations and Adam's update of every parameter.
# Larger batches mean fewer steps, so that these costs are paid less often.
# That saves time, up to a point.
# Chapter 1b showed the other side: fewer steps may also end at a higher loss.

# %% [markdown]
# ## 4. The receipt
#
# What does it cost to train the CNN of chapter 1b once?
# The time is measured, of training alone without validation, and the operations are counted for one step and multiplied.
# Energy is measured if an NVIDIA GPU reports its own; otherwise we *assume* 30 watts for a laptop at work, and say so.
# The price is a round number of our own, as if *this* computer were rented at 0.35 dollars per hour.

# %%
predict("training.seconds")

# %%
torch.manual_seed(P.seed)
cnn = small_cnn().to(P.device, memory_format=torch.channels_last)  # as in chapter 1b
adam = torch.optim.Adam(cnn.parameters(), lr=1e-3)
with hardware.EnergyMeter(30, P.device) as meter:
    history = fit(
        cnn,
        data.train,
        epochs=P.epochs,
        batch_size=P.batch_size,
        optimizer=adam,
        seed=P.seed,
    )

# %%
bill = hardware.receipt(history, cnn, data.train, meter, P.batch_size)
bill.show("the CNN, trained once")
report(
    "cnn_training_seconds",
    bill.seconds,
    "s",
    id="01/training_seconds/cnn",
    data=data.source,
)
report(
    "cnn_training_flops",
    bill.flops,
    "FLOPs",
    id="01/training_flops/cnn",
    data=data.source,
)

# %%
settle("training.seconds", bill.seconds)

# %% [markdown]
# ### Exercise 1: a bill before the run · 10 minutes
#
# A receipt comes after the run, but a bill can be written before it.
# In section 2 each weight took 2 FLOPs per image forward, 2 for its own gradient, and, but for the first layer, 2 for the gradient that is passed down.
# So the rule of thumb is **six FLOPs per parameter and example**, in every epoch.
#
# Return three numbers: the operations, the hours that they take at `rate` FLOPs per second, and the kilowatt-hours of a machine that draws `watts`.
# A kilowatt-hour is what 1,000 watts use up in one hour.

# %% exercise="training.bill"

# %% check="training.bill" tags=["nbval-check-output"]
training_bill_checked = check("training.bill", training_bill)

# %% [markdown]
# How good is the rule for the two networks of this chapter?
# The table puts your operations for one epoch beside those that PyTorch counts.

# %%
rows = []
for name, model in {"784 → 128 → 10": network, "the small CNN": cnn}.items():
    parameters = sum(p.numel() for p in model.parameters())
    by_rule, *_ = training_bill_checked(parameters, len(data.train), 1, 1e9, 30)
    model = model.to(P.device)
    batch_flops = hardware.count_flops(model, first_images, first_labels)
    counted = batch_flops / len(first_images) * len(data.train)
    rows.append(
        (name, f"{parameters:,}", f"{by_rule:.2e}", f"{counted:.2e}")
        + (f"{counted / by_rule:.2f}",)
    )
show_table(
    rows,
    header=("network", "parameters", "by the rule", "counted", "counted ÷ by the rule"),
)

# %% [markdown]
# The first network needs a third less than the rule says, because nearly all of its weights lie in the first layer, below which nothing is passed.
# The CNN needs almost six times as much, because its filters slide: each weight is used again at every place of the image.
# So the rule holds where an example meets each weight once, as a token does in a language model.

# %% [markdown]
# ## 5. Memory
#
# While training, four things must be kept in memory, and the data set and short-lived work space come on top:
#
# - the **weights**, 4 bytes each in 32-bit floating point;
# - one **gradient** for each weight, which takes the same again;
# - the **optimiser's state**, which for Adam is two numbers for each weight, so twice the weights;
# - the **activations**, that is, what the forward pass leaves behind for the backward pass, such as each layer's output, the images themselves, and which pixel each maximum came from.
#   They grow with the batch, while the other three do not.
#
# We measure the activations with a *hook*, a function that PyTorch calls for each tensor that it keeps for the backward pass.
# In the figure each bar is all the memory that one batch size needs; look for the size at which the activations outgrow the other three.
# But bet first.

# %%
predict("training.activations")


# %%
def activation_bytes(network, images, labels):
    """Bytes that the forward pass keeps for the backward pass, the network's own
    weights left out.
    """
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def remember(tensor):
        pointer = (
            tensor.untyped_storage().data_ptr()
        )  # the address of its memory: shared memory counts once
        if pointer not in own:
            kept[pointer] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        F.cross_entropy(network(images), labels)
    return sum(kept.values())


weights = 4e-6 * sum(p.numel() for p in cnn.parameters())  # in megabytes
megabytes = {}
for batch in (16, 128, 1024):
    some_images, some_labels = next(data.train.batches(batch))
    megabytes[f"batch {batch:,}"] = {
        "weights": weights,
        "gradients": weights,
        "Adam": 2 * weights,
        "activations": 1e-6 * activation_bytes(cnn, some_images, some_labels),
    }
times = {
    name: parts["activations"] / (4 * weights) for name, parts in megabytes.items()
}
plots.shares(
    megabytes,
    "MB",
    title="Activations take {:.2g}, {:.2g} and {:.2g} times as much as the rest".format(
        *times.values()
    ),
    x="share of the memory (per cent; in the bars: MB)",
    alt="01c/memory",
)
plt.show()

# %%
settle("training.activations", times["batch 128"])

# %% [markdown]
# At batch 16 the activations are still smaller than the other three together.
# At 128 they are several times as large and at 1024 some forty times, because they grow in proportion to the batch.
# So when a GPU runs out of memory, make the batch smaller first.
# For a very large model it is the other way round: there weights, gradients and Adam's numbers alone need many GPUs.

# %% [markdown]
# ## 6. And a large model?
#
# The two published models of the first figure are counted like this:
#
# - **ResNet-50** on ImageNet (He et al. 2015, arXiv 1512.03385).
#   Its Table 1 gives $3.8\cdot10^9$ multiply-adds for one image forward.
#   That is $7.6\cdot10^9$ FLOPs, and with the backward pass three times that.
#   Section 3.4 trains for up to $60\cdot10^4$ steps of 256 images.
# - **GPT-3** (Brown et al. 2020, arXiv 2005.14165).
#   Its Table D.1 gives $3.14\cdot10^{23}$ FLOPs, computed as 6 for each parameter and *token*, a piece of a word, so $6 \cdot 174.6\cdot10^9 \cdot 300\cdot10^9$.
#
# A third is larger still, **Llama 3.1 405B**, with $3.8\cdot10^{25}$ FLOPs by its paper (Grattafiori et al. 2024, arXiv 2407.21783).
#
# We divide by the throughput that *this machine* reached while it trained the CNN, in FLOPs per second, of which $10^9$ make 1 GFLOP/s.
# As a more generous throughput we take that of one large matrix product, the best case for any computer.
#
# The figure is a ladder of times.
# On the left are trainings as they were, each on the machine of its authors:
#
# - our CNN on all 55,000 training images, as the course recorded it on two CPU cores, and one of its steps;
# - ResNet-50 in one hour on 256 GPUs (Goyal et al. 2017, arXiv 1706.02677);
# - the first Transformer, in its base size, in 12 hours on 8 GPUs (Vaswani et al. 2017, arXiv 1706.03762);
# - BLOOM, of GPT-3's size, in 3.5 months on 384 GPUs (Le Scao et al. 2022, arXiv 2211.05100).
#
# On the right is *this* machine, with the CNN as you have just trained it and with the three large models.
# Beside which rung does each stand?

# %%
predict("training.resnet_years")


# %% slide="And a large model?"
def about(years):
    """A time in words, with one significant digit."""
    units = {
        "years": 1,
        "days": 365.25,
        "hours": 365.25 * 24,
        "seconds": 365.25 * 24 * 3600,
    }
    unit = next(
        (name for name, per_year in units.items() if years * per_year >= 1), "seconds"
    )
    return f"about {float(f'{years * units[unit]:.1g}'):,.0f} {unit}"


flops["Llama 3.1 405B"] = 3.8e25
large = ("ResNet-50", "GPT-3", "Llama 3.1 405B")
rate = bill.flops / bill.seconds
year = 365.25 * 24 * 3600
years = {name: flops[name] / rate / year for name in large}
best_rate = hardware.peak_flops(P.device, size=2048)
print(
    f"this machine trained the CNN at {rate / 1e9:.0f} GFLOP/s; one large matrix "
    f"product runs at {best_rate / 1e9:.0f}"
)
at_best = [f"{name} {about(flops[name] / best_rate / year)}" for name in large]
print(f"at the better rate: {', '.join(at_best)}")
recorded = recorded_value("01c", "01/training_seconds/cnn")
one_step = recorded["value"] / (10 * math.ceil(55_000 / 128))  # 10 epochs, batch 128
published = {
    f"one step of our CNN: {1e3 * one_step:.0f} ms": one_step,
    f"our CNN: {recorded['value'] / 60:.0f} minutes": recorded["value"],
    "ResNet-50 (256 GPUs): 1 hour": 3600,
    "Transformer (8 GPUs): 12 hours": 12 * 3600,
    "BLOOM (384 GPUs): 3.5 months": 3.5 * year / 12,
}
here = {f"our CNN: {about(bill.seconds / year)}": bill.seconds}
here |= {f"{name}:\n{about(value)}": value * year for name, value in years.items()}
plots.time_ladder(
    {"As it was done": published, "This machine, at the rate of the CNN": here},
    alt="01c/large_models",
)
plt.show()

# %%
settle("training.resnet_years", years["ResNet-50"])

# %%
report(
    "years_for_resnet50",
    years["ResNet-50"],
    "years",
    id="01/years/resnet50",
    data="this machine",
)
report(
    "years_for_gpt3", years["GPT-3"], "years", id="01/years/gpt3", data="this machine"
)

# %% [markdown]
# Two warnings go with these times.
# The throughput is that of a small network, and the second line above shows how much a better one would help.
# And GPT-3 would not fit into this machine's memory, because its weights alone take 0.7 TB in 32 bits, and training with Adam four times that.
# So trust the order of magnitude only, which is enough here, because between the CNN and GPT-3 lie eleven to twelve powers of ten.
# The two sides of the ladder show how the others got round it: they did not need fewer operations, but had many fast machines share them.
#
# What did GPT-3's training take on the machines that it ran on?
# Patterson et al. (2021, arXiv 2104.10350, Table 4) name GPUs of the type V100 that reached $24.6\cdot10^{12}$ FLOPs per second and drew 330 watts each, and a data centre that took a tenth more for cooling and the like.
# From this they compute 1,287 megawatt-hours, in 14.8 days on 10,000 GPUs.
# Does your function agree?

# %% tags=["nbval-check-output"]
operations, hours, kilowatt_hours = training_bill_checked(
    174.6e9, 300e9, 1, 24.6e12, 330 * 1.1
)
print(
    f"{operations:.3g} FLOPs, {hours / 1e6:.2f} million hours of one GPU, "
    f"{hours / 24 / 10_000:.1f} days on 10,000 of them"
)
print(f"{kilowatt_hours / 1000:,.0f} megawatt-hours")

# %% [markdown]
# Five numbers give the published result, but for the last digit, which is rounding.

# %% [markdown] slide="So, was the claim right?"
# ## 7. So, was the claim right?
#
# | what the article says | what we found |
# | --- | --- |
# | repeated for every object | time grows nearly in proportion to the number of images |
# | over and over | time grows in proportion to the number of epochs |
# | *may* involve matrices of many dimensions | operations are proportional to the width of this network; time grows more slowly (section 3 prints the slope) |
# | enormous power *is needed* | true of the largest models; a useful classifier took what the receipt says |
#
# 1. *Does the cost grow with images, repetitions and matrices?*
#    Yes, to within a tenth in proportion to the first two, and more slowly with the third.
# 2. *How much is enormous?*
#    The receipt says what a classifier of clothes took, which is some $10^{11}$ to $10^{12}$ operations.
# 3. *What would a really large model cost here?*
#    More than a lifetime, and more memory than there is.
#
# The article's "may" belongs to the matrices; of the power it says that it is needed, for a data set of considerable size.
# So the reasons hold, but the conclusion depends on how large a data set and a network one has in mind: the one that you have just trained can do without an accelerator.
# How much one would have helped is the question of chapter 2.
# How much of the cost you can avoid by starting from a trained network is the question of chapter 4.

# %%
verdict_cards("cost", records=proportions)

# %% [markdown]
# ## A challenge
#
# How small may a network be that still reads nine digits of ten?
# The next cell says what is asked and shows a first answer, and what random settings have reached with as much time.
# In a notebook, copy the answer into a new cell, make it better, and hand it over.

# %%
challenge("training.smallest")

# %% [markdown]
# ## An open task
#
# What would a model cost that you have read about?
# Find its parameters and examples, and write its bill with `training_bill_checked`, once for your machine and once for a GPU whose data sheet you can find.
# Write down where each of the five numbers comes from.
# From what you are unsure of, work out the lowest and the highest bill that you would believe.
# The task is answered when you can say which of the five numbers you would have to know better to bring the two together.

# %% [markdown]
# ## Quiz
#
# Open each choice to see whether it is right, and why.
#
# **1.
# You double the images and halve the epochs.
# The training time …**
#
# <details><summary>stays about the same.</summary>
#
# Right.
# Time is proportional to images × epochs, that is, to the number of steps.
# </details>
#
# <details><summary>doubles.</summary>
#
# No, it would double only if the epochs stayed as they were.
# </details>
#
# **2.
# Your GPU runs out of memory while training a small CNN.
# What do you reduce first?**
#
# <details><summary>The number of epochs.</summary>
#
# No, because epochs cost time and not memory.
# </details>
#
# <details><summary>The batch size.</summary>
#
# Right.
# Activations grow with the batch, and in a small CNN at usual batch sizes they are most of the memory.
# </details>
#
# <details><summary>The number of training images.</summary>
#
# No, they take some memory, but what a step needs grows with the batch and not with the number of batches.
# </details>
#
# **3.
# You make every layer of a small network twice as wide.
# How much longer does an epoch take on a laptop?**
#
# <details><summary>Four times as long, because the matrices have four times as many entries.</summary>
#
# The operations grow so where both sides of a matrix grow.
# The time of a small network grows less.
# </details>
#
# <details><summary>Longer, but by less than the operations say.</summary>
#
# Right, because part of a step does not depend on the width, and larger matrices run more efficiently.
# </details>
#
# <details><summary>As long as before.</summary>
#
# Only where nearly all of a step is overhead, in a very narrow network.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("01c")
my_bets("01c")

# %% [markdown]
# ## Take-away
#
# - Operations are images × epochs × operations per image, and can be counted before a run: about six per parameter, where each weight is used once per example.
# - Time is proportional to images and epochs, but with the size of the network it grows more slowly while the matrices are small.
# - Memory in 32 bits with Adam is 16 bytes per parameter, for the weight, the gradient and Adam's two numbers, plus the activations of one image × batch size.
# - "Training needs enormous power" is true of enormous models, but yours may need a minute.
#
# Go on with [chapter 2](02_hardware_acceleration.ipynb), *Hardware acceleration*.

# %% [markdown]
# ## Further reading
#
# - Kaplan et al., *Scaling Laws for Neural Language Models* (2020), arXiv 2001.08361: the rule of six FLOPs for each parameter and token.
# - Grattafiori et al., *The Llama 3 Herd of Models* (2024), arXiv 2407.21783.
# - He et al., *Deep Residual Learning for Image Recognition* (2015), arXiv 1512.03385.
# - Brown et al., *Language Models are Few-Shot Learners* (2020), arXiv 2005.14165.
# - Patterson et al., *Carbon Emissions and Large Neural Network Training* (2021), arXiv 2104.10350: what large models took in energy.
