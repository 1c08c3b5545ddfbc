# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "01"
#     title: Training basics
#     minutes: {reading: 53, exercises: 70, cpu: 2.5, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # Training basics
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - write one training step by hand, then the loop around it, and say what each line is for;
# - recognise good training by the loss at the start, by one batch learned by heart, and by two curves that stay together;
# - find the bugs that real training loops have had;
# - count what training costs in operations, memory, seconds, energy and money before you pay it.
#
# You need Python, the idea that a function has a slope, and a little NumPy, that is, arrays, their shapes and sums along an axis.

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
# The first cell fetches the helper package from the internet where it is not installed, as on Colab and Kaggle.

# %% tags=["bootstrap"]
pass

# %% [markdown]
# The next cell holds the chapter's parameters.
# `None` means "what the profile says".
# The profile `cpu` is for a laptop, `gpu` for an accelerator, that is, a graphics processor (chapter 2 explains), and `auto` picks the one that fits.
# The profile `smoke` runs in seconds to show that everything works, so expect worse curves than the text describes.
# And `paper` is what was run for the recorded results.
#
# You may change any of the parameters and run the notebook again.

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
epochs: int | None = None  # passes over the training images for the main network
repeats: int | None = None  # trainings of the main network, each with its own seed
points: int | None = None  # points on each curve of the cost figure
batch_size: int | None = None  # images in one training step
full_data: bool | None = None  # all of Fashion-MNIST (a download of 30 MB)
data_root: str | None = None  # a folder with your own copy of Fashion-MNIST

# %%
from vaetl_helpers.runtime import report, setup, show_table

P = setup(
    "01",
    profile,
    seed=seed,
    epochs=epochs,
    repeats=repeats,
    points=points,
    batch_size=batch_size,
    full_data=full_data,
    data_root=data_root,
)

# %%
import itertools
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from vaetl_helpers import hardware, plots
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.rates import rate_study
from vaetl_helpers.living.valley import ball_in_valley
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.output import show_record
from vaetl_helpers.practice import challenge, my_bets, predict, quiz, recall, settle
from vaetl_helpers.recorded import recorded_arrays
from vaetl_helpers.study import effect_of, mean_interval, recorded_value
from vaetl_helpers.training import NonFiniteLoss, evaluate, fit

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
recall("01")

# %% [markdown]
# ## 1. The data
#
# **Fashion-MNIST** holds small grey pictures of clothes.
# Each picture, or *image*, is a grid of 28 × 28 = 784 numbers called *pixels*.
# They are stored as whole numbers from 0 to 255 and divided by 255 batch by batch, so that the network sees numbers from 0 (drawn white here) to 1 (black).
# Each image carries a *label*, which is the number of its *class*, one of ten kinds of clothes.
#
# The images come in three parts that share no image:
#
# - The network learns from the part called **train**.
# - We look at **validation** while we make choices.
# - We open **test** once, at the end, for the number that we report.
#
# The line below says which data are used, and how many images each of the three parts has.

# %%
data = load("fashion-mnist", full=P.full_data, root=P.data_root, device=P.device)

# %% tags=["nbval-check-output"]
for number, name in enumerate(data.train.classes):
    print(number, name)

# %% [markdown]
# Always look at the data before you train.
# In these pictures, look for two classes that *you* would confuse.

# %% slide="Twenty images, ten kinds of clothes"
names = [data.train.classes[label] for label in data.train.labels[:20]]
plots.image_grid(
    data.train.images[:20],
    names,
    title="Twenty training images and their classes",
    alt="01/twenty_images",
)
plt.show()

# %% [markdown]
# Pullover, coat, shirt and T-shirt have nearly the same outline.
# Section 5 shows whether the network confuses them too.

# %% [markdown]
# ## 2. One training step, by hand
#
# ### PyTorch in ten lines
#
# A *tensor* is PyTorch's array of numbers, and `t.shape` is its size along each dimension.
# Try these before you go on:
#
# - `t.sum(dim=1)` adds along dimension 1, that is, along each row.
#   With `keepdim=True` the result stays a column, so that it can be subtracted from `t`;
# - `t.max(dim=1).values` is each row's largest entry, and `t.argmax(dim=1)` says where it stands;
# - `t.exp()`, `t.log()` and `t.mean()` do what they say;
# - `t[[0, 1], [4, 2]]` picks the entries in row 0, column 4 and in row 1, column 2;
# - `t.item()` turns a tensor with one entry into a Python number, and `t.detach()` is the same tensor without the record that gradients need;
# - `t.to(device)` moves it to the accelerator if there is one.

