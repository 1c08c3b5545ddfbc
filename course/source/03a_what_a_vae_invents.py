# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   vaetl:
#     chapter: "03a"
#     title: What a VAE invents
#     minutes: {reading: 22, exercises: 29, cpu: 0.5, gpu: not yet measured}
#     requires: []
# ---

# %% [markdown]
# # What a VAE invents
#
# {badges}

# %% [markdown]
# ## What you will be able to do
#
# - let a judge say which of two networks invents better digits;
# - explore a latent space by a map, traversals, interpolations and samples of any temperature;
# - tell invention from memory, and latents that are used from those that are not.
#
# You need [chapter 3](03_variational_autoencoder.ipynb).

# %% [markdown]
# ## The claim that this chapter tests
#
# One often reads that *a VAE invents better images than an autoencoder*, though in neither of our articles.
# There is a reason to expect it, because the KL term pulls the codes of all images towards the prior, which leaves less empty space to fall into.
# Is it so, and what else does the mathematics of chapter 3 buy?

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
from vaetl_helpers.runtime import CourseError, setup, show_table

P = setup(
    "03a",
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
from torch import nn
from torch.nn import functional as F

from vaetl_helpers import plots, study, vae
from vaetl_helpers.app.verdict_card import question_cards, verdict_cards
from vaetl_helpers.data import load
from vaetl_helpers.exercises import check, hint, solution
from vaetl_helpers.practice import my_bets, predict, quiz, recall, settle
from vaetl_helpers.training import fit

# %% [markdown]
# The claim on a card, before anything is measured:

# %%
question_cards("invention")

# %% [markdown]
# ### Recall
#
# Four questions from earlier chapters, before this one begins.
# In a notebook, what you miss comes back sooner than what you know.

# %%
recall("03a")

# %%
digits = load("mnist", full=P.full_data, root=P.data_root, device=P.device)
grey = (
    digits.validation.images[:1000].float() / 255
)  # some images to look at: float, [n, 1, 28, 28]
generator = torch.Generator().manual_seed(P.seed)

# %% [markdown]
# ## 1. Two networks with the same layers
#
# We train both on the same digits, with the same layers and the same optimiser, first the autoencoder.


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
# Now the VAE, which differs in its objective, and in that it sees binarised images.

# %%
torch.manual_seed(P.seed)
model = vae.mlp_vae(latent=P.latent).to(P.device)
vae_history = fit(
    model,
    digits.train,
    vae.vae_loss(),
    epochs=P.epochs,
    batch_size=P.batch_size,
    optimizer=torch.optim.Adam(model.parameters(), lr=2e-3, fused=True),
    seed=P.seed,
    quiet=True,
)

# %% [markdown]
# To invent, one needs only a code, because the decoder makes an image of it.
# For the VAE a code is drawn from the prior.
# For the autoencoder we draw each latent by itself, with the mean and the spread of real codes.
# Rows 1 and 2 show that both reconstruct; how many of the invented digits in rows 3 and 4 can you read?

# %% slide="Yet random codes are no digits"
model.eval()
with torch.no_grad():
    codes = encoder(grey)
    random_codes = codes.mean(0) + codes.std(0) * torch.randn(
        10, P.latent, generator=generator
    ).to(P.device)
    pictures = torch.cat(
        [
            autoencoder(grey[:10]).sigmoid(),
            model.reconstruct(grey[:10]),
            decoder(random_codes).sigmoid(),
            model.sample(10, generator),
        ]
    )
plots.image_grid(
    pictures,
    [
        "autoencoder: reconstructed",
        "VAE: reconstructed",
        "autoencoder: invented",
        "VAE: invented",
    ],
    title="Both bring digits back, but what do they invent?",
    alt="03a/invented",
)
plt.show()

# %% [markdown]
# Digits come back from both, only a little blurred.
# But of the autoencoder's random codes most give no digit, and though the VAE's inventions have smoother strokes, several of them cannot be read either.
# Why does the autoencoder fail here?
# We kept the mean and the spread of each latent, but not how latents vary together, nor the shape of the cloud.
# Nothing in the loss asked the encoder for a cloud from which it is easy to draw, nor for one without holes.
#
# ## 2. Does a VAE invent better than an autoencoder?
#
# Ten pictures decide nothing, and eyes see what they hope for.
# So we let a judge look at a thousand invented digits of each of several networks: a convolutional classifier of real digits.
# It gives two numbers.
# The *confidence* is the mean probability that the judge gives to the class that it finds most probable.
# The *Fréchet distance* (Heusel et al. 2017, arXiv 1706.08500) compares invented digits with real ones inside the judge: how far apart are the means and the covariances of what its last hidden layer makes of them?
# It is 0 if both agree, and other real digits have the distance in the table's first row.
#
# A fair comparison needs one more row.
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


COLUMNS = {
    "Fréchet distance, 3,500 digits": ("frechet_distance", "MNIST, embedded"),
    "Fréchet distance, 55,000 digits": ("frechet_distance", "MNIST, full"),
    "confidence (%), 55,000 digits": ("confidence", "MNIST, full"),
}
try:
    real = [
        study.recorded_value("03", f"03/{measure}/real", "samples")["value"]
        for measure, _ in COLUMNS.values()
    ]
    rows = [("other real digits", *(f"{value:.1f}" for value in real))]
    for name, way in WAYS.items():
        measures = [judged(measure, way, data) for measure, data in COLUMNS.values()]
        rows.append((name, *measures))
    print(study.recorded_value("03", "03/confidence/real", "samples")["label"])
    show_table(rows, header=("codes", *COLUMNS))
except CourseError as error:
    print(error)

# %%
settle("vae.invention")

# %% [markdown]
# Against an autoencoder whose latents are drawn one by one, the VAE is closer to real digits: by 16 % with 55,000 of them, and by 3 % with 3,500.
# But let the autoencoder's codes be drawn with their full covariance, and *it* is closer than the VAE with its prior, with few digits and with many.
# The VAE gains by such a fit, too, so its aggregate of codes is not the prior that it was trained towards.
# Other real digits have a distance of 4.4, and none of the four comes near that.
#
# So what does the mathematics of chapter 3 buy, if not prettier digits?
# A *known* density to draw from, without a fit afterwards; a bound in nats, by which two models can be compared; and an encoder that says how sure it is of a code.
# The next section loads a VAE with a larger network that has seen more digits, and its samples are better.

# %% [markdown]
# ## 3. A walk through the latent space
#
# For this section we *load* two VAEs that were trained for longer on the full MNIST.
# One has a code of two numbers, so that it can be drawn as a map, and the other a longer one.
# The table's last column is minus the ELBO on MNIST's validation images.

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
# Two numbers are too few to describe a digit, which explains most of the difference.
# Both files carry the command that made them (`large_facts["command"]`).
#
# ### Where do the digits lie?
#
# Each dot is the posterior mean $\mu$ of one digit, in the colour of its class, which the VAE has never seen.
# Each class is named in the middle of its dots, or beside it where two names would overlap.
# The circles are the prior's, at one and two standard deviations.
# Look at which classes are neighbours, and which overlap.

# %%
labels = digits.validation.labels[:1000].cpu()
with torch.no_grad():
    centres = plane.encode(grey).mean.cpu()
plots.latent_scatter(
    centres,
    labels,
    title="Digits that look alike have codes close together (loaded VAE)",
    alt="03a/codes",
)
plt.show()

# %% [markdown]
# Classes form regions without having been asked to, but 4 and 9, which look alike, overlap.
# Whether such a space helps a *classifier* is the question of chapter 5.
#
# This is the plane on which you have moved a point at the top of chapter 3.
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
    title="One latent moves, and several things change (loaded VAE)",
    alt="03a/traversals",
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
# ### Exercise 1: interpolate along an arc · 12 minutes
#
# With $\omega$ for the angle between $a$ and $b$, the code a fraction $t$ along the arc is
#
# $$z_t = \frac{\sin((1-t)\,\omega)\; a + \sin(t\,\omega)\; b}{\sin \omega} .$$
#
# Return `count` codes from $a$ to $b$, both included, with the shape `[count, d]`.
# If the angle is below 0.001, the formula divides 0 by 0, so take the straight line $(1-t)\,a + t\,b$ there.

# %% exercise="latent.interpolate"

# %% check="latent.interpolate" tags=["nbval-check-output"]
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
    title="Halfway between two digits lies neither (loaded VAE)",
    alt="03a/interpolation",
)
plt.show()

