# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "04"
#     title: Transfer learning
#     minutes: {reading: 18, exercises: 42, cpu: 0.4, gpu: not yet measured}
#     requires: [vision]
# ---

# %% [markdown]
# # Transfer learning
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - teach a network from ImageNet two new words with three pictures each;
# - use a trained network for a new task: untouched, as a probe, and trained further;
# - give it a new head that keeps what the old one knew;
# - write fine-tuning yourself, and see with twenty labels what it is worth.
#
# You need chapters 1 and 1b for training.
# [Chapter 4a](04a_is_the_gain_real.ipynb) asks whether the gain is real, `04b` and `04c` do the same with text and detection, and `04d` with ten pictures of your own.
# Optional are [chapter 4e](04e_which_layers_transfer.ipynb) on layers and [chapter 4f](04f_what_a_network_forgets.ipynb) on forgetting.

# %% [markdown]
# ## What the article says
#
# The first article behind this course says, in our summary: *a model that tells dogs from cats learns to tell dogs from foxes much more easily and quickly.*
# It gives no number, so chapter 4a tests the claim, and here we do by hand what it speaks of.

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
task: str | None = None  # tops (clothes), animals, auto, or ./FOLDER of your pictures
steps: int | None = None  # optimiser steps of a training, about and at most
data_root: str | None = None  # a folder with your own copies of CIFAR and of photos

# %%
from vaetl_helpers.runtime import CourseError, setup, show_table

P = setup(
    "04",
    profile,
    seed=seed,
    task=task,
    steps=steps,
    data_root=data_root,
)

# %%
import copy
from itertools import cycle

import matplotlib.pyplot as plt
import torch
from torch import nn

from vaetl_helpers import nets, plots, study, transfer
from vaetl_helpers.data import drawn, tasks
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.practice import challenge, my_bets, predict, quiz, recall, settle

# %% [markdown]
# ### Recall
#
# Four questions from the chapters on training, which this one needs.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("04", needs=("01", "01b"))

# %% [markdown]
# ## 1. A network that has seen a million photos
#
# EfficientNet-Lite0 was trained on 1.28 million photos of **ImageNet**, which show things of 1,000 kinds.
# Others have paid for that, and its weights come in a package of 18 MB.
# Here are three photos from other packages, each with what the network says.

# %%
photos = drawn.sample_photos()
try:
    network = transfer.backbone("efficientnet-lite0")
    network = network.to(P.device, memory_format=torch.channels_last)
    imagenet, names = transfer.imagenet_head()
except CourseError as error:
    print(f"Sections 1 and 2 need that package. {error}")
    network = None


def says(images, top):
    """The network's `top` answers to each image, a line each, with its confidence."""
    shares = imagenet(transfer.features(network, images)).softmax(1)
    sure, kinds = shares.topk(top)
    return [
        "\n".join(f"{names[k]} {100 * p:.0f} %" for p, k in zip(row, which))
        for row, which in zip(sure, kinds)
    ]


if network:
    said_of_photos = says(torch.stack(list(photos.values())), top=2)

# %% slide="A network that has seen a million photos"
if network:
    plots.image_grid(
        torch.stack(list(photos.values())),
        said_of_photos,
        "What the network says, and how sure it is",
        columns=3,
        scale=1.45,
        alt="04/photos",
    )
plt.show()

# %% [markdown]
# Nobody told it what is in these photos, and it is right about the uniform, the flower's family and roughly about the building.
# All of its answers come from one list of 1,000 names, so it cannot say "Grace Hopper".
# (Photos: scikit-learn's `china.jpg` and `flower.jpg`, CC BY 2.0, and Matplotlib's of Admiral Hopper, in the public domain.)

# %% [markdown]
# ## 2. Two new words
#
# The article's example is a dog and a fox.
# To have plenty of both without a download, we let code draw them, with another coat, size, tilt and ground each time.
# What does a network make of drawings that has learned from photos?

# %%
learned = drawn.drawn_animals(("dog", "fox"), 3, P.seed)
if network:
    said_of_drawings = says(learned.images, top=1)

# %%
if network:
    plots.image_grid(
        learned.images,
        said_of_drawings,
        "Three dogs and three foxes, and what the network calls them",
        columns=3,
        scale=2.1,
        alt="04/drawings",
    )
plt.show()

