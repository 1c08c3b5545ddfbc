# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "04e"
#     title: The first blocks transfer
#     minutes: {reading: 22, exercises: 28, cpu: 0.5, gpu: not yet measured}
#     requires: [vision]
# ---

# %% [markdown]
# # The first blocks transfer
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - graft blocks of one network into another, and test with a control which ones transfer;
# - choose between freezing, training further, and a learning rate for each layer;
# - feed a borrowed network what it was fed.
#
# This is optional reading after chapters [4](04_transfer_learning.ipynb) and [4a](04a_is_the_gain_real.ipynb).

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
task: str | None = None  # tops (clothes), animals, auto, or ./FOLDER of your pictures
counts: list | None = None  # labels of each class in the studies
draws: int | None = None  # times that labels are drawn anew
steps: int | None = None  # optimiser steps of a training, about and at most
deep: bool | None = None  # also run what is otherwise shown from a recorded run (long)
data_root: str | None = None  # a folder with your own copies of CIFAR and of photos

# %%
from vaetl_helpers.runtime import CourseError, report, setup, show_table

P = setup(
    "04e",
    profile,
    seed=seed,
    task=task,
    counts=counts,
    draws=draws,
    steps=steps,
    deep=deep,
    data_root=data_root,
)

# %%
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats
from torch import nn

from vaetl_helpers import data, nets, plots, study, supervised_transfer, transfer
from vaetl_helpers.data import tasks
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.labels import labels_and_bill
from vaetl_helpers.output import record_id, show_record
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle

T = tasks.load_task(P.task, P.data_root, P.device)
new = T.pool.classes
P.counts = T.counts(P.counts)
most = len(new) * P.counts[-1]  # labels of all classes together
plan = supervised_transfer.Plan.of(T, P.steps)
source = plan.sources[0]

# %% [markdown]
# ### Recall
#
# Four questions from the chapters that this one needs.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("04e", needs=("04", "04a"))

# %% [markdown]
# ## 1. How much of the network do you keep?
#
# Nobody makes you keep all layers of a trained network.
# Yosinski et al. (2014) asked for ImageNet which are worth keeping, and we ask it for small tasks.
#
# Let A be the source task and B the target task.
# Take the first $n$ blocks of a network trained on A, *freeze* them, and train new blocks and a new head behind them on 200 labels of B.
# That is **AnB**, so A2B has two blocks of the source.
#
# A new network trained on the same labels, **B alone**, would be no fair rival.
# AnB was also cut in two and trained in two goes, which may help or hurt by itself.
# So the control is the *selffer* **BnB**, made in the same way, but with the first $n$ blocks of B alone.
# Where AnB is ahead of BnB, the source helps, and not the surgery.
#
# Before you look, is A2B better than B2B?

# %%
predict("transfer.depth")

# %% [markdown]
# ### Exercise 1: graft · 12 minutes
#
# Build AnB from a `source` and a `fresh` network, each an `nn.Sequential` of three blocks and a head.
# `transfer.freeze(module)` from the package fixes weights and BatchNorm's statistics.


# %% exercise="transfer.graft"

# %% check="transfer.graft"
graft_checked = check("transfer.graft", graft)

# %% [markdown]
# Train both on two draws; B alone comes first, because B2B takes its blocks.

# %%
drawn = study.draw_labels(T.pool.labels, P.counts[-1], 2, P.seed)


def train(model, draw, rate, groups=None):
    """Trains what is not frozen on a draw's labels, and returns the model."""
    adam = torch.optim.Adam(groups or transfer.trainable(model), rate, fused=True)
    images = plan.labelled(draw)
    how = plan.options(images, draw)
    transfer.fit_best(model, images, T.validation, optimizer=adam, **how)
    return model


def right(model):
    """100 for each test image that is right, 0 for the others."""
    return 100 * supervised_transfer.correct(model, T.test).float().cpu()


live = {"B alone": [], "B2B": [], "A2B": []}
for draw in drawn:
    torch.manual_seed(draw.seed)
    alone = train(supervised_transfer.untrained(plan), draw, plan.rates["scratch"])
    live["B alone"].append(right(alone))
    for name, donor in {"B2B": alone, "A2B": source}.items():
        model = graft_checked(donor, supervised_transfer.untrained(plan), 2)
        live[name].append(right(train(model, draw, plan.rates["scratch"])))

# %% [markdown]
# Two draws say little, so ten recorded ones stand beside them.
# A thin line is a draw, and it rises where the source's blocks beat the control's; the thick one is the mean.
# In which panel do most rise?

# %% slide="The source's blocks beat the control's at the second block"
layers = supervised_transfer.as_methods(study.recorded_study("04", "tops_layers"))
pairs = {
    "this run": {d: [float(live[k][d].mean()) for k in ("B2B", "A2B")] for d in (0, 1)}
}
for n, title in enumerate(("one block", "two blocks", "all three"), 1):
    each = [layers.values(f"{kind}{n}B", "test accuracy", 200) for kind in "BA"]
    pairs[f"{title}, recorded"] = {d: [of[d] for of in each] for d in each[0]}
