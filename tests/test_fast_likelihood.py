"""Quick log p(x): the same numbers as the plain way, and rows that stop when they are known as well as was asked."""

import itertools
import math
import threading

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Bernoulli, Independent, Laplace
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Parametric
from vaekit.distributions import bernoulli
from vaekit.distributions.bernoulli import BernoulliEvent
from vaekit.distributions.families import Gaussian
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.distributions.seeded import RowSeeded
from vaekit.errors import UsageError
from vaekit.evaluation import importance_sampling, log_likelihood
from vaekit.evaluation import likelihood as module
from vaekit.evaluation.examples import per_example
from vaekit.evaluation.figures import Question
from vaekit.evaluation.summary import answer
from vaekit.evaluation.threads import shared_out
from vaekit.evaluation.weighing import looks, standard_errors
from vaekit.models import LatentModel
from vaekit.networks import MLP
from vaekit.priors import StandardNormal

LATENTS, SIZE, VARIANCE = 2, 5, 0.3
RNG = np.random.default_rng(5)
W = np.linalg.qr(RNG.normal(size=(SIZE, LATENTS)))[0] * [
    1.7,
    0.6,
]  # orthogonal columns: the exact posterior is diagonal
MARGINAL = stats.multivariate_normal(np.zeros(SIZE), W @ W.T + VARIANCE * np.eye(SIZE))


# ---- black and white pixels by products


def plain(logits, value, event_dims=1):
    return Independent(Bernoulli(logits=logits, validate_args=False), event_dims).log_prob(value)


@pytest.fixture
def quick(monkeypatch):
    """Results of the quick way, None where it gave up."""
    found, ours = [], bernoulli._quick_log_prob
    monkeypatch.setattr(bernoulli, "_quick_log_prob", lambda *given: found.append(ours(*given)) or found[-1])
    return found


@pytest.mark.parametrize("size", [1, 7, 8, 13, 784])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_products_are_the_plain_sum(size, dtype, close, quick):
    logits = 4 * torch.randn(40, 3, size, dtype=dtype)
    value = torch.bernoulli(torch.sigmoid(logits[0]))
    assert_close(BernoulliEvent(logits, 1).log_prob(value), plain(logits, value), rtol=close, atol=close)
    assert quick[0] is not None


def test_products_of_images_with_a_batch_of_their_own(quick):
    logits, value = 3 * torch.randn(16, 2, 3, 4, 5), torch.bernoulli(torch.full((2, 3, 4, 5), 0.3))
    found = BernoulliEvent(logits, 3).log_prob(value)
    assert found.shape == (16, 2)
    assert_close(found, plain(logits, value, 3), rtol=1e-6, atol=1e-6)
    assert torch.equal(quick[0], found)


def test_probabilities_of_all_images_sum_to_one(quick):
    logits = 5 * torch.randn(64, 10, dtype=torch.float64)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10)), dtype=torch.float64)
    total = sum(BernoulliEvent(logits, 1).log_prob(x).exp() for x in every)
    assert_close(total, torch.ones_like(total), rtol=1e-12, atol=0)
    assert all(found is not None for found in quick)


@pytest.mark.parametrize("scale", [30.0, 1e3, 1e30])
def test_products_that_overflow_are_summed_the_plain_way(scale, quick):
    logits = scale * torch.randn(20, 784)
    value = torch.bernoulli(torch.full((784,), 0.5))
    found = BernoulliEvent(logits, 1).log_prob(value)
    assert_close(found, plain(logits.double(), value.double()).float(), rtol=1e-6, atol=1e-5)
    assert torch.isfinite(found).all()
    assert quick == [None]


def test_pixels_that_are_sure_cost_next_to_nothing():
    logits = 40.0 * torch.ones(9, 3072) * torch.randn(3072).sign()
    assert_close(BernoulliEvent(logits, 1).log_prob((logits[0] > 0).float()), torch.zeros(9), rtol=0, atol=1e-6)
    logits /= 2  # 3,072 pixels that are each wrong once in 5e8
    assert_close(BernoulliEvent(logits, 1).log_prob((logits[0] > 0).float()), torch.zeros(9), rtol=0, atol=1e-4)


def test_gray_values_and_gradients_take_the_plain_way(quick):
    logits, gray = torch.randn(20, 8, dtype=torch.float64), torch.rand(8, dtype=torch.float64)
    expected = (gray * logits - torch.nn.functional.softplus(logits)).sum(-1)
    assert_close(BernoulliEvent(logits, 1).log_prob(gray), expected)
    assert quick == [None]
    for wanting in (logits.clone().requires_grad_(), logits.half()):
        BernoulliEvent(wanting, 1).log_prob(gray.round().to(wanting.dtype))
    assert len(quick) == 1
    assert torch.autograd.gradcheck(lambda t: BernoulliEvent(t, 1).log_prob(gray.round()), logits.requires_grad_())


