# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "03"
#     title: The variational autoencoder
#     minutes: {reading: 60, exercises: 89, cpu: 1.6, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # The variational autoencoder
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - say why an autoencoder reconstructs images well and yet cannot invent one;
# - derive the evidence lower bound (ELBO) in two ways, and compute each of its terms yourself;
# - train a variational autoencoder (VAE) on digits and on clothes, and read its two curves;
# - explore its latent space by samples, traversals, interpolations and a map that you can move about in;
# - recognise two traps: bounds on grey pixels, and a weight hidden in a mean.
#
# You need chapter 1 (loss, gradient, epoch) and, from probability, the normal distribution, expectation, independence, conditional probability and Bayes' rule.

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
from vaetl_helpers.runtime import CourseError, report, setup, show_table

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
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F

from vaetl_helpers import plots, study, vae
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
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
# Yet on the right there are wide spaces from which no digit comes, while on the left nearly every place within the dashed circle gives one.
# This chapter says what is done differently on the left, and what the two prices of the digit that you draw mean.
#
# What one often hears of a VAE can be measured, too, and section 5 does so.

# %%
question_cards("invention")

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

# %% [markdown]
# ## 1. An autoencoder, and its holes
#
# An *autoencoder* consists of two networks.
# The **encoder** maps an image $x$ to its *code*, a short vector $z$ of $d$ numbers (here 20), each of which is called a *latent*.
# The **decoder** maps a code back to an image.
# The two are trained together so that the image that comes out resembles the one that went in.
# The code is a bottleneck, since 784 pixels must pass through $d$ numbers.


# %%
def autoencoder_loss(model, images, labels):
    """Squared error between an image and its reconstruction: summed over pixels,
    averaged over the batch.
    """
    return (model(images).sigmoid() - images).square().sum(dim=(1, 2, 3)).mean()


torch.manual_seed(P.seed)
encoder = nn.Sequential(
    nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, P.latent)
)
decoder = nn.Sequential(
    nn.Linear(P.latent, 400),
    nn.ReLU(),
    nn.Linear(400, 784),
    nn.Unflatten(1, (1, 28, 28)),
)
autoencoder = nn.Sequential(encoder, decoder).to(P.device)
adam = torch.optim.Adam(autoencoder.parameters(), lr=2e-3, fused=True)
autoencoder_history = fit(
    autoencoder,
    digits.train,
    autoencoder_loss,
    epochs=P.epochs,
    batch_size=P.batch_size,
    optimizer=adam,
    seed=P.seed,
    quiet=True,
)

# %% [markdown]
# Compare the two rows: ten digits that were not trained on, and what comes back.

# %% slide="An autoencoder gives back what it is shown"
with torch.no_grad():
    back = autoencoder(grey[:10]).sigmoid()
plots.image_grid(
    torch.cat([grey[:10], back]),
    ["original", "reconstruction"],
    title="An autoencoder reconstructs",
    alt="03/autoencoder",
)
plt.show()

# %% [markdown]
# The digits come back, only a little blurred.
# So could we also *invent* digits?
# We need only a code, because the decoder makes an image of it.
# Let us draw ten codes at random, with the mean and the spread of real codes, and decode them.
# How many of them become digits?

# %% slide="Yet random codes are no digits"
with torch.no_grad():
    codes = encoder(grey)
    random_codes = codes.mean(0) + codes.std(0) * torch.randn(
        10, P.latent, generator=generator
    ).to(P.device)
    invented = decoder(random_codes).sigmoid()
plots.image_grid(
    invented,
    None,
    title="Random codes through the same decoder",
    alt="03/random_codes",
)
plt.show()

# %% [markdown]
# Most are not digits.
# We kept the mean and the spread of each latent, but not how latents vary together, nor the shape of the cloud.
# Nothing in the loss asked the encoder for a cloud from which it is easy to draw, nor for one without holes.
# Between two good codes there may be nothing.
#
# A VAE sets out to mend this.
# It does not add a trick to the autoencoder, but starts from another question.