# %% [markdown]
# Both paths begin and end with clean digits.
# In the middle the picture is a blend that is neither the one nor the other.
# The line and the arc differ little here, since the middle of the straight line still has most of the length of the ends, and this decoder evidently tolerates that.
#
# In our run the ends are 4.8 and 4.7 long, well below $\sqrt{50} = 7.1$.
# Of the 50 latents only about 22 are active, as section 5 shows, and the unused ones have a mean of nearly 0.
# So the lengths are about those of draws from the prior in the active latents, $\sqrt{22} = 4.7$.
#
# ## 4. Does it invent, or does it remember?
#
# A model could "invent" by copying training images, so we look for the nearest training image of each sample, by squared distance of the pixels.
# But what counts as near?
# Our yardstick is how far real digits, which were not trained on either, lie from their own nearest training image.

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
    alt="03a/neighbours",
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
# ### Exercise 2: hot and cold samples · 5 minutes
#
# Whoever shows samples of a generative model often turns down the *temperature*, the standard deviation of the codes: it is 1 for the prior.
# Write `sample`, which decodes codes at any temperature to images in [0, 1].
# Scale the noise that you are given, decode it, and make probabilities of the logits.

# %% exercise="latent.sample"

# %% check="latent.sample" tags=["nbval-check-output"]
sample_checked = check("latent.sample", sample)

