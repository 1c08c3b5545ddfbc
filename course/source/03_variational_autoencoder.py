# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "03"
#     title: The variational autoencoder
#     minutes: {reading: 24, exercises: 36, cpu: 0.5, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # The variational autoencoder
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - say how a picture can have a probability, and why it cannot simply be computed;
# - derive the evidence lower bound (ELBO) in two ways, and compute each of its terms yourself;
# - train a variational autoencoder (VAE) on digits, and read its two curves.
#
# You need [chapter 1](01_training_step.ipynb) for loss, gradient and epoch, and, from probability, the normal distribution, expectation, independence, conditional probability and Bayes' rule.

# %% [markdown] slide="The claim: maximise the likelihood, minimise the KL"
# ## The claim that this chapter looks at
#
# The second article behind this course, "VAE e Transfer Learning: Un Approfondimento Specialistico", says, in our summary: *a VAE has an encoder and a decoder, and its objective is to maximise the likelihood and to minimise the Kullback–Leibler divergence.*
# Its own words for the objective are "Massimizza la likelihood dei dati e minimizza la divergenza KL".
#
# That is nearly right, and the "nearly" matters.
# The likelihood of *what*?
# The divergence between *which* distributions?
# And why should their difference be the right thing to optimise?

# %% [markdown]
# ## Set-up

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
from vaetl_helpers.runtime import report, setup

P = setup(
    "03",
    profile,
    seed=seed,
    epochs=epochs,
    latent=latent,
    batch_size=batch_size,
    full_data=full_data,
    data_root=data_root,
)

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.distributions import Normal
from torch.nn import functional as F

from vaetl_helpers import plots, vae
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.living.film import Film
from vaetl_helpers.living.gap_machine import gap_machine
from vaetl_helpers.living.latent_plane import latent_plane
from vaetl_helpers.living.toy_world import toy_world
from vaetl_helpers.practice import challenge, my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import evaluate, fit

# %% [markdown]
# ## A plane to move about on
#
# A *code* is two numbers here, a place on a plane, and a network called *decoder* makes an image of it.
# Drag the point on the left plane (or use the arrow keys), and watch the image below change.
# Then do the same on the right: where do you find images that are no digits?

# %% slide="Two planes of codes: which one can you draw from?"
latent_plane(alt="03/plane")
plt.show()

# %% [markdown]
# Both pairs of networks were trained on the same digits and reconstruct them.
# Each has an **encoder**, which maps an image $x$ to its *code*, and a **decoder**, which maps a code back to an image.
# A code is a short vector $z$ of $d$ numbers, each of which is called a *latent*.
# The pair on the right is an *autoencoder*, which was only asked to give back the image that went in, and it leaves wide spaces from which no digit comes.
# On the left nearly every place within the dashed circle gives one.
#
# What is done differently on the left starts from another question.

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("03")

# %% [markdown]
# The images are digits this time, **MNIST**, with 28 × 28 pixels between 0 and 1.
# Their labels are not used for training, because a VAE learns from images alone.

# %%
digits = load("mnist", full=P.full_data, root=P.data_root, device=P.device)
grey = (
    digits.validation.images[:1000].float() / 255
)  # some images to look at: float, [n, 1, 28, 28]
generator = torch.Generator().manual_seed(P.seed)

