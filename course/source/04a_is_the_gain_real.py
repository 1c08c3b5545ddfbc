# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "04a"
#     title: Is the gain real?
#     minutes: {reading: 34, exercises: 16, cpu: 0.7, gpu: not yet measured}
#     requires: [vision]
# ---

# %% [markdown]
# # Is the gain real?
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - compare methods with the same labels, the same validation and the same tuning;
# - compute an interval from paired differences, say what it does not contain, and turn it into a verdict;
# - say what transfer saves, who paid for it, and when no gain is seen.
#
# You need [chapter 4](04_transfer_learning.ipynb), and chapter 1c for FLOPs.

# %% [markdown]
# ## The claim that this chapter tests
#
# In our summary the first article says: *a model that tells dogs from cats learns to tell dogs from foxes much more easily and quickly* ("molto più facile e veloce").
# How many fewer labels, how much less time, and is the training of the first model counted?

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
task: str | None = None  # tops (clothes), animals, auto, or ./FOLDER of your pictures
counts: list | None = None  # labels of each class in the study
draws: int | None = None  # times that labels are drawn anew
steps: int | None = None  # optimiser steps of a training, about and at most
deep: bool | None = None  # also run what is otherwise shown from a recorded run (long)
data_root: str | None = None  # a folder with your own copies of CIFAR and of photos

# %%
from vaetl_helpers.runtime import CourseError, report, setup, show_table

P = setup(
    "04a",
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

from vaetl_helpers import claims, plots, study, supervised_transfer, widgets
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import tasks
from vaetl_helpers.data.shifts import SHIFTS
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.output import record_id, show_record
from vaetl_helpers.practice import challenge, my_bets, predict, quiz, recall, settle

T = tasks.load_task(P.task, P.data_root, P.device)
old, new = T.rehearsal.classes, T.pool.classes
P.counts = T.counts(P.counts)
few, *more = [len(new) * count for count in P.counts]  # of all classes together
# A recorded run also measures shifted images, which chapter 4f is about.
plan = supervised_transfer.Plan.of(T, P.steps, SHIFTS if P.deep else ())

# %% [markdown]
# The claim of "Differenza tra Training e Transfer Learning nel machine learning" on a card, before anything is measured.

# %%
question_cards("transfer")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("04a")

# %% [markdown] slide="Where does each part begin, and is it trained?"
# ## 1. Five methods and four rules
#
# Compare the rows of the figure by two questions: where does each part begin, and is it trained?
# The last method is recorded only.
#
# {diagram: frozen}

# %% [markdown]
# - **zero labels** is the source model as it is;
# - **scratch** is the same network without a source task, trained on the target labels alone;
# - **raw pixels** is logistic regression on the pixels, with no network at all;
# - **linear probe** is logistic regression on the source model's features;
# - **fine-tuned** is the source model with a new head and all parts trained, in two phases.
#
# The same rules hold for every method:
#
# - The **same labels**: a *draw* picks the labelled images at random, and every method gets the same draw.
# - The **same validation set** for early stopping and for the probes' C: 50 images per class.
#   Its labels are labels, too, and they come on top of those that we count, for every method alike.
# - The **same tuning**: the learning rates of scratch and of fine-tuning were chosen from the same three values, on other draws, judged on validation.
# - The **test set** chooses nothing.

# %% [markdown]
# ## 2. What an interval says, and what it does not
#
# One draw proves little.
# So each method is run on several draws, and we look at the *difference* between two methods, draw by draw.

# %% [markdown]
# ### Exercise 1: a paired interval · 8 minutes
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
# Suppose that all ten draws start from the same pretrained model.
# Then its luck is in all ten differences alike, and $s$ does not see it.
# We can simulate that.
# There is no effect at all, and a model's luck and a draw's luck are numbers with mean 0 and standard deviation 1.
# In each of 1,000 studies we look whether the interval leaves out 0, which is a false claim.
# It should happen in 5 % of the studies, about 50.
#
# Before you look: how often will it happen if one pretrained model serves all draws?

# %%
predict("combine.one_vae")


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
        f"{models} model{'s' * (models > 1)} for ten draws: {count} of 1,000 studies "
        "claim an effect that is not there"
    )

# %%
settle("combine.one_vae", claimed[1])

