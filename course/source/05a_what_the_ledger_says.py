# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "05a"
#     title: What the ledger says
#     minutes: {reading: 25, exercises: 32, cpu: 1.0, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # What the ledger says
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - read a recorded study by its intervals, and say who paid for what;
# - write a measure of overfitting that favours neither method, and read what adaptation costs;
# - find where the test set has leaked into a study;
# - read a ledger of claims, and say what was not measured.
#
# You need [chapter 5](05_vae_transfer_learning.ipynb) for the methods, and [chapter 4a](04a_is_the_gain_real.ipynb) for intervals and verdicts.

# %% [markdown] slide="What is made anew in each repeat"
# ## The claims that this chapter tests
#
# The recorded studies have forty repeats, and in the drawing you can see what each repeat makes anew and what its two methods share.
#
# {diagram: draws}
#
# In our summary, the second article claims of a VAE with transfer learning:
#
# - *the latent representation that the VAE has learned may generalise better*, so that there is less overfitting;
# - *transfer speeds up the process of adaptation*;
# - *transfer significantly reduces the need for a large amount of data*;
# - *a VAE together with transfer learning performs better*.
#
# Each needs a measure beforehand, and the VAE stands against the same network from scratch.
#
# | the claim | what is measured | it is supported if the VAE |
# |---|---|---|
# | less overfitting | the loss on **unseen images** where both have the **same loss on their training images**, in nats per image | loses less |
# | more efficient | optimiser steps to an accuracy on validation that both reach | takes fewer |
# | fewer labels | the labels that it takes to reach scratch's accuracy | takes fewer |
# | better | test accuracy | is better |
#
# Chapter 5 has looked at the last one, and here are the other three.

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
noise_studies: int | None = None  # studies of pure noise in section 4
own_run: str | None = None  # the folder of a `vaetl run 05`, whose rows join the ledger
pairs: int | None = None  # encoders of each way, and draws, in the appendix
seen: int | None = None  # images that each of them sees, with repetition

# %%
from vaetl_helpers.runtime import setup, show_table

P = setup(
    "05a",
    profile,
    seed=seed,
    noise_studies=noise_studies,
    own_run=own_run,
    pairs=pairs,
    seen=seen,
)

# %%
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats

from vaetl_helpers import (
    claims,
    plots,
    pretraining,
    study,
    vae_comparisons,
    vae_transfer,
    vae_uses,
)
from vaetl_helpers.app import ledger_text
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.labels import labels_and_bill
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.tuned import Setting, tuned_settings

# %% [markdown]
# Three claims of "VAE e Transfer Learning: Un Approfondimento Specialistico" on cards, before anything is measured:

# %%
question_cards("overfitting", "efficiency", "fewer_labels")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("05a")

# %% [markdown]
# ## 1. Does it beat its rivals?
#
# Chapter 5 held the VAE against scratch, but whoever has few labels has other choices, which the recorded studies have too.
# Four of them are new:
#
# - **random encoder**: a probe on $\mu$ of an encoder that was never trained;
# - **supervised**: an encoder that was trained with the *labels* of the source, chapter 4's kind of transfer;
# - **SVM**: a support vector machine with a Gaussian kernel, on $\mu$ or on pixels;
# - **self-training**: a probe that learns from its own surest guesses on unlabelled images, too.
#
# One rival is picked before you look, an *SVM on pixels*, which needs no VAE and no network.
# How often is the fine-tuned VAE shown to be better?

# %% tags=["nbval-check-output"]
predict("combine.svm")

# %%
against_svm = vae_comparisons.recorded_effects("accuracy/fine_tuned-svm_pixels")
plots.effects_by_labels(
    against_svm,
    "Test accuracy, VAE fine-tuned − SVM on pixels",
    "points",
    alt="05a/svm",
    margin=1,
    meanings={"above 0": "the VAE is better", "below 0": "the SVM is better"},
)
sides = Counter(
    study.side_of_zero(record)
    for of_data in against_svm.values()
    for record in of_data.values()
)
WORDS = {"above 0": "lie above 0", "holds 0": "hold 0", "below 0": "lie below 0"}
counted = ", ".join(f"{count} {WORDS[side]}" for side, count in sides.items())
print(f"of {sides.total()} intervals, n = 40 each, {counted}")
settle("combine.svm", 100 * sides["above 0"] / sides.total())
plt.show()

# %% [markdown]
# **The simplest rival is seldom beaten, and never on digits.**
# On the ten kinds of clothes the fine-tuned network is ahead with 20 labels, whereas with 100 nothing is decided.
# On pullover or shirt one interval lies above 0, and on photos of dogs and foxes the network is behind with 20 and with 50 labels.
#
# For every other rival, choose a pair of source and target, two methods and a budget of labels.
# You see what each gets right, the paired difference, and what they cost.

# %%
labels_and_bill(alt="05/bill", chapter="05", method="VAE fine-tuned")
plt.show()

# %% [markdown]
# ## 2. Does it overfit less?
#
# Every network has two losses, one on its own few training images and one on images that it does not learn from.
# Both fall at first.
# Then the first goes on falling while the second does not, and that is overfitting.
#
# Why not take the gap between the two at the end?
# It grows as long as a network trains, so a network that has learned nothing has none.
# So we compare the losses on unseen images where both networks have come *equally far down* on their own.

