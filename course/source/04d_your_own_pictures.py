# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "04d"
#     title: Your own pictures
#     minutes: {reading: 18, exercises: 10, cpu: 0.3, gpu: not yet measured}
#     requires: [vision]
# ---

# %% [markdown]
# # Your own pictures
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - teach a pretrained network two things of your own, with ten pictures of each, in about a minute;
# - say how good it is without a single further picture, and with which interval;
# - find the pictures that give the answer away, and say what is left without them;
# - say what such a number does not tell.
#
# You need the linear probe of chapter 4, and two things to photograph.
# Without them the chapter runs on an example.

# %% [markdown]
# ## The question
#
# The first article behind this course says that with a trained model a new task is learned "molto più facile e veloce", much more easily and quickly.
# Tutorials show it with ten photos and an accuracy of 100 %.
# **Here you find out with your own pictures what the 100 % are worth.**

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
pictures: str | None = None  # a folder with a folder for each thing, or a zip file
new: int | None = None  # new garments of each class, on which the example is tested
photographers: int | None = None  # examples that are compared in section 6
draws: int | None = None  # draws of pictures in section 7

# %%
from vaetl_helpers.runtime import CourseError, report, setup, show_table

P = setup(
    "04d",
    profile,
    seed=seed,
    pictures=pictures,
    new=new,
    photographers=photographers,
    draws=draws,
)

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from vaetl_helpers import collecting, data, plots, transfer
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.output import record_id
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("04d")

# %% [markdown]
# ## 1. Twenty pictures
#
# Choose two things that you have several of, such as mugs and glasses.
# Take ten pictures of each, and bring them in one of four ways:
#
# - **a folder** with one folder for each thing, such as `own/mug` and `own/glass`: give its path as `pictures` above;
# - **a zip file** of it, given in the same way (Kaggle's *Add Input > Upload* puts either below `/kaggle/input`);
# - **chosen files**: take the `#` away before `collecting.upload` below, put in the names of your things, and run the cell.
#   JupyterLab and Kaggle show a button for each thing, and Colab a dialogue;
# - **the camera**, by `collecting.camera` in the same way, in JupyterLab and on Colab.
#
# Your pictures stay on the machine on which the notebook runs.

# %%
folder = P.pictures
# folder = collecting.upload(("mug", "glass"))
# folder = collecting.camera(("mug", "glass"))

# %% [markdown]
# Without pictures the next cell takes an example, ten each of pullovers and shirts.
# They were taken in a hurry, in *bursts* of two or three pictures of the same garment.

# %% slide="Twenty pictures, of how many things?"
EXAMPLE = 1  # the second of the photographers of section 6, in which the leak is plain
if folder is None:
    own = data.example_pictures(P.seed + EXAMPLE)
else:
    own = data.own_pictures(folder)
y = own.images.labels
classes = own.images.classes
plots.image_grid(
    own.rows(10),
    list(classes),
    "Up to ten pictures of each class",
    columns=10,
    alt="04d/pictures",
)
plt.show()

# %% [markdown]
# Could you tell the classes apart?
# And do you see which pictures show the same thing?

# %% [markdown]
# ## 2. One minute
#
# The network is EfficientNet-Lite0, which was trained on 1.28 million photos of ImageNet and comes with the package.
# It turns each picture into 1,280 features, and nothing in it is trained.
# On top stands a linear probe, whose penalty is fixed beforehand.
# We choose nothing, because twenty labels are too few to choose by.


# %%
def fit(x, y):
    """A linear probe with a fixed penalty, as a function from features to labels."""
    return transfer.linear_probe(x, y, grid=[0.01], scalings=["one factor"]).predict


started = time.perf_counter()
network = transfer.backbone("efficientnet-lite0")
network = network.to(P.device, memory_format=torch.channels_last)
x = transfer.features(network, own.images)
predict_label = fit(x, y)
seconds = time.perf_counter() - started
known = (predict_label(x) == y).double().mean().item()
print(f"{len(own)} pictures: network, features and probe in {seconds:.1f} s")

# %% tags=["nbval-check-output"]
print(f"Of the pictures it has learned from, {100 * known:.0f} % are right.")