# %% [markdown] slide="How probable is this image?"
# ## 1. How probable is this image?
#
# We assume that every image was made in two steps:
#
# 1. A code $z$ was drawn from a fixed distribution, the **prior** $p(z)$.
#    We take $d$ independent standard normal numbers, $p(z) = \mathcal N(0, I)$.
# 2. Given $z$, the image $x$ was drawn from a distribution $p_\theta(x \mid z)$ whose parameters the **decoder** computes.
#    Here $\theta$ stands for the decoder's weights.
#
# This is a *latent-variable model*, in which $z$ is latent because we never see it.
#
# ### A world small enough to do by hand
#
# How probable is an image, then?
# Take a world of two pixels, each ink or blank, and of three codes, so that everything about it can be written down:
#
# | code $z$ | prior $p(z)$ | ink in the left pixel, given $z$ | ink in the right pixel, given $z$ |
# |---|---|---|---|
# | 1 | 0.5 | 0.9 | 0.1 |
# | 2 | 0.3 | 0.1 | 0.9 |
# | 3 | 0.2 | 0.8 | 0.8 |
#
# Given the code, the two pixels are independent.
# **Your turn, on paper**: how probable is the image with ink in *both* pixels?
# Each code contributes $p(z)\,p(x\mid z)$, and the three contributions add up.
#
# <details><summary>The answer</summary>
#
# $p(x) = 0.5\cdot 0.9\cdot 0.1 + 0.3\cdot 0.1\cdot 0.9 + 0.2\cdot 0.8\cdot 0.8 = 0.045 + 0.027 + 0.128 = 0.2$.
# Code 3 is the rarest, and yet it contributes 0.128 of the 0.2, or 64 %.
# This share is the probability of code 3 *given the image*, $p(z=3\mid x)$.
# </details>
#
# Now choose another image in the figure, do its sum, and check it there.
# Then move the sliders.
# They hold a guess $q(z)$ of which code made the image, and they always sum to 1.
# The two bars say what the guess makes of $\log p(x)$, and section 2 derives them.
# For now find out two things: what never changes, and for which guess the hatched bar vanishes.

# %% slide="A world small enough to do by hand"
toy_world(
    alt="Two guesses q of the code behind the image with ink in both pixels, each with "
    "bars of its three probabilities. If q is the prior, the ELBO is −2.02 and the gap "
    "0.41 nats; if q is 0.225, 0.135 and 0.640, the ELBO is −1.61 and there is no gap.",
)
plt.show()

# %% [markdown]
# The end of the bars stays where it is, because $p(x)$ is a property of the model and of the image, and knows nothing of the guess.
# For two pixels with ink it is $\log 0.2 = -1.61$ nats.
# With the prior as the guess the gap is 0.41 nats.
# It vanishes for one guess only, $q = (0.225, 0.135, 0.64)$: each code's share in the sum.
#
# ### From the sum to an integral
#
# A code of $d$ real numbers has more than three values, and the sum becomes an integral.
# The probability of an image is the mean of $p_\theta(x\mid z)$ over codes $z$ drawn from the prior:
#
# $$p_\theta(x) = \int p_\theta(x \mid z)\, p(z)\, dz .$$
#
# Training means finding the $\theta$ under which the images we have are probable, so we maximise the mean of $\log p_\theta(x)$ over the training images.
# Seen as a function of $\theta$, $p_\theta(x)$ is *the* likelihood (another name is the *evidence*), and its logarithm is easier to work with.
#
# ### Black and white, and the likelihood of a pixel
#
# Which distribution should an image have, given its code?
# The simplest choice makes each pixel a *Bernoulli* variable: it is 1, ink, with a probability of its own, and otherwise 0.
# The decoder gives one logit $\ell_i$ per pixel $i$, and the probability of a 1 is $\pi_i = 1/(1+e^{-\ell_i})$.
# Given the code, we *assume* that pixels are independent, so that the probabilities multiply and their logarithms add up:
#
# $$\log p_\theta(x \mid z) = \sum_{i=1}^{784} \Big( x_i \log \pi_i + (1-x_i) \log(1-\pi_i) \Big) .$$
#
# The sum runs over *all* pixels, in *nats per image*.
#
# MNIST's pixels, however, are grey.
# So each time an image is used we make them 0 or 1 by chance, with the grey value as the probability of a 1.
# That is *dynamic binarisation*.
# Where do two draws of the same digits differ?

# %%
predict("vae.redrawn")

# %%
drawn = torch.cat([vae.binarise(grey[:5], "dynamic", generator) for _ in range(2)])
changed = (drawn[:5] != drawn[5:]).float().mean().item()
plots.image_grid(
    torch.cat([grey[:5], drawn]),
    ["grey", "drawn once", "drawn again"],
    title=f"Drawn twice: {changed:.0%} of the pixels differ",
    columns=5,
    alt="03/binarisation",
)
plt.show()

# %%
settle("vae.redrawn", 100 * changed)