# %% tags=["nbval-check-output"]
predict("combine.overfitting")

# %% [markdown]
# Thin lines are single networks, and a thick one is the median of forty.
# Go up from any training loss, and the lower of the two thick lines overfits less there.
# Which one is it with 50 labels, and which with 500?

# %%
vae_uses.draw_paths(study.recorded_study("05", "digits"), (50, 500), alt="05a/paths")
plt.show()

# %% [markdown]
# With 50 labels the VAE's line lies above that of scratch, and with 500 below it.
# How far, in one number?
#
# ### Exercise 1: equal training losses · 12 minutes
#
# Write this measure.
# It gets two **paths**, `a` and `b`, and each of them is a pair `(training, unseen)` of NumPy arrays with one loss for each epoch, in nats.
# Epochs in which the training loss was no new low are left out, so that it falls all the way.
# But the two paths are not equally long, and they begin and end at different training losses.
#
# Take 20 training losses, evenly from the highest to the lowest that *both* paths pass, both ends included.
# Read the unseen loss of each path there, on the straight line between two epochs, and return the mean of a's minus b's.


# %% exercise="combine.excess_loss"

# %% check="combine.excess_loss" tags=["nbval-check-output"]
excess_loss_checked = check("combine.excess_loss", excess_loss)

# %% [markdown]
# Now measure the forty recorded pairs of digits, with scratch as `a` and the VAE as `b`, so that a number above 0 says that the VAE loses less.
# Beside it stand two other measures: the same on losses that fall by equal *factors*, and the gaps at the end, which somebody in a hurry would compare.
# In which rows would they have led to another sign?

# %%
overfitting = vae_comparisons.recorded_effects("overfitting/scratch-fine_tuned")
digits_study = study.recorded_study("05", "digits")


def by_factors(a, b):
    """The measure on losses that fall by equal factors, to 0.01 nats."""
    lowest, highest = max(a[0][-1], b[0][-1], 0.01), min(a[0][0], b[0][0])
    levels = np.geomspace(lowest, highest, 20)
    at_a, at_b = (np.interp(levels, path[0][::-1], path[1][::-1]) for path in (a, b))
    return (at_a - at_b).mean()


rows = []
for labels, record in overfitting["digits 0–4 → 5–9"].items():
    scratch_paths, vae_paths = (
        study.falling_paths(digits_study, method, labels)
        for method in ("scratch", "VAE fine-tuned")
    )
    both = [(path, vae_paths[pair]) for pair, path in scratch_paths.items()]
    by_pair, spread_by_factors = (
        np.mean([measure(*paths) for paths in both])
        for measure in (excess_loss_checked, by_factors)
    )
    gaps = [
        np.mean([unseen[-1] - training[-1] for training, unseen in paths.values()])
        for paths in (scratch_paths, vae_paths)
    ]
    numbers = (by_pair, record["value"], spread_by_factors, gaps[0] - gaps[1])
    rows.append((labels, *(f"{number:+.3f}" for number in numbers)))
header = "labels", "your function", "the ledger", "by equal factors", "gaps at the end"
show_table(rows, header)

# %% [markdown]
# Your function and the ledger agree to the last digit.
# By the gaps, the VAE would overfit less by four tenths of a nat with 100 labels, of which nothing is left at equal training losses.
#
# Every mean over losses also chooses them.
# Spread evenly, two to four of the twenty lie below 0.1 nats, where networks learn by heart, and by equal factors about half do.
# With 20, 50 and 500 labels the sign is the same by both.
# With 100 it is about 0 by the one and positive by the other, because the VAE is worse at first and better later, so nobody should build on that row.
#
# Here is the measure for each pair.

# %%
plots.effects_by_labels(
    overfitting,
    "Loss per unseen image at equal training loss, scratch − VAE fine-tuned",
    "nats",
    alt="05a/overfitting",
    margin=claims.CONTRACT["margins"]["nats"],
    symlog=0.1,
    meanings={"above 0": "the VAE loses less", "below 0": "it loses more"},
)
settle("combine.overfitting")
plt.show()

# %% [markdown]
# **With the learning rate that was tuned for each of them, the VAE overfits more where the claim would need it most, with 20 labels, and less with the most labels.**
# This holds for all grey images, and with 100 labels every interval holds 0.
# On photos of dogs and foxes no interval lies above 0, and with 20 and with 200 labels the VAE overfits more.
#
# ### Was it the VAE, or the learning rate?
#
# Each network has a learning rate of its own, the highest of those whose accuracy on validation lay within half a point of the best.
# With 20 labels the VAE's network has the higher of the two rates on every pair of grey images, and with 500 the lower one.
# So two things have changed at once, and a study of both networks at both rates, with twenty fresh pairs, tells them apart.

# %%
predict("combine.rate_or_start")

# %% [markdown]
# On the left only the start differs, in the middle only the rate.
# On the right is the accuracy, again by the start alone.
# In which of the panels do the marks leave the dashed line?

# %%
vae_uses.draw_rates(alt="05a/rates")
one = study.recorded_by_measure("05", "rates")[0]
print(f"n = {one['n']}, {one['label']}")
settle("combine.rate_or_start")
plt.show()