# %% [markdown]
# As names these answers are useless.
# But look closer: do dogs and foxes get different ones?
# Then what the network computes *before* the names may tell them apart, although its names do not fit.
#
# So take its last layer off.
# What remains turns each picture into 1,280 numbers, and on these we train a new last layer with two names, on the six drawings above.
# The same little classifier on raw pixels stands beside it, so that we see what the million photos are worth.
# How many of forty new drawings will each get right?


# %%
def fit(x, y):
    """A linear classifier with a fixed penalty."""
    return transfer.linear_probe(x, y, grid=[0.01], scalings=["one factor"])


unseen = drawn.drawn_animals(("dog", "fox"), 20, P.seed + 1)
views = {"pixels": lambda pictures: pictures.images.flatten(1) / 255}
if network:
    views["ImageNet"] = lambda pictures: transfer.features(network, pictures)
lines, right = [""] * len(unseen), {}
for name, see in views.items():
    last_layer = fit(see(learned), learned.labels).as_linear()
    sure, said = last_layer(see(unseen)).softmax(1).max(1)
    right[name] = said == unseen.labels
    for row, (kind, share) in enumerate(zip(said, sure)):
        wrong = "" if right[name][row] else ", wrong"
        lines[row] += f"{name}: {unseen.classes[kind]} {100 * share:.0f} %{wrong}\n"

# %% slide="Two new words"
few = [*range(4), *range(20, 24)]
plots.image_grid(
    unseen.images[few],
    [lines[row].strip() for row in few],
    "New drawings, and what the new last layer says",
    columns=4,
    scale=1.7,
    alt="04/two_words",
)
plt.show()

# %%
for name, is_right in right.items():
    print(f"{name}: {int(is_right.sum())} of {len(unseen)} right")

# %% [markdown]
# This is transfer learning: six pictures and no training of the network, and it has two words for drawings.
# Breeds of dogs and the red fox are among its 1,000 names, so it had seen dogs and foxes, but only in photos.
# The pixels of six pictures do not get there, because another ground or tilt changes nearly all of them.
#
# Do not be carried away, for drawings by one piece of code are far more alike than foxes are.
# Section 6 ends with real photos of dogs and foxes, and [chapter 4d](04d_your_own_pictures.ipynb) does the same with your own and finds out what such a result is worth.
# Here we open the box: with a network so small that you can train it yourself, and a target so hard that it makes mistakes.

# %% [markdown]
# ## 3. Two tasks and a small model
#
# Somebody with plenty of data has trained a network on a **source task**.
# We have a related **target task** and only a few labels.
# *Transfer learning* means using for the target what was learned on the source.
#
# The next line says which of two stories you see.
# **Animals** goes from dog or cat to dog or fox, **tops** from pullover or coat to pullover or shirt.
# In both, one class is shared and one is new.

# %%
T = tasks.load_task(P.task, P.data_root, P.device)
old, new = T.rehearsal.classes, T.pool.classes
shared = new[0] if new[0] in old else "no class"
print(
    f"source task: {' or '.join(old)}; target task: {' or '.join(new)}; shared: {shared}"
)

# %% [markdown]
# Look at the second and third row of the figure: could you tell them apart at this size?
# That is the target task.

# %% slide="Two tasks and a model"
shown = {f"{old[1]} (source only)": T.source_test.images[T.source_test.labels == 1]}
shown |= {
    f"{name} (target)": T.test.images[T.test.labels == number]
    for number, name in enumerate(new)
}
plots.image_grid(
    torch.cat([images[:8] for images in shown.values()]) / 255,
    list(shown),
    "What the two tasks are made of",
    columns=8,
    alt="04/tasks",
)
plt.show()

# %% [markdown]
# The animals are from CIFAR-10 and CIFAR-100 and have 32 × 32 pixels.
# They are used if they are on your machine already, or after a download if you set `task="animals"`.
# The clothes are from Fashion-MNIST and come with the package.
# With `task="./FOLDER"` the chapter runs on pictures of your own, 24 or more of each class; then the source has nothing to do with the target.
# The study on such a folder is `vaetl run 04a -p task=FOLDER`.
#
# No image of the target task was used to train the source model, not even of the shared class.
# The target has a pool from which labels are drawn, a validation set and a test set, and these three share no image.