# %% [markdown]
# With a fresh model for each draw the interval keeps its promise.
# With three models in turn it breaks the promise, and with one all the more, because it would be right only for a claim about *this very model*.
#
# This course therefore has three rules:
#
# - The unit that is repeated is a **pair of fresh seeds**, one for the pretraining and one for the label draw.
#   In the study below each draw starts from another one of ten source models.
# - If that takes too long, the interval is labelled **conditional on these models**.
# - Other things that the repeats share are put into the interval.
#   Draws that have labels in common are worth fewer than they look, which a correction after Nadeau and Bengio (2003) takes into account.
#   The test images are the same in all draws, and others would have given another difference, so they get a part of the variance of their own.
#   `study.paired` does both.
#   The validation images, too, are the same in all draws, and no interval contains what their choice does.
#   Nor does an interval know of a method that fails once in many draws, as an appendix shows.
#
# What remains is to turn an interval into a verdict.
# There are four verdicts, **supported**, **contradicted**, **no gain** and **undecided**, and a margin $\delta$ below which a difference is not worth having.
# "Undecided" and "no gain" are different findings, because absence of evidence is not evidence of absence.
# "Supported" means that the effect is above 0 and may be worth having; how large it is, only the interval says.

# %% [markdown]
# ### Exercise 2: a verdict · 8 minutes
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
# So a few comparisons were named beforehand as **primary**, and the primary verdicts of a claim are adjusted for each other (Holm 1979).
# All others are **exploratory** and give hints for another study.
# The margins and the primary comparisons of the ledger stand in the package's `claims.yaml`, with what is known of when they were written.
# For costs the margin is a factor of 1.1, in the unit *times*.

# %% tags=["nbval-check-output"]
for unit in ("points", "nats", "times"):
    print(f"margin in {unit}: {claims.CONTRACT['margins'][unit]}")

# %% [markdown]
# ## 3. The study
#
# The package's `supervised_transfer` has the methods, each a few lines on what you wrote in chapter 4.
# The function `run_study` behind `plan.run` draws the labels, seeds each run, and keeps what comes back: which test images were right and, after each epoch, the validation accuracy and what was spent so far.
# We begin with the fewest labels.

# %%
METHODS = supervised_transfer.methods(plan, more=P.deep)
table = plan.run(
    METHODS,
    few,
    P.draws,
    P.seed,
    out=P.table_path(f"{T.name}/{few}", chapter="04"),
)

# %% [markdown]
# Then we go on with more labels.

# %%
for count in more:
    later = plan.run(
        METHODS,
        count,
        P.draws,
        P.seed,
        out=P.table_path(f"{T.name}/{count}", chapter="04"),
    )
    table.add(later)
if kept := P.table_path(T.name, chapter="04"):
    table.write(kept)

# %% [markdown]
# The learning curves show accuracy over the number of labels, with 95 % intervals for the mean over draws.
# Full points were run here, and open ones are recorded, with more counts.
# Look at which lines start high on the left, and whether they meet on the right.

# %% slide="Transfer and scratch, compared fairly"
curves = {"run here": table}
try:
    curves["recorded"] = study.recorded_table("04", T.name)
except CourseError as error:
    print(error)
keep = [method.name for method in METHODS]
for where, runs in curves.items():
    rows = runs.frame
    shown_rows = rows["method"].isin(keep) & (rows["metric"] == "test accuracy")
    curves[where] = study.Table(rows[shown_rows])
axis = plots.learning_curves(
    curves,
    "test accuracy",
    " or ".join(new),
    "test accuracy (%)",
    alt="04a/labels",
)
axis.set_xlabel("training labels of all classes together")
plt.show()

# %% [markdown]
# On pullover or shirt, with 20 labels in all, fine-tuning and the probe lie seven to ten points above scratch.
# With 200 labels two to four are left, so the lines have come closer.
# But compare them with the flat line, too: with 20 labels neither is shown to be better than *zero labels*, the source model as it is.
# Two differences were named beforehand as primary for this figure: the probe against scratch at 10 labels per class, and fine-tuning against scratch at 100.
# The ledger's primary row is another one, the cost in FLOPs with 10 labels per class, and it had been chosen after this chapter's first runs.
# Do the draws decide them?


# %%
def accuracy_id(a, b, count):
    """The id of a difference in test accuracy at `count` labels a class."""
    return record_id("04", "accuracy", (a, b), f"{count} a class")


PRIMARY = [
    ("linear probe", "scratch", 10 * len(new)),
    ("fine-tuned", "scratch", 100 * len(new)),
]
primary = [each for each in PRIMARY if each[2] in (few, *more)]
effects = {
    (a, b, n): study.paired(table, a, b, "test accuracy", n) for a, b, n in primary
}
verdicts = dict(zip(primary, study.verdicts(list(effects.values()))))
SAID = {
    "supported": "{a} is better than {b}",
    "contradicted": "{a} is worse than {b}",
    "no gain": "{a} and {b} differ by less than a point",
    "undecided": "these draws do not decide between {a} and {b}",
}
for a, b, n in primary:
    e, said = effects[a, b, n], SAID[verdicts[a, b, n]].format(a=a, b=b)
    print(
        f"{n // len(new)} labels a class: {said} ({e.effect:+.1f} points [{e.low:+.1f}, "
        f"{e.high:+.1f}])."
    )

