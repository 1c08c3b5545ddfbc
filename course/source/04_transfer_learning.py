# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "04"
#     title: Transfer learning
#     minutes: {reading: 64, exercises: 85, cpu: 3, gpu: not yet measured}
#     requires: [vision]
# ---

# %% [markdown]
# # Transfer learning
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - reuse a trained network for a new task: as a probe, with a new head, with its last block trained, or with all of it trained;
# - freeze a network so that it really stays as it is;
# - give it a new head and keep what the old one knew;
# - prepare images as a pretrained network wants them;
# - compare methods fairly, with the same labels, the same validation, and paired differences with intervals;
# - say what transfer saves in time, work and labels, who paid for it, and when it does not help;
# - measure what a network forgets, and make it forget less.
#
# You need chapter 1 for training and chapter 2 for FLOPs.
# Two short companions follow, `04b` on text and `04c` on detection.

# %% [markdown]
# ## The claim that this chapter looks at
#
# The first article behind this course says, in our translation: *a model that tells dogs from cats learns to tell dogs from foxes much more easily and quickly.*
# Its own words are "molto più facile e veloce".
# The second one names where this is done, with networks trained on ImageNet, on text (BERT) and on COCO.
#
# Neither article gives a number, so this chapter asks for some.
# How far does the old model get with no new label at all?
# How many fewer labels does it need, how much less time, and is the training of the first model counted?
# Does transfer always help?
# And what becomes of the cats?

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
task: str | None = None  # tops (clothes), animals (cats, dogs, foxes), or auto
counts: list | None = None  # labels of each class in the study
draws: int | None = None  # times that labels are drawn anew
steps: int | None = None  # optimiser steps of a training, about and at most
deep: bool | None = None  # also run what is otherwise shown from a recorded run (long)
data_root: str | None = None  # a folder with your own copies of CIFAR and of photos

# %%
from vaetl_helpers.runtime import CourseError, record, report, setup, show_table

P = setup(
    "04",
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
import copy
import time
from functools import cache, partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats
from torch import nn

from vaetl_helpers import data, nets, plots, study, transfer, widgets
from vaetl_helpers.data import tasks
from vaetl_helpers.data.shifts import SHIFTS, shifted
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.hardware import count_flops
from vaetl_helpers.living.labels import labels_and_bill
from vaetl_helpers.output import record_id, show_record
from vaetl_helpers.training import classification_loss, evaluate, fit

T = tasks.load_task(P.task, P.data_root, P.device)
old, new = T.rehearsal.classes, T.pool.classes
shared = new[0] if new[0] in old else "no class"
print(
    f"source task: {old[0]} or {old[1]}; target task: {new[0]} or {new[1]}; shared: "
    f"{shared}"
)

# %% [markdown]
# ## 1. Two tasks and a model
#
# Somebody with plenty of data has trained a network on a **source task**.
# We have a related **target task** and only a few labels.
# *Transfer learning* means using for the target what was learned on the source.
#
# Two versions of this story run in this notebook, with the same code:
#
# - **animals** goes from the source task dog or cat to the target task dog or fox.
#   The pictures are from CIFAR-10 and CIFAR-100 and have 32 × 32 pixels.
#   They are used if they are on your machine already, or after a download if you set `task="animals"`;
# - **tops** goes from pullover or coat to pullover or shirt.
#   The pictures are from Fashion-MNIST and come with the package.
#
# In both stories one class is shared and one is new.
# The line above says which of them you see.
# Numbers from the other story, or from a longer run, are marked *recorded*.

# %%
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
    alt=f"three rows of eight images: {', '.join(shown)}",
)
plt.show()

# %% [markdown]
# Look at the second and third row: could you tell them apart at this size?
# That is the target task.
#
# No image of the target task was used to train the source model, not even of the shared class.
# The target has a pool from which labels are drawn, a validation set and a test set, and these three share no image.
# The one overlap is in the clothes story, where the source's test images and the images of section 8 share their pullovers with the target sets.

# %%
made = [
    tasks.source_model(T.name, number)
    for number in range(tasks.number_of_models(T.name))
]
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
# The animals story has one snag, because its dogs come from CIFAR-10 and its foxes from CIFAR-100.
# Two collections may differ in ways that have nothing to do with animals, so section 7 has a control.
#
# The network has three blocks and a head.
# A **block** is a convolution followed by BatchNorm, ReLU and pooling.
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
@torch.no_grad()
def correct(model, images):
    """Whether each image gets its label: bool [images]."""
    model.eval()
    return torch.cat([model(x)[:, :2].argmax(1) == y for x, y in images.batches(200)])


for_nothing = [100 * correct(one, T.test).float().mean().item() for one in sources]
mean, low, high = study.mean_interval(for_nothing)
print(
    f"{old[1]} called {new[1]}: {mean:.1f} % of the test images are right "
    f"[{low:.1f}, {high:.1f}], over {len(sources)} source models"
)

# %% [markdown]
# A good part of the task is solved before it begins, because the model has seen thousands of labelled images of the shared class.
# This is what the article means when it says that the model already recognises dogs.
# So compare whatever transfer with labels reaches below with this number, too, and not only with training from scratch.

# %% [markdown]
# ## 2. A linear probe
#
# In the smallest kind of transfer you keep the body as it is and compute the features of the target images once.
# Then you train only a linear classifier on them, a **linear probe**, and the network not at all.
#
# Why should that work?
# If the body has learned what a sleeve or an ear is, then images of the new class may already lie apart from those of the shared one.
# We can look, although the features have 64 dimensions and the pixels 784 or 3,072.
# **PCA** (principal component analysis) picks the two directions along which the data vary most, after each dimension has been divided by its standard deviation.
#
# Compare the two panels.
# In which one would a straight line separate the classes better?

# %%
images = T.test
views = {
    "pixels": images.images.flatten(1).cpu() / 255,
    "features of the source model": transfer.features(body, images),
}
axes = plots.panels(
    list(views),
    alt=f"{new[0]} and {new[1]} in the plane of two principal components, of pixels "
    "and of features",
    height=3.6,
)
for axis, x in zip(axes, views.values()):
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    plane = x @ torch.linalg.svd(x, full_matrices=False).Vh[:2].T
    for c, marker in enumerate("o^"):
        chosen = images.labels.cpu() == c
        axis.scatter(
            *plane[chosen].T,
            s=12,
            marker=marker,
            alpha=0.6,
            label=new[c],
            color=plots.COLOURS[c],
        )
    axis.set(xlabel="first component", ylabel="second component")
    axis.legend(frameon=False)
plt.show()

# %% [markdown]
# With the clothes, the classes lie side by side on the right and overlap on the left.
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

# %%
(draw,) = study.draw_labels(T.pool.labels, 10, 1, P.seed)
ten = T.pool.subset(draw.indices.to(P.device))
views = {
    "features": lambda images: transfer.features(body, images),
    "pixels": lambda images: images.images.flatten(1).cpu() / 255,
}
for name, see in views.items():
    x, x_validation = see(ten), see(T.validation)
    varying = (
        x.std(0) > 0
    )  # a pixel that is the same in all images has no standard deviation to divide by
    c, labels = linear_probe_checked(
        x[:, varying],
        ten.labels.cpu(),
        x_validation[:, varying],
        T.validation.labels.cpu(),
        transfer.GRID,
    )
    right = (torch.as_tensor(labels) == T.validation.labels.cpu()).float().mean()
    print(f"{name}: C = {c:g}, validation accuracy {100 * right:.1f} %")

# %% [markdown]
# One draw of ten images proves little, because another ten may give another order, so section 5 repeats it.

# %% [markdown]
# ## 3. Frozen means frozen
#
# To **freeze** a part of a network is to fix it while the rest is trained.
# Three things can change in a network:
#
# 1. its parameters, which the optimiser moves;
# 2. its **buffers**, which are no parameters.
#    BatchNorm keeps running means and variances of what flows through it, and updates them in every forward pass in train mode, with or without an optimiser;
# 3. its behaviour, because in train mode dropout drops units and BatchNorm normalises by the batch.
#
# In each channel BatchNorm computes $\gamma\,(x-\mu)/\sqrt{\sigma^2+\varepsilon}+\beta$.
# Here $\gamma$ and $\beta$ are parameters, and $\varepsilon$ keeps the denominator away from zero.
# In train mode $\mu$ and $\sigma^2$ are the batch's mean and variance.
# In eval mode they are the stored running ones, which each pass in train mode moves a tenth of the way towards the batch's.
#
# Turning off gradients stops only the first of the three, as the next figure shows.
# One copy of the source model has its gradients off and another is frozen.
# Target images merely flow through both in train mode, and nothing is trained.
# After every second batch we test both on the source's *own* task.
# The left panel shows how far the features have moved, as the length of the change divided by the length of the features, and the right one the accuracy.
# Before you look: should either of them change?

