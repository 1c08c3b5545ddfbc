# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "01"
#     title: The training step
#     minutes: {reading: 20, exercises: 40, cpu: 0.1, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # The training step
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - write one training step by hand, and say what each of its four lines is for;
# - put the loop around it, and show that a library's loop does the same, bit for bit;
# - measure accuracy without the mistakes that published code has made.
#
# You need Python, the idea that a function has a slope, and a little NumPy, that is, arrays, their shapes and sums along an axis.

# %% [markdown] slide="One training step"
# ## The question
#
# A network begins with random numbers and ends by telling coats from shirts.
# What happens in between?
#
# The answer is one small step, repeated.
# Here is the whole step in one picture, and this chapter writes each of its parts by hand.
# Follow the numbers from 1 to 4: at which of them are the labels needed, and what is different at the end?
#
# {diagram: training-step}
#
# Chapter [1b](01b_good_training.ipynb) then asks how one sees that training goes well, and chapter [1c](01c_what_training_costs.ipynb) what it costs.

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
batch_size: int | None = None  # images in one training step
full_data: bool | None = None  # all of Fashion-MNIST (a download of 30 MB)
data_root: str | None = None  # a folder with your own copy of Fashion-MNIST

# %%
from vaetl_helpers.runtime import setup

P = setup(
    "01",
    profile,
    seed=seed,
    batch_size=batch_size,
    full_data=full_data,
    data_root=data_root,
)

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from vaetl_helpers import plots
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.nets import mlp_classifier
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import fit

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
# Chapter 1b shows whether a network confuses them too.

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
# Why a logarithm?
# Because it makes a confident mistake dear: a right class that received 0.9 costs 0.11 nats, one that received 0.5 costs 0.69, and one that received 0.01 costs 4.6.
# So the loss goes to 0 for a network that is certain and right, and grows without limit for one that is certain and wrong.
# The loss of a batch is the mean over its images.
#
# Our network has learned nothing yet.
# What loss will it have?

# %%
predict("training.untrained_loss")

# %%
loss = F.cross_entropy(logits, labels)
print(f"the untrained network's loss: {loss.item():.4f} nats")

# %%
settle("training.untrained_loss", loss.item())

# %% [markdown]
# **A number to know by heart.**
# A network that knows nothing gives each class the probability $1/C$, so its loss is $-\log(1/C) = \log C$.
# Here is its value for ten classes:

# %% tags=["nbval-check-output"]
print(f"log 10 = {math.log(10):.4f} nats")

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
#   First subtract from each row its largest logit, which changes no probability (why?), and then use the right-hand form: its sum is now at least 1, so its logarithm is safe.

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
# It is the chain rule: each layer takes the gradient of its output, multiplies it by its own slope, and hands the result to the layer before.
# PyTorch **adds** each gradient to what is already stored in that parameter's `.grad`, so old gradients must be cleared first.
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
# What do these gradients ask for?
# At the logits one can see it, because there the gradient of an image's loss is simply the probability of each class, minus 1 for the right class.
# So a step against it raises the right logit by what its probability still lacks, and lowers each other logit by the probability that this class got wrongly.
# A network that is certain and right has nothing left to learn from the image.
# The last bias is added to the logits, so its gradient must be the mean of this over the batch.

# %% tags=["nbval-check-output"]
right = F.one_hot(labels, num_classes=10)  # 1 at the right class, else 0
by_formula = (logits.detach().softmax(dim=1) - right).mean(dim=0)
agrees = torch.allclose(by_formula, model[3].bias.grad, atol=1e-6)
print("the last bias has the gradient of the formula:", agrees)

# %% [markdown]
# ### Update: one small step
#
# *Gradient descent* moves each parameter $\theta$ a little against its gradient $g$:
#
# $$\theta \leftarrow \theta - \eta\, g .$$
#
# The *learning rate* $\eta$ sets how far, because the slope holds only near where we stand and a long step may overshoot.
# An *optimiser* is an object that does this for all parameters.
# The name `SGD` stands for *stochastic gradient descent*: stochastic, because the gradient is that of a random batch, not of all images.

# %%
predict("training.one_step")