# %% [markdown]
# All comparisons of this run, with raw pixels and zero labels among them, are in the first appendix.
#
# ## 4. The article's own example
#
# The article speaks of dogs, cats and foxes, so here they are, recorded under the same rules.
# The source model tells dogs from cats, and the target is dog or fox.
# Beside our own small source model stands the network that was trained on ImageNet.
# Before you look, guess which line starts highest, and how far the untouched source model gets, which has no label at all.

# %%
predict("transfer.foxes")

# %% slide="The article's own example: dogs and foxes"
OF_ANIMALS = (  # in the order, and so in the colours, of the figure above
    "zero labels",
    "scratch",
    "fine-tuned",
    "linear probe",
    "raw pixels",
    "ImageNet probe",
)
try:
    axis = plots.learning_curves(
        study.recorded_table("04", "animals"),
        "test accuracy",
        "dog or fox, recorded",
        "test accuracy (%)",
        alt="04a/foxes",
        methods=OF_ANIMALS,
    )
    axis.set_xlabel("training labels of all classes together")
except CourseError as error:
    print(error)
plt.show()

# %% [markdown]
# The ImageNet network is far ahead, with 91 % after 20 labels in all.
# The untouched source model calls cats foxes and keeps its dogs, and so has 69 % without a single label.
# Scratch has 62 % after 20 labels, and is level with it after 200.
# With 20 labels fine-tuning is 8.8 points [5.5, 12.1] above scratch, but only 1.9 [−0.8, 4.6] above the untouched model.
# So here as with the clothes, most of what looks like fast learning was there before the task began.
#
# And the primary comparisons?
# Here both are decided, the probe over scratch at 10 labels per class, by 4.2 points [0.4, 7.9], and fine-tuning at 100, by 7.0 [2.3, 11.7].
# On the clothes forty recorded draws decide the first, 9.3 [6.2, 12.3], but not the second, 3.3 [−0.01, 6.6], and such a row stays open, however near to 0 its end is.

# %% [markdown]
# ## 5. What transfer saves, and who pays
#
# The claim of the article is about *time*, so the question is not only which method is better at the end.
# In each draw we take as the target an accuracy that both methods reach, namely the lower of their two best validation accuracies.
# One method's own best would favour that method, since it stands on its luckiest epoch, and the other one may never meet it.
# Then we ask how much each method spent until it was there.
# Epochs spent waiting for early stopping to fire are charged to no method.
#
# FLOPs are counted exactly, so they decide.
# We compare them as a **ratio** within a draw, scratch's cost divided by fine-tuning's, and a value above 1 means a saving.

# %%
predict("transfer.clothes")


# %%
def ratio(e):
    """An effect of logarithms as a ratio with its interval."""
    mean, low, high = (
        f"{x:.3g}" if np.isfinite(x) and x > 0 else "open" for x in e.times
    )
    return f"{mean} [{low}, {high}]"


for n in (few, *more):
    e = study.adaptation_ratio(table, "fine-tuned", "scratch", "FLOPs", n)
    print(
        f"{n // len(new)} labels a class: scratch's FLOPs ÷ fine-tuning's = {ratio(e)} "
        f"{e.label}"
    )
settle("transfer.clothes")
settle("transfer.foxes")

# %% [markdown]
# An interval above 1 says that fine-tuning is cheaper than scratch, *once the source model is there*.
# The article says *faster*, and in steps, recorded, it is 24.5 times on the clothes and 5.6 on the animals.
# One that contains 1 decides nothing.
# Mind what the large ratio at 10 labels per class is made of: fine-tuning has the target after about four steps, nearly where it began, so it measures a head start more than a faster learning.
#
# Somebody trained the source model, so who pays?
# If one target task saves $c_\text{scratch} - c_\text{transfer}$, and the source training cost $C$, then
#
# $$K = \frac{C}{c_\text{scratch} - c_\text{transfer}}$$
#
# target tasks repay it, and this number is the **break-even**.
# The figure shows what the first $k$ tasks cost in all, with a source model and without.
# Look where the lines cross.

# %% slide="After how many tasks is the source repaid?"
targets = study.shared_targets(table, "fine-tuned", "scratch", few)
of_a_task = {}
for method in ("scratch", "fine-tuned"):
    spent = study.costs_to(table, method, "FLOPs", few, targets).values()
    of_a_task[method] = np.mean([one.value for one in spent])
