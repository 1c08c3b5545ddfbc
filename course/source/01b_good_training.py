# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "01b"
#     title: Good training
#     minutes: {reading: 27, exercises: 30, cpu: 0.7, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # Good training
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - say why a learning rate has a limit, and find a good one in a minute;
# - recognise good training by one batch learned by heart, and by two curves that stay together;
# - find the bugs that real training loops have had;
# - tell how much of a result is luck.
#
# You need the training step of [chapter 1](01_training_step.ipynb).

# %% [markdown]
# ## The question
#
# A training run that goes wrong gives no error message.
# It ends, prints a number, and the number is a little worse than it could be.
#
# How do you notice?
# There are three tests, which take seconds to minutes, and one habit, which is to look at more than one seed.
# It is easiest to begin where everything can be drawn.

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
repeats: int | None = None  # trainings of the main network, each with its own seed
batch_size: int | None = None  # images in one training step
full_data: bool | None = None  # all of Fashion-MNIST (a download of 30 MB)
data_root: str | None = None  # a folder with your own copy of Fashion-MNIST

# %%
from vaetl_helpers.runtime import report, setup, show_table

P = setup(
    "01b",
    profile,
    seed=seed,
    epochs=epochs,
    repeats=repeats,
    batch_size=batch_size,
    full_data=full_data,
    data_root=data_root,
)

# %%
import itertools
import math

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from vaetl_helpers import plots
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.rates import rate_study
from vaetl_helpers.living.valley import ball_in_valley
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.recorded import recorded_arrays
from vaetl_helpers.study import mean_interval, recorded_value
from vaetl_helpers.training import NonFiniteLoss, evaluate, fit

data = load("fashion-mnist", full=P.full_data, root=P.data_root, device=P.device)

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("01b")

# %% [markdown]
# ## 1. Why a step can be too large
#
# With only two parameters the loss is a landscape, and training is a ball that goes downhill in steps.
# Near its lowest point a smooth landscape is mostly a *valley*, flat one way and steep the other.
#
# Move the sliders, drag the ring to start elsewhere, and look for three things.
# At which step size does the path fly away?
# What happens to that limit when the valley becomes steeper?
# And which method comes furthest down in 60 steps, when you give each its best step size?

# %% slide="Why a step can be too large"
ball_in_valley(alt="01b/valley")
plt.show()

# %% [markdown]
# How steep the valley is across is its *curvature* $\lambda$: the slope at distance 1 from the bottom line.
# Along the valley it is 1.
# At distance $d$ from that line the slope is $\lambda d$, so a step takes $\eta\lambda d$ away and multiplies the distance by $1 - \eta\lambda$.
# That number is below $-1$ when $\eta > 2/\lambda$, and then each step overshoots by more than the last.
#
# The other two methods use the past as well.
# *Momentum* adds up gradients, $v \leftarrow \beta v + g$, and moves by $-\eta v$, so that steps in the same direction grow and those that go to and fro cancel.
# *Adam* does the same, and then divides by how large the gradients mostly are, for each parameter by itself.
#
# Just below $2/\lambda$ gradient descent jumps from one side to the other, and above it it flies away.
# A steeper valley lowers the limit, and the flat direction has to pay for it, since the ball now crawls along the bottom.
# With $\lambda = 20$ the best step size of the slider is 0.089, and after 60 steps the loss is $1.3\cdot10^{-5}$.
# With $\lambda = 50$ the best is 0.035, and the loss is still 0.013.
# Momentum of 0.7 with a step size of 0.063 gets down to $4\cdot10^{-8}$ in that valley, although 0.063 is beyond the limit of gradient descent: with momentum the limit is $2(1+\beta)/\lambda$.
# Adam never flies away, but with a large step size it makes detours, and with a small one it is slow.
#
# A network has thousands of directions, a few steep and many flat.
# So its learning rate has a limit too, set by the steepest one, and training below it is slow along the flat ones.

# %% [markdown]
# ## 2. First test: can it learn one batch by heart?
#
# Before you train for hours, train for seconds on *one* batch, again and again.
# A network with far more parameters than the batch has images must be able to learn it by heart, so its loss must go to nearly 0.
# If it does not, there is a bug, or the learning rate is far off, and more data will not help.
#
# ### Exercise 1: overfit one batch · 10 minutes
#
# Train on the same batch for `steps` steps.
# Return the list of losses, each measured before its update.
# Make them plain Python numbers, because we want to draw them and a short wait at each step does not matter here.