# %%
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
before = loss.item()
optimizer.step()  # θ ← θ − η g
after = F.cross_entropy(model(images), labels).item()
print(
    f"loss on this batch before the step {before:.4f} nats, after it {after:.4f} nats"
)

# %%
settle("training.one_step", before - after)

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
# In the figure, look at where the curve starts, and at how much it jumps from one step to the next.

# %% slide="The loss starts at log 10 and falls step by step"
plots.lines(
    {
        "loss of each step": (range(1, len(losses) + 1), losses),
        "log 10": ([1, len(losses)], [math.log(10)] * 2),
    },
    title=f"Two epochs: {losses[0]:.2f} nats at first, {losses[-1]:.2f} at last",
    x="training step",
    y="loss (nats)",
    alt="01/two_epochs",
)
plt.show()

# %% [markdown]
# The curve starts at $\log 10$, as it must.
# It falls fast at first, then slowly.
# It jumps because every batch is a different sample of images, and some are easier than others.
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
predict("training.same_loop")

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
# After so few steps they are grainy.
# Still, look for violet patches where a garment leaves the ground blank, beside a trunk or between two legs, and for a unit that has learned next to nothing.

# %% slide="What the first layer has learned"
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

# %%
settle("training.same_loop", sum(same))

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

# %% [markdown]
# Before you use it: how far does a network get in the two epochs that took a second or two?

# %%
predict("training.two_epochs")

# %%
by_your_function = accuracy_checked(by_fit, data.validation.batches(300))
print(
    f"validation accuracy after two epochs: {by_your_function:.1%}; a guess would "
    "reach 10 %"
)

# %%
settle("training.two_epochs", 100 * by_your_function)

# %% [markdown]
# ## 4. So, what happens in between?
#
# A step asks for each parameter which way the loss falls, and moves it a little that way.
# Some 140 such steps, two passes over 9,000 pictures, have turned random numbers into a network that names most clothes.
# There is no more to it, and `fit` does nothing else.
#
# What the step does not tell is whether the training went well.
# That is the question of [chapter 1b](01b_good_training.ipynb).

# %% [markdown]
# ## An open task
#
# What does the batch size do to the loss of section 3?
# Set `batch_size` to 16 and to 1024, and run the chapter from the top each time.
# Write down where the curve ends, how far it jumps from step to step, and how many steps were made.
# Is it the size of the batch, or the number of steps?
# To find out, change one and keep the other, for instance by giving `train_by_hand` another number of `epochs`.
# The task is answered when you can say in one sentence what this experiment showed.

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
# Somebody leaves out the line that clears old gradients.
# What happens?**
#
# <details><summary>PyTorch raises an error.</summary>
#
# No, since adding up gradients is allowed, and chapter 2b makes use of it.
# </details>
#
# <details><summary>Each update uses the sum of all gradients so far.</summary>
#
# Right, because the backward pass adds to what is stored.
# The steps grow too long, and no message says so.
# </details>
#
# <details><summary>Nothing, because the backward pass overwrites old gradients.</summary>
#
# No, it adds to them.
# </details>
#
# **3.
# After the first epoch the validation loss is lower than the training loss.
# Is something wrong?**
#
# <details><summary>Yes, because a network must know its own images better.</summary>
#
# Later it does.
# But the training loss is a mean over the epoch, in which the network was still worse.
# </details>
#
# <details><summary>No, because the two are measured at different times.</summary>
#
# Right, training while the network was still learning, and validation after the epoch.
# </details>
#
# <details><summary>Yes, because the validation images must be among those for training.</summary>
#
# They are not, since the three parts share no image.
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
#   Training repeats it, and `fit` is that loop.
# - Know a number by heart: an untrained network with $C$ classes has a loss of about $\log C$ nats.
# - Measure in eval mode, without gradients, over all images alike, and put the mode back.
#
# Go on with [chapter 1b](01b_good_training.ipynb), *Good training*.

# %% [markdown]
# ## Further reading
#
# - PyTorch's tutorial *Learn the Basics*: tensors, autograd and the loop, in the words of those who made them.
# - Kingma and Ba, *Adam* (2015), arXiv 1412.6980.
# - Xiao, Rasul and Vollgraf, *Fashion-MNIST* (2017), arXiv 1708.07747: the data.
