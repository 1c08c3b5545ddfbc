# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "03b"
#     title: The VAE in depth
#     minutes: {reading: 27, exercises: 33, cpu: 0.8, gpu: not yet measured}
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
# You need [chapter 3](03_variational_autoencoder.ipynb) for the ELBO, the KL and reparameterisation.

# %% [markdown]
# ## The question
#
# Chapter 3 trained a VAE by one noisy draw per image and a bound that nobody could check.
# Is one draw enough, and is the bound right?
# What happens when the code is too dear?
# And how near does such a VAE come to published ones?

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
full_data: bool | None = None  # all of MNIST, not 5,000 digits of it
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
from torch import nn
from torch.nn import functional as F

from vaetl_helpers import plots, vae
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.linear_gaussian import LinearGaussian
from vaetl_helpers.living.beta_dial import beta_dial
from vaetl_helpers.output import record_id
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.study import mean_interval
from vaetl_helpers.training import evaluate, fit

digits = load("mnist", full=P.full_data, root=P.data_root, device=P.device)
generator = torch.Generator().manual_seed(P.seed)

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("03b")

# %% [markdown] slide="Two gradients through a random draw"
# ## 1. Two gradients through a random draw
#
# Chapter 3 used the *reparameterisation* $z = \mu + \sigma\varepsilon$ to send gradients through a random draw.
# There is an older way, the **score function** (Williams 1992).
# For any function $f$ of the code that does not itself depend on $\mu$,
#
# $$\nabla_\mu\, \mathbb E_{q}[f(z)] = \mathbb E_q\big[f(z)\, \nabla_\mu \log q(z)\big] .$$
#
# This follows from $\nabla_\mu q = q\,\nabla_\mu \log q$.
# The score function needs no derivative of $f$ at all: it tries codes, and moves towards those that turned out well.
# For our normal $q$, $\nabla_\mu \log q(z) = (z-\mu)/\sigma^2 = \varepsilon/\sigma$.
# So there are two estimates from one draw:
#
# - by reparameterisation, $\nabla_z f(z)$ at $z = \mu + \sigma\varepsilon$, also called the *pathwise* gradient;
# - by the score function, $f(z)\,\varepsilon/\sigma$.
#
# The expectation of each is the true gradient, so both are *unbiased*, but how much do *single draws* scatter?
# We take $f(z) = \log p(x\mid z)$ for one digit and draw 4,000 codes.
# The figure shows the estimates for the busiest latent, the one with the largest KL; compare how wide they are.

# %%
predict("vae.score_variance")

# %%
model, facts = vae.pretrained("vae-mnist")
model = model.to(P.device)
one = vae.binarise(digits.test.images[:1].float() / 255, "static")
with torch.no_grad():
    q = model.encode(one)
noise = torch.randn(4000, q.mean.shape[1], generator=generator).to(P.device)
spread_q = vae.Posterior(q.mean.expand_as(noise), q.log_var.expand_as(noise))


def f(z):
    """log p(x|z) of the one digit at each code."""
    return vae.log_likelihood(model.decode(z), one)


path, score = vae.mu_gradients(f, spread_q, noise)
with (
    torch.no_grad()
):  # the mean of f over 1,000 *other* draws, so that it does not depend on those above
    baseline = f(
        q.sample(torch.randn(1000, noise.shape[1], generator=generator).to(P.device))
    ).mean()
_, with_baseline = vae.mu_gradients(lambda z: f(z) - baseline, spread_q, noise)
path, score, with_baseline = path.detach(), score.detach(), with_baseline.detach()

# %%
busiest = int(vae.kl_per_latent(*q)[0].argmax())
estimates = {
    "score function": score,
    "score function with a baseline": with_baseline,
    "reparameterisation": path,
}
axis = plots.panels(
    [
        "One gradient from single draws:\nthe score function scatters "
        f"{score[:, busiest].std() / path[:, busiest].std():.0f} times as widely"
    ],
    width=8,
    alt="03b/gradients",
)[0]
for colour, (name, gradients) in enumerate(estimates.items()):
    axis.hist(
        gradients[:, busiest].cpu(),
        bins=60,
        density=True,
        alpha=0.6,
        color=plots.COLOURS[colour],
        label=name,
    )
axis.set(xlabel="estimate (nats per unit of μ)", yscale="log")
axis.set_ylabel("density (per nat and μ)")
axis.legend(frameon=False)
plt.show()

# %%
show_table(
    [
        (
            name,
            f"{g[:, busiest].mean():.2f} ± "
            f"{g[:, busiest].std() / math.sqrt(len(g)):.2f}",
            f"{g[:, busiest].std():.1f}",
        )
        for name, g in (
            ("reparameterisation", path),
            ("score function", score),
            ("score function with a baseline", with_baseline),
        )
    ],
    header=(
        "estimator",
        "mean over 4,000 draws (± standard error)",
        "standard deviation of one draw",
    ),
)
for name, g in (("score", score), ("baseline", with_baseline)):
    ratio = (g.var(0).sum() / path.var(0).sum()).item()
    report(
        f"variance_ratio_{name}_over_path",
        ratio,
        id=f"03b/variance_ratio/{name}-path",
        n=4000,
        data="one digit, loaded VAE",
    )