# %% [markdown]
# That was quick, and the second number is worth nothing.
# With 1,280 features a linear classifier learns nearly any labels of twenty pictures.
# The next cell shuffles the labels and fits again.

# %%
generator = torch.Generator().manual_seed(P.seed)
shuffled = y[torch.randperm(len(y), generator=generator)]
by_heart = (fit(x, shuffled)(x) == shuffled).double().mean().item()
print(f"Of shuffled labels, {100 * by_heart:.0f} % are learned as well.")

# %% [markdown]
# ## 3. Leave one out
#
# Where are test pictures to come from, if there are twenty in all?
# **Leave-one-out** fits twenty probes, each on all pictures but one, and asks it about that one.
# So every picture is tested by a classifier that has not seen it, and all but one of the labels are used each time.
#
# ### Exercise 1: leave one out · 10 minutes
#
# Write it a little more generally, for *groups* of pictures that are left out together.
# If every picture is a group of its own, this is leave-one-out.
# The argument `fit` is a function like the one above: `fit(x, y)` returns a function from features to labels.


# %% exercise="own.leave_one_out"

# %% check="own.leave_one_out"
leave_one_out_checked = check("own.leave_one_out", leave_one_out)

# %%
predict("own.right")

# %%
alone = torch.arange(len(own))
right = leave_one_out_checked(x, y, alone, fit) == y
loo = transfer.share_interval(right)


def per_cent(interval):
    """A share with its interval, in per cent."""
    ends = f"[{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
    return f"{100 * interval.share:.0f} % {ends}"


report(
    "leave-one-out",
    100 * loo.share,
    "%",
    id=record_id("04d", "share right", "leave one out"),
    low=100 * loo.low,
    high=100 * loo.high,
    n=len(own),
    data=own.source.partition(":")[0],
)

# %%
settle("own.right", 100 * loo.share)

# %% [markdown]
# ### Which interval?
#
# The interval is that of Clopper and Pearson (1934) for a share, and for twenty of twenty it is [83, 100] %.
# Its lower end is the accuracy at which twenty hits in twenty independent trials would still happen once in forty times.
# Wilson's interval is narrower and right on average, where trials are independent.
#
# These are not: any two of the twenty probes share eighteen of their nineteen pictures, and a picture that misleads one misleads all.
# No estimate of that dependence from the same twenty pictures is unbiased (Bengio and Grandvalet 2004).
# So we take the wider of the two, and section 7 counts how often each holds the truth.

# %% [markdown]
# ## 4. Which pictures does it get wrong?
#
# Look at the mistakes before you believe a number.
# Where nothing is wrong, the figure shows the pictures that the left-out probes were least sure of.

# %%
probabilities = transfer.leave_one_out(x, y)
sure, said = probabilities.max(1)
wrong = [row for row in sure.argsort().tolist() if not right[row]]
shown = (wrong or sure.argsort().tolist())[:10]
plots.image_grid(
    own.images.images[shown],
    [f"“{classes[said[row]]}”\n{100 * sure[row]:.0f} % sure" for row in shown],
    "Wrong, the least sure first" if wrong else "All are right; the least sure ones",
    columns=5,
    scale=1.5,
    alt="04d/mistakes",
)
plt.show()

# %% tags=["nbval-check-output"]
print(f"{len(wrong)} of {len(own)} are wrong.", *[own.names[row] for row in wrong])

# %% [markdown]
# In your own pictures, ask of each mistake what it has in common with the other class: the ground, the light, the distance?

# %% [markdown]
# ## 5. Where is the leak?
#
# Two pictures of the same mug, taken a second apart, are nearly one picture.
# If one of them is left out, the other tells the answer, and leave-one-out measures memory.
#
# The features find such pairs.
# We measure the distance of each two pictures, in units of the median distance, and link those that are nearer than 0.55 of it.
# Linked pictures form a group.
# The figure shows five pictures and below each the one that is most like it: is it the same thing?

