# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "05"
#     title: VAE and transfer learning
#     minutes: {reading: 63, exercises: 70, cpu: 3, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # VAE and transfer learning
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - tell apart three things that are all called "using a pretrained VAE": semi-supervised learning, self-taught learning and transfer from a source to a related target;
# - use a trained VAE for a task with few labels, either as fixed features or as the start of a network that is trained further;
# - plan a comparison with the same labels, fresh seeds, paired differences, an interval and a rule for the verdict, all fixed before the run;
# - say what an interval does not contain, and see by simulation what happens if you forget it;
# - find where the test set has leaked into a study;
# - read a ledger of claims, with its effects, intervals and verdicts, and say what was not measured.
#
# You need chapter 3 for the VAE with its encoder, decoder and ELBO, and chapter 4 for probes, fine-tuning, draws and verdicts.
# The companion `05b` goes deeper into which part of a VAE transfers, which β is best, and whether one stage can replace two.
# The capstone at the end takes hours of your own.

# %% [markdown]
# ## The claim that this chapter looks at
#
# The second article behind this course makes four claims for a VAE together with transfer learning.
# In our translation, with its own words where they decide how we read them:
#
# - *the latent representation that the VAE has learned may generalise better* ("La rappresentazione latente appresa dal VAE può generalizzare meglio"), so that there is less overfitting;
# - *transfer speeds up the process of adaptation* ("accelerando il processo di adattamento");
# - *transfer significantly reduces the need for a large amount of data* ("riducendo significativamente il bisogno di una grande quantità di dati");
# - *a VAE together with transfer learning performs better*.
#
# The article gives no number, no data set and no comparison, so each claim needs a measure before anything is run.
# These are ours:
#
# | the claim | what we measure, VAE against the same network from scratch | it is supported if |
# |---|---|---|
# | less overfitting | the loss on **unseen images**, where both have the **same loss on their training images**, in nats per image | it is lower |
# | more efficient | the cost of adaptation: optimiser steps to an accuracy on validation that both reach | it takes fewer |
# | fewer labels | the labels that it takes to reach scratch's accuracy | it takes fewer |
# | better | test accuracy | it is higher |
#
# Why not simply take the gap between the loss on test images and the loss on training images?
# The gap grows as long as a network trains, so a network that trains less has a smaller gap, be it by a smaller learning rate or by an earlier stop.
# A network that has learned nothing has no gap at all.
# In earlier runs of this chapter the sign of the result followed the learning rate, and so we changed the measure.
#
# And why is the training of the VAE itself not counted?
# The article speaks of a faster *adaptation*, so adaptation is what decides.
# Beside it we count after how many tasks the pretraining is repaid.
#
# All results of this chapter, and those of the others, end in one table, the **claims ledger** at the end.
# No number in it is typed by hand.

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
targets: list | None = None  # which studies: digits, mnist, fashion, tops, animals
draws: int | None = None  # times that labels are drawn anew
seeds: int | None = None  # VAEs of each source; 0: a fresh one for each draw
seen: int | None = None  # images that a pretraining looks at, with repetition
parts: list | None = None  # also run what is otherwise shown from a recorded run (long)
data_root: str | None = None  # your own copies of MNIST, Fashion-MNIST, CIFAR

# %%
from vaetl_helpers.runtime import CourseError, report, setup, show_table

P = setup(
    "05",
    profile,
    seed=seed,
    targets=targets,
    draws=draws,
    seeds=seeds,
    seen=seen,
    parts=parts,
    data_root=data_root,
)

# %%
import copy
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from vaetl_helpers import (
    claims,
    data,
    nets,
    plots,
    study,
    transfer,
    vae,
    vae_comparisons,
    vae_transfer,
    widgets,
)
from vaetl_helpers.app import ledger_text
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.labels import labels_and_bill
from vaetl_helpers.output import show_record
from vaetl_helpers.tuned import tuned_settings

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
# Our **primary** comparisons are therefore those in which the VAE has *not* seen the target's images.
# Some of these pairs are closely related, such as strokes and strokes, and others are not, such as clothes and digits.
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
# | `animals` | dog, cat | dog or fox | source → target, chapter 4's example (recorded only) |
#
# A study is either run here or shown from a recorded run, and each number says which.
# *Embedded* means the images that come with the package, and *full* means the whole data set.
# A line such as "3,500/500/1,000" counts a set's training, validation and test images; a target uses 50 validation images of each class.

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

# %%
example, own = P.targets[0], vae_transfer.SOURCES[P.targets[0]][0]
rows = {f"source: {own}": sources[own], "target": targets[example].test}
shown = {
    f"{name}": images.images[torch.linspace(0, len(images) - 1, 10).long().to(P.device)]
    for name, images in rows.items()
}
plots.image_grid(
    torch.cat(list(shown.values())),
    list(shown),
    f"The study '{example}'",
    columns=10,
    alt=f"ten images of the source {own} in the first row, ten of the target in the "
    "second",
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
        print(
            f"{name}: images that {source} shares with validation or test: "
            f"{len(kept_apart & seen_by_vae)}"
        )
        assert not kept_apart & seen_by_vae

# %% [markdown]
# ## 2. Pretraining
#
# The VAE is small, so that its training can be repeated.
# Its encoder goes 784 pixels → 256 hidden numbers → 32 latents, and its decoder is the mirror image.
# The pixels stay grey, so the bound is not a likelihood of the grey images (chapter 3), but it serves to train.
#
# One VAE is one throw of the dice, because its start and the order of its images are random.
# So each source gets several VAEs, from different **pretraining seeds**.

# %%
seeds = [1000 * P.seed + number for number in range(P.seeds or P.draws)]
these = "this VAE" if len(seeds) == 1 else f"these {len(seeds)} VAEs"
conditional = None if len(seeds) >= P.draws else [these]  # what the intervals hold for
# Where a run with an output folder keeps what it trained, so that it can be resumed.
checkpoints = P.table_path("vae")
checkpoints = checkpoints and checkpoints.with_suffix("")

pretrained = {}
for source, images in sources.items():
    views = (
        P.seen if images.images.shape[1] == 1 else P.seen // 4
    )  # convolutions on colour take longer
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

# %%
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
    f"Images of the target, through a VAE that learned {own}",
    columns=10,
    alt="ten images of the target above, their blurred reconstructions below",
)
plt.show()