# %% slide="What you get for nothing"
made = tasks.source_models(T)
sources = [model.to(P.device) for model, _ in made]
source, facts = made[0]
show_table(
    {
        "classes": " or ".join(facts["classes"]),
        "data": facts["data"],
        "accuracy on test images of its own classes": (
            f"{100 * facts['test_accuracy']:.1f} %"
        ),
        "nine more, from other starts": "{:.1f} to {:.1f} %".format(
            *(
                100 * f([one["test_accuracy"] for _, one in made[1:]])
                for f in (min, max)
            )
        ),
        "training": f"{facts['epochs']} epochs, {facts['steps']:,} steps, "
        f"{facts['seconds']:.0f} s on {facts['machine']}",
        "work": f"{facts['flops']:.3g} FLOPs",
        "made by": f"`{facts['command']}`",
    },
    header=("the source model", ""),
)

# %% [markdown]
# The network has three blocks and a head.
# A **block** is a convolution followed by BatchNorm, ReLU and pooling, in whichever order costs less.
# The blocks together are the **body** (or *backbone*), which turns an image into 64 numbers, its **features**.
# The **head** is one linear layer that turns features into logits, one per class.

# %%
parts = list(source)
body, head = source[:-1], source.head
for name, part in source.named_children():
    print(f"{name}: {sum(p.numel() for p in part.parameters()):,} parameters")

# %% [markdown]
# ### What you get for nothing
#
# Before any training, take the source model as it is, and let what it calls its second class count as the new one.
# Whatever it takes for a coat is then called a shirt, and in the animals story whatever it takes for a cat is called a fox.
# This needs no label of the target task and not one step of training.
#
# Guess first: how many of the target's test images are right, if blind guessing gets 50 %?

# %%
predict("transfer.zero_labels")


# %%
@torch.no_grad()
def correct(model, images):
    """Whether each image gets its label: bool [images]."""
    model.eval()
    count = len(images.classes)
    return torch.cat(
        [model(x)[:, :count].argmax(1) == y for x, y in images.batches(200)]
    )


def accuracy(model):
    """Test accuracy on the target task (%)."""
    return 100 * correct(model, T.test).float().mean().item()


for_nothing = [accuracy(one) for one in sources]
mean, low, high = study.mean_interval(for_nothing)
print(
    f"{old[1]} called {new[1]}: {mean:.1f} % of the test images are right "
    f"[{low:.1f}, {high:.1f}], over {len(sources)} source models"
)
settle("transfer.zero_labels", mean)

# %% [markdown]
# A good part of the task is solved before it begins, because the model has seen thousands of labelled images of the shared class.
# This is what the article means when it says that the model already recognises dogs.
# So compare whatever transfer with labels reaches below with this number, too, and not only with training from scratch.

# %% [markdown]
# ## 4. A linear probe
#
# In the smallest kind of transfer you keep the body as it is and compute the features of the target images once.
# Then you train only a linear classifier on them, a **linear probe**, and the network not at all.
#
# Why should that work?
# If the body has learned what a sleeve or an ear is, then images of the new class may already lie apart from those of the shared one.
# We can look, although the features have 64 dimensions and the pixels 784 or 3,072.
# **PCA** (principal component analysis) picks the two directions along which the data vary most, after each dimension has been divided by its standard deviation.
#
# Compare the two panels, whose axes leave out the few images that lie farthest from all others.
# In which one would a straight line separate the classes better?

# %% slide="A linear probe looks at the features"
seen = {
    "pixels": T.test.images.flatten(1).cpu() / 255,
    "features of the source model": transfer.features(body, T.test),
}
axes = plots.panels(list(seen), alt="04/plane", height=3.6)
for axis, numbers in zip(axes, seen.values()):
    scaled = (numbers - numbers.mean(0)) / (numbers.std(0) + 1e-6)
    plane = scaled @ torch.linalg.svd(scaled, full_matrices=False).Vh[:2].T
    for kind, marker in zip(range(len(new)), cycle("o^sDvPX")):
        axis.scatter(
            *plane[T.test.labels.cpu() == kind].T,
            s=12,
            marker=marker,
            alpha=0.6,
            label=new[kind],
            color=plots.COLOURS[kind % len(plots.COLOURS)],
        )
    low, high = plane.quantile(torch.tensor([0.005, 0.995]), dim=0)
    room = 0.1 * (high - low)
    axis.set(xlabel="first component", ylabel="second component")
    axis.set(
        xlim=(float(low[0] - room[0]), float(high[0] + room[0])),
        ylim=(float(low[1] - room[1]), float(high[1] + room[1])),
    )
    axis.legend(frameon=False)
