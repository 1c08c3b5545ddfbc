# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "03b"
#     title: The VAE in depth
#     minutes: {reading: 50, exercises: 30, cpu: 1.6, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # The VAE in depth
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - compare the two ways to send a gradient through a random draw, by their variance;
# - see the gap between the bound and the truth on a model where the truth is known;
# - tighten the bound with importance weights, and evaluate a VAE as the literature does;
# - produce posterior collapse, try its cures, and judge them by the bound;
# - read the plane of rate and distortion;
# - find the bug in three objectives that run without an error.
#
# You need chapter 3: ELBO, KL, reparameterisation.

# %% [markdown]
# ## Set-up

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke (seconds, for a first look), cpu, gpu, paper, or auto
seed: int = 0  # start of every random number
epochs: int | None = None  # passes over the digits for each VAE trained here
betas: list | None = None  # weights of the KL for the rate-distortion curve
k: int | None = None  # codes an image for the final bound
images: int | None = None  # images for the final bound
full_data: bool | None = None  # use all of MNIST instead of the 5,000 digits in the package
data_root: str | None = None  # a folder with your own copy of MNIST

# %%
from vaetl_helpers.runtime import report, setup, show_table

P = setup(
    "03b",
    profile,
    seed=seed,
    epochs=epochs,
    betas=betas,
    k=k,
    images=images,
    full_data=full_data,
    data_root=data_root,
)

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from vaetl_helpers import plots, vae
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.training import evaluate, fit

digits = load("mnist", full=P.full_data, root=P.data_root, device=P.device)
generator = torch.Generator().manual_seed(P.seed)

# %% [markdown]
# ## 1. Two gradients
#
# Chapter 3 used the *reparameterisation* $z = \mu + \sigma\varepsilon$ to send gradients through a random draw. There
# is an older
# way, the **score function** (Williams 1992). For any function $f$ of the code,
#
# $$\nabla_\mu\, \mathbb E_{q}[f(z)] = \mathbb E_q\big[f(z)\, \nabla_\mu \log q(z)\big] .$$
#
# It needs no derivative of $f$ at all: it tries codes, and moves towards those that turned out well. Both are
# unbiased: their expectations agree. How much do *single draws* scatter? We take $f(z) = \log p(x\mid z)$ for one
# digit.

# %%
model, facts = vae.pretrained("vae-mnist")
model = model.to(P.device)
one = vae.binarise(digits.test.images[:1].float() / 255, "static")
with torch.no_grad():
    q = model.encode(one)
noise = torch.randn(4000, q.mean.shape[1], generator=generator).to(P.device)
spread_q = vae.Posterior(q.mean.expand_as(noise), q.log_var.expand_as(noise))
path, score = vae.mu_gradients(lambda z: vae.log_likelihood(model.decode(z), one), spread_q, noise)
path, score = path.detach(), score.detach()

# %%
busiest = int(vae.kl_per_latent(*q)[0].argmax())
show_table(
    [
        (
            name,
            f"{g[:, busiest].mean():.2f} ± {g[:, busiest].std() / math.sqrt(len(g)):.2f}",
            f"{g[:, busiest].std():.1f}",
        )
        for name, g in (("reparameterisation", path), ("score function", score))
    ],
    header=("estimator", "mean over 4,000 draws (± standard error)", "standard deviation of one draw"),
)
ratio = (score.var(0).sum() / path.var(0).sum()).item()
report("variance_ratio_score_over_path", ratio, "", n=4000, data="one digit, loaded VAE")

# %% [markdown]
# The means agree within their errors, though the score function's error is so large that this is a weak check. The
# scatter differs
# greatly: to reach the same precision, the score function needs as many *times* more draws as the *ratio of
# variances* above says. (The
# table shows the busiest latent alone; the ratio adds up the variances of all latents.) This is the plain score
# function: subtracting a
# constant, a *baseline*, from $f$ leaves its mean as it is and would reduce its scatter. For the reparameterisation,
# one draw a step is
# enough in practice.
#
# The score function keeps its place where $z$ is discrete and there is nothing to differentiate.