price = plan.facts["flops"]
crossing = price / (of_a_task["scratch"] - of_a_task["fine-tuned"])
many = np.linspace(0, 2 * abs(crossing), 50)
axis = plots.panels(
    [f"{few // len(new)} labels a class: what many tasks cost in all"],
    alt="04a/repaid",
)[0]
axis.plot(many, many * of_a_task["scratch"], label="each from scratch")
axis.plot(
    many,
    price + many * of_a_task["fine-tuned"],
    label="the source model once, then fine-tuning",
)
if crossing > 0:
    axis.axvline(crossing, color="black", linestyle="--")
axis.set(xlabel="number of target tasks", ylabel="FLOPs in all")
axis.figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# So there are two honest readings of "much more easily and quickly".
# If you *download* a model, a ratio above 1 is a saving.
# If you must train it first, $K$ says how many tasks like this one it takes, hundreds in the recorded runs; the appendix has its interval.
# That is why source models are trained once and shared.

# %% [markdown]
# ## 6. If no class is shared
#
# Pullovers are in the source and in the target, and dogs too.
# So how much of the saving is that the network knew one of the two classes before it began?
# The same ten source models of pullover or coat were also tuned for *T-shirt or shirt*, with forty recorded draws.

# %%
predict("transfer.no_shared")

# %% [markdown]
# In the left panel look how far the marks lie above 0, and in the right one above 1.

# %%
STORIES = {"tops": "one class is shared", "shirts": "none is shared"}
axes = plots.panels(
    ["Accuracy, fine-tuned − scratch", "FLOPs, scratch ÷ fine-tuned"],
    alt="04a/shared",
    height=3.2,
)
for axis, pair, level in zip(
    axes,
    (("accuracy", "fine-tuned", "scratch"), ("FLOPs", "scratch", "fine-tuned")),
    (0, 1),
):
    for place, (story, words) in enumerate(STORIES.items()):
        ids = [record_id("04", pair[0], pair[1:], f"{n} a class") for n in (10, 100)]
        found = study.find_recorded("04", ids, story, story)
        y, low, high = (
            np.array([r[key] for r in found]) for key in ("value", "low", "high")
        )
        axis.errorbar(
            np.arange(2) + 0.1 * (place - 0.5),
            y,
            (y - low, high - y),
            linestyle="none",
            marker="os"[place],
            capsize=3,
            label=words,
        )
    axis.axhline(level, color="black", linewidth=1)
    axis.set(xticks=(0, 1), xticklabels=("10", "100"), xlabel="labels a class")
axes[0].set_ylabel("points of test accuracy")
axes[1].set(ylabel="times (log scale)", yscale="log")
axes[1].legend(frameon=False)
plt.show()

# %%
settle("transfer.no_shared")

# %% [markdown]
# **Without a shared class most of the saving is gone.**
# With 10 labels per class fine-tuning is 4.2 points [2.1, 6.3] above scratch, where it was 10.1 [7.0, 13.2].
# In FLOPs it saves a factor of 1.5 [1.04, 2.15], where it was 70 [55, 91], and in steps no saving is shown.
# Logistic regression on the pixels, with 75 % against 73, needs no source at all.
# Two pairs differ in more than one thing, but scratch finds them equally hard, with 68 and 69 %.
#
# ## 7. Where no gain is seen, and a control
#
# Transfer needs a source that has something to say about the target.
# So here is another pair of clothes, from dress or coat to dress or shirt, with a source model of its own.
# Does the probe beat scratch there, and what can the pixels alone do?

# %%
predict("transfer.dresses")


# %%
def small_study(name, count, names=("scratch", "linear probe", "raw pixels")):
    """The study of section 3 on another task, at one number of labels."""
    other = supervised_transfer.Plan.of(
        tasks.load_task(name, P.data_root, P.device), P.steps
    )
    return other.run(supervised_transfer.methods(other, names), count, P.draws, P.seed)


def difference(a, b, n, e, data):
    """The record of a difference in test accuracy at n labels of both classes."""
    count = n // len(new)
    name = f"{a} − {b}, {count} a class"
    return e.to_record(name, "points", id=accuracy_id(a, b, count), data=data)


dresses = small_study("dresses", 20)
rows, records = [], []
for a, b in (("linear probe", "scratch"), ("linear probe", "raw pixels")):
    e = study.paired(dresses, a, b, "test accuracy", 20)
    text = f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]"
    rows.append((f"{a} − {b}", text, study.in_this_run(e)))
    name, id = f"{a} − {b}, 10 a class", accuracy_id(a, b, 10)
    records.append(e.to_record(name, "points", id=id, data="dresses"))
show_table(
    rows,
    ("dress or shirt, 10 labels a class", "points [95 %]", "the interval is"),
    records,
)
means = {
    name: dresses.mean(name, "test accuracy", 20) for name in dresses.known("method")
}
print("test accuracy:", ", ".join(f"{name} {x:.1f} %" for name, x in means.items()))
settle("transfer.dresses", means["linear probe"] - means["scratch"])