plt.show()

# %% [markdown]
# With the clothes, the classes lie side by side in the right panel and overlap in the left one.
# But two components are only a shadow of all the dimensions, and a picture can mislead.
# Let us measure it.
#
# ### Exercise 1: a linear probe · 15 minutes
#
# Write a probe with scikit-learn's `LogisticRegression(C=C, max_iter=2000)`.
# A small $C$ means strong *regularisation*, which keeps the weights small.
# Follow two rules:
#
# - **Standardise** each feature by subtracting its own mean and dividing by its own standard deviation.
#   Both are learned *from the training features* and used for both sets.
# - **Choose C on validation** by fitting one probe per strength and keeping the one with the best validation accuracy.
#   If several are equally good, take the smallest C.
#
# Return the chosen C and the labels that its probe predicts for the validation features.

# %% exercise="transfer.linear_probe"

# %% check="transfer.linear_probe"
linear_probe_checked = check("transfer.linear_probe", linear_probe)

# %% [markdown]
# Let us try it with ten labelled images per class, drawn at random, on the features and on the raw pixels.
# Which do you expect to be better, and by how much?

# %%
predict("transfer.pixels")

# %%
(draw,) = study.draw_labels(T.pool.labels, 10, 1, P.seed)
ten = T.pool.subset(draw.indices.to(P.device))
views = {
    "features": lambda images: transfer.features(body, images),
    "pixels": lambda images: images.images.flatten(1).cpu() / 255,
}
reached = {}
for name, see in views.items():
    x, x_validation, x_test = see(ten), see(T.validation), see(T.test)
    varying = (
        x.std(0) > 0
    )  # a pixel that is the same in all images has no standard deviation to divide by
    labelled = x[:, varying], ten.labels.cpu()
    per_cent = {}
    c, _ = linear_probe_checked(
        *labelled, x_validation[:, varying], T.validation.labels.cpu(), transfer.GRID
    )
    for of, x_of, images in (
        ("validation", x_validation, T.validation),
        ("test", x_test, T.test),
    ):
        y = images.labels.cpu()
        _, labels = linear_probe_checked(*labelled, x_of[:, varying], y, [c])
        per_cent[of] = 100 * (torch.as_tensor(labels) == y).float().mean().item()
    reached[name] = per_cent["test"]
    print(
        f"{name}: C = {c:g}, {per_cent['test']:.1f} % of the test images are right "
        f"({per_cent['validation']:.1f} % of the validation images)"
    )
settle("transfer.pixels", reached["features"] - reached["pixels"])

# %% [markdown]
# The 84 % on validation may flatter, because C was chosen on these very hundred images.
# Hold the number on test against the 77.5 % that this source model has without labels; the 76.8 % above are the mean of ten source models.
# Nor does the chosen C mean much, for the strengths from 0.00001 to 0.001 tie on the hundred validation images, and the rule takes the smallest.
# One draw of ten images proves little, because another ten may give another order, so chapter 4a repeats it.

# %% [markdown]
# ## 5. A new head
#
# The source head tells which of the two source classes an image shows.
# The target asks another question, but one class is shared.
# Since the head's weight matrix has one row per class, we keep the shared class's row with its bias and make a new row for the new class.
#
# How long should the new row be?
# Logits are products of features and rows.
# A row that is much longer than the others gives larger logits, and its class wins or loses everywhere.
# So the new row gets a random direction, the *mean norm* of the old rows, and the mean of their biases.
#
# ### Exercise 2: a new head · 12 minutes
#
# The argument `keep` maps old rows to new ones, so `{0: 0}` keeps row 0 as row 0.
# Draw all directions with `torch.randn(classes, d, generator=generator)`.


# %% exercise="transfer.new_head"

# %% check="transfer.new_head"
new_head_checked = check("transfer.new_head", new_head)

# %% [markdown]
# A small case shows it: the old rows have the norms 3 and 5, and the first is kept.