# %%
settle("vae.score_variance", (score.var(0).sum() / path.var(0).sum()).item())

# %% [markdown]
# Both scatter around the same mean, but the score function far more widely.
# For the same precision it needs about 1,900 times as many draws with seed 0, which is the ratio of the two variances.
#
# The third row subtracts a constant, a **baseline**, from $f$, here the mean of $f$ over other draws.
# Since $\mathbb E_q[\nabla_\mu \log q(z)] = 0$, this does not change the expectation, and it takes away most of the scatter.
# Without the baseline the estimate scatters because $f$ is far from 0, not because $f$ varies.
# Even compared with this, reparameterisation needs many times fewer draws, and one per step is enough in practice.
#
# The score function keeps its place for a discrete $z$, where there is nothing to differentiate.

# %% [markdown] slide="A model in which the truth is known"
# ## 2. A model in which the truth is known
#
# Is the ELBO a good bound?
# For a deep decoder nobody can say exactly, since $\log p(x)$ is unknown.
# So we take a *linear* decoder with Gaussian noise, which is probabilistic PCA (Tipping and Bishop 1999):
#
# $$z\sim\mathcal N(0,I), \qquad x \mid z \sim \mathcal N(Wz + b,\; s^2 I) .$$
#
# Sums of independent normal variables are normal, so $\log p(x)$ is known: $x \sim \mathcal N(b,\; WW^\top + s^2 I)$.
# The posterior is normal too, with the inverse covariance $\Lambda = I + W^\top W/s^2$.
#
# This matrix is diagonal if and only if the columns of $W$ are orthogonal.
# Then a VAE's diagonal $q$ can be *exact*, but for any other $W$ a gap remains.
# The diagonal $q$ with the largest ELBO has the same gap *for every image*, which the appendix derives and the next cell prints.
# We build both cases, with 8 "pixels", 3 latents and $s = 0.5$ (`sigma` in the code).

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
W = torch.randn(8, 1, dtype=torch.float64) + 0.5 * torch.randn(
    8, 3, dtype=torch.float64
)  # columns that are alike
orthogonal, _ = torch.linalg.qr(W)
exact = LinearGaussian(1.5 * orthogonal, torch.zeros(8, dtype=torch.float64), sigma=0.5)
general = LinearGaussian(W, torch.zeros(8, dtype=torch.float64), sigma=0.5)
print(
    f"gap of the best diagonal q: orthogonal W {abs(exact.gap):.2e} nats, general W "
    f"{general.gap:.3f} nats"
)

# %% [markdown] slide="The importance-weighted bound"
# ### The importance-weighted bound
#
# Draw $k$ codes instead of one, and average *inside* the logarithm (Burda et al. 2015, equation 8):
#
# $$L_k = \mathbb E\left[\log \frac1k \sum_{j=1}^k w_j\right], \qquad
#   w_j = \frac{p_\theta(x\mid z_j)\,p(z_j)}{q_\phi(z_j\mid x)}, \quad z_j \sim q_\phi(z\mid x) .$$
#
# Why is it a bound?
# Each weight has the expectation $\int p_\theta(x\mid z)\,p(z)\,dz = p_\theta(x)$, so the mean of the weights estimates $p_\theta(x)$ without bias.
# By Jensen the expectation of that mean's logarithm is then at most $\log p_\theta(x)$.
# The more draws, the less that mean scatters, and the less Jensen loses.
# $L_1$ is the ELBO, $L_k$ can only rise with $k$, and it tends to $\log p_\theta(x)$, but slowly if $q$ is much narrower than the posterior in some direction, as below.
#
# One set of draws gives $\hat L_k = \log\frac1k\sum_j w_j$, an unbiased *estimate of* $L_k$.
#
# ### Exercise 1: the importance-weighted bound · 8 minutes
#
# You get the *log-weights* $\log w_j$, shape `[k, batch]`.
# Return $\log\frac1k\sum_j w_j$ for each image, shape `[batch]`, in nats.
# Log-weights near −1,000 are ordinary, but $e^{-1000}$ is 0 on a computer, so use `torch.logsumexp`, which is safe.


# %% exercise="vae.iw_bound"

# %% check="vae.iw_bound"
iw_checked = check("vae.iw_bound", iw_bound)

# %% [markdown]
# Now look at the bound on the general linear model, for growing $k$, against the truth.
# Each point is a mean over 400 repeats, and the shaded band shows where 90 % of the *single* estimates fall.
# Watch the mean, and then the two edges of the band.

# %%
predict("vae.above_the_truth")

