"""Chapter 3: the variational autoencoder, its gradient, and its bound."""

from vaetl_helpers.figures.diagram import Diagram
from vaetl_helpers.figures.drawing import Drawing, Point

POSTERIOR = "*q*_{φ}(*z* | *x*)"


def _autoencoder() -> Drawing:
    d = Drawing(366)
    row = 106
    image = d.box((14, row - 26, 54, 52), "image\n*x*", "data")
    encoder = d.funnel((90, row - 56, 84, 112), (112, 60), "encoder", "trained")
    mu = d.box((200, row - 44, 42, 34), "*μ*")
    sigma = d.box((200, row + 10, 42, 34), "*σ*")
    z = d.circle((300, row), 20, "*z*", "chance")
    noise = d.circle((300, 32), 17, "*ε*", "chance")
    decoder = d.funnel((346, row - 56, 84, 112), (60, 112), "decoder", "trained")
    pixels = d.box((452, row - 26, 54, 52), "pixels\n*π*")

    d.label((326, 37), "*ε* ~ N(0, *I*)", "start", "chance")
    d.arrow([image.at("right"), encoder.at("left")])
    d.arrow([(174, row - 20), (200, row - 27)])
    d.arrow([(174, row + 20), (200, row + 27)])
    d.arrow([mu.at("right"), (281, row - 8)])
    d.arrow([sigma.at("right"), (281, row + 8)])
    d.arrow([noise.at("bottom"), z.at("top")])
    d.arrow([z.at("right"), decoder.at("left")])
    d.arrow([decoder.at("right"), pixels.at("left")])
    d.label((300, row + 58), "*z* = *μ* + *σ* *ε*")

    d.brace(90, 242, 184, POSTERIOR)
    d.brace(346, 506, 184, "*p*_{θ}(*x* | *z*)")
    d.box((44, 230, 244, 46), "KL( *q*_{φ}(*z* | *x*) ‖ *p*(*z*) )", "loss", "price of the code")
    d.box((346, 230, 160, 46), "− log *p*_{θ}(*x* | *z*)", "loss", "reconstruction loss")
    d.label((317, 258), "+")
    d.brace(44, 506, 288, "the loss: minus the ELBO of this image, with one drawn code")
    d.key(348, ("data", "trained", "chance", "loss"), {"loss": "loss"})
    return d


AUTOENCODER = Diagram(
    name="vae",
    title="A variational autoencoder",
    alt=(
        "The encoder turns an image x into two vectors, μ and σ, which describe the approximate "
        "posterior q(z|x). Noise ε from a standard normal distribution makes a code of them, "
        "z = μ + σ ε. The decoder turns the code into one probability π per pixel, and so into "
        "p(x|z). The loss has two terms: the KL divergence of q from the prior, which is the price "
        "of the code, and minus log p(x|z), the reconstruction loss."
    ),
    caption=(
        "A variational autoencoder: the encoder gives a distribution of codes, one code is drawn, "
        "and the decoder says how probable each pixel is; each half brings one term of the loss."
    ),
    draw=_autoencoder,
)


def _stochastic_graph(d: Drawing, centre: float, is_open: bool) -> None:
    """One panel: encoder, μ and σ, z, log-likelihood from below to above; gradients beside them."""
    likelihood = d.box((centre - 58, 44, 116, 34), "log *p*(*x* | *z*)", "loss")
    z = d.circle((centre, 140), 19, "*z*", "ink" if is_open else "chance")
    mu = d.circle((centre - 48, 226), 19, "*μ*")
    sigma = d.circle((centre + 48, 226), 19, "*σ*")
    encoder = d.box((centre - 78, 280, 156, 34), "encoder, *φ*", "trained")
    d.arrow([z.at("top"), likelihood.at("bottom")])
    d.arrow([(centre - 37, 210), (centre - 12, 156)])
    d.arrow([(centre + 37, 210), (centre + 12, 156)])
    d.arrow([encoder.at("top", -48), mu.at("bottom")])
    d.arrow([encoder.at("top", 48), sigma.at("bottom")])
    # The gradient's way back, beside the way forward.
    d.arrow([(centre - 11, 80), (centre - 11, 122)], "loss", dashed=True, thick=True)
    if not is_open:
        d.cross((centre, 176))
        d.label((centre + 36, 184), "no derivative", "start", "loss", "small")
        return
    d.arrow([(centre - 23, 150), (centre - 52, 206)], "loss", dashed=True, thick=True)
    d.arrow([(centre + 23, 150), (centre + 52, 206)], "loss", dashed=True, thick=True)
    d.arrow([(centre - 59, 248), (centre - 59, 278)], "loss", dashed=True, thick=True)
    d.arrow([(centre + 59, 248), (centre + 59, 278)], "loss", dashed=True, thick=True)
    d.label((centre - 50, 176), "1", kind="loss")
    d.label((centre + 50, 176), "*ε*", kind="loss")