# %% [markdown]
# After the few seconds of the profile `smoke` all is a blur.
# With longer training, some come out nearly as they are, while others bend towards a digit that the VAE knows: a 5 may become a 3, and a 7 a 9.
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

# %% check="combine.features"
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
#
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
# ## 5. What an interval says, and what it does not
#
# One draw proves little.
# So each method is run on several draws, and we look at the *difference* between two methods, draw by draw.

# %% [markdown]
# ### Exercise 3: a paired interval · 8 minutes
#
# Two methods were run on the same $n$ label draws.
# Draw number $i$ gave the accuracies $a_i$ and $b_i$, in per cent.
# The effect is the mean difference
#
# $$\bar d = \frac1n \sum_{i=1}^{n} d_i, \qquad d_i = a_i - b_i.$$
#
# A lucky draw helps both methods.
# In $d_i$ that help cancels, and this is what *paired* means.
# The 95 % interval of the effect by Student's $t$ distribution is
#
# $$\bar d \pm t_{0.975,\,n-1}\,\frac{s}{\sqrt n}, \qquad s^2 = \frac{1}{n-1}\sum_{i=1}^{n} (d_i - \bar d)^2.$$
#
# Here $s$ is the standard deviation of the differences, and $s/\sqrt n$ is the *standard error* of their mean.
# $t_{0.975,\,n-1}$ is the point below which 97.5 % of the $t$ distribution with $n-1$ degrees of freedom lie, and `scipy` computes it as `stats.t.ppf(0.975, n - 1)`.
# It is larger than the 1.96 of the normal distribution, because $s$ itself is uncertain when $n$ is small.
#
# `a` and `b` are float tensors `[n]`.
# Return `(effect, low, high)`.


# %% exercise="combine.paired_interval"

# %% check="combine.paired_interval"
paired_interval_checked = check("combine.paired_interval", paired_interval)

# %% [markdown]
# What is pairing worth?
# We simulate the accuracies of two methods on ten draws.
# The draws differ by 5 points or so, and the first method is one point better, with a spread of one point.
# Beside your interval stands Welch's, which treats the two lists as unrelated.

# %%
from scipy import stats

generator = torch.Generator().manual_seed(P.seed)
lucky, spread = torch.randn(2, 10, generator=generator, dtype=torch.float64)
b = 80 + 5 * lucky
a = b + 1 + spread
effect, low, high = paired_interval_checked(a, b)
unpaired = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
print(
    f"effect {effect:.2f} points; paired [{low:.2f}, {high:.2f}], unpaired "
    f"[{unpaired.low:.2f}, {unpaired.high:.2f}]"
)

# %% [markdown]
# Both intervals have the same middle.
# The paired one is narrower, because it is free of what the draws do to both methods.

# %% [markdown]
# An interval is made of what *varied*.
# Suppose that all ten draws use the same VAE.
# Then its luck is in all ten differences alike, and $s$ does not see it.
# We can simulate that.
# There is no effect at all, and a VAE's luck and a draw's luck are numbers with mean 0 and standard deviation 1.
# In each of 1,000 studies we look whether the interval leaves out 0, which is a false claim.
# It should happen in 5 % of the studies, about 50.
#
# Before you look: how often will it happen if one VAE serves all draws?


# %% tags=["nbval-check-output"]
def false_claims(models, draws=10, studies=1000):
    """How many of the studies claim an effect, where `models` VAEs serve `draws` draws
    in turn and there is none.
    """
    rng = np.random.default_rng(0)
    claimed = 0
    for _ in range(studies):
        luck_of_model = np.resize(rng.normal(size=models), draws)
        differences = luck_of_model + rng.normal(size=draws)
        claimed += study.verdict(study.effect_of(differences), delta=0) in (
            "supported",
            "contradicted",
        )
    return claimed


claimed = {models: false_claims(models) for models in (10, 3, 1)}
for models, count in claimed.items():
    print(
        f"{models} VAE{'s' * (models > 1)} for ten draws: {count} of 1,000 studies "
        "claim an effect that is not there"
    )

# %% [markdown]
# With a fresh VAE for each draw the interval keeps its promise.
# With three VAEs in turn it breaks the promise, and with one all the more, because it would be right only for a claim about *these very VAEs*.
#
# This course therefore has three rules:
#
# - The unit that is repeated is a **pair of fresh seeds**, one for the pretraining and one for the label draw.
#   The recorded runs of this chapter do that.
# - If that takes too long, as in the profile `cpu` with its three VAEs, the interval is labelled **conditional on these VAEs**.
# - Other things that the repeats share are put into the interval.
#   For labels that come in several draws there is a correction after Nadeau and Bengio (2003), and the test images, which are the same in all draws, get a variance component of their own.
#   `study.paired` does both.
#
# What remains is to turn an interval into a verdict.
# There are four verdicts, **supported**, **contradicted**, **no gain** and **undecided**, and a margin $\delta$ below which a difference is not worth having.
# "Undecided" and "no gain" are different findings, because absence of evidence is not evidence of absence.
# "Supported" means that the effect is above 0 and may be worth having; how large it is, only the interval says.

# %% [markdown]
# ### Exercise 4: a verdict · 8 minutes
#
# An interval from `low` to `high`, in points, over `n` repeats is to become a word.
# The margin is `delta`, with $\delta > 0$, and a gain smaller than that is not worth having.
# The rules, in this order:
#
# 1. with fewer than 5 repeats the word is `"undecided"`, whatever the interval is;
# 2. if the interval lies inside $\pm\delta$, it is `"no gain"`.
#    Such an interval is short enough to exclude every gain, and every loss, worth having, even if it excludes 0;
# 3. if it lies above 0, the word is `"supported"`;
# 4. if it lies below 0, the word is `"contradicted"`;
# 5. otherwise it is `"undecided"`.
#
# An end that lies exactly on a boundary, which may be 0, $\delta$ or $-\delta$, is not beyond it.
# So an interval that spans 0 never makes a claim, wherever its middle is.
# It does not show that there is no effect either, unless it is inside $\pm\delta$.


# %% exercise="combine.verdict"

# %% check="combine.verdict"
verdict_checked = check("combine.verdict", verdict)

# %% [markdown]
# Here are six intervals with a margin of one point.
# Before you look at the words: which two of those over ten repeats have the same middle but different verdicts?