# %% slide="The bound closes in on the truth"
x = (
    general.decode(torch.randn(1, 3, dtype=torch.float64))
    + 0.5 * torch.randn(1, 1, 1, 8, dtype=torch.float64)
).detach()
truth = general.log_prob(x).item()
posterior = vae.Posterior(*(part.detach() for part in general.encode(x)))
ks, repeats = [1, 2, 5, 10, 20, 50], 400
values = {}
for count in ks:
    weights = vae.log_weights(
        general, x, posterior, torch.randn(count, repeats, 3, dtype=torch.float64)
    )
    values[count] = iw_checked(weights.detach())
axis = plots.lines(
    {
        "mean of the bound": (ks, [values[count].mean().item() for count in ks]),
        "log p(x), exact": (ks, [truth] * len(ks)),
    },
    title="The bound closes in on the truth (general W)",
    x="k, the codes per image (log scale)",
    y="bound for one x (nats)",
    scale="log x",
    alt="03b/bound",
)
low, high = (
    torch.stack([values[count].quantile(level) for count in ks])
    for level in (0.05, 0.95)
)
axis.fill_between(ks, low, high, alpha=0.2, label="90 % of single estimates")
plots.label_lines(axis)
plt.show()

# %%
print(f"log p(x) = {truth:.3f} nats")
for count in (1, 50):
    mean, error = (
        values[count].mean().item(),
        values[count].std().item() / math.sqrt(repeats),
    )
    above = (values[count] > truth).double().mean().item()
    print(
        f"k = {count:2}: mean {mean:.3f} ± {error:.3f} (standard error); {above:.0%} "
        "of single estimates above log p(x)"
    )

# %%
settle("vae.above_the_truth", 100 * (values[50] > truth).double().mean().item())

# %% [markdown]
# The *mean* stays below the truth and rises with $k$.
# At $k=1$ its distance from the truth should be the gap of the best diagonal $q$ computed above, within two standard errors.
# But a *single* estimate may lie above the truth, because the bound holds in expectation.
# A larger $k$ lifts the mean and the lower edge of the band, while single estimates go on exceeding the truth.
# If you ever see a bound above the exact value, ask first over how many repeats or images it was averaged.
#
# With orthogonal $W$ and the exact posterior something stronger holds.
# *Every* weight equals $p(x)$ of this model, whatever code was drawn, because $p(x\mid z)\,p(z)/p(z\mid x) = p(x)$ for every $z$.

# %% tags=["nbval-check-output"]
codes = torch.randn(50, 1, 3, dtype=torch.float64)
spread = (
    vae.log_weights(exact, x, exact.encode(x), codes).detach()
    - exact.log_prob(x).detach()
)
print(
    "exact posterior: all 50 log-weights equal log p(x): "
    f"{bool(spread.abs().max() < 1e-9)}"
)

# %% [markdown]
# ## 3. Collapse, on purpose
#
# A latent is *collapsed* if $q(z_i\mid x)$ equals the prior for every image, so that its KL is 0 and it carries nothing.
# If all latents collapse, the code tells the decoder nothing about the image.
# We make it happen with a large $\beta$, in
#
# $$\text{loss} = -\mathbb E_q[\log p(x\mid z)] + \beta\,\mathrm{KL} .$$
#
# Two cures have been proposed.
#
# - **Warm-up** (Bowman et al. 2016) lets $\beta$ rise from 0 to its value during the first part of training, so that the code is worth using before it has to be paid for.
# - **Free bits** (Kingma et al. 2016) do not charge the first $\lambda$ nats of each latent's KL, averaged over the batch.
#   With $\lambda = 0.5$, 10 nats are free over 20 latents.
#
# In the literature collapse mostly means collapse at β = 1, with a decoder strong enough to do without the code.
# Ours is of another kind, because at β = 20 it is what the objective asks for.
# Warm-up changes only the path there, while free bits change the objective.
# Which of them can help?
# Judge by the *bound at β = 1*, not by the KL.
# A higher KL is easily bought, and it is worth nothing unless the reconstruction gains more than it costs.

# %%
predict("vae.warm_up")
predict("vae.free_bits")


# %%
def train_vae(seed=P.seed, **objective):
    """A VAE with 20 latents trained on the digits with this objective."""
    torch.manual_seed(seed)
    network = vae.mlp_vae(latent=20).to(P.device)
    adam = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
    fit(
        network,
        digits.train,
        vae.vae_loss(**objective),
        epochs=P.epochs,
        optimizer=adam,
        seed=seed,
        quiet=True,
    )
    return network.eval()


def measure(network):
    """ELBO at β = 1, distortion and rate on validation images (nats per image), and the
    number of active latents.
    """
    torch.manual_seed(P.seed)  # the same binarisation and noise for every network
    row = evaluate(network, digits.validation, vae.vae_loss())
    with torch.no_grad():
        means = network.encode(
            vae.binarise(digits.validation.images.float() / 255, "static")
        ).mean
    return (
        -row["loss"],
        row["reconstruction"],
        row["kl"],
        int(vae.active_units(means).sum()),
    )


