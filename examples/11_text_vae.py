"""Sentences that come from a known code: the plain VAE loses it, a remedy finds it.

    u ~ N(0, I) in the plane, a wind;   each of 10 words ~ softmax(2 u . d_w),   d_w the eight directions of the compass

A sentence reports on one wind. Sums over a grid of u give log p(x) and I(x, u) exactly. A decoder that reads the words before
the next one needs no code, since they tell of the wind too: so the plain objective's KL goes to 0 (Bowman et al., 2016). With most
of these words hidden in training (word dropout), and the KL let in slowly (warm-up), the code tells of the wind again. Both are
measured with all words shown and at beta 1.

python examples/11_text_vae.py [figure.png]
"""

import math
import sys

import torch

import vaekit as vk

COMPASS, LENGTH, SENTENCES = ("E", "NE", "N", "NW", "W", "SW", "S", "SE"), 10, 1700
EPOCHS, BATCH = 12, 32
angles = torch.arange(len(COMPASS)) * 2 * math.pi / len(COMPASS)
directions = 2 * torch.stack([angles.cos(), angles.sin()], 1)

rng = torch.Generator().manual_seed(0)
wind = torch.randn(SENTENCES, 2, generator=rng)
words = torch.multinomial((wind @ directions.T).softmax(-1), LENGTH, replacement=True, generator=rng)
data = vk.load([" ".join(COMPASS[w] for w in row) for row in words.tolist()], max_length=LENGTH + 1)

# the truth about the test sentences
texts = data.schema.text.decode(data.test.values)
counts = torch.tensor([[text.split().count(word) for word in COMPASS] for text in texts]).float()
grid = torch.cartesian_prod(torch.linspace(-5, 5, 101), torch.linspace(-5, 5, 101))
log_weight = (-0.5 * grid.square().sum(1)).log_softmax(0)
log_px_u = counts @ (grid @ directions.T).log_softmax(-1).T  # (sentences, grid)
log_px = (log_px_u + log_weight).logsumexp(1)
posterior = (log_px_u + log_weight).softmax(1)
believed = posterior @ grid  # E[u | x]
information = float(((posterior * log_px_u).sum(1) - log_px).mean())


def trained(word_dropout: float, warm_up: int):
    torch.manual_seed(0)
    model = vk.models.text_vae(
        data.schema,
        latent_dim=4,
        embedding_dim=8,
        encoder_dim=16,
        decoder_dim=16,
        dropout=0.0,
        word_dropout=word_dropout,
    )
    steps = warm_up * math.ceil(len(data.train) / BATCH)
    schedules = {"beta": vk.schedules.linear(0.0, 1.0, steps)} if steps else None
    vk.fit(
        model, data, epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-2, learning_rate_decay="cosine", schedules=schedules,
        device="cpu", progress=False,
    )  # fmt: skip
    return model


def read_off(z: torch.Tensor) -> torch.Tensor:
    """The linear function of codes z ~ q(z | x) that comes nearest to E[u | x], for each sentence."""
    z = torch.cat([z, torch.ones(len(z), 1)], 1)
    return z @ torch.linalg.lstsq(z, believed).solution


print(f"the language: I(x, u) {information:.2f} nats, log p(x) {float(log_px.mean()):.2f} nats a sentence")
winds, found, part = {}, {}, {}
for name, remedy in (("plain", (0.0, 0)), ("remedy", (0.7, 8))):
    model = trained(*remedy)
    with torch.no_grad():
        z = model.eval().posterior(data.test.rows(slice(None))).sample()
    found[name] = vk.evaluation.aggregate_posterior(model, data.test)["mutual_information"].value
    winds[name] = read_off(z)
    part[name] = 1 - float((believed - winds[name]).square().sum() / (believed - believed.mean(0)).square().sum())
    log_likelihood = vk.evaluation.log_likelihood(model, data.test, samples=50)
    print(
        f"{name:<7} I(x, z) {found[name]:5.2f} nats; of the wind in the code {100 * part[name]:3.0f} %; "
        f"log p(x) {log_likelihood.value:.2f} nats, beside the language's {float(log_px.mean()):.2f}"
    )

assert found["plain"] < 0.2, "the plain objective gives the code up"
assert found["remedy"] > 1.0, "with a remedy the code is told of the sentence"
assert part["plain"] < 0.2 < 0.7 < part["remedy"], "and what it is told is the wind"

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, u) in zip(figure.subplots(1, 3), ({"the language": believed} | winds).items(), strict=True):
        axes.scatter(*u.T, c=torch.atan2(believed[:, 1], believed[:, 0]), cmap="twilight", s=8)
        axes.set(title=name, aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
    figure.suptitle("wind as read off a sentence, or off a draw of its code; colour: the direction in the first")
    figure.savefig(sys.argv[1])
