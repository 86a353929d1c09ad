"""A language whose sentences depend on a known code of two numbers: the plain objective loses it, a remedy finds it again.

    u ~ N(0, I),   each of 10 words ~ softmax(2 u . d_w),   d_w eight directions at equal angles

A decoder can do nearly as well without a code, since the words before tell of u: that is what makes the code go. Sums over a grid
of u give log p(x) and I(u; x) exactly.
"""

import math

import pytest
import torch

import vaekit as vk
from vaekit.data.vocabulary import EOS, Vocabulary
from vaekit.evaluation import aggregate_posterior, codes, diagnose, log_likelihood_per_example

WORDS, LENGTH, EPOCHS, BATCH = 8, 10, 16, 40
ANGLES = torch.arange(WORDS) * 2 * math.pi / WORDS
DIRECTIONS = 2 * torch.stack([ANGLES.cos(), ANGLES.sin()], 1)


def language(n, seed):
    """(u (n, 2), numbers of the words (n, LENGTH))."""
    rng = torch.Generator().manual_seed(seed)
    u = torch.randn(n, 2, generator=rng)
    return u, torch.multinomial((u @ DIRECTIONS.T).softmax(-1), LENGTH, replacement=True, generator=rng)


def log_px(words):
    """log p(x) of each sentence, by a grid of u."""
    line = torch.linspace(-5, 5, 101)
    u = torch.cartesian_prod(line, line)
    log_weight = (-0.5 * u.square().sum(1)).log_softmax(0)
    counts = torch.nn.functional.one_hot(words, WORDS).sum(1).float()
    return (counts @ (u @ DIRECTIONS.T).log_softmax(-1).T + log_weight).logsumexp(1)


@pytest.fixture(scope="module")
def world():
    names = [f"w{word}" for word in range(WORDS)]
    vocabulary = Vocabulary.of([" ".join(names)], "word")
    numbers = torch.tensor([found[0] for found in vocabulary.encode(names)])

    def split(words):
        values = torch.cat([numbers[words], torch.full((len(words), 1), EOS)], 1).int()
        return vk.Split(values, lengths=torch.full((len(words),), LENGTH + 1))

    (_, known), (u, held) = language(1200, 0), language(400, 1)
    schema = vk.Schema("text", (LENGTH + 1,), vocabulary=vocabulary.to_json())
    return vk.Dataset(schema, split(known), test=split(held)), u, held


def trained(data, warm_up=0.0, **more):
    torch.manual_seed(0)
    model = vk.models.text_vae(
        data.schema, latent_dim=6, embedding_dim=8, encoder_dim=16, decoder_dim=16, dropout=0.0, **more
    )
    steps = int(warm_up * EPOCHS * len(data.train) / BATCH)
    schedules = {"beta": vk.schedules.linear(0.0, 1.0, steps)} if steps else None
    vk.fit(
        model, data, vk.elbo, epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-2, learning_rate_decay="cosine",
        schedules=schedules, device="cpu", progress=False,
    )  # fmt: skip
    return model


def regressed(model, rows, u):
    """Part of u's variance that a linear function of the codes has."""
    z = torch.cat([codes(model, rows), torch.ones(len(u), 1)], 1)
    residual = u - z @ torch.linalg.lstsq(z, u).solution
    return 1 - float(residual.square().sum() / (u - u.mean(0)).square().sum())


def test_the_plain_objective_loses_the_code_and_a_remedy_finds_it(world):
    data, u, held = world
    truth = log_px(held)
    given = (u @ DIRECTIONS.T).log_softmax(-1).gather(1, held).sum(1)
    information = float((given - truth).mean())
    assert 2.0 < information < 2.4
    found = {}
    for name, remedy in {"plain": {}, "remedy": {"word_dropout": 0.7, "warm_up": 2 / 3}}.items():
        model = trained(data, **remedy)
        parts = aggregate_posterior(model, data.test)
        found[name] = parts["mutual_information"].value
        assert ("posterior_collapse" in {f.name for f in diagnose(model, data)}) == (name == "plain")
        # no model describes the language better than the language itself does
        loss = truth.double() - log_likelihood_per_example(model, data.test, samples=50)
        assert float(loss.mean()) > -4 * float(loss.std()) / math.sqrt(len(loss))
        assert float(loss.mean()) < 1.0
        if name == "remedy":
            assert regressed(model, data.test, u) > 0.7
    assert found["plain"] < 0.2
    assert found["remedy"] > 1.0