ramp = P.epochs * len(digits.train) // 2
recipes = {
    "β = 1": {},
    "β = 1, warm-up": {"warm_up_images": ramp},
    "β = 1, free bits 0.5": {"free_bits": 0.5},
    "β = 20 (collapse)": {"beta": 20.0},
    "β = 20, warm-up": {"beta": 20.0, "warm_up_images": ramp},
    "β = 20, free bits 0.5": {"beta": 20.0, "free_bits": 0.5},
}
seeds = [P.seed, P.seed + 1, P.seed + 2]
measured = {}
for name in ("β = 1", "β = 1, warm-up", "β = 1, free bits 0.5"):
    measured[name] = [measure(train_vae(seed, **recipes[name])) for seed in seeds]

# %%
for name in ("β = 20 (collapse)", "β = 20, warm-up", "β = 20, free bits 0.5"):
    measured[name] = [measure(train_vae(seed, **recipes[name])) for seed in seeds]

# %% [markdown]
# Every recipe was trained from the same three seeds, so the last column can compare *within* a seed.
# It shows the mean difference from plain β = 1, with its 95 % interval.
# The interval is wide, because three seeds are few, and it covers the seeds alone, since all runs are measured on the same images.
# The table calls the KL *rate* and minus the reconstruction term *distortion*, and section 4 says why.
# A latent counts as *active* if the variance of its mean over the images exceeds 0.01.

# %% slide="Collapse, and what helps against it"
rows = []
for name, runs in measured.items():
    bound, distortion, rate, active = (sum(column) / len(runs) for column in zip(*runs))
    gains = [run[0] - plain[0] for run, plain in zip(runs, measured["β = 1"])]
    gain, low, high = mean_interval(gains)
    against = "–" if name == "β = 1" else f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"
    rows.append(
        (
            name,
            f"{bound:.1f}",
            f"{distortion:.1f}",
            f"{rate:.1f}",
            f"{active:.0f}",
            against,
        )
    )
    if name != "β = 1":
        report(
            f"bound gain of: {name}",
            gain,
            "nats",
            id=record_id("03b", "bound gain", name),
            low=low,
            high=high,
            n=len(seeds),
            data=digits.source,
        )
show_table(
    rows,
    header=(
        "trained with",
        "ELBO at β = 1 (nats)",
        "distortion (nats)",
        "KL, rate (nats)",
        "active latents of 20",
        "ELBO against plain β = 1 (nats)",
    ),
)

# %%
bounds = {
    name: sum(run[0] for run in runs) / len(runs) for name, runs in measured.items()
}
collapsed = bounds["β = 20 (collapse)"]
lost = bounds["β = 1"] - collapsed
settle("vae.warm_up", (bounds["β = 20, warm-up"] - collapsed) / lost)
settle("vae.free_bits", (bounds["β = 20, free bits 0.5"] - collapsed) / lost)

# %% [markdown]
# Read two columns of the table together, the KL *and* the bound.
#
# - β = 20 leaves a KL of nearly 0, and the bound suffers: that is collapse.
#   The count of active latents hides it, because a mean that scatters by 0.1 is "active" and carries about 0.005 nats.
# - Warm-up before β = 20 wins back only a few of the many nats that were lost, because the final objective is the same and the KL again ends near 0.
# - Free bits at β = 20 bring the bound back a long way, because the first 10 nats of the code are free and the network uses them.
#   But plain β = 1 remains far better: the cure for too high a price is a lower price.
# - At β = 1 all or nearly all latents are active, so there is nothing to cure.
#   What they change there is a nat or two, if the last interval leaves out 0 at all.
#
#
# ### Exercise 2: mend a decoder that sees too much · 10 minutes
#
# Collapse at β = 1 needs a decoder that can do without the code.
# Here is one: it gives each pixel a logit from the code, as before, and adds a weighted sum of pixels *of the very image that it describes*.
# Which pixels it may see is a table of zeros and ones, `[784, 784]`: row $i$ sees column $j$ where there is a 1.
# Such decoders are honest as long as each pixel sees only pixels before it in reading order, since then the product of its probabilities is a likelihood.
#
# The view below was meant to give each pixel its neighbour on the left.
# Trained with it, the VAE collapses: its KL is nearly 0, and yet its cost is far lower than that of any honest model in this chapter.
# Find out what it sees, and mend it: pixel $i$ must see the `reach` pixels before it, and no other.


# %% broken="latent.view"

# %% [markdown]
# The cell below holds the body as comments.


# %% exercise="latent.view"

# %% check="latent.view"
view_checked = check("latent.view", view)

# %% [markdown]
# What does a view do to the code?
# We train the same VAE with the broken view, with yours of one pixel, with yours of all pixels before, and with none.
# Read the columns together: which decoder needs its code, and which cost belongs to a likelihood?