# %% [markdown]
# Which of the two opponents is the stronger one changes with the task.
# So a fair test of transfer asks both: the same network without a source and the simplest method that needs none.
# Why might the probe not win?
# We guess that this target is easy for any method, because a dress differs from a shirt in its outline, and that can be read off the pixels directly.
#
# **The control** belongs to the animals.
# Dogs were collected for CIFAR-10 and foxes for CIFAR-100, so a network could tell them apart by traces of the collection.
# Foxes and wolves are both from CIFAR-100, so these traces do not help there.
# Now no class is shared, and the head has two new rows.
# Before you look at the right panel: what would it mean if transfer did *not* help on wolf or fox?

# %%
CONTROL = [("linear probe", "scratch"), ("fine-tuned", "scratch")]
axes = plots.panels(["dog or fox, recorded", "wolf or fox, recorded"], alt="04a/wolves")
for axis, name in zip(axes, ("animals", "wolves")):
    for place, (a, b) in enumerate(CONTROL):
        ids = [accuracy_id(a, b, count) for count in (10, 100)]
        found = study.find_recorded("04", ids, task="animals", data=name)
        y, low, high = (
            np.array([r[key] for r in found]) for key in ("value", "low", "high")
        )
        axis.errorbar(
            np.arange(len(found)) + 0.1 * (place - 0.5),
            y,
            (y - low, high - y),
            linestyle="none",
            marker="o",
            capsize=3,
            label=f"{a} − {b}",
        )
    axis.axhline(0, color="black", linewidth=1)
    axis.set(xticks=(0, 1), xticklabels=("10", "100"), xlabel="labels a class")
axes[0].set_ylabel("points of test accuracy")
axes[1].legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# On wolf or fox no gain of fine-tuning is seen, though with 100 labels per class its interval would still allow nearly six points.
# The probe is *worse* than scratch there, by 6 points [3, 10] with 10 labels per class.
#
# If a method had gained on wolf or fox as well, then what it knows of cats and dogs would help with animals like them.
# A gain of fine-tuning is shown on dog or fox only, and two explanations offer themselves.
# Either the source knows *dogs*, one half of that task, or it uses traces of the two collections, and these pictures cannot tell the two apart.
# So be careful with the sentence "dog or cat makes dog or fox easy", because part of it may be "knows dogs" and not "knows animals".
#
# And why does the probe lie *below* scratch?
# We guess that what tells a dog from a cat is not what tells a wolf from a fox.

# %% [markdown]
# ## 8. So, is the gain real?
#
# The card is written by code from the recorded rows of the ledger; its axis is the one that was empty at the top.

# %%
verdict_cards("transfer")

# %% [markdown]
# ## An open task
#
# Choose a pair of clothes that this course has not tried, such as sandal or sneaker, and train a source for it.
# Fix the primary comparison, the margin and the number of draws *before* you run anything, and write them down.
# Write down also what you expect.
# The task is answered when you have an interval, and the verdict that your own rule gives it.

# %% [markdown]
# ## A challenge
#
# How well can you read digits after twenty labels?
# The cell says what is asked and shows a first answer, and what random settings have reached.

# %%
challenge("transfer.twenty_labels")

# %% [markdown]
# ## Quiz
#
# **1.
# Fine-tuning beats scratch by 4 points [1, 7] with 20 labels.
# A colleague says that with 5 labels for early stopping instead of our 100 it would look different.
# Is that a fair objection?**
#
# <details><summary>No, validation labels are not training labels.</summary>
#
# They are labels all the same, and they chose the stopping epoch.
# Every method had them, so the comparison is fair, but "20 labels" is not the whole bill.
# </details>
#
# <details><summary>Yes.</summary>
#
# Right.
# That is why the text says how many there are.
# </details>
#
# **2.
# An interval for a saving is [0.7, 9] times.
# What may you say?**
#
# <details><summary>Transfer saves time, by a factor of 2.5 or so.</summary>
#
# The interval contains 1, so transfer may also cost more.
# </details>
#
# <details><summary>These runs do not decide it.</summary>
#
# Right.
# More draws, or a larger effect, would.
# </details>
#
# **3.
# A difference has the interval [−0.4, 0.7] points, n = 10, and the margin is 1 point.
# What is the verdict?**
#
# <details><summary>Undecided, because 0 is inside.</summary>
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
# **4.
# Ten draws, one source model, interval [0.5, 2.1].
# What does it speak of?**
#
# <details><summary>Of source models like this one in general.</summary>
#
# Another one may do worse, and nothing in these ten draws could tell.
# </details>
#
# <details><summary>Of this source model alone.</summary>
#
# Right.
# For source models in general, take a fresh one for each draw.
# </details>