# %%
t = torch.tensor([[1.0, 2.0, 3.0, 4.0, 9.0], [5.0, 4.0, 7.0, 2.0, 1.0]])
print(
    "sum of each row:",
    t.sum(dim=1),
    " largest:",
    t.max(dim=1).values,
    " at:",
    t.argmax(dim=1),
)
print(
    "entries (0, 4) and (1, 2):",
    t[[0, 1], [4, 2]],
    " mean as a number:",
    t.mean().item(),
)

# %% [markdown] slide="One training step"
# Here is the whole step in one picture; its parts follow one by one.
# Go round with the numbers 1 to 4: where does the loss need the labels, and what does it change in the end?
#
# {diagram: training-step}

# %% [markdown]
# ### The network
#
# A *network* is a function with many adjustable numbers, its *parameters*.
# Ours takes an image $x$ and returns ten numbers, one per class, called *logits*.
# The class with the largest logit is the prediction.
#
# The first network has one hidden layer of $w$ units:
#
# $$h = \max(0,\; W_1 x + b_1), \qquad \text{logits} = W_2 h + b_2 .$$
#
# Here $x$ is the image as a column of 784 numbers, which `Flatten` makes.
# The parameters are the matrices $W_1$ ($w \times 784$ numbers) and $W_2$ ($10 \times w$), and the vectors $b_1$ and $b_2$.
# They start as small random numbers.
# The entries of $h$ are the *hidden units*.
# The maximum with 0 is taken entry by entry and is called *ReLU*.
# PyTorch calls the steps $Wx+b$ `Linear`, and you find them as (1) and (3) in the output below.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
model = mlp_classifier(width=128)
parameters = sum(p.numel() for p in model.parameters())
print(model)
print(
    f"{parameters:,} parameters: 784 · 128 + 128 + 128 · 10 + 10 = "
    f"{784 * 128 + 128 + 128 * 10 + 10:,}"
)

# %% [markdown]
# ### Forward: from images to logits
#
# While training, we show the network not one image at a time but a *batch*, here of 128.
# A computer multiplies one large matrix faster than many small ones, and the mean over many images is a steadier guide than one image.

# %%
torch.manual_seed(P.seed)
model = mlp_classifier(width=128).to(P.device)
images, labels = next(data.train.batches(P.batch_size, seed=P.seed))
logits = model(images)
print(f"images {list(images.shape)}: batch, channels, height, width")
print(f"logits {list(logits.shape)}: batch, classes")

# %% [markdown]
# ### The loss: how wrong is it?
#
# The *loss* is one number that says how wrong the network is, so smaller is better.
# Ours is the *cross-entropy*, and it takes two steps.
#
# First, the *softmax* turns logits $s_1, \dots, s_C$ into probabilities that sum to one, $p_c = e^{s_c} / \sum_j e^{s_j}$, where $C$ is the number of classes.
# Then the cross-entropy of an image is minus the logarithm of the probability that its right class $y$ received:
#
# $$\ell = -\log p_y = -s_y + \log \sum_{j=1}^{C} e^{s_j} .$$
#
# It is measured in *nats*, because the logarithm is the natural one.
# It goes to 0 for a network that is certain and right, and grows without limit for one that is certain and wrong.
# The loss of a batch is the mean over its images.
#
# **A number to know by heart.**
# A network that knows nothing gives each class the probability $1/C$, so its loss is $-\log(1/C) = \log C$.
# Here is its value for ten classes, and after it the loss of our untrained network:

# %% tags=["nbval-check-output"]
print(f"log 10 = {math.log(10):.4f} nats")

# %%
loss = F.cross_entropy(logits, labels)
print(f"the untrained network's loss: {loss.item():.4f} nats")