# %% [markdown] slide="Another question: how probable is this image?"
# ## 2. Another question: how probable is this image?
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
# They hold a guess $q(z)$ of which code made the image, and they always sum to 1: when you move one, the two others keep their proportion to each other and share what is left.
# The two bars say what the guess makes of $\log p(x)$, and section 3 derives them.
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
# The simplest choice makes each pixel a *Bernoulli* variable: it is 1 (ink, black in our pictures) with a probability of its own, and otherwise 0 (background).
# The decoder gives one logit $\ell_i$ per pixel $i$, and the probability of a 1 is $\pi_i = 1/(1+e^{-\ell_i})$.
# Given the code, we *assume* that pixels are independent, so that the probabilities multiply and their logarithms add up:
#
# $$\log p_\theta(x \mid z) = \sum_{i=1}^{784} \Big( x_i \log \pi_i + (1-x_i) \log(1-\pi_i) \Big) .$$
#
# The sum runs over *all* pixels of an image, and its unit is *nats per image*.
# A nat is the unit of a natural logarithm, 1.44 bits.
#
# MNIST's pixels, however, are grey.
# So each time an image is used we make them 0 or 1 by chance, with the grey value (0 background, 1 ink) as the probability of a 1.
# That is *dynamic binarisation*.
# Where do two draws of the same digits differ?

# %%
drawn = torch.cat([vae.binarise(grey[:5], "dynamic", generator) for _ in range(2)])
plots.image_grid(
    torch.cat([grey[:5], drawn]),
    ["grey", "drawn once", "drawn again"],
    title="Dynamic binarisation",
    columns=5,
    alt="03/binarisation",
)
plt.show()

# %% [markdown]
# Background stays 0 and the core of a stroke almost always 1; only the grey rim changes from draw to draw.
# A hole in a stroke, now and then, is chance.
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
# Nearly every code belongs to another image and gives this one a probability of almost zero, so the average hangs on draws that are rarer than one in a billion.
# Section 5 shows how rare: about one in $e^{\mathrm{KL}}$, where KL is a term that section 3 derives.
# We need codes that *could* have made this image, and that is what the encoder is for.

# %% [markdown]
# ## 3. A lower bound on the likelihood
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
# So the gap is exactly the KL divergence from $q$ to the true posterior (not a distance, because it is not symmetric).
# Since this divergence is never negative, the ELBO is a lower bound, which is our second proof.
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
#   A $q$ that fitted one of two equal hills exactly would lose $\log 2 = 0.69$ nats.
# - A narrower $q$ explains the pixel better, since it keeps to codes that fit, but it lies further from the prior and so has a higher price.
#
# ### Two things at once
#
# Maximising the ELBO over $q$ *and* over the decoder pushes on two things at once, a higher $\log p_\theta(x)$ and a smaller gap.
# But the optimiser sees only their difference, the ELBO, so one of the two may get worse while the other gains more.
# Chapter 3b *shows* this gap on a model in which $\log p(x)$ can be computed exactly.
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

# %% [markdown]
# Is the formula right?
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
    ["KL(N(1, 0.5²) ‖ N(0, 1)) by sampling"],
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

# %% [markdown] slide="A gradient through a dice roll"
# ## 4. A gradient through a dice roll
#
# The first term of the ELBO is an expectation over codes drawn from $q$.
# We draw one code and decode it, but we need gradients for the encoder as well, and a random draw has no derivative.
# The way out is the *reparameterisation*, which lets the randomness come from outside:
#
# $$z = \mu + \sigma\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I) .$$
#
# The product is taken latent by latent.
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

# %% [markdown]
# ## 5. Training, and what becomes of the two terms
#
# The package brings the network, and here is all of it.
# The encoder has a hidden layer and *two* heads that read it, one for $\mu$ and one for $\log\sigma^2$, and the decoder goes the other way.

# %% tags=["nbval-check-output"]
torch.manual_seed(P.seed)
model = vae.mlp_vae(latent=P.latent).to(P.device)
print(model.encoder)
print(model.decoder)

# %% [markdown] slide="A VAE, with the terms of its loss"
# The same as a drawing, with the two terms of the loss below the halves that they come from:
#
# {diagram: vae}