# %%
class SeeingVAE(nn.Module):
    """A VAE whose decoder also sees pixels of the image that it describes."""

    def __init__(self, seen):
        super().__init__()
        self.vae = vae.mlp_vae(latent=20)
        self.weight = nn.Parameter(torch.zeros_like(seen))
        self.register_buffer("seen", seen)

    def forward(self, x):
        logits, posterior = self.vae(x)
        beside = x.flatten(1) @ (self.weight * self.seen).T
        return logits + beside.view_as(x), posterior


def cost_of_seeing(model, images, labels):
    """Minus the bound in nats per image, and the KL in it."""
    x = vae.binarise(images)
    logits, posterior = model(x)
    price = vae.kl(*posterior).mean()
    return price - vae.log_likelihood(logits, x).mean(), {"kl": price}


views = {
    "itself and both neighbours (broken)": view_of_both_sides(784, 1),
    "one pixel before": view_checked(784, 1),
    "all pixels before": view_checked(784, 783),
    "nothing": view_checked(784, 0),
}
rows = []
for name, seen in views.items():
    torch.manual_seed(P.seed)
    network = SeeingVAE(seen.to(P.device)).to(P.device)
    # At the VAE's rate the weights beside the code would lag behind.
    groups = [
        {"params": network.vae.parameters()},
        {"params": [network.weight], "lr": 2e-2},
    ]
    adam = torch.optim.Adam(groups, lr=2e-3, fused=True)
    fit(
        network,
        digits.train,
        cost_of_seeing,
        epochs=P.epochs,
        optimizer=adam,
        seed=P.seed,
        quiet=True,
    )
    torch.manual_seed(P.seed)
    costs = evaluate(network.eval(), digits.validation, cost_of_seeing)
    rows.append((name, f"{costs['loss']:.1f}", f"{costs['kl']:.1f}"))
show_table(rows, header=("the decoder sees", "cost (nats)", "KL (nats)"))

# %% [markdown]
# In the profile `cpu` the first row costs 39 nats with a KL of 1.8, which no honest model of these digits comes near.
# Each pixel saw itself, so there was nothing left to say about it, and the sum of such logarithms is no log-likelihood of anything.
# Your mask mends that, and the other three rows are honest bounds, which may be compared.
#
# - With *all pixels before* it the decoder needs no code: the KL is 1.4 nats, at β = 1, and yet the cost of 108 nats is the best of the three.
#   That is posterior collapse as the literature means it, and the objective is content with it.
# - With *one pixel before* it both do their part: 13 nats of code, and a cost that is 14 nats better than with none.
# - With nothing to see, the code must say everything, and it costs 18 nats.
#
# So what a decoder may see decides what is left for the code.
# Whoever wants the code should keep the view narrow (Chen et al. 2017, *Variational lossy autoencoder*, arXiv 1611.02731).
#
# ### An unused latent can be cut out
#
# A latent with KL 0 is pure noise for the decoder.
# A well-trained decoder has learnt to ignore it, and then cutting it out leaves the bound as it is.
# The loaded VAE of section 1 has 50 latents, more than it needs, so we remove those that are not active and compare the bounds at the same noise.

# %%
predict("vae.cut_out")

# %%
shown = vae.binarise(digits.validation.images.float() / 255, "static")
with torch.no_grad():
    posterior = model.encode(shown)
    keep = vae.active_units(posterior.mean)
    lost = vae.kl_per_latent(*posterior).mean(0)[~keep].sum().item()
    draws = torch.randn(len(shown), keep.numel(), generator=generator).to(P.device)
    whole = vae.elbo(model, shown, draws).elbo.mean().item()
    part = (
        vae.elbo(vae.keep_latents(model, keep), shown, draws[:, keep])
        .elbo.mean()
        .item()
    )
print(f"{int((~keep).sum())} latents removed; their KL together: {lost:.3f} nats")
print(
    f"bound: {whole:.3f} nats before, {part:.3f} after, a change of "
    f"{part - whole:+.3f} (its sign means nothing)"
)

# %%
settle("vae.cut_out", part - whole)

# %% [markdown]
# More than half of its latents are unused, and the bound hardly notices their removal, so this model does not need them.

# %% [markdown]
# ## 4. Rate and distortion
#
# Call the KL the **rate** $R$, the price of the code, and minus the reconstruction term the **distortion** $D$.
# The distortion is the nats still needed to describe the image once the code is known, so the ELBO is $-(D+R)$.
# Each $\beta$ buys another mixture (Alemi et al. 2018), and all mixtures with the same ELBO lie on a line of slope −1.
# In the figure such a line runs through the best β, so look how far the other points lie above it.

# %%
known = {1: measured["β = 1"][0]}  # it was trained above, from the same seed
curve = {beta: known.get(beta) or measure(train_vae(beta=beta)) for beta in P.betas}