# %% [markdown]
# Background stays 0 and the core of a stroke almost always 1; only the grey rim changes from draw to draw.
#
# ### Exercise 1: the Bernoulli log-likelihood · 8 minutes
#
# Write $\log p(x \mid z)$ from the decoder's logits.
# Both arguments have the shape `[batch, channels, height, width]`.
# Sum over pixels and return one number per image, in nats, so that the result has the shape `[batch]`.
# Make it safe for logits of ±1000: `F.logsigmoid(l)` is $\log \pi$ without overflow, and $\log(1-\pi)$ is `F.logsigmoid(-l)`.

# %% exercise="vae.bernoulli_log_likelihood"

# %% check="vae.bernoulli_log_likelihood"
bernoulli_checked = check("vae.bernoulli_log_likelihood", bernoulli_log_likelihood)

# %% [markdown]
# **A number to know by heart.**
# A decoder that knows nothing has logits 0 and gives every pixel the probability ½.
# What an image *costs* is minus its log-likelihood, and here that is $784 \log 2$ nats, whatever the image shows:

# %% tags=["nbval-check-output"]
print(f"784 · log 2 = {784 * math.log(2):.2f} nats")
cost = -bernoulli_checked(torch.zeros(1, 1, 28, 28), torch.ones(1, 1, 28, 28))
print(f"function:     {cost.item():.2f} nats")

# %% [markdown]
# ### Why not just compute the integral?
#
# One could draw many codes from the prior and average $p_\theta(x\mid z)$, but that is hopeless.
# Nearly every code belongs to another image and gives this one a probability of almost zero.
# Section 4 shows how rare: about one in $e^{\mathrm{KL}}$, where KL is a term that section 2 derives.
# We need codes that *could* have made this image, and that is what the encoder is for.

# %% [markdown]
# ## 2. A lower bound on the likelihood
#
# Given an image, which codes could have made it?
# The exact answer is the **posterior** $p_\theta(z \mid x)$.
# We cannot compute it, so we learn an approximation $q_\phi(z \mid x)$, a normal distribution with independent components.
# The **encoder**, whose weights are $\phi$, computes one mean $\mu(x)$ and one standard deviation $\sigma(x)$ per latent from the image.
#
# ### First derivation: Jensen's inequality
#
# Multiply and divide by $q$ under the integral, and it becomes an expectation over codes drawn from $q$:
#
# $$\begin{aligned}
#   \log p_\theta(x) &= \log \int q_\phi(z\mid x)\,\frac{p_\theta(x\mid z)\,p(z)}{q_\phi(z\mid x)}\,dz \\
#   &= \log \mathbb E_{q}\!\left[\frac{p_\theta(x\mid z)\,p(z)}{q_\phi(z\mid x)}\right] \\
#   &\ge \mathbb E_{q}\!\left[\log \frac{p_\theta(x\mid z)\,p(z)}{q_\phi(z\mid x)}\right] .
# \end{aligned}$$
#
# The last step is *Jensen's inequality*: the logarithm of a mean is at least the mean of the logarithms, because the logarithm curves downwards.
# The right side is the **evidence lower bound**, ELBO.
# Take the logarithm of the fraction apart,
#
# $$\log \frac{p_\theta(x\mid z)\,p(z)}{q_\phi(z\mid x)} = \log p_\theta(x\mid z) - \log\frac{q_\phi(z\mid x)}{p(z)} ,$$
#
# and the two terms of the bound appear:
#
# $$\mathrm{ELBO}(x) = \underbrace{\mathbb E_{q}\big[\log p_\theta(x\mid z)\big]}_{\text{expected log-likelihood}}
#   \;-\; \underbrace{\mathrm{KL}\big(q_\phi(z\mid x)\,\|\,p(z)\big)}_{\text{price of the code}} .$$
#
# The first term is large if the decoder can explain the image with codes drawn from $q$.
# The second is the *Kullback–Leibler divergence* of $q$ from the prior, defined as $\mathrm{KL}(q\|p) = \mathbb E_q[\log q(z) - \log p(z)]$.
# It is never negative, again by Jensen, since $-\mathrm{KL} = \mathbb E_q\log\frac pq \le \log\int p\,dz = 0$, and 0 only if $q = p$.
#
# ### Second derivation: what is lost
#
# Jensen says that something is lost, but not what.
# To find out, put Bayes' rule, $p(z)\,p_\theta(x\mid z) = p_\theta(z\mid x)\,p_\theta(x)$, into the expectation above:
#
# $$\mathrm{ELBO}(x) = \mathbb E_q\!\left[\log \frac{p_\theta(z\mid x)\,p_\theta(x)}{q_\phi(z\mid x)}\right]
#   = \log p_\theta(x) - \mathrm{KL}\big(q_\phi(z\mid x)\,\|\,p_\theta(z\mid x)\big) .$$
#
# So the gap is exactly the KL divergence from $q$ to the true posterior.
# Since this divergence is never negative, the ELBO is a lower bound.
#
# ### The gap, in your hands
#
# In the machine below the code is one number and the image one pixel, so that every integral is a sum over 1,201 codes, and nothing is left to chance.
# The decoder, at the top, is bent: it rises and falls again, and so one pixel may come from two quite different codes.
# The grey hill is the true posterior $p(z\mid x)$, and the blue curve is $q$, which you move by its two points or by the sliders.
# The bar is $\log p(x)$, made of the ELBO and the hatched gap.
# Three things to try:
#
# 1. Take x = 1.7 and make the gap as small as you can.
#    Then let the ELBO be climbed, which is what training does with the encoder, and compare.
# 2. Take x = 0.9 and climb from a broad $q$ (μ = 0, σ = 1), then from a narrow one on either hill (σ = 0.3, and μ = −0.6 or 1).
#    Do all three climbs end in the same place?
# 3. Watch the line below the bar while you make $q$ narrower at its best place.
#    Which of the two terms gains, and which one pays?