# %% slide="Is it the same thing?"
apart = transfer.distances(x).fill_diagonal_(torch.inf)
nearest, partner = apart.min(1)
pairs = [row for row in nearest.argsort().tolist() if row < partner[row]][:5]
both = pairs + [int(partner[row]) for row in pairs]
plots.image_grid(
    own.images.images[both],
    [f"{own.names[row]}" for row in pairs]
    + [f"{own.names[partner[row]]}\ndistance {nearest[row]:.2f}" for row in pairs],
    "The pictures that are most alike",
    columns=len(pairs),
    scale=1.6,
    alt="04d/pairs",
)
plt.show()

# %%
groups = transfer.bursts(x)
print(f"{len(own)} pictures form {len(groups.unique())} groups.")
if own.bursts is not None:
    same = groups[:, None] == groups
    truly = own.bursts[:, None] == own.bursts
    print(
        f"Pairs that are grouped wrongly in the example: {int((same != truly).sum()) // 2}"
    )

# %% [markdown]
# **Leave-one-group-out** leaves out all of a group together.
# Its interval counts as many trials as there are groups, because pictures of one thing are right or wrong together (Korn and Graubard 1998).

# %%
predict("own.leak")


# %%
def without_groups(groups):
    """The share right if groups are left out together; None where that cannot be."""
    try:
        held_out = transfer.leave_one_out(x, y, groups).argmax(1)
    except CourseError as error:
        print(error)
        return None
    return transfer.share_interval(held_out == y, groups)


grouped = without_groups(groups)
rows = [("leave-one-out", len(own), per_cent(loo))]
if grouped is not None:
    rows.append(("leave-one-group-out", len(groups.unique()), per_cent(grouped)))
show_table(rows, ("left out", "trials", "right, with 95 % interval"))

# %%
fall = 100 * (loo.share - grouped.share) if grouped else float("nan")
settle("own.leak", fall)

# %% [markdown]
# In the example leave-one-out gets every picture right, and leave-one-group-out about two in three.
# Which of the two is nearer to the truth?
# With your own pictures you cannot know before you take more of them, but with clothes we can, because there are plenty.

# %% [markdown]
# ## 6. Ten photographers and the truth
#
# Ten photographers each take ten pictures of pullovers and ten of shirts, of eight garments in all, in bursts.
# Each trains a probe and quotes leave-one-out.
# Then we test all of these probes on the same new garments, one picture of each.
# What will the truth be?

# %%
predict("own.new")

# %%
new_garments = data.new_garments(P.new, P.seed)
new_x = transfer.features(network, new_garments)
new_y = new_garments.labels
outcomes = []
for number in range(P.photographers):
    example = data.example_pictures(P.seed + number, quiet=True)
    seen, labels = transfer.features(network, example.images), example.images.labels
    hits = [
        (transfer.leave_one_out(seen, labels, held).argmax(1) == labels)
        for held in (None, example.bursts)
    ]
    first = transfer.share_interval(hits[0])
    second = transfer.share_interval(hits[1], example.bursts)
    truth = (fit(seen, labels)(new_x) == new_y).double().mean().item()
    outcomes.append((first, second, truth))

# %% slide="Ten photographers and the truth"
axis = plots.panels(
    ["What photographers quote, and what is true"],
    alt="04d/photographers",
    width=7.5,
    height=4.5,
)[0]
marks = (
    ("o", plots.COLOURS[1], "leave-one-out"),
    ("s", plots.COLOURS[0], "leave-one-group-out"),
)
for row, (*estimates, truth) in enumerate(outcomes):
    for (marker, colour, label), found, lift in zip(marks, estimates, (0.15, -0.15)):
        ends = [[100 * (found.share - found.low)], [100 * (found.high - found.share)]]
        axis.errorbar(
            100 * found.share,
            row + 1 + lift,
            xerr=ends,
            fmt=marker,
            color=colour,
            capsize=3,
            label=label if row == 0 else None,
        )
    axis.plot(
        100 * truth,
        row + 1,
        "D",
        color="black",
        label="on new garments" if row == 0 else None,
    )
axis.set(xlabel="right (%), with 95 % interval", ylabel="photographer", xlim=(0, 102))
axis.set_yticks(range(1, len(outcomes) + 1))
axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.14), fontsize=9)
plt.show()