# %%
quiz("04a")
my_bets("04a")

# %% [markdown]
# ## Take-away
#
# - Compare with the same labels, validation and tuning, look at paired differences with intervals, and keep raw pixels in.
# - An interval contains what varied, and nothing else.
# - "Undecided" and "no gain" are two findings.
# - If an interval lies above 1, transfer saves for anybody who gets the source model for nothing.
#   The break-even says how many tasks would repay its training.
# - Ask what the source knew of the target's own classes, because a shared class may be most of the gain.
# - Transfer depends on the pair.
#   On one there is a clear gain, on another no gain is seen, not even over raw pixels, and on a third the probe is worse than scratch.

# %% [markdown]
# ## Further reading
#
# - Nadeau and Bengio, *Inference for the Generalization Error*, Machine Learning 52 (2003); Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6 (1979).
# - Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution* (2022), arXiv 2202.10054: LP-FT.
# - Raghu, Zhang, Kleinberg and Bengio, *Transfusion: Understanding Transfer Learning for Medical Imaging* (2019), arXiv 1902.07208: a field where it helps less than people thought.

# %% [markdown]
# ## Appendix: every comparison of this run
#
# With `deep=True` four more methods run, which are otherwise recorded.
# **LP-FT** (Kumar et al. 2022) fine-tunes from the head of a linear probe, so that a random head does not pull at good features.
# **Last block** freezes the first two blocks.
# **Self-training** needs no source model, because a network from scratch labels all other images of the pool and a second network learns from its answers.
# Zoph et al. (2020, arXiv 2006.06882) found that it can help where pretraining does not.
# The **ImageNet probe** is a linear probe on a network that was trained on a million photos of 1,000 classes; chapter 4e is about it.

# %%
pairs = [
    (a, b)
    for a in ("linear probe", "fine-tuned")
    for b in ("scratch", "raw pixels", "zero labels")
]
pairs += [("fine-tuned", "linear probe")]
if P.deep:
    pairs += [("LP-FT", "fine-tuned"), ("last block", "fine-tuned")]
    pairs += [("self-training", "scratch"), ("fine-tuned", "self-training")]
    pairs += [("ImageNet probe", "fine-tuned"), ("ImageNet probe", "zero labels")]
