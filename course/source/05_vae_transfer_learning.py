# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "05"
#     title: VAE and transfer learning
#     minutes: {reading: 25, exercises: 30, cpu: 0.6, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # VAE and transfer learning
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - tell apart semi-supervised learning, self-taught learning and transfer from a source to a related target;
# - use a trained VAE for a task with few labels, as fixed features or as the start of a network;
# - run a small study that compares such networks on the same labels.
#
# You need [chapter 3](03_variational_autoencoder.ipynb) for the VAE, and [chapter 4](04_transfer_learning.ipynb) for probes and fine-tuning.

# %% [markdown] slide="From a VAE to a classifier"
# ## The claim that this chapter tests
#
# A VAE learns from images without labels.
# Afterwards its encoder can be taken out and given a task with few labels, and that is the operation of this chapter.
# In the drawing, look for the parts of the VAE that go along.
#
# {diagram: surgery}
#
# The second article behind this course says of it that *a VAE together with transfer learning performs better*.
# It gives no number, no data set and no comparison, so a measure is needed before anything is run.
# Ours is the accuracy on test images, against *the same network from scratch*.
# Its three other claims, on overfitting, speed and labels, wait for [chapter 5a](05a_what_the_ledger_says.ipynb).

# %% [markdown]
# ## Set-up
#
# The parameters are explained in [chapter 1](01_training_step.ipynb).

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
targets: list | None = None  # which studies: digits, mnist, fashion, tops, animals
draws: int | None = None  # times that labels are drawn anew
seeds: int | None = None  # VAEs of each source; 0: a fresh one for each draw
seen: int | None = None  # images that a pretraining looks at, with repetition
data_root: str | None = None  # your own copies of MNIST, Fashion-MNIST, CIFAR

# %%
from vaetl_helpers.runtime import setup, show_table

P = setup(
    "05",
    profile,
    seed=seed,
    targets=targets,
    draws=draws,
    seeds=seeds,
    seen=seen,
    data_root=data_root,
)

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from vaetl_helpers import (
    data,
    nets,
    plots,
    study,
    vae,
    vae_comparisons,
    vae_transfer,
)
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.tuned import tuned_settings

# %% [markdown]
# The claim on a card, before anything is measured:

# %%
question_cards("performance")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("05")

# %% [markdown]
# ## 1. Which kind of transfer?
#
# A VAE is trained on images without labels, and a classifier then uses it for a task with few labels.
# What this is called depends on where the images without labels come from:
#
# - If they come from the **same** collection as the task, it is **semi-supervised learning**.
#   Kingma et al. (2014) call this use of a VAE *M1*, so we say **M1-style**.
# - If they come from **another** collection, whose classes have nothing to do with the task, it is **self-taught learning** (Raina et al. 2007).
# - If they come from a **source** task that is related to the **target** task, it is what chapter 4 called transfer, but without the source's labels.
#
# The article speaks of a source and a related target.
# Our **primary** comparisons, those that decide, are therefore those in which the VAE has *not* seen the target's images.
# The M1-style comparisons stand beside them, because they are what many papers with VAEs did.
#
# | study | the VAE sees, without labels | the task, with few labels | kind |
# |---|---|---|---|
# | `digits` | digits 0–4 | digits 5–9 | source → target |
# | `mnist` | MNIST | the ten digits | M1-style |
# | | Fashion-MNIST | the ten digits | self-taught, source → target |
# | `fashion` | Fashion-MNIST | ten kinds of clothes | M1-style |
# | | MNIST | ten kinds of clothes | self-taught, source → target |
# | `tops` | pullover, coat | pullover or shirt | source → target, chapter 4's example |
# | `animals` | dog, cat | dog or fox | source → target, chapter 4's example |
#
# The first is run here, on the images that come with the package, and all but the last are recorded.
# A line such as "3,500/500/1,000" counts a set's training, validation and test images.

# %%
targets = {
    name: vae_transfer.load_target(name, P.full_data, P.data_root).to(P.device)
    for name in P.targets
}
sources = {}
for name in P.targets:
    for source in vae_transfer.SOURCES[name]:
        if source not in sources:
            sources[source] = vae_transfer.load_source(
                source, P.full_data, P.data_root
            ).to(P.device)
size = "full" if P.full_data else "embedded"