# %% slide="The gap, in your hands"
gap_machine(
    alt="Three normal curves q before the true posterior of one pixel, a single hill near "
    "z = 0.2. For q = the prior the gap is 6.11 nats; for a q at the right place that is "
    "too wide 1.60 nats; for the best normal q 0.02 nats. The bar of ELBO and gap is "
    "equally long in all three.",
)
plt.show()

# %% [markdown]
# Whatever you did, the bar kept its length, because $\log p_\theta(x)$ does not depend on $q$: a larger ELBO *is* a smaller gap.
#
# - For x = 1.7 the posterior has one hill, and the best normal $q$ leaves a gap of only 0.02 nats.
# - For x = 0.9 it has two hills of nearly the same weight, and no normal curve looks like that.
#   So the climb has three places to rest, and where it ends depends on where it began: across both hills with a gap of 0.94 nats, on the left one with 0.73, or on the right one with 0.70.
# - A narrower $q$ explains the pixel better, since it keeps to codes that fit, but it lies further from the prior and so has a higher price.
#
# ### Two things at once
#
# Maximising the ELBO over $q$ *and* over the decoder pushes on two things at once, a higher $\log p_\theta(x)$ and a smaller gap.
#
# Now the article's sentence can be read with care, because there are **two** divergences.
# The one in the objective, to the prior, is the *price* of the code, and it is not small in a good model.
# The one that should be as small as possible, to the true posterior, never appears in the program.

# %% [markdown] slide="The ELBO and its gap"
# Both derivations in one picture: the two columns have the same length.
# Which of the four pieces can training make shorter, and which of them does it see?
#
# {diagram: elbo}

# %% [markdown]
# ### Exercise 2: the KL divergence · 10 minutes
#
# Between two normal distributions the divergence has a closed form.
# For one latent, against the prior, it is
#
# $$\mathrm{KL}\big(\mathcal N(\mu,\sigma^2)\,\|\,\mathcal N(0,1)\big) = \tfrac12\left(\mu^2 + \sigma^2 - 1 -
# \log\sigma^2\right) .$$
#
# Under $q$ and under $p$ the latents are independent, so their divergences add up (Kingma and Welling 2013, appendix B).
# The encoder returns `mu` and `log_var` $= \log\sigma^2$, both of shape `[batch, latent]`.
# It gives the logarithm because a variance must be positive, while its logarithm may be any number.
# Return one number per image: sum over latents, do not average.