# %%
source = source.to(P.device, memory_format=torch.channels_last)
passed, passing = range(0, 21, 2), T.pool.images[T.pool.labels == 1] / 255
still = transfer.features(source[:-1], T.source_test, 200)
moved, accuracy = {}, {}
for name in ("only gradients off", "frozen"):
    model = copy.deepcopy(source)
    transfer.freeze(model) if name == "frozen" else model.requires_grad_(False)
    moved[name], accuracy[name] = [], []
    for number in passed:
        now = transfer.features(model[:-1], T.source_test, 200)
        moved[name].append(100 * ((now - still).norm() / still.norm()).item())
        accuracy[name].append(100 * evaluate(model, T.source_test)["accuracy"])
        model.train()
        for images in passing[16 * number : 16 * number + 32].split(16):
            model(images)
axes = plots.panels(
    ["How far the features moved", f"Accuracy on {old[0]} or {old[1]}"],
    alt="change of the features and source accuracy over 20 batches: constant when "
    "frozen, drifting when only gradients are off",
)
for axis, values, y in zip(
    axes, (moved, accuracy), ("change of the features (%)", "source accuracy (%)")
):
    curves = {name: (list(passed), numbers) for name, numbers in values.items()}
    plots.lines(
        curves,
        axis.get_title(),
        f"batches of {new[1]} that passed",
        y,
        alt="",
        axis=axis,
    )
axes[1].set_ylim(50, 100)
plt.show()

# %%
for name in moved:
    print(
        f"{name}: features moved by {moved[name][-1]:.1f} %, accuracy "
        f"{accuracy[name][0]:.1f} % → {accuracy[name][-1]:.1f} %"
    )

# %% [markdown]
# The frozen network stays where it was.
# The other one moved although no weight did, because its BatchNorm statistics drifted towards the new images.
# How much accuracy that costs depends on how different those images are.
# In any case, features that were computed once and kept, as for a probe, no longer fit.
# You will meet such a "fixed feature extractor" in the clinic of section 11.
#
# ### Exercise 2: freeze · 12 minutes
#
# Fix the given body itself and not a copy, with no gradients and with an eval mode that survives `model.train()`.
# That call reaches every part of a model, also yours, by calling the part's own `train`.
# What you return is not used, because the function must change the body itself.


# %% exercise="transfer.freeze"

# %% check="transfer.freeze"
freeze_checked = check("transfer.freeze", freeze)

# %% [markdown]
# The proof is bit by bit: after fifty steps of training, every parameter and every buffer is compared.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
toy = nn.Sequential(
    nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)), nn.Linear(8, 2)
)
freeze_checked(toy[0])
before = copy.deepcopy(toy.state_dict())
adam = torch.optim.Adam(toy.parameters())
for _ in range(50):
    toy.train()
    adam.zero_grad()
    nn.functional.cross_entropy(
        toy(torch.randn(16, 6)), torch.randint(2, (16,))
    ).backward()
    adam.step()
for name, value in toy.state_dict().items():
    print(f"{name}: {'the same bits' if value.equal(before[name]) else 'changed'}")

# %% [markdown]
# The package's `transfer.freeze` does the same for every part inside, and `transfer.unfreeze` puts everything back.

# %% [markdown]
# ## 4. A new head, and rates by depth
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
# ### Exercise 3: a new head · 12 minutes
#
# The argument `keep` maps old rows to new ones, so `{0: 0}` keeps row 0 as row 0.
# Draw all directions with `torch.randn(classes, d, generator=generator)`.


# %% exercise="transfer.new_head"

# %% check="transfer.new_head"
new_head_checked = check("transfer.new_head", new_head)

# %% [markdown]
# Training the whole network further is called **fine-tuning**.
# All of it may change, but the head is new and the body is not, so fine-tuning usually runs in two phases.
# The first trains the head alone on the frozen body, and the second trains everything.
# The library fastai has the same two in its `fine_tune`, with other rates.
# The second uses **discriminative rates**, so that the first layers, which see edges, learn slowest and the head learns fastest.
# Howard and Ruder (2018) divide the rate by 2.6 from one part to the part before it:
#
# $$\eta_{\ell} = \eta \,/\, 2.6^{\,L-\ell}$$
#
# Here $\ell = 1 \dots L$ numbers the parts from the input to the head, $\eta$ is the head's rate (`rate`), and 2.6 is `factor`.
# In our second phase all rates are halved.
# In each phase the rate rises and falls again, which is known as *one cycle*.
#
# ### Exercise 4: groups of parameters · 10 minutes
#
# An optimiser takes a list of dicts `{"params": [...], "lr": ...}`.
# Make one for each part that has something to train.
# A frozen part gives no group, but it counts in the depth.


# %% exercise="transfer.param_groups"

# %% check="transfer.param_groups"
param_groups_checked = check("transfer.param_groups", param_groups)

# %% tags=["nbval-check-output"]
net = nets.transfer_cnn()
for group, name in zip(
    param_groups_checked(list(net), 1e-3, 2.6), dict(net.named_children())
):
    print(f"{name}: rate {group['lr']:.2e}")
print(
    "gradual unfreezing opens:",
    [len(opened) for opened in transfer.gradual_unfreezing(list(net))],
    "parts, the head first",
)

# %% [markdown]
# The last line belongs to a cousin from the same paper, *gradual unfreezing*, which trains the head alone and then opens one more part after another.
#
# Now we fine-tune once, with ten labels per class.
# The loop is the one from chapter 1, and `transfer.fine_tune` runs its two phases with **early stopping**.
# After each epoch it looks at validation, stops when that has not become better for some epochs (`patience`), and goes back to the best.
# We compare the network with its new head *before* any training and after it, on the test images of both target classes.

# %%
HEAD_EPOCHS = 5


def with_new_head(source, keep, seed):
    """A copy of a source model with a head for two target classes that keeps the rows
    of `keep`.
    """
    model = copy.deepcopy(source).to(P.device, memory_format=torch.channels_last)
    old, generator = model.head, torch.Generator().manual_seed(seed)
    weight, bias = new_head_checked(
        old.weight.detach().cpu(), old.bias.detach().cpu(), keep, 2, generator
    )
    model.head = nn.Linear(*weight.T.shape).to(P.device)
    model.head.weight.data, model.head.bias.data = (
        weight.to(P.device),
        bias.to(P.device),
    )
    return model