# %% slide="One source, one target"
example, own = P.targets[0], vae_transfer.SOURCES[P.targets[0]][0]
rows = {f"source: {own}": sources[own], "target": targets[example].test}
shown = {
    f"{name}": images.images[torch.linspace(0, len(images) - 1, 10).long().to(P.device)]
    for name, images in rows.items()
}
plots.image_grid(
    torch.cat(list(shown.values())),
    list(shown),
    "The VAE learns from the upper row, the task is the lower one",
    columns=10,
    alt="05/pair",
)
plt.show()

# %% [markdown]
# Each target has three sets of its own: a **pool** from which labels are drawn, 50 **validation** images of each class, and **test** images.
# Pretraining must not see any image of a target's validation or test set, not even without its label.
# The next cell checks this by the hash of each image, a number that is computed from its pixels and is the same for equal images.

# %%
for name, target in targets.items():
    kept_apart = {
        h
        for part in (target.validation, target.test)
        for h in data.image_hashes(part.images.cpu().numpy())
    }
    for source in vae_transfer.SOURCES[name]:
        seen_by_vae = set(data.image_hashes(sources[source].images.cpu().numpy()))
        shared = len(kept_apart & seen_by_vae)
        print(f"{name}: images of {source} in its validation or test set: {shared}")
        assert shared == 0

# %% [markdown]
# ## 2. Pretraining
#
# The VAE is small, so that its training can be repeated.
# Its encoder goes 784 pixels → 256 hidden numbers → 32 latents, and its decoder is the mirror image.
#
# One VAE is one throw of the dice, because its start and the order of its images are random.
# So each source gets several VAEs, from different **pretraining seeds**.

# %%
seeds = [1000 * P.seed + number for number in range(P.seeds or P.draws)]
these = "this VAE" if len(seeds) == 1 else f"these {len(seeds)} VAEs"
conditional = None if len(seeds) >= P.draws else [these]  # what intervals hold for
# Where a run with an output folder keeps what it trained, so that it can be resumed.
checkpoints = P.table_path("vae")
checkpoints = checkpoints and checkpoints.with_suffix("")

pretrained = {}
for source, images in sources.items():
    is_grey = images.images.shape[1] == 1
    views = P.seen if is_grey else P.seen // 4  # convolutions on colour take longer
    pretrained |= vae_transfer.pretrain_all(
        {source: images}, seeds, views, checkpoints=checkpoints, jobs=P.jobs
    )
    spent = [one.seconds for one in pretrained[source].values()]
    print(
        f"{source}: {len(images):,} images, {len(spent)} VAEs, {np.mean(spent):.1f} s "
        "each"
    )

# %% [markdown]
# What does a VAE make of images of a kind that it has never seen?
# Look at the lower row: is it still the digit of the upper row?

# %% slide="Foreign images through the VAE"
unseen = (
    targets[example].test.images[
        torch.linspace(0, len(targets[example].test) - 1, 10).long().to(P.device)
    ]
    / 255
)
again = pretrained[own][seeds[0]].model.reconstruct(unseen)
plots.image_grid(
    torch.cat([unseen, again]),
    ["target", "reconstructed"],
    f"Strokes survive in a VAE of {own}, but not every digit does",
    columns=10,
    alt="05/foreign",
)
plt.show()

# %% [markdown]
# Some come out nearly as they are, while others bend towards a digit that the VAE knows: a 5 may become a 3, a 6 nearly a 0, and a 7 something like a 4.
# After the few seconds of the profile `smoke` all is a blur.
# So the code holds something about strokes in general, but not everything.
# Whether that helps to *classify* is another question.

# %% [markdown]
# ## 3. Features
#
# The simplest use of a trained VAE is to compute one vector of numbers per image and to classify those vectors.

# %% [markdown]
# ### Exercise 1: features · 8 minutes
#
# For an image $x$ the encoder gives a whole distribution, $q(z\mid x) = \mathcal{N}(\mu, \operatorname{diag}\sigma^2)$.
# It consists of the *posterior mean* $\mu$ (`mean`) and $\log\sigma^2$ (`log_var`), each with one number per latent.
# Take $\mu$ as the features, because a sampled code $z$ would add noise that says nothing about the image.
#
# `model.encode(images)` returns the pair `(mean, log_var)`.
# There are three rules:
#
# - **Eval mode.**
#   The model may contain dropout and BatchNorm.
#   In train mode they would change the features, and BatchNorm's running statistics would drift with every call.
# - **No gradients.**
#   The features are data for the probe, so they must not carry the graph that made them.
# - **Leave no trace.**
#   Afterwards every module is in the mode it was in, train or eval.
#   Modules may differ: a frozen encoder stays in eval mode while the rest of the model is in train mode.
#   What can learn before the call can learn after it.