# %%
truths = np.array([truth for *_, truth in outcomes])
rows = []
for position, name in enumerate(("leave-one-out", "leave-one-group-out")):
    found = [outcome[position] for outcome in outcomes]
    shares = [estimate.share for estimate in found]
    held = sum(f.low <= truth <= f.high for f, truth in zip(found, truths))
    rows.append((name, f"{100 * np.mean(shares):.0f} %", f"{held} of {len(outcomes)}"))
rows.append(("on new garments", f"{100 * truths.mean():.0f} %", ""))
show_table(rows, ("", "right on average", "intervals that hold the truth"))
settle("own.new", 100 * truths.mean())

# %% [markdown]
# All photographers can quote 100 %, and all of these intervals miss the truth, since the narrow number answers another question.
# It says how well a garment is recognised *of which a picture was learned*.
#
# Leave-one-group-out lies on both sides of the truth, with intervals so long that most hold it.
# It is lower on average, because leaving out a garment leaves its class with three garments against four, and the probe leans to the larger class.
# Eight garments are simply few, and that is the honest answer.

# %% [markdown]
# ## 7. And without bursts?
#
# Now let every picture show another garment, ten of each class.
# We draw such pictures from the new garments many times, compute leave-one-out with two intervals, and ask whether each holds the accuracy on all garments that were not drawn.

# %%
predict("own.interval")

# %%
from scipy import stats

generator = torch.Generator().manual_seed(P.seed)
held = {"exact": [], "wilson": []}
estimates, accuracies = [], []
for _ in range(P.draws):
    chosen = torch.cat(
        [
            (new_y == label)
            .nonzero()
            .flatten()[torch.randperm(P.new, generator=generator)[:10]]
            for label in (0, 1)
        ]
    )
    others = torch.ones(len(new_y), dtype=torch.bool)
    others[chosen] = False
    drawn_x, drawn_y = new_x[chosen], new_y[chosen]
    hits = int((transfer.leave_one_out(drawn_x, drawn_y).argmax(1) == drawn_y).sum())
    truth = (
        (fit(drawn_x, drawn_y)(new_x[others]) == new_y[others]).double().mean().item()
    )
    estimates.append(hits / 20)
    accuracies.append(truth)
    for method, inside in held.items():
        ends = stats.binomtest(hits, 20).proportion_ci(method=method)
        inside.append(ends.low <= truth <= ends.high)

# %%
print(
    f"leave-one-out: {100 * np.mean(estimates):.0f} % on average, truth {100 * np.mean(accuracies):.0f} %"
)
spread, expected = (
    np.std(estimates),
    np.sqrt(np.mean(accuracies) * (1 - np.mean(accuracies)) / 20),
)
print(
    f"its standard deviation: {100 * spread:.1f} points, of independent trials {100 * expected:.1f}"
)
for method, inside in held.items():
    counted = transfer.share_interval(torch.tensor(inside))
    title = {"exact": "Clopper and Pearson", "wilson": "Wilson"}[method]
    report(
        f"{title}: intervals that hold the truth",
        100 * counted.share,
        "%",
        id=record_id("04d", "held", method),
        low=100 * counted.low,
        high=100 * counted.high,
        n=P.draws,
        data="Fashion-MNIST, embedded",
    )

# %%
settle("own.interval", 100 * np.mean(held["exact"]))

# %% [markdown]
# Without bursts leave-one-out is close to the truth on average, and it scatters a little more than independent trials would.
# So the exact interval holds the truth nearly as often as it promises, and Wilson's less often.
# What surprises many people is the length: with twenty pictures it reaches over some 35 points.

# %% [markdown]
# ## 8. Is it the thing, or the table under it?
#
# A leak that no grouping finds is whatever else differs between the classes: all mugs stood on wood, and all glasses on marble.
# So we cover the middle of each picture and ask again.
# If the rim alone tells the classes apart, it may not be the things that are recognised.
# If the interval holds the share of guessing, here 50 %, this test has found nothing.
#
# In the example the garments fill the picture, so that sleeves and hems are still to be seen.