# %% [markdown]
# `model.encode(x)` returns $\mu$ and $\log\sigma^2$, and `model.decode(z)` returns the logits.
# The package also has an ELBO, for the rest of the course.
# Is it the same as yours, given the same images and the same noise?

# %%
x = vae.binarise(grey[:100], "dynamic", generator)
noise = torch.randn(100, P.latent, generator=generator).to(P.device)
yours = elbo_checked(model.encode, model.decode, x, noise)
ours = vae.elbo(model, x, noise).elbo
print(
    f"largest difference over 100 images: {(yours - ours).abs().max().item():.1e} "
    f"nats of {-ours.mean().item():.0f}"
)

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
# Of the many latents we see a plane, the one on which the ten classes lie furthest apart at the end; the labels choose this view and nothing else.
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
# Later epochs move little: the ink becomes sharper, and the cost goes on falling slowly.
# Nobody told the network that there are ten classes; images that look alike get similar codes, because then one part of the decoder serves them all.

# %% [markdown]
# ### What becomes of the two terms
#
# On the right, look at the two parts of the loss separately.
# Which rises?

# %% slide="The loss falls, and the KL rises"
axes = plots.panels(
    ["minus ELBO", "its two parts, training"],
    alt="03/curves",
)
both = {
    "training": (history["epoch"], history["loss"]),
    "validation": (history["epoch"], history["validation_loss"]),
}
plots.lines(both, "minus ELBO", "epoch", "nats per image", alt="", axis=axes[0])
parts = {"KL": "kl", "reconstruction": "reconstruction"}
parts = {label: (history["epoch"], history[name]) for label, name in parts.items()}
plots.stacked(
    parts, "its two parts, training", "epoch", "nats per image", alt="", axis=axes[1]
)
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
# In the profile `cpu` the KL ends near 26 nats, as section 6 will print.
# So only about one draw from the prior in $e^{26}$, which is 2·10¹¹, lands where the encoder says that the image's code lies.
# That is why the average of section 2 is hopeless.
#
# In the first epochs the validation curve lies lower, because the training value is the mean over an epoch during which the model improves.
# With the 3,500 digits of the package the curves part after some ten epochs, and training goes on falling while validation stays where it is.
# Such a small set is soon known by heart, so more epochs would not help, but more digits would.
#
# The test value is the mean ELBO, estimated with one sampled code per image, and in expectation it is a *lower bound* on the mean log-likelihood of the binarised images.
# It may be a few nats better than the last validation value, because these are other digits and the validation set is small.
#
# ### Exercise 6: what do more latents cost? · 12 minutes
#
# The code above has 20 latents and costs about 26 nats.
# What would a code of 2, 5 or 50 latents cost?
# Guess before you measure, and type your numbers into `guessed` below.
# If every latent cost the same, 50 of them would cost 65 nats; if the images set the price, the number of latents would hardly matter.
#
# Write the loop that measures it.
# For each width, `build(width)` makes a new model and `train(model)` trains it in place.
# Then encode `images` in eval mode, without gradients, and note the mean of `kl(mu, log_var)` as a number.


# %% exercise="latent.kl_by_width"

# %% check="latent.kl_by_width"
kl_by_width_checked = check("latent.kl_by_width", kl_by_width)

# %%
guessed = {2: None, 5: None, 20: None, 50: None}  # your guesses in nats, for None


def build(width):
    """A new VAE with so many latents."""
    torch.manual_seed(P.seed)
    return vae.mlp_vae(latent=width).to(P.device)