# %% tags=["nbval-check-output"]
rows, biases = torch.tensor([[3.0, 0.0], [0.0, 5.0]]), torch.tensor([0.5, 1.5])
weight, bias = new_head_checked(
    rows, biases, {0: 0}, 2, torch.Generator().manual_seed(0)
)
print("kept row:", weight[0].tolist(), "with bias", bias[0].item())
print(f"new row: norm {weight[1].norm():.2f}, bias {bias[1]:.2f}")

# %% [markdown]
# And what would a longer row do, with features that are never negative, as after a ReLU?

# %% tags=["nbval-check-output"]
some = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
kept_row, new_row = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
for longer in (0.5, 1, 1.5, 2):
    share = (some @ (longer * new_row) > some @ kept_row).float().mean()
    print(
        f"{longer} times as long: the new class wins {100 * share:.0f} % of the images"
    )


# %%
def with_new_head(source, task, seed, keep=None):
    """A copy of a source model with a head for a task's classes, which keeps the rows
    of the shared ones, or those of `keep`.
    """
    model = copy.deepcopy(source).to(P.device, memory_format=torch.channels_last)
    old, generator = model.head, torch.Generator().manual_seed(seed)
    weight, bias = new_head_checked(
        old.weight.detach().cpu(),
        old.bias.detach().cpu(),
        task.keep if keep is None else keep,
        len(task.pool.classes),
        generator,
    )
    model.head = nn.Linear(*weight.T.shape).to(P.device)
    model.head.weight.data, model.head.bias.data = (
        weight.to(P.device),
        bias.to(P.device),
    )
    return model


# %% [markdown]
# ### Why throw the coat's row away?
#
# Section 3 has just shown that the row of the coat serves for shirts, and here it gives way to a random one.
# In general nobody knows which old class, if any, stands for a new one, so a random row is the start that always works.
# What does it cost?
# We draw thirty such heads, ten for each of three source models.

# %%
starts = []
truth = T.test.labels.cpu()
for one in sources[:3]:
    x = transfer.features(one[:-1], T.test)
    for number in range(10):
        top = with_new_head(one, T, number).head.cpu()
        is_right = top(x).argmax(1) == truth
        starts.append(
            [100 * is_right[truth == c].float().mean() for c in range(len(new))]
        )
        starts[-1].append(100 * is_right.float().mean())
for name, share in zip([*new, "all classes"], torch.tensor(starts).T):
    print(f"{name}: {share.min():.1f} to {share.max():.1f} % right before training")

# %% [markdown]
# In the run shown here a head with a random row gets 72.0 to 80.5 % in all, so it is far from chance, while the two classes trade places.
# The kept row alone explains that: its logit is high for pullovers and low for everything else, and the random row's logit hardly depends on the class, so the two together act as a threshold on the first.
# Where that threshold lies is luck, and training has to find it.
#
# If you think that coats are like shirts, say so with `keep={0: 0, 1: 1}`, which keeps both rows.
# We take it along as a third start.

# %% [markdown]
# ## 6. Fine-tuning
#
# Training the whole network further is called **fine-tuning**.
# All of it may change, but the head is new and the body is not, so the body gets a smaller learning rate.
#
# ### Exercise 3: fine-tune · 15 minutes
#
# `source` is a trained network, an `nn.Sequential`, and `head` is a new last layer for the target's classes.
# Return a *copy* of the source with the new head in place of its last layer, trained by plain SGD on the cross-entropy.
# The head learns at `head_rate` and everything else at `body_rate`, in train mode, with one step per pair of `batches`.
# The source must stay as it is, since other targets will want it.


# %% exercise="transfer.fine_tune"

# %% check="transfer.fine_tune"
fine_tune_checked = check("transfer.fine_tune", fine_tune)

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
toy = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
before = copy.deepcopy(toy.state_dict())
batch = torch.randn(8, 3), torch.arange(8) % 2
tuned = fine_tune_checked(toy, nn.Linear(4, 2), [batch] * 5, 0.01, 0.1)
for name, value in tuned.state_dict().items():
    is_same = toy.state_dict()[name].equal(before[name])
    print(
        f"{name}: source {'as it was' if is_same else 'changed'}, "
        f"copy {'as it was' if value.equal(before[name]) else 'changed'}"
    )