# %% tags=["nbval-check-output"]
for low, high, n in (
    (0.5, 3.5, 10),
    (-0.5, 4.5, 10),
    (-0.6, 0.4, 10),
    (-3.1, -0.2, 10),
    (0.1, 0.8, 10),
    (0.5, 3.5, 3),
):
    print(
        f"[{low:4.1f}, {high:4.1f}] over {n:2} repeats: "
        f"{verdict_checked(low, high, n, delta=1.0)}"
    )

# %% [markdown]
# The first two have the same middle, 2, but only the first excludes 0.
# The last is the first again with 3 repeats, too few to earn a claim.

# %% [markdown]
# Make fifty comparisons, and two or three will look decided by luck.
# So one comparison for each claim and data set was named beforehand as **primary**, and the primary verdicts of a claim are adjusted for each other (Holm 1979).
# The others are **exploratory**.
# The margins and the list of the primary comparisons stand in the package's `claims.yaml`, with what is known of when they were written.
# For costs the margin is a factor of 1.1, in the unit *times*.

# %% tags=["nbval-check-output"]
for unit in ("points", "nats", "times"):
    print(f"margin in {unit}: {claims.CONTRACT['margins'][unit]}")

# %% [markdown]
# ## 6. The methods
#
# - **scratch**: encoder up to $\mu$ and a linear head, untrained at the start;
# - **VAE fine-tuned**: the same network, but its encoder comes from a VAE, and all of it is trained;
# - **probe on μ**: logistic regression on $\mu$, while the encoder stays as it is;
# - **probe on hidden**: the same on the 256 hidden numbers before $\mu$;
# - **PCA**: logistic regression on 32 principal components of the images of the first source, the linear cousin of the VAE;
# - **raw pixels**: logistic regression on the pixels.
#
# All of them have the same labels and the same validation images, which serve for early stopping and for the strength of the regression.
# None looks at the test set.
# Scratch and fine-tuning also have the same optimiser.
# Each has the learning rate and the budget of steps that were best for it at that number of labels, on other draws, by validation; section 9 shows what was chosen.
# This run caps the steps, because it has less time.
#
# Ten draws of two networks at three numbers of labels make sixty trainings.
# Networks as small as these leave the processor idle between operations.
# So `training.fit_together` stacks the weights of ten networks and trains them in one go, each on its own draw.
# A test of the package makes sure that each ends as it would alone.

# %% [markdown]
# How *VAE fine-tuned* gets its network, as a drawing: which parts of the VAE go along?
#
# {diagram: surgery}
#
# ### Exercise 5: from a VAE to a classifier · 10 minutes
#
# Do this operation yourself.
# Return a network that maps images to the logits of `head`, which reads the posterior mean.
# It must hold *copies* of the encoder's body and of its layer for $\mu$, so that training it leaves the VAE as it is for the next draw.
# What it does not need stays behind, and all that it holds can learn.


# %% exercise="joint.surgery"

# %% check="joint.surgery"
surgery_checked = check("joint.surgery", classifier_of)

# %% [markdown]
# The studies below do this once per draw.
# Does your classifier compute what theirs does, and how much of the VAE is left in it?


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
print(f"largest difference between the logits: {gap:.1e}")
print(f"weights: {size_of(donor):,} in the VAE, {size_of(yours):,} in the classifier")

# %%
supervised = {}
if "more" in P.parts:  # the source's labels, too: for chapter 4's kind of transfer
    for source, images in sources.items():
        supervised |= vae_transfer.pretrain_all(
            {source: images},
            seeds,
            P.seen // 5,
            vae_transfer.pretrain_supervised,
            label="supervised",
            checkpoints=checkpoints,
            jobs=P.jobs,
        )

LIVE = []  # the records of this run for the ledger
tables = {}  # the tables of its studies


def run_target(name):
    """Runs the study of one target, keeps its effects, and shows accuracies and the
    main effects.
    """
    target, (own, *others) = targets[name], vae_transfer.SOURCES[name]
    counts = P.few if len(target.train.classes) == 2 else P.counts
    views = {
        "PCA": vae_transfer.fit_pca(sources[own]),
        "raw pixels": vae_transfer.pixels,
    }
    taught = {s: supervised[s] for s in supervised if s in (others or [own])}
    used = {s: pretrained[s] for s in (own, *others)}
    methods = vae_transfer.methods(
        target,
        own,
        used,
        views,
        taught,
        more="more" in P.parts,
        scratch_settings=tuned_settings(name, "scratch", P.steps),
        pretrained_settings=tuned_settings(name, "pretrained", P.steps),
    )
    how = {
        "labels": target.train.labels,
        "data": name,
        "seed": P.seed,
        "pretrain_seeds": seeds,
        "jobs": P.jobs,
    }
    table = tables[name] = study.run_study(
        name, methods, counts, P.draws, out=P.table_path(name), **how
    )
    records = vae_comparisons.study_effects(table, name, size, conditional)
    LIVE.extend(records)
    show_table(
        accuracies(table),
        ("test accuracy (%), mean of the draws", *(f"{n} labels" for n in counts)),
        records,
    )


def accuracies(table):
    """A row for each method: its mean test accuracy at each number of labels."""
    return [
        (
            method,
            *(
                f"{table.mean(method, 'test accuracy', n):.1f}"
                for n in table.known("labels")
            ),
        )
        for method in table.known("method")
    ]


def main_effects(name):
    """Fine-tuning against scratch at each number of labels, exploratory."""
    for source in vae_transfer.SOURCES[name]:
        tuned = (
            "VAE fine-tuned"
            if source == vae_transfer.SOURCES[name][0]
            else f"VAE fine-tuned ({source})"
        )
        for n in tables[name].known("labels"):
            e = study.paired(tables[name], tuned, "scratch", "test accuracy", n)
            print(
                f"{tuned} − scratch, {n} labels: {e.effect:+.1f} points "
                f"[{e.low:+.1f}, {e.high:+.1f}] in this run, n = {e.n} ({e.label})"
            )