# %% slide="Every β buys another mixture"
rates, distortions = (
    [row[2] for row in curve.values()],
    [row[1] for row in curve.values()],
)
best = max(curve, key=lambda beta: curve[beta][0])
total = curve[best][1] + curve[best][2]
axis = plots.panels([""], alt="03b/rate_distortion", height=4.2, width=6)[0]
plots.lines(
    {"VAEs": (rates, distortions)},
    title=f"β = {best:g} costs least: {total:.0f} nats per image",
    x="rate: KL (nats per image)",
    y="distortion (nats per image)",
    alt="",
    axis=axis,
)
axis.plot(
    [0, max(rates)],
    [total, total - max(rates)],
    color="grey",
    linewidth=1,
)
style = {"textcoords": "offset points", "fontsize": 10}
end = (max(rates), total - max(rates))
axis.annotate(
    f"same bound as β = {best:g}",
    end,
    xytext=(0, -14),
    color="grey",
    ha="right",
    **style,
)
for beta, rate, distortion in zip(curve, rates, distortions):
    axis.annotate(f"β = {beta:g}", (rate, distortion), xytext=(7, 4), **style)
axis.margins(0.14)
axis.set_xlim(left=0)  # a KL is never negative
plt.show()

# %%
report(
    "best_beta_for_the_bound", best, id="03b/best_beta/bound", n=1, data=digits.source
)
ordered = sorted(curve)
show_table(
    [
        (
            f"{a:g} and {b:g}",
            f"{(curve[b][1] - curve[a][1]) / (curve[b][2] - curve[a][2]):.2f}",
        )
        for a, b in zip(ordered, ordered[1:])
    ],
    header=("between β =", "slope of the curve"),
)

# %% [markdown]
# The grey line joins all points that are as good as the best one *for the bound*, and points above it lose.
#
# ### The price, on a dial
#
# What does a point of that curve look like?
# For the figure below, ten VAEs were trained at ten β, on 55,000 digits and with a code of only *two* numbers, so that all of it can be drawn.
# Turn the dial from left to right, and watch one thing at a time:
#
# - the plane, where dots are the codes of 500 digits and a numeral stands in its $q(z\mid x)$, drawn as an ellipse of one σ;
# - what comes back of ten digits, and what the decoder makes of ten codes from the prior;
# - the dot on rate and distortion, and the line through it with the slope −β.
#
# Which digits come back as others even where the code is nearly free?
# Which two can be told from the rest for longest, and where is the code lost?
#

# %% slide="The price, on a dial"
beta_dial(
    alt="Left: rate and distortion of ten VAEs, a falling convex curve from β = 0.1 at "
    "10.8 and 140 nats to β = 30 at 0.1 and 204 nats. Right: codes, reconstructions and "
    "samples at β = 1, 9 and 20. The codes fill the plane at first and shrink together; "
    "the pictures blur into a few shapes.",
)
plt.show()

# %% [markdown]
# At β = 0.1 a code is nearly free: the two latents carry 10.8 nats, and some codes lie more than 8 from the origin, beyond the edge of the figure, where the prior hardly ever draws.
# Even so two numbers are too few, for the 4 comes back as a 9, the 5 as an 8 and the 8 as a 3.
# At β = 1 the ELBO is best, −147.6 nats, with a rate of 6.0.
# From there on each step to the right saves rate and costs more distortion than it saves.
# At β = 20 it carries 0.7 nats, and only the 0 and the 1 can be told from the rest.
# At β = 30 one latent is lost, with 0.0001 nats, and the other keeps 0.07: whatever goes in, nearly the same grey digit comes out.
# That is the collapse of section 3, reached by the price alone.
#
# ### Why then any other β?
#
# A lower rate forces a simpler code, and whether that is better for *transfer* is a question of chapter 5b.

# %% [markdown]
# ## 5. How good is it? Evaluation as in the literature
#
# Burda et al. (2015, arXiv 1509.00519), Table 1, report results for MNIST with dynamic binarisation and one stochastic layer.
# They are **86.76** nats for the VAE and **84.78** for the *importance-weighted autoencoder* (IWAE), the same network trained to maximise $L_{50}$ instead of $L_1$.
# These are *negative* log-likelihoods, estimated by $L_{5000}$ on the 10,000 test images, so lower is better.
#
# To compare, you must use the same binarisation, the same $k$ and the same images.
# Our recorded line does, but this run has its own $k$ and images, and only `profile="paper"` would match.

# %%
per_image = -vae.held_out_bound(
    model, digits.test.images, k=P.k, count=P.images, seed=P.seed
)
nll, error = per_image.mean().item(), per_image.std().item() / math.sqrt(len(per_image))
report(
    "loaded_vae_nll",
    nll,
    "nats",
    id="03b/nll/loaded_vae",
    low=nll - 1.96 * error,
    high=nll + 1.96 * error,
    n=len(per_image),
    data=digits.source,
)
show_table(
    [
        (
            "VAE, Burda et al. 2015, Table 1",
            "86.76 ± not given",
            "10,000 test images",
            "5000",
        ),
        ("IWAE k = 50, the same", "84.78 ± not given", "10,000 test images", "5000"),
        (
            f"ours, recorded {facts['date']}",
            f"{facts['paper']['bound']:.2f} ± {facts['paper']['standard_error']:.2f}",
            f"{facts['paper']['test_images']:,} test images",
            facts["paper"]["k"],
        ),
        (
            "ours, this run",
            f"{nll:.2f} ± {error:.2f}",
            f"{len(per_image):,} images of {digits.source}",
            P.k,
        ),
    ],
    header=("model", "negative log-likelihood (nats, ± standard error)", "on", "k"),
)