# %% [markdown]
# ## 2. A model in which the truth is known
#
# Is the ELBO a good bound? For a deep decoder nobody can say, since $\log p(x)$ is unknown. So we take a *linear*
# decoder with
# Gaussian noise (this is probabilistic PCA, Tipping and Bishop 1999):
#
# $$z\sim\mathcal N(0,I), \qquad x \mid z \sim \mathcal N(Wz + b,\; s^2 I) .$$
#
# Sums of independent normal variables are normal, so that $\log p(x)$ is known: $x \sim \mathcal N(b,\; WW^\top + s^2
# I)$. The posterior is
# normal too, with the inverse covariance $I + W^\top W/s^2$.
#
# That matrix is diagonal only if the columns of $W$ are orthogonal. Then a VAE's diagonal $q$ can be *exact*. For any
# other
# $W$, the best diagonal $q$ leaves a gap. We build both.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
W = torch.randn(8, 1, dtype=torch.float64) + 0.5 * torch.randn(8, 3, dtype=torch.float64)  # columns that are alike
orthogonal, _ = torch.linalg.qr(W)
exact = vae.LinearGaussian(1.5 * orthogonal, torch.zeros(8, dtype=torch.float64), sigma=0.5)
general = vae.LinearGaussian(W, torch.zeros(8, dtype=torch.float64), sigma=0.5)
print(f"gap of the best diagonal q: orthogonal W {abs(exact.gap):.2e} nats, general W {general.gap:.3f} nats")

# %% [markdown]
# ### The importance-weighted bound
#
# Draw $k$ codes instead of one, and average *inside* the logarithm (Burda et al. 2015, equation 8):
#
# $$L_k = \mathbb E\left[\log \frac1k \sum_{j=1}^k w_j\right], \qquad
#   w_j = \frac{p_\theta(x\mid z_j)\,p(z_j)}{q_\phi(z_j\mid x)}, \quad z_j \sim q_\phi(z\mid x) .$$
#
# $L_1$ is the ELBO. With more draws this *expectation* can only rise, and under mild conditions it tends to $\log p(x)$.
#
# ### Exercise 1: the importance-weighted bound · 12 minutes
#
# You get the *log-weights* $\log w_j$, shape `[k, batch]`. Return $\log\frac1k\sum_j w_j$ for each image, shape
# `[batch]`, in
# nats. Log-weights near −1,000 are ordinary: $e^{-1000}$ is 0 on a computer. `torch.logsumexp` is safe.