def show_study(name, alt):
    """Accuracy over labels, and the paired difference of fine-tuning and scratch."""
    few = ["scratch", "VAE fine-tuned", "probe on μ", "probe on hidden", "raw pixels"]
    left, right = plots.panels(
        [f"{vae_transfer.TITLES[name]}, {size}", "VAE fine-tuned − scratch"],
        alt,
        height=3.8,
    )
    plots.learning_curves(
        tables[name],
        "test accuracy",
        left.get_title(),
        "test accuracy (%)",
        "",
        left,
        few,
    )
    left.set_xlabel("training labels of all classes (log scale)")
    left.legend(frameon=False, fontsize=8)
    counts = tables[name].known("labels")
    found = [
        study.paired(tables[name], "VAE fine-tuned", "scratch", "test accuracy", n)
        for n in counts
    ]
    ends = np.array([[e.effect - e.low, e.high - e.effect] for e in found]).T
    right.errorbar(
        counts,
        [e.effect for e in found],
        ends,
        fmt="o",
        capsize=4,
        color=plots.COLOURS[1],
    )
    right.axhline(0, color="black", linestyle="--")
    right.set(
        xscale="log",
        xlabel="training labels of all classes (log scale)",
        ylabel="difference (points)",
    )
    right.set_xticks(counts, [f"{n:,}" for n in counts])
    right.set_xticks([], minor=True)


# %% [markdown]
# ## 7. The studies
#
# ### Digits 0–4 → 5–9
#
# This source and this target are related, because strokes are strokes.
# Guess first: by how many points will the VAE help at 50 labels, ten of each digit?

# %%
if "digits" in targets:
    run_target("digits")

# %%
if "digits" in targets:
    main_effects("digits")

# %% [markdown]
# The square brackets hold the interval, and the round ones say what to know about it.
# With three VAEs in turn the interval is conditional on them.
# If the pool is too small for ten draws without a common image, draws share labels, and the interval is corrected for that.
# Your function of exercise 2 refuses such a pool, whereas `study.draw_labels` shares as little as it can.
#
# In the left panel of the figure, which lines are above *raw pixels*?
# In the right panel, look whether the difference shrinks as labels grow, as one would expect.

# %%
show_study(
    example,
    alt="accuracy of five methods over the number of labels; paired differences with "
    "intervals and a line at 0",
)
plt.show()

# %% [markdown]
# On the left, the bands of two methods may overlap although one is better in nearly every draw, so the right panel is what counts.
# Does the gain shrink with more labels?
# It need not, so check the right panel.
#
# Now apply your own functions for interval and verdict to one row:

# %%
n = tables[example].known("labels")[-1]
a, b = (
    torch.tensor(list(tables[example].values(method, "test accuracy", n).values()))
    for method in ("VAE fine-tuned", "scratch")
)
effect, low, high = paired_interval_checked(a, b)
print(
    f"{n} labels: {effect:+.2f} points [{low:+.2f}, {high:+.2f}], "
    f"{verdict_checked(low, high, len(a), 1.0)}"
)

# %% [markdown]
# Compare this with the line above for the same number of labels.
# The middle is the same.
# The package's interval is wider if draws share labels or the test images are few, because it contains those two and yours does not.
#
# ### MNIST, M1-style and from Fashion-MNIST
#
# Now the unlabelled images are those of the task itself, and in the rows with "(Fashion-MNIST)" they are clothes.
# Can a VAE of clothes help to read digits?

# %%
if "mnist" in targets:
    run_target("mnist")

# %%
if "mnist" in targets:
    main_effects("mnist")
    show_study(
        "mnist",
        alt="accuracy of five methods over the number of labels; paired differences "
        "with intervals",
    )
plt.show()

# %% [markdown]
# ### Fashion-MNIST, M1-style and from MNIST

# %%
if "fashion" in targets:
    run_target("fashion")

# %%
if "fashion" in targets:
    main_effects("fashion")
    show_study(
        "fashion",
        alt="accuracy of five methods over the number of labels; "
        "paired differences with intervals",
    )
plt.show()

# %% [markdown]
# ### Chapter 4's example
#
# The source is pullover and coat, and the target is pullover or shirt.
# In chapter 4 the source network had learned with the source's *labels*.
# Here a VAE looks at the same kind of images *without* them.
# Of the studies from a source to a target, only this one has images of the target's pool in its embedded source: the pullovers, without labels.
# The recorded run uses the full source, which has none of them.

# %%
for name in ("tops", "animals"):
    if name in targets:
        run_target(name)

# %%
for name in ("tops", "animals"):
    if name in targets:
        main_effects(name)

# %% [markdown]
# ## 8. Overfitting and costs
#
# Test accuracy answers only one of the claims.
# Here are the others, for the first study, mostly with 100 labels.
#
# **Overfitting.**
# After each epoch we note two losses of a network, one on its own few training images and one on the validation images, which it does not learn from.
# Both fall at first.
# Then the first goes on falling while the second does not, and that is overfitting.
# In the figure, time runs from right to left.
# Look at which line lies lower where both have come equally far down in the training loss.


# %%
def show_paths(name, labels):
    """Loss on unseen images over the training loss, one line for each draw."""
    axis = plots.panels(
        [f"{vae_transfer.TITLES[name]}, {labels} labels"],
        "loss on validation images over the loss on training images, ten lines from "
        "scratch and ten from the VAE",
    )[0]
    for number, method in enumerate(("scratch", "VAE fine-tuned")):
        training = tables[name].by_step(method, labels, "training losses")
        unseen = tables[name].by_step(method, labels, "validation losses")
        for draw, losses in training.items():
            label = method if draw == 0 else None
            axis.plot(
                losses,
                unseen[draw],
                color=plots.COLOURS[number],
                alpha=0.6,
                label=label,
            )
    axis.set(
        xscale="log",
        xlabel="loss on the training images (nats per image, log scale)",
        ylabel="loss on unseen images",
    )
    axis.legend(frameon=False)
    plt.show()


show_paths(example, vae_comparisons.MAIN_LABELS[example])

# %% [markdown]
# The measure is the mean vertical distance between the two lines of a draw, over all training losses that both reach.
#
# **Costs.**
# For each draw the target is the lower of the two best validation accuracies, so that both networks reach it.
# A target that is one network's own best would favour that network, because it stands on its luckiest epoch.
# We then count what each network had spent after the first epoch in which it reached the target.
# The ratio is always scratch ÷ VAE fine-tuned, so above 1 the VAE is cheaper, and below 1 dearer.
# Steps and FLOPs are exact, but the seconds are those of one timing on one machine and stand without an interval.
#
# The label cost is defined the same way: how many labels does fine-tuning need to match the test accuracy of scratch at 100?
# Between two numbers of labels we draw a straight line over their logarithm.
# If a method gets there with the fewest labels already, or never, one end of the interval is left *open*.