# %% exercise="combine.features"

# %% check="combine.features" tags=["nbval-check-output"]
features_checked = check("combine.features", features)

# %% [markdown]
# We try it on a small VAE with dropout, not trained, and on sixteen random images.
# Two calls give a probe the same features, and the model is in train mode before and after:

# %% tags=["nbval-check-output"]
encoder = nets.mlp_encoder(latent=4, widths=(32,))
encoder.body.append(torch.nn.Dropout(0.5))
small = vae.VAE(encoder, nets.mlp_decoder(latent=4, widths=(32,))).train()
images = torch.rand(16, 1, 28, 28)
first, second = features_checked(small, images), features_checked(small, images)
print("features of two calls equal:", torch.equal(first, second))
print(
    "means in train mode equal:",
    torch.equal(small.encode(images).mean, small.encode(images).mean),
)
print("in train mode afterwards:", small.training)

# %% [markdown]
# ## 4. Few labels
#
# A **label draw** picks the labelled images from the pool at random.
# To know how much luck is in one draw we need several, and they should be independent of each other.
# So no image may be in two of them, as long as the pool is large enough.

# %% [markdown]
# ### Exercise 2: few labels · 12 minutes
#
# What a study with few labels finds depends on *which* images are labelled, so it draws them several times.
# `labels` holds the class number of each image of the pool, `[pool]`, and class numbers may have gaps.
# Return a list of `draws` tensors of indices into the pool, each with `per_class` images of every class.
# The draws must be
#
# - **stratified**: each draw has exactly `per_class` images of each class, however many the pool has of it;
# - **seeded**: the same `seed` gives the same draws, another seed gives others, and the global random numbers stay untouched.
#   Use a generator of your own;
# - **disjoint**: no image is in two draws.
#   Otherwise the draws share labels and their results resemble each other, so an interval that takes them for independent comes out too narrow;
# - **random**: every image of a class can be drawn.
#
# If a class has fewer than `draws * per_class` images, this is impossible, and your function must raise a `ValueError` that says so.


# %% exercise="combine.few_labels"

# %% check="combine.few_labels"
few_labels_checked = check("combine.few_labels", few_labels)

# %% [markdown]
# The pool has 300 images, of which 200 are of class 5, 60 of class 7 and 40 of class 9.
# We take four draws of five images per class:

# %% tags=["nbval-check-output"]
pool = torch.tensor([5] * 200 + [7] * 60 + [9] * 40)
hands = few_labels_checked(pool, per_class=5, draws=4, seed=0)
for number, hand in enumerate(hands):
    counts = {label: int((pool[hand] == label).sum()) for label in (5, 7, 9)}
    print(f"draw {number}: {len(hand)} labels, by class {counts}")
print("different images in all:", len(torch.cat(list(hands)).unique()))
try:
    few_labels_checked(pool, per_class=11, draws=4, seed=0)
except ValueError:
    print("four draws of 11: ValueError, as class 9 has 40 images")

# %% [markdown]
# One draw proves little, so each method is run on several draws, and two methods are compared draw by draw.
# What the interval of such a difference says, and how it becomes a verdict, is in [chapter 4a](04a_is_the_gain_real.ipynb), in the section "What an interval says, and what it does not".

# %% [markdown]
# ## 5. From a VAE to a classifier
#
# *VAE fine-tuned* is the network of the drawing at the top.
# Its encoder comes from the VAE, its head is new, and all of it is trained on the labelled images.
#
# Guess first: which share of the VAE's weights goes along into the classifier?

# %%
predict("combine.goes_along")

# %% [markdown]
# ### Exercise 3: from a VAE to a classifier · 10 minutes
#
# Do this operation yourself.
# Return a network that maps images to the logits of `head`, which reads the posterior mean.
# It must hold *copies* of the encoder's body and of its layer for $\mu$, so that training it leaves the VAE as it is for the next draw.
# What it does not need stays behind, and all that it holds can learn.