# %% [markdown]
# Does it pay at once?
# We fine-tune on the same ten labels per class, the body at a fifth of the head's rate, and look at the test images before training and after every ten steps.
# Beside it the same loop runs from both kept rows, with a tenth of the rates from either start, and with a network that was never trained.
# Where does each line begin, and which of them end higher than they began?

# %%
predict("transfer.first_steps")


# %%
def ten_steps_at_a_time(start, head, rounds=8, slower=1):
    """Test accuracies (%) before fine-tuning and after every ten steps of it."""
    rates = 0.02 / slower, 0.1 / slower  # of the body and of the head
    model = copy.deepcopy(start)
    model[-1] = head
    curve = [accuracy(model)]
    for _ in range(rounds):
        batches = [b for epoch in range(10) for b in ten.batches(len(ten), seed=epoch)]
        head = copy.deepcopy(model[-1])
        model = fine_tune_checked(model, head, batches, *rates)
        curve.append(accuracy(model))
    return curve


kept = with_new_head(source, T, P.seed).head
both = with_new_head(source, T, P.seed, keep={0: 0, 1: 1}).head
torch.manual_seed(P.seed)
channels = T.test.images.shape[1]
nobody = nets.transfer_cnn(channels, len(new)).to(
    P.device
)  # the same network, never trained
curves = {
    "one row kept": ten_steps_at_a_time(source, kept),
    "both rows kept": ten_steps_at_a_time(source, both),
    "from scratch": ten_steps_at_a_time(nobody, copy.deepcopy(nobody[-1])),
}
slower = {
    "one row": ten_steps_at_a_time(source, kept, slower=10),
    "both rows": ten_steps_at_a_time(source, both, slower=10),
}
curves |= {f"{start}, rates / 10": curve for start, curve in slower.items()}

# %% slide="Eighty steps on twenty images"
plots.lines(
    {
        name: ([10 * number for number in range(len(curve))], curve)
        for name, curve in curves.items()
    },
    title="Your loop, on ten labels per class",
    x="steps",
    y="test accuracy (%)",
    alt="04/first_steps",
)
plt.show()

# %%
settle("transfer.first_steps", curves["from scratch"][-1])

# %% [markdown]
# The networks from the source begin where the kept rows have brought them, and the one from scratch begins near 50 %.
# In the run shown here two of the former end lower than they began, the one with both rows even by eight points.
# It is the rate that spoils them, because with a tenth of it the same loop ends about a point above its beginning, from either start.
# Those two dip as well, for the first steps on twenty images pull at features that another head was made for, but small steps leave enough to come back to.
# Eighty steps never bring the network from scratch near the others, yet the rates were not chosen for it: with rates of its own and early stopping it reaches 68.5 % in the records at the end of this section.
# So a pretrained network wants small rates, and even then twenty labels bring little beyond what the source knew, which is why chapter 4a has a line for *zero labels*.
# And nothing in this loop says when to stop, which the next one mends.
#
# ### In two phases, with early stopping
#
# In practice fine-tuning runs in two phases: the first trains the head alone on a body that is held fixed, and the second trains everything.
# The library fastai has the same two in its `fine_tune`, with other rates.
# `transfer.fine_tune` does this with **early stopping**.
# After each epoch it looks at validation, stops when that has not become better for some epochs (`patience`), and goes back to the best.
# So "twenty labels" is not the whole price, because the hundred labels of the validation set say when to stop, as they chose C for the probe.
#
# By how much will it be better than the untouched source model?

# %%
predict("transfer.ten_labels")

# %%
model = with_new_head(source, T, P.seed)
hits = {"before": correct(model, T.test)}
how = study.training_options(len(ten), P.steps)  # small batches where images are few
model, _ = transfer.fine_tune(
    model,
    ten,
    T.validation,
    parts=list(model),
    head_epochs=5,
    batch_size=how["batch_size"],
    epochs=how["epochs"],
    seed=P.seed,
)
hits["after"] = correct(model, T.test)
of = {name: T.test.labels == number for number, name in enumerate(new)}
show_table(
    [
        (
            f"{name} images recognised",
            *(f"{100 * hits[when][mask].float().mean():.0f} %" for when in hits),
        )
        for name, mask in of.items()
    ],
    header=("of the test images", "new head, untrained", "fine-tuned on ten a class"),
)
print(
    f"all classes: {accuracy(model):.1f} % fine-tuned, {accuracy(source):.1f} % with "
    "the untouched source model"
)
settle("transfer.ten_labels", accuracy(model) - accuracy(source))