# %%
def costs_of(name, labels):
    """What scratch and fine-tuning spend until both have an accuracy: means of the draws."""
    table, pair = tables[name], ("VAE fine-tuned", "scratch")
    targets = study.shared_targets(table, *pair, labels)
    rows = []
    for method in reversed(pair):
        row = []
        for cost in ("steps", "FLOPs", "seconds"):
            spent = study.costs_to(table, method, cost, labels, targets).values()
            row.append(f"{np.mean([one.value for one in spent]):,.3g}")
        for once in ("pretraining FLOPs", "pretraining seconds"):
            row.append(f"{table.mean(method, once, labels):,.3g}")
        rows.append((method, *row))
    names = ("steps", "FLOPs", "seconds", "FLOPs of the VAE", "seconds of the VAE")
    show_table(rows, (f"{vae_transfer.TITLES[name]}, {labels} labels", *names))


costs_of(example, vae_comparisons.MAIN_LABELS[example])
for r in LIVE:
    if r["data"] == f"{vae_transfer.TITLES[example]}, {size}" and r["unit"] in (
        "nats",
        "times",
        "tasks",
    ):
        shown = ledger_text.interval_text(r["value"], r["low"], r["high"], r["unit"])
        print(f"{r['name']}: {shown}")

# %% [markdown]
# The number of *tasks* answers the question that the ratio leaves out, since somebody has to train the VAE.
# It is what the pretraining costs, in FLOPs, divided by what one task saves.
# If you download a VAE, you need not ask.
# If you train one for a single task with a hundred labels, you will not get its cost back.

# %% [markdown]
# ## 9. The same with fresh VAEs and all images
#
# The recorded runs use all of MNIST and Fashion-MNIST as sources (tens of thousands of images), longer pretraining, and a fresh VAE for each draw, so that their intervals hold for VAEs made in this way, not just for these.
# They also have more methods:
#
# - **random encoder**: a probe on $\mu$ of an encoder that was never trained;
# - **supervised**: the encoder was trained with the *labels* of the source, chapter 4's kind of transfer;
# - **kNN on μ**: the label of the nearest labelled images (1, 3, 5 or 9 of them) by $\mu$;
# - **SVM**: a support vector machine with a Gaussian kernel, on $\mu$ or on pixels.


# %% [markdown]
# What is made anew in each repeat, and what do the two methods of a repeat share?
#
# {diagram: draws}


# %%
def recorded_accuracies(name, counts=None):
    """A recorded study as a table of mean test accuracies."""
    try:
        table = study.recorded_table("05", name)
    except CourseError as error:
        print(error)
        return
    header = (
        f"{vae_transfer.TITLES[name]}: accuracy (%)",
        *(f"{n} labels" for n in table.known("labels")),
    )
    show_table(accuracies(table), header)


for name in ("digits", "mnist", "fashion"):
    recorded_accuracies(name)

# %% [markdown]
# Three things to look for in each table.
# Is the random encoder far below the probe on $\mu$?
# (If not, training the encoder has bought a linear classifier nothing with so many labels.)
# Which is better, $\mu$ or the hidden layer before it?
# And is anything better than an SVM on pixels?
#
# The intervals of the comparison, recorded:


# %%
def recorded_effects(comparisons, data, counts):
    """Recorded differences: a row for each comparison and data set, a column for each
    count.

    `comparisons` has the names of the comparisons by the middle of their ids.
    """
    found = study.recorded_by_measure("05", "accuracy")
    if not found:
        return
    known = {
        (r["id"], r["data"]): f"{r['value']:+.1f} [{r['low']:+.1f}, {r['high']:+.1f}]"
        for r in found
    }
    rows = []
    for compared, name in comparisons.items():
        for title in data:
            keys = [(f"05/accuracy/{compared}/{n}", f"{title}, full") for n in counts]
            if any(key in known for key in keys):
                rows.append((name, title, *(known.get(key, "–") for key in keys)))
    print(found[0]["label"])
    header = ("points, with 95 % interval", "data")
    show_table(rows, (*header, *(f"{n} labels" for n in counts)))


AGAINST_OTHERS = {
    "fine_tuned-scratch": "VAE fine-tuned − scratch",
    "fine_tuned-supervised": "VAE fine-tuned − supervised",
}
recorded_effects(
    AGAINST_OTHERS
    | {
        "probe_mu-random_encoder": "probe on μ − random encoder",
        "svm_mu-svm_pixels": "SVM on μ − SVM on pixels",
    },
    (
        "digits 0–4 → 5–9",
        "MNIST",
        "Fashion-MNIST → MNIST",
        "Fashion-MNIST",
        "MNIST → Fashion-MNIST",
    ),
    counts=(20, 50, 100, 500, 1000),
)

# %% [markdown]
# (Exploratory, ten fresh pairs of seeds each.
# The VAE has seen five times as many images as the supervised source network.
# An SVM on $\mu$ also uses the VAE of the first source.)
# What we read from these tables:
#
# - *Fine-tuning against scratch*: mostly a gain, mostly small, at most two and a half points.
#   It does not simply shrink with more labels: at 20 labels none of the five intervals excludes 0.
# - *Against a source network that had labels*: on digits 0–4 → 5–9 not decided.
#   Between Fashion-MNIST and MNIST, in both directions, the VAE is the better start from 100 labels on (exploratory).
#   Our guess: labels of a source that has nothing to do with the target teach the network to throw away what the target needs.
#   (Or it is the five times as many images.)
# - *$\mu$ against random*: the VAE has learned something.
#   But look at Fashion-MNIST with 20 and 50 labels, where its probe is *worse* than that of a random encoder.
#   And compare the table with that of the live run in `cpu`: there, with fewer images and a shorter training, the probe on $\mu$ was better at 50 labels on MNIST and Fashion-MNIST (on digits 5–9 worse).
#   A better description of the images is not always a better description for a linear classifier with few labels.
#   (`05b` looks into that.)
# - *The hidden layer* before $\mu$ is mostly the better feature for a linear probe.
# - *SVM on $\mu$*: on digits 5–9 it has the best mean of the table; against an SVM on pixels its gain is largest with few labels, and undecided from 500 on.
#   On MNIST it is a loss at 20 labels and a gain from 100 on; on Fashion-MNIST a loss at 20 and 1,000, a gain at 100.
#   So the VAE can be worth more as a map of the images, on which a nonlinear classifier works, than as the start of a network; and it depends on the data.

# %% [markdown]
# ### Chapter 4's example, all of it
#
# "supervised" is again a source network trained with labels.
# Chapter 4's network is another one (three convolutions with BatchNorm), so compare within a chapter first.