# %% [markdown]
# **On grey images it was mostly the learning rate.**
# In the middle, the higher rate loses more on unseen images at the same training loss, with scratch in all seven rows and with the VAE in five.
# On the left, where only the start differs, all intervals at the lower rate lie within 0.06 nats of 0; of all fourteen four lie above 0 and one below.
# On the right, four of fourteen lie above 0, three of them with 500 labels, and none below.
# So at one rate no accuracy is shown to be lower with the VAE, and with 20 labels none to be higher.
# On dogs and foxes both networks have the same rate with 20 labels, so what the VAE loses there is due to the start.
#
# ### And the representation itself?
#
# The article speaks of the *latent representation*, and a network that is fine-tuned changes it.
# So keep it as it is.
# Here are two linear classifiers at equal training loss, one on $\mu$ and one on pixels.

# %%
representation = vae_comparisons.recorded_effects("overfitting/raw_pixels-probe_mu")
plots.effects_by_labels(
    representation,
    "Loss per unseen image at equal training loss, pixels − μ",
    "nats",
    alt="05a/representation",
    margin=claims.CONTRACT["margins"]["nats"],
    symlog=0.1,
    meanings={"above 0": "μ loses less", "below 0": "μ loses more"},
)
plt.show()

# %% [markdown]
# **It generalises worse, but for one pair.**
# With 20, 50 and 100 labels every interval outside digits 5–9 lies below 0, and on these digits $\mu$ loses less by 0.06 nats at most.

# %% [markdown]
# ## 3. Is it cheaper?
#
# There are three currencies.
#
# - **Steps**: how many did each network take to the lower of their two best validation accuracies, which both reach?
# - **Labels**: how many does fine-tuning need to match the test accuracy of scratch at 100?
#   Between two numbers of labels we draw a straight line over their logarithm, and where a method never gets there, one end of the interval stays *open*.
# - **Tasks**: after how many is the VAE's own training repaid, in FLOPs?
#   The article speaks of a faster *adaptation*, so steps and labels do not count it.

# %%
predict("combine.efficiency")
predict("combine.fewer_labels")
predict("combine.repaid")

# %% [markdown]
# Steps and labels are ratios, scratch ÷ VAE, so right of 1 the VAE is cheaper.
# Which of the two intervals leaves 1 out?

# %%
found = {
    question: vae_comparisons.recorded_effects(question)["digits 0–4 → 5–9"][100]
    for question in (
        "steps/scratch-fine_tuned",
        "labels/scratch-fine_tuned",
        "break_even/flops",
    )
}
*ratios, tasks = found.values()
(axis,) = plots.panels(
    ["How many times cheaper the VAE is"],
    alt="05a/cheaper",
    height=2.2,
    width=7,
)
axis.axvspan(
    1 / claims.CONTRACT["margins"]["times"],
    claims.CONTRACT["margins"]["times"],
    color=plots.GREY,
    alpha=0.2,
)
axis.axvline(1, color="black", linestyle="--", linewidth=1)
for place, record in enumerate(ratios):
    axis.plot([record["low"], record["high"]], [place] * 2, "-", color=plots.COLOURS[0])
    axis.plot(record["value"], place, "o", color=plots.COLOURS[0])
axis.set_yticks(range(2), ["steps", "labels"])
axis.set(
    xlim=(0.8, 1.5),
    ylim=(1.5, -0.5),
    xlabel="scratch ÷ VAE, digits 0–4 → 5–9, 100 labels",
)
print(f"n = {tasks['n']}, {tasks['name']}: {ledger_text.record_text(tasks)}")
settle("combine.efficiency")
settle("combine.fewer_labels")
settle("combine.repaid")
plt.show()

# %% [markdown]
# **Here it saves about a sixth of the labels, and thousands of tasks repay its own training.**
# A sixth is not what most people would call "significantly".
#
# On pullover or shirt with 20 labels the VAE takes fewer steps, 1.66 times [1.30, 2.13], but there its learning rate is ten times that of scratch.
# At one rate for both the intervals hold 1 there, and other rows of that study leave 1 out in both directions.

# %% [markdown]
# ## 4. Find the leak
#

# %% [markdown]
# ### Exercise 2: find the leaks · 15 minutes
#
# A **leak** is any way in which the test images, or their labels, reach what is measured on them.
# This one pretrains on unlabelled images and fits a linear probe on each label draw:
#
# - `unlabelled`: images `[n, pixels]`, collected from many places; `train`, `validation` and `test` are pairs `(images, labels)`;
# - `pretrain(images)` learns an encoder and returns `encode`, a function from images to features `[n, d]`;
# - `draws`: a list of indices into `train`, one tensor for each label draw;
# - `fit(x, labels, alpha)` fits a probe and returns it, a function from standardised features to labels.
#   A larger `alpha` keeps its weights smaller; `alphas` holds the values to choose from, in rising order.
#
# This study looks too good to be true, and three leaks in it are the reason.


# %% broken="combine.leakage"

# %% [markdown]
# The cell below holds the same lines as comments.
# Take away their `#` and repair them, and change nothing else; the encoder, the probes, the whole test set, and one accuracy in per cent for each draw stay.
# Leave out as little as you can, and of two equally good values take the smaller.


# %% exercise="combine.leakage"