# %% [markdown]
# Two scores tell what a temperature buys and what it costs.
# *Fidelity* asks how far a sample lies from the nearest real digit; lower is better.
# *Variety* asks how far two samples lie from each other on average; for real digits the same number is printed below the table.
# At which temperature would you draw?

# %%
predict("vae.variety")

# %% slide="What a temperature buys, and what it costs"
temperatures = (0.25, 0.5, 0.75, 1.0, 1.5)
noise = torch.randn(300, posterior.mean.shape[1], generator=generator).to(P.device)


def variety(images):
    """The mean squared distance of two different images."""
    return torch.pdist(images.flatten(1)).square().mean().item()


rows, heat, heat_at = [], [], {}
for temperature in temperatures:
    with torch.no_grad():
        pictures = sample_checked(large.decode, noise, temperature)
    _, distance = vae.nearest(pictures, digits.train.images)
    fidelity = distance.mean().item()
    rows.append((temperature, f"{fidelity:.0f}", f"{variety(pictures):.0f}"))
    heat.append(pictures[:10])
    heat_at[temperature] = pictures
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
    title="Cold samples are alike, hot ones break (loaded VAE)",
    alt="Five rows of ten invented digits. At the lowest temperature nearly all are a "
    "blurred 8; further down they differ more and more, and in the last row strokes "
    "break.",
)
plt.show()

# %%
at_one = variety(heat_at[1.0]) / variety(grey[:300])
settle("vae.variety", at_one)

# %% [markdown]
# Cold samples look clean and alike: at 0.25 nearly all of them are one blurred 8, the middle of the latent space.
# With the temperature the variety grows, and at 1 it is still below that of real digits.
# The distance to the nearest real digit hardly changes up to 1, and rises at 1.5, where strokes break.
# So whoever reports the fidelity of samples should report the temperature and the variety beside it.
#
# ## 5. Which latents are in use?
#
# The large VAE has 50 latents.
# How many nats does each carry, averaged over images?

# %%
predict("vae.active")