# %%
def beside_chapter_4(name):
    """Recorded accuracies of chapters 5 and 4 on one target, at 20 and 200 labels."""
    rows = []
    for chapter, methods in (
        (
            "05",
            (
                "scratch",
                "VAE fine-tuned",
                "probe on μ",
                "supervised",
                "PCA",
                "raw pixels",
            ),
        ),
        ("04", ("scratch", "fine-tuned", "linear probe")),
    ):
        try:
            table = study.recorded_table(chapter, name)
        except CourseError as error:
            print(error)
            continue
        for method in methods:
            means = [f"{table.mean(method, 'test accuracy', n):.1f}" for n in (20, 200)]
            rows.append((f"chapter {int(chapter)}: {method}", *means))
    show_table(
        rows, (f"{vae_transfer.TITLES[name]}: accuracy (%)", "20 labels", "200 labels")
    )


beside_chapter_4("tops")
beside_chapter_4("animals")

# %%
recorded_effects(
    AGAINST_OTHERS,
    ("pullover/coat → pullover/shirt", "dog/cat → dog/fox"),
    counts=(20, 50, 100, 200),
)

# %% [markdown]
# What to see in the recorded tables:
#
# - *Pullover or shirt, 20 labels*: fine-tuning the VAE is not shown to be better than scratch.
#   In chapter 4, on the same clothes with as many labels, fine-tuning a network that had learned with the *labels* of the source gained about 11 points over its scratch.
#   Within the network of this chapter those labels gain less than two points in the mean.
#   Much of chapter 4's gain therefore seems to need chapter 4's convolutions, too.
# - *Dog or fox*, the first article's own example: the intervals at 20 and 100 labels lie *below* 0.
#   Here starting from the VAE seems to do harm.
#   (In the ledger, among so many comparisons, that is not enough for a verdict.)
#   Why?
#   Our guess: a photo of a dog is mostly grass, sofa and colour of fur, and that is what a VAE spends its latents on.
#   Also, ours is a small convolutional network without BatchNorm, whose VAE saw each image about seventeen times; a longer pretraining might change this.

# %% [markdown]
# ### All pairs, to look through
#
# Choose a pair of source and target, two methods and a budget of labels.
# Each method's mark shows its accuracy with its 95 % interval, so that one sees who leads with few labels and who with many.
# Beside it stand the paired differences of your two methods.
# The grey band is the margin of one point: an interval inside it is *no gain*, even where it excludes 0; one that reaches beyond it is *supported* or *contradicted* if it excludes 0, and otherwise *undecided*.
# Below stands the bill.
# It has the labels, the work of one task, the work that the source took once, and who paid for that; the lines show after how many tasks the source is repaid.
# Two networks are compared by the FLOPs until both have the lower of their best accuracies, anything else by the seconds of a whole run.
#
# A question to answer with it.
# An *SVM on pixels* needs no VAE and no network.
# Is there a pair, and a number of labels, at which the fine-tuned VAE is shown to be better than that?
# Guess first.

# %%
labels_and_bill(alt="05/bill", chapter="05", method="VAE fine-tuned")
plt.show()

# %%
shown, rows = (20, 50, 100, 200, 500, 1000), []
for pair, (name, end) in widgets.data_pairs().items():
    pair_table = study.recorded_study("05", name)
    row = {}
    for n in pair_table.known("labels"):
        e = study.paired(
            pair_table, f"VAE fine-tuned{end}", "SVM on pixels", "test accuracy", n
        )
        row[n] = f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]"
    rows.append((pair, *(row.get(n, "–") for n in shown)))
show_table(
    rows, ("VAE fine-tuned − SVM on pixels, points", *(f"{n:,} labels" for n in shown))
)

# %% [markdown]
# There is none: no interval lies above 0.
# Where the target is digits (5–9, or MNIST from either source), all intervals from 100 labels on lie below 0; for dog or fox, all of them.
# For the ten kinds of clothes nothing is decided up to 100 labels, and with 500 and 1,000 the SVM is better.
# Pullover or shirt stays undecided throughout.
#
# Now choose *scratch* again, and go through the pairs.
# The gains are found from 100 labels on (the one exception, barely, is digits 0–4 → 5–9 with 50).
# On dog or fox every mean lies below 0.
# There the figure says *contradicted* at 20, 50 and 100 labels; the ledger of section 11, which adjusts its primary row for all the others, says *undecided*.
# And one more: *probe on μ* against *random encoder*, Fashion-MNIST → Fashion-MNIST.
# With 20 and 50 labels the trained encoder is worse, with 500 and 1,000 better.
#
# A warning: all these verdicts are exploratory.
# Look through some six hundred comparisons, and some will look decided by luck.

# %% [markdown]
# The learning rates and budgets of steps were chosen before the recorded runs, on five other draws, by validation.
# The networks with supervised pretraining, and those from another source, have the settings of the fine-tuned VAE.

# %%
rows = []
for name in vae_transfer.SOURCES:
    for kind in ("scratch", "pretrained"):
        for labels, setting in tuned_settings(name, kind).items():
            rows.append((vae_transfer.TITLES[name], kind, labels, *setting))
show_table(rows, ("target", "network", "labels", "learning rate", "steps at most"))


# %% [markdown]
# ## 10. Find the leak
#
# A study that looks too good often is.
# A **leak** is any way in which the test images, or their labels, reach what is tested.
#
# %% [markdown]
# ### Exercise 6: find the leaks · 15 minutes
#
# A **leak** is any way in which the test images, or their labels, reach what is measured on them.
# A study with a leak runs without an error, and what it tells is not what it claims: often accuracies that are too good.
# Here is one, as it might be found.
# It pretrains on unlabelled images and fits a linear probe on each label draw:
#
# - `unlabelled`: images `[n, pixels]`, collected from many places; `train`, `validation` and `test` are pairs `(images, labels)`;
# - `pretrain(images)` learns an encoder and returns `encode`, a function from images to features `[n, d]`;
# - `draws`: a list of indices into `train`, one tensor for each label draw;
# - `fit(x, labels, alpha)` fits a probe and returns it, a function from standardised features to labels.
#   A larger `alpha` keeps its weights smaller; `alphas` holds the values to choose from, in rising order.
#
# There are three leaks in it.


# %% broken="combine.leakage"