# %% exercise="training.overfit_one_batch"

# %% check="training.overfit_one_batch" tags=["nbval-check-output"]
overfit_checked = check("training.overfit_one_batch", overfit_one_batch)

# %% [markdown]
# We try it twice, once as it should be and once with labels that were shuffled, which then have nothing to do with the images.
# Guess first: will the network learn *random* labels?

# %%
predict("training.random_labels")

# %% slide="First test: learn 64 images by heart"
few_images, few_labels = next(data.train.batches(64, seed=P.seed))
random_labels = few_labels[
    torch.randperm(64, generator=torch.Generator().manual_seed(P.seed)).to(P.device)
]
curves = {}
for label, target in {
    "true labels": few_labels,
    "shuffled labels": random_labels,
}.items():
    torch.manual_seed(P.seed)
    memoriser = mlp_classifier(width=256).to(P.device)
    adam = torch.optim.Adam(memoriser.parameters(), lr=1e-3)
    curves[label] = (
        range(1, 201),
        overfit_checked(memoriser, adam, few_images, target, steps=200),
    )
plots.lines(
    curves,
    title="64 images by heart, nats at the end:\n"
    + ", ".join(f"{name} {loss[-1]:.1g}" for name, (_, loss) in curves.items()),
    x="training step",
    y="loss (nats), log scale",
    scale="log y",
    alt="01b/by_heart",
)
plt.show()

# %%
settle("training.random_labels", curves["shuffled labels"][1][-1])

# %% [markdown]
# Both losses fall towards zero.
# The shuffled labels, of which one in ten is still right by chance, take longer, but they are learned too.
# Zhang et al. (2017) showed it for large networks.
# So a low *training* loss alone proves nothing about the world, because it may be pure memory.
# That is why we keep validation images.

# %% [markdown]
# ## 3. Second test: two curves
#
# Draw the loss on training and on validation images, epoch by epoch.
# Three pictures cover most cases:
#
# - **underfitting**, where both curves are high or still falling.
#   The network is too small, or was trained too little.
# - **overfitting**, where the training curve goes on falling while the validation curve rises again.
#   The network learns its images by heart.
# - **good** training, where both fall and stay close together.
#
# The figure shows one of each.
# Decide which panel is which before you read on.
# Panel B gets more epochs, and so a longer axis, because with so few images an epoch is only three steps.


# %%
def train_and_compare(width, images_used, epochs):
    """Trains a network of one hidden layer on the first images; returns its history."""
    torch.manual_seed(P.seed)
    network = mlp_classifier(width).to(P.device)
    some = data.train.subset(slice(images_used))
    adam = torch.optim.Adam(network.parameters(), lr=2e-3)
    return fit(
        network,
        some,
        epochs=epochs,
        optimizer=adam,
        validation=data.validation,
        seed=P.seed,
        quiet=True,
    )


cases = {
    "A: width 2, 9,000 images": train_and_compare(2, 9000, P.epochs),
    "B: width 512, 300 images": train_and_compare(512, 300, 60 + 4 * P.epochs),
    "C: width 128, 9,000 images": train_and_compare(128, 9000, P.epochs),
}

# %% slide="Two curves tell underfitting from overfitting"
axes = plots.panels(
    list(cases),
    alt="01b/three_cases",
    width=3.6,
    columns=3,
)
for axis, (title, one) in zip(axes, cases.items(), strict=True):
    both = {
        "training": (one["epoch"], one["loss"]),
        "validation": (one["epoch"], one["validation_loss"]),
    }
    plots.lines(both, title, "epoch", "loss (nats)", alt="", axis=axis)
    axis.fill_between(*both["training"], one["validation_loss"], alpha=0.15)
    axis.set_ylim(0, 2.4)
plt.show()

# %% [markdown]
# A underfits: with two hidden units the loss falls slowly and stays high.
# B overfits: with 300 images the training loss goes to nearly zero, while the validation loss turns and rises.
# C is what we want, for both losses fall and the gap between them stays small.
#
# Ask one more thing about B: does its *accuracy* get worse while its loss rises?