# %% check="combine.leakage" tags=["nbval-check-output"]
honest_study_checked = check("combine.leakage", honest_study)

# %% [markdown]
# A test for leaks that needs no reading of code is to give the study *pure noise*, of which an honest study with two classes gets 50 % right.
# Principal components stand in for the VAE here, and least squares for the probe, because both take milliseconds.
#
# What will the study tell as it was found, before the repair?
# And which of its three leaks brings that about?

# %%
predict("combine.noise")

# %%
from vaetl_helpers.data.registry import load
from vaetl_helpers.exercises.combine import (
    LEAKS,
    principal_components,
    ridge,
    study_with,
)

SHORT = ("copies in the pretraining", "test in the ruler", "alpha chosen on test")
versions = {"repaired": honest_study_checked}
versions |= {short: study_with(leak) for short, leak in zip(SHORT, LEAKS, strict=True)}
versions["all three"] = leaky_study
tools = (principal_components, ridge)
generator = torch.Generator().manual_seed(P.seed)
told = {name: [] for name in versions}
for _ in range(P.noise_studies):
    images = vae_uses.noise(generator)
    for name, run in versions.items():
        told[name].append(vae_uses.accuracy_of_study(run, tools, images))
print(
    f"on noise, {P.noise_studies} studies: as found {np.mean(told['all three']):.1f} %, "
    f"repaired {np.mean(told['repaired']):.1f} %"
)
settle("combine.noise", np.mean(told["all three"]))

# %% [markdown]
# Only one of the three did it, and the left panel below says which.
# What do the other two do?
# In the middle each study of fours and nines is run twice, the second time with *other test images*, and the mark says how far that moves the features that its probes are *fitted* on, as a share of their size.
# Where nothing has leaked they stay, and components that merely turn or change their sign count as moved.
# On the right is what matters to whoever believes such a study: by how much does it promise too much?