# %% [markdown]
# Look at what it gets right and wrong before you believe the numbers.
# Would you have done better on the second row, and is it less sure there?

# %% slide="Right and wrong"
with torch.no_grad():
    shares = model(T.test.images / 255)[:, : len(new)].softmax(1)
sure, said = shares.max(1)
picked = [
    row
    for is_of_kind in (hits["after"], ~hits["after"])
    for row in is_of_kind.nonzero().flatten()[:6].tolist()
]
plots.image_grid(
    T.test.images[picked],
    [f"“{new[said[row]]}”\n{100 * sure[row]:.0f} % sure" for row in picked],
    "Six that it got right, and six that it got wrong",
    columns=6,
    scale=1.45,
    alt="04/answers",
)
plt.show()

# %% [markdown]
# ### And the network from section 1?
#
# All of this was a small network from a task next door, and the large one from ImageNet stands by.
# Chapter 4a has recorded a probe on its 1,280 numbers beside the other ways, on forty draws of ten labels per class.
# The network has seen a million photos, but never one of these grey pictures.

# %%
predict("transfer.imagenet")

# %%
clothes = study.recorded_study("04", "tops")
lead = study.paired(clothes, "ImageNet probe", "linear probe", "test accuracy", 20)
settle("transfer.imagenet", lead.effect)
if network:

    def see_large(images):
        """The large network's numbers; grey images become three equal channels."""
        return transfer.features(network, images.expand(-1, 3, -1, -1))

    large = fit(see_large(ten.images), ten.labels)
    is_hit = (
        large.predict(see_large(T.test.images[picked])) == T.test.labels[picked].cpu()
    )
    of_right = hits["after"][picked].cpu()
    for name, mask in {"right": of_right, "wrong": ~of_right}.items():
        print(
            f"of the {int(mask.sum())} above that were {name}, the large network gets "
            f"{int(is_hit[mask].sum())} right"
        )

# %% [markdown]
# Twelve pictures are an anecdote, so here is the record, for the clothes and for the article's own example: *photos* of dogs and foxes, with 32 × 32 pixels.
# Read each panel from below: where is the largest step?

# %% slide="What a million photos are worth"
stories = {"pullover or shirt": "tops", "dog or fox": "animals"}  # forty draws each
known_as = {
    "scratch": "from scratch",
    "raw pixels": "probe on pixels",
    "zero labels": "source as it is",
    "linear probe": "probe on the source",
    "fine-tuned": "source, fine-tuned",
    "ImageNet probe": "probe on ImageNet",
}
for axis, file in zip(
    plots.panels(list(stories), alt="04/imagenet", height=3.4), stories.values()
):
    recorded = study.recorded_study("04", file)
    for row, method in enumerate(known_as):
        values = recorded.values(method, "test accuracy", 20).values()
        mean, low, high = study.mean_interval(list(values))
        colour = plots.COLOURS[method == "ImageNet probe"]
        axis.plot((low, high), (row, row), "-", color=colour, linewidth=2)
        axis.plot(mean, row, "o", color=colour)
        axis.text(high + 1, row, f"{mean:.1f}", va="center", fontsize=9)
    axis.set_yticks(range(len(known_as)), list(known_as.values()), fontsize=9)
    axis.set(xlabel="test accuracy (%), ten labels a class", xlim=(50, 100))
plt.show()

# %% [markdown]
# The probe on ImageNet's features leads in both stories, and the fine-tuned source is next, about four points behind on the clothes and twenty on the photos.
# Dogs and foxes are among the things that ImageNet shows, so that is its home ground, and [chapter 4e](04e_which_layers_transfer.ipynb) has the differences with their intervals.
# The size alone is not enough: trained from scratch on as few labels, the large network ends at 57 % on the photos.
# For photos, then, begin with a large network that others have paid for; the small one is here because you can train it, open it, and see it fail.
#
# What have we seen?
# Here is everything that this chapter has tried on the clothes, or on your own task, with the labels that each has used.