def train(model):
    """A sixth of the epochs of above, since four models are trained."""
    adam = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    epochs = -(-P.epochs // 6)
    fit(
        model,
        digits.train,
        vae.vae_loss(),
        epochs=epochs,
        optimizer=adam,
        seed=P.seed,
        quiet=True,
    )


shown = vae.binarise(digits.validation.images.float() / 255, "static")
prices = kl_by_width_checked(build, train, kl_checked, shown, list(guessed))
show_table(
    [
        (width, "–" if guess is None else guess, f"{price:.1f}", f"{price / width:.2f}")
        for (width, guess), price in zip(guessed.items(), prices)
    ],
    header=("latents", "your guess (nats)", "KL (nats)", "KL per latent (nats)"),
)

# %% [markdown]
# Up to about twenty latents, each one makes the code dearer, from 5 nats for two of them to 20.
# Then the KL stands still: with 50 latents it is hardly half a nat higher, and the price per latent falls to 0.4 nats.
# So the images set the price, as soon as there are latents enough, and what is left over stays unused.
# (Four models were trained for a sixth of the epochs, so the code of 20 costs less here than above.)
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
# Ten samples can be lucky, so here are a hundred.
# Count those that you can read without doubt.

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
# ### Does a VAE invent better than an autoencoder?
#
# One often reads that *a VAE invents better images than an autoencoder*, though in neither of our articles.
# There is a reason to expect it, because the KL term pulls the codes of all images towards the prior, which leaves less empty space to fall into.
# Compare the last row with the random codes of section 1.
# Both networks have the same layers, the same epochs and the same optimiser, so what differs is the objective, and that the VAE sees binarised images.
#
# Ten pictures decide nothing, and eyes see what they hope for.
# So we let a judge look at a thousand invented digits of each of several networks: a convolutional classifier of real digits.
# It gives two numbers.
# The *confidence* is the probability that it gives to its most probable class, on average.
# The *Fréchet distance* (Heusel et al. 2017, arXiv 1706.08500) asks how far the mean and the covariance of what its last hidden layer makes of invented digits lie from those of real ones.
# It is 0 if both agree, and other real digits have the distance in the table's first row.
#
# A fair comparison needs one more row.
# In section 1 we drew each latent by itself, which forgets how latents vary together.
# An autoencoder's codes can also be drawn from a Gaussian with their full covariance, fitted after training (Ghosh et al. 2020, arXiv 1903.12436), and so can a VAE's.
#
# Before you look: which of the four comes closest to real digits?

# %%
predict("vae.invention")

# %%
WAYS = {
    "autoencoder, each latent by itself": "autoencoder",
    "autoencoder, full covariance": "autoencoder_full_covariance",
    "VAE, from the prior": "vae",
    "VAE, full covariance": "vae_full_covariance",
}


def judged(measure, way, data):
    """A recorded mean over seeds, with its 95 % interval."""
    found = study.recorded_value("03", f"03/{measure}/{way}", "samples", data)
    return "{value:.1f} [{low:.1f}, {high:.1f}]".format(**found)


DATA = ("MNIST, embedded", "MNIST, full")
try:
    real = [
        study.recorded_value("03", f"03/{measure}/real", "samples")["value"]
        for measure in ("frechet_distance", "confidence")
    ]
    rows = [("other real digits", *(f"{value:.1f}" for value in real * 2))]
    for name, way in WAYS.items():
        measures = [
            judged(measure, way, data)
            for data in DATA
            for measure in ("frechet_distance", "confidence")
        ]
        rows.append((name, *measures))
    header = (
        "codes",
        *(
            f"{what}, {size}"
            for size in ("3,500 digits", "55,000 digits")
            for what in ("Fréchet distance", "confidence (%)")
        ),
    )
    print(study.recorded_value("03", "03/confidence/real", "samples")["label"])
    show_table(rows, header)
except CourseError as error:
    print(error)

# %%
settle("vae.invention")

# %% [markdown]
# INVENTION_TEXT
#
# So what does the mathematics of this chapter buy, if not prettier digits?
# A *known* density to draw from, without a fit afterwards; a bound in nats, by which two models can be compared; and an encoder that says how sure it is of a code.
# Section 7 loads a VAE with a larger network that has seen more digits, and its samples are better.
#
# ### The same on clothes
#
# Nothing in the model knows that the images are digits, so it can learn clothes as well.
# Fashion-MNIST has more grey in it, and that makes the next section necessary.

# %%
clothes = load("fashion-mnist", full=P.full_data, root=P.data_root, device=P.device)
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
    title="The same VAE on clothes",
    alt="03/clothes",
)
plt.show()