axes = plots.panels(list(pairs), alt="04e/pairs", width=2.5, height=3.2, columns=4)
for axis in axes[1:]:
    axis.sharey(axes[0])
for n, (axis, draws) in enumerate(zip(axes, pairs.values())):
    for pair in draws.values():
        axis.plot((0, 1), pair, "o-", color=plots.GREY, linewidth=1, markersize=3)
    mean = np.mean(list(draws.values()), axis=0)
    axis.plot((0, 1), mean, "o-", color=plots.COLOURS[0], linewidth=3)
    axis.set_xticks((0, 1), [f"{kind}{n or 2}B" for kind in "BA"])
    axis.set(xlim=(-0.3, 1.3), ylabel="" if n else "test accuracy (%)")
plt.show()

# %%
for name in ("B2B", "B alone"):
    e = study.effect_of(torch.stack(live["A2B"]) - torch.stack(live[name]))
    print(f"A2B − {name}, two draws: {e.effect:+.1f} points, {study.in_this_run(e)}")
source_helps = study.paired(layers, "A2B", "B2B", "test accuracy", 200)
settle("transfer.depth", source_helps.effect)

# %% [markdown]
# ## 2. Which blocks are worth keeping?
#
# With two blocks every recorded line rises, and in the panels beside it they cross.
# Source and control had the same labels in each draw, so their difference can be taken draw by draw, and the mean of ten differences has an interval.
#
# In the figure below the first three rows are those differences.
# The other three are about the source alone: two frozen blocks against three, against two that were trained on with the rest, and against all of it trained on, as in chapter 4.
# Which intervals lie on one side of the line at 0?


# %% slide="Two blocks beat the control"
def differences_in(table, pairs):
    """The paired differences of a recorded study, in points, by their names."""
    return {
        name: study.paired(table, a, b, "test accuracy", 200)
        for name, (a, b) in pairs.items()
    }


plots.differences(
    differences_in(
        layers,
        {
            "one block: source − control": ("A1B", "B1B"),
            "two blocks: source − control": ("A2B", "B2B"),
            "three blocks: source − control": ("A3B", "B3B"),
            "two frozen − three frozen": ("A2B", "A3B"),
            "two frozen − two trained on": ("A2B", "A2B+"),
            "two frozen − all trained on": ("A2B", "A3B+"),
        },
    ),
    "Two blocks beat the control and three frozen; the rest is close",
    "difference in test accuracy (points)",
    alt="04e/differences",
    group=3,
)
plt.show()

# %% [markdown]
# The source's first two blocks are about five points better than B's own, so on these draws it is the source that helps and not the surgery.
# For one block and for all three the interval holds 0, so there the source is not shown to do more than the control.
# The fourth row says why to stop at two, because a third frozen block costs about four points.
# One guess is that the last block has learned what tells a coat from a pullover, and frozen it can learn nothing else.
#
# The last two rows are the practical ones, and in both the frozen blocks are about three points ahead.
# Mind that these two intervals only just leave 0 out, by 0.1 points, and that nobody has corrected six comparisons for being six.
# Moreover all of these networks learned at one rate, which was chosen for training from scratch, so perhaps the source's blocks only learned too fast.
# Section 3 looks into that.
#
# In Yosinski's study the target had hundreds of thousands of images, and A's deep layers lost against B's own.
# Here the target has 200 labels, so B's own blocks are poor, and the source's have more to offer.
# On the animals ten draws do not show any block to help; the appendix has that figure, with B alone as the line at 0.
#
# ### What can be read after each block?
#
# The guess about the third block can be looked at, without any training of a network.
# Put a linear probe after each block and ask how much of *pullover or shirt* can be read there, in the source and in a network that was never trained.
# Both get the same labels, and what a block gives is averaged over a grid of 4 × 4 places.
# After the last block that is not possible, because it has taken the mean over all places already.
# So a hollow mark shows the second block with that mean, too, and between it and the third there is only depth.


# %%
def after(model, images, blocks, size=4):
    """What a probe sees behind so many blocks, in size² places, and the pixels behind
    none.
    """
    if not blocks:
        return images.images.flatten(1).cpu() / 255
    is_last = blocks == len(model) - 1
    grid = nn.Identity() if is_last else nn.AdaptiveAvgPool2d(size)
    return transfer.features(nn.Sequential(model[:blocks], grid, nn.Flatten()), images)