# %% [markdown]
# Before you believe a small difference, read in the appendix what else differs.
#
# ### How loose is the ELBO of this VAE?
#
# $L_k - L_1$ is a lower estimate of the gap.
# We let $k$ grow on the same images.

# %%
predict("vae.looseness")

# %%
few = digits.test.images[:200]
loose = {
    count: -vae.held_out_bound(model, few, k=count, count=200, seed=P.seed)
    .mean()
    .item()
    for count in (1, 10, 100)
}
show_table(
    [(count, f"{value:.1f}") for count, value in loose.items()],
    header=("k", "−L_k (nats), 200 images"),
)

# %%
settle("vae.looseness", loose[1] - loose[100])

# %% [markdown]
# Some nats lie between $k = 1$ and $k = 100$, and the ELBO is at least that far below $\log p(x)$.
# So papers that report −ELBO and papers that report $-L_{5000}$ speak of different numbers.

# %% [markdown]
# ## 6. Clinic: three objectives with a bug each
#
# Here are three objectives that run without an error, each with one bug that is easy to make.
# The cell below each holds its body as comments: take away the `#` and the last line, then change it.
# Every function returns the negative ELBO of a batch, in nats per image, **summed** over pixels and latents and averaged over images.
#
# `logits` and `images` have the shape `[batch, channels, height, width]`.
# `F.binary_cross_entropy_with_logits(…, reduction="sum")` is minus the Bernoulli log-likelihood of chapter 3, summed over everything.
#
# ### Patient A · 5 minutes


# %% broken="vae.clinic_a"

# %% exercise="vae.clinic_a"

# %% check="vae.clinic_a"
repaired_a_checked = check("vae.clinic_a", repaired_a)

# %% [markdown]
# ### Patient B · 5 minutes


# %% broken="vae.clinic_b"

# %% exercise="vae.clinic_b"

# %% check="vae.clinic_b"
repaired_b_checked = check("vae.clinic_b", repaired_b)

# %% [markdown]
# ### Patient C · 5 minutes
#
# This encoder's second head returns the standard deviation σ itself.
# It ends in a softplus, $\log(1+e^a)$, which is always positive.


# %% broken="vae.clinic_c"

# %% exercise="vae.clinic_c"

# %% check="vae.clinic_c"
repaired_c_checked = check("vae.clinic_c", repaired_c)

# %% [markdown]
# Now test your repairs on a value that is known beforehand.
# With logits 0 every pixel costs log 2, and ten latents with μ = 1, σ = 1 cost ½ each.

# %% tags=["nbval-check-output"]
blank, ones = torch.zeros(1, 1, 28, 28), torch.ones(1, 10)
print(f"784 log 2 + 10 / 2 = {784 * math.log(2) + 5:.2f} nats")
for name, patient, second in (
    ("A", repaired_a_checked, 0),
    ("B", repaired_b_checked, 0),
    ("C", repaired_c_checked, 1),
):
    print(
        f"patient {name}: {patient(blank, blank, ones, second * ones).item():.2f} nats"
    )

# %% [markdown]
# The patients as they came would give 543.93 (A), 553.43 (B) and 552.02 (C).
# In training nothing would have raised an error, but a value that is known beforehand shows the bug at once.
# Only the division by the batch goes untested with a single image.
#
# What did each bug do?
# A is a β below 1, here 1/10, because the price was averaged over the latents, while B is β = 2.
# C is no β at all: $e^\sigma - 1 - \sigma$ is smallest at σ = 0, so it rewards codes without noise, and the VAE becomes an autoencoder.

# %% [markdown]
# ## An open task
#
# At which β does the code die?
# Give `betas` numbers between 1 and 30, and first write down what you call dead: a KL below some number, a latent that is not active, or reconstructions that all look alike.
# Write down for each β what each criterion says.
# The task is answered when two seeds agree on the place for one of them.