# %% exercise="vae.kl"

# %% check="vae.kl"
kl_checked = check("vae.kl", kl)

# %% tags=["nbval-check-output"]
for m, log_v in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]:
    ten = kl_checked(torch.full((1, 10), m), torch.full((1, 10), log_v)).item()
    print(
        f"ten latents with mu = {m:.0f}, log sigma² = {log_v:.0f}: KL = {ten:.3f} nats"
    )

# %% [markdown] slide="A gradient through a dice roll"
# ## 3. A gradient through a dice roll
#
# The first term of the ELBO is an expectation over codes drawn from $q$.
# We draw one code and decode it, but we need gradients for the encoder as well, and a random draw has no derivative.
# The way out is the *reparameterisation*, which lets the randomness come from outside:
#
# $$z = \mu + \sigma\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I) .$$
#
# This $z$ has the same distribution as before, but now it is an ordinary function of $\mu$ and $\sigma$, with ordinary derivatives.
# One draw per image is a noisy but unbiased estimate of the expectation, and the batch averages much of the noise away.

# %% [markdown] slide="Reparameterisation opens the way back"
# Follow the dashed arrows, the way of the gradient back to the encoder: where does the left graph stop them?
#
# {diagram: reparameterisation}

# %% [markdown]
# ### Exercise 3: reparameterise · 8 minutes
#
# Return $z$ from `mu`, `log_var` and `noise` ($\varepsilon$), all of the same shape.
# The standard deviation is $\sigma = e^{\frac12\log\sigma^2}$.
# Gradients must reach both `mu` and `log_var`.

# %% exercise="vae.reparameterise"

# %% check="vae.reparameterise"
reparameterise_checked = check("vae.reparameterise", reparameterise)

# %% [markdown]
# Chapter 3b compares this with the older way, the *score function*, which needs no derivative of the decoder and pays for it in variance.
#
# ### Exercise 4: the ELBO · 10 minutes
#
# Put the pieces `bernoulli_checked`, `kl_checked` and `reparameterise_checked` together.
# `encode(images)` returns `(mu, log_var)`, and `decode(z)` returns logits.
# Use the noise that you are given, which makes one code per image.
# Return the ELBO of each image in nats, with shape `[batch]`.

# %% exercise="vae.elbo"

# %% check="vae.elbo"
elbo_checked = check("vae.elbo", elbo)

# %% [markdown]
# ## 4. Training, and what becomes of the two terms
#
# The package brings the network, and here is all of it.
# The encoder has a hidden layer and *two* heads that read it, one for $\mu$ and one for $\log\sigma^2$, and the decoder goes the other way.

# %% tags=["nbval-check-output"]
torch.manual_seed(P.seed)
model = vae.mlp_vae(latent=P.latent).to(P.device)
print(model.encoder)
print(model.decoder)

# %% [markdown] slide="A VAE, with the terms of its loss"
# The same as a drawing, with the loss's two terms below the halves that they come from:
#
# {diagram: vae}

# %% [markdown]
# The package also has an ELBO.
# Is it the same as yours, given the same images and the same noise?
# And what does an image cost in a VAE that has learned nothing?

# %%
predict("vae.untrained")

# %%
x = vae.binarise(grey[:100], "dynamic", generator)
noise = torch.randn(100, P.latent, generator=generator).to(P.device)
yours = elbo_checked(model.encode, model.decode, x, noise)
ours = vae.elbo(model, x, noise).elbo
print(
    f"largest difference over 100 images: {(yours - ours).abs().max().item():.1e} "
    f"nats of {-ours.mean().item():.0f}"
)

# %%
settle("vae.untrained", -ours.mean().item())

# %% [markdown]
# The difference is the rounding of 32-bit numbers.
# The value, about 550, is just above 543, because an untrained decoder knows nothing.
#
# Now train it with a loss made of *your* functions, minus the ELBO averaged over the batch.
# The loss also returns its two parts, so that we can watch them.
# `fit` is the loop of chapter 1.

# %%
predict("vae.which_rises")
predict("vae.kl_at_the_end")