# %% [markdown]
# The two differ by less than a tenth of a nat.
# If your own network starts far above $\log C$, stop: something is wrong with the input's range, the initial weights or the loss.
# A start far below is suspicious too, for the network may be able to see the answer.
#
# ### How the exercises work
#
# Write your code in place of `...`, then run the cell and the one below it.
# `check` tests your function on fresh random input and says what is wrong.
# In a new cell, `hint("training.cross_entropy")` tells you a little more at each call, and `solution("training.cross_entropy")` shows a complete answer.
# You can go on in any case, because the cells below use `cross_entropy_checked`, which is your function if it is right and ours if it is not yet.
#
# ### Exercise 1: cross-entropy · 15 minutes
#
# Write the mean cross-entropy yourself, without `F.cross_entropy`.
# PyTorch's function gives the same numbers, but you learn what is in it by writing it.
# Use tensor operations throughout and no `.item()`, so that gradients can flow through your function.
#
# - `logits` has the shape `[batch, classes]`, and `labels` has the shape `[batch]`;
# - return one number in nats, as a tensor without dimensions;
# - your function must survive logits of ±1000.
#   On a computer $e^{1000}$ is infinite, and $e^{-1000}$ is 0, whose logarithm is minus infinity, so the formula above cannot be typed in as it stands.
#   Subtracting the largest logit of each row changes no probability (why?) and cures both.


# %% exercise="training.cross_entropy"

# %% check="training.cross_entropy"
cross_entropy_checked = check("training.cross_entropy", cross_entropy)

# %%
print(f"checked function {cross_entropy_checked(logits, labels).item():.6f} nats")
print(f"PyTorch          {F.cross_entropy(logits, labels).item():.6f} nats")

# %% [markdown]
# ### Backward: which way is downhill?
#
# The *gradient* of the loss says, for each parameter, how fast the loss grows when that parameter grows.
# PyTorch computes all of them in one sweep from the loss back to the first layer, hence the name *backward pass*.
# It **adds** each of them to what is already stored in that parameter's `.grad`, so old gradients must be cleared first.
# Before you run the next cell a second time, run those that compute `logits` and `loss` again, because PyTorch throws away what it has used.

# %%
model.zero_grad()  # forget old gradients; here there are none yet
loss.backward()
for name, parameter in model.named_parameters():
    print(
        f"{name:9} {str(list(parameter.shape)):11} mean |gradient| "
        f"{parameter.grad.abs().mean():.2e} nats per unit"
    )

# %% [markdown]
# ### Update: one small step
#
# *Gradient descent* moves each parameter $\theta$ a little against its gradient $g$:
#
# $$\theta \leftarrow \theta - \eta\, g .$$
#
# The *learning rate* $\eta$ says how little.
# An *optimiser* is an object that does this for all parameters.
# The name `SGD` stands for *stochastic gradient descent*: stochastic, because the gradient is that of a random batch, not of all images.

# %%
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
before = loss.item()
optimizer.step()  # θ ← θ − η g
after = F.cross_entropy(model(images), labels).item()
print(
    f"loss on this batch before the step {before:.4f} nats, after it {after:.4f} nats"
)

# %% [markdown]
# One step made the network a little better *on this batch*.
# Training is nothing but this, repeated.
#
# ### Exercise 2: one step · 10 minutes
#
# Put the four parts into a function: forget old gradients, forward, backward, update.
# Use `F.cross_entropy` for the loss.
# The parameters may still hold gradients from somebody else's work, and yours must not be added to them.
#
# Return the loss of the batch, as it was *before* the update, as a tensor: `return loss.detach()`.
# Although `loss.item()` would be right too, it makes the program wait for the result at every step, which matters on an accelerator.


# %% exercise="training.step"

# %% check="training.step"
step_checked = check("training.step", step)

# %% [markdown]
# ## 3. The loop
#
# One pass over all training images is an *epoch*.
# The images are shuffled before each epoch, so that batches differ.
# Here is a whole training run.


# %%
def train_by_hand(model, optimizer, epochs):
    """Trains on the training images and returns the loss of every step."""
    losses = []
    model.train()
    for epoch in range(epochs):
        for images, labels in data.train.batches(
            P.batch_size, seed=P.seed, epoch=epoch
        ):
            losses.append(step_checked(model, optimizer, images, labels))
    return [float(loss) for loss in losses]  # to Python numbers once, at the end


torch.manual_seed(P.seed)
by_hand = mlp_classifier(width=128).to(P.device)
initial_weights = {name: value.clone() for name, value in by_hand.state_dict().items()}
losses = train_by_hand(
    by_hand, torch.optim.Adam(by_hand.parameters(), lr=1e-3), epochs=2
)

# %% [markdown]
# We used the optimiser *Adam*.
# It keeps two running means for each parameter, one of its gradient and one of the gradient's square, and divides the first by the root of the second.
# In this way each parameter has a step size of its own, and a learning rate near 0.001 often works.
# In the figure, look at where the curve starts, and at how it shakes.