# %% [markdown]
# ## Quiz
#
# **1.
# Your estimate of the ELBO for one image, from one draw, lies above the exact log p(x).
# Is there a bug?**
#
# <details><summary>Yes: it is a lower bound.</summary>
#
# Not necessarily.
# The bound holds for the *expectation*, and single draws scatter around it.
# </details>
#
# <details><summary>Not necessarily.</summary>
#
# Right.
# Average over many repeats before you compare.
# </details>
#
# **2.
# Free bits raised the KL from 18 to 25 nats, and the ELBO at β = 1 fell by 2.
# What did they do?**
#
# <details><summary>They cured the collapse.</summary>
#
# They raised the KL, by construction.
# The code costs 7 nats more and saves only 5.
# </details>
#
# <details><summary>They bought 5 nats of reconstruction for 7 nats of code.</summary>
#
# Right.
# </details>
#
# **3.
# Why does L₅₀₀₀ look better than L₁ for the same model?**
#
# <details><summary>The model is trained further.</summary>
#
# No. Evaluation changes no weight.
# </details>
#
# <details><summary>The bound is tighter.</summary>
#
# Right.
# It says more about the same model.
# Between models, compare bounds with the same k.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("03b")
my_bets("03b")

# %% [markdown]
# ## Take-away
#
# - Reparameterised gradients scatter far less than score-function gradients.
# - In expectation $\mathrm{ELBO} \le L_k \le \log p(x)$, but a single value proves nothing.
# - Judge every cure of collapse by the bound at β = 1, beside the KL.
# - −ELBO is distortion plus rate; β chooses the point on their curve, and β = 1 optimises the bound.
# - Report k, binarisation, images and standard error with every log-likelihood.

# %% [markdown]
# ## Further reading
#
# - Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders* (2015), arXiv 1509.00519.
# - Tipping and Bishop, *Probabilistic principal component analysis*, J. R. Stat.
#   Soc.
#   B 61 (1999): the exact linear model.
# - Higgins et al., *β-VAE* (2017), ICLR; Alemi et al., *Fixing a Broken ELBO* (2018), arXiv 1711.00464: rate and distortion.
# - Kingma et al., *Improved variational inference with inverse autoregressive flow* (2016), arXiv 1606.04934: free bits.
# - Bowman et al., *Generating Sentences from a Continuous Space* (2016), arXiv 1511.06349: warm-up of the KL.
# - Lucas, Tucker, Grosse and Norouzi, *Don't Blame the ELBO!*
#   (2019), arXiv 1911.02469: when collapse is the optimum.
# - Williams, *Simple statistical gradient-following algorithms*, Machine Learning 8 (1992): the score function.

# %% [markdown]
# ## Appendix: details
#
# ### The means of the estimates (section 1)
#
# Check the means in the table first.
# Because all three estimators are unbiased, two means should differ by less than two of their combined standard errors, which about one comparison in twenty fails by chance.
#
# ### The gap of the best diagonal $q$ (section 2)
#
# The diagonal $q$ with the largest ELBO has the posterior's mean, $\Lambda^{-1}W^\top(x-b)/s^2$, and the variances $1/\Lambda_{ii}$.
# Its gap is $\frac12\big(\sum_i\log\Lambda_{ii}-\log\det\Lambda\big)$, *the same for every image*.
#
# ### When a latent should stay unused (section 3)
#
# In section 3 we train for fewer epochs than in chapter 3 and measure on validation images, so do not compare the values.
#
# Yet an unused latent is not always a disease.
# With a linear decoder and a *fixed* noise variance $s^2$ one can prove when a latent stays unused at the optimum (Lucas et al. 2019).
# It does so exactly when $s^2$ exceeds the variance of the data in its direction, because its information would cost more than it gives.
#
# ### Slopes of rate and distortion (section 4)
#
# For the best attainable curve the slope at the point that minimises $D + \beta R$ is −β.
# So it touches a line of slope −1 at β = 1, where the objective is the bound itself.
# Compare the table, in which each slope should lie between its two −β.
# If they roughly do, training came near the optimum.
# One run for each β cannot separate β = 1 from a near neighbour.
#
# The line through the dot touches the curve or nearly so.
# Of the nine slopes between neighbours, seven lie between their two −β, and two miss by less than 1: one run at each β comes that near to the optimum.
#
# The two axes of each plane were swapped and mirrored to match its neighbour, which changes neither the prior nor the bound.
# At β = 9 the code has 2.7 nats left, the ellipses are wide, and what comes back is a blur of several digits for all but the 0, the 1 and the 9.
# The collapse at β = 30 is no accident of the first steps, because β rose slowly, over the first two of ten epochs.
#
# ### How to read the comparison of section 5
#
# Keep this in mind when you read the table:
#
# - The brackets in the line above the table are a 95 % interval, while the table gives one standard error.
#   Both cover the choice of test images only, not another training run.
# - Between two models measured on *different* images the errors combine.
#   On the *same* images much smaller differences can be real, so look at the standard error of the differences image by image.
# - A smaller $k$ can only loosen the bound.
#   So our $k = 500$ in the profile `cpu`, against the paper's 5,000, makes the model look worse, never better.
# - The embedded *test* digits come from MNIST's training set, but were kept out of the training of the loaded model.
#   They are not the paper's test images, on all of which the recorded line is measured.
# - The architecture is not the paper's, for it has wider layers, another activation, and layers that add to their input.
#   So a value near the paper's says that the method works here, not that this VAE is better.