# %% [markdown]
# Outlines mostly survive, but patterns do not.
# A likely reason is that patterns cost more code than they save, at least after so short a training.
#
# ### Exercise 7: the ten strangest clothes · 10 minutes
#
# The bound gives every image a cost, minus the bound.
# Which clothes of the test set does the model find strangest, and which the most ordinary?
# Write `strangest`, which returns the rows of the `count` images with the *lowest* bound, the lowest first.
# `bound(images)` draws pixels and codes anew at each call, so one call would give an order that is half chance: take the mean of `draws` calls.


# %% exercise="latent.strangest"

# %% check="latent.strangest"
strangest_checked = check("latent.strangest", strangest)

# %% [markdown]
# The upper row shows the ten with the lowest bound, the lower row the ten with the highest.
# Before you look: what will the ones in the upper row have in common?


# %%
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
for name, rows in (("strangest", strange), ("most ordinary", ordinary)):
    cost = -bound_of_clothes(garments[rows]).mean().item()
    print(f"{name}: {cost:.0f} nats per image")
plots.image_grid(
    garments[torch.cat([strange, ordinary])],
    ["strangest", "most ordinary"],
    title="Clothes by their bound",
    alt="Two rows of ten garments. The upper row holds bags and "
    "grey jumpers, the lower one thin sandals and black trousers.",
)
plt.show()

# %% [markdown]
# The strangest cost almost five times as much as the most ordinary, 461 against 94 nats in our run.
# In the upper row are bags and jumpers, large areas of grey in which nearly every pixel is drawn by chance; in the lower one are thin sandals and black trousers.
# An odd shape is not what they have in common, then, and that is a hint of what follows.
#
# ### Does the bound say what does not belong?
#
# It seems natural to use a VAE as a guard that turns away what it was not trained on.
# Behind that stands another sentence that one often hears, though not in our articles: *images of a kind that a VAE has never seen get a lower likelihood*.
# So let us show digits to the VAE of clothes, which has never seen one.
# Which will cost more, a shirt or a 7?
# A blank image is shown as well.