# %% slide="The loss starts at log 10 and falls step by step"
plots.lines(
    {
        "loss of each step": (range(1, len(losses) + 1), losses),
        "log 10": ([1, len(losses)], [math.log(10)] * 2),
    },
    title="Two epochs of training, step by step",
    x="training step",
    y="loss (nats)",
    alt="01/two_epochs",
)
plt.show()

# %% [markdown]
# The curve starts at $\log 10$, as it must.
# It falls fast at first, then slowly.
# It shakes because every batch is a different sample of images, and some are easier than others.
#
# ### The same loop, as `fit`
#
# From here on we use `fit` from the helper package.
# To the loop above it adds what a long run needs: validation, a progress bar, a time limit, checkpoints that save the state of training to a file, and a clear message if the loss stops being a number.
# You can read it: `fit` runs a generator to its end, and in that generator stand the forward pass, the loss, the backward pass and the update.
# A new cell with `from vaetl_helpers.training import training_epochs`, and one with `training_epochs??`, shows its 34 lines, while the bookkeeping is in the class `Run` beside it.
#
# But do not trust us; check.
# From the same initial weights, with the same batches and the same optimiser, both loops must arrive at the same network:

# %%
by_fit = mlp_classifier(width=128).to(P.device)
by_fit.load_state_dict(initial_weights)
history = fit(
    by_fit,
    data.train,
    epochs=2,
    batch_size=P.batch_size,
    seed=P.seed,
    optimizer=torch.optim.Adam(by_fit.parameters(), lr=1e-3),
    validation=data.validation,
)

# %% [markdown]
# What has the network learned?
# Its first layer has 784 weights for each of 128 hidden units, so that a unit's weights can be shown as a picture: orange where ink speaks for the unit, violet where it speaks against.
# Look for the outline of a garment.

# %%
plots.weight_grid(
    by_hand[1].weight[:20].reshape(-1, 28, 28),
    title="The weights of twenty hidden units after two epochs",
    alt="01/weights",
    columns=10,
)
plt.show()

# %%
same = [
    torch.equal(a, b)
    for a, b in zip(by_hand.parameters(), by_fit.parameters(), strict=True)
]
difference = max(
    (a - b).abs().max().item()
    for a, b in zip(by_hand.parameters(), by_fit.parameters(), strict=True)
)
print(
    f"{sum(same)} of {len(same)} parameter tensors are the same, bit for bit; largest "
    f"difference {difference:.1e}"
)

# %% [markdown]
# On a CPU every bit agrees.
# On a GPU some sums may be done in another order from run to run, so that the last digits may differ.
#
# `fit` also printed the *validation* loss, which is the mean loss over images that were not trained on.
# Training loss and accuracy are means over the epoch, *while* the network was still learning, whereas validation is measured *after* the epoch.
# That is why validation can look better than training early on, and it is no mistake.
#
# ### Exercise 3: accuracy · 15 minutes
#
# *Accuracy* is the fraction of images that are classified correctly.
# Write it for a whole set that comes in batches.
# Watch four things, each of which published code has missed:
#
# - the last batch may be smaller than the others, so batches must not count equally;
# - some layers behave differently while training and while predicting.
#   *Dropout* sets random units to zero while training, and *BatchNorm* uses the batch's own mean while training but a stored one afterwards.
#   `model.eval()` switches to predicting;
# - the code that calls your function may go on training.
#   `model.training` tells the mode, so leave the model as you found it, with `model.train(True)` or `model.train(False)`;
# - nobody needs gradients here, so put the loop under `with torch.no_grad():`, which saves memory and time.
#   The check looks for it.


# %% exercise="training.accuracy"

# %% check="training.accuracy"
accuracy_checked = check("training.accuracy", accuracy)

# %%
by_your_function = accuracy_checked(by_fit, data.validation.batches(300))
print(
    f"validation accuracy after two epochs: {by_your_function:.1%}; a guess would "
    "reach 10 %"
)

# %% [markdown]
# ## 4. What good training looks like
#
# ### First test: can it learn one batch by heart?
#
# Before you train for hours, train for seconds on *one* batch, again and again.
# A network with far more parameters than the batch has images must be able to learn it by heart, so its loss must go to nearly 0.
# If it does not, there is a bug, or the learning rate is far off, and more data will not help.
#
# ### Exercise 4: overfit one batch · 10 minutes
#
# Train on the same batch for `steps` steps.
# Return the list of losses, each measured before its update.
# Make them plain Python numbers, because we want to draw them and a short wait at each step does not matter here.