read = study.draw_labels(T.pool.labels, P.counts[-1], P.draws, P.seed)
labels_shared = float(np.mean([draw.overlap for draw in read]))
torch.manual_seed(P.seed)
networks = {"source": source, "never trained": supervised_transfer.untrained(plan)}
MEAN = "block 2, mean of all places"
PROBED = {
    "pixels": (0,),
    "block 1": (1,),
    "block 2": (2,),
    "block 3": (3,),
    MEAN: (2, 1),
}
hit = {}  # 100 for each test image that is right: [draws, images]
for name, model in networks.items():
    for where, at in PROBED.items():
        if where == "pixels" and hit:  # the same for both networks
            hit[name, where] = hit["source", where]
            continue
        x, x_validation, x_test = (
            after(model, images, *at) for images in (T.pool, T.validation, T.test)
        )
        said = []
        for draw in read:
            labelled = x[draw.indices], T.pool.labels[draw.indices.to(P.device)]
            probe = transfer.linear_probe(
                *labelled, x_validation, T.validation.labels, scalings=["standardised"]
            )
            said.append(probe.predict(x_test))
        hit[name, where] = 100 * (torch.stack(said) == T.test.labels.cpu()).float()

# %% slide="Most can be read after the second block"
*blocks, _ = PROBED
means = {name: [float(hit[name, at].mean()) for at in blocks] for name in networks}
title = (
    f"{' or '.join(new)}: a probe finds most after {blocks[np.argmax(means['source'])]}"
)
(axis,) = plots.panels([title], alt="04e/read", width=6.5)
for (name, reached), colour in zip(means.items(), plots.COLOURS):
    axis.plot(reached, marker="o", color=colour, label=name)
    averaged = float(hit[name, MEAN].mean())
    axis.plot(2, averaged, "o", color=colour, fillstyle="none", label=f"{name}, mean")
axis.set_xticks(range(len(blocks)), blocks)
axis.set(xlabel="what the probe sees", ylabel="test accuracy (%)")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# Both networks were probed with the same labels and images, so the marks are compared in pairs, as above.
# The first four rows are source minus never trained, and the last two compare places within the source.

# %%
pairs = {
    f"{at}: source − never trained": [("source", at), ("never trained", at)]
    for at in (*blocks[1:], MEAN)
}
for more, at in {"": "block 2", ", both as means": MEAN}.items():
    pairs[f"source: block 3 − block 2{more}"] = [("source", "block 3"), ("source", at)]
plots.differences(
    {
        name: study.effect_of(hit[one] - hit[other], labels_shared)
        for name, (one, other) in pairs.items()
    },
    "What the source adds for a probe, block by block",
    "difference in test accuracy (points)",
    alt="04e/read_pairs",
    group=4,
)
plt.show()

# %% [markdown]
# On the clothes a probe finds most after the second block, and there the source is about five points ahead of the network that was never trained.
# After the first block it is two points ahead, which the interval only just leaves open.
# Behind the third block both networks give less in the mean, but the hollow marks lie lower still, so the mean over all places takes that and not the depth.
# Averaged alike, the source's third block gives even two points more than its second in the mean, and that is open, too.
# So the probe does not bear the guess out, because for pullover or shirt the source's third block is no worse than what stands before it.
# What a frozen third block costs may rather be that a new one can learn what to keep before the mean is taken, which is a guess again.

# %% [markdown]
# ## 3. Rates by depth
#
# If the first blocks are worth keeping and the last one is less so, then freezing is a blunt tool, because it is all or nothing.
# A finer one lets every layer learn, but the first ones slowest and the head fastest, which is known as **discriminative rates**.
# It suits what layers are thought to see: the first ones edges, which any pictures have, and the last ones what was asked of them.
# Howard and Ruder (2018) divide the rate by 2.6 from one part to the part before it:
#
# $$\eta_{\ell} = \eta \,/\, 2.6^{\,L-\ell}$$
#
# Here $\ell = 1 \dots L$ numbers the parts from the input to the head, $\eta$ is the head's rate (`rate`), and 2.6 is `factor`.
#
# ### Exercise 2: groups of parameters · 10 minutes
#
# An optimiser takes a list of dicts `{"params": [...], "lr": ...}`.
# Make one for each part that has something to train.
# A frozen part gives no group, but it counts in the depth.


# %% exercise="transfer.param_groups"

# %% check="transfer.param_groups"
param_groups_checked = check("transfer.param_groups", param_groups)

# %% tags=["nbval-check-output"]
net = nets.transfer_cnn()
names = list(dict(net.named_children()))
for group, name in zip(param_groups_checked(list(net), 1e-3, 2.6), names):
    print(f"{name}: rate {group['lr']:.2e}")

# %% tags=["nbval-check-output"]
transfer.freeze(net[0])
print("with the first block frozen:")
for group, name in zip(param_groups_checked(list(net), 1e-3, 2.6), names[1:]):
    print(f"{name}: rate {group['lr']:.2e}")