# %%
hidden_x = transfer.features(network, transfer.with_middle_covered(own.images.images))
held_out = transfer.leave_one_out(hidden_x, y, groups if grouped else None).argmax(1)
covered = transfer.share_interval(held_out == y, groups if grouped else None)
print(f"with the middle covered: {per_cent(covered)}")

# %% [markdown]
# ## 9. The verdict
#
# The next cell puts together what these pictures show.
# Its sentences follow from the numbers by fixed rules, which stand in `transfer.verdict_on`.

# %% tags=["nbval-check-output"]
guess = y.bincount().max().item() / len(y)
counts = len(own), len(groups.unique())
for sentence in transfer.verdict_on(loo, grouped, covered, guess, counts):
    print("-", sentence)

# %% [markdown]
# What none of these intervals contains:
#
# - **another choice of things**: the pictures are a sample of what you had at hand, and nobody drew them at random;
# - **another condition**: whatever was the same in all pictures has not varied;
# - **another network**, whose features might be better or worse;
# - **your own choices**: if you take out a picture because it was wrong, and look again, the number is no longer that of a test.
#
# So is it "much easier and quicker"?
# Teaching the probe took seconds, and that part is true.
# Knowing whether it works takes pictures of *more things*, and no pretrained network saves you those.
#
# If you have 24 pictures or more of each class, run chapters 4 and 4a on them: `vaetl run 04 04a -p task=./FOLDER`.

# %% [markdown]
# ## An open task
#
# Does your probe know the things, or the room?
# Take ten more pictures of one of your things in another room, put them into a third folder, and let a probe tell the two *rooms* apart.
# Without pictures of your own, cover more of the example's, by the `side` of `transfer.with_middle_covered` in section 8, and see when the classes can no longer be told apart.
# Write down the share that leave-one-group-out gets right, with its interval, for the things and for the rooms.
# The task is answered when you can name one change in how you take the pictures that makes the second number fall and leaves the first as it is.

# %% [markdown]
# ## Quiz
#
# **1.
# Leave-one-out gets 20 of 20 pictures right, and ten of each class show one mug and one glass.
# What has been shown?**
#
# <details><summary>That mugs and glasses can be told apart, in at least 83 % of cases.</summary>
#
# The pictures show two things, so nothing is known of another mug.
# </details>
#
# <details><summary>That this mug and this glass can be told apart in pictures like these.</summary>
#
# Right.
# For mugs and glasses in general, more of them must be photographed.
# </details>
#
# **2.
# You take out the two pictures that were wrong and run leave-one-out again.
# It says 100 %.
# May you quote it?**
#
# <details><summary>Yes, the two pictures were bad ones.</summary>
#
# They were chosen because they were wrong, and the next pictures will not be chosen so.
# </details>
#
# <details><summary>No, because the test has chosen its own pictures.</summary>
#
# Right, so decide beforehand which pictures count, for instance all that are sharp.
# </details>
#
# **3.
# Which of these would make the interval of section 3 much shorter?**
#
# <details><summary>Thirty more pictures of the same things.</summary>
#
# It would look shorter, but the trials that count are things, and their number stays.
# </details>
#
# <details><summary>Pictures of thirty more things.</summary>
#
# Right, because each of them is a trial of its own.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("04d")
my_bets("04d")

# %% [markdown]
# ## Take-away
#
# - A pretrained network and a linear probe learn two things from twenty pictures in seconds.
# - The accuracy on these pictures says nothing; leave-one-out says something, with an interval of some 35 points.
# - Near-duplicates turn leave-one-out into a test of memory, so leave out all pictures of a thing together.
# - What counts is the number of things, and not of pictures.
# - An interval speaks of pictures that were taken like these, and of no others.

# %% [markdown]
# ## Further reading
#
# - Clopper and Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*, Biometrika 26 (1934).
# - Bengio and Grandvalet, *No Unbiased Estimator of the Variance of K-Fold Cross-Validation*, JMLR 5 (2004).
# - Korn and Graubard, *Confidence intervals for proportions with small expected number of positive counts estimated from survey data*, Survey Methodology 24 (1998).
# - Barz and Denzler, *Do We Train on Test Data? Purging CIFAR of Near-Duplicates* (2019), arXiv 1902.00423: the same leak in data sets that everybody uses.