# %% [markdown]
# Repair it, and change nothing else: the same encoder and probes, the whole test set, one accuracy in per cent for each draw.
# Ask of each line whether anything in it comes from `test`.
# In `unlabelled` that cannot be seen from the line: some of its images are *copies* of test images, equal in every pixel.
# They must not be pretrained on; all other unlabelled images must.
# Of which images the ruler (mean and standard deviation) is made is up to you, as long as none of them is in `test`.
# Where two values of `alpha` are equally good, take the smaller.


# %% exercise="combine.leakage"

# %% check="combine.leakage"
honest_study_checked = check("combine.leakage", honest_study)

# %% [markdown]
# A test for leaks that needs no reading of code: give the study images and labels of *pure noise*.
# Nothing about such a label can be learned, so the expected accuracy of an honest study with two classes is 50 %.
# Principal components stand in for the VAE here, and a linear classifier by least squares (ridge) for the probe; both take milliseconds.
# Look at the two means, each over 100 studies, and at their distance from 50 %.

# %%
from vaetl_helpers.exercises.combine import principal_components, ridge

generator = torch.Generator().manual_seed(P.seed)
told = {"as found": [], "repaired": []}
for _ in range(100):
    sets = [
        (torch.randn(40, 30, generator=generator), torch.arange(40) % 2)
        for _ in range(3)
    ]
    unlabelled = torch.cat([torch.randn(60, 30, generator=generator), sets[2][0]])
    draws = few_labels_checked(sets[0][1], per_class=5, draws=2, seed=P.seed)
    for name, run_study in (
        ("as found", leaky_study),
        ("repaired", honest_study_checked),
    ):
        alphas = [0.1, 1, 10, 100]
        told[name] += run_study(
            principal_components, ridge, unlabelled, *sets, draws, alphas
        )
for name, accuracies in told.items():
    middle, low, high = study.mean_interval(
        torch.tensor(accuracies).view(100, 2).mean(1).tolist()
    )
    print(f"{name}: {middle:.1f} % [{low:.1f}, {high:.1f}]")

# %% [markdown]
# A mean whose whole interval lies above 50 % was not earned on images: there was nothing in them.
# On noise only the choice of `alpha` can do that, because it alone uses test *labels*.
# The other two leaks let test images into the encoder and the ruler.
# They pass this test, and still the study does not measure what it claims to, which is how well it does on images that it has never seen.

# %% [markdown]
# ## 11. The claims ledger
#
# Each row is a claim, tested on one data set: the effect, its 95 % interval, the number of repeats, the verdict.
# *Live* rows are of this run, *recorded* ones of longer runs, of this chapter and of others.
# Shown are the main questions: primary rows, and beside them the M1-style ones.
# All other exploratory rows: `vaetl claims`.
#
# A primary row needs more than an interval that excludes 0: its p value is adjusted by Holm for all primary rows of its claim, because we conclude about a claim from all of them.
# So a primary row may be "undecided" with an interval above 0.
# (The p value is the probability of an effect at least as large as the one found, in either direction, if there were none.)
# A live row gets no verdict: it holds for this run and its few VAEs.
# Positive effects, and ratios above 1, speak for the claim.

# %% [markdown]
# The way of a number from the run to its verdict; note what stood there before the run.
#
# {diagram: ledger}


# %%
ledger = claims.ledger(records=LIVE)


main_questions = {(row.claim, row.id) for row in claims.comparisons() if row.primary}
main_rows = [row for row in ledger if (row.claim, row.id) in main_questions]
for claim, entry in claims.CONTRACT["claims"].items():
    cells = [
        (
            f"{row.data} ({row.source})",
            row.question,
            ledger_text.shown(row),
            row.n,
            row.verdict,
            "yes" if row.primary else "",
        )
        for row in main_rows
        if row.claim == claim
    ]
    if cells:
        show_table(
            cells,
            (
                f"**{claim}**: {entry['text']}",
                "measure",
                "effect, 95 % interval",
                "n",
                "verdict",
                "primary",
            ),
        )
others = len(ledger) - len(main_rows)
print(
    f"{len(main_rows)} rows; {others} more, all exploratory, are in `vaetl claims`. "
    f"Live rows hold for {these} alone, and get no verdict."
)

# %% [markdown]
# The same as a **forest plot**: the dot is the effect, the bar its interval, the dashed line "no effect", the grey band the margin.
# Look at the mark and its colour: they are the verdict.
# How many primary rows of a claim are supported, how many contradicted?

# %%
plots.forest(
    main_rows,
    "The claims, tested",
    alt="forest plot of the main rows of the claims ledger: effects with 95 % "
    "intervals",
    margins=claims.CONTRACT["margins"],
    ratios=claims.RATIOS,
)
plt.show()

# %% [markdown]
# In words, those *primary* rows that are decided (written by code from the rows):

# %%
for row in main_rows:
    if row.verdict != "undecided" and row.primary:  # primary rows are recorded ones
        print("-", ledger_text.sentence(row))
primary = [row.verdict for row in main_rows if row.primary]
print({verdict: primary.count(verdict) for verdict in plots.VERDICTS}, "primary rows")

# %% [markdown]
# **How to read it.**
# A claim that is supported on one data set and contradicted on another is not "true on average".
# It depends on the data, and the next question is: on what about them?
#
# **What the recorded rows say**, of *our* networks and data:
#
# - *better?*
#   With 100 labels the mean gains over scratch are 0.6 to 1.1 points on digits and clothes.
#   One of the five primary rows is supported, digits 0–4 → 5–9.
#   Chapter 4's two pairs with 20 labels are undecided; on dog or fox the whole interval lies below 0, which is not enough after Holm.
# - *less overfitting?*
#   No recorded primary row is decided.
#   Among the exploratory ones are both signs: on MNIST the gap is smaller, on digits 5–9 with 500 labels it is *larger*.
#   The gap also depends on the learning rate, which was chosen for accuracy: a slower scratch memorises less.
# - *more efficient?*
#   In labels, a little at best (rows in `vaetl claims`): for its accuracy at 100 labels scratch needs 1.1 to 1.3 times as many on digits and the ten kinds of clothes, four of five intervals above 1; on chapter 4's pairs nothing is shown.
#   In seconds, with the pretraining counted, no: as we count, it takes some 200 to 700 times as long, and still tens of times if each classifier were charged as if it had been trained alone.
# - Chapter 4's transfer, from a source with labels, saved FLOPs at 10 labels a class (55 and 12 times).
#   There the training of the source is *not* counted, and at 100 labels a class dog or fox is undecided.
#
# Why so little from the VAE?
# We do not know.
# One guess: it describes *everything* in the image, and what the label asks for is a small part of that.
# Another: with one hidden layer there is little to transfer.
# Both can be tested, and the capstone invites you to.