# %% [markdown]
# Let your groups train.
# We take the whole source with a new head, as chapter 4 did, and train all of it on the first draw, once at equal rates (a factor of 1) and once at rates by depth.
# Which of the two do you expect ahead?

# %%
for name, factor in {"equal rates": 1, "rates by depth": 2.6}.items():
    model = supervised_transfer.with_new_head(source, T, P.seed)
    rate = plan.rates["fine-tuned"]
    groups = param_groups_checked(list(model), rate, factor)
    accuracy = float(right(train(model, drawn[0], rate, groups)).mean())
    print(f"{name}: {accuracy:.1f} % of the test images are right")

# %% [markdown]
# One draw is one draw, so here are ten, recorded, and two more trainings beside these: one freezes the first two blocks, and the other gives everything a lower rate.

# %% slide="Equal rates, rates by depth, or frozen?"
rates = supervised_transfer.as_methods(study.recorded_study("04", "tops_rates"))
plots.differences(
    differences_in(
        rates,
        {
            "rates by depth − equal rates": ("by depth", "equal"),
            "two frozen − equal rates": ("two frozen", "equal"),
            "lower rates − equal rates": ("equal, lower", "equal"),
            "rates by depth − two frozen": ("by depth", "two frozen"),
        },
    ),
    "Nothing is shown to beat equal rates",
    "difference in test accuracy (points)",
    alt="04e/rates",
    group=3,
)
plt.show()

# %% [markdown]
# Rates by depth and two frozen blocks are both about two and a half points ahead of equal rates in the mean, but both intervals hold 0, so ten draws do not show that either helps.
# The second row is the last one of section 2 again, at the rate of fine-tuning, so what that row had only just shown is open.
# The third row has everything at the lower rate of the last block, in case it is only the head's rate that is too high for a body, and its interval holds 0, too.
# Between the finer tool and the blunt one hardly more than a point is left open, so the choice is one of convenience, and rates by depth save you the question of where to cut.
# The rate of the head was chosen for fine-tuning by depth in chapter 4a's tuning, which favours rates by depth a little over equal ones.
#
# `transfer.fine_tune` uses rates by depth in both of its phases, and halves all of them in the second.
# A cousin from the same paper, *gradual unfreezing*, trains the head alone and then opens one more part after another (`transfer.gradual_unfreezing`).

# %% [markdown]
# ## 4. Feed it what it was fed
#
# Blocks that you take over compute what they have learned only if images come in as they did in the source's training.
# Our small networks learned from pixels between 0 and 1, and the package has divided by 255 for you.
# A network of somebody else has its own **preprocessing** in three parts: the size of a picture, the range of its levels, and the normalisation $(x - m_c) / s_c$.
# The mean $m_c$ and the standard deviation $s_c$ of each colour channel $c$ are those of the *source's* images and not of yours.
# A wrong one raises no error by itself.
#
# ### Exercise 3: normalise · 6 minutes
#
# You get uint8 images `[n, 3, h, w]` with levels 0 … 255.
# The arguments `mean` and `std` are lists of three numbers, for levels scaled to [0, 1].


# %% exercise="transfer.normalise"

# %% check="transfer.normalise"
normalise_checked = check("transfer.normalise", normalise)