# %% exercise="vae.iw_bound"
def iw_bound(log_weights):
    """log of the mean weight of each image in nats; log_weights has the shape [k, batch], the result [batch]."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))
    ### END SOLUTION


# %% check="vae.iw_bound"
iw_checked = check("vae.iw_bound", iw_bound)

# %% [markdown]
# Now look: the bound on the general linear model, for growing $k$, against the truth. Each point is a mean over 400
# repeats; the
# shaded band shows where 90 % of *single* values fall.

# %%
x = (
    general.decode(torch.randn(1, 3, dtype=torch.float64)) + 0.5 * torch.randn(1, 1, 1, 8, dtype=torch.float64)
).detach()
truth = general.log_prob(x).item()
posterior = vae.Posterior(*(part.detach() for part in general.encode(x)))
ks, repeats = [1, 2, 5, 10, 20, 50], 400
values = {}
for count in ks:
    weights = vae.log_weights(general, x, posterior, torch.randn(count, repeats, 3, dtype=torch.float64))
    values[count] = iw_checked(weights.detach())
axis = plots.lines(
    {
        "mean of the bound": (ks, [values[count].mean().item() for count in ks]),
        "log p(x), exact": (ks, [truth] * len(ks)),
    },
    title="The bound closes in on the truth (general W)",
    x="k, codes an image",
    y="nats",
    scale="log x",
    alt="The mean bound rises towards the exact log-likelihood as k grows; the band of single values reaches above it.",
)
low, high = (torch.stack([values[count].quantile(level) for count in ks]) for level in (0.05, 0.95))
axis.fill_between(ks, low, high, alpha=0.2)
plt.show()

# %%
above = (values[1] > truth).double().mean().item()
print(f"log p(x) = {truth:.3f} nats; mean L_1 = {values[1].mean():.3f}, mean L_50 = {values[50].mean():.3f}")
print(f"single values of L_1 above log p(x): {above:.0%}")

# %% [markdown]
# Two things to take away. The *mean* stays below the truth and rises with $k$. (At $k=1$ the distance should be the
# gap of the best diagonal $q$ computed above; the rest
# is the scatter of 400 repeats.) But a *single* value may lie above the truth: the
# bound holds in expectation. If you ever see a bound above the exact value, ask first how many draws it comes from.
#
# With orthogonal $W$ and the exact posterior something stronger holds: *every* weight equals $p(x)$, whatever code
# was drawn.

# %% tags=["nbval-check-output"]
codes = torch.randn(50, 1, 3, dtype=torch.float64)
spread = vae.log_weights(exact, x, exact.encode(x), codes).detach() - exact.log_prob(x).detach()
print(f"exact posterior: all 50 log-weights equal log p(x): {bool(spread.abs().max() < 1e-9)}")

# %% [markdown]
# ## 3. Collapse, on purpose
#
# A latent is *collapsed* where $q(z_i\mid x)$ equals the prior for every image: its KL is 0, and it carries nothing.
# If all
# latents collapse, the decoder ignores the code. We make it happen with a large $\beta$, in
#
# $$\text{loss} = -\mathbb E_q[\log p(x\mid z)] + \beta\,\mathrm{KL} .$$
#
# Two cures have been proposed:
#
# - **warm-up**: let $\beta$ rise from 0 to its value during the first part of training, so that the code is worth
#   using before it
#   has to be paid for;
# - **free bits** (Kingma et al. 2016): do not charge the first $\lambda$ nats of each latent.
#
# Judge a cure by the *bound at β = 1*, not by the KL. A higher KL is easily bought: it is worth nothing unless the
# reconstruction
# gains more than it costs.


# %%
def train_vae(seed=P.seed, **objective):
    """A VAE with 20 latents trained on the digits with this objective."""
    torch.manual_seed(seed)
    network = vae.mlp_vae(latent=20).to(P.device)
    adam = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
    fit(network, digits.train, vae.vae_loss(**objective), epochs=P.epochs, optimizer=adam, seed=seed, quiet=True)
    return network.eval()


def measure(network):
    """ELBO at β = 1, distortion and rate on validation images (nats per image), and the number of active latents."""
    torch.manual_seed(P.seed)  # the same binarisation and noise for every network
    row = evaluate(network, digits.validation, vae.vae_loss())
    with torch.no_grad():
        means = network.encode(vae.binarise(digits.validation.images.float() / 255, "static")).mean
    return -row["loss"], row["reconstruction"], row["kl"], int(vae.active_units(means).sum())


ramp = P.epochs * len(digits.train) // 2
recipes = {
    "β = 1": {},
    "β = 1, warm-up": {"warm_up_images": ramp},
    "β = 1, free bits 0.5": {"free_bits": 0.5},
    "β = 20 (collapse)": {"beta": 20.0},
    "β = 20, warm-up": {"beta": 20.0, "warm_up_images": ramp},
}
trained = {name: train_vae(**recipe) for name, recipe in recipes.items()}
measured = {name: measure(network) for name, network in trained.items()}

# %%
show_table(
    [(name, f"{b:.1f}", f"{dist:.1f}", f"{rate:.1f}", active) for name, (b, dist, rate, active) in measured.items()],
    header=("trained with", "ELBO at β = 1 (nats)", "distortion (nats)", "KL, rate (nats)", "active latents of 20"),
)

# %% [markdown]
# Read the table in two columns at once.
#
# - β = 20 leaves a KL of nearly 0, and the bound suffers: that is collapse. (The count of active latents asks only
#   whether the mean
#   moves at all. It can still count a latent that carries next to nothing: look at the nats.)
# - Warm-up before β = 20 does not save it: in the end the price is the same, and the code is given up again.
# - At β = 1 nearly all latents are active: there is nothing to cure, and the first three rows lie close together. Free bits take
#   the price off the first nats of each latent, so that a higher KL alone proves nothing: look whether the bound rises too.
# - Each was trained for fewer epochs than the VAE of chapter 3, hence the lower ELBO.
#
# Yet an unused latent is not always a disease. With a linear decoder one can prove that unused latents belong to the
# optimum (Lucas et al.
# 2019): they are those whose information would cost more than it gives. One run each, here: a difference of a nat
# between rows
# means nothing.
#
# ### An unused latent can be cut out
#
# If a latent carries nothing, removing it must not change the bound. The loaded VAE of section 1 has 50 latents, more
# than it
# needs. We remove those that are not active, and compare at the same noise.

# %%
shown = vae.binarise(digits.validation.images.float() / 255, "static")
with torch.no_grad():
    posterior = model.encode(shown)
    keep = vae.active_units(posterior.mean)
    lost = vae.kl_per_latent(*posterior).mean(0)[~keep].sum().item()
    draws = torch.randn(len(shown), keep.numel(), generator=generator).to(P.device)
    whole = vae.elbo(model, shown, draws).elbo.mean().item()
    part = vae.elbo(vae.keep_latents(model, keep), shown, draws[:, keep]).elbo.mean().item()
print(
    f"{int((~keep).sum())} latents removed; their KL together {lost:.3f} nats; the bound changes by {part - whole:+.3f} nats"
)

# %% [markdown]
# More than half of its latents are unused, and the bound hardly notices their removal. This model does not need them.

# %% [markdown]
# ## 4. Rate and distortion
#
# Call the KL the **rate** $R$ (the price of the code) and minus the reconstruction term the **distortion** $D$ (what
# the code does
# not tell). The ELBO is $-(D+R)$. Each $\beta$ buys another mixture (Alemi et al. 2018). All mixtures with the same
# ELBO lie on a
# line of slope −1.

# %%
curve = {beta: measure(train_vae(beta=beta)) for beta in P.betas}

# %%
rates, distortions = [row[2] for row in curve.values()], [row[1] for row in curve.values()]
axis = plots.lines(
    {"VAEs trained here": (rates, distortions)},
    title="Rate and distortion for several β",
    x="rate: KL (nats per image)",
    y="distortion (nats per image)",
    alt="Points on a falling convex curve: a large beta gives low rate and high distortion, a small one the reverse.",
)
best = max(curve, key=lambda beta: curve[beta][0])
total = curve[best][1] + curve[best][2]
axis.plot([0, max(rates)], [total, total - max(rates)], color="grey", linewidth=1)
for beta, rate, distortion in zip(curve, rates, distortions):
    axis.annotate(f" β = {beta:g}", (rate, distortion))
plt.show()

# %%
report("best_beta_for_the_bound", best, "", n=1, data=digits.source)

# %% [markdown]
# The grey line joins all points that are as good as the best one *for the bound*. Points above it lose. In theory the
# curve has the slope −β at the point that minimises $D + \beta R$, so it touches a line of slope −1 at
# β = 1, where the objective is the bound itself. One run each cannot separate β = 1 from its nearest neighbours. (The
# axes have different
# scales, so that slope −1 does not look like 45°.) Whether the same β is best for *transfer* is a question of chapter 5.

# %% [markdown]
# ## 5. How good is it? Evaluation as in the literature
#
# Burda et al. (2015, arXiv 1509.00519), Table 1, report for MNIST with dynamic binarisation and one stochastic layer:
# **86.76** nats
# for the VAE and **84.78** for their importance-weighted training with $k = 50$. These are *negative* log-likelihoods
# (lower is
# better), estimated by $L_{5000}$ on the 10,000 test images.
#
# To compare, one must do the same: the same binarisation, the same $k$, the same images. Here is the loaded VAE on
# the images that
# this run has:

# %%
per_image = -vae.held_out_bound(model, digits.test.images, k=P.k, count=P.images, seed=P.seed)
nll, error = per_image.mean().item(), per_image.std().item() / math.sqrt(len(per_image))
report("loaded_vae_nll", nll, "nats", nll - 1.96 * error, nll + 1.96 * error, n=len(per_image), data=digits.source)
show_table(
    [
        ("VAE, Burda et al. 2015, Table 1", "86.76", "10,000 test images", "5000"),
        ("IWAE k = 50, the same", "84.78", "10,000 test images", "5000"),
        (
            f"ours, recorded {facts['date']}",
            f"{facts['bound']:.2f} ± {facts['standard_error']:.2f}",
            f"{facts['test_images']:,} test images",
            facts["k"],
        ),
        ("ours, this run", f"{nll:.2f} ± {error:.2f}", f"{len(per_image):,} images of {digits.source}", P.k),
    ],
    header=("model", "negative log-likelihood (nats, ± standard error)", "on", "k"),
)

# %% [markdown]
# How to read it:
#
# - With 1,000 images the standard error is most of a nat. Between two models measured on *different* images the
#   errors combine, and
#   differences below about two nats cannot be told from chance. On the *same* images much smaller differences can be
#   real: then look at
#   the standard error of the differences image by image.
# - A smaller $k$ makes the bound looser, never tighter: as far as $k$ is concerned our number is too pessimistic, if
#   anything.
# - The embedded *test* digits come from MNIST's training set, but were kept out of the training of the loaded model. They are not
#   the paper's test images. The recorded line is measured on true test images, but 1,000 of them and with a smaller k.
# - The architecture is not the paper's: wider layers, another activation, layers that add to their input.
#   So a value near the paper's says that the method works here, not that this VAE is better.

# %% [markdown]
# ## 6. Clinic
#
# Three objectives with bugs that are easy to make. Each runs without an error. Each has one bug. Repair them: every
# function returns the
# negative ELBO of a batch, in nats per image, **summed** over pixels and latents and averaged over images.
#
# `logits` and `images` have the shape `[batch, channels, height, width]`.
#
# ### Patient A · 5 minutes


# %%
def objective_a(logits, images, mu, log_var):
    """mu and log_var: [batch, latent]."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).mean()
    return reconstruction + kl