# %% exercise="joint.surgery"

# %% check="joint.surgery"
surgery_checked = check("joint.surgery", classifier_of)

# %% [markdown]
# The study below does this once per draw.
# Does your classifier compute what that of the study does, and how much of the VAE is left in it?


# %%
def size_of(model):
    """The number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())


donor = pretrained[own][seeds[0]].model
classes = len(targets[example].train.classes)
theirs = vae_transfer.classifier(donor.encoder, classes, seed=0)
yours = surgery_checked(donor, copy.deepcopy(theirs.head)).eval()
with torch.no_grad():
    gap = (yours(unseen) - theirs.eval()(unseen)).abs().max().item()
gone_along = size_of(yours) - size_of(theirs.head)
print(f"largest difference between the logits: {gap:.1e}")
print(f"weights: {size_of(donor):,} in the VAE, of which {gone_along:,} go along")
settle("combine.goes_along", 100 * gone_along / size_of(donor))

# %% [markdown]
# The whole decoder stays behind, and so does the layer for $\log\sigma^2$.
# Nearly all of what goes along is the first layer, which looks at the pixels.

# %% [markdown]
# ## 6. A small study
#
# These methods compete:
#
# - **scratch**: encoder up to $\mu$ and a linear head, untrained at the start;
# - **VAE fine-tuned**: the same network, which starts from a VAE;
# - **probe on μ**: logistic regression on $\mu$, while the encoder stays as it is;
# - **probe on hidden**: the same on the 256 hidden numbers before $\mu$;
# - **PCA**: logistic regression on 32 principal components of the source's images, the linear cousin of the VAE;
# - **raw pixels**: logistic regression on the pixels.
#
# All of them have the same labels and the same validation images, 50 of each class, which serve for early stopping and for the strength of the regression.
# None looks at the test set.
# Scratch and fine-tuning have the same optimiser, and each has a learning rate of its own, chosen on other draws by validation.
# A rate suits a number of steps, so the networks may take as many here as in the search for the rates, 1,800 at most.
# The profile `smoke` allows 40, so that its accuracies compare nothing.
#
# Networks as small as these leave the processor idle between operations.
# So `training.fit_together` stacks the weights of the networks of all draws and trains them in one go.
# A test of the package makes sure that each ends as it would alone.

# %%
tables = {}  # the table of each study


def run_target(name):
    """Runs the study of one target, keeps its table, and shows the mean accuracies."""
    target, (own, *others) = targets[name], vae_transfer.SOURCES[name]
    counts = P.few if len(target.train.classes) == 2 else P.counts
    methods = vae_transfer.methods(
        target,
        own,
        {source: pretrained[source] for source in (own, *others)},
        {
            "PCA": vae_transfer.fit_pca(sources[own]),
            "raw pixels": vae_transfer.pixels,
        },
        scratch_settings=tuned_settings(name, "scratch", P.steps),
        pretrained_settings=tuned_settings(name, "pretrained", P.steps),
    )
    table = tables[name] = study.run_study(
        name,
        methods,
        counts,
        P.draws,
        out=P.table_path(name),
        labels=target.train.labels,
        data=name,
        seed=P.seed,
        pretrain_seeds=seeds,
        jobs=P.jobs,
    )
    means = [
        (method, *(f"{table.mean(method, 'test accuracy', n):.1f}" for n in counts))
        for method in table.known("method")
    ]
    records = vae_comparisons.study_effects(table, name, size, conditional)
    show_table(
        means,
        ("test accuracy (%), mean of the draws", *(f"{n} labels" for n in counts)),
        records,  # for the ledger of chapter 5a
    )


def show_study(name, alt):
    """Accuracy over labels, and the paired difference of fine-tuning and scratch."""
    table = tables[name]
    left, right = plots.panels(
        [f"{vae_transfer.TITLES[name]}, {size}", "VAE fine-tuned − scratch"], alt, 3.8
    )
    few = ["scratch", "VAE fine-tuned", "probe on μ", "raw pixels"]
    plots.learning_curves(
        table, "test accuracy", left.get_title(), "test accuracy (%)", "", left, few
    )
    for number, source in enumerate(vae_transfer.SOURCES[name]):
        tuned = vae_transfer.name_with_source(
            "VAE fine-tuned", source if number else ""
        )
        for n in table.known("labels"):
            e = study.paired(table, tuned, "scratch", "test accuracy", n)
            x = n * (1 + 0.08 * number)  # beside each other
            right.plot([x, x], [e.low, e.high], "-", color=plots.COLOURS[1 + number])
            right.plot(x, e.effect, "os"[number], color=plots.COLOURS[1 + number])
        right.plot([], [], "os"[number], color=plots.COLOURS[1 + number], label=source)
    right.axhline(0, color="black", linestyle="--")
    right.legend(title="the VAE has learned", frameon=False, fontsize=9)
    right.set(xscale="log", xlabel="labels", ylabel="difference (points)")
    right.set_xticks(left.get_xticks(), [f"{n:,.0f}" for n in left.get_xticks()])
    right.set_xticks([], minor=True)


# %% [markdown]
# ### Digits 0–4 → 5–9
#
# Source and target share no class, but the strokes of which digits are made.
# Guess twice about the longer, recorded run of the same study.
# Is the fine-tuned VAE better, and how far below the probe on a trained encoder lies a probe on an encoder that was *never trained*?

# %%
predict("combine.performance")
predict("combine.random_encoder")

# %%
for name in P.targets[:1]:
    run_target(name)

# %% [markdown]
# In the left panel of the figure, which lines are above *raw pixels*?
# In the right panel, look at the side of the dashed line on which the intervals lie, and whether that changes with the number of labels.

# %% slide="Digits 0–4 to 5–9"
show_study(example, alt="05/own_study")
plt.show()

# %% [markdown]
# On the left, the bands of two methods may overlap although one is better in nearly every draw, so the right panel is what counts.
# An interval there holds for the VAEs of this run alone where they are fewer than the draws, as in the profiles `smoke` and `cpu`.
# Here are the numbers at the fewest and at the most labels, in words:

# %%
for n in tables[example].known("labels"):
    e = study.paired(tables[example], "VAE fine-tuned", "scratch", "test accuracy", n)
    print(
        f"{n} labels: {e.effect:+.1f} points [{e.low:+.1f}, {e.high:+.1f}], n = {e.n}, "
        f"for {these}: the interval is {study.in_this_run(e)}"
    )
settle("combine.random_encoder")

# %% [markdown]
# In the recorded run an untrained encoder gives features that are far worse, so the VAE has learned something about digits that it never saw.
# Whether that beats a network from scratch is another question, and section 7 answers it.

# %% [markdown]
# ### MNIST, M1-style and from Fashion-MNIST
#
# Next, the unlabelled images are those of the task itself, and in another study they are clothes.
# Can a VAE of clothes help to read digits?
# Guess, and then look at the number of the recorded run.

# %%
predict("combine.clothes")

# %%
for name in P.targets[1:]:
    run_target(name)
    show_study(name, alt="05/own_study")
clothes = vae_comparisons.recorded_effects("accuracy/fine_tuned-scratch")
record = clothes["Fashion-MNIST → MNIST"][100]
print(
    f"recorded, Fashion-MNIST → MNIST, 100 labels: {record['value']:+.1f} points "
    f"[{record['low']:+.1f}, {record['high']:+.1f}], n = {record['n']}"
)
settle("combine.clothes")
plt.show()

# %% [markdown]
# Run it yourself with `targets=["digits", "mnist"]`, which takes a few minutes more.
# Two further studies, Fashion-MNIST and chapter 4's pullover or shirt, are called `fashion` and `tops`.

# %% [markdown] slide="So, does a VAE perform better?"
# ## 7. So, does a VAE perform better?
#
# Your run is small, and its few VAEs are not all VAEs.
# The recorded runs use all images, a longer pretraining, and *forty pairs* of a fresh VAE and fresh labels, so that their intervals hold for VAEs made in this way.
# *dog/cat → dog/fox* is the example of the first article, in photos of 32 × 32 pixels, where the VAE is convolutional and has seen 10,000 cats and dogs.
#
# Each panel is a pair of source and target, and *MNIST* alone is M1-style.
# Follow the marks from few labels to many, and look at which of them leave the dashed line.

# %% slide="It depends on the labels"
gains = vae_comparisons.recorded_effects("accuracy/fine_tuned-scratch")
plots.effects_by_labels(
    gains, "VAE fine-tuned − scratch", "points", alt="05/gains", margin=1
)
plt.show()

# %%
record = gains["digits 0–4 → 5–9"][100]
print(
    f"digits 0–4 → 5–9, 100 labels: {record['value']:+.1f} points "
    f"[{record['low']:+.1f}, {record['high']:+.1f}], n = {record['n']}, {record['label']}"
)
settle("combine.performance")

# %% [markdown]
# On the digits the answer turns with the number of labels.
# With 20 labels no interval lies above 0, and from clothes or from MNIST itself the whole interval lies below it.
# With 50 labels that holds for digits 0–4, while the other two are undecided.
# With 100 and with 500 labels all of them lie above 0, even where the VAE has only seen clothes.
# The gains are small, two points or less in the mean.
# On pullover or shirt only the interval at 50 labels leaves 0 out.
# On dogs and foxes none lies above 0, and with 20 labels the whole interval lies below it, by two points in the mean.
#
# On Fashion-MNIST it turns in the same way.
# From a VAE of digits the whole interval lies below 0 with 20 labels and above it with 100 and 500, by less than a point in the mean.
# A VAE of the clothes themselves helps a little earlier, from 50 labels on.
#
# The card gives the verdict that the code computes from the comparisons which were chosen in advance.

# %%
verdict_cards("performance")

# %% [markdown]
# ## An open task
#
# Run the notebook again with `targets=["tops"]`, or with `seen` ten times as large.
# Write down in one sentence, before the run, which difference you expect, with its sign.
# The task is answered when a second sentence says what your interval tells, and for which VAEs.

# %% [markdown]
# ## Quiz
#
# **1.
# A VAE is trained on 55,000 digits without labels, then 100 of them get labels.
# Is that transfer from a source to a target?**
#
# <details><summary>Yes, because the VAE is pretrained.</summary>
#
# It is pretrained, but on the target's own images, and that is semi-supervised learning in the M1 style.
# </details>
#
# <details><summary>No, the images are from the task itself.</summary>
#
# Right.
# It is useful, but it does not test a claim about related tasks.
# </details>
#
# **2.
# Why must the surgery copy the encoder and not use the VAE's own?**
#
# <details><summary>Copies are faster to train.</summary>
#
# They have as many weights, and take as long.
# </details>
#
# <details><summary>Training would change the VAE for the next draw.</summary>
#
# Right.
# The second draw would start from what the first has learned, and the repeats would no longer be alike.
# </details>
#
# **3.
# Ten draws, one VAE, interval [0.5, 2.1].
# Your colleague writes: "VAE pretraining helps on this data set."
# Is that right?**
#
# <details><summary>Correct, the interval is above 0.</summary>
#
# It holds for this one VAE.
# Another one may do worse, and nothing in these ten draws could tell.
# </details>
#
# <details><summary>Only for this VAE.</summary>
#
# Right.
# For VAEs in general, train a fresh one for each draw.
# </details>
#
# **4.
# A probe on a trained encoder is 15 points above one on an encoder that was never trained.
# Is the VAE worth having?**
#
# <details><summary>Yes, 15 points are a lot.</summary>
#
# It has learned something, but nobody would use an untrained encoder.
# </details>
#
# <details><summary>That takes a comparison with raw pixels and with scratch.</summary>
#
# Right.
# A weak rival shows that something was learned, and a strong one that it is of use.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("05")
my_bets("05")

# %% [markdown]
# ## Take-away
#
# - Say which kind of transfer it is: M1-style, self-taught, or source → target.
# - Use the posterior mean as features, in eval mode and without a trace; or give a copy of the encoder to a new network.
# - Draw labels without overlap, and compare two methods draw by draw.
# - Keep raw pixels and a network from scratch in the comparison, because an untrained encoder is easy to beat.
# - Whether a VAE helps depends on how many labels there are, and the gain is small where there is one.

# %% [markdown]
# ## Further reading
#
# - Kingma, Mohamed, Rezende and Welling, *Semi-supervised Learning with Deep Generative Models* (2014), arXiv 1406.5298: M1, M2.
# - Raina, Battle, Lee, Packer and Ng, *Self-taught Learning: Transfer Learning from Unlabeled Data*, ICML 2007.
# - Oliver, Odena, Raffel, Cubuk and Goodfellow, *Realistic Evaluation of Deep Semi-Supervised Learning Algorithms* (2018), arXiv 1804.09170.
