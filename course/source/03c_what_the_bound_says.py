# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "03c"
#     title: What the bound says
#     minutes: {reading: 18, exercises: 10, cpu: 0.3, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # What the bound says
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - find the strangest images of a set by their bound, and say what makes them strange;
# - say why a VAE of clothes thinks digits more probable than clothes;
# - recognise two traps: bounds on grey pixels, and a weight hidden in a mean.
#
# You need [chapter 3](03_variational_autoencoder.ipynb).

# %% [markdown]
# ## The question
#
# A VAE gives every image a number, its bound in nats.
# It seems natural to use it as a guard: what the model was not trained on should get a low bound, and could be turned away.
# And papers put such numbers side by side in tables.
#
# What does the number really say?

# %% [markdown]
# ## Set-up
#
# The parameters are explained in [chapter 1](01_training_step.ipynb).

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
epochs: int | None = None  # passes over the digits
latent: int | None = None  # numbers in a code
batch_size: int | None = None  # images in one training step
full_data: bool | None = None  # all of MNIST and Fashion-MNIST
data_root: str | None = None  # a folder with your own copies

# %%
from vaetl_helpers.runtime import CourseError, report, setup

P = setup(
    "03c",
    profile,
    seed=seed,
    epochs=epochs,
    latent=latent,
    batch_size=batch_size,
    full_data=full_data,
    data_root=data_root,
)

# %%
import matplotlib.pyplot as plt
import torch

from vaetl_helpers import plots, study, vae
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import evaluate, fit

digits = load("mnist", full=P.full_data, root=P.data_root, device=P.device)
clothes = load("fashion-mnist", full=P.full_data, root=P.data_root, device=P.device)
generator = torch.Generator().manual_seed(P.seed)

# %% [markdown]
# What many people hope of a bound, on a card, before anything is measured:

# %%
question_cards("strangers")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("03c")

# %% [markdown]
# ## 1. A VAE of clothes
#
# Nothing in the model of chapter 3 knows that the images are digits, so it can learn clothes as well.
# How much of a garment survives its code?