# %% exercise="vae.clinic_a"
def repaired_a(logits, images, mu, log_var):
    """The negative ELBO in nats per image; mu and log_var: [batch, latent]."""
    ### BEGIN SOLUTION
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum() / len(images)
    return reconstruction + kl
    ### END SOLUTION


# %% check="vae.clinic_a"
repaired_a_checked = check("vae.clinic_a", repaired_a)

# %% [markdown]
# ### Patient B · 5 minutes


# %%
def objective_b(logits, images, mu, log_var):
    """mu and log_var: [batch, latent]."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    kl = -torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return (reconstruction + kl) / len(images)


# %% exercise="vae.clinic_b"
def repaired_b(logits, images, mu, log_var):
    """The negative ELBO in nats per image; mu and log_var: [batch, latent]."""
    ### BEGIN SOLUTION
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return (reconstruction + kl) / len(images)
    ### END SOLUTION


# %% check="vae.clinic_b"
repaired_b_checked = check("vae.clinic_b", repaired_b)

# %% [markdown]
# ### Patient C · 5 minutes
#
# This encoder's second head returns the standard deviation σ itself (it ends in a softplus).


# %%
def objective_c(logits, images, mu, sigma):
    """mu and sigma: [batch, latent]; sigma > 0."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
    kl = 0.5 * (mu**2 + sigma.exp() - 1 - sigma).sum() / len(images)
    return reconstruction + kl


