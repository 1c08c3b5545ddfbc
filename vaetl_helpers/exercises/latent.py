"""Chapters 3a to 3c: what a trained VAE's code holds, and where its bound points.

How much a code costs by its width, arcs between codes, samples at a temperature, the images that a
model finds strangest, and a decoder that sees too much to need a code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaetl_helpers.exercises.engine import Function, Values
from vaetl_helpers.exercises.forms import indices, numbers, tensor
from vaetl_helpers.exercises.toolkit import array, exercise, plain, whole_number

RESULT = "the result"
NAN = "NaN or infinity where finite numbers were expected"

# latent.kl_by_width


@exercise(
    id="latent.kl_by_width",
    level=2,
    minutes=12,
    points=3,
    hints=(
        "A loop over the widths: each round builds a model, trains it and measures it.",
        "Measure in eval mode and without gradients: mu, log_var = model.encode(images) and "
        "kl(mu, log_var) give one number per image.",
        "means.append(kl(mu, log_var).mean().item()) in the loop, below model.eval() and "
        "torch.no_grad().",
    ),
    steps=(
        "build a model of this width, and train it",
        "in eval mode and without gradients: encode the images",
        "note the mean KL of the images as a number",
    ),
    after="The KL is not set by the width: from some width on, more latents cost nothing more.",
    form=numbers,
)
def kl_by_width(build, train, kl, images, widths):
    """The mean KL in nats per image of one trained model for each width: a list.

    build(width) makes a model, train(model) trains it in place, model.encode(images)
    returns (mu, log_var), and kl(mu, log_var) gives one number per image.
    """
    means = []
    for width in widths:
        model = build(width)
        train(model)
        model.eval()
        with torch.no_grad():
            mu, log_var = model.encode(images)
            means.append(kl(mu, log_var).mean().item())
    return means


class Coder(nn.Module):
    """An encoder that gives other codes in train mode."""

    def __init__(self, weights: Tensor, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights[:, : 2 * width].clone())

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen = F.dropout(images.flatten(1), 0.5, self.training)
        mu, log_var = (seen @ self.weights).chunk(2, dim=1)
        return mu, log_var


def stretch(model: Coder) -> None:
    """A training of the small problems: it moves the weights and leaves train mode on."""
    model.train()
    with torch.no_grad():
        model.weights.mul_(2)


def price(mu: Tensor, log_var: Tensor) -> Tensor:
    """The KL of each image in nats."""
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)


@kl_by_width.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    count, height, most = (whole_number(low, low + 4, generator) for low in (5, 3, 6))
    first = whole_number(2, 3, generator)
    pixels = height * (height + 1)
    return {
        "images": torch.rand(count, 1, height, height + 1, generator=generator),
        "weights": torch.randn(pixels, 2 * most, generator=generator) / pixels**0.5,
        "widths": torch.arange(first, most + 1, 1 + seed % 2),
    }


@kl_by_width.drive
def _(function: Function, inputs: Values) -> Values:
    torch.manual_seed(0)  # so that dropout that was left on is named
    weights = inputs["weights"]
    widths = inputs["widths"].tolist()
    result = function(lambda width: Coder(weights, width), stretch, price, inputs["images"], widths)
    return {RESULT: plain(result)}


kl_by_width.compare(RESULT, says="those are not the mean KLs of the trained models")

kl_by_width.wrong(
    "not trained",
    says="the models are not trained: call train(model) before you measure",
    edit={"train(model)": ""},
)
kl_by_width.wrong(
    "train mode",
    says="training has left train mode on, where dropout changes the codes: call model.eval() "
    "before you encode",
    edit={"model.eval()": ""},
)
kl_by_width.wrong(
    "per latent",
    says="that is the KL per latent: do not divide by the width",
    edit={
        "means.append(kl(mu, log_var).mean().item())": (
            "means.append(kl(mu, log_var).mean().item() / width)"
        )
    },
)
kl_by_width.wrong(
    "summed",
    says="that is summed over the images: take their mean",
    edit={
        "means.append(kl(mu, log_var).mean().item())": (
            "means.append(kl(mu, log_var).sum().item())"
        )
    },
)


@kl_by_width.wrong(
    "one model", says="that is one and the same model each time: build(width) belongs in the loop"
)
def _(build, train, kl, images, widths):
    model = build(widths[0])
    train(model)
    model.eval()
    return [kl(*model.encode(images)).mean().item() for _ in widths]


@kl_by_width.wrong(
    "trained on and on", says="that trains the first model on and on: build(width) each time anew"
)
def _(build, train, kl, images, widths):
    model = build(widths[0])
    means = []
    for _ in widths:
        train(model)
        model.eval()
        means.append(kl(*model.encode(images)).mean().item())
    return means


# latent.interpolate


@exercise(
    id="latent.interpolate",
    level=3,
    minutes=12,
    points=3,
    hints=(
        "First the angle between the codes, then fractions t from 0 to 1, then the formula for "
        "all fractions at once.",
        "The angle is the arc cosine of F.cosine_similarity(a, b, dim=0); rounding may carry "
        "that above 1, so clamp it. t = torch.linspace(0, 1, count)[:, None] makes rows.",
        "Where the angle is below 1e-3, divide by nothing: return (1 - t) * a + t * b.",
    ),
    steps=(
        "the angle between a and b (clamp the cosine to [-1, 1])",
        "count fractions t from 0 to 1, as a column",
        "nearly no angle: the straight line",
        "otherwise the arc",
    ),
    after="Both ends are in it, and no code on the way lies closer to the origin than they.",
    alternative="torch.lerp(a, b, t) is the straight line, in one call.",
    form=tensor,
)
def interpolate(a, b, count):
    """`count` codes [count, d] along the arc from a [d] to b [d], both included."""
    angle = torch.acos(F.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    t = torch.linspace(0, 1, count, device=a.device)[:, None]
    if angle < 1e-3:
        return (1 - t) * a + t * b
    arc = torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b
    return arc / torch.sin(angle)


FROM_A_TO_B = "the codes from a to b"
FROM_A_TO_A = "the codes from a to a"
DIVIDED_BY_ZERO = "where the angle is 0 the arc divides 0 by 0: take the straight line there"


@interpolate.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    latents, count = (whole_number(low, low + 4, generator) for low in (4, 4))
    a = torch.randn(latents, generator=generator)
    # At a right angle the sine is 1, and a missing division would not be seen.
    return {
        "a": a,
        "b": 1.2 * a + torch.randn(latents, generator=generator),
        "count": count,
    }


@interpolate.drive
def _(function: Function, inputs: Values) -> Values:
    a, b = inputs["a"], inputs["b"]
    return {
        FROM_A_TO_B: plain(function(a.clone(), b.clone(), inputs["count"])),
        FROM_A_TO_A: plain(function(a.clone(), a.clone(), inputs["count"])),
    }


interpolate.part("the codes on the arc", points=2)
interpolate.compare(FROM_A_TO_B, says="those codes do not lie on the arc from a to b")
interpolate.part("the way from a code to itself", points=1)
interpolate.compare(
    FROM_A_TO_A, says="between a code and itself there is only that code: return it each time"
)

interpolate.wrong(
    "straight",
    says="that is the straight line, which comes closer to the origin: follow the arc",
    edit={"if angle < 1e-3:": "if True:"},
)
interpolate.wrong(
    "without ends",
    says="the ends are missing: t runs from 0 to 1, both included",
    edit={
        "t = torch.linspace(0, 1, count, device=a.device)[:, None]": (
            "t = torch.linspace(0, 1, count + 2)[1:-1, None]"
        )
    },
)
interpolate.wrong(
    "without the last",
    says="b is missing: t runs from 0 to 1, both included",
    edit={
        "t = torch.linspace(0, 1, count, device=a.device)[:, None]": (
            "t = torch.arange(count)[:, None] / count"
        )
    },
)
interpolate.wrong(
    "backwards",
    says="that runs from b to a: t = 0 is a",
    edit={
        "t = torch.linspace(0, 1, count, device=a.device)[:, None]": (
            "t = torch.linspace(1, 0, count)[:, None]"
        )
    },
)
interpolate.wrong(
    "cosine for angle",
    says="you took the cosine for the angle: torch.acos is missing",
    edit={
        "angle = torch.acos(F.cosine_similarity(a, b, dim=0).clamp(-1, 1))": (
            "angle = F.cosine_similarity(a, b, dim=0)"
        )
    },
)
interpolate.wrong(
    "not divided",
    says="divide by the sine of the angle",
    last_line="return arc",
)
interpolate.wrong(
    "unit length",
    says="those codes have length 1: keep the lengths of a and b",
    last_line="return F.normalize(arc, dim=1)",
)


@interpolate.judge
def _(inputs: Values, outputs: Values) -> str | None:
    refusal = interpolate.compared(inputs, outputs)
    if refusal == f"{FROM_A_TO_A}: {NAN}":
        return f"{refusal}; {DIVIDED_BY_ZERO}"
    return refusal


@interpolate.wrong("angle 0", says=DIVIDED_BY_ZERO)
def _(a, b, count):
    angle = torch.acos(F.cosine_similarity(a, b, dim=0).clamp(-1, 1)) * float(not a.equal(b))
    t = torch.linspace(0, 1, count)[:, None]
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


# latent.sample


@exercise(
    id="latent.sample",
    level=1,
    minutes=5,
    points=1,
    hints=(
        "Scale the codes before they are decoded; what comes out of the decoder are logits.",
        "temperature * noise are the codes, and .sigmoid() makes probabilities of logits.",
        "return decode(temperature * noise).sigmoid()",
    ),
    after="At temperature 1 the codes come from the prior; below it they keep near the origin.",
    alternative="vae.picture(z) does both steps for the models of this course.",
    form=tensor,
)
def sample(decode, noise, temperature):
    """Images in [0, 1] from codes drawn at a temperature, the standard deviation of the
    codes: noise [n, d] is standard normal, and decode(z) returns logits.
    """
    return decode(temperature * noise).sigmoid()


@sample.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    count, latents, height = (whole_number(low, low + 3, generator) for low in (4, 3, 3))
    return {
        "weights": torch.randn(latents, height * (height + 1), generator=generator),
        "noise": torch.randn(count, latents, generator=generator),
        "temperature": 0.4 + 0.3 * torch.rand((), generator=generator).item(),
        "height": height,
    }


@sample.drive
def _(function: Function, inputs: Values) -> Values:
    torch.manual_seed(0)  # a learner's own noise is then that of the wrong answer, and is named
    weights, height = inputs["weights"], inputs["height"]

    def decode(z: Tensor) -> Tensor:
        return torch.tanh(z @ weights).mul(3).unflatten(1, (1, height, height + 1))

    return {RESULT: plain(function(decode, inputs["noise"].clone(), inputs["temperature"]))}


sample.compare(RESULT, says="those are not the probabilities decoded from temperature · noise")

sample.wrong(
    "logits",
    says="those are logits: .sigmoid() makes them probabilities",
    last_line="return decode(temperature * noise)",
)
sample.wrong(
    "without temperature",
    says="the temperature is not used: it multiplies the noise",
    last_line="return decode(noise).sigmoid()",
)
sample.wrong(
    "temperature of the logits",
    says="that is the temperature of a classifier, which divides logits: here it multiplies the "
    "codes, before they are decoded",
    last_line="return (decode(noise) / temperature).sigmoid()",
)
sample.wrong(
    "logits scaled",
    says="you scaled the logits: the temperature multiplies the codes, before they are decoded",
    last_line="return (temperature * decode(noise)).sigmoid()",
)
sample.wrong(
    "divided",
    says="you divided by the temperature: a low one must bring the codes closer to 0",
    last_line="return decode(noise / temperature).sigmoid()",
)
sample.wrong(
    "variance",
    says="you took the temperature for the variance: it is the standard deviation",
    last_line="return decode(temperature**0.5 * noise).sigmoid()",
)
sample.wrong(
    "own noise",
    says="that is noise of your own: use the noise that you are given",
    last_line="return decode(temperature * torch.randn_like(noise)).sigmoid()",
)
sample.wrong(
    "black and white",
    says="you drew the pixels: return their probabilities, which are grey",
    last_line="return decode(temperature * noise).sigmoid().round()",
)


# latent.strangest


@exercise(
    id="latent.strangest",
    level=2,
    minutes=10,
    points=2,
    hints=(
        "A low bound means strange. Since bound scatters, add up several calls before you sort.",
        "total = total + bound(images), `draws` times; dividing changes no order.",
        "total.argsort() begins with the lowest: its first `count` entries are the rows.",
    ),
    after="You sorted by a noisy number and took the mean first: one draw alone would have "
    "shuffled the list.",
    alternative="torch.topk(-total, count).indices finds them without sorting all.",
    form=indices,
)
def strangest(bound, images, count, draws):
    """The rows of the `count` images with the lowest mean bound, the lowest first.

    bound(images) returns nats [n] and draws codes anew, so that it scatters: the mean
    of `draws` calls decides.
    """
    total = bound(images)
    for _ in range(draws - 1):
        total = total + bound(images)
    return total.argsort()[:count]


@strangest.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    size, count, draws = (whole_number(low, low + 4, generator) for low in (16, 5, 4))
    images = torch.rand(size, 1, 3, 4, generator=generator)
    return {
        "images": images,
        "count": count,
        "draws": draws,
        "noise": 2 * torch.randn(3 * draws, size, generator=generator),
    }


@strangest.drive
def _(function: Function, inputs: Values) -> Values:
    noise = inputs["noise"]
    calls: list[int] = []

    def bound(images: Tensor) -> Tensor:
        calls.append(1)
        nats = -images.flatten(1).sum(1)
        return nats + noise[len(calls) % len(noise)]

    result = function(bound, inputs["images"].clone(), inputs["count"], inputs["draws"])
    return {"the rows": array(result)}


strangest.compare("the rows", says="those are not the rows with the lowest mean bound, in order")

strangest.wrong(
    "most ordinary",
    says="those have the highest bound: the strangest have the lowest",
    last_line="return total.argsort(descending=True)[:count]",
)
strangest.wrong(
    "one draw",
    says="that is the order by a single draw: add up `draws` calls of bound",
    edit={"for _ in range(draws - 1):": "for _ in range(0):"},
)
strangest.wrong(
    "one draw too many",
    says="bound was called once more than asked for: `draws` calls in all",
    edit={"for _ in range(draws - 1):": "for _ in range(draws):"},
)
strangest.wrong(
    "least strange first",
    says="the order is turned round: the lowest bound comes first",
    last_line="return total.argsort()[:count].flip(0)",
)
strangest.wrong(
    "bounds",
    says="those are the bounds: the rows of the images are asked for, as argsort gives them",
    last_line="return total.sort().values[:count]",
)
strangest.wrong(
    "ranks",
    says="those are ranks of the first images, not rows: argsort once, and take its beginning",
    last_line="return total.argsort().argsort()[:count]",
)


@strangest.wrong(
    "one draw, many times", says="that is one draw, counted several times: call bound anew"
)
def _(bound, images, count, draws):
    bound(images)
    total = draws * bound(images)
    return total.argsort()[:count]


# latent.view, of chapter 3b


@exercise(
    id="latent.view",
    level=2,
    minutes=10,
    points=2,
    hints=(
        "Which pixel has been described already when the turn of pixel i comes? Not i itself, and "
        "none that follows.",
        "`back` is how many places column j lies before row i: 1 for the left neighbour, 0 for "
        "the pixel itself, below 0 for what is still to come.",
        "Two conditions must hold: back >= 1, and back <= reach.",
    ),
    after="A decoder that sees what it describes needs no code, and its cost is no likelihood.",
    alternative="torch.ones(pixels, pixels).tril(-1).triu(-reach) cuts the same band.",
    form=tensor,
)
def view(pixels, reach):
    """What a decoder may see: 1 where pixel i (row) sees pixel j (column).

    It sees the `reach` pixels before it in reading order; shape [pixels, pixels].
    """
    position = torch.arange(pixels)
    back = position[:, None] - position
    return ((back >= 1) & (back <= reach)).float()


@view.draw
def _(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    pixels = whole_number(7, 40, generator)
    # The tensor only shows that problems differ in size.
    return {"pixels": pixels, "reach": whole_number(2, 4, generator), "blank": torch.zeros(pixels)}


@view.drive
def _(function: Function, inputs: Values) -> Values:
    return {"the view": array(function(inputs["pixels"], inputs["reach"]))}


view.compare("the view", says="each pixel must see the `reach` pixels before it, and no other")


@view.broken(
    "both sides",
    says="a pixel sees itself, and the pixels that follow it: only those before it may be seen",
)
def view_of_both_sides(pixels, reach):
    """What a decoder may see: 1 where pixel i (row) sees pixel j (column)."""
    position = torch.arange(pixels)
    back = position[:, None] - position
    return (back.abs() <= reach).float()


view.wrong(
    "itself",
    says="a pixel still sees itself: what is to be described must not be seen",
    last_line="return ((back >= 0) & (back <= reach)).float()",
)
view.wrong(
    "both sides without itself",
    says="a pixel still sees those that follow it, which see it: only those before it may be seen",
    last_line="return ((back != 0) & (back.abs() <= reach)).float()",
)
view.wrong(
    "ahead",
    says="that looks ahead: rows see, columns are seen, and those seen come first",
    last_line="return ((back <= -1) & (back >= -reach)).float()",
)
view.wrong(
    "one too few",
    says="the farthest pixel is missing: `reach` pixels are seen, not one less",
    last_line="return ((back >= 1) & (back < reach)).float()",
)
view.wrong(
    "all before",
    says="that sees all pixels before it, however far: `reach` limits them",
    last_line="return (back >= 1).float()",
)