# %%
def negative_elbo(model, images, labels):
    """Minus the mean ELBO of a batch in nats per image, and its two parts."""
    x = vae.binarise(images)
    mu, log_var = model.encode(x)
    z = reparameterise_checked(mu, log_var, torch.randn_like(mu))
    reconstruction = -bernoulli_checked(model.decode(z), x).mean()
    price = kl_checked(mu, log_var).mean()
    return reconstruction + price, {"reconstruction": reconstruction, "kl": price}


adam = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
film = Film(digits.validation)
history = fit(
    model,
    digits.train,
    negative_elbo,
    epochs=P.epochs,
    batch_size=P.batch_size,
    optimizer=adam,
    validation=digits.validation,
    seed=P.seed,
    quiet=True,
    watch=film,
)

# %% [markdown]
# ### The training as a film
#
# `fit` calls what it is handed as `watch` after every epoch, and our `Film` keeps two pictures each time.
# On the left are 25 codes, drawn once from the prior, and what the decoder makes of them.
# On the right are 200 validation digits, each a dot where the encoder puts its $\mu$.
# We see the plane in which the ten classes lie furthest apart at the end.
#
# Play the film, or move its slider.
# When do the samples become strokes, and when digits?
# And what becomes of the heap in the middle?

# %% slide="The training as a film"
film.show(alt="03/film")
plt.show()

# %% [markdown]
# Before training the decoder makes grey noise of every code, and the encoder puts all digits on one heap.
# Most happens in the first few epochs, in which the heap opens, similar digits gather, and the noise turns into strokes.
# Nobody told the network that there are ten classes; images that look alike get similar codes, because then one part of the decoder serves them all.

# %% [markdown]
# ### What becomes of the two terms
#
# On the right, look at the two parts of the loss separately.
# Which rises?

# %% slide="The loss falls, and the KL rises"
first, last = (
    {name: history[name][end] for name in ("loss", "kl", "reconstruction")}
    for end in (0, -1)
)
titles = [
    f"minus ELBO: from {first['loss']:.0f} to {last['loss']:.0f}",
    f"the KL, one of its two parts: from {first['kl']:.0f} to {last['kl']:.0f}",
]
axes = plots.panels(titles, alt="03/curves")
both = {
    "training": (history["epoch"], history["loss"]),
    "validation": (history["epoch"], history["validation_loss"]),
}
plots.lines(both, titles[0], "epoch", "nats per image", alt="", axis=axes[0])
parts = {"KL": "kl", "reconstruction": "reconstruction"}
parts = {label: (history["epoch"], history[name]) for label, name in parts.items()}
plots.stacked(parts, titles[1], "epoch", "nats per image", alt="", axis=axes[1])
for axis in axes:
    axis.set_xscale("log")  # most happens in the first epochs
plt.show()

# %%
rising = [
    part for part in ("reconstruction", "kl") if history[part][-1] > history[part][0]
]
settle("vae.which_rises", rising[0] if rising else "neither")
settle("vae.kl_at_the_end", history["kl"][-1])

# %%
elbo_here = -evaluate(model, digits.test, vae.vae_loss())["loss"]
report(
    "mnist_test_elbo",
    elbo_here,
    "nats",
    id="03/test_elbo/mnist",
    data=f"{digits.source}, one training run",
)

# %% [markdown]
# The reconstruction loss (*minus* the first term of the ELBO) falls.
# The KL term *rises*, because the code carries more and more about the image, and that has a price.
# So "minimise the KL" is not what happens.
# What is minimised is the *sum*, and the KL settles where one *more* nat of code would save no more than a nat of reconstruction.
#
# In the profile `cpu` the KL ends near 26 nats.
# So only about one draw from the prior in $e^{26}$, which is 2·10¹¹, lands where the encoder says that the image's code lies.
# That is why the average of section 1 is hopeless.
#
# ### Does it reconstruct, and can it invent?
#
# A reconstruction decodes $\mu$, without noise, while a sample decodes a code drawn from the prior.
# The model makes black-and-white images, but we show its probabilities $\pi$, which is why they look soft.
# How many of the samples can you read?