# %% exercise="vae.clinic_c"
def repaired_c(logits, images, mu, sigma):
    """The negative ELBO in nats per image; mu and sigma: [batch, latent], sigma > 0 is the standard deviation."""
    ### BEGIN SOLUTION
    reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
    kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum() / len(images)
    return reconstruction + kl
    ### END SOLUTION


# %% check="vae.clinic_c"
repaired_c_checked = check("vae.clinic_c", repaired_c)

# %% [markdown]
# A value that is known beforehand: with logits 0 every pixel costs log 2, and ten latents with μ = 1, σ = 1 cost ½ each.

# %% tags=["nbval-check-output"]
blank, ones = torch.zeros(1, 1, 28, 28), torch.ones(1, 10)
print(f"784 log 2 + 10 / 2 = {784 * math.log(2) + 5:.2f} nats")
for name, patient, second in (("A", repaired_a_checked, 0), ("B", repaired_b_checked, 0), ("C", repaired_c_checked, 1)):
    print(f"patient {name}: {patient(blank, blank, ones, second * ones).item():.2f} nats")

# %% [markdown]
# The patients as they came would give 543.93 (A), 553.43 (B) and 552.02 (C). In training nothing would have raised an
# error: a value that
# is known beforehand shows the bug at once. (This one has a single image, so it does not test the division by the batch.)