# %% tags=["nbval-check-output"]
grey = torch.full((1, 3, 1, 1), 127, dtype=torch.uint8)
print(
    "level 127 for EfficientNet-Lite0:",
    normalise_checked(grey, [127 / 255] * 3, [128 / 255] * 3).flatten().tolist(),
)
print(
    "and for torchvision's ResNet-18:",
    [
        round(x, 2)
        for x in normalise_checked(grey, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        .flatten()
        .tolist()
    ],
)

# %% [markdown]
# The course's `Backbone` does this in its `prepare`.
# It takes grey levels from 0 to 255 and refuses anything else, because an image that was prepared before would be prepared twice.
# Let us hand it a white one that was prepared for ResNet-18.

# %%
try:
    lite0 = transfer.backbone("efficientnet-lite0").to(
        P.device, memory_format=torch.channels_last
    )
    print(lite0.source)
    for_resnet = normalise_checked(
        torch.full((1, 3, 224, 224), 255, dtype=torch.uint8),
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
    )
    lite0(for_resnet.to(P.device))
except CourseError as error:
    print(error)

# %% [markdown]
# How much does a wrong one cost?
# On photos of ants and bees a linear probe on EfficientNet-Lite0's features was measured with three preprocessings.

# %%
predict("transfer.preprocessing")

# %%
ANTS_BEES = [
    "its own preprocessing",
    "torchvision's mean and std",
    "levels 0 to 255 as they are",
]
for name in ANTS_BEES:
    of_photos = study.recorded_value("04", record_id("04", "ants bees", name), "tops")
    hit = of_photos["n"] * of_photos["value"] / 100
    print(f"{name}: {hit:.0f} of {of_photos['n']} photos right, recorded")
settle("transfer.preprocessing", hit)

# %% [markdown]
# With levels from 0 to 255 thirty-six photos are lost, 24 points [17, 30], and nothing has warned.
# Another network's mean and spread cost two, and there the interval of the paired difference holds 0, 1.3 points [−2.4, 5.0].
# The photos were taken from ImageNet, on which the network was trained, so trust the differences more than the level.
# A probe hides a part of the harm, because it is trained on the wrong features and adapts to them, which a head that is taken over cannot do.
# The intervals, and a comparison of this large network's features with ours, stand in an appendix.

# %% [markdown]
# ## 5. So, which layers transfer?
#
# The first two blocks do, on the clothes: frozen, they are better than two that 200 labels have trained, on the same draws and after the same surgery.
# One block alone and all three are not shown to be better than the control, and freezing the third costs more than it brings.
# Freezing the first two and training the whole source at rates by depth came out alike.
# On the animals all of this is open.
# It is exploratory and holds for one source model, so it says what to test next and decides no claim.

# %% [markdown]
# ## An open task
#
# Does a later block help without those before it?
# Take the second block of the source and leave the first one untrained, and measure that beside A2B on the same draws.
# Write down what each of the two should show if blocks depend on each other.
# The task is answered when you have the paired difference with its interval, and have named the control that it needs.

# %% [markdown]
# ## Quiz
#
# **1.
# A frozen block and a block with a tiny learning rate: what is the difference?**
#
# <details><summary>None, if the rate is small enough.</summary>
#
# BatchNorm's running statistics move whatever the rate is.
# </details>
#
# <details><summary>The frozen one keeps its buffers, too.</summary>
#
# Right.
# Chapter 4f shows what happens otherwise.
# </details>
#
# **2.
# A2B is better than B alone.
# What does B2B add to that?**
#
# <details><summary>Nothing, because it was trained on B.</summary>
#
# It shows what cutting alone does, without any source.
# </details>
#
# <details><summary>It tells the source's features from the effect of the cut.</summary>
#
# Right.
# If B2B gained as much, training in two goes would be the reason, and not A.
# </details>
#
# **3.
# Ten draws put rates by depth 2.4 points ahead of equal rates, with an interval from −0.3 to 5.1.
# What do you do?**
#
# <details><summary>Take rates by depth, because they are better.</summary>
#
# The interval holds 0, so they may be better, but ten draws have not shown it.
# </details>
#
# <details><summary>Run more draws, or take either.</summary>
#
# Right.
# With twice as many draws the interval would be about 0.7 times as wide, and until then nothing says that the choice matters.
# </details>

# %%
quiz("04e")
my_bets("04e")

# %% [markdown]
# ## Take-away
#
# - On pullover or shirt the source's first two blocks, frozen, beat the control's by about five points; one block and all three are not shown to.
# - Whoever cuts a network in two needs a control for the cut, compared on the same draws.
# - Freezing the first blocks and giving them small rates came out alike here, and neither was shown to beat equal rates, so compare them on your own task.
# - Feed a network what it was fed: the source's size, range, mean and spread.

# %% [markdown]
# ## Further reading
#
# - Yosinski, Clune, Bengio and Lipson, *How transferable are features in deep neural networks?*
#   (2014), arXiv 1411.1792.
# - Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification* (2018), arXiv 1801.06146: rates by depth, gradual unfreezing.
# - Kornblith, Shlens and Le, *Do Better ImageNet Models Transfer Better?*
#   (2019), arXiv 1805.08974.

# %% [markdown]
# ## Appendix: the recorded studies
#
# First the networks of section 2 as points more than B alone, in both stories.
# Hollow marks are frozen blocks, filled ones were trained further, which is written **AnB⁺** and **BnB⁺**.

# %%
for axis, name in zip(
    plots.panels(["tops, recorded", "animals, recorded"], alt="04e/layers", height=3.8),
    ("tops", "animals"),
):
    for look, (kind, plus) in enumerate((k, p) for k in "AB" for p in ("", "+")):
        ids = [record_id("04", "layers gain", f"{kind}{n}B{plus}") for n in (1, 2, 3)]
        found = [study.recorded_value("04", id, name) for id in ids]
        y, low, high = (
            np.array([r[key] for r in found]) for key in ("value", "low", "high")
        )
        axis.errorbar(
            np.arange(1, 4) + 0.08 * (look - 1.5),
            y,
            (y - low, high - y),
            color=plots.COLOURS["AB".index(kind)],
            linestyle="none",
            marker="o",
            fillstyle="full" if plus else "none",
            capsize=3,
            label=f"{kind}nB{plus}",
        )
    axis.axhline(0, color="black", linewidth=1, label="B alone")
    axis.set(
        xlabel="blocks taken over (n)",
        ylabel="points more than B alone",
        xticks=(1, 2, 3),
    )
axis.figure.legend(
    *axis.get_legend_handles_labels(),
    loc="outside lower center",
    ncols=5,
    frameon=False,
    fontsize=10,
)
plt.show()

# %% [markdown]
# No selffer's interval lies below 0, so these draws show no price of cutting, although on the animals they leave room for one of nearly six points.
# On the clothes B1B even gains about a point, so training in two goes helps a little there.
# On the animals no interval leaves 0 out, and the filled marks of A are the higher ones in the mean, so freezing is no rule.
#
# `deep=True` runs the studies of sections 2 and 3 here, with thirteen trainings per draw for the layers and four for the rates.
# Those of the clothes were recorded by `vaetl run 04e --profile paper -p task=tops -p seed=20261129`.

# %%
if P.deep:
    first = supervised_transfer.Plan(T, plan.sources[:1], plan.facts, P.steps)
    for name in ("layers", "rates"):
        run = partial(getattr(supervised_transfer, name), first)
        method = study.Method(name, run, {"steps": P.steps})
        path = P.table_path(f"{T.name}_{name}", chapter="04")
        table = supervised_transfer.as_methods(
            first.run([method], most, P.draws, P.seed, out=path, name=name)
        )
        against = {"layers": "base", "rates": "equal"}[name]
        for network in sorted({row["method"] for row in table.rows} - {name, against}):
            e = study.paired(table, network, against, "test accuracy", most)
            id = record_id("04", f"{name} gain", network)
            title = f"{network} − {against}".replace("base", "B alone")
            show_record(e.to_record(title, "points", id=id, data=T.name))

# %% [markdown]
# ## Appendix: what a source is worth in labels
#
# Chapter 4a counted operations.
# **Labels** are the other saving: how many does fine-tuning need for the accuracy that scratch reaches with 100 per class?

# %%
predict("transfer.labels")

# %% [markdown]
# The figure has the methods of chapter 4a's recorded runs, and their bills.
# One bill stays open: we do not know what the ImageNet network cost.
# Move the budget of labels, and watch which method leads; then look at who paid for its source.

# %% slide="Labels, and who paid for the source"
labels_and_bill(alt="04e/bill", chapter="04", method="fine-tuned", labels=20)
plt.show()

# %% [markdown]
# Between two counts of labels we interpolate on the logarithmic axis; an end that is open is beyond the counts that were tried.
# On the clothes both ends are open, since some of the forty draws of fine-tuning are there with the fewest labels and others not with the most, so the ratio is unknown.

# %%
for story, name in {"clothes": "tops", "animals": "animals"}.items():
    saved = study.recorded_value("04", "04/labels/scratch-fine_tuned", name)
    begin, end = (
        f"{saved[key]:.1f} times" if saved[key] else "open" for key in ("low", "high")
    )
    ratio = f"{saved['value']:.1f} times fewer labels, from {begin} to {end}"
    if saved["low"] is None and saved["high"] is None:
        ratio = "an unknown number of labels"
    print(
        f"{story}: for what scratch reaches with 100 labels a class, fine-tuning needs "
        f"{ratio} (n = {saved['n']}, {saved['label']})"
    )
settle("transfer.labels")

# %% [markdown]
# The source model itself saw thousands of labels.
# So the ratio says what *you* save if somebody else has collected them.
# In operations the bill is the break-even of chapter 4a: how many target tasks repay the source?

# %%
predict("transfer.repaid")

# %% slide="How many tasks repay the source?"
repaid = study.recorded_value("04", "04/break_even/flops/10_a_class", "tops")
print(
    f"pullover or shirt, 10 labels a class: {repaid['value']:,.0f} tasks "
    f"[{repaid['low']:,.0f}, {repaid['high']:,.0f}], {repaid['label']}"
)
settle("transfer.repaid", repaid["value"])

# %% [markdown]
# ## Appendix: a network trained on ImageNet
#
# **ImageNet-1k** has 1.28 million photos in 1,000 classes.
# A network that was trained on it is what most people mean by "a pretrained backbone".
# With `transfer.backbone` you load EfficientNet-Lite0, which comes with the package's extra `vision`, or torchvision's ResNet-18 and MobileNetV3, which are downloaded once.
#
# Does a network that has seen a million *photos* help with our small pictures?
# It wants 224 × 224 colour pixels, so ours are enlarged, and grey ones are repeated in three channels.
# Chapter 4a's recorded study has a probe on its features beside one on ours, with ten labels per class, ten source models and forty draws.

# %%
ahead, rows = {}, []
for story in ("tops", "animals"):
    table = study.recorded_study("04", story)
    two = ("ImageNet probe", "linear probe")
    e = ahead[story] = study.paired(table, *two, "test accuracy", 20)
    means = (f"{table.mean(name, 'test accuracy', 20):.1f} %" for name in two)
    rows.append((story, *means, f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]"))
show_table(rows, ("recorded", "ImageNet", "our source", "points [95 %]"))

# %% [markdown]
# The large network is ahead in both stories, by about five points on the clothes and by 25 on the animals, and both intervals lie above 0.
# The lead is larger where colour photos are the task, but two cases do not tell why.
# Dogs and foxes are among ImageNet's 1,000 classes, and so are a cardigan and a sweatshirt.
# The stories also differ in colour and in size, the networks in the number of features (1,280 against 64), and our pictures were enlarged.
#
# ### Is the size alone enough?
#
# One explanation can be tested.
# EfficientNet-Lite0 has 3.4 million weights for two classes, where our source model has 23,000, so perhaps a network of that size leads without ImageNet, too.
# We have trained it on the same photos of dogs and foxes, from random weights and from ImageNet's.
# The learning rate of each, one of four, was chosen by its validation accuracy on three draws that are not used here.
# ImageNet's start keeps the statistics of its BatchNorm layers and leaves nothing out, as is usual with few photos.
# From scratch, some blocks are left out at random in training, as the network was built, and the statistics are taken anew from the labelled photos before each look.
# The black dashed line is a probe on the untouched features.
# How near does scratch come to that line, and how soon does the start from ImageNet's weights?

# %%
large = study.recorded_study("04", "large")
kinds = {
    "from ImageNet's weights": "large, fine-tuned",
    "from scratch": "large, from scratch",
}
axes = plots.panels(["20 labels", "100 labels"], alt="04e/large", height=3)
for axis, count in zip(axes, large.known("labels")):
    for (start, method), colour in zip(kinds.items(), plots.COLOURS):
        looked = {}  # steps: mean and interval
        for step in (10, 20, 40, 100):
            metric = f"test accuracy after {step} steps"
            if (method, metric, count) in large.rows_of():
                values = large.values(method, metric, count).values()
                looked[step] = study.mean_interval(list(values))
        middle, low, high = np.transpose(list(looked.values()))
        axis.errorbar(
            list(looked),
            middle,
            (middle - low, high - middle),
            color=colour,
            marker="o",
            label=start,
        )
    probed = large.mean("large, probe", "test accuracy", count)
    axis.axhline(probed, color="black", linestyle="--", linewidth=1, label="probe")
    axis.set(xlabel="steps of ten photos", ylabel="test accuracy (%)", ylim=(45, 100))
axes[0].legend(frameon=False, loc="center right")
plt.show()

# %%
rows = []
for count in large.known("labels"):
    for a, b in (
        ("large, fine-tuned", "large, from scratch"),
        ("large, probe", "large, fine-tuned"),
        ("large, probe without validation images", "large, fine-tuned"),
    ):
        e = study.paired(large, a, b, "test accuracy", count)
        rows.append(
            (
                f"{count} labels: {a} − {b}".replace("large, ", ""),
                f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]",
            )
        )
show_table(rows, ("dog or fox", "points [95 %]"))

# %% [markdown]
# **The size alone is not enough.**
# With twenty labels the large network from scratch ends at 57.4 % [55.6, 59.2], and with a hundred at 64.1 % [60.2, 68.0].
# It has learned its own photos, for after forty steps it names nearly all of its twenty right, and after a hundred steps 91 of its hundred.
# From ImageNet's weights the same network stands at 88 % with twenty labels after ten steps, in which it has seen a hundred photos, repeated ones included; with a hundred labels, where a lower rate was best at the end, it takes forty steps to 91 %.
# The two recipes also differ in what is left out and in BatchNorm, but of a gap of 30 points nearly all must come from the weights that the network begins with.
#
# In these few steps, training all of it was not the best use of it, though.
# With twenty labels the probe is ahead by 1.8 points [0.1, 3.5], and it needs one forward pass for each photo; with a hundred labels no difference is shown, 1.2 points [−0.5, 2.8].
# Both were tuned on a hundred validation images, which nobody has who has twenty labels.
# If the probe's settings are chosen inside the labels instead, while the trained network keeps its validation images, it is ahead by 1.1 points [−0.4, 2.6] with twenty labels and by 1.5 [0.4, 2.5] with a hundred.
# So in none of the four is the trained network ahead, and two of the four show the probe ahead, narrowly and without a correction for four comparisons.
#
# Not tried were a *small* network with weights from ImageNet, which would tell what the size adds to them, changed copies of the few photos, which may help from scratch, and other large networks.
#
# **A mistake of ours, and a trap for you.**
# We first tested the network from scratch with BatchNorm's *running* averages, as `eval()` does, and recorded 52 % with twenty labels.
# But these averages are of about the last ten steps, and at first of the values that they began with, while the weights change at every step, so they fit no network that ever was.
# With them the networks of this study, too, end at 50.6 % with twenty labels, and ten of the sixteen draws at exactly one half; with a hundred labels and a hundred steps it is 62.0 beside 64.1 %.
#
# Our small network is tested with running averages, too, here and in chapter 4a, so does that favour fine-tuning?
# We trained it from scratch once more on forty draws of the clothes, with ten labels a class.
# With renewed statistics it ends 0.7 points higher [−0.3, 1.6], so no difference is shown, and with running averages it needs 1.24 times [1.02, 1.50] as many steps until it reaches what both of them reach.
# On these draws fine-tuning is 72 times cheaper in FLOPs [53, 98] with running averages, and 65 times [48, 88] with renewed ones, each to an accuracy that it and scratch both reach, so nearly all of the saving remains.
#
# Where a network with BatchNorm has taken few steps and seems to have learned nothing, look in `eval()` at the images that it was trained on: if it fails even there, though its loss has fallen, suspect the averages.
#
# For pictures of your own nothing is recorded, so there the next cell runs such a comparison, on a few draws, because a pass of the large network costs much more than one of ours.


# %%
def photo_features(images):
    """EfficientNet-Lite0's features, [n, 1280]; grey images become three equal
    channels.
    """
    return transfer.features(lite0, images.images.expand(-1, 3, -1, -1))


is_recorded = T.name in ahead and not P.deep
if "lite0" in globals() and not is_recorded:
    few_draws = max(2, P.draws // 2)
    drawn = [
        draw.indices
        for draw in study.draw_labels(T.pool.labels, 10, few_draws, P.seed + 1)
    ]
    tests = min(10 * few_draws, int(T.test.labels.bincount().min()))
    (test_draw,) = study.draw_labels(T.test.labels, tests, 1, P.seed)
    tested = T.test.subset(test_draw.indices.to(P.device))
    pool = T.pool.subset(torch.cat(drawn).unique().to(P.device))
    place = {index: row for row, index in enumerate(torch.cat(drawn).unique().tolist())}
    views = {
        "EfficientNet-Lite0 (ImageNet)": photo_features,
        "our source model": lambda images: supervised_transfer.features_of(
            images, plan.sources[0]
        ),
    }
    accuracy = {}
    for name, see in views.items():
        x, x_test = see(pool), see(tested)
        rows = [[place[index] for index in chosen.tolist()] for chosen in drawn]
        probes = [transfer.linear_probe(x[row], pool.labels[row]) for row in rows]
        accuracy[name] = torch.stack(
            [fitted.predict(x_test) == tested.labels.cpu() for fitted in probes]
        ).numpy()
    means = (f"{name} {100 * right.mean():.1f} %" for name, right in accuracy.items())
    print("; ".join(means))
    e = study.effect_of(
        100
        * (
            accuracy["EfficientNet-Lite0 (ImageNet)"].astype(float)
            - accuracy["our source model"]
        )
    )
    name, id = "ImageNet − our source, 10 a class", "04/accuracy/imagenet-our_source"
    alone = ["this pretrained model"]
    record = e.to_record(
        name, "points", id=f"{id}/10_a_class", data=T.name, conditional=alone
    )
    show_record(record)

# %% [markdown]
# What about real photos?
# PyTorch's transfer-learning tutorial has 244 training and 153 validation photos of ants and bees.
# Section 4 has the probe's hits on them with three preprocessings; here are the intervals, with C chosen by cross-validation inside the training photos.
# Mind what kind of evidence this is: the photos were taken *from ImageNet*, on which the backbone was trained, so they are not new to it and the accuracy is flattered.

# %%
if P.deep:
    try:
        photos = data.load("ants-bees", full=True, root=P.data_root)
        right = supervised_transfer.probes_by_preprocessing(lite0, photos)
        for name, is_right in right.items():
            count, n = int(is_right.sum()), len(is_right)
            interval = stats.binomtest(count, n).proportion_ci(method="wilson")
            ends = {"low": 100 * interval.low, "high": 100 * interval.high}
            id = record_id("04", "ants bees", name)
            title = f"ants and bees, {name}"
            report(title, 100 * count / n, "%", id=id, n=n, data="ants-bees", **ends)
        own = right.pop("its own preprocessing")
        for name, other in right.items():
            e = study.effect_of(100 * (own.float() - other.float()))
            title, id = f"its own − {name}", record_id("04", "ants bees", ("own", name))
            show_record(e.to_record(title, "points", id=id, data="ants-bees"))
    except CourseError as error:
        print(error)
ids = [record_id("04", "ants bees", name) for name in ANTS_BEES]
ids += [record_id("04", "ants bees", ("own", name)) for name in ANTS_BEES[1:]]
study.show_recorded("04", ids, "tops", data="ants-bees")

# %% [markdown]
# Here n counts photos, and the intervals are Wilson's for a proportion.
# All of them hold for one validation set and one fixed network.