def test_a_pixel_that_is_not_a_number_is_not_hidden():
    logits = torch.randn(20, 8)
    logits[3, 2] = math.nan
    assert torch.isnan(BernoulliEvent(logits, 1).log_prob(torch.ones(8))).nonzero().tolist() == [[3]]


# ---- log p(x)


def pixels(precision):
    torch.manual_seed(1)
    schema = vk.Schema("image", (1, 7, 9), levels=2)
    model = vk.models.vae(schema, latent_dim=3, hidden=(20,), activation="tanh").to(precision)
    return model, torch.bernoulli(torch.full((6, 1, 7, 9), 0.4)).to(precision)


@pytest.mark.parametrize(("precision", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_quick_log_px_is_the_plain_one(precision, close, monkeypatch, quick):
    model, x = pixels(precision)
    found = importance_sampling(model, x, samples=700)
    assert quick
    assert all(part is not None for part in quick)
    monkeypatch.setattr(bernoulli, "_may_be_quick", lambda *_: False)
    expected = importance_sampling(model, x, samples=700)
    assert_close(found.log_px, expected.log_px, rtol=close, atol=0)
    assert_close(found.effective, expected.effective, rtol=1e3 * close, atol=0)


@pytest.mark.parametrize("memory", [1, 20_000, 10**6, 10**9])
def test_no_chunk_takes_more_than_its_memory(memory, monkeypatch):
    model, x = pixels(torch.float32)
    cost, seen, draw = 6 * 63 * 4, [], model.draw

    def watched(rows, c=None, samples=1, q=None):
        seen.append(samples * len(rows))
        return draw(rows, c, samples, q)

    monkeypatch.setattr(model, "draw", watched)
    found = importance_sampling(model, x, samples=50, memory=memory)
    assert max(seen) <= max(1, memory // cost)
    assert sum(seen) == 6 * 50 + 2, "two draws find out what a draw costs"
    assert max(seen) - min(seen[2:]) <= 1 or memory == 10**9, "even chunks"
    assert_close(found.log_px, importance_sampling(pixels(torch.float32)[0], x, samples=50).log_px, rtol=1e-6, atol=0)


# ---- rows that stop


def linear(widen, shift=0.0, tilt=0.0):
    """p(x | z) = N(W z, s2 I), and a posterior that is exact but for `widen` and `shift`, in standard deviations.

    With `tilt` the log-variance grows with x's first value.
    """
    gram = (W**2).sum(0)
    std = torch.from_numpy(np.sqrt(VARIANCE / (VARIANCE + gram)))
    encoder, decoder = MLP((SIZE,), (2, LATENTS), ()).double(), MLP((LATENTS,), (1, SIZE), ()).double()
    slope = torch.from_numpy((W / (VARIANCE + gram)).T)
    with torch.no_grad():
        encoder.out.weight.copy_(torch.cat([slope, torch.zeros_like(slope)]))
        encoder.out.weight[LATENTS:, 0] = tilt
        encoder.bias.copy_(torch.stack([shift * std, 2 * (widen * std).log()]))
        decoder.out.weight.copy_(torch.from_numpy(W))
        decoder.bias.zero_()
    likelihood = Parametric(decoder, Gaussian((SIZE,), sigma=math.sqrt(VARIANCE)))
    posterior = Parametric(encoder, DiagonalGaussian(LATENTS))
    return LatentModel(posterior, likelihood, StandardNormal(LATENTS), LATENTS).double()


@pytest.fixture(scope="module")
def rows():
    values = MARGINAL.rvs(400, random_state=1)
    return torch.from_numpy(values), torch.from_numpy(MARGINAL.logpdf(values))


@pytest.mark.parametrize("wanted", [0.1, 0.03])
def test_rows_are_known_as_well_as_was_asked(rows, wanted):
    x, truth = rows
    found = importance_sampling(linear(2.0, 0.5), x, samples=100_000, standard_error=wanted)
    assert found.draws.max() < 100_000
    assert (standard_errors(found.effective, found.draws) <= 1.2 * wanted).double().mean() > 0.9
    score = (found.log_px - truth) / wanted
    assert score.square().mean().sqrt() < 1.1, "the error is what was asked, or less"
    assert score.square().mean().sqrt() > 0.4, "and not bought with far more draws"
    assert score.mean().abs() < 4 / math.sqrt(400) + wanted


def test_a_standard_error_is_the_spread_over_seeds():
    x = torch.from_numpy(MARGINAL.rvs(1, random_state=2))[None]
    found = [importance_sampling(linear(2.0, 0.5), x, samples=200, seed=s) for s in range(200)]
    spread = torch.cat([f.log_px for f in found]).std()
    said = torch.cat([standard_errors(f.effective, 200) for f in found]).square().mean().sqrt()
    assert_close(said, spread, rtol=0.15, atol=0)


def test_weights_of_one_size_have_no_error_and_one_draw_has_no_end_of_it():
    assert standard_errors(torch.tensor([50.0]), 50) == 0
    assert standard_errors(torch.tensor([1.0]), 1) == math.inf
    weights = np.array([1.0, 2.0, 5.0, 0.5])  # s / (sqrt(K) mean)
    effective = torch.tensor([weights.sum() ** 2 / (weights**2).sum()])
    assert_close(float(standard_errors(effective, 4)), weights.std(ddof=1) / 2 / weights.mean())


def test_easy_rows_take_far_fewer_draws(rows):
    x = rows[0][rows[0][:, 0].abs().sort().indices]
    x[:, 0] = x[:, 0].abs()
    truth = torch.from_numpy(MARGINAL.logpdf(x.numpy()))
    found = importance_sampling(linear(1.0, tilt=1.0), x, samples=50_000, standard_error=0.02)
    assert found.draws[:100].mean() < found.draws[-100:].mean() / 8
    assert found.draws.max() < 50_000
    assert ((found.log_px - truth) / 0.02).square().mean().sqrt() < 1.1
    exact = importance_sampling(linear(1.0), x[:3], samples=10**6, standard_error=1e-3)
    assert exact.draws.tolist() == [128, 128, 128]
    assert_close(exact.log_px, truth[:3], rtol=0, atol=1e-4)  # the soft bound of the log-variance


def fresh(model, row, k):
    """log p(x) of the draws k + 1 to 2 k of a row's stream."""
    first, both = (importance_sampling(model, row, samples=n).log_px + math.log(n) for n in (k, 2 * k))
    return both + torch.log1p(-(first - both).exp()) - math.log(k)


def test_a_row_that_stops_is_judged_by_as_many_fresh_draws(rows):
    """Neither its company, nor the memory, nor the limit above it changes a row."""
    model, x = linear(2.0, 0.5), rows[0][:12]
    found = importance_sampling(model, x, samples=6000, standard_error=0.04)
    assert len(found.draws.unique()) > 1
    for i, k in enumerate(found.draws.int().tolist()):
        assert_close(found.log_px[i : i + 1], fresh(model, x[i : i + 1], k), rtol=1e-11, atol=0)
    small = importance_sampling(model, x.flip(0), samples=6000, standard_error=0.04, memory=9_000)
    assert torch.equal(small.draws.flip(0), found.draws)
    assert_close(small.log_px.flip(0), found.log_px, rtol=1e-12, atol=0)


def test_to_stop_costs_no_more_bias_than_as_many_draws(rows):
    """Weights of a wide spread, 1.96 of their logarithm: rows that stop where their own draws look sure are 0.15 nats too low."""
    x, truth = rows
    found = importance_sampling(linear(1.0, shift=1.96 / math.sqrt(LATENTS)), x, samples=100_000, standard_error=0.2)
    assert -0.1 < (found.log_px - truth).mean() < 0.03


def test_the_rows_left_keep_their_streams():
    seeds = [3, 5, 9, 11]
    q, whole = (RowSeeded(DiagonalGaussian(2)(torch.zeros(4, 2, 2)), seeds) for _ in range(2))
    q.rsample((100,))
    left = q.part(torch.tensor([True, False, True, False]), DiagonalGaussian(2)(torch.zeros(2, 2, 2)))
    left = left.part(torch.tensor([1]), DiagonalGaussian(2)(torch.zeros(1, 2, 2)))
    assert torch.equal(left.rsample((300,)), whole.rsample((400,))[100:, 2:3])


def test_a_model_with_conditions_stops_too():
    schema = vk.Schema("vector", (3,), conditions=("a",))
    model = vk.models.cvae(schema, latent_dim=2, hidden=(4,), likelihood="gaussian").double()
    x, c = torch.randn(8, 3).double(), torch.randn(8, 1).double()
    split = vk.Split(x, conditions=c)
    found = importance_sampling(model, split, samples=2000, standard_error=0.02)
    for i, k in enumerate(found.draws.int().tolist()):
        alone = fresh(model, vk.Split(x[i : i + 1], conditions=c[i : i + 1]), k)
        assert_close(found.log_px[i : i + 1], alone)


def test_looks_double_up_to_the_limit():
    assert looks(1000) == [128, 256, 512, 1000]
    assert looks(1024) == [128, 256, 512, 1024]
    assert looks(128) == [128]
    assert looks(7) == [7]


@pytest.mark.parametrize(("samples", "behind"), [(1, 1), (2, 1), (3, 1), (100, 50), (1001, 500)])
def test_the_draws_of_both_kinds_are_at_most_as_many_as_asked(rows, samples, behind):
    found = importance_sampling(linear(2.0, 0.5), rows[0][:5], samples=samples, standard_error=1e-9)
    assert found.draws.tolist() == [behind] * 5


def test_the_estimate_says_how_many_draws_it_took(rows):
    model, x = linear(1.0, tilt=1.0), rows[0][:50]
    found = importance_sampling(model, x, samples=1000, standard_error=0.03)
    estimate = log_likelihood(model, x, samples=1000, standard_error=0.03)
    assert estimate.samples == round(float(found.draws.mean()))
    late = int((standard_errors(found.effective, found.draws) > 0.03).sum())
    assert 0 < late < 50
    assert found.draws.min() == 128
    assert estimate.estimator == (
        "importance sampling from q(z|x), stopped at s.e. 0.03 nats an example: 128 to 500 draws after as many "
        f"to find the number ({late} came out above it), on average"
    )
    assert module.effective_draws(found, 1000).samples == estimate.samples
    plain = log_likelihood(model, x, samples=1000)
    assert (plain.samples, plain.estimator) == (1000, "importance sampling from q(z|x)")


@pytest.mark.parametrize("wanted", [0.0, -1.0, math.nan, math.inf])
def test_a_standard_error_that_cannot_be_reached_is_refused(wanted):
    with pytest.raises(UsageError, match=f"standard_error {wanted}: expected a number of nats above 0"):
        log_likelihood(linear(1.0), torch.zeros(1, SIZE).double(), standard_error=wanted)


def test_evaluate_takes_a_standard_error():
    data = vk.load("digits")
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(8,))
    asked = Question(model, data, data.test.head(20), samples=600, standard_error=0.05)
    figures, columns = answer(asked), per_example(asked)
    assert figures["log_likelihood"].samples == round(columns["samples"].mean()) == figures["effective_samples"].samples
    assert set(columns["samples"]) <= {128, 256, 300}
    assert figures["log_likelihood"].value == pytest.approx(columns["log_likelihood"].mean())
    again = vk.evaluation.evaluate(model, data, split=data.test.head(20), samples=600, standard_error=0.05)
    assert again["log_likelihood"] == figures["log_likelihood"]
    plain = vk.models.autoencoder(data.schema, latent_dim=2, hidden=(8,))
    with pytest.raises(UsageError, match="no log p\\(x\\) by importance sampling; leave it out"):
        vk.evaluation.evaluate(plain, data, standard_error=0.1)


# ---- rows shared out among threads


@pytest.fixture
def threads():
    """Sets the number of torch's threads, for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("wanted", [None, 0.05])
def test_threads_change_no_figure(threads, wanted):
    model, x = pixels(torch.float64)
    x = x.repeat(3, 1, 1, 1)
    found = {}
    for count in (1, 2, 3):
        threads(count)
        found[count] = importance_sampling(model, x, samples=300, standard_error=wanted, memory=200_000)
        assert torch.get_num_threads() == count
    for count in (2, 3):
        assert_close(found[count].log_px, found[1].log_px, rtol=1e-12, atol=1e-12)
        assert_close(found[count].effective, found[1].effective, rtol=1e-9, atol=1e-9)
        assert wanted is None or torch.equal(found[count].draws, found[1].draws)


def test_parts_come_back_in_order_and_are_worked_on_at_once():
    """Three parts wait for each other: one thread alone would wait for ever."""
    meeting = threading.Barrier(3, timeout=30)

    def work(part):
        meeting.wait()
        assert not torch.is_grad_enabled()
        return part.start, torch.get_num_threads()

    assert shared_out(work, 7, 3, 3) == [(0, 1), (3, 1), (6, 1)]


def test_what_fails_in_a_thread_is_raised_and_ends_the_others(threads):
    threads(2)
    done = []

    def work(part):
        done.append(part.start)
        raise UsageError(f"row {part.start}")

    with pytest.raises(UsageError, match="row 0"):
        shared_out(work, 10_000, 1, 2)
    assert len(done) < 10_000
    assert torch.get_num_threads() == 2


def test_noise_of_torchs_own_generator_is_drawn_by_one_thread(threads, monkeypatch):
    """Threads would take it in any order, and a figure would not come out twice."""
    threads(2)
    model, x = pixels(torch.float64)
    row = vk.Batch(x[:1])
    assert module._threads(model, row) == 2
    own_way = Independent(Laplace(torch.zeros(1, 2), torch.ones(1, 2)), 1)
    monkeypatch.setattr(model, "posterior", lambda *given: own_way)
    assert module._threads(model, row) == 1