# %% exercise="training.overfit_one_batch"

# %% check="training.overfit_one_batch"
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
    title="Learning 64 images by heart",
    x="training step",
    y="loss (nats), log scale",
    scale="log y",
    alt="01/by_heart",
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
# ### Second test: two curves
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
    alt="01/three_cases",
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
#
# ### Why a step can be too large
#
# The next test is about the learning rate, so let us first see what it does where everything can be drawn.
# With only two parameters the loss is a landscape, and training is a ball that goes downhill in steps.
# Near its lowest point a smooth landscape is mostly a *valley*, flat one way and steep the other.
# How steep it is across is its *curvature* $\lambda$: the slope at distance 1 from the bottom line.
#
# In the figure the curvature is 1 along the valley and $\lambda$ across it, and each oval joins points of equal loss.
# Gradient descent multiplies the distance across by $1 - \eta\lambda$ in each step.
# That number is below $-1$ when $\eta > 2/\lambda$, and then each step overshoots by more than the last.
#
# The other two methods use the past as well.
# *Momentum* adds up gradients, $v \leftarrow \beta v + g$, and moves by $-\eta v$, so that steps in the same direction grow and those that go to and fro cancel.
# *Adam* does the same, and then divides by how large the gradients mostly are, for each parameter by itself.
#
# Move the sliders, drag the ring to start elsewhere, and look for three things.
# At which step size does the path fly away?
# What happens to that limit when the valley becomes steeper?
# And which method comes furthest down in 60 steps, when you give each its best step size?

# %% slide="Why a step can be too large"
ball_in_valley(alt="01/valley")
plt.show()

# %% [markdown]
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
# ### Third test: the learning rate
#
# The learning rate is the one setting that you must always choose.
# A quick way is to start very small, multiply the rate by the same factor after every step, and watch the loss.
# It goes back to Smith (2017), who raised the rate linearly.
# While the rate is too small, nothing happens; then the loss falls, and in the end it explodes.
# Take a value between the steepest fall and a tenth of the rate at which it explodes.
#
# We do it for the network that section 5 explains and trains, a small *convolutional network* (CNN).


# %% slide="Where is the best learning rate?"
def endless_batches():
    """The shuffled training batches of one epoch after another, without end."""
    for epoch in itertools.count():
        yield from data.train.batches(P.batch_size, seed=P.seed, epoch=epoch)


def learning_rate_sweep(network, low=1e-5, high=1.0, steps=120):
    """Trains with a learning rate that grows at every step; returns rates and smoothed
    losses.
    """
    adam = torch.optim.Adam(network.parameters(), lr=low)
    rates, losses = [], []
    for number, (images, labels) in zip(range(steps), endless_batches()):
        rate = low * (high / low) ** (number / (steps - 1))
        adam.param_groups[0]["lr"] = rate
        loss = float(step_checked(network, adam, images, labels))
        if not math.isfinite(loss) or loss > 10:  # it has exploded: nothing more to see
            break
        rates.append(rate)
        losses.append(
            loss if not losses else 0.8 * losses[-1] + 0.2 * loss
        )  # smoothed: single batches are noisy
    return rates, losses


torch.manual_seed(P.seed)
rates, sweep = learning_rate_sweep(small_cnn().to(P.device))
axis = plots.lines(
    {"small CNN, Adam": (rates, sweep)},
    title="One short run with a growing learning rate",
    x="learning rate",
    y="loss, smoothed (nats)",
    scale="log x",
    alt="01/rate_sweep",
)
axis.axvline(4e-3, color="grey", linewidth=1)
axis.annotate("0.004, our choice ", (4e-3, axis.get_ylim()[1]), ha="right", va="top")
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
# ### The learning rate and the batch size
#
# The best learning rate does not belong to the network alone: it depends on the batch size, too.
# We trained the network of section 2 with plain `SGD` for ten epochs and recorded the losses.
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
rate_study(alt="01/rates")
plt.show()