# %%
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
    ["What a VAE of clothes has to pay"],
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
report(
    "digits_minus_clothes",
    (by_kind["digits"].mean() - by_kind["clothes"].mean()).item(),
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
# Both have one reason.
# An image of a few thin strokes on a blank ground is cheap to describe for any model that has learned what blank ground is, and one with grey cloth all over is not.
# So the bound says how *simple* an image is for this model, not whether it belongs.

# %% [markdown]
# ## 6. Two traps: grey pixels, and means for sums
#
# ### A bound on grey pixels is not a likelihood
#
# Much published code skips the binarisation and puts grey pixels straight into the Bernoulli formula.
# It runs, and gives a number in "nats".
# But a Bernoulli variable is 0 or 1, and it has no probability for 0.37.
# By linearity, the formula gives the *expected* log-likelihood of the image's random binarisations instead.
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
# For clothes the floor is most of the loss of section 5!
# That loss was measured on binarised images, but on average they cannot cost less than this entropy either, since the randomness of the draw has to be paid for.
#
# So the grey-pixel loss bounds the average log-likelihood of the image's random binarisations.
# It says nothing about the grey image itself, to which a Bernoulli model gives no probability.
# Nor is it our bound, because with grey pixels the encoder has not seen the draw it must explain.
# Keep the two apart in tables.
# And nats on different data sets are never comparable: the floor alone differs by more than 100.
# Here we always report the bound on binarised images.
#
# ### The weight hidden in a mean
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
    epochs=-(-P.epochs // 3),
    optimizer=adam,
    quiet=True,
)
print(
    f"loss: {starved_history['loss'][0]:.3f} after the first epoch, "
    f"{starved_history['loss'][-1]:.3f} after the last"
)
print(
    f"KL at the end: {starved_history['kl'][-1]:.3f} nats, against "
    f"{history['kl'][-1]:.1f} nats with sums"
)
plots.image_grid(
    torch.cat([grey[:10], starved.eval().reconstruct(grey[:10])]),
    ["original", "reconstruction"],
    title="Trained with a mean over pixels: every reconstruction is the same",
    alt="03/mean_over_pixels",
)
plt.show()

# %%
settle("vae.starved", starved_history["kl"][-1])

# %% [markdown]
# The code carries nothing, so every image is reconstructed as the average digit.
# Yet nothing failed: the loss is small and falls.
# If your VAE's reconstructions all look alike, check first whether the loss *sums* over the pixels.

# %% [markdown]
# ## 7. A walk through the latent space
#
# For this section we *load* two VAEs that were trained for longer on the full MNIST.
# One has a code of two numbers, so that it can be drawn as a map, and the other a longer one.
# The table's last column is minus the ELBO on MNIST's validation images, as in the figure of section 5.

# %%
plane, plane_facts = vae.pretrained("vae-mnist-2d")
large, large_facts = vae.pretrained("vae-mnist")
plane, large = plane.to(P.device), large.to(P.device)
show_table(
    [
        (
            facts["architecture"]["latent"],
            " → ".join(map(str, facts["architecture"]["widths"])),
            facts["epochs"],
            "55,000 digits",
            f"{facts['validation_loss']:.1f}",
        )
        for facts in (plane_facts, large_facts)
    ],
    header=(
        "latents",
        "hidden layers",
        "epochs",
        "trained on",
        "minus ELBO, validation (nats)",
    ),
)

# %% [markdown]
# Two numbers are too few for a digit, which explains the difference.
# Both files carry the command that made them (`large_facts["command"]`).
#
# ### Where do the digits lie?
#
# Each dot is the posterior mean $\mu$ of one digit, in the colour of its class, which the VAE has never seen; the class stands in the middle of its dots.
# The circles are the prior's, at one and two standard deviations.
# Look at which classes are neighbours, and which overlap.

# %%
labels = digits.validation.labels[:1000].cpu()
with torch.no_grad():
    centres = plane.encode(grey).mean.cpu()
plots.latent_scatter(
    centres,
    labels,
    title="Codes of the validation digits (loaded VAE)",
    alt="03/codes",
)
plt.show()

# %% [markdown]
# Classes form regions without having been asked to, but 4 and 9, which look alike, overlap.
# Whether such a space helps a *classifier* is the question of chapter 5.
#
# This is the plane on which you have moved a point at the top of this chapter.
# There, press *Show what every place becomes*: neighbouring codes give similar digits, and between two classes the one turns into the other, so there are few holes.
#
# ### One latent at a time
#
# Take one digit's code and move a single latent from −3 to 3.
# What does each of the four *busiest* latents do, those with the largest mean KL?
# The codes are those of digits made black and white *statically*, with a 1 where the grey exceeds ½, so that the result does not change from run to run.

# %% slide="One latent at a time"
with torch.no_grad():
    posterior = large.encode(vae.binarise(grey, "static"))
    per_latent = vae.kl_per_latent(*posterior).mean(0)
    busiest = per_latent.argsort(descending=True)[:4]
    start = posterior.mean[0]
    steps = torch.linspace(-3, 3, 10, device=P.device)
    walk = torch.stack(
        [
            torch.where(torch.arange(len(start), device=P.device) == i, s, start)
            for i in busiest
            for s in steps
        ]
    )
plots.image_grid(
    large.picture(walk),
    [f"latent {int(i)}" for i in busiest],
    columns=len(steps),
    tops=[f"{float(s):+.1f}".replace("-", "−") for s in steps],
    title="Traversals: one latent moves, the others stay (loaded VAE)",
    alt="03/traversals",
)
plt.show()

# %% [markdown]
# Each latent changes several things at once: slant, width, the openness of a loop and, far enough out, the class.
# Nothing in the objective asks each latent to stand for one thing.
#
# ### From one digit to another
#
# Between two codes $a$ and $b$ there is a straight line.
# But most of a normal distribution's mass in $d$ dimensions lies near distance $\sqrt d$ from the origin, and the middle of a straight line lies closer.
# The path along an *arc* keeps the distance, if both ends have the same.
#
# ### Exercise 8: interpolate along an arc · 12 minutes
#
# With $\omega$ for the angle between $a$ and $b$, the code a fraction $t$ along the arc is
#
# $$z_t = \frac{\sin((1-t)\,\omega)\; a + \sin(t\,\omega)\; b}{\sin \omega} .$$
#
# Return `count` codes from $a$ to $b$, both included, with the shape `[count, d]`.
# If the angle is below 0.001, the formula divides 0 by 0, so take the straight line $(1-t)\,a + t\,b$ there.


# %% exercise="latent.interpolate"

# %% check="latent.interpolate"
interpolate_checked = check("latent.interpolate", interpolate)

# %% [markdown]
# Our ends are posterior means, whose lengths are printed first.
# Do the two paths differ in the middle?

# %%
a, b = posterior.mean[0], posterior.mean[1]
lengths = [v.norm().item() for v in (a, b, (a + b) / 2)]
print(
    "lengths of the ends: {:.1f} and {:.1f}, of the middle of the straight line: "
    "{:.1f}".format(*lengths)
)
fractions = torch.linspace(0, 1, 10, device=P.device)
straight = torch.lerp(a, b, fractions[:, None])
paths = torch.cat([straight, interpolate_checked(a, b, len(fractions))])
plots.image_grid(
    large.picture(paths),
    ["straight", "arc"],
    tops=[f"{float(t):.2f}" for t in fractions],
    title="Interpolation between the codes of two digits (loaded VAE)",
    alt="03/interpolation",
)
plt.show()

# %% [markdown]
# Both paths begin and end with clean digits.
# In the middle the picture is a blend that is neither the one nor the other.
# The line and the arc differ little here, since the middle of the straight line still has most of the length of the ends, and this decoder evidently tolerates that.
#
# In our run the ends are 4.8 and 4.7 long, well below $\sqrt{50} = 7.1$.
# Of the 50 latents only about 22 are active, as the end of this section shows, and the unused ones have a mean of nearly 0.
# So the lengths are about those of draws from the prior in the active latents, $\sqrt{22} = 4.7$.
#
# ### Does it invent, or does it remember?
#
# A model could "invent" by copying training images, so we look for the nearest training image of each sample (by squared distance of the pixels).
# The yardstick is the same distance for real digits.

# %%
predict("vae.copies")

# %%
samples = large.sample(10, generator)
rows, distance = vae.nearest(samples, digits.train.images)
_, real = vae.nearest(grey[:200], digits.train.images)
print(
    f"a real digit that was not trained on: median distance {real.median().item():.0f}"
)
plots.image_grid(
    torch.cat([samples, digits.train.images[rows].float() / 255]),
    ["sample"] * 10 + [f"nearest: {value:.0f}" for value in distance],
    title="Samples (loaded VAE) and their nearest neighbours among the training "
    "images here",
    alt="03/neighbours",
)
plt.show()

# %%
settle("vae.copies", (distance.median() / real.median()).item())

# %% [markdown]
# The neighbours resemble the samples, most in class too.
# But real digits that were not trained on are about as far from their nearest neighbours, so the samples do not look copied.
# In the profiles `smoke` and `cpu` we search the digits of the package only, which are a part of what the model was trained on, so a copy could be missed.
# With `full_data=True` the search is complete.
#
# ### Exercise 9: hot and cold samples · 5 minutes
#
# Whoever shows samples of a generative model often turns down the *temperature*, the standard deviation of the codes: it is 1 for the prior.
# Write `sample`, which decodes codes at any temperature to images in [0, 1].
# Scale the noise that you are given, decode it, and make probabilities of the logits.


# %% exercise="latent.sample"

# %% check="latent.sample"
sample_checked = check("latent.sample", sample)

# %% [markdown]
# Two scores tell what a temperature buys and what it costs.
# *Fidelity* asks how far a sample lies from the nearest real digit; lower is better.
# *Variety* asks how far two samples lie from each other on average; for real digits the same number is printed below the table.
# At which temperature would you draw?

# %%
temperatures = (0.25, 0.5, 0.75, 1.0, 1.5)
noise = torch.randn(300, posterior.mean.shape[1], generator=generator).to(P.device)


def variety(images):
    """The mean squared distance of two different images."""
    return torch.pdist(images.flatten(1)).square().mean().item()


rows, heat = [], []
for temperature in temperatures:
    with torch.no_grad():
        pictures = sample_checked(large.decode, noise, temperature)
    _, distance = vae.nearest(pictures, digits.train.images)
    fidelity = distance.mean().item()
    rows.append((temperature, f"{fidelity:.0f}", f"{variety(pictures):.0f}"))
    heat.append(pictures[:10])
show_table(
    rows,
    header=(
        "temperature",
        "to the nearest real digit",
        "between two samples",
    ),
)
print(f"between two real digits: {variety(grey[:300]):.0f}")
plots.image_grid(
    torch.cat(heat),
    [f"temperature {temperature:g}" for temperature in temperatures],
    title="The same noise at five temperatures (loaded VAE)",
    alt="Five rows of ten invented digits. At the lowest temperature nearly all are a "
    "blurred 8; further down they differ more and more, and in the last row strokes "
    "break.",
)
plt.show()

# %% [markdown]
# Cold samples look clean and alike: at 0.25 nearly all of them are one blurred 8, the middle of the latent space.
# With the temperature the variety grows, and at 1 it is still below that of real digits.
# The distance to the nearest real digit hardly changes up to 1, and rises at 1.5, where strokes break.
# So whoever reports the fidelity of samples should report the temperature and the variety beside it.
#
# ### Which latents are in use?
#
# The large VAE has 50 latents.
# How many nats does each carry, averaged over images?

# %%
active = vae.active_units(posterior.mean)
order = per_latent.argsort(descending=True).cpu()
axis = plots.panels(
    ["KL of each latent, in order (loaded VAE)"],
    width=8,
    alt="03/kl_per_latent",
)[0]
axis.bar(
    range(len(order)),
    per_latent[order].cpu(),
    color=plots.COLOURS[0],
)
edge = int(active.sum()) - 0.5
axis.axvline(edge, color="grey", linestyle="--")
axis.annotate(
    f" {int(active.sum())} active latents to the left",
    (edge, 0.9 * float(per_latent.max())),
    fontsize=10,
)
axis.set(xlabel="rank of the latent by its KL", ylabel="mean KL (nats)")
plt.show()

# %%
print(
    f"{int(active.sum())} of {len(active)} latents are active: the variance of their "
    "mean over images exceeds 0.01"
)

# %% [markdown]
# Some latents are used, while others have a KL of nearly 0, because the encoder returns the prior for them, whatever the image is.
# Unused latents cost nothing.
# Whether they are a disease or a good choice is a question for chapter 3b.

# %% [markdown] slide="So, was the claim right?"
# ## 8. So, was the claim right?
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
#   That holds only if both terms are *sums*, over pixels and over latents, since even a mean over both is another objective, with β = D/d.
#
# And what is often said of a VAE's inventions:

# %%
verdict_cards("invention")

# %% [markdown]
# ## A challenge
#
# How good a VAE can you train in no more time than this?
# The next cell says what is asked and shows a first answer, and what random settings have reached with as much time.
# In a notebook, copy the answer into a new cell, make it better, and hand it over.

# %%
challenge("vae.minute")

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
# **3.
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
# - Say which likelihood you report, and on which pixels.

# %% [markdown]
# ## Further reading
#
# - Kingma and Welling, *Auto-Encoding Variational Bayes* (2013), arXiv 1312.6114, is the original paper, and its appendix B has the KL.
# - Rezende, Mohamed and Wierstra, *Stochastic Backpropagation* (2014), arXiv 1401.4082, had the same idea independently.
# - Kingma and Welling, *An Introduction to Variational Autoencoders* (2019), arXiv 1906.02691, is the long version.
# - Loaiza-Ganem and Cunningham, *The continuous Bernoulli* (2019), arXiv 1907.06845, says what to do with grey pixels.
# - Chapter 3b has the exact model, collapse, rate and distortion, and evaluation.