# %% slide="Which latents are in use?"
active = vae.active_units(posterior.mean)
order = per_latent.argsort(descending=True).cpu()
axis = plots.panels(
    [
        f"{int(active.sum())} of {len(active)} latents carry "
        f"{per_latent[active].sum() / per_latent.sum():.1%} of the KL (loaded VAE)"
    ],
    width=8,
    alt="03a/kl_per_latent",
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

# %%
settle("vae.active", int(active.sum()))

# %% [markdown]
# Some latents are used, while others have a KL of nearly 0, because the encoder returns the prior for them, whatever the image is.
# Unused latents cost nothing.
# Whether they are a disease or a good choice is a question for chapter 3b.
#
# ### Exercise 3: what do more latents cost? · 12 minutes
#
# A code of 20 latents costs about 26 nats in chapter 3.
# What would a code of 2, 5 or 50 latents cost?
# Guess before you measure, and type your numbers into `guessed` below.
# If every latent cost the same, 50 of them would cost 65 nats; if the images set the price, the number of latents would hardly matter.
#
# Write the loop that measures it.
# For each width, `build(width)` makes a new model and `train(model)` trains it in place.
# Then encode `images` in eval mode, without gradients, and note the mean of `kl(mu, log_var)` as a number.

# %% exercise="latent.kl_by_width"

# %% check="latent.kl_by_width" tags=["nbval-check-output"]
kl_by_width_checked = check("latent.kl_by_width", kl_by_width)

# %%
guessed = {2: None, 5: None, 20: None, 50: None}  # your guesses in nats, for None


def build(width):
    """A new VAE with so many latents."""
    torch.manual_seed(P.seed)
    return vae.mlp_vae(latent=width).to(P.device)


def price_of_code(mu, log_var):
    """The KL of each image's code, in nats."""
    return vae.kl(mu, log_var)


def train(model):
    """A third of the epochs of above, since four models are trained."""
    adam = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    epochs = -(-P.epochs // 3)
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
prices = kl_by_width_checked(build, train, price_of_code, shown, list(guessed))
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
# Four models were trained for a third of the epochs of section 1, so the code of 20 costs less here than in chapter 3.
#
# ## 6. So, does a VAE invent better?
#
# What decides is the table of section 2, with its row for the autoencoder whose codes are drawn with their full covariance, because that is the fair rival.
# The walk has shown the rest.
# Neighbouring codes give similar images, samples are not copies of training images, and the model says by its KL which latents it uses.

# %%
verdict_cards("invention")

# %% [markdown]
# ## An open task
#
# Does your own eye agree with the judge?
# Draw the autoencoder's codes of section 1 once more, now with their full covariance (`torch.distributions.MultivariateNormal`).
# Mix 30 of these images with 30 samples of the VAE, in an order that you do not know.
# Write down for each whether you can read it, before you look where it came from.
# The task is answered when you have both counts with an interval, and a second person's counts beside them.

# %% [markdown]
# ## Quiz
#
# **1.
# Most random codes of an autoencoder give no digit.
# What is the reason?**
#
# <details><summary>Its decoder is too small.</summary>
#
# The same decoder reconstructs digits that it has never seen.
# </details>
#
# <details><summary>Nothing in its loss asked for a cloud of codes that is easy to draw from.</summary>
#
# Right, and drawing each latent by itself forgets how latents vary together.
# </details>
#
# <details><summary>Random codes need more latents.</summary>
#
# More latents mean more room for holes.
# </details>
#
# **2.
# Samples at temperature 0.25 look cleaner than at 1.
# Is the model better than you thought?**
#
# <details><summary>Yes, because one should always draw at 0.25.</summary>
#
# Nearly all samples are then one blurred 8.
# </details>
#
# <details><summary>No, the samples are clean because they are alike.</summary>
#
# Right, so report the variety beside the fidelity.
# </details>
#
# **3.
# A VAE with 50 latents uses 22 of them.
# What do the other 28 cost?**
#
# <details><summary>Nothing, because their KL is nearly 0.</summary>
#
# Right, the encoder returns the prior for them.
# </details>
#
# <details><summary>More than half of the KL.</summary>
#
# The KL is the sum over latents, and theirs are nearly 0.
# </details>
#
# <details><summary>One nat each.</summary>
#
# A latent that carries nothing costs nothing.
# </details>

# %% [markdown]
# In a notebook you can answer the same questions here, so that what you miss comes back in a later chapter.
# The line below them says how your bets in this chapter came out.

# %%
quiz("03a")
my_bets("03a")

# %% [markdown]
# ## Take-away
#
# - Compare inventions by a judge and many samples, and give the rival a fair way to draw.
# - The line and the arc between two codes differ little, as long as the middle keeps its length.
# - Say at which temperature samples were drawn, and how varied they are.
# - The images set the price of a code, and latents beyond that stay unused.
#
# Go on with [chapter 3b](03b_vae_in_depth.ipynb), *The VAE in depth*, or with [chapter 4](04_transfer_learning.ipynb).

# %% [markdown]
# ## Further reading
#
# - Ghosh et al., *From Variational to Deterministic Autoencoders* (2020), arXiv 1903.12436: an autoencoder with a fitted density.
# - Heusel et al., *GANs Trained by a Two Time-Scale Update Rule* (2017), arXiv 1706.08500: the Fréchet distance.
# - White, *Sampling Generative Networks* (2016), arXiv 1609.04468: interpolation along an arc.