# %%
arrays, about = recorded_arrays("01_rates")
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
#   It is 0.53 nats for rate 0.005 and batch size 16, 0.54 for 0.01 and 32, and 0.54 for 0.02 and 64.
#   There are half as many steps, but each is about twice as long.
# - **The wall moves much less.**
#   For a batch of 16 it stands between 0.2 and 0.5, where the mean loss is already 1.71 nats at 0.5.
#   For 512 it stands between 0.5 and 1, with mean losses of 0.56 and 1.85 nats.
#   So while the best rate grew tenfold, the wall moved only about twofold.
#   That is why a large batch cannot make up for its few steps in ten epochs.
#   The best loss is 0.40 nats for 16, 0.49 for 128 and 0.56 for 512.
#   For 256 it is 0.59, but five runs are too few to order 256 and 512.
#
# Near the best rate a row of the map is flat, and the runs disagree: with a batch of 256 their own best rates go from 0.1 to 0.5.
# So five runs fix the best rate only roughly, to within a factor of two to five.
# Adam has other best rates, but what you do is the same: when you change the batch, look for the rate anew.

# %% [markdown]
# ## 5. A convolutional network
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
    """Trains the small CNN once; returns network, history and energy meter."""
    torch.manual_seed(seed)
    network = small_cnn().to(P.device)
    adam = torch.optim.Adam(network.parameters(), lr=4e-3)
    with hardware.EnergyMeter(30, P.device) as meter:
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
    return network, history, meter


runs = [train_cnn(P.seed)]

# %%
runs += [train_cnn(P.seed + repeat) for repeat in range(1, P.repeats)]
cnn, cnn_history, cnn_meter = runs[0]
plots.lines(
    {
        "training": (cnn_history["epoch"], cnn_history["accuracy"]),
        "validation": (cnn_history["epoch"], cnn_history["validation_accuracy"]),
    },
    title="Small CNN: accuracy epoch by epoch",
    x="epoch",
    y="accuracy (fraction)",
    alt="01/cnn_accuracy",
)
plt.show()

# %% [markdown]
# Both curves rise, and flatten as the learning rate goes to zero.
# After enough epochs training ends a little above validation.
# Such a gap is normal, because the network knows its own images a little better.
# It would be overfitting in the sense of section 4 if validation got worse.
#
# Now we use the test images, and only this once:

# %%
predict("training.seeds")

# %%
test_accuracies = [evaluate(network, data.test)["accuracy"] for network, _, _ in runs]
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
# ### What would more images give?
#
# The package carries 9,000 images for training, so that you need no internet connection.
# The full set offers 55,000, and another 5,000 for validation.
# We trained the same CNN on it and recorded the result:

# %%
full = recorded_value("01", "01/test_accuracy/cnn")
print(f"these runs: {mean:.1%} [{low:.1%}, {high:.1%}], n = {len(runs)}, {data.source}")
print(
    f"{full['label']}: {full['value']:.1%} [{full['low']:.1%}, {full['high']:.1%}], n "
    f"= {full['n']}, {full['data']}"
)

# %% [markdown]
# With all images the network is better by a few points, and that is why people train on every object they have.
# Careful: an epoch over six times as many images is also six times as many steps, so part of the gain may be longer training.
# The recorded network was also tested on more images, 10,000 of them; with `full_data=True`, both lines are about the same data.
# What more images cost is the subject of section 7.
#
# ### What does it still get wrong?
#
# We look at *validation* images, because looking at the test images would tempt us to tune for them.
# Look for the classes that you found hard in section 1.

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
    alt="01/mistakes",
)
plt.show()

# %% [markdown]
# Which class is taken for which?
# In the next figure a row is what the images *are*, and a column what the network *says*; the darker a cell off the diagonal, the more of its row went there.
# Look for the darkest row.

# %%
plots.confusion_matrix(
    predicted,
    truth,
    names_of,
    title="Validation images: what they are, and what the network says",
    alt="01/confusion",
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
# Four classes of ten make most of the mistakes.
# You would get some of the pictures wrong too.
#
# ### Seeds, and what stays random
#
# On a CPU, the same seed gives the same network on the same machine, library and number of threads.
# A different seed gives a different network, and the next cell shows how different.

# %%
spread = 100 * (max(test_accuracies) - min(test_accuracies))
print(
    f"{len(runs)} runs that differ only in their seed: best minus worst = "
    f"{spread:.2f} percentage points"
)

# %% [markdown]
# These runs differ in nothing but the seed.
# So a difference of half a point between two *single* runs says next to nothing about which method is better.
# When you read that something "improves accuracy by 0.3 points", ask how many seeds were run.

# %% [markdown]
# ## 6. Find the bugs
#
# ### Exercise 5: debug a loop · 20 minutes
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

# %% check="training.debug_loop"
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
    title="The same network, with and without the bugs",
    x="epoch",
    y="validation accuracy (fraction)",
    alt="01/bugs",
)
plt.show()