model = with_new_head(source, T.keep, P.seed)
hits = {"before": correct(model, T.test)}
how = study.training_options(len(ten), P.steps)  # small batches where images are few
model, _ = transfer.fine_tune(
    model,
    ten,
    T.validation,
    parts=list(model),
    head_epochs=HEAD_EPOCHS,
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

# %% [markdown]
# Before training, the kept row competes with a row of random direction, so how often it recognises the shared class is a matter of luck, as another `seed` will show you.
# Training has to balance the two rows.
#
# ### Exercise 5: fine-tune · 15 minutes
#
# `transfer.fine_tune` does more than a first version needs, so write the core of it yourself.
# `source` is a trained network, an `nn.Sequential`, and `head` is a new last layer for the target's classes.
# Return a *copy* of the source with the new head in place of its last layer, trained by plain SGD on the cross-entropy.
# The head learns at `head_rate` and everything else at `body_rate`, in train mode, with one step per pair of `batches`.
# The source must stay as it is, since other targets will want it.


# %% exercise="transfer.fine_tune"

# %% check="transfer.fine_tune"
fine_tune_checked = check("transfer.fine_tune", fine_tune)

# %% [markdown]
# Does it pay at once?
# We fine-tune on the same ten labels per class, the body at a fifth of the head's rate, and look at the test images before training and after every ten steps.
# Beside it the same loop runs with a network that was never trained.
# Where does each line begin, and does the upper one rise at all?


# %%
def ten_steps_at_a_time(start, head, rounds=8):
    """Test accuracies (%) before fine-tuning and after every ten steps of it."""
    model = copy.deepcopy(start)
    model[-1] = head
    curve = [100 * correct(model, T.test).float().mean().item()]
    for _ in range(rounds):
        batches = [b for epoch in range(10) for b in ten.batches(len(ten), seed=epoch)]
        head = copy.deepcopy(model[-1])
        model = fine_tune_checked(model, head, batches, 0.02, 0.1)
        curve.append(100 * correct(model, T.test).float().mean().item())
    return curve


kept = with_new_head(source, T.keep, P.seed).head
torch.manual_seed(P.seed)
channels = T.test.images.shape[1]
nobody = nets.transfer_cnn(channels).to(P.device)  # the same network, never trained
curves = {
    "fine-tuned": ten_steps_at_a_time(source, kept),
    "from scratch": ten_steps_at_a_time(nobody, copy.deepcopy(nobody[-1])),
}
plots.lines(
    {
        name: ([10 * number for number in range(len(curve))], curve)
        for name, curve in curves.items()
    },
    title="Your loop, on ten labels per class",
    x="steps",
    y="test accuracy (%)",
    alt="Test accuracy over steps, fine-tuned and from scratch.",
)
plt.show()

# %% [markdown]
# The network from the source begins where the kept row has brought it, and the one from scratch begins near 50 %.
# Eighty steps on twenty images bring the second nearer, while the first mostly stays where it was.
# So what the source knew is worth more here than these labels, and that is why the next section has a line for *zero labels*.

# %% [markdown]
# ## 5. Transfer and scratch, compared fairly
#
# To test the claim we compare five methods:
#
# - **zero labels** is the source model as it is, as in section 1;
# - **scratch** is the same network without a source task, trained on the target labels alone;
# - **raw pixels** is logistic regression on the pixels, with no network at all;
# - **linear probe** is logistic regression on the source model's features;
# - **fine-tuned** is the source model with all parts trained, as in section 4.
#
# The same rules hold for every method:
#
# - The **same labels**: a *draw* picks the labelled images at random, and every method gets the same draw.
#   So we can look at the difference *within* a draw, and what the draw did to both cancels out.
# - The **same validation set** for early stopping and for C: 50 images per class.
#   Its labels are labels, too, and they come on top of those that we count, for every method alike.
# - The **same tuning**: the learning rates of scratch and of fine-tuning were chosen from the same three values (0.001, 0.003, 0.01).
#   That was done on other draws from the same pool, judged on the same validation images, while C is chosen in each draw.
# - The **test set** chooses nothing.
#
# Each mean difference gets a 95 % interval.
# It contains the variance between draws, a correction for draws that share images (after the idea of Nadeau and Bengio 2003), and the variance of the test images.
# Ten source models take turns from draw to draw, so that the interval holds for such models in general and not for one.
# The verdict is *supported* if the interval lies above 0, *contradicted* if it lies below, *no gain* if it lies within ±1 point, and *undecided* otherwise.
# Below 5 draws it is always undecided.
#
# Make enough comparisons and some will look significant by luck.
# So two comparisons were named beforehand as the **primary** ones, the probe against scratch at 10 labels per class and fine-tuning against scratch at 100.
# Their verdicts are adjusted for each other (Holm 1979), but the intervals are not.
# All others are **exploratory** and give hints for another study.

# %% [markdown]
# Compare the rows by two questions: where does each part begin, and is it trained?
# The last method comes further down.
#
# {diagram: frozen}


# %%
TUNED = {  # rates of scratch, and of the head in fine-tuning
    "tops": {"scratch": 1e-2, "fine-tuned": 3e-3},
    "animals": {"scratch": 1e-3, "fine-tuned": 1e-2},
}
# Not tuned again:
TUNED |= dict.fromkeys(("dresses", "shirts"), TUNED["tops"])
TUNED["wolves"] = TUNED["animals"]
RATES = TUNED[T.name]
one = T.pool.images[:1] / 255, T.pool.labels[:1]
head_only = with_new_head(source, T.keep, 0)
transfer.freeze(head_only[:-1])
work = {
    "all": count_flops(with_new_head(source, T.keep, 0), *one),
    "head": count_flops(head_only, *one),
}  # for one image
print(
    f"one image in training: {work['all'] / 1e6:.1f} million FLOPs for the whole "
    "network,"
)
print(f"{work['head'] / 1e6:.1f} million for the head on a frozen body")

# %% [markdown]
# The study learns from each run which test images it gets right and, after each epoch, its validation accuracy and what it has spent so far.


# %%
def outcome(task, model, *phases):
    """The results of a run; `phases` are pairs (history, FLOPs for one image)."""
    rows = [(row, flops) for history, flops in phases for row in history.rows]

    def spent(values):
        return torch.tensor(list(values)).cumsum(0)

    return {
        "test accuracy": correct(model, task.test),
        **on_shifted(task, partial(correct, model)),
        "validation curve": torch.tensor(
            [100 * row["validation_accuracy"] for row, _ in rows]
        ),
        "steps by epoch": spent(row["steps"] for row, _ in rows),
        "seconds by epoch": spent(row["seconds"] for row, _ in rows),
        "FLOPs by epoch": spent(row["images"] * flops for row, flops in rows),
    }


def on_shifted(task, is_right):
    """The accuracy on shifted test images (%), of each shift and of all by image."""
    right = {kind: is_right(shifted(task.test, kind)).cpu() for kind in SHIFTS}
    of_each = {f"accuracy, {kind}": 100 * r.float().mean() for kind, r in right.items()}
    by_image = 100 * torch.stack(list(right.values())).float().mean(0)
    return of_each | {"shifted accuracy": by_image}


def labelled(task, draw):
    """The labelled images of a draw."""
    return task.pool.subset(draw.indices.to(P.device))


def options(images, draw):
    """What every training in this study shares: about P.steps steps, patience."""
    return study.training_options(len(images), P.steps) | {"seed": draw.seed}


def untrained(task):
    """The source model's network, with random weights."""
    model = nets.transfer_cnn(
        task.pool.images.shape[1], 2, facts["architecture"]["width"]
    )
    return model.to(P.device, memory_format=torch.channels_last)


def from_scratch(task, images, draw, rate=None):
    """An untrained network, trained on the images, and its history."""
    model = untrained(task)
    rate = rate or TUNED[task.name]["scratch"]
    adam = torch.optim.Adam(model.parameters(), rate, fused=True)
    history = transfer.fit_best(
        model, images, task.validation, optimizer=adam, **options(images, draw)
    )
    return model, history


def scratch(task, source, draw, rate=None):
    model, history = from_scratch(task, labelled(task, draw), draw, rate)
    return outcome(task, model, (history, work["all"]))


def fine_tuned(task, source, draw, rate=None):
    model, images = with_new_head(source, task.keep, draw.seed), labelled(task, draw)
    how = options(images, draw) | {"parts": list(model), "head_epochs": HEAD_EPOCHS}
    how["rate"] = rate or TUNED[task.name]["fine-tuned"]
    model, (first, second) = transfer.fine_tune(model, images, task.validation, **how)
    return outcome(task, model, (first, work["head"]), (second, work["all"]))


def zero_labels(task, source, draw):
    """The source model as it is: what it calls its second class has the new name."""
    best = 100 * correct(source, task.validation).float().mean()
    return {
        "test accuracy": correct(source, task.test),
        **on_shifted(task, partial(correct, source)),
        "validation curve": best[None].cpu(),
    }


# %% [markdown]
# Next come the two methods that train no network.
# The package's `transfer.linear_probe` is your exercise with a little more comfort.
# In FLOPs, a probe spends one pass of the body over the labelled images.
# In seconds it spends that pass, the features of the validation images, and the fits of all settings.


# %%
def features_of(images, source):
    return transfer.features(source[:-1], images, 200)


def pixels_of(images, source):
    return images.images.flatten(1).cpu() / 255


def probe(see, task, source, draw):
    """A linear probe on what `see` makes of images."""
    started = time.perf_counter()
    images = labelled(task, draw)
    classifier = transfer.linear_probe(
        see(images, source),
        images.labels,
        see(task.validation, source),
        task.validation.labels,
    )
    seconds = time.perf_counter() - started
    best = classifier.accuracy(see(task.validation, source), task.validation.labels)

    def is_right(images):
        return classifier.predict(see(images, source)) == images.labels.cpu()

    return {
        "test accuracy": is_right(task.test),
        **on_shifted(task, is_right),
        "validation curve": torch.tensor([100 * best]),
        "seconds by epoch": torch.tensor([seconds]),
        # Pixels pass through no network.
        "FLOPs by epoch": torch.tensor(
            [float(work["head"] * len(images) * (see is features_of))]
        ),
    }


# %% [markdown]
# Four more methods run only with `deep=True`, and are otherwise recorded.
# **LP-FT** (Kumar et al. 2022) fine-tunes from the head of a linear probe, so that a random head does not pull at good features.
# **Last block** freezes the first two blocks.
# **Self-training** needs no source model, because a network from scratch labels all other images of the pool and a second network learns from its answers.
# Zoph et al. (2020, arXiv 2006.06882) found that it can help where pretraining does not.
# The **ImageNet probe** is a linear probe on a network that was trained on a million photos of 1,000 classes.
# Most people would reuse such a network, and section 10 is about it.


# %%
def lp_ft(task, source, draw):
    model = copy.deepcopy(source).to(P.device, memory_format=torch.channels_last)
    images = labelled(task, draw)
    see = [features_of(part, source) for part in (images, task.validation)]
    model.head = (
        transfer.linear_probe(see[0], images.labels, see[1], task.validation.labels)
        .as_linear()
        .to(P.device)
    )
    how = options(images, draw) | {
        "parts": list(model),
        "rate": RATES["fine-tuned"],
        "head_epochs": 0,
    }
    model, (_, history) = transfer.fine_tune(model, images, task.validation, **how)
    return outcome(task, model, (history, work["all"]))


def last_block(task, source, draw):
    model = with_new_head(source, task.keep, draw.seed)
    transfer.freeze(model.block1), transfer.freeze(model.block2)
    adam = torch.optim.Adam(
        transfer.param_groups(list(model), RATES["fine-tuned"], model=model), fused=True
    )
    images = labelled(task, draw)
    history = transfer.fit_best(
        model, images, task.validation, optimizer=adam, **options(images, draw)
    )
    return outcome(task, model, (history, work["all"]))


def self_training(task, source, draw):
    images = labelled(task, draw)
    teacher, first = from_scratch(task, images, draw)
    pool = task.pool
    with torch.no_grad():
        answers = teacher.eval()(pool.images / 255).argmax(1)
    answers[draw.indices.to(answers.device)] = images.labels
    taught = data.ImageSet(pool.images, answers, pool.classes)
    student, second = from_scratch(task, taught, draw)
    return outcome(task, student, (first, work["all"]), (second, work["all"]))


@cache
def of_imagenet(name):
    """Features of a task's images, by a network that was trained on ImageNet."""
    task = tasks.load_task(name, P.data_root, P.device)
    large = transfer.backbone("efficientnet-lite0").to(P.device)
    sets = {"pool": task.pool, "validation": task.validation, "test": task.test}
    sets |= {kind: shifted(task.test, kind) for kind in SHIFTS}
    return {
        part: transfer.features(large, images.images.expand(-1, 3, -1, -1))
        for part, images in sets.items()
    }


def imagenet_probe(task, source, draw):
    see = of_imagenet(task.name)
    classifier = transfer.linear_probe(
        see["pool"][draw.indices],
        task.pool.labels[draw.indices.to(P.device)],
        see["validation"],
        task.validation.labels,
    )
    right = {
        part: classifier.predict(see[part]) == task.test.labels.cpu()
        for part in ("test", *SHIFTS)
    }
    by_image = 100 * torch.stack([right[kind] for kind in SHIFTS]).float().mean(0)
    return {
        "test accuracy": right["test"],
        **{f"accuracy, {kind}": 100 * right[kind].float().mean() for kind in SHIFTS},
        "shifted accuracy": by_image,
    }


def from_source_of_draw(run, task, sources, draw):
    """A run with the source model whose turn it is in this draw."""
    return run(task, sources[draw.pretrain_seed], draw)


def methods(task, sources, names=None):
    """The study's methods on a task, or those that are named."""
    runs = {
        "zero labels": zero_labels,
        "scratch": scratch,
        "fine-tuned": fine_tuned,
        "linear probe": partial(probe, features_of),
    }
    runs["raw pixels"] = partial(probe, pixels_of)
    if P.deep:
        runs |= {"LP-FT": lp_ft, "last block": last_block}
        runs |= {"self-training": self_training, "ImageNet probe": imagenet_probe}
    settings = {"steps": P.steps, "rates": TUNED[task.name]}
    return [
        study.Method(
            name, partial(from_source_of_draw, runs[name], task, sources), settings
        )
        for name in names or runs
    ]


# %% [markdown]
# The learning rates in `RATES` come from the following tuning study, one per story.
# It runs with `deep=True`, draws other labels and judges on the validation images.

# %%
TUNING = {"scratch": scratch, "fine-tuned": fine_tuned}
if P.deep:
    tried = [(name, rate) for name in TUNING for rate in (1e-3, 3e-3, 1e-2)]
    candidates = [
        study.Method(
            f"{name}, rate {rate}",
            partial(TUNING[name], T, source.to(P.device), rate=rate),
            {"steps": P.steps},
        )
        for name, rate in tried
    ]
    sizes = [2 * count for count in (10, 100)]
    tuning = study.run_study(
        f"{T.name}: tuning",
        candidates,
        sizes,
        5,
        labels=T.pool.labels,
        seed=P.seed + 1000,
        out=P.table_path(f"{T.name}/tuning"),
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
# The function `run_study` draws the labels, seeds each run, and keeps what comes back.
# We begin with the fewest labels.

# %%
METHODS = methods(T, sources)
how = {
    "labels": T.pool.labels,
    "data": T.name,
    "seed": P.seed,
    "pretrain_seeds": range(len(sources)),
}
few, *more = [2 * count for count in P.counts]  # of both classes together
table = study.run_study(
    T.name, METHODS, [few], P.draws, out=P.table_path(f"{T.name}/{few}"), **how
)

# %% [markdown]
# Then we go on with more labels.

# %%
for count in more:
    later = study.run_study(
        T.name, METHODS, [count], P.draws, out=P.table_path(f"{T.name}/{count}"), **how
    )
    table.add(later)
if kept := P.table_path(T.name):
    table.write(kept)

# %%
PRIMARY = [("linear probe", "scratch", 20), ("fine-tuned", "scratch", 200)]
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
effects = {
    (a, b, n): study.paired(table, a, b, "test accuracy", n)
    for n in (few, *more)
    for a, b in pairs
}


def accuracy_id(a, b, count):
    """The id of a difference in test accuracy at `count` labels a class."""
    return record_id("04", "accuracy", (a, b), f"{count} a class")


def difference(a, b, n, e, data):
    """The record of a difference in test accuracy at n labels of both classes."""
    name = f"{a} − {b}, {n // 2} a class"
    return e.to_record(name, "points", id=accuracy_id(a, b, n // 2), data=data)


verdicts = {key: f"{study.verdict(e)} (exploratory)" for key, e in effects.items()}
primary = [key for key in PRIMARY if key in effects]
verdicts |= dict(zip(primary, study.verdicts([effects[key] for key in primary])))
show_table(
    [
        (
            f"{a} − {b}",
            n // 2,
            f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]",
            e.n,
            verdicts[a, b, n],
        )
        for (a, b, n), e in effects.items()
    ],
    header=(
        "difference",
        "labels a class",
        "points, with 95 % interval",
        "draws",
        "verdict",
    ),
    records=[difference(a, b, n, e, T.name) for (a, b, n), e in effects.items()],
)

# %% [markdown]
# The learning curves show accuracy over the number of labels, with 95 % intervals for the mean over draws.
# Full points were run here, and open ones are recorded, with more counts.
# Look at which lines start high on the left, and whether they meet on the right.

# %%
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
    f"{new[0]} or {new[1]}",
    "test accuracy (%)",
    alt="test accuracy over the number of labels for scratch, fine-tuning, a linear "
    "probe and raw pixels",
)
axis.set_xlabel("training labels of both classes together")
axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# On pullover or shirt, fine-tuning and the probe start some ten points above scratch.
# With 200 labels in all about five points are left, so the lines have come closer but have not met.
# The next cell says which of these differences the draws decide.


# %%
SAID = {
    "supported": "{a} is better than {b}",
    "contradicted": "{a} is worse than {b}",
    "no gain": "{a} and {b} differ by less than a point",
    "undecided": "these draws do not decide between {a} and {b}",
}
for a, b, n in primary:
    e, said = effects[a, b, n], SAID[verdicts[a, b, n]].format(a=a, b=b)
    print(
        f"{n // 2} labels a class: {said} ({e.effect:+.1f} points [{e.low:+.1f}, "
        f"{e.high:+.1f}])."
    )

# %% [markdown]
# ### The article's own example
#
# The article speaks of dogs, cats and foxes, so here they are, recorded under the same rules.
# The source model tells dogs from cats, and the target is dog or fox.
# Beside our own small source model stands the network that was trained on ImageNet.
# Before you look, guess which line starts highest, and how far the untouched source model gets, which has no label at all.

# %%
OF_ANIMALS = (
    "ImageNet probe",
    "fine-tuned",
    "linear probe",
    "zero labels",
    "scratch",
    "raw pixels",
)
try:
    axis = plots.learning_curves(
        study.recorded_table("04", "animals"),
        "test accuracy",
        "dog or fox, recorded",
        "test accuracy (%)",
        alt="test accuracy over the number of labels on dog or fox, for an ImageNet "
        "probe, fine-tuning, a linear probe, the untouched source model, scratch and "
        "raw pixels",
        methods=OF_ANIMALS,
    )
    axis.set_xlabel("training labels of both classes together")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
except CourseError as error:
    print(error)
plt.show()

# %% [markdown]
# ANIMALS_TEXT
#
# Here are the comparisons of the other story as numbers, recorded.
# In an interval, "open" means that there is no end on that side.


# %%
def show_recorded(task, ids, data=None):
    """A table of recorded numbers, with the machine and the date."""
    found = study.find_recorded("04", ids, task=task, data=data or task)
    rows = []
    for r in found:
        low, high = (f"{x:.3g}" if x else "open" for x in (r["low"], r["high"]))
        none = 1 if r["unit"] == "times" else 0  # what no difference is
        where = (
            f"above {none}"
            if (r["low"] or none) > none
            else f"below {none}"
            if (r["high"] or none) < none
            else ""
        )
        where = where or ("is open" if "open" in (low, high) else f"includes {none}")
        place = where if r["unit"] in ("times", "points") else ""
        rows.append(
            (r["name"], f"{r['value']:.3g} [{low}, {high}] {r['unit']}", place, r["n"])
        )
    if rows:
        title = f"{data or task}, {found[0]['label']}"
        show_table(rows, header=(title, "value [95 % interval]", "the interval", "n"))


other_story = "animals" if T.name == "tops" else "tops"
show_recorded(other_story, [accuracy_id(a, b, n) for n in (10, 100) for a, b in pairs])

# %% [markdown]
# Do both stories agree on the primary comparisons?
# In our recorded run of the animals the probe's interval at 10 labels includes 0, while fine-tuning is above scratch.
# So tiny a source model, with about 81 % on its own task, gives features that need some adapting.
#
# Four more methods have been recorded in this story.

# %%
more_methods = [
    ("LP-FT", "fine-tuned"),
    ("last block", "fine-tuned"),
    ("self-training", "scratch"),
    ("fine-tuned", "self-training"),
    ("ImageNet probe", "fine-tuned"),
]
show_recorded(
    T.name, [accuracy_id(a, b, n) for n in (10, 100) for a, b in more_methods]
)

# %% [markdown]
# ### On pictures that are not so clean
#
# All these test images come from where the labelled ones came from, but in use pictures are darker, turned or out of focus.
# A *shifted* test set has the same images and labels after something was done to the pixels: noise, a turn by 20°, less contrast, blur.
# No method has seen any of it in training.
#
# Kumar et al. (2022, arXiv 2202.10054) say that fine-tuning *distorts* good features, so that it gains where test images look like the training images and loses against a frozen body where they do not.
# Do you expect that here, with so small a body?
# The first table shows each shift, and in the second you can compare the clean images with the mean of the four shifts.

# %%
SHOWN = [m.name for m in METHODS if m.name != "raw pixels"]
columns = ["test accuracy", *(f"accuracy, {kind}" for kind in SHIFTS)]
last_count = (few, *more)[-1]
show_table(
    [
        (name, *(f"{table.mean(name, metric, last_count):.1f}" for metric in columns))
        for name in (*SHOWN, "raw pixels")
    ],
    (f"accuracy (%), {last_count // 2} labels a class", "clean", *SHIFTS),
)

# %%
SHIFT_PAIRS = [("fine-tuned", "linear probe"), ("fine-tuned", "scratch")]
if P.deep:
    SHIFT_PAIRS += [("LP-FT", "fine-tuned"), ("LP-FT", "linear probe")]
rows, records = [], []
for a, b in SHIFT_PAIRS:
    for n in (few, *more):
        clean = study.paired(table, a, b, "test accuracy", n)
        e = study.paired(table, a, b, "shifted accuracy", n)
        both = (f"{x.effect:+.1f} [{x.low:+.1f}, {x.high:+.1f}]" for x in (clean, e))
        rows.append((f"{a} − {b}", n // 2, *both))
        records.append(
            e.to_record(
                f"{a} − {b} on shifted images, {n // 2} a class",
                "points",
                id=record_id("04", "shifted", (a, b), f"{n // 2} a class"),
                data=T.name,
            )
        )
header = ("points, with 95 % interval", "labels a class", "clean", "shifted")
show_table(rows, header, records)

# %% [markdown]
# The recorded runs of both stories include LP-FT, too.

# %%
SHIFT_IDS = [
    record_id("04", "shifted", pair, f"{n} a class")
    for pair in [
        ("fine-tuned", "linear probe"),
        ("LP-FT", "fine-tuned"),
        ("LP-FT", "linear probe"),
    ]
    for n in (10, 100)
]
for name in ("tops", "animals"):
    show_recorded(name, SHIFT_IDS)

# %% [markdown]
# ### From probabilities to decisions
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
widgets.thresholds(
    alt="Left: confusion table of validation images. Right: precision over recall, "
    "one line a draw, a dot at the chosen threshold."
)
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

# %% [markdown]
# ## 6. What transfer saves
#
# The claim of the article is about *time*, so the question is not only which method is better at the end.
# In each draw we take as the target an accuracy that both methods reach, namely the lower of their two best validation accuracies.
# One method's own best would favour that method, since it stands on its luckiest epoch, and the other one may never meet it.
# Then we ask how much each method spent until it was there.
# Epochs spent waiting for early stopping to fire are charged to no method.
#
# Steps and FLOPs are counted exactly, so they decide.
# Seconds come from one timing on one machine and stand beside them without an interval.
# The accuracy is that on validation data, since the test set may not decide when to stop.
#
# The first table sets training against transfer.

# %%
COSTS = ("steps", "FLOPs", "seconds")


def means_to_target(method, other, n):
    """What a method spends until both have the target: means of the draws, as texts."""
    targets = study.shared_targets(table, method, other, n)
    spent = [study.costs_to(table, method, cost, n, targets).values() for cost in COSTS]
    return [f"{np.mean([one.value for one in runs]):,.3g}" for runs in spent]


rows = [
    (
        f"the source model, once ({T.name})",
        "",
        "",
        *(f"{facts[cost.lower()]:,.3g}" for cost in COSTS),
    )
]
for n in (few, *more):
    for method, other in (("scratch", "fine-tuned"), ("fine-tuned", "scratch")):
        accuracy = table.mean(method, "test accuracy", n)
        spent = means_to_target(method, other, n)
        rows.append((method, n // 2, f"{accuracy:.1f} %", *spent))
show_table(
    rows,
    header=("training against transfer", "labels a class", "test accuracy", *COSTS),
)

# %% [markdown]
# The costs are means over draws of what each method spent until it had the target.
# We look after whole epochs only, so that the smallest cost of a training is one epoch.
# The difference in seconds is small: on tasks as little as these, transfer saves a fraction of a second.
# What counts is the ratio, because it is what a larger task would multiply.
#
# So we compare costs as **ratios** within a draw, scratch's cost divided by the other's, and a value above 1 means a saving.

# %%
savings = {}
for n in (few, *more):
    for method, cost in (
        ("fine-tuned", "steps"),
        ("fine-tuned", "FLOPs"),
        ("linear probe", "FLOPs"),
    ):
        savings[method, cost, n] = study.adaptation_ratio(
            table, method, "scratch", cost, n
        )


def ratio(e):
    """An effect of logarithms as a ratio with its interval."""
    mean, low, high = (
        f"{x:.3g}" if np.isfinite(x) and x > 0 else "open" for x in e.times
    )
    return f"{mean} [{low}, {high}]"


def saving_id(cost, method, count):
    """The id of the ratio of scratch's cost to a method's at `count` labels a class."""
    return record_id("04", cost, ("scratch", method), f"{count} a class")


def saved(cost, method, n, e):
    """The record of a saving at n labels of both classes."""
    name = f"{cost} saved by {method}, {n // 2} a class"
    return e.to_record(name, "times", id=saving_id(cost, method, n // 2), data=T.name)


show_table(
    [
        (method, n // 2, cost, ratio(e), e.label)
        for (method, cost, n), e in savings.items()
    ],
    header=(
        "method",
        "labels a class",
        "cost",
        "scratch's cost ÷ its own",
        "what to know",
    ),
    records=[saved(cost, method, n, e) for (method, cost, n), e in savings.items()],
)

# %% [markdown]
# An interval above 1 says that the method is cheaper than scratch, *once the source model is there*.
# One that contains 1 decides nothing.
#
# Somebody trained the source model, so who pays?
# If one target task saves $c_\text{scratch} - c_\text{transfer}$, and the source training cost $C$, then
#
# $$K = \frac{C}{c_\text{scratch} - c_\text{transfer}}$$
#
# target tasks repay it, and this number is the **break-even**.
# A saving that may be 0 leaves the interval of $K$ open.
# The figure shows the same as two lines: what the first $k$ tasks cost in all, with a source model and without.
# Look where they cross.


# %%
def repaid_id(count):
    """The id of the number of tasks that repay the source model's FLOPs."""
    return record_id("04", "break even", "FLOPs", f"{count} a class")


def tasks_of(k):
    return f"{k:,.0f}" if np.isfinite(k) else "open"


rows, records = [], []
for n in (few, *more):
    repaid = study.tasks_that_repay(
        table, "fine-tuned", "scratch", "FLOPs", n, facts["flops"]
    )
    if repaid is None:
        rows.append((n // 2, "none: the mean saving is not above 0"))
        continue
    name = f"break-even in FLOPs, {n // 2} a class"
    found = repaid.to_record(name, "tasks", id=repaid_id(n // 2), data=T.name)
    ends = [found[end] or float("inf") for end in ("low", "high")]
    k, low, high = map(tasks_of, (found["value"], *ends))
    rows.append((n // 2, f"{k} [{low}, {high}]"))
    records.append(found)
show_table(rows, ("labels a class", "tasks that repay the source model"), records)

# %%
targets = study.shared_targets(table, "fine-tuned", "scratch", few)
of_a_task = {}
for method in ("scratch", "fine-tuned"):
    spent = study.costs_to(table, method, "FLOPs", few, targets).values()
    of_a_task[method] = np.mean([one.value for one in spent])
crossing = facts["flops"] / (of_a_task["scratch"] - of_a_task["fine-tuned"])
many = np.linspace(0, 2 * abs(crossing), 50)
axis = plots.panels(
    [f"{few // 2} labels a class: what many tasks cost in all"],
    alt="two rising lines, from scratch beginning at nothing, with a source model higher "
    "and flatter, and the number of tasks at which they cross",
)[0]
axis.plot(many, many * of_a_task["scratch"], label="each from scratch")
axis.plot(
    many,
    facts["flops"] + many * of_a_task["fine-tuned"],
    label="the source model once, then fine-tuning",
)
if crossing > 0:
    axis.axvline(crossing, color="black", linestyle="--")
axis.set(xlabel="number of target tasks", ylabel="FLOPs in all")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# In the table, "open" means that these runs cannot exclude that nothing is saved, so perhaps the source model is never repaid.
#
# The next table shows the other story, recorded.

# %%
kept_costs = (
    ("steps", "fine-tuned"),
    ("FLOPs", "fine-tuned"),
    ("FLOPs", "linear probe"),
)
saved_by = [saving_id(cost, m, n) for n in (10, 100) for cost, m in kept_costs]
show_recorded(other_story, saved_by + [repaid_id(n) for n in (10, 100)])

# %% [markdown]
# So there are two honest readings of "much more easily and quickly".
# If you *download* a model, the rows whose interval lies above 1 are savings, those below 1 are losses, and the others are not decided.
# If you must train it first, $K$ says how many tasks like this one it takes.
# That is why source models are trained once and shared.
#
# The figure below has all methods of the recorded runs, and their bills.
# Move the budget of labels, and watch which method leads; then look at who paid for its source.

# %%
labels_and_bill(alt="04/bill", chapter="04", method="fine-tuned", labels=20)
plt.show()

# %% [markdown]
# **Labels** are the other saving.
# How many labels does each method need for the accuracy that scratch reaches with the most labels?
# Between two counts we interpolate on the logarithmic axis.

# %%
if more:
    goal = table.mean("scratch", "test accuracy", more[-1])
    print(
        f"scratch with {more[-1] // 2} labels a class reaches {goal:.1f} % on average"
    )
    rows, records = [], []
    for method in ("fine-tuned", "linear probe"):
        e = study.labels_ratio(table, method, "scratch", goal)
        unknown = e.censored and e.bound == "unknown"
        rows.append(
            (method, "unknown" if unknown else ratio(e), e.label or "all reached it")
        )
        name, id = (
            f"labels saved by {method}",
            record_id("04", "labels", ("scratch", method)),
        )
        records.append(e.to_record(name, "times", id=id, data=T.name))
    show_table(rows, ("method", "scratch's labels ÷ its own", "what to know"), records)

# %% [markdown]
# "Unknown" means that in some draws a method beat the goal with the fewest labels that we tried, and that in others it missed the goal with the most.
# Two numbers of labels are too few for a ratio; the recorded runs have five:

# %%
for name in ("tops", "animals"):
    show_recorded(
        name, ["04/labels/scratch-fine_tuned", "04/labels/scratch-linear_probe"]
    )

# %% [markdown]
# ## 7. Where no gain is seen, and a control
#
# Transfer needs a source that has something to say about the target.
# So here is another pair of clothes, from dress or coat to dress or shirt, with a source model of its own.
# Look at the last column, and at what the pixels alone can do.


# %%
def small_study(name, count, names=("scratch", "linear probe", "raw pixels")):
    """The study of section 5 on another task, at one number of labels."""
    task = tasks.load_task(name, P.data_root, P.device)
    numbers = range(tasks.number_of_models(name))
    models = [tasks.source_model(name, number)[0].to(P.device) for number in numbers]
    return study.run_study(
        name,
        methods(task, models, names),
        [count],
        P.draws,
        labels=task.pool.labels,
        data=name,
        seed=P.seed,
        pretrain_seeds=numbers,
    )


other = small_study("dresses", 20)
rows, records = [], []
for method in other.known("method"):
    accuracy = study.mean_interval(
        list(other.values(method, "test accuracy", 20).values())
    )
    rows.append(
        (
            f"{method}, test accuracy (%)",
            "{:.1f} [{:.1f}, {:.1f}]".format(*accuracy),
            "",
        )
    )
for a, b in (("linear probe", "scratch"), ("linear probe", "raw pixels")):
    e = study.paired(other, a, b, "test accuracy", 20)
    rows.append(
        (
            f"{a} − {b} (points)",
            f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]",
            study.verdict(e),
        )
    )
    records.append(difference(a, b, 20, e, "dresses"))
show_table(
    rows,
    ("dress or shirt, 10 labels a class", "95 % interval", "verdict (exploratory)"),
    records,
)

# %% [markdown]
# Read two things off the table: whether the probe beats scratch and whether it beats the *pixels*.
# Which of these two opponents is the stronger one changes with the task.
# So a fair test of transfer asks both: the same network without a source and the simplest method that needs none.
#
# Why might the probe not win?
# We guess that this target is easy for any method, because a dress differs from a shirt in its outline, and that can be read off the pixels directly.
# Then there is little left for features to add.
#
# **The control** belongs to the animals.
# Dogs were collected for CIFAR-10 and foxes for CIFAR-100, so a network could tell them apart by traces of the collection.
# Foxes and wolves are both from CIFAR-100, so these traces do not help there.
# Now no class is shared, and the head has two new rows.
# Before you look: what would it mean if transfer did *not* help on wolf or fox?

# %%
control = [("linear probe", "scratch"), ("fine-tuned", "scratch")]
if T.name == "animals":
    for count in (20, 200) if P.deep else (20,):
        wolves = small_study("wolves", count, ("scratch", "linear probe", "fine-tuned"))
        for a, b in control:
            e = study.paired(wolves, a, b, "test accuracy", count)
            print(
                f"wolf or fox, {count // 2} a class, {a} − {b}: {e.effect:+.1f} "
                f"[{e.low:+.1f}, {e.high:+.1f}], {study.verdict(e)}"
            )
            show_record(difference(a, b, count, e, "wolves"))
else:
    ids = [accuracy_id(a, b, n) for n in (10, 100) for a, b in control]
    show_recorded("animals", ids, data="wolves")

# %% [markdown]
# Read it together with the table of the animals in section 5.
# If a method gains on wolf or fox as well, then what it knows of cats and dogs helps with animals like them.
# If it gains on dog or fox only, two explanations are left.
# Either it knows *dogs*, one half of that task, or it uses traces of the two collections, and these pictures cannot tell the two apart.
# An interval that includes 0 is neither, and then the control leaves the question open.
# So be careful with the sentence "dog or cat makes dog or fox easy", because part of it may be "knows dogs" and not "knows animals".
#
# If the probe lies *below* scratch, the source's features serve worse than learning anew.
# We guess that what tells a dog from a cat is not what tells a wolf from a fox.

# %% [markdown]
# ## 8. What becomes of the cats?
#
# In the clothes story, ask the same of the coats.
# Fine-tuning changes the body, so does the network still know the source task?
# We measure **forgetting** by putting the *saved* source head back on the fine-tuned body and testing on source images that no training has seen.
# A probe forgets nothing, as its body is the same.
#
# There are two remedies:
#
# - **rehearsal** mixes images of the source into the target training, as many as there are labels, about half of each class.
#   The head gets a third row for the source's other class, so that it has to stay recognisable.
#   Rehearsal trains on twice as many labelled images, half of the extra ones from the shared class, so do not compare its target accuracy with the others' as if the labels were equal;
# - **L2-SP** (Li et al. 2018; SP for starting point) adds a penalty that holds the body near where it started:
#
# $$\mathcal L = \mathcal L_\text{target} + \frac{\alpha}{2} \sum_i (w_i - w_i^0)^2 .$$
#
# Here $w_i$ are the body's parameters, $w_i^0$ their values in the source model, and $\alpha$ (`ALPHA`) is the strength, which we did not tune.
# The new head is free; the paper also shrinks it a little, which we leave out.
# The penalty holds parameters only, so BatchNorm's running statistics move as they like.
#
# Look at both columns of the table, because a remedy that keeps the source and loses the target is none.

# %%
ALPHA = 1.0


def remember(remedy, task, source, draw):
    """Fine-tuning with a remedy against forgetting; also measures the source accuracy,
    with the saved head.
    """
    model, images, loss = (
        with_new_head(source, task.keep, draw.seed),
        labelled(task, draw),
        classification_loss,
    )
    if remedy == "rehearsal":
        generator = torch.Generator().manual_seed(draw.seed)
        model.head = transfer.new_head(source.head, {0: 0, 1: 2}, 3, generator)
        classes = (*task.pool.classes, task.rehearsal.classes[1])
        images = transfer.rehearsal(
            images, task.rehearsal, len(images), {0: 0, 1: 2}, classes, draw.seed
        )
    if remedy == "L2-SP":
        loss = transfer.l2_sp(loss, model, ALPHA, head=model.head)
    how = options(images, draw) | {
        "parts": list(model),
        "rate": RATES["fine-tuned"],
        "head_epochs": HEAD_EPOCHS,
    }
    model, _ = transfer.fine_tune(model, images, task.validation, loss_fn=loss, **how)
    back = nn.Sequential(model[:-1], source.head)
    return {
        "test accuracy": correct(model, task.test),
        "source accuracy": correct(back, task.source_test),
    }


remedies = ("none", "rehearsal", "L2-SP")
most, repeats = (few, *more)[-1], max(3, P.draws // 2)
memory = study.run_study(
    f"{T.name}: forgetting",
    [
        study.Method(remedy, partial(remember, remedy, T, source), {"steps": P.steps})
        for remedy in remedies
    ],
    [most],
    repeats,
    out=P.table_path(f"{T.name}/forgetting"),
    **how,
)

# %%
untouched = 100 * evaluate(source, T.source_test)["accuracy"]
rows, records = [], []
for remedy in remedies:
    both = [
        list(memory.values(remedy, metric, most).values())
        for metric in ("source accuracy", "test accuracy")
    ]
    rows.append(
        (
            remedy,
            *(
                "{:.1f} [{:.1f}, {:.1f}]".format(*study.mean_interval(values))
                for values in both
            ),
        )
    )
    e = study.effect_of([value - untouched for value in both[0]])
    name = f"forgetting, remedy {remedy}, {most // 2} a class"
    id = record_id("04", "forgetting", remedy, f"{most // 2} a class")
    records.append(e.to_record(name, "points", id=id, data=T.name))
rows.append(("the untouched source model", f"{untouched:.1f}", ""))
header = (
    f"remedy ({most // 2} labels a class)",
    "source accuracy (%), saved head",
    "target accuracy (%)",
)
show_table(rows, header, records)

# %% [markdown]
# Here are the paired differences to no remedy, all of them exploratory.

# %%
MEASURES = {"source accuracy": "source_accuracy", "test accuracy": "accuracy"}  # in ids
rows, records = [], []
for remedy in remedies[1:]:
    for metric in ("source accuracy", "test accuracy"):
        e = study.paired(memory, remedy, "none", metric, most)
        rows.append(
            (
                f"{remedy} − none, {metric}",
                f"{e.effect:+.1f} [{e.low:+.1f}, {e.high:+.1f}]",
                study.verdict(e),
            )
        )
        name = f"{remedy} − none, {metric}, {most // 2} a class"
        id = record_id("04", MEASURES[metric], (remedy, "none"), f"{most // 2} a class")
        records.append(e.to_record(name, "points", id=id, data=T.name))
show_table(rows, ("difference", "points, with 95 % interval", "verdict"), records)

# %% [markdown]
# And the cats?
# Here is the other story, recorded.

# %%
ids = [record_id("04", "forgetting", remedy, "100 a class") for remedy in remedies]
ids += [
    record_id("04", measure, (remedy, "none"), "100 a class")
    for remedy in remedies[1:]
    for measure in MEASURES.values()
]
show_recorded(other_story, ids)

# %% [markdown]
# Look first at "remedy none", where a value below 0 means that fine-tuning has forgotten.
# Then look at each remedy twice: did the source accuracy rise, and did the target pay for it?
# In our recorded run on the animals rehearsal keeps more of cats and dogs, and costs accuracy on the target.

# %% [markdown]
# ## 9. Which layers transfer?
#
# Yosinski et al. (2014) asked this for ImageNet.
# Let A be the source task and B the target task.
# Take the first $n$ blocks of a network trained on A, put new blocks and a new head behind them, and train the new parts on the target task.
# The blocks from A are treated in two ways:
#
# - **AnB** freezes them, and **AnB⁺** trains them further.
#
# If AnB is worse than a network trained on B alone, is it because A's features do not suit B?
# Not necessarily, because cutting a network in two breaks layers that had learned *together*, and new layers may not find that again.
# So there are controls, the *selffers*, which do the same with a network that was trained on B itself:
#
# - **BnB** and **BnB⁺** take the first $n$ blocks from a network trained on the *same* target labels.
#
# This takes thirteen trainings per draw, so by default you see the recorded runs (10 draws, 100 labels per class).
# Look at two things: whether A's blocks beat B's own, and whether that changes with the depth.


# %%
def layers(task, source, draw):
    """One run for every kind and depth: the accuracy of AnB, AnB⁺, BnB and BnB⁺."""

    images = labelled(task, draw)

    def train(model):
        adam = torch.optim.Adam(transfer.trainable(model), RATES["scratch"], fused=True)
        transfer.fit_best(
            model, images, task.validation, optimizer=adam, **options(images, draw)
        )
        return model

    base = train(untrained(task))
    results = {"test accuracy of base": correct(base, task.test)}
    for kind, donor in (("A", source), ("B", base)):
        for n in (1, 2, 3):
            for plus in ("", "+"):
                model = untrained(task)
                model[:n].load_state_dict(donor[:n].state_dict())
                if not plus:
                    transfer.freeze(model[:n])
                results[f"test accuracy of {kind}{n}B{plus}"] = correct(
                    train(model), task.test
                )
    return results


def as_methods(table):
    """A table in which each network is a method, so that two can be paired."""
    start, rows, images = "test accuracy of ", [], {}
    for row in table.rows:
        if row["metric"].startswith(start):
            network = row["metric"].removeprefix(start)
            row = row | {"method": network, "metric": "test accuracy"}
        rows.append(row)
    for (_, labels, draw, metric), values in table.images.items():
        images[metric.removeprefix(start), labels, draw, "test accuracy"] = values
    return study.Table(rows, images)


if P.deep:
    method = study.Method("layers", partial(layers, T, source), {"steps": P.steps})
    depth = study.run_study(
        f"{T.name}: layers",
        [method],
        [most],
        P.draws,
        out=P.table_path(f"{T.name}/layers"),
        **how,
    )
    cut = [
        f"{kind}{n}B{plus}" for kind in "AB" for n in (1, 2, 3) for plus in ("", "+")
    ]
    networks = as_methods(depth)
    for network in ("base", *cut):
        values = networks.values(network, "test accuracy", most)
        mean, low, high = study.mean_interval(list(values.values()))
        name, id = f"test accuracy of {network}", record_id("04", "layers", network)
        report(name, mean, "%", id=id, low=low, high=high, n=P.draws, data=T.name)
    for network in cut:
        e = study.paired(networks, network, "base", "test accuracy", most)
        id = record_id("04", "layers gain", network)
        show_record(e.to_record(f"{network} − B alone", "points", id=id, data=T.name))

# %%
try:
    axes = plots.panels(
        ["tops, recorded", "animals, recorded"],
        alt="difference in test accuracy to a network trained on the target alone, over "
        "the number of blocks taken over, for AnB, AnB+, BnB and BnB+",
        height=3.8,
    )
    for axis, name in zip(axes, ("tops", "animals")):
        for look, (kind, plus) in enumerate((k, p) for k in "AB" for p in ("", "+")):
            ids = [
                record_id("04", "layers gain", f"{kind}{n}B{plus}") for n in (1, 2, 3)
            ]
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
    axes[0].legend(frameon=False, fontsize=9)
    print(study.recorded_value("04", "04/layers/base", "tops")["label"])
except CourseError as error:
    print(error)
plt.show()

# %% [markdown]
# In this figure 0 is the network that was trained on the target labels alone, with the same draws, so that each interval is that of a paired difference.
# Hollow marks are frozen blocks, full ones were trained further.
# If *BnB* lies below 0, cutting has a price, but an interval that holds 0 does not say that it has none.
# If *AnB* lies above *BnB* at the same $n$, the source's blocks are worth more than B's own.
#
# LAYERS_TEXT
#
# In Yosinski's study the target had hundreds of thousands of images, and A's deep layers lost against B's own.
# Here the target has 200 labels.

# %% [markdown]
# ## 10. A network trained on ImageNet
#
# **ImageNet-1k** has 1.28 million photos in 1,000 classes.
# A network that was trained on it is what most people mean by "a pretrained backbone".
# With `transfer.backbone` you load EfficientNet-Lite0, which comes with the package's extra `vision`, or torchvision's ResNet-18 and MobileNetV3, which are downloaded once.
#
# A pretrained network wants its input exactly as it had it in training.
# **Preprocessing** has three parts: the size, the range, and the normalisation $(x - m_c) / s_c$ with one mean $m_c$ and one standard deviation $s_c$ per channel $c$.
# Every backbone has its own, and a wrong one raises no error by itself.
#
# ### Exercise 6: normalise · 6 minutes
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
# Does a network that has seen a million *photos* help with our small pictures?
# It wants 224 × 224 colour pixels, so ours are enlarged, and grey ones are repeated in three channels.
# Both probes get ten labels per class and choose C by cross-validation inside them.
# We use only a few hundred images, because a forward pass of this network costs much more than ours.
#
# Before you look, guess which features will be better: those of a large network trained on photos of 1,000 classes, or those of a tiny one trained on a task next door.


# %%
def photo_features(images):
    """EfficientNet-Lite0's features, [n, 1280]; grey images become three equal
    channels.
    """
    return transfer.features(lite0, images.images.expand(-1, 3, -1, -1))


few_draws = max(2, P.draws // 2)
drawn = [
    draw.indices for draw in study.draw_labels(T.pool.labels, 10, few_draws, P.seed + 1)
]
(test_draw,) = study.draw_labels(T.test.labels, 10 * few_draws, 1, P.seed)
tested = T.test.subset(test_draw.indices.to(P.device))
pool = T.pool.subset(torch.cat(drawn).unique().to(P.device))
place = {index: row for row, index in enumerate(torch.cat(drawn).unique().tolist())}
if "lite0" in globals():
    views = {
        "EfficientNet-Lite0 (ImageNet)": photo_features,
        "our source model": lambda images: features_of(images, source),
    }
    accuracy = {}
    for name, see in views.items():
        x, x_test = see(pool), see(tested)
        rows = [[place[index] for index in chosen.tolist()] for chosen in drawn]
        probes = [transfer.linear_probe(x[row], pool.labels[row]) for row in rows]
        accuracy[name] = torch.stack(
            [fitted.predict(x_test) == tested.labels.cpu() for fitted in probes]
        ).numpy()
    for name, right in accuracy.items():
        print(
            "{}: {:.1f} % [{:.1f}, {:.1f}]".format(
                name, *study.mean_interval(100 * right.mean(1))
            )
        )
    e = study.effect_of(
        100
        * (
            accuracy["EfficientNet-Lite0 (ImageNet)"].astype(float)
            - accuracy["our source model"]
        )
    )
    print(
        f"ImageNet − our source: {e.effect:+.1f} points [{e.low:+.1f}, "
        f"{e.high:+.1f}], n = {e.n}, {study.verdict(e)}"
    )
    id = accuracy_id("ImageNet", "our source", 10)
    show_record(
        e.to_record("ImageNet − our source, 10 a class", "points", id=id, data=T.name)
    )

# %%
show_recorded(other_story, [accuracy_id("ImageNet", "our source", 10)])

# %% [markdown]
# Compare the two stories.
# On the animals the large network is far ahead, and on the clothes a tiny one that learned the task next door is at least not shown to be worse.
# Two cases do not tell why.
# Dogs and foxes are among ImageNet's 1,000 classes, but so are a cardigan and a sweatshirt.
# The two stories also differ in colour and in size, the networks in the number of features (1,280 against 64), and our pictures were enlarged.
#
# What about real photos?
# PyTorch's transfer-learning tutorial has 244 training and 153 validation photos of ants and bees.
# On them a linear probe on EfficientNet-Lite0's features was measured with three preprocessings, its C chosen by cross-validation inside the training photos.
# Mind what kind of evidence this is: the photos were taken *from ImageNet*, on which the backbone was trained, so they are not new to it and the accuracy is flattered.

# %%
if P.deep:
    try:
        photos = data.load("ants-bees", full=True, root=P.data_root)
        both = [
            torch.cat([photos.train.images, photos.validation.images]),
            torch.cat([photos.train.labels, photos.validation.labels]),
        ]
        prepared = {
            "its own preprocessing": lite0.prepare,
            "torchvision's mean and std": lambda x: normalise_checked(
                x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
            ),
            "levels 0 to 255 as they are": lambda x: x.float(),
        }
        right = {}
        for name, prepare in prepared.items():
            with torch.no_grad():
                lite0.eval()
                x, x_test = (
                    torch.cat(
                        [
                            lite0.body(prepare(part)).flatten(1)
                            for part in images.split(32)
                        ]
                    )
                    for images in (both[0], photos.test.images)
                )
            fitted = transfer.linear_probe(x, both[1])
            right[name] = fitted.predict(x_test) == photos.test.labels
            count, n = int(right[name].sum()), len(right[name])
            interval = stats.binomtest(count, n).proportion_ci(method="wilson")
            report(
                f"ants and bees, {name}",
                100 * count / n,
                "%",
                id=record_id("04", "ants bees", name),
                low=100 * interval.low,
                high=100 * interval.high,
                n=n,
                data="ants-bees",
            )
        own = right.pop("its own preprocessing")
        for name, other in right.items():
            e = study.effect_of(100 * (own.float() - other.float()))
            title, id = f"its own − {name}", record_id("04", "ants bees", ("own", name))
            show_record(e.to_record(title, "points", id=id, data="ants-bees"))
    except CourseError as error:
        print(error)
ANTS_BEES = [
    "its own preprocessing",
    "torchvision's mean and std",
    "levels 0 to 255 as they are",
]
ids = [record_id("04", "ants bees", name) for name in ANTS_BEES]
ids += [record_id("04", "ants bees", ("own", name)) for name in ANTS_BEES[1:]]
show_recorded("tops", ids, data="ants-bees")

# %% [markdown]
# ANTS_TEXT
#
# Here n counts photos.
# The intervals of the first rows are Wilson's for a proportion.
# Those of the differences are paired, because all three preprocessings were tried on the same photos.
# All of them hold for one validation set and one fixed network.
# A probe hides part of the harm, because it is trained on the wrong features and adapts to them, which a fixed 1,000-class head cannot.

# %% [markdown]
# ## 11. Clinic: a body that is not fixed
#
# Behind this is a question that was asked at PyTorch's own tutorials (pytorch/tutorials, issue 449).
# Does a "fixed feature extractor" stay fixed if its BatchNorm is in train mode?
# The function below is meant to train only the head.
# It runs, the loss falls, and yet the body changes, because there are three bugs.
# If you want to see which, compare `body.state_dict()` before and after.


# %% broken="transfer.clinic"

# %% [markdown]
# ### Exercise 7: repair it · 15 minutes
#
# Keep the steps, the optimiser's settings and `set_to_none=False`.
# The body must keep every parameter and every buffer bit for bit, in *each* step.
# The head must learn, and it may have BatchNorm, too.
# The body may still hold gradients of its own training, and then an optimiser that holds the body moves and decays its weights although they require no gradient.


# %% exercise="transfer.clinic"

# %% check="transfer.clinic"
train_head_checked = check("transfer.clinic", train_head)

# %%
for name, train_it in (
    ("as found", drifting_train_head),
    ("repaired", train_head_checked),
):
    model = copy.deepcopy(source)
    start = copy.deepcopy(model[:-1].state_dict())
    train_it(
        model[:-1],
        nn.Linear(64, 2).to(P.device),
        ten.images / 255,
        ten.labels,
        20,
        0.01,
    )
    moved = [
        key
        for key, value in model[:-1].state_dict().items()
        if not value.equal(start[key])
    ]
    print(f"{name}: {len(moved)} of {len(start)} tensors of the body moved")

# %% [markdown]
# ## Quiz
#
# **1.
# You set `requires_grad_(False)` on a body with BatchNorm and call `model.train()`.
# What can still change in it?**
#
# <details><summary>Nothing.</summary>
#
# Its running means and variances change in every forward pass in train mode, as the figure in section 3 shows.
# </details>
#
# <details><summary>Its buffers, and what it computes.</summary>
#
# Right, because in train mode BatchNorm also normalises by the batch.
# A frozen body has no gradients, is not in the optimiser, and keeps an eval mode that survives `train()`.
# </details>
#
# **2.
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
# **3.
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
# **4.
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

# %% [markdown]
# ## Take-away
#
# - Freeze parameters, buffers and behaviour, and test it bit by bit.
# - Keep the shared row of the head, and give new rows the norm of the old ones.
# - Compare with the same labels, validation and tuning, look at paired differences with intervals, and keep raw pixels in.
# - If an interval lies above 1, transfer saves for anybody who gets the source model for nothing.
#   The break-even says how many tasks would repay its training.
# - Transfer depends on the pair.
#   On one there is a clear gain, on another no gain is seen, not even over raw pixels, and on a third the probe is worse than scratch.
# - Fine-tuning forgets, so measure it with the saved head.
# - Use the backbone's own preprocessing.

# %% [markdown]
# ## Further reading
#
# - Yosinski, Clune, Bengio and Lipson, *How transferable are features in deep neural networks?*
#   (2014), arXiv 1411.1792.
# - Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification* (2018), arXiv 1801.06146: rates by depth, gradual unfreezing.
# - Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution* (2022), arXiv 2202.10054: LP-FT.
# - Li, Grandvalet and Davoine, *Explicit Inductive Bias for Transfer Learning with Convolutional Networks* (2018), arXiv 1802.01483: L2-SP.
# - Kornblith, Shlens and Le, *Do Better ImageNet Models Transfer Better?*
#   (2019), arXiv 1805.08974.
# - Raghu, Zhang, Kleinberg and Bengio, *Transfusion: Understanding Transfer Learning for Medical Imaging* (2019), arXiv 1902.07208: a field where it helps less than people thought.
# - Nadeau and Bengio, *Inference for the Generalization Error*, Machine Learning 52 (2003); Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6 (1979).