# %% slide="It reconstructs, and it invents"
model.eval()
with torch.no_grad():
    pictures = torch.cat(
        [grey[:10], model.reconstruct(grey[:10]), model.sample(10, generator)]
    )
plots.image_grid(
    pictures,
    ["original", "reconstruction", "sample"],
    title="The VAE trained here: reconstructions, and samples from the prior",
    alt="03/samples",
)
plt.show()

# %% [markdown]
# Ten samples can be lucky, so count those that you can read among a hundred.

# %%
of_its_own = torch.Generator().manual_seed(P.seed)
with torch.no_grad():
    plots.sheet(
        model.sample(100, of_its_own),
        title="A hundred samples from the prior, as they came",
        alt="03/hundred",
    )
plt.show()

# %% [markdown]
# The reconstructions are digits, and some of the samples are, too.
# Whether a VAE invents better than an autoencoder is a question that ten pictures do not answer, and [chapter 3a](03a_what_a_vae_invents.ipynb) puts it to a judge.

# %% [markdown] slide="So, was the claim right?"
# ## 5. So, was the claim right?
#
# *Maximise the likelihood and minimise the KL.*
# Our three questions:
#
# - The likelihood of *what*?
#   Of the images, $\log p_\theta(x)$, but only a lower **bound** on it is maximised.
# - The divergence between *which* distributions?
#   In the objective, between $q_\phi(z\mid x)$ and the prior, and this is a price that *grows* in training.
#   The one that should vanish, to $p_\theta(z\mid x)$, is the gap, and it is never computed.
# - Why their difference?
#   Because it equals $\log p_\theta(x)$ minus that gap.
#   That holds only if both terms are *sums*, over pixels and over latents, as [chapter 3c](03c_what_the_bound_says.ipynb) shows.

# %% [markdown]
# ## A challenge
#
# How good a VAE can you train in no more time than this?
# The next cell shows a first answer, and what random settings have reached.
# In a notebook, copy it into a new cell, make it better, and hand it over.

# %%
challenge("vae.minute")

# %% [markdown]
# ## An open task
#
# How many latents does a digit need?
# Set `latent` to 2, 5 and 50, and run the chapter each time.
# Write down both terms of the loss on validation images, and how many of the hundred samples you can read.
# The task is answered when you can defend one number, with a measurement, against somebody who wants fewer, and one who wants more.

# %% [markdown]
# ## Quiz
#
# **1.
# During training the KL term rises from 0.1 to 20 nats.
# Is something wrong?**
#
# <details><summary>Yes: the objective is to minimise it.</summary>
#
# No. The *sum* is minimised.
# A code that carries information has a price, and it is worth it if the reconstruction gains more.
# </details>
#
# <details><summary>No: the code carries more information about the image.</summary>
#
# Right.
# A KL that stays near 0 would be the problem, because then the code is not used.
# </details>
#
# **2.
# Somebody improves $q$ for one image and leaves the decoder as it is.
# The ELBO rises by 3 nats.
# What has become of $\log p_\theta(x)$?**
#
# <details><summary>It has risen by 3 nats, too.</summary>
#
# No, it does not depend on $q$.
# </details>
#
# <details><summary>It has stayed, and the gap is 3 nats smaller.</summary>
#
# Right, because ELBO and gap add up to it.
# </details>
#
# <details><summary>It has risen, but nobody can say by how much.</summary>
#
# It depends on the decoder and on the image alone.
# </details>
#
# **3.
# Why does one not draw $z$ from $\mathcal N(\mu, \sigma^2)$ directly?**
#
# <details><summary>Because a draw has no derivative by μ and σ, while μ + σε has one.</summary>
#
# Right, and the two have the same distribution.
# </details>
#
# <details><summary>Because the noise must not depend on the batch.</summary>
#
# The noise is drawn anew for each image in both ways.
# </details>
#
# <details><summary>Because normal numbers cannot be drawn on a GPU.</summary>
#
# They can.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("03")
my_bets("03")