# %% [markdown]
# The repaired loop rises, but the buggy one starts lower and loses what it had learned.
# Old gradients pile up, so that each update is the sum of all gradients so far, and the network overshoots.
# Dropout stays on during evaluation, so that even a good network is measured too low.
# The update comes one batch late, which alone does little harm and is hardly ever noticed.
# There was no error message, so a strange curve or a failed check is all the warning you get.

# %% [markdown]
# ## 7. What it costs
#
# ### Counting by hand
#
# Almost all the work of a network is multiplying matrices.
# A product of an $m \times k$ and a $k \times n$ matrix takes $m\,k\,n$ multiplications and almost as many additions, together $2\,m\,k\,n$ *floating-point operations* (FLOPs).
#
# Take our first network, $784 \to w \to 10$, on a batch of $B$ images:
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
# ### How the time grows
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
                last_loss = step_checked(network, adam, images, labels)
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
    [f"{name}: slope {slopes[name].mean():.2f}" for name in measured],
    alt="01/proportion",
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
# *Width* is different: in our run on two CPU cores, sixteen times the width took only five to six times as long.
# Part of each step does not depend on the width, such as starting each operation and fetching the batch, and a computer does more operations per second on larger matrices.
# Only for matrices much larger than ours, which we have not reached here, would the time follow the number of operations.
#
# *Batch size* goes the other way.
# The matrix products are the same in total, but each step also has costs that do not depend on the batch, namely starting the operations and Adam's update of every parameter.
# Larger batches mean fewer steps, so that these costs are paid less often.
# That saves time, up to a point.
# Section 4 showed the other side: fewer steps may also end at a higher loss.

# %% [markdown]
# ### Memory
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
# In the figure, look for the batch size at which they outgrow the other three.


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


weights = 4 * sum(p.numel() for p in cnn.parameters())
megabytes = {"weights": weights, "gradients": weights, "optimiser (Adam)": 2 * weights}
for batch in (16, 128, 1024):
    some_images, some_labels = next(data.train.batches(batch))
    megabytes[f"activations, batch {batch}"] = activation_bytes(
        cnn, some_images, some_labels
    )
plots.bars(
    {name: value / 1e6 for name, value in megabytes.items()},
    labels=[f"{value / 1e6:.1f} MB" for value in megabytes.values()],
    title="Memory to train the small CNN",
    x="megabytes",
    alt="01/memory",
)
plt.show()

# %% [markdown]
# At batch 16 the activations are still smaller than the other three together.
# At 128 they are several times as large and at 1024 some forty times, because they grow in proportion to the batch.
# So when a GPU runs out of memory, make the batch smaller first.
# For a very large model it is the other way round: there weights, gradients and Adam's numbers alone need many GPUs.

# %% [markdown]
# ### The receipt
#
# What did it cost to train the CNN of section 5 once?
# The time is measured, of training alone without validation, and the operations are counted for one step and multiplied.
# Energy is measured if an NVIDIA GPU reports its own; otherwise we *assume* 30 watts for a laptop at work, and say so.
# The price is a round number of our own, as if *this* computer were rented at 0.35 dollars per hour.

# %%
predict("training.seconds")

# %%
bill = hardware.receipt(cnn_history, cnn, data.train, cnn_meter, P.batch_size)
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
# ### And a large model?
#
# We compare with two published models, counted in FLOPs too:
#
# - **ResNet-50** on ImageNet (He et al. 2015, arXiv 1512.03385).
#   Its Table 1 gives $3.8\cdot10^9$ multiply-adds for one image forward.
#   That is $7.6\cdot10^9$ FLOPs, and with the backward pass three times that.
#   Section 3.4 trains for up to $60\cdot10^4$ steps of 256 images.
# - **GPT-3** (Brown et al. 2020, arXiv 2005.14165).
#   Its Table D.1 gives $3.14\cdot10^{23}$ FLOPs, computed as 6 for each parameter and *token*, a piece of a word, so $6 \cdot 174.6\cdot10^9 \cdot 300\cdot10^9$.
#
# We divide by the throughput that *this machine* reached while it trained the CNN, in FLOPs per second, of which $10^9$ make 1 GFLOP/s.
# As a more generous throughput we take that of one large matrix product, the best case for any computer.


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