# %%
ways = [("the source model as it is", "0", accuracy(source))]
for name, labels, value in (
    ("probe on pixels", f"{len(ten)} + {len(T.validation)}", reached["pixels"]),
    ("probe on features", f"{len(ten)} + {len(T.validation)}", reached["features"]),
    (
        "your loop, eighty steps, from scratch",
        f"{len(ten)}",
        curves["from scratch"][-1],
    ),
    ("your loop, one row kept", f"{len(ten)}", curves["one row kept"][-1]),
    ("your loop, both rows kept", f"{len(ten)}", curves["both rows kept"][-1]),
    *(
        (f"your loop, {start} kept, a tenth of the rates", f"{len(ten)}", curve[-1])
        for start, curve in slower.items()
    ),
    (
        "two phases with early stopping",
        f"{len(ten)} + {len(T.validation)}",
        accuracy(model),
    ),
):
    ways.append((name, labels, value))
if T.name == "tops":
    value = clothes.mean("ImageNet probe", "test accuracy", 20)
    labels = f"20 + {len(T.validation)}"
    ways.append(("probe on ImageNet's features, mean of forty draws", labels, value))
show_table(
    [(name, labels, f"{value:.1f} %") for name, labels, value in ways],
    header=("", "labels, training + validation", "test accuracy"),
)

# %% [markdown]
# With the small source nearly all of the way from 50 % was there for nothing.
# What twenty labels add is about one point in your loop at the small rates, and two at best in the ways that had another hundred labels to choose by.
# More comes from a better source than from a better way to use a small one.
# One draw of labels, one source model, one story: that is a result of one's own, and it decides nothing.
# Whether the gain is real, and how large, is asked by [chapter 4a](04a_is_the_gain_real.ipynb).

# %% [markdown]
# ## An open task
#
# Which twenty images should be labelled?
# Take those of the pool of which the source model is least sure, fine-tune on them, and compare with ten draws at random.
# Write down beforehand by how many points they must win.
# The task is answered when you have the eleven accuracies beside that number.

# %% [markdown]
# ## A challenge
#
# How cheaply can you fine-tune a source model until it tells 81 % of pullovers and shirts?
# The cell says what is asked and shows a first answer, and what random settings have reached.
# The goal is measured on the test images, so whoever hands over ten answers and keeps the best has chosen by them.
# Compare your tries on `T.validation` instead, and hand over one.
# In a notebook, copy the answer into a new cell, make it better, and hand it over.

# %%
challenge("transfer.cheapest")

# %% [markdown]
# ## Quiz
#
# **1.
# A source model tells pullovers from coats, and gets 74 % of pullovers and shirts right as it is.
# With twenty labels you reach 76 %.
# What did the labels add?**
#
# <details><summary>26 points over guessing.</summary>
#
# Guessing gets 50 %, but most of these points were there without any label.
# </details>
#
# <details><summary>2 points over what was there for nothing.</summary>
#
# Right, and one draw of labels cannot say whether the 2 points are real.
# </details>
#
# **2.
# Why is a linear probe on raw pixels in the comparison?**
#
# <details><summary>As a lower limit for every method.</summary>
#
# It is no lower limit, because on dress or shirt the probe is not shown to beat it.
# </details>
#
# <details><summary>To see whether the features are worth anything beyond the pixels.</summary>
#
# Right.
# "Better than scratch" can also mean that scratch is poor.
# </details>
#
# **3.
# The new row of a head is ten times as long as the kept one.
# What happens before training?**
#
# <details><summary>Its logits are large, and its class wins or loses nearly everywhere.</summary>
#
# Right.
# So it gets the norm of the old rows.
# </details>
#
# <details><summary>Nothing, because its direction is random.</summary>
#
# The direction decides where it wins, the length how much its say counts.
# </details>

# %%
quiz("04")
my_bets("04")

# %% [markdown]
# ## Take-away
#
# - Ask first what the source model does with no label at all, and what a probe on a large network does.
# - A probe trains no network, and tells what the features are worth beside the pixels.
# - Keep the shared row of the head, and give new rows the norm of the old ones.
# - Fine-tune a copy, the body at a smaller rate than the head, and stop early.

# %% [markdown]
# ## Further reading
#
# - Yosinski, Clune, Bengio and Lipson, *How transferable are features in deep neural networks?*
#   (2014), arXiv 1411.1792.
# - Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification* (2018), arXiv 1801.06146: rates by depth, gradual unfreezing.
# - Kornblith, Shlens and Le, *Do Better ImageNet Models Transfer Better?*
#   (2019), arXiv 1805.08974.