# %% [markdown]
# ## Take-away
#
# - A VAE is a model of how images come about, $p(z)\,p_\theta(x\mid z)$, and the encoder is there to train it.
# - ELBO = expected log-likelihood − KL to the prior = log p(x) − KL to the true posterior.
# - Everything is in nats per image, so *sum* over pixels and latents, and average over images only.
# - $z = \mu + \sigma\varepsilon$ lets gradients pass through a random draw.
#
# Go on with [chapter 3a](03a_what_a_vae_invents.ipynb), *What a VAE invents*.

# %% [markdown]
# ## Further reading
#
# - Kingma and Welling, *Auto-Encoding Variational Bayes* (2013), arXiv 1312.6114, is the original paper, and its appendix B has the KL.
# - Rezende, Mohamed and Wierstra, *Stochastic Backpropagation* (2014), arXiv 1401.4082, had the same idea independently.
# - Kingma and Welling, *An Introduction to Variational Autoencoders* (2019), arXiv 1906.02691, is the long version.

# %% [markdown]
# ## Appendix: details
#
# ### The curves of section 4, more closely
#
# In the first epochs the validation curve lies lower, because the training value is the mean over an epoch during which the model improves.
# With the 3,500 digits of the package the curves part after some ten epochs, and training goes on falling while validation stays where it is.
# Such a small set is soon known by heart, so more epochs would not help, but more digits would.
#
# The test value is the mean ELBO, estimated with one sampled code per image, and in expectation it is a *lower bound* on the mean log-likelihood of the binarised images.
# It may be a few nats better than the last validation value, because these are other digits and the validation set is small.
#
# ### Is the formula of the KL right?
#
# A divergence is an expectation, so we can also *estimate* it by drawing codes from $q$ and averaging $\log q(z) - \log p(z)$.
# Watch how twenty estimates for each number of draws close in on your formula.

# %%
q, p = Normal(torch.tensor(1.0), torch.tensor(0.5)), Normal(0.0, 1.0)
exact = kl_checked(torch.tensor([[1.0]]), torch.tensor([[math.log(0.5**2)]])).item()
torch.manual_seed(P.seed)
z = q.sample((20, 4096))
terms = q.log_prob(z) - p.log_prob(z)
draws = [4**i for i in range(1, 7)]
error = [2 * terms.std().item() / math.sqrt(n) for n in draws]
axis = plots.panels(
    [f"KL(N(1, 0.5²) ‖ N(0, 1)) by sampling,\nand {exact:.3f} nats in closed form"],
    width=6,
    alt="03/kl_by_sampling",
)[0]
for n in draws:
    axis.plot(
        [n] * 20,
        terms[:, :n].mean(1),
        ".",
        color=plots.COLOURS[0],
        label="one estimate" if n == 4 else None,
    )
axis.axhline(exact, color=plots.COLOURS[1], label="closed form")
band = [exact - e for e in error], [exact + e for e in error]
axis.fill_between(draws, *band, color="grey", alpha=0.2, label="±2 standard errors")
axis.set(xlabel="number of draws", ylabel="KL (nats)", xscale="log")
axis.set_xticks(draws, [f"{n:,}" for n in draws])
axis.minorticks_off()
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# The dots scatter about the line, and with four times the draws they scatter half as far, like $1/\sqrt n$.
# Nearly all lie within two standard errors, as they should.
# The closed form needs no draws at all, so that is what we train with.
#
# ### Exercise 5: a decoder that knows up from down · 12 minutes
#
# A convolutional decoder goes from a code to a small stack of feature maps and then enlarges them, by *transposed convolutions* or, as here, by repeating pixels.
# The networks of this chapter are fully connected, so this exercise stands alone and no later cell needs it.
# The classic mistake swaps height and width on the way.
# With square maps the swap does nothing, so nobody notices, but with other shapes it scrambles the picture.
#
# `features` has the shape `[batch, channels * height * width]`.
# Return `[batch, channels, 2*height, 2*width]`.
# First give the features the shape of maps with `Tensor.view`, then double both sides by repeating each pixel (*nearest neighbour*) with `Tensor.repeat_interleave`.
# In the check `height` and `width` differ, and the maps are not symmetric.

# %% exercise="vae.decoder_shape"

# %% check="vae.decoder_shape"
grow_checked = check("vae.decoder_shape", grow)