resnet50 = 3 * 2 * 3.8e9 * 60e4 * 256
gpt3 = 6 * 174.6e9 * 300e9
rate = bill.flops / bill.seconds
year = 365.25 * 24 * 3600
years = {
    "this CNN": bill.seconds / year,
    "ResNet-50": resnet50 / rate / year,
    "GPT-3": gpt3 / rate / year,
}
best_rate = hardware.peak_flops(P.device, size=2048)
print(f"ResNet-50 takes {resnet50:.1e} FLOPs, GPT-3 {gpt3:.2e}")
print(
    f"this machine trained the CNN at {rate / 1e9:.0f} GFLOP/s; one large matrix "
    f"product runs at {best_rate / 1e9:.0f}"
)
print(
    f"at the better rate: ResNet-50 {about(resnet50 / best_rate / year)}, GPT-3 "
    f"{about(gpt3 / best_rate / year)}"
)
plots.bars(
    years,
    labels=[about(value) for value in years.values()],
    title="Training time on this machine, at the rate it reached here",
    x="years, log scale",
    log=True,
    alt="01/large_models",
)
plt.show()

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
# What counts is the order of magnitude, and between the CNN and GPT-3 lie some eleven powers of ten.

# %% [markdown] slide="So, was the claim right?"
# ## 8. So, was the claim right?
#
# | what the article says | what we found |
# | --- | --- |
# | repeated for every object | time is proportional to the number of images |
# | over and over | time is proportional to the number of epochs |
# | *may* involve matrices of many dimensions | operations are proportional to the width of this network; time grows more slowly (section 7 prints the slope) |
# | enormous power *is needed* | true of the largest models; a useful classifier took what the receipt says |
#
# 1. *Does the cost grow with images, repetitions and matrices?*
#    Yes, in proportion to the first two and more slowly with the third.
# 2. *How much is enormous?*
#    The receipt says what a classifier of clothes took, which is some $10^{11}$ to $10^{12}$ operations.
# 3. *What would a really large model cost here?*
#    More than a lifetime, and more memory than there is.
#
# The article's "may" belongs to the matrices; of the power it says that it is needed, for a data set of considerable size.
# So the reasons hold and the conclusion depends on what is considerable, because the network that you have just trained can do without an accelerator.
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
# ## Quiz
#
# Open each choice to see whether it is right, and why.
#
# **1.
# A network for 100 classes starts training with a loss of 4.6 nats.
# What do you think?**
#
# <details><summary>The loss is much too high: something is broken.</summary>
#
# No, because a network that knows nothing has a loss of log C, and for 100 classes that is log 100 ≈ 4.605 nats.
# This is a healthy start.
# </details>
#
# <details><summary>It is what a network that knows nothing should have.</summary>
#
# Right, because log 100 ≈ 4.605 nats.
# </details>
#
# <details><summary>One cannot say without knowing the data.</summary>
#
# One can, because equal probabilities give log C whatever the data are.
# </details>
#
# **2.
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
# **3.
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
# **4.
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

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("01")
my_bets("01")

# %% [markdown]
# ## Take-away
#
# - A training step is: forget old gradients, forward, loss, backward, update.
#   Training repeats it.
# - Know two numbers: the loss at the start is log C, and one batch learned by heart goes to nearly 0.
# - Watch training *and* validation curves, open the test set once, and repeat with other seeds before you believe a difference.
# - Operations are images × epochs × operations per image.
#   Time is proportional to images and epochs, but with the size of the network it grows more slowly while the matrices are small.
# - Memory in 32 bits with Adam is 16 bytes per parameter, for the weight, the gradient and Adam's two numbers, plus the activations of one image × batch size.
# - "Training needs enormous power" is true of enormous models, but yours may need a minute.

# %% [markdown]
# ## Further reading
#
# - Karpathy, *A Recipe for Training Neural Networks* (2019): the checks of section 4, and more of them.
# - Zhang, Bengio, Hardt, Recht and Vinyals, *Understanding deep learning requires rethinking generalization* (2017), arXiv 1611.03530: networks learn random labels.
# - Smith, *Cyclical Learning Rates for Training Neural Networks* (2017), arXiv 1506.01186: the learning-rate sweep.
# - Kingma and Ba, *Adam* (2015), arXiv 1412.6980.
# - Xiao, Rasul and Vollgraf, *Fashion-MNIST* (2017), arXiv 1708.07747: the data.
# - Kaplan et al., *Scaling Laws for Neural Language Models* (2020), arXiv 2001.08361: the rule of six FLOPs for each parameter and token.