def _reparameterisation() -> Drawing:
    d = Drawing(366)
    left, right = 132, 356
    d.label((left, 24), "a draw from *q*", style="bold")
    d.label((right, 24), "reparameterised", style="bold")
    _stochastic_graph(d, left, is_open=False)
    _stochastic_graph(d, right, is_open=True)
    d.label((left + 28, 138), "*z* ~ N(*μ*, *σ*^{2})", "start", "chance")
    noise = d.circle((452, 140), 19, "*ε*", "chance")
    d.arrow([noise.at("left"), (375, 140)])
    d.label((476, 110), "*ε* ~ N(0, *I*)", "middle", "chance", "small")
    d.key(
        348,
        ("chance", "trained", "loss"),
        {"loss": "gradient, dashed: the way back"},
    )
    return d


REPARAMETERISATION = Diagram(
    name="reparameterisation",
    title="The reparameterisation as a graph",
    alt=(
        "Two graphs from the encoder through μ and σ to a code z and on to log p(x|z). On the "
        "left z is itself a draw: the gradient comes down from log p(x|z) as far as z and is "
        "blocked there, because a draw has no derivative. On the right the randomness ε stands "
        "beside z, which is now computed as μ + σ ε: the gradient passes through z to μ, with the "
        "factor 1, and to σ, with the factor ε, and on into the encoder."
    ),
    caption=(
        "Left: the gradient ends at a draw. "
        "Right: the draw stands aside, and z = μ + σ ε has derivatives, 1 by μ and ε by σ."
    ),
    draw=_reparameterisation,
)


def _elbo() -> Drawing:
    d = Drawing(332)
    top, reconstruction, evidence, bottom = 46, 164, 214, 284
    first, second, width = 162, 264, 52
    left, right = first - 20, second + width + 20  # where the labels end and begin
    d.label((first + width, 24), "computed in training", "end", style="bold")
    d.label((second, 24), "unknown in training", "start", style="bold")
    for level in (top, bottom):
        d.rule((left + 6, level), (right - 6, level))
    d.rule((second + width, evidence), (right - 6, evidence))
    d.bar((first, top, width, reconstruction - top), "loss")
    d.bar((first, reconstruction, width, bottom - reconstruction), "loss")
    d.bar((second, top, width, evidence - top), "ink")
    d.zone((second, evidence, width, bottom - evidence), "ink", 0)

    d.label((right, top + 5), "0 nats", "start", "faint", "small")
    d.label((right, evidence + 5), "log *p*(*x*)", "start", "faint", "small")
    d.label((right, bottom + 5), "ELBO", "start", "faint", "small")
    reconstruction_loss = "− E_{q}[ log *p*(*x* | *z*) ]", "reconstruction loss"
    price = "KL( *q* ‖ *p*(*z*) )", "price of the code"
    cost = "− log *p*(*x*)", "what the image costs"
    gap = "KL( *q* ‖ *p*(*z* | *x*) )", "the gap, never below 0"
    _named(d, (left, (top + reconstruction) / 2), "end", reconstruction_loss)
    _named(d, (left, (reconstruction + bottom) / 2), "end", price)
    _named(d, (right, (top + evidence) / 2), "start", cost)
    _named(d, (right, (evidence + bottom) / 2), "start", gap)
    note = "*q* stands for *q*_{φ}(*z* | *x*), *p* for the model"
    d.label((266, 316), note, kind="faint", style="small")
    return d


def _named(d: Drawing, place: Point, anchor: str, texts: tuple[str, str]) -> None:
    """A formula and, below, what it is called."""
    x, y = place
    d.label((x, y - 3), texts[0], anchor)
    d.label((x, y + 15), texts[1], anchor, "faint", "small")


ELBO = Diagram(
    name="elbo",
    title="The ELBO and its gap",
    alt=(
        "Two columns hang down from 0 nats and end at the same depth, the ELBO. The left one is "
        "what training computes: the reconstruction loss, −E[log p(x|z)], and below it the price "
        "of the code, the KL divergence from q to the prior. The right one is −log p(x), and below "
        "it the gap, the KL divergence from q to the true posterior. The gap is never below 0, so "
        "that the ELBO is never above log p(x)."
    ),
    caption=(
        "Two ways to take the same number apart: the ELBO lies below log p(x) by exactly the KL "
        "divergence of q from the true posterior, which training never sees."
    ),
    draw=_elbo,
)