# %% [markdown]
# ## Quiz
#
# **1. Your estimate of the ELBO for one image, from one draw, lies above the exact log p(x). Is there a bug?**
#
# <details><summary>Yes: it is a lower bound.</summary>
#
# Not necessarily. The bound holds for the *expectation*. Single draws scatter around it.
# </details>
#
# <details><summary>Not necessarily.</summary>
#
# Right. Average many draws before you compare.
# </details>
#
# **2. Free bits raised the KL from 18 to 25 nats, and the ELBO at β = 1 fell by 2. What did they do?**
#
# <details><summary>They cured the collapse.</summary>
#
# They raised the KL, by construction. The code costs 7 nats more and saves only 5.
# </details>
#
# <details><summary>They bought 5 nats of reconstruction for 7 nats of code.</summary>
#
# Right.
# </details>
#
# **3. Why does L₅₀₀₀ look better than L₁ for the same model?**
#
# <details><summary>The model is trained further.</summary>
#
# No. Evaluation changes no weight.
# </details>
#
# <details><summary>The bound is tighter.</summary>
#
# Right. It says more about the same model. Compare only bounds with the same k.
# </details>

# %% [markdown]
# ## Take-away
#
# - Reparameterised gradients scatter far less than score-function gradients.
# - In expectation ELBO ≤ L_k ≤ log p(x). A single value proves nothing.
# - Judge every cure of collapse by the bound at β = 1, beside the KL.
# - Report k, binarisation, images and standard error with every log-likelihood.

# %% [markdown]
# ## Further reading
#
# - Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders* (2015), arXiv 1509.00519.
# - Tipping and Bishop, *Probabilistic principal component analysis*, J. R. Stat. Soc. B 61 (1999): the exact linear
#   model.
# - Higgins et al., *β-VAE* (2017), ICLR; Alemi et al., *Fixing a Broken ELBO* (2018), arXiv 1711.00464: rate and
#   distortion.
# - Kingma et al., *Improved variational inference with inverse autoregressive flow* (2016), arXiv 1606.04934: free bits.
# - Lucas, Tucker, Grosse and Norouzi, *Don't Blame the ELBO!* (2019), arXiv 1911.02469: when collapse is the optimum.
# - Williams, *Simple statistical gradient-following algorithms*, Machine Learning 8 (1992): the score function.