# %%
predict("training.overfit_accuracy")

# %%
overfitted = cases["B: width 512, 300 images"]
best = min(
    range(len(overfitted)), key=lambda epoch: overfitted["validation_loss"][epoch]
)
for label, row in {"at the best validation loss": best, "at the end": -1}.items():
    print(
        f"B {label:28} loss {overfitted['validation_loss'][row]:.3f} nats, "
        f"accuracy {overfitted['validation_accuracy'][row]:.1%}"
    )

# %%
accuracies = overfitted["validation_accuracy"]
settle("training.overfit_accuracy", 100 * (accuracies[-1] - accuracies[best]))

# %% [markdown]
# The loss rises a lot, but the accuracy hardly moves.
# The network becomes more certain of everything, even of the images that it gets wrong, and the loss punishes being certain *and* wrong.
# So look at both.

# %% [markdown]
# ## 4. Third test: the learning rate
#
# The learning rate is the one setting that you must always choose.
# A quick way to find it is to start very small, multiply the rate by the same factor after every step, and watch the loss (after Smith 2017, who raised the rate linearly).
# At first the rate is too small and nothing happens, then the loss falls, and in the end it explodes.
# Take a value between the steepest fall and a tenth of the rate at which it explodes.
#
# We do it for the network that section 6 explains and trains, a small *convolutional network* (CNN).
# In the figure the thin line is the loss of each batch, and the thick one is smoothed.
# The grey shade ends where the thick line has fallen by a tenth of its whole way down, and the orange one begins where it has climbed back by a quarter of that way.
# Between the two the network learns: where is the line steepest?