# %%
torch.manual_seed(P.seed)
fashion_vae = vae.mlp_vae(latent=P.latent).to(P.device)
fit(
    fashion_vae,
    clothes.train,
    vae.vae_loss(),
    epochs=-(-P.epochs // 3),
    batch_size=P.batch_size,
    optimizer=torch.optim.Adam(fashion_vae.parameters(), lr=2e-3, fused=True),
    seed=P.seed,
    quiet=True,
)
fashion_elbo = -evaluate(fashion_vae, clothes.test, vae.vae_loss())["loss"]
report(
    "fashion_test_elbo",
    fashion_elbo,
    "nats",
    id="03/test_elbo/fashion",
    data=f"{clothes.source}, one training run",
)

# %%
some_clothes = clothes.validation.images[:10].float() / 255
with torch.no_grad():
    pictures = torch.cat(
        [
            some_clothes,
            fashion_vae.reconstruct(some_clothes),
            fashion_vae.sample(10, generator),
        ]
    )
plots.image_grid(
    pictures,
    ["original", "reconstruction", "sample"],
    title=f"Clothes through a code of {P.latent} numbers",
    alt="03c/clothes",
)
plt.show()

# %% [markdown]
# Outlines mostly survive, but patterns do not.
# A likely reason is that patterns cost more code than they save, at least after so short a training.
#
# ### Exercise 1: the ten strangest clothes · 10 minutes
#
# The bound gives every image a cost, minus the bound.
# Which clothes of the test set does the model find strangest, and which the most ordinary?
# Write `strangest`, which returns the rows of the `count` images with the *lowest* bound, the lowest first.
# `bound(images)` draws pixels and codes anew at each call, so one call would give an order that is half chance: take the mean of `draws` calls.

# %% exercise="latent.strangest"

# %% check="latent.strangest" tags=["nbval-check-output"]
strangest_checked = check("latent.strangest", strangest)

# %% [markdown]
# The upper row shows the ten with the lowest bound, the lower row the ten with the highest.
# Before you look: what will the ones in the upper row have in common?

# %% tags=["nbval-check-output"]
predict("vae.strangest")


# %% slide="The strangest clothes, and the most ordinary"
def bound_of_clothes(images):
    """The bound of each image in nats: pixels and codes are drawn anew."""
    with torch.no_grad():
        return vae.elbo(fashion_vae, vae.binarise(images)).elbo


def opposite(images):
    """Sorted by this, the most ordinary come first."""
    return -bound_of_clothes(images)


garments = clothes.test.images.float() / 255
torch.manual_seed(P.seed)
strange = strangest_checked(bound_of_clothes, garments, 10, 8)
ordinary = strangest_checked(opposite, garments, 10, 8)
cost = {}
for name, rows in (("strangest", strange), ("most ordinary", ordinary)):
    cost[name] = -bound_of_clothes(garments[rows]).mean().item()
    print(f"{name}: {cost[name]:.0f} nats per image")
plots.image_grid(
    garments[torch.cat([strange, ordinary])],
    ["strangest", "most ordinary"],
    title=f"Strangest: {cost['strangest']:.0f} nats per image; "
    f"most ordinary: {cost['most ordinary']:.0f}",
    alt="Two rows of ten garments. The upper row holds bags and "
    "grey jumpers, the lower one thin sandals and black trousers.",
)
plt.show()

# %%
settle("vae.strangest", cost["strangest"] / cost["most ordinary"])

# %% [markdown]
# The strangest cost almost five times as much as the most ordinary, 461 against 94 nats in our run.
# In the upper row are bags and jumpers, large areas of grey in which nearly every pixel is drawn by chance; in the lower one are thin sandals and black trousers.
# An odd shape is not what they have in common, then, and that is a hint of what follows.
#
# ## 2. Does the bound say what does not belong?
#
# It seems natural to use a VAE as a guard that turns away what it was not trained on.
# Behind that stands another sentence that one often hears, though not in our articles: *images of a kind that a VAE has never seen get a lower likelihood*.
# So let us show digits to the VAE of clothes, which has never seen one.
# Which will cost more, a shirt or a 7?
# A blank image is shown as well.

# %% tags=["nbval-check-output"]
predict("vae.strangers")

# %% slide="Digits are cheaper than clothes, to a VAE of clothes"
torch.manual_seed(P.seed)
strangers = {
    "clothes": garments,
    "digits": digits.test.images.float() / 255,
    "a blank image": torch.zeros_like(garments[:1]),
}
by_kind = {name: -bound_of_clothes(images) for name, images in strangers.items()}
axis = plots.panels(
    [
        "What a VAE of clothes pays on average (nats):\n"
        + ", ".join(f"{name} {costs.mean():.0f}" for name, costs in by_kind.items())
    ],
    width=7,
    alt="Two histograms on one axis of nats. That of digits is narrow, around 200; "
    "that of clothes is broad, from 80 to 500, and most of it lies farther right. A "
    "line near 20 marks a blank image.",
)[0]
for name, colour in (("clothes", 0), ("digits", 1)):
    axis.hist(
        by_kind[name].cpu(),
        bins=40,
        density=True,
        alpha=0.6,
        color=plots.COLOURS[colour],
        label=name,
    )
axis.axvline(
    by_kind["a blank image"].item(),
    color="grey",
    linestyle="--",
    label="a blank image",
)
axis.set(xlabel="cost, minus the bound (nats)", ylabel="share of images per nat")
axis.legend(frameon=False)
plt.show()

# %%
dearer = (by_kind["digits"].mean() - by_kind["clothes"].mean()).item()
report(
    "digits_minus_clothes",
    dearer,
    "nats",
    id="03/cost/digits-clothes",
    data=f"{clothes.source}, one training run",
)
try:
    for own, stranger in (("clothes", "digits"), ("digits", "clothes")):
        id = f"03/cost/{stranger}-{own}/vae_of_{own}"
        print(
            f"recorded, VAE of {own}: {stranger} cost "
            "{value:+.0f} [{low:+.0f}, {high:+.0f}] nats more per image".format(
                **study.recorded_value("03", id, "strangers")
            )
        )
except CourseError as error:
    print(error)

# %%
settle("vae.strangers")

# %% [markdown]
# The digits cost *less*, by almost 50 nats per image in the recorded runs, and a blank image costs least of all.
# In 68 of 100 pairs of a digit and a garment the digit is the cheaper one, so a guard who turns away what is expensive would send home the wrong one more often than not.
# Nalisnick et al. (2019, arXiv 1810.09136) found the same in far larger models: those of clothes, and of photographs, give foreign but simpler images a higher likelihood.
# The other way round all seems well, since to a VAE of digits clothes cost several times as much as its own images.
# In the ledger of `vaetl claims` one VAE therefore contradicts the sentence, and the other one supports it.
#
# The two findings have the same reason.
# An image of a few thin strokes on a blank ground is cheap to describe for any model that has learned what blank ground is, and one with grey cloth all over is not.
# So the bound says how *simple* an image is for this model, not whether it belongs.

# %% [markdown]
# ## 3. First trap: a bound on grey pixels is not a likelihood
#
# Much published code skips the binarisation and puts grey pixels straight into the Bernoulli formula.
# It runs, and gives a number in "nats".
# But a Bernoulli variable is 0 or 1, and it has no probability for 0.37.
# What the formula gives instead is the *expected* log-likelihood of the image's random binarisations, since it is linear in $x_i$ and the grey value is the mean of the draws.
# Even a perfect decoder, $\pi_i = x_i$, cannot bring it to 0, because the entropy of the binarisation remains, $H = -\sum_i \big(x_i\log x_i + (1-x_i)\log(1-x_i)\big)$.
# The next cell computes that floor for the digits and for the clothes.

# %%
predict("vae.grey_floor")


# %%
def floor(images):
    """The best possible mean Bernoulli cost of grey images, in nats per image: the
    entropy of their pixels.
    """
    pixels = images.float() / 255
    return (
        -(torch.xlogy(pixels, pixels) + torch.xlogy(1 - pixels, 1 - pixels))
        .sum(dim=(1, 2, 3))
        .mean()
        .item()
    )


report(
    "entropy_of_grey_digits",
    floor(digits.test.images),
    "nats",
    id="03/entropy/grey_digits",
    data=digits.source,
)
report(
    "entropy_of_grey_clothes",
    floor(clothes.test.images),
    "nats",
    id="03/entropy/grey_clothes",
    data=clothes.source,
)

# %%
settle("vae.grey_floor", floor(clothes.test.images))

# %% [markdown]
# For clothes the floor is most of the loss of section 1!
# That loss was measured on binarised images, but on average they cannot cost less than this entropy either, since the randomness of the draw has to be paid for.
#
# So the grey-pixel loss bounds the average log-likelihood of the image's random binarisations.
# It says nothing about the grey image itself, to which a Bernoulli model gives no probability.
# Nor is it our bound, because with grey pixels the encoder has not seen the draw it must explain.
# Keep the two apart in tables.
# And nats on different data sets are never comparable: the floor alone differs by more than 100.
# Here we always report the bound on binarised images.
#
# ## 4. Second trap: the weight hidden in a mean
#
# Many objectives average where they should sum, for example the *mean* over pixels plus the *sum* over latents.
# Multiplying a whole loss by a constant only rescales the step of plain SGD, and Adam hardly notices.
# But multiplying only *one term* makes another objective.
# Write
#
# $$\text{loss} = \text{reconstruction} + \beta\,\mathrm{KL}$$
#
# where reconstruction now means the loss $-\mathbb E_q[\log p_\theta(x\mid z)]$, and $\beta = 1$ gives minus the true bound.
# **Your turn, on paper**: with $D = 784$ pixels and $d = 20$ latents, which $\beta$ is in effect if one takes (a) the sum over pixels and the sum over latents, (b) the mean over pixels and the sum over latents, (c) the mean over both?
#
# <details><summary>The answers</summary>
#
# With $R$ and $\mathrm{KL}$ for the two sums: (a) β = 1. (b) $\frac1D R + \mathrm{KL} = \frac1D\,(R + D\,\mathrm{KL})$: β = D = 784. (c) $\frac1D R + \frac1d \mathrm{KL} = \frac1D\,(R + \frac Dd\,\mathrm{KL})$: β = D/d = 39.2.
# </details>
#
# With a price like that of (b) no code is worth buying.
# We try it:

# %%
predict("vae.starved")


# %% slide="A mean in place of a sum: every digit the same"
def loss_with_means(model, images, labels):
    """The mean over pixels plus the sum over latents: looks harmless, is beta = 784."""
    terms = vae.elbo(model, vae.binarise(images))
    return (-terms.log_px / 784 + terms.kl.sum(dim=1)).mean(), {
        "kl": terms.kl.sum(dim=1).mean()
    }


torch.manual_seed(P.seed)
starved = vae.mlp_vae(latent=P.latent).to(P.device)
adam = torch.optim.Adam(starved.parameters(), lr=2e-3, fused=True)
starved_history = fit(
    starved,
    digits.train,
    loss_with_means,
    epochs=-(-P.epochs // 6),
    optimizer=adam,
    quiet=True,
)
print(
    f"loss: {starved_history['loss'][0]:.3f} after the first epoch, "
    f"{starved_history['loss'][-1]:.3f} after the last"
)
print(f"KL at the end: {starved_history['kl'][-1]:.3f} nats")
some_digits = digits.validation.images[:10].float() / 255
plots.image_grid(
    torch.cat([some_digits, starved.eval().reconstruct(some_digits)]),
    ["original", "reconstruction"],
    title="Trained with a mean over pixels: every reconstruction is the same",
    alt="03c/mean_over_pixels",
)
plt.show()

# %%
settle("vae.starved", starved_history["kl"][-1])

# %% [markdown]
# The code carries nothing, so every image is reconstructed as the average digit.
# Yet nothing failed: the loss is small and falls.
# If your VAE's reconstructions all look alike, check first whether the loss *sums* over the pixels.

# %% [markdown]
# ## 5. So, what does the bound say?
#
# It says how many nats this model needs to describe this image, and so how *simple* the image is for it.
# It does not say whether the image belongs to what the model has learned.
# It can be compared between two models of the same binary images, and not between data sets, nor with a number that was computed on grey pixels or with a mean in place of a sum.
#
# The card gives no verdict, because our runs came before the comparison was fixed, and its number only describes them.

# %%
verdict_cards("strangers")

# %% [markdown]
# ## An open task
#
# The bound alone is a bad guard.
# Is there a number of the same VAE that does better: the KL alone, the distance of μ from the origin, or the bound minus what a simpler model would say?
# Write down in how many of 100 pairs of a garment and a digit your number calls the digit the stranger, and use `seed` to try it on a second VAE.
# The task is answered when one number is right more often than not for the VAE of clothes *and* for one of digits, or when you can say why three of them fail.

# %% [markdown]
# ## Quiz
#
# **1.
# A paper reports 230 "nats" on grey Fashion-MNIST, another 100 nats on binarised MNIST.
# Which model is better?**
#
# <details><summary>The second.</summary>
#
# One cannot say.
# The images differ, and nats on different data sets are never comparable.
# The quantities differ too, because much of the 230 may be the entropy of grey pixels.
# </details>
#
# <details><summary>The numbers cannot be compared.</summary>
#
# Right.
# </details>
#
# **2.
# All reconstructions of your new VAE look like the average image.
# What do you check first?**
#
# <details><summary>Whether the loss sums over pixels.</summary>
#
# Right.
# A mean over 784 pixels beside a *sum* over latents is β = 784; beside a mean over 20 latents it is β = 39.2.
# </details>
#
# <details><summary>Whether the network is too small.</summary>
#
# That comes later, because even a tiny network does better than the average image.
# </details>
#
# **3.
# A VAE of clothes gives a digit a higher bound than a shirt.
# What follows?**
#
# <details><summary>The digit belongs to the clothes.</summary>
#
# No, the bound says how simple an image is for the model.
# </details>
#
# <details><summary>A blank ground with thin strokes is cheap to describe.</summary>
#
# Right, and a blank image is cheaper still.
# </details>
#
# <details><summary>The VAE was trained badly.</summary>
#
# Far larger models of photographs do the same (Nalisnick et al. 2019).
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("03c")
my_bets("03c")

# %% [markdown]
# ## Take-away
#
# - The bound says how simple an image is for a model, and not whether it belongs.
# - A bound on grey pixels is not a likelihood, and its floor is the entropy of the pixels.
# - A mean over pixels beside a sum over latents is a β of 784.
# - Say which likelihood you report, and on which pixels.
#
# Go on with [chapter 4](04_transfer_learning.ipynb), *Transfer learning*.

# %% [markdown]
# ## Further reading
#
# - Nalisnick et al., *Do Deep Generative Models Know What They Don't Know?*
#   (2019), arXiv 1810.09136.
# - Loaiza-Ganem and Cunningham, *The continuous Bernoulli* (2019), arXiv 1907.06845, says what to do with grey pixels.