# %% [markdown]
# ## 12. Where this is used today
#
# - **Latent diffusion** (Rombach et al. 2022, arXiv 2112.10752) is the method behind Stable Diffusion.
#   An autoencoder is trained once and then *frozen*, and a diffusion model works on its codes.
#   That autoencoder is a VAE with a tiny weight on the KL, plus a perceptual and an adversarial loss, so our results on plain VAEs do not carry over.
# - **Single-cell biology** has scArches (Lotfollahi et al. 2022, Nature Biotechnology 40), which adds new data sets to a trained conditional VAE by training only new weights.
# - **The honest rival** for images is self-supervised learning (SimCLR, arXiv 2002.05709; MAE, arXiv 2111.06377; DINOv2, arXiv 2304.07193).
#   Its features are what a VAE's features would have to beat, and we have not measured them here.
#
# Our studies have limits.
# The images are small, the networks shallow, and digits are easy.
# Our 50 validation labels per class, 100 to 500 in all, are more than most of the small training sets have.
# With 50 labels in all you would have no such validation set, a point that Oliver et al. (2018, arXiv 1804.09170) make for semi-supervised learning.
# The validation labels serve every method alike, so the comparison is fair, but the accuracies are those of somebody with more labels.

# %% [markdown]
# ## 13. Capstone: your own row in the ledger
#
# Choose a pair of source and target that is not in this chapter.
# You could take digits 0–4 turned upside down → 5–9, one half of the clothes → the other half, or photos of your own (`data.load_folder`).
# Then:
#
# 1. Write down *before any run* the claim, the measure, the primary comparison, the margin, the number of repeats, the data on which each choice is made, and your guess.
# 2. Make the sets disjoint, and show it by hash.
# 3. Run at least 10 draws of scratch, fine-tuning, a probe, PCA and raw pixels, with fresh VAEs if you can.
# 4. Report effect, interval, n, verdict, and what the interval is conditional on.
# 5. Say in five sentences what you found, what you did not find, and why you think so.
#
# | grading sheet | points |
# |---|---|
# | the plan was written before the run, and kept | 4 |
# | sets disjoint, shown by code; no choice made on the test set | 4 |
# | same labels, validation and tuning for each method; baselines present | 4 |
# | paired effect, right interval, what it is conditional on | 4 |
# | verdict by the rule; "undecided" not sold as "no effect" | 3 |
# | figure readable: title, axes with units, what to see in it | 2 |
# | discussion: a reason that could be tested next | 3 |
# | somebody else can run it with one command | 1 |
# | **sum** | **25** |
#
# The outcome itself gives no points, because a claim that fails, shown well, is worth as much as one that holds.

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
# An interval for "VAE fine-tuned − scratch" is [−0.4, 0.7] points, n = 10, the margin is 1 point.
# What may you say?**
#
# <details><summary>Undecided: 0 is inside.</summary>
#
# 0 is inside, but the whole interval is also inside ±1 point, and rule 2 is asked before rule 5.
# </details>
#
# <details><summary>No gain worth a point.</summary>
#
# Right.
# Unlike "undecided", this is a finding: the difference is small.
# </details>
#
# <details><summary>Supported: the middle is above 0.</summary>
#
# The middle decides nothing.
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
# The gap between test and training loss is smaller with the VAE, and the test accuracy is 4 points lower.
# Less overfitting?**
#
# <details><summary>Yes, that is the definition.</summary>
#
# By that definition a network that gives every class the same probability would win, because its loss is ln C on both sets, where C is the number of classes.
# </details>
#
# <details><summary>Not in a sense that anybody wants.</summary>
#
# Right.
# That is why our measure compares the two where their training losses are equal.
# </details>

# %% [markdown]
# **5.
# A primary row has the interval [0.2, 1.1] points and the verdict "undecided".
# How can that be?**
#
# <details><summary>A mistake: the interval lies above 0.</summary>
#
# It does lie above 0, but it is one of several primary rows of its claim, and its adjusted p value is above 0.05.
# </details>
#
# <details><summary>It was adjusted for the other primary rows.</summary>
#
# Right.
# Holm's method keeps the chance of any false effect among the *primary* rows of a claim below 5 %, if each interval keeps its promise.
# </details>
#
# **6.
# "Labels to scratch's accuracy, scratch ÷ VAE fine-tuned" is at most 0.8 times [open, 1.1].
# What does it say?**
#
# <details><summary>The VAE is 0.8 times as expensive.</summary>
#
# It is the other way round, because scratch takes at most 0.8 times as many labels as the VAE.
# </details>
#
# <details><summary>At most 0.8: fine-tuning sometimes never got there, so the ratio may be smaller still.</summary>
#
# Right.
# A method that is not at the target with the most labels leaves one end open.
# </details>

# %% [markdown]
# ## Take-away
#
# - Say which kind of transfer it is: M1-style, self-taught, or source → target.
# - Fix measure, primary comparison and margin before the run, and then let the rule speak.
# - Repeat *everything* that is random and that your claim is about, pretraining included; otherwise say what the result is conditional on.
# - Keep raw pixels, PCA and a random encoder in the comparison.
# - "Undecided" is not "no effect".
# - Pretraining has a price in seconds.
#   If you pay it once for many tasks, you count differently from somebody who pays it for one.
# - What came out is in the ledger, with its interval, whichever way it went.

# %% [markdown]
# ## Further reading
#
# - Kingma, Mohamed, Rezende and Welling, *Semi-supervised Learning with Deep Generative Models* (2014), arXiv 1406.5298: M1, M2.
# - Raina, Battle, Lee, Packer and Ng, *Self-taught Learning: Transfer Learning from Unlabeled Data*, ICML 2007.
# - Oliver, Odena, Raffel, Cubuk and Goodfellow, *Realistic Evaluation of Deep Semi-Supervised Learning Algorithms* (2018), arXiv 1804.09170.
# - Rombach, Blattmann, Lorenz, Esser and Ommer, *High-Resolution Image Synthesis with Latent Diffusion Models* (2022), arXiv 2112.10752.
# - Nadeau and Bengio, *Inference for the Generalization Error*, Machine Learning 52 (2003); Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6 (1979).