rows, records = [], []
for n in (few, *more):
    for a, b in pairs:
        e = study.paired(table, a, b, "test accuracy", n)
        text = f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]"
        where = study.in_this_run(e)
        rows.append((f"{a} − {b}", n // len(new), text, e.n, where))
        records.append(difference(a, b, n, e, T.name))
header = ("difference", "labels a class", "points [95 %]", "draws", "the interval is")
show_table(rows, header, records)

# %% [markdown]
# The costs are means over draws of what each method spent until it had the target.
# We look after whole epochs only, so that the smallest cost of a training is one epoch.
# A small part of fine-tuning's factor in FLOPs comes from BatchNorm's running averages, as an appendix of [chapter 4e](04e_which_layers_transfer.ipynb) measures.
# Seconds come from one timing on one machine and stand beside the others without an interval.

# %%
COSTS = ("steps", "FLOPs", "seconds")
once = (f"{plan.facts[cost.lower()]:,.3g}" for cost in COSTS)
rows = [(f"the source model, once ({T.source_task})", "", "", *once)]
for n in (few, *more):
    targets = study.shared_targets(table, "scratch", "fine-tuned", n)
    for method in ("scratch", "fine-tuned"):
        accuracy, spent = table.mean(method, "test accuracy", n), []
        for cost in COSTS:
            runs = study.costs_to(table, method, cost, n, targets).values()
            spent.append(f"{np.mean([one.value for one in runs]):,.3g}")
        rows.append((method, n // len(new), f"{accuracy:.1f} %", *spent))
show_table(
    rows,
    header=("training against transfer", "labels a class", "test accuracy", *COSTS),
)

# %% [markdown]
# Ratios of costs, and the tasks that repay the source.
# "Open" means that there is no end on that side; for the break-even, that these runs cannot exclude that nothing is saved.

# %%
rows, records = [], []
for n in (few, *more):
    count = n // len(new)
    for method, cost in (
        ("fine-tuned", "steps"),
        ("fine-tuned", "FLOPs"),
        ("linear probe", "FLOPs"),
    ):
        e = study.adaptation_ratio(table, method, "scratch", cost, n)
        rows.append((f"{cost}, scratch ÷ {method}", count, ratio(e), e.label))
        name = f"{cost} saved by {method}, {count} a class"
        id = record_id("04", cost, ("scratch", method), f"{count} a class")
        records.append(e.to_record(name, "times", id=id, data=T.name))
    repaid = study.tasks_that_repay(table, "fine-tuned", "scratch", "FLOPs", n, price)
    if repaid is None:
        rows.append(("tasks that repay", count, "none: no mean saving", ""))
        continue
    id = record_id("04", "break even", "FLOPs", f"{count} a class")
    name = f"break-even in FLOPs, {count} a class"
    found = repaid.to_record(name, "tasks", id=id, data=T.name)
    k, low, high = (
        "open" if found[end] is None else f"{found[end]:,.0f}"
        for end in ("value", "low", "high")
    )
    rows.append(("tasks that repay the source", count, f"{k} [{low}, {high}]", ""))
    records.append(found)
header = ("what is compared", "labels a class", "value [95 %]", "what to know")
show_table(rows, header, records)

# %% [markdown]
# How many labels does each method need for the accuracy that scratch reaches with the most labels?
# Between two counts we interpolate on the logarithmic axis.
# "Unknown" means that in some draws a method beat the goal with the fewest labels that we tried, and that in others it missed the goal with the most; chapter 4e has the recorded ratios.

# %%
if more:
    goal = table.mean("scratch", "test accuracy", more[-1])
    rows, records = [], []
    for method in ("fine-tuned", "linear probe"):
        e = study.labels_ratio(table, method, "scratch", goal)
        unknown = e.censored and e.bound == "unknown"
        text = "unknown" if unknown else ratio(e)
        rows.append((method, text, e.label or "all reached it"))
        id = record_id("04", "labels", ("scratch", method))
        name = f"labels saved by {method}"
        records.append(e.to_record(name, "times", id=id, data=T.name))
    header = (f"labels to {goal:.1f} %", "scratch's ÷ its own", "what to know")
    show_table(rows, header, records)

# %% [markdown]
# The control on wolves and foxes runs where the animals do.

# %%
if T.name == "animals":
    for count in (20, 200) if P.deep else (20,):
        wolves = small_study("wolves", count, ("scratch", "linear probe", "fine-tuned"))
        for a, b in CONTROL:
            e = study.paired(wolves, a, b, "test accuracy", count)
            show_record(difference(a, b, count, e, "wolves"))

# %% [markdown]
# The learning rates come from the following tuning study, one per story.
# It runs with `deep=True`, draws other labels and judges on the validation images.
# T-shirt or shirt keeps the rates of pullover or shirt, which its own recorded tuning puts within 0.1 points of the best.

# %%
if P.deep:
    TUNING = {
        "scratch": supervised_transfer.scratch,
        "fine-tuned": supervised_transfer.fine_tuned,
    }
    first = supervised_transfer.Plan(T, plan.sources[:1], plan.facts, P.steps)
    tried = [(name, rate) for name in TUNING for rate in (1e-3, 3e-3, 1e-2)]
    candidates = [
        study.Method(
            f"{name}, rate {rate}",
            partial(TUNING[name], first, rate=rate),
            {"steps": P.steps},
        )
        for name, rate in tried
    ]
    sizes = [len(new) * count for count in (10, 100)]
    tuning = study.run_study(
        f"{T.name}: tuning",
        candidates,
        sizes,
        5,
        labels=T.pool.labels,
        seed=P.seed + 1000,
        out=P.table_path(f"{T.name}/tuning", chapter="04"),
    )
    for name, rate in tried:
        method = f"{name}, rate {rate}"
        best = [
            tuning.images[method, n, draw, "validation curve"].max()
            for n in sizes
            for draw in range(5)
        ]
        report(
            f"tuning: {method}",
            np.mean(best),
            "% on validation",
            id=record_id("04", "tuning", name, rate),
            n=len(best),
            data=T.name,
        )

# %% [markdown]
# ## Appendix: a method that sometimes fails
#
# Student's interval takes the differences to scatter like a bell curve.
# What if a network is good in nine draws of ten, and in the tenth does not train at all and stays at 50 %?
# Here is such a network beside one that always has about 80 %, and both have the same *mean*, so that an interval which leaves out 0 makes a false claim.
# How often does it, and for whom does it speak?


# %% tags=["nbval-check-output"]
def failing_now_and_then(draws, studies=1000):
    """Of so many studies, how many claim that the failing network is better, and worse;
    the means are equal, 80 %.
    """
    rng = np.random.default_rng(0)
    claims_of = {"above 0": 0, "below 0": 0, "holds 0": 0}
    for _ in range(studies):
        fails = rng.random(draws) < 0.1
        failing = np.where(fails, 50, 80 + 30 / 9) + rng.normal(0, 2, draws)
        steady = 80 + rng.normal(0, 2, draws)
        e = study.effect_of(failing - steady)
        claims_of[study.side_of_zero(vars(e))] += 1
    return claims_of["above 0"], claims_of["below 0"]


show_table(
    [(draws, *failing_now_and_then(draws)) for draws in (5, 10, 20, 40)],
    ("draws", "of 1,000 studies say: better", "of 1,000 say: worse"),
)

# %% [markdown]
# With ten draws a third of the studies make a false claim, where one in twenty would be right, and nearly all of them praise the network that fails.
# The reason is simple: in a third of the studies no failure happens to be drawn, and then nothing in the ten numbers tells of it.
# With twenty draws it is one study in nine, and with forty one in seventeen, which is nearly what the interval promises.
# No interval can know what has not been drawn.
# So look at the single draws, which `table.values("scratch", "test accuracy", few)` gives, and where one lies far from the others, say beside the mean how many failed.

# %% [markdown]
# ## Appendix: from probabilities to decisions
#
# So far an image of the clothes counts as "shirt" if the network gives that a probability of at least ½.
# It need not be ½, and the probability from which on we say "shirt" is called the **threshold**.
# A **confusion table** counts what becomes of the pullovers and of the shirts.
# Three numbers come from it:
#
# - **accuracy** is the share of all images that are right;
# - **recall** is the share of the shirts that are found;
# - **precision** is the share of shirts among the images called "shirt".
#
# Half of these images are shirts, so saying "shirt" every time gives a recall of 100 % and a precision of 50 %.
# A lower threshold finds more shirts, but it also takes more pullovers for shirts.
# In JupyterLab, choose a method, the labels per class, one of five draws of labels, and the threshold (the arrow keys work, too).
# On the right, the thick line holds all that a threshold can reach with this draw, the grey ones are the other draws, and the dot is your threshold.
# A web page shows one setting only, but the table below the figure has more.
#
# These are the 100 *validation* images, recorded.
# To choose a threshold by looking at test images would be cheating, because their result would be that of the luckiest threshold.
# Validation images are not quite fair either, since they have already chosen the epoch, or $C$.
#
# Suppose that somebody wants 90 % of the shirts to be found.
# Which precision does fine-tuning leave with 5 labels per class, and which with 100?
# Which is left from scratch?
# Try more than one draw.

# %%
widgets.thresholds(alt="04a/thresholds")
plt.show()

# %% [markdown]
# Now we compute the same, as means over the five draws.
# For each draw we take the largest threshold that finds 45 of the 50 validation shirts.
# Only then do the test images come in, and they choose nothing, because the thresholds stay as they are.
# Guess before you look whether recall will be 90 % there.

# %%
kept, made = widgets.recorded_arrays("04_thresholds")
is_shirt = {part: kept[f"{part}_labels"] == 1 for part in ("validation", "test")}
rows = []
for m, method in enumerate(made["methods"]):
    for c, count in enumerate(made["counts"]):
        scores = []
        for known, new_ones in zip(
            kept["validation"][m, c], kept["test"][m, c]
        ):  # one draw; larger is more probably "shirt"
            threshold = np.sort(known[is_shirt["validation"]])[
                5
            ]  # 45 of the 50 shirts are at or above it
            both = ((is_shirt["validation"], known), (is_shirt["test"], new_ones))
            scores.append(
                [
                    widgets.confusion(truth, odds, threshold)[1][1:]
                    for truth, odds in both
                ]
            )
        rows.append(
            (
                method,
                count,
                *(f"{value:.0f} %" for value in np.mean(scores, axis=0).flatten()),
            )
        )
header = (
    "method",
    "labels a class",
    "precision, validation",
    "recall, validation",
    "precision, test",
    "recall, test",
)
show_table(rows, header)
print(made["label"])

# %% [markdown]
# On validation, precision with 5 labels per class is about 80 % fine-tuned, 71 % for the probe and 59 % from scratch, and with 100 it is 85, 86 and 80 %.
# On the test images it is 74, 69 and 56 % with 5 and 83, 83 and 78 % with 100, although recall there is not quite the same for all.
# So transfer seems to pay here, too, and most with the fewest labels, but we computed no intervals.
#
# On the test images mean recall falls short of 90 % in all rows but one, and precision is lower in every row.
# The threshold was fitted to 50 shirts, and the network's epoch to the same images.
# What is chosen on some images looks better on them than it is, on average, although in a single draw it may be the other way round.
#
# The control shows one more thing if you set it to the linear probe with 10 labels per class.
# From threshold 0.48 to 0.52 the probe goes from "all are shirts" to "none is".
# Then precision is nothing divided by nothing, so the control says *none* and draws no dot.
# The probe's $C$ is so small that all its probabilities are nearly ½, and yet its line shows that it *orders* the images well.
# Two models' probabilities are not on one scale, so tune the threshold for each.