# %%
def step(model, optimizer, images, labels):
    """The training step of chapter 1; returns the loss before the update."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def endless_batches():
    """The shuffled training batches of one epoch after another, without end."""
    for epoch in itertools.count():
        yield from data.train.batches(P.batch_size, seed=P.seed, epoch=epoch)


def learning_rate_sweep(network, low=1e-5, high=1.0, steps=120):
    """Trains with a learning rate that grows at each step; returns rates and losses."""
    adam = torch.optim.Adam(network.parameters(), lr=low)
    rates, losses = [], []
    for number, (images, labels) in zip(range(steps), endless_batches()):
        rate = low * (high / low) ** (number / (steps - 1))
        adam.param_groups[0]["lr"] = rate
        loss = float(step(network, adam, images, labels))
        if not math.isfinite(loss) or loss > 10:  # it has exploded: nothing more to see
            break
        rates.append(rate)
        losses.append(loss)
    return rates, losses


torch.manual_seed(P.seed)
rates, sweep = learning_rate_sweep(small_cnn().to(P.device))
smooth = list(  # single batches are noisy
    itertools.accumulate(sweep, lambda so_far, loss: 0.8 * so_far + 0.2 * loss)
)
axis = plots.lines(
    {"small CNN, Adam": (rates, smooth)},
    title=f"One short run: down from {smooth[0]:.1f} to {min(smooth):.1f} nats,\n"
    f"ended at a rate of {rates[-1]:.2g}",
    x="learning rate",
    y="loss (nats)",
    scale="log x",
    alt="01b/rate_sweep",
)
axis.plot(rates, sweep, "-", color=plots.COLOURS[0], alpha=0.35, linewidth=1)
plots.rate_zones(axis, rates, smooth, highest=1.0)
axis.axvline(4e-3, color="black", linewidth=1)
axis.annotate("0.004, our choice ", (4e-3, axis.get_ylim()[0]), ha="right", va="bottom")
plt.show()

# %% [markdown]
# The curve is flat on the left, falls fastest between $10^{-3}$ and $3\cdot10^{-3}$, goes on falling unevenly, and hits a wall beyond $10^{-1}$.
# There the run was stopped, and the first batch with a loss above 10 is not drawn.
# Such a rough curve fixes the rate to within a factor of three or so, and the smoothing makes it lag a little to the right.
#
# We take $4\cdot10^{-3}$, the grey line well below the wall, as the *largest* rate.
# The rate grows from zero to that during the first 30 % of the training, while the network is still wild, and then falls back to zero so that the network settles in small steps.
# That is a *schedule*, a function of the *progress*, which goes from 0 at the first step to 1 at the end.
#
# What if the rate is far too large?
# `fit` notices, reports the step, restores the weights of the last sound epoch, and stops.

# %%
victim = mlp_classifier().to(P.device)
try:
    fit(
        victim,
        data.train,
        epochs=1,
        optimizer=torch.optim.SGD(victim.parameters(), lr=1e8),
        quiet=True,
    )
except NonFiniteLoss as error:
    print(error)

# %% [markdown]
# ## 5. The learning rate and the batch size
#
# The best learning rate does not belong to the network alone: it depends on the batch size, too.
# We trained the network of chapter 1 with plain `SGD` for ten epochs and recorded the losses.
# There were nine rates from 0.005 to 2 and six batch sizes from 16 to 512, with five runs each.
#
# Move the two sliders, or choose a setting on the map.
# On the left are the curves for your choice: five thin ones, and a thick one for their mean.
# On the right is the mean validation loss at the end for *all* settings, a column for each rate and a row for each batch size.
# In each row the lowest mean is bold and underlined.
# A run has *diverged* if it ends no better than a network that knows nothing, at $\log 10$ or above, and the map says how many of the five did.
# A run may also end far above the best loss without having diverged.
#
# Guess first.
# With a batch of 16, the rate 0.05 is best.
# Now the batch is 8 times larger, 128.
# Which rate is best for it, and does it get as far in ten epochs?
# And at which rate do runs begin to diverge?

# %%
predict("training.batch_rate")

# %% slide="Learning rate and batch belong together"
rate_study(alt="01b/rates")
plt.show()

# %%
arrays, about = recorded_arrays("01b_rates")
ends = torch.from_numpy(arrays["validation"][..., -1])  # [rates, batch sizes, runs]
rows = []
for column, batch in enumerate(about["batches"]):
    means, diverged = (
        ends[:, column].mean(1).nan_to_num(math.inf),
        ~(ends[:, column] < math.log(10)),
    )
    lost = [int(diverged[about["rates"].index(rate)].sum()) for rate in (0.5, 1.0, 2.0)]
    rows.append(
        (
            batch,
            f"{about['rates'][means.argmin()]:g}",
            f"{means.min():.2f}",
            " / ".join(map(str, lost)),
        )
    )
show_table(
    rows,
    (
        "batch size",
        "best rate",
        "mean loss there (nats)",
        "of 5 runs diverged at rate 0.5 / 1 / 2",
    ),
)
print(about["label"])

# %%
best_rates = {batch: float(rate) for batch, rate, *_ in rows}
settle("training.batch_rate", best_rates[128])

# %% [markdown]
# The recorded runs show three things.
#
# - **The best rate grows with the batch.**
#   Of the nine it is 0.05 for a batch of 16, 0.2 for 128 and 0.5 for 512.
#   A mean over more images is a steadier guide, so one may take longer steps.
#   And one has to, because ten epochs are 5,630 steps with a batch of 16 but only 180 with 512.
# - **Far below the best rate, twice the batch with twice the rate ends at nearly the same loss.**
#   There are half as many steps, but each is about twice as long.
# - **The wall moves much less.**
#   While the best rate grew tenfold from a batch of 16 to one of 512, the rate at which training breaks down moved only about twofold.
#   That is why a large batch cannot make up for its few steps in ten epochs.
#   The best loss is 0.40 nats for 16, 0.49 for 128 and 0.56 for 512.
#
# Five runs fix the best rate only roughly, and the appendix says how roughly.
# Adam has other best rates, but what you do is the same: when you change the batch, look for the rate anew.

# %% [markdown]
# ## 6. How much of a result is luck?
#
# The network so far has a separate weight for each pixel and unit.
# It does not know which pixels are neighbours, so what it learns about a sleeve on the left, it must learn again for one further right.
# A *convolutional network* (CNN) slides the same small filters over the whole image (`Conv2d`), and keeps the largest answer of each 2 × 2 square (`MaxPool2d`).

# %% tags=["nbval-check-output"]
print(small_cnn())
print(f"{sum(p.numel() for p in small_cnn().parameters()):,} parameters")

# %% [markdown]
# We train it with the schedule from above, and, because one run proves little, several times.
# The seed sets the initial weights and the order of the images.
# In the figure, see whether the validation curve keeps up with the training curve.


# %%
def warm_up_then_cosine(progress):
    """A factor of the learning rate: up during the first 30 %, then down to zero along
    a cosine.
    """
    if progress < 0.3:
        return progress / 0.3
    return 0.5 * (1 + math.cos(math.pi * (progress - 0.3) / 0.7))


def train_cnn(seed):
    """Trains the small CNN once; returns the network and its history."""
    torch.manual_seed(seed)
    # All channels of a pixel side by side, which is quicker (chapter 2b).
    network = small_cnn().to(P.device, memory_format=torch.channels_last)
    adam = torch.optim.Adam(network.parameters(), lr=4e-3)
    history = fit(
        network,
        data.train,
        epochs=P.epochs,
        batch_size=P.batch_size,
        optimizer=adam,
        schedule=warm_up_then_cosine,
        validation=data.validation,
        seed=seed,
        quiet=seed != P.seed,  # prints the first run only
    )
    return network, history


runs = [train_cnn(P.seed)]

# %%
runs += [train_cnn(P.seed + repeat) for repeat in range(1, P.repeats)]
cnn, cnn_history = runs[0]
plots.lines(
    {
        "training": (cnn_history["epoch"], cnn_history["accuracy"]),
        "validation": (cnn_history["epoch"], cnn_history["validation_accuracy"]),
    },
    title=f"Small CNN: {cnn_history['accuracy'][-1]:.0%} of the training images, "
    f"{cnn_history['validation_accuracy'][-1]:.0%} of the others",
    x="epoch",
    y="accuracy (fraction)",
    alt="01b/cnn_accuracy",
)
plt.show()

# %% [markdown]
# Both curves rise, and flatten as the learning rate goes to zero.
# After enough epochs training ends a little above validation.
# Such a gap is normal, because the network knows its own images a little better.
# It would be overfitting in the sense of section 3 if validation got worse.
#
# Now we use the test images, and only this once:

# %%
predict("training.seeds")

# %%
test_accuracies = [evaluate(network, data.test)["accuracy"] for network, _ in runs]
mean, low, high = mean_interval(test_accuracies)
print(
    "test accuracy of each run: "
    + ", ".join(f"{value:.1%}" for value in test_accuracies)
)
report(
    "cnn_test_accuracy",
    mean,
    "fraction",
    id="01/test_accuracy/cnn",
    low=low,
    high=high,
    n=len(runs),
    data=data.source,
)

# %%
settle("training.seeds", 100 * (max(test_accuracies) - min(test_accuracies)))

# %% [markdown]
# The brackets hold a 95 % interval for the mean accuracy over all possible seeds.
# It is *Student's t* interval, which takes the runs to scatter like a bell curve, and it is made so that 95 of 100 such intervals would contain that mean.
# With few runs it is wide, and that is honest, for a handful of runs can tell only little.
#
# Another uncertainty is not in it: the test images are a sample too.
# With $n$ test images and accuracy $a$, the *standard error* from that alone is $\sqrt{a(1-a)/n}$, and about twice that makes a 95 % interval:

# %%
images_in_test = len(data.test)
half_width = 1.96 * math.sqrt(mean * (1 - mean) / images_in_test)
print(
    f"from the sample of {images_in_test:,} test images alone: "
    f"±{100 * half_width:.1f} percentage points (95 %)"
)

# %% [markdown]
# These runs differ in nothing but the seed, which sets the initial weights and the order of the images.
# So a difference of half a point between two *single* runs says next to nothing about which method is better.
# When you read that something "improves accuracy by 0.3 points", ask how many seeds were run.

# %% [markdown]
# ### What does it still get wrong?
#
# We look at *validation* images, because looking at the test images would tempt us to tune for them.
# Which classes do you expect to be confused?

# %% slide="What does it still get wrong?"
names_of = data.validation.classes
with torch.no_grad():
    seen, truth = next(data.validation.batches(len(data.validation)))
    predicted = cnn(seen).argmax(dim=1)
wrong = (predicted != truth).nonzero().flatten()
right = (predicted == truth).nonzero().flatten()
shown = torch.cat([right[:10], wrong[truth[wrong].argsort(stable=True)][:20]])
plots.predictions(
    data.validation.images[shown],
    predicted[shown],
    truth[shown],
    names_of,
    title="Ten that the network got right, and twenty that it got wrong",
    alt="01b/mistakes",
)
plt.show()

# %% [markdown]
# Which class is taken for which?
# In the next figure a row is what the images *are*, and a column what the network *says*; the darker a cell off the diagonal, the more of its row went there.
# Look for the darkest row.

# %%
taken = torch.bincount(10 * truth[wrong] + predicted[wrong], minlength=100)
is_of, said = divmod(int(taken.argmax()), 10)
plots.confusion_matrix(
    predicted,
    truth,
    names_of,
    title=f"Most often a {names_of[is_of]} is called {names_of[said]}: "
    f"{int(taken.max())} validation images",
    alt="01b/confusion",
)
plt.show()

# %%
tops = torch.tensor(
    [names_of.index(name) for name in ("T-shirt", "pullover", "coat", "shirt")],
    device=P.device,
)
both_tops = torch.isin(predicted[wrong], tops) & torch.isin(truth[wrong], tops)
print(
    f"{len(wrong)} mistakes in {len(truth):,} validation images; "
    f"{both_tops.float().mean():.0%} are one top taken for another"
)

# %% [markdown]
# Pullover, coat, shirt and T-shirt make most of the mistakes.
# You would get some of the pictures wrong too.

# %% [markdown]
# ## 7. Find the bugs
#
# ### Exercise 2: debug a loop · 20 minutes
#
# The function below runs without an error, and it learns something at first.
# Still it has **three bugs**, each of a kind that is common in real code.
# Read it slowly.

# %% broken="training.debug_loop"

# %% [markdown]
# The cell below holds the function as comments.
# Take away the `#` and the last line, and repair it.
# `train_batches` and `test_batches` are lists of pairs, each of images and their labels.
# Keep everything that is right: the accuracies come back as a list of floats, one per epoch.

# %% exercise="training.debug_loop"

# %% check="training.debug_loop" tags=["nbval-check-output"]
train_and_evaluate_checked = check("training.debug_loop", train_and_evaluate)

# %% [markdown]
# How much do the bugs cost?
# We train a small network with both functions, on 2,000 images.
# It has *dropout*, which sets random units to zero while training.
# Compare where the two curves start and where they go.

# %% slide="The same network, with and without the bugs"
train_batches = list(data.train.subset(slice(2000)).batches(64, seed=P.seed))
validation_batches = list(data.validation.batches(250))
results = {}
for label, function in {
    "with three bugs": buggy_train_and_evaluate,
    "repaired": train_and_evaluate_checked,
}.items():
    torch.manual_seed(P.seed)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)
    ).to(P.device)
    sgd = torch.optim.SGD(network.parameters(), lr=0.05)
    results[label] = (
        range(1, 9),
        function(network, sgd, train_batches, validation_batches, epochs=8),
    )
plots.lines(
    results,
    title="After eight epochs: "
    + ", ".join(f"{name} {values[-1]:.0%}" for name, (_, values) in results.items()),
    x="epoch",
    y="validation accuracy (fraction)",
    alt="01b/bugs",
)
plt.show()

# %% [markdown]
# The repaired loop rises, but the buggy one starts lower and loses what it had learned.
# Old gradients pile up, so that each update is the sum of all gradients so far, and the network overshoots.
# Dropout stays on during evaluation, so that even a good network is measured too low.
# The update comes one batch late, which alone does little harm and is hardly ever noticed.
# There was no error message, so a strange curve or a failed check is all the warning you get.

# %% [markdown]
# ## 8. So, how do you notice?
#
# Not by an error message, and not by the training loss alone, which falls for shuffled labels too.
# One batch learned by heart shows that the loop works, the two curves show whether the network learns or memorises, and the sweep shows the rate.
# What is left is luck, and several seeds show how much.
#
# What all this costs is the question of [chapter 1c](01c_what_training_costs.ipynb).

# %% [markdown]
# ## An open task
#
# Can you find a better recipe for the small CNN than ours, with the same `epochs`?
# Change the batch, the largest rate in `train_cnn` or the schedule, one after the other, and look at *validation* accuracy only.
# Write down every setting that you tried, also those that failed, with its mean and interval over `repeats`.
# The task is answered when the best one has been run on seeds that you did not choose it by, and you can say whether its lead is still there.

# %% [markdown]
# ## Quiz
#
# Open each choice to see whether it is right, and why.
#
# **1.
# Training loss falls, validation loss rises.
# What helps?**
#
# <details><summary>Train longer.</summary>
#
# No, the network learns its images by heart, and more epochs make the validation loss worse.
# </details>
#
# <details><summary>More training images, or stop at the lowest validation loss.</summary>
#
# Right, both fight overfitting.
# Chapter 4 adds a third way, which is to start from a network that has already seen other images.
# </details>
#
# <details><summary>A larger network.</summary>
#
# Not by itself, because it has even more room to memorise.
# </details>
#
# **2.
# A network learns 64 images with shuffled labels by heart.
# What does that show?**
#
# <details><summary>That there is a bug, since such labels cannot be learned.</summary>
#
# No, a network with far more parameters than images can store any labels.
# </details>
#
# <details><summary>That a low training loss alone proves nothing about the world.</summary>
#
# Right, which is why we keep validation images.
# </details>
#
# <details><summary>That the labels were not shuffled well.</summary>
#
# One in ten is right by chance, but the others are learned too.
# </details>
#
# **3.
# You make the batch eight times larger and keep the number of epochs.
# What do you do with the learning rate?**
#
# <details><summary>Keep it, because it belongs to the network.</summary>
#
# No, the best rate depends on the batch size as well.
# </details>
#
# <details><summary>Look for it anew, and expect a larger one.</summary>
#
# Right, because the gradient is steadier and there are fewer steps.
# </details>
#
# <details><summary>Multiply it by eight, which is always safe.</summary>
#
# Only far below the best rate, because the wall hardly moves.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("01b")
my_bets("01b")

# %% [markdown]
# ## Take-away
#
# - One batch learned by heart goes to nearly 0, or there is a bug.
# - Watch training *and* validation curves, and open the test set once.
# - A learning rate has a limit, $2/\lambda$ in a valley of curvature $\lambda$, and the best one changes with the batch.
# - Repeat with other seeds before you believe a difference.
#
# Go on with [chapter 1c](01c_what_training_costs.ipynb), *What training costs*.

# %% [markdown]
# ## Further reading
#
# - Karpathy, *A Recipe for Training Neural Networks* (2019): the tests of this chapter, and more of them.
# - Zhang, Bengio, Hardt, Recht and Vinyals, *Understanding deep learning requires rethinking generalization* (2017), arXiv 1611.03530: networks learn random labels.
# - Smith, *Cyclical Learning Rates for Training Neural Networks* (2017), arXiv 1506.01186: the learning-rate sweep.

# %% [markdown]
# ## Appendix: details
#
# ### The recorded rates, more closely
#
# Far below the best rate the losses are 0.53 nats for rate 0.005 and batch size 16, 0.54 for 0.01 and 32, and 0.54 for 0.02 and 64.
#
# The wall for a batch of 16 stands between 0.2 and 0.5, where the mean loss is already 1.71 nats at 0.5.
# For 512 it stands between 0.5 and 1, with mean losses of 0.56 and 1.85 nats.
# The best loss for 256 is 0.59 nats, but five runs are too few to order 256 and 512.
#
# Near the best rate a row of the map is flat, and the runs disagree: with a batch of 256 their own best rates go from 0.1 to 0.5.
# So five runs fix the best rate only to within a factor of two to five.

# %% [markdown]
# ### What would more images give?
#
# The package carries 9,000 images for training, so that you need no internet connection.
# The full set offers 55,000, and another 5,000 for validation.
# We trained the same CNN on it and recorded the result:

# %%
full = recorded_value("01b", "01/test_accuracy/cnn")
print(f"these runs: {mean:.1%} [{low:.1%}, {high:.1%}], n = {len(runs)}, {data.source}")
print(
    f"{full['label']}: {full['value']:.1%} [{full['low']:.1%}, {full['high']:.1%}], n "
    f"= {full['n']}, {full['data']}"
)

# %% [markdown]
# With all images the network is better by a few points, which is why people collect as many as they can.
# Careful: an epoch over six times as many images is also six times as many steps, so part of the gain may be longer training.
# The recorded network was also tested on more images, 10,000 of them; with `full_data=True`, both lines are about the same data.
# What more images cost is the subject of chapter 1c.