# %%
digits = load("mnist").train
fours_and_nines = digits.subset((digits.labels == 4) | (digits.labels == 9))
moved, promised = ({name: [] for name in versions} for _ in range(2))
for _ in range(max(5, 2 * P.noise_studies // 5)):
    images = vae_uses.some_digits(fours_and_nines, generator)
    for name, run in versions.items():
        moved[name].append(vae_uses.change_of_features(run, tools, images))
        promised[name].append(vae_uses.accuracy_of_study(run, tools, images))
honest = np.array(promised["repaired"])
too_much = {name: np.array(values) - honest for name, values in promised.items()}
titles = ("Told of pure noise", "Moved by other test images", "Told too much of digits")
axes = plots.panels(titles, alt="05a/leaks", height=2.8, columns=3)
for axis, by_version in zip(axes, (told, moved, too_much)):
    for place, values in enumerate(by_version.values()):
        middle, low, high = study.mean_interval(values)
        axis.plot([low, high], [place, place], "-", color=plots.COLOURS[0])
        axis.plot(middle, place, "o", color=plots.COLOURS[0])
    names = list(versions) if axis is axes[0] else [""] * len(versions)
    axis.set_yticks(range(len(versions)), names)
    axis.set_ylim(len(versions) - 0.5, -0.5)
axes[0].axvline(50, color="black", linestyle="--", linewidth=1)
axes[0].set_xlabel("accuracy (%)")
axes[1].set_xlabel("change of the fitted features (%)")
axes[2].set_xlabel("accuracy, above repaired (points)")
for axis in axes[1:]:
    axis.axvline(0, color="black", linestyle="--", linewidth=1)
plt.show()

# %% [markdown]
# **Each leak shows in the left panel or in the middle, and none in both.**
# The choice of `alpha` uses test *labels*, so that it finds luck in noise and sells it as accuracy.
# The copies and the ruler bring no label and lift nothing on noise, but what the study has learned depends on the images that it is tested on.
# So its accuracy is not that of a method which meets new images.

# %% [markdown] slide="From a run to a verdict"
# ## 5. So, what does the ledger say?
#
# All results of this course end in one table, the **claims ledger**, and no number in it is typed by hand.
# In the drawing, note what stood there before the run.
#
# {diagram: ledger}
#
# One comparison for each claim and data set was named as **primary** before chapter 5 was recorded, and the others are **exploratory**.
# Whoever looks at many rows finds one that luck has decided, so the p values of a claim's primary rows are adjusted by Holm.
# (A p value is the probability of an effect at least as large as the one found, in either direction, if there were none.)
#
# ### Which rule decides first?
#
# An interval can lie above 0 and within the margin at once, so the order of the questions matters.
#
# {diagram: verdict}
#
# ### Your turn: a verdict by hand
#
# Half of an interval is $t\,s/\sqrt n$, where $s$ is the standard deviation of the $n$ differences, and $t$ is 2.02 for forty of them.
# Take the accuracy of the VAE minus that of scratch on pullover or shirt, with 20 labels.
# The next cell prints what you need.
# With a margin of one point, which of the four words does the drawing give?

# %%
pullover = study.recorded_study("05", "tops")
tuned, scratch = (
    list(pullover.values(method, "test accuracy", 20).values())
    for method in ("VAE fine-tuned", "scratch")
)
by_pair = torch.tensor(tuned) - torch.tensor(scratch)
gain, spread = by_pair.mean().item(), by_pair.std().item()
print(f"mean {gain:.2f} points, standard deviation {spread:.2f}, n = {len(by_pair)}")
predict("combine.by_hand")

# %% [markdown]
# Here is what the ledger's code says, which counts the luck of the test images, too.

# %%
e = study.paired(pullover, "VAE fine-tuned", "scratch", "test accuracy", 20)
print(f"{e.effect:.2f} points [{e.low:.2f}, {e.high:.2f}]: {study.verdict(e, delta=1)}")
settle("combine.by_hand", study.verdict(e, delta=1).replace(" ", "_"))

# %% [markdown]
# Could forty pairs have told a gain of a whole point, the margin?
# The share of studies that would see it is the **power** of a study, asked at a gain that matters, and not at the one that was found, which is partly luck.

# %%
predict("combine.power")


# %%
def power(pairs, gain, spread, studies=2000):
    """Per cent of studies whose interval lies above 0, if that were the true gain."""
    generator = torch.Generator().manual_seed(P.seed)
    found = gain + spread * torch.randn(studies, pairs, generator=generator)
    half = stats.t.ppf(0.975, pairs - 1) * found.std(1) / pairs**0.5
    return 100 * (found.mean(1) > half).float().mean().item()


(axis,) = plots.panels(["How many studies see the gain?"], alt="05a/power")
gains = np.linspace(0, 3, 25)
for pairs in (10, 40, 160):
    shares = [power(pairs, true_gain, spread) for true_gain in gains]
    axis.plot(gains, shares, "-", label=f"{pairs} pairs")
axis.axhline(80, color="grey", linestyle=":")
axis.axvline(1, color="grey", linestyle=":")
axis.set(xlabel="true gain (points)", ylabel="studies whose interval lies above 0 (%)")
plots.label_lines(axis)
for pairs in (40, 160):
    print(
        f"{pairs} pairs see a point in {power(pairs, 1, spread):.0f} % of the studies"
    )
settle("combine.power", round(power(40, 1, spread)))
plt.show()

# %% [markdown]
# Forty pairs see a gain of one point in about half of the studies, and only one of 1.4 points in four of five.
# So an undecided row may still hide a gain.
#
# ### The verdicts
#
# The cards that were questions at the top have their verdicts now, written by code from the primary rows.
# How many primary rows of a claim are supported, and how many contradicted?

# %%
verdict_cards("overfitting", "efficiency", "fewer_labels", "performance")

# %% [markdown]
# **Fewer labels and a better accuracy are supported on three data sets of five and fewer steps on one; less overfitting is supported on none and contradicted on two.**
# On the article's own photos, dog or fox with 20 labels, the fine-tuned VAE is *worse* than scratch, 56.6 against 58.6 %, at one learning rate for both.
# The one row with fewer steps is that of section 3, whose rates differ tenfold, and the same pair overfits more on its card.
# At one rate, in section 2, it does not.
#
# On the card of fewer labels the two pairs of classes are *unknown*, because there the ratio is open at both ends.
#
# "Supported" does not say that a gain exceeds the margin: two of the three in accuracy may well be smaller than a point.
#
# On dogs and foxes hardly any pretraining on cats and dogs was shown to help fine-tuning, as an appendix shows.
#
# ### Would you use a VAE?
#
# The cards compare two networks, but whoever has a VAE may use it in any way, and whoever has none may take any method.
# So in each draw the *best with a VAE* and the *best without* are chosen by validation.
# Where is the best with a VAE ahead, and is that a matter of the labels or of the source?

# %% slide="Would you use a VAE?"
best = vae_comparisons.recorded_effects("accuracy/best_with-best_without")
plots.effects_by_labels(
    best,
    "Test accuracy, best with a VAE − best without",
    "points",
    alt="05a/best",
    margin=1,
    meanings={"above 0": "ahead with a VAE", "below 0": "ahead without"},
)
plt.show()

# %% [markdown]
# **For a VAE of its own images it is a matter of the labels.**
# On MNIST and on the ten kinds of clothes the best with it is behind with 20 labels and ahead with 500.
# Only on digits 5–9, after digits 0–4, is it ahead with 20 already, and there it is mostly no fine-tuned network, but self-training or an SVM on $\mu$.
#
# The two panels of a VAE of *another* collection flatter it.
# No SVM on its $\mu$ was run, so the SVM on pixels is left out, too, and whoever puts it back turns the sign on MNIST: with 500 labels it has 90.2 %, the fine-tuned VAE of clothes 88.1.
#
# One menu is missing, a VAE that learns from the labels *and* from thousands of unlabelled images of the same classes.
# On MNIST with 100 labels the SVM on pixels errs in 20.9 % of the test images, M2 of [chapter 5c](05c_two_stages_or_one.ipynb) in 11.8, and M1+M2 in 3.4, over five draws and with 5,000 labels for validation.
#
# Here is what we would tell a friend, of small images and small networks alone.
#
# > 1. **From a hundred labels on, start a network from a VAE rather than from scratch, if somebody has trained one**: on digits and on ten kinds of clothes it was always ahead of scratch, by less than two and a half points.
# > 2. **With 20 labels, do not fine-tune it**: with tuned rates it was shown to be better than scratch on no pair of seven and worse on four, and at one rate for both, on three grey pairs, neither.
# > 3. **With few labels, ask for a VAE of closely related images**: only after digits 0–4 was the best with it ahead at 20 and 50 labels, and on pullover or shirt and on dogs and foxes nothing is decided.
# > 4. **Try first what needs neither source nor network**: from a hundred labels on an SVM on pixels, and with 20 self-training on principal components, three to six points ahead of it on digits and ten kinds of clothes.
# > 5. **Do not train a VAE for a single task, unless you have its own unlabelled images by the thousand**: in FLOPs it is repaid after hundreds of tasks at the least, but M2 and M1+M2 made fewer than 60 and 20 % of the SVM's errors.
#
# They rest on the last figure of [chapter 5](05_vae_transfer_learning.ipynb), on the figures above and on chapter 5c.
# The first four hold for somebody with 50 more labels of each class for validation, a point that Oliver et al. (2018) make.

# %% [markdown]
# ## 6. Capstone: your own row in the ledger
#
# Choose a pair of source and target that is not in this chapter.
# You could take digits 0–4 turned upside down → 5–9, or your own photos (`data.load_folder`).
# Write the claim, the measure and your guess down *before any run*, and end with a verdict.
# An appendix has the plan, lines to start with, and the grading sheet, on which the outcome gives no points.

# %% [markdown]
# ## Quiz
#
# **1.
# The gap between test and training loss is smaller with the VAE, and the test accuracy is 4 points lower.
# Less overfitting?**
#
# <details><summary>Not in a sense that anybody wants.</summary>
#
# Right.
# That is why our measure compares the two where their training losses are equal.
# </details>
#
# <details><summary>Yes, that is the definition.</summary>
#
# By that definition a network that gives every class the same probability would win, because its loss is ln C on both sets, where C is the number of classes.
# </details>
#
# **2.
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
# **3.
# "Labels to scratch's accuracy, scratch ÷ VAE fine-tuned" is at most 0.8 times [open, 1.1].
# What does it say?**
#
# <details><summary>At most 0.8: fine-tuning sometimes never got there, so the ratio may be smaller still.</summary>
#
# Right.
# A method that is not at the target with the most labels leaves one end open.
# </details>
#
# <details><summary>The VAE is 0.8 times as expensive.</summary>
#
# It is the other way round, because scratch takes at most 0.8 times as many labels as the VAE.
# </details>
#
# **4.
# Your study finds 50 % on pure noise.
# Is it free of leaks?**
#
# <details><summary>Yes, that is what the test is for.</summary>
#
# Noise shows leaks of labels, and test images in the pretraining bring no labels.
# </details>
#
# <details><summary>Not necessarily, because test images may have been pretrained on.</summary>
#
# Right.
# Such a leak gains nothing on noise, and makes the study measure something else on images.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("05a")
my_bets("05a")

# %% [markdown]
# ## Take-away
#
# - Compare losses on unseen images at equal training loss and at one learning rate, because the gap grows with training alone, and a higher rate loses more.
# - Let both networks reach the target by which their costs are compared.
# - Repeat *everything* that is random and that your claim is about, pretraining included; otherwise say what the result is conditional on.
# - Compare the best with a VAE with the best without, and not only with a weak rival.
# - Pretraining has a price.
#   Whoever pays it once for many tasks counts differently from somebody who pays it for one.
# - "Undecided" is not "no effect".

# %% [markdown]
# ## Further reading
#
# - Oliver, Odena, Raffel, Cubuk and Goodfellow, *Realistic Evaluation of Deep Semi-Supervised Learning Algorithms* (2018), arXiv 1804.09170.
# - Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6 (1979).

# %% [markdown]
# ## Appendix: all rows of the ledger
#
# The cards show the primary rows of a claim, five for each.
# Here those in which the VAE has seen the target's own images stand beside them, as hollow marks in a **forest plot**.
# The dot is the effect, the bar its interval, the dashed line "no effect" and the grey band the margin.
# Compare the full marks of a claim with its hollow ones: does it help to have seen the target's images?

# %% slide="The claims ledger"
ledger = claims.ledger(run=P.own_run)
of_vaes = {
    "overfitting": "less overfitting",
    "efficiency": "steps",
    "fewer_labels": "labels",
    "performance": "accuracy",
}
main_questions = {(row.claim, row.id) for row in claims.comparisons() if row.primary}
rows_of_vaes = [
    row
    for row in ledger
    if row.claim in of_vaes and (row.claim, row.id) in main_questions
]


def name_of(row):
    """The claim in a word, the data and the number of labels."""
    of_own = " (this run)" if row.source == "live" else ""
    return f"{of_vaes[row.claim]}: {ledger_text.place_text(row)}{of_own}"


plots.forest(
    rows_of_vaes,
    "Of five full marks a claim, three support fewer labels and none less overfitting",
    alt="05a/forest",
    margins=claims.CONTRACT["margins"],
    ratios=claims.RATIOS,
    symlog={"nats": 0.1},
    name=name_of,
)
print(f"The other {len(ledger) - len(rows_of_vaes)} rows are in `vaetl claims`.")
plt.show()

# %% [markdown]
# Where the VAE has seen the target's images, hollow marks lie about where the full ones of ten classes do, but for the steps, in which both hollow rows lie above 1.

# %% [markdown]
# ## Appendix: how the networks were tuned
#
# The learning rates and budgets of steps were chosen before the recorded runs, on draws that no study has, by validation.
# Of the rates within half a point of the best accuracy the highest was taken, which in a quarter of the cases is another than the best, and can cost up to that half point.
# In the two wide intervals of section 2, at 100 labels, the loss of the fine-tuned network jumped to tens of nats in few draws, which a high rate does; by the median of the draws, scratch loses less there, by 0.03 and 0.02 nats.
# The networks with supervised pretraining, and those from another source, have the settings of the fine-tuned VAE.

# %%
rows = []
for name in vae_transfer.SOURCES:
    for kind in ("scratch", "pretrained"):
        settings = tuned_settings(name, kind).items()
        words = (f"{n}: {rate:g}, {steps:,}" for n, (rate, steps) in settings)
        rows.append((vae_transfer.TITLES[name], kind, "; ".join(words)))
show_table(rows, ("target", "network", "labels: learning rate, steps at most"))

# %% [markdown]
# ## Appendix: a method against itself
#
# How often does a measure make a claim where there is nothing to find?
# We gave both sides of a study the same method, a network from scratch, on the same labels.
# Only the start and the order of the images differ, so every effect is 0.
# Such a study was run 200 times on each of three data sets, with ten draws each, and judged with a margin of 0, because a margin would hide false claims.
# If the intervals keep their promise, each of the two claims comes up in 2.5 % of the studies and one of them in 5 %.

# %%
by_measure = {}
null = study.recorded("05", "null")
for r in null["records"]:
    measure, words, labels = r["name"].rsplit(", ", 2)
    by_measure.setdefault((measure, r["data"], labels), {})[words] = r
rows = []
for (measure, name, labels), found in by_measure.items():
    both = found["supported or contradicted"]
    rows.append(
        (
            measure,
            f"{name}, {labels}",
            f"{found['supported']['value']:.1f}",
            f"{found['contradicted']['value']:.1f}",
            f"{both['value']:.1f} [{both['low']:.1f}, {both['high']:.1f}]",
        )
    )
print(f"recorded ({null['machine']}, {null['date']})")
header = ("measure", "data", "supported", "contradicted", "either, 95 % interval")
show_table(rows, header)

# %% [markdown]
# Per cent of 200 studies, with Wilson intervals.
# Eight of the ten rows make a false claim in 3 to 6.5 % of the studies, and no interval lies above 5 %.
# Two rows are more cautious than they say, with 1 and 1.5 %: the labels to an accuracy, because their ratio often stays open at one end, and the loss at equal training loss on the digits.
# So these two may overlook a small effect, but they seldom invent one.
# "No gain" is claimed too often at one place, where no recorded row lies: if two methods differ in 1 % of 400 test images, and in the same ones in each draw, the margin of one point is reached, and 7 to 8 of 100 simulated studies say "no gain" where 2.5 are promised.
# Over all rows "contradicted" came up 48 times and "supported" 31 times, a difference that a fair coin shows or exceeds in 7 of 100 such series, and rows that share their studies, as these do, more often.

# %% [markdown]
# ## Appendix: is it the VAE, or the pretraining?
#
# A network that starts from a VAE may profit from the VAE, or from any pretraining at all.
# So let us train one encoder in several ways, with everything else the same: as a VAE, as an autoencoder, by comparing two views of a picture (SimCLR, arXiv 2002.05709), from the source's labels, or not at all.
# First in small, on this machine: each encoder sees digits 0 to 4, and then 100 labels tell 5 to 9 apart.
# Each encoder is used twice, fine-tuned as a whole, and frozen with a linear probe on its codes.
# Which way would you put your money on in each use?

# %%
source = vae_transfer.load_source("digits 0–4")
target = vae_transfer.load_target("digits")
seeds = range(P.seed, P.seed + P.pairs)
ways = ("no pretraining", "VAE, β = 1", "autoencoder", "SimCLR", "supervised")
encoders = {
    way: {
        seed: pretraining.pretrained(way, source, seed, P.seen, pretraining.SMALL)
        for seed in seeds
    }
    for way in ways
}
methods = pretraining.methods(
    target, encoders, setting=Setting(3e-3, 200), uses=("fine-tuned", "probe")
)
small = study.run_study(
    "ways of pretraining",
    methods,
    [100],
    P.pairs,
    labels=target.train.labels,
    data="digits",
    seed=P.seed,
    pretrain_seeds=seeds,
)


# %%
vae_uses.draw_pretraining(
    small, ways[1:], ("fine-tuned", "probe"), alt="05a/ways_small"
)
plt.show()

# %% [markdown]
# In the run that is printed here, no way is shown to be ahead when fine-tuned, not even the source's labels.
# A frozen encoder shows what each way has taught, and there the autoencoder and SimCLR lie above 0, while the intervals of the VAE and of the source's labels are wide and hold it.
# Four pairs are few, each with its own encoders and its own labels, so a run of yours can differ.
#
# Now the article's own example, recorded.
# A convolutional encoder of 0.36 million weights saw 100,000 views of the 10,000 cats and dogs of CIFAR-10, in six ways; beside them stands one that saw none.
# Then it told dogs from foxes with few labels, in three uses, for ten fresh encoders of each kind.
# Look for intervals to the right of the dashed line.

# %%
animals = study.recorded_study("05", "pretraining_animals")
facts = study.recorded("05", "pretraining")
print(f"recorded ({facts['machine']}, {facts['date']})")
vae_uses.draw_pretraining(
    animals, tuple(pretraining.WAYS), pretraining.USES, alt="05a/ways"
)
plt.show()

# %% [markdown]
# Fine-tuned, no way without labels is shown to be better than none at all, with 10, 20, 100 or 200 labels.
# The source's labels are worth 3.5 points [0.2, 6.9] with 100 labels, and with 200 no difference is shown any more.
# As features for an SVM, the VAE's codes are ahead of random ones by 6.4 points [3.0, 9.8] with 100 labels, where the autoencoders' are not.
# Against the autoencoder's codes they are ahead by 6.1 [2.7, 9.5], so what makes it a VAE has made something of them that helps an SVM, which is not shown for a linear probe.
# For a linear probe SimCLR's codes are better than the VAE's, by 3.9 points [1.7, 6.1] with 100 labels, and for an SVM that is not shown.
# But all of these lie between 54 and 70 %, and a probe on a network that was trained on ImageNet's 1.2 million labelled photos reaches 90 to 95.
# So a larger network, more images, and labels that name foxes and many kinds of dogs together matter far more here than which of the six ways is taken.
#
# The dog is in the source and in the target.
# The same encoders also had to tell *wolves* from foxes, so that no class is shared.
# Which of the gains remain?

# %%
wolves = study.recorded_study("05", "pretraining_wolves")
vae_uses.draw_pretraining(
    wolves, tuple(pretraining.WAYS), pretraining.USES, alt="05a/wolves"
)
plt.show()

# %% [markdown]
# None is shown to.
# With 100 labels no way is shown to be ahead of none in any use, and the codes that the source's labels have taught are *worse* than random ones for an SVM, by 5.2 points [0.2, 10.1].
# With 20 labels the fine-tuned VAE falls behind, by 4.0 points [1.3, 6.7].
# So what looked like a better representation on dogs and foxes was perhaps one that knows dogs.
# A probe on ImageNet's features reaches 85 to 92 % here, too.
#
# Ten pairs are few, and among so many comparisons luck finds some.
# So two questions were written down from these figures and asked anew, on both targets, with thirty fresh pairs of encoders and labels.
# Does the fine-tuned VAE beat no pretraining with 20 labels, the use that the article means?
# And do its codes beat random ones for an SVM with 100 labels, the use in which it had come off best?
# Look for full marks that do not confirm the hollow ones.

# %%
again = vae_uses.asked_again()
vae_uses.draw_again(again, alt="05a/again")
show_table(
    [(row.name, row.verdict) for row in again],
    ("VAE against no pretraining, fresh pairs", "verdict, by Holm"),
)
plt.show()

# %% [markdown]
# **One finding stands, and one does not.**
# For an SVM on dogs and foxes the VAE's codes are ahead of random ones once more, by 6.1 points [2.3, 9.8], and on wolves and foxes no gain is shown, again.
# But the 4.0 points that fine-tuning had lost on wolves and foxes are 1.4 now, and the interval [−1.0, 3.8] holds 0, so some of them were probably luck, as in the worst of many rows they often are; a small loss is not excluded.
# Before Holm's adjustment, a true gain of three points would have been seen in 89 and 69 of 100 such studies by fine-tuning, but by the SVM only in a third, so on wolves and foxes one may still hide.
#
# So a VAE of cats and dogs does teach its encoder something that an SVM can use on dogs and foxes, while with fine-tuning and a linear probe no gain is shown, and one of three points is just not excluded.
# In the same thirty pairs, now exploratory again, the plain autoencoder's codes are better for a probe on wolves and foxes: it is ahead of random ones by 4.5 points [0.4, 8.7] with 100 labels, and of the VAE's by 3.2 [0.4, 6.0].
# Which codes are better seems to depend on the target and on the classifier, and no way without labels comes near to ImageNet.

# %% [markdown]
# ## Appendix: the capstone
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
#
# These lines compare the methods with digits 0–4 turned upside down as the source, which takes a minute or so.
# What they print is not the study that you planned, so change them until it is.
#
# ```python
# from vaetl_helpers.data import ImageSet
#
# upright = vae_transfer.load_source("digits 0–4")
# turned = ImageSet(upright.images.flip(2, 3), upright.labels, upright.classes)
# target = vae_transfer.load_target("digits")
# seeds = range(1000, 1010)
# vaes = vae_transfer.pretrain_all({"turned": turned}, seeds, presentations=100_000)
# methods = vae_transfer.methods(
#     target,
#     "turned",
#     vaes,
#     {"PCA": vae_transfer.fit_pca(turned), "raw pixels": vae_transfer.pixels},
# )
# table = study.run_study(
#     "upside down",
#     methods,
#     [100],
#     draws=10,
#     labels=target.train.labels,
#     seed=1000,
#     pretrain_seeds=seeds,
#     out="upside_down.csv",  # after an interruption the same cell goes on
# )
# e = study.paired(table, "VAE fine-tuned", "scratch", "test accuracy", 100)
# print(e.effect, e.low, e.high, study.verdict(e, delta=1))
# ```
