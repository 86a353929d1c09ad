"""Quantised codes: the quantisers, the prior over codes and the bound, against brute force, recursions and enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.distributions.point_code import PointCode
from vaekit.errors import UsageError
from vaekit.evaluation.codebook import perplexity
from vaekit.models.autoregressive import AutoregressiveCodes, CausalNetwork, CodePrior
from vaekit.networks.codebook import Codebook
from vaekit.networks.conv import plain_block
from vaekit.networks.fsq import FiniteScalar
from vaekit.networks.grid import GridDown, GridUp
from vaekit.networks.kmeans import kmeans, nearest
from vaekit.objectives import elbo, iwae
from vaekit.objectives.quantised import code_length, vq


def tiny(schema=None, seed=3, **keywords):
    """A small model in double precision, in evaluation mode."""
    chosen = {"latent_dim": 2, "code_vectors": 2, "codebook_size": 3, "hidden": (4,), "activation": "tanh"} | keywords
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = vk.models.vqvae(schema or vk.Schema("vector", (3,)), **chosen)
    return model.double().eval()


def spread(model, seed=0):
    """The same model with a prior that is no longer uniform."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in model.prior.network.parameters():
            parameter.normal_(0, 0.7)
    model.prior.fitted.fill_(True)
    return model


# ---- quantisers


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_the_nearest_vector_is_that_of_brute_force(offset):
    x, m = torch.randn(2, 50, 4).double() + offset, torch.randn(9, 4).double() + offset
    squares = ((x[..., None, :] - m) ** 2).sum(-1)
    assert torch.equal(nearest(x, m), squares.argmin(-1))
    # in single precision the squares alone would have no digits left at this offset
    single = nearest(x.float(), m.float())
    exact = ((x.float().double()[..., None, :] - m.float().double()) ** 2).sum(-1)
    assert_close(exact.gather(-1, single[..., None])[..., 0], exact.min(-1).values, rtol=1e-4, atol=1e-4)


def test_kmeans_is_as_good_as_scikit_learns():
    from sklearn.cluster import KMeans

    generator = np.random.default_rng(5)
    x = (generator.normal(size=(12, 1, 3)) * 4 + generator.normal(size=(12, 60, 3))).reshape(-1, 3)
    best = KMeans(12, n_init=10, random_state=0).fit(x).inertia_
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        centres, index = kmeans(torch.from_numpy(x), 12, rounds=100)
        assert torch.equal(index, nearest(torch.from_numpy(x), centres))
        for k in range(12):
            assert_close(centres[k], torch.from_numpy(x)[index == k].mean(0))
        found.append(float((torch.from_numpy(x) - centres[index]).square().sum()))
    assert min(found) < 1.02 * best
    assert max(found) < 1.3 * best


def test_kmeans_of_fewer_different_rows_than_centres():
    x = torch.tensor([[0.0], [1.0]]).repeat(5, 1)
    centres, index = kmeans(x, 4)
    assert_close(centres[index], x)


def book(learned, levels=1, size=5, dim=3):
    """A codebook in double precision that k-means has already started."""
    made = Codebook(size, dim, levels, learned).double()
    made.starting.zero_()
    return made


@pytest.mark.parametrize("levels", [1, 3])
def test_gradients_of_a_codebook_are_those_by_hand(levels):
    made, h = book("gradient", levels).eval(), torch.randn(4, 2, 3).double().requires_grad_()
    found = made(h)
    # residuals and chosen vectors by hand, level by level
    rest, chosen = h.detach().clone(), []
    for level in range(levels):
        code = ((rest[..., None, :] - made.vectors[level].detach()) ** 2).sum(-1).argmin(-1)
        assert torch.equal(code, found.codes[..., level])
        chosen.append((rest.clone(), made.vectors[level].detach()[code], code))
        rest = rest - chosen[-1][1]
    assert_close(found.z, sum(e for _, e, _ in chosen), rtol=0, atol=1e-15)
    assert_close(found.z, made.vectors_of(found.codes), rtol=0, atol=1e-15)
    squares = sum((r - e).square().sum((1, 2)) for r, e, _ in chosen)
    assert_close(found.codebook, squares)
    assert_close(found.commitment, squares)

    slope = torch.randn_like(h)
    (through,) = torch.autograd.grad((found.z * slope).sum(), h, retain_graph=True)
    assert torch.equal(through, slope)
    assert torch.autograd.grad((found.z * slope).sum(), made.vectors, retain_graph=True, allow_unused=True) == (None,)

    (to_encoder,) = torch.autograd.grad(found.commitment.sum(), h, retain_graph=True)
    assert_close(to_encoder, sum(2 * (r - e) for r, e, _ in chosen))
    unused = torch.autograd.grad(found.commitment.sum(), made.vectors, retain_graph=True, allow_unused=True)
    assert unused == (None,)

    (to_book,) = torch.autograd.grad(found.codebook.sum(), made.vectors, retain_graph=True)
    expected = torch.zeros_like(made.vectors)
    for level, (r, e, code) in enumerate(chosen):
        expected[level].index_add_(0, code.flatten(), (2 * (e - r)).flatten(0, 1))
    assert_close(to_book, expected)
    assert torch.autograd.grad(found.codebook.sum(), h, allow_unused=True) == (None,)


def test_the_moving_average_is_the_papers_recursion():
    made = book("ema", levels=2).train()
    counts, sums, vectors = (t.clone().numpy() for t in (made.counts, made.sums, made.vectors))
    counts[:] = 10.0
    sums[:] = vectors * 10
    made.counts.fill_(10.0)
    made.sums.copy_(made.vectors * 10)
    generator = np.random.default_rng(0)
    for _ in range(30):
        h = generator.normal(size=(16, 2, 3))
        rest = h.reshape(-1, 3)
        made(torch.from_numpy(h))
        for level in range(2):
            code = ((rest[:, None] - vectors[level]) ** 2).sum(-1).argmin(1)
            following = rest - vectors[level][code]
            for k in range(5):
                counts[level, k] = 0.99 * counts[level, k] + 0.01 * (code == k).sum()
                sums[level, k] = 0.99 * sums[level, k] + 0.01 * rest[code == k].sum(0)
            vectors[level] = sums[level] / counts[level][:, None]
            rest = following
    assert_close(made.counts, torch.from_numpy(counts))
    assert_close(made.vectors, torch.from_numpy(vectors), rtol=1e-10, atol=1e-10)
    assert not list(made.parameters())


@pytest.mark.parametrize("learned", ["gradient", "ema"])
@pytest.mark.parametrize("still", ["eval", "no_grad"])
def test_state_moves_in_training_with_gradients_alone(learned, still):
    made = Codebook(4, 2, 2, learned)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.train(still != "eval")
    with torch.set_grad_enabled(still != "no_grad"):
        made(torch.randn(8, 3, 2))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    made.train()(torch.randn(8, 3, 2))
    assert not torch.equal(made.counts, before["counts"])


@pytest.mark.parametrize("learned", ["gradient", "ema"])
def test_the_start_is_the_kmeans_of_the_first_batches(learned):
    """The codebook does as well on the outputs it has seen as k-means does, and is left alone afterwards."""
    from sklearn.cluster import KMeans

    made = Codebook(6, 2, 1, learned).double().train()
    seen = []
    while int(made.starting) > 0:
        seen.append(torch.randn(20, 1, 2).double() * 3 + 40)
        made(seen[-1])
    assert len(seen) == 5  # 16 outputs for each of 6 codes
    x = torch.cat(seen)[:, 0]
    inertia = float((x - made.vectors[0].detach()[nearest(x, made.vectors[0].detach())]).square().sum())
    assert inertia < 1.3 * KMeans(6, n_init=10, random_state=0).fit(x.numpy()).inertia_
    at = made.vectors.detach().clone()
    made(torch.randn(20, 1, 2).double() * 3 + 40)
    assert (made.vectors.detach() - at).abs().max() < 1.0


def test_a_start_ends_where_rows_are_few():
    made = Codebook(50, 2).train()
    for _ in range(12):
        made(torch.randn(2, 1, 2))
    assert int(made.starting) == 0
    assert made._waiting == []


@pytest.mark.parametrize("learned", ["gradient", "ema"])
def test_dead_codes_start_again_at_outputs_of_the_batch(learned):
    made = book(learned, size=8).train()
    with torch.no_grad():
        made.vectors[0, 3:] += 1000.0  # five codes that nothing is near to
        made.sums.copy_(made.vectors)
    for _ in range(400):
        made(torch.randn(32, 1, 3).double())
    assert made.vectors.detach().abs().max() < 10
    used = made(torch.randn(500, 1, 3).double()).codes.unique()
    assert len(used) == 8


def test_half_precision_is_for_the_networks_alone():
    """Under autocast an output still becomes the codebook's nearest vector, in the codebook's own precision."""
    made, h = Codebook(64, 4).eval(), torch.randn(50, 2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = made(h)
        rounded = made(h.bfloat16())
    assert torch.equal(half.codes, made(h).codes)
    assert torch.equal(rounded.codes, made(h.bfloat16().float()).codes)
    assert rounded.z.dtype == torch.float32
    data = vk.Split(torch.rand(40, 5))
    model = vk.models.vqvae(vk.Schema("vector", (5,)), hidden=(8,), code_vectors=2, codebook_size=4)
    assert math.isfinite(vk.fit(model, data, vq, epochs=2, precision="bf16", progress=False)["train_loss"][-1])
    vk.fit_prior(model, data, epochs=1)
    assert math.isfinite(float(model.log_prior(model.codes(data.rows(slice(0, 3)))).sum()))


@pytest.mark.parametrize("learned", ["gradient", "ema"])
def test_more_residual_levels_leave_less_over(learned):
    x = torch.randn(600, 1, 4).double()
    left = []
    for levels in (1, 2, 4):
        torch.manual_seed(1)
        made = Codebook(8, 4, levels, learned).double().train()
        for batch in x.split(100):
            made(batch)
        left.append(float((made.eval()(x).z - x).square().sum(-1).mean()))
    assert left[1] < 0.7 * left[0]
    assert left[2] < 0.7 * left[1]


# ---- finite scalar quantisation


@pytest.mark.parametrize("values", [2, 3, 4, 5, 8])
def test_fsq_has_as_many_values_as_it_says_and_each_has_a_number(values):
    made = FiniteScalar(values, 2).double()
    axis = torch.linspace(-6, 6, 601).double()
    h = torch.cartesian_prod(axis, axis)[:, None]
    found = made(h)
    assert found.codes.unique().tolist() == list(range(values))
    words, size = made.words(found.codes)
    assert size == values**2
    assert words.unique().tolist() == list(range(size))
    assert_close(made.vectors_of(found.codes), found.z, rtol=0, atol=0)
    assert len(found.z.unique()) == values
    assert found.z.abs().max() == 1
    # 0 is one of the values of odd numbers, and the codes rise with h
    assert (found.codes[:601, 0, 1].diff() >= 0).all()


@pytest.mark.parametrize("values", [2, 5, 8])
def test_fsq_passes_the_gradient_of_its_bound(values):
    made, h = FiniteScalar(values, 3).double(), torch.randn(4, 2, 3).double().requires_grad_()
    bound, offset = (values - 1) * 0.999 / 2, 0.5 * (1 - values % 2)
    shift = math.atanh(offset / bound) if values > 2 else 0.0
    (slope,) = torch.autograd.grad(made(h).z.sum(), h)
    assert_close(slope, bound * (1 - torch.tanh(h.detach() + shift) ** 2) / (values // 2))
    assert_close(made(h).z, (bound * torch.tanh(h + shift) - offset).round() / (values // 2))


# ---- grids


def test_a_grids_vectors_keep_their_places():
    """A change in one corner of the image reaches the vector of that corner and not that of the opposite one."""
    down = GridDown((1, 17, 30), 3, (4, 4), "tanh", plain_block)
    up = GridUp(3, (1, 1, 17, 30), (4, 4), "tanh", plain_block)
    x = torch.zeros(1, 17, 30)
    x[0, 0, 0] = 1.0
    moved = (down(x) - down(torch.zeros(1, 17, 30))).abs().amax(-1)
    assert moved.shape == (5 * 8,)
    assert moved[0] > 0
    assert moved[1:].max() == 0
    z = torch.zeros(40, 3)
    base = up(z.flatten())
    z[7] = 1.0  # the end of the first row
    changed = (up(z.flatten()) - base).abs()[0, 0]
    assert changed[0, -1] > 0
    assert changed[:, :12].max() == 0
    assert changed[14:].max() == 0
    assert up(torch.zeros(2, 4, 120)).shape == (2, 4, 1, 1, 17, 30)


# ---- the prior over codes


def prior(size=3, positions=2, levels=2, seed=0, **more):
    torch.manual_seed(seed)
    made = CodePrior(size, positions, levels, **more).double().requires_grad_(False)
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0, 0.8)
    made.fitted.fill_(True)
    return made


def every_code(size, *shape):
    length = math.prod(shape)
    return torch.tensor(list(itertools.product(range(size), repeat=length))).view(-1, *shape)


def test_the_prior_sums_to_one_over_all_codes():
    made = prior()
    log_p = made().log_prob(every_code(3, 2, 2)).detach()
    assert log_p.shape == (81,)
    assert float(log_p.std()) > 0.3
    assert_close(torch.logsumexp(log_p, 0), torch.tensor(0.0).double(), rtol=0, atol=1e-12)


def test_before_it_is_fitted_the_prior_is_uniform():
    made, codes = CodePrior(3, 2, 2).double(), every_code(3, 2, 2)
    assert_close(made().log_prob(codes), torch.full((81,), -4 * math.log(3)).double())
    assert made.uniform_nats == pytest.approx(4 * math.log(3))
    assert made().sample(torch.Size((7,))).shape == (7, 2, 2)
    # and the network begins there
    made.fitted.fill_(True)
    assert isinstance(made(), AutoregressiveCodes)
    assert_close(made().log_prob(codes), torch.full((81,), -4 * math.log(3)).double())


def test_the_prior_is_causal():
    """A code's logits depend on the codes before it, on every one of them, and on none after."""
    torch.manual_seed(1)
    network = CausalNetwork(4, 6, 8).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    base = torch.randint(0, 4, (1, 6))
    for changed in range(6):
        other = base.clone()
        other[0, changed] = (base[0, changed] + 1) % 4
        moved = (network(other) - network(base)).abs().amax(-1)[0]
        assert (moved[: changed + 1] == 0).all()
        assert (moved[changed + 1 :] > 0).all()


def test_the_priors_samples_have_its_frequencies():
    made, n = prior(size=2, positions=3, levels=1), 20_000
    codes = every_code(2, 3, 1)
    p = made().log_prob(codes).exp().detach()
    drawn = made().sample(torch.Size((n,)))
    assert drawn.shape == (n, 3, 1)
    index = (drawn.flatten(1) * torch.tensor([4, 2, 1])).sum(1)
    observed = torch.bincount(index, minlength=8).double()
    chi = float(((observed - n * p) ** 2 / (n * p)).sum())
    assert chi < 24.3  # 0.999 quantile with 7 degrees of freedom


# ---- the model and its bound


@pytest.mark.parametrize("keywords", [{}, {"codebook": "gradient", "levels": 2}, {"quantiser": "fsq", "fsq_values": 3}])
def test_the_bound_is_minus_distortion_and_code_length_and_below_log_px(keywords):
    """log p(x) = log sum_k p(x, k) over all codes; the bound keeps one term of the sum, and every estimator gives it."""
    model, x = spread(tiny(**keywords)), torch.rand(6, 3).double()
    codes = every_code(model.quantiser.size, model.prior.positions, model.prior.levels)
    p = model.decode(model.quantiser.vectors_of(codes).flatten(1))
    joint = p.log_prob(x[:, None]) + model.prior().log_prob(codes)
    exact = joint.logsumexp(1)
    index = (codes == model.codes(x)[:, None]).all((-1, -2))
    assert (index.sum(1) == 1).all()
    kept = joint[index]
    batch = vk.Batch(x)
    assert_close(-elbo(model, batch).loss, kept)
    assert_close(-elbo(model, batch, samples=3, kl="sampled").loss, kept)
    assert_close(-iwae(model, batch, samples=5).loss, kept)
    assert_close(vk.evaluation.log_likelihood_per_example(model, x, samples=7), kept)
    terms = vq(model, batch)
    assert_close(-(terms.rate + terms.distortion), kept)
    assert (kept < exact).all()
    draw = model.draw(x, None, 4)
    assert torch.equal(draw.log_qz, torch.zeros(4, 6).double())
    assert_close(draw.kl, -draw.log_pz[2])


def test_the_posterior_has_all_its_mass_on_one_code():
    model, x = tiny(), torch.rand(4, 3).double()
    q = model.posterior(x)
    assert isinstance(q, PointCode)
    assert torch.equal(q.log_prob(q.rsample((3,))), torch.zeros(3, 4).double())
    other = q.value.clone()
    other[1, 0] += 1
    assert q.log_prob(other).tolist() == [0.0, -math.inf, 0.0, 0.0]
    assert torch.equal(model.quantiser.vectors_of(q.codes).flatten(1), model.encode(x))


def test_the_loss_by_hand():
    model, x = tiny(codebook="gradient", sigma=0.5), torch.rand(5, 3).double()
    h = model.encoder(x)
    vectors = model.quantiser.vectors[0]
    e = vectors[((h[..., None, :] - vectors) ** 2).sum(-1).argmin(-1)]
    mean = model.decoder.network(e.flatten(1))[:, 0]
    distortion = ((x - mean) ** 2).sum(1) / (2 * 0.25) + 1.5 * math.log(2 * math.pi * 0.25)
    squares = ((h - e) ** 2).sum((1, 2))
    terms = vq(model, vk.Batch(x), commitment=0.4)
    assert_close(terms.distortion, distortion)
    assert_close(terms.loss, distortion + 1.4 * squares)
    assert_close(terms.rate, torch.full((5,), 2 * math.log(3)).double())


@pytest.mark.parametrize("levels", [1, 2])
def test_gradients_of_the_loss_by_hand(levels):
    """Encoder: straight-through slope of the distortion and commitment. Codebook: the codebook term alone."""
    model, x = tiny(codebook="gradient", levels=levels), torch.rand(5, 3).double()
    h = model.encoder(x).detach().requires_grad_()
    model.encoder = type("Given", (nn.Module,), {"forward": lambda self, x: h})()
    model.posterior(x)
    terms = vq(model, vk.Batch(x), commitment=0.4)
    to_h, to_book = torch.autograd.grad(terms.loss.sum(), (h, model.quantiser.vectors))
    codes = model.codes(x)
    z = model.quantiser.vectors_of(codes).detach().requires_grad_()
    (slope,) = torch.autograd.grad(-model.decode(z.flatten(1)).log_prob(x).sum(), z)
    rest, committed, expected = h.detach(), torch.zeros_like(h), torch.zeros_like(to_book)
    for level in range(levels):
        e = model.quantiser.vectors[level].detach()[codes[..., level]]
        committed = committed + 0.4 * 2 * (rest - e)
        expected[level].index_add_(0, codes[..., level].flatten(), 2 * (e - rest).flatten(0, 1))
        rest = rest - e
    assert_close(to_h, slope + committed)
    assert_close(to_book, expected)
    assert slope.abs().max() > 0.01


@pytest.mark.parametrize("keywords", [{"codebook": "gradient"}, {"levels": 2}, {"quantiser": "fsq"}])
def test_the_loss_does_not_depend_on_the_batch(keywords):
    model, x = spread(tiny(**keywords)), torch.rand(7, 3).double()
    whole = vq(model, vk.Batch(x))
    for parts in ([x[:1], x[1:5], x[5:]], [x]):
        found = [vq(model, vk.Batch(part.repeat(3, 1))) for part in parts]
        for field in ("loss", "rate", "distortion"):
            together = torch.cat([getattr(f, field)[: len(p)] for f, p in zip(found, parts, strict=True)])
            assert_close(together, getattr(whole, field), rtol=1e-12, atol=1e-12)
    assert float(whole.loss.detach().std()) > 0


def test_a_gradient_codebook_learns_the_same_from_a_batch_and_from_the_batch_twice():
    model, x = tiny(codebook="gradient"), torch.rand(7, 3).double()
    grads = []
    for rows in (x, x.repeat(2, 1)):
        model.zero_grad()
        vq(model, vk.Batch(rows)).loss.mean().backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for once, twice in zip(*grads, strict=True):
        assert_close(once, twice)


def test_code_length_moves_the_prior_alone_and_no_state():
    model, x = spread(tiny(levels=2)).train(), torch.rand(7, 3).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.prior.requires_grad_(True)
    terms = code_length(model, vk.Batch(x))
    terms.loss.mean().backward()
    assert_close(terms.loss, -model.prior().log_prob(model.codes(x)))
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, _ in model.named_parameters() if name.startswith("prior.")}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("codebook", ["gradient", "ema"])
def test_a_codebook_stays_with_data_that_move_away(codebook):
    """Data whose mean moves by 30 standard deviations in training: the vectors follow and none runs off."""
    torch.manual_seed(0)
    model = vk.models.vqvae(
        vk.Schema("vector", (4,)), latent_dim=4, code_vectors=2, hidden=(16,), codebook=codebook, sigma=1.0
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    norms = []
    for step in range(600):
        x = torch.randn(32, 4) + 30 * step / 600
        optimizer.zero_grad()
        vq(model, vk.Batch(x)).loss.mean().backward()
        optimizer.step()
        outputs = model.encoder(x).detach().norm(dim=-1).max()
        norms.append(float(model.quantiser.vectors.detach().norm(dim=-1).max() / outputs))
    assert max(norms) < 3


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"codebook_size": 1}, "codebook_size 1: a code needs at least 2"),
        ({"levels": 0}, "levels 0"),
        ({"latent_dim": 0}, "latent_dim 0"),
        ({"code_vectors": 0}, "code_vectors 0"),
        ({"quantiser": "fsq", "fsq_values": 1}, "fsq_values 1"),
        ({"quantiser": "pq"}, "quantiser vq or fsq"),
        ({"codebook": "sgd"}, "expected gradient or ema"),
        ({"prior": "flow"}, "prior autoregressive or uniform"),
    ],
)
def test_senseless_sizes_are_refused(keywords, text):
    with pytest.raises(UsageError, match=text):
        vk.models.vqvae(vk.Schema("vector", (3,)), **keywords)


def test_objectives_refuse_what_is_not_theirs():
    vae = vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match="codes are not quantised"):
        vq(vae, vk.Batch(torch.rand(2, 3)))
    with pytest.raises(UsageError, match="commitment -1"):
        vq(tiny(), vk.Batch(torch.rand(2, 3).double()), commitment=-1)


# ---- the second stage, figures, and a run


def trained(**keywords):
    """A model that has learned 200 rows of two kinds, in single precision, with its data."""
    torch.manual_seed(0)
    x = torch.randn(200, 4) * 0.3 + torch.tensor([[2.0], [-2.0]]).repeat(100, 1)
    data = vk.Dataset(vk.Schema("vector", (4,), low=-5, high=5), *(vk.Split(part) for part in x.split([140, 30, 30])))
    chosen = {"latent_dim": 2, "code_vectors": 3, "codebook_size": 4, "hidden": (16,)} | keywords
    model = vk.models.vqvae(data.schema, **chosen)
    vk.fit(model, data, vq, epochs=15, batch_size=20, learning_rate=1e-2, progress=False)
    return model, data


@pytest.fixture(scope="module")
def fitted():
    model, data = trained()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    uniform = vk.evaluation.elbo(model, data.test)
    nats = vk.fit_prior(model, data, epochs=40)
    return model, data, before, uniform, nats


def test_a_fitted_prior_shortens_the_codes_and_moves_nothing_else(fitted):
    model, data, before, uniform, nats = fitted
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != (name.startswith("prior.")), name
    assert not any(p.requires_grad for p in model.prior.parameters())
    after = vk.evaluation.elbo(model, data.test)
    assert uniform["kl"].value == pytest.approx(3 * math.log(4), rel=1e-6)
    assert after["distortion"].value == pytest.approx(uniform["distortion"].value, rel=1e-6)
    assert after["kl"].value < 0.8 * uniform["kl"].value
    # no prior can be shorter than the entropy of the codes it was fitted to
    codes = model.codes(data.train.rows(slice(None))).flatten(1)
    _, counts = torch.unique(codes, dim=0, return_counts=True)
    share = counts / counts.sum()
    entropy = float(-(share * share.log()).sum())
    assert -nats > entropy - 1e-4
    assert -nats < entropy + 0.5


def test_samples_are_of_the_kinds_that_the_data_have(fitted):
    model, *_ = fitted
    torch.manual_seed(0)
    means = model.sample(400).mean(1)
    assert (means.abs() > 1).float().mean() > 0.9
    assert 0.3 < float((means > 0).float().mean()) < 0.7


def test_a_run_keeps_codebook_counts_and_prior(fitted, tmp_path):
    model, data, *_ = fitted
    again = vk.load_run(vk.save_run(tmp_path / "run", model)).model
    state = again.state_dict()
    assert {"quantiser.vectors", "quantiser.counts", "quantiser.sums", "quantiser.starting", "prior.fitted"} <= set(
        state
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    x = data.test.rows(slice(None))
    assert torch.equal(elbo(again, vk.Batch(x)).loss, elbo(model, vk.Batch(x)).loss)


def test_what_cannot_be_fitted_is_refused():
    model, data = trained(prior="uniform")
    with pytest.raises(UsageError, match="stays uniform"):
        vk.fit_prior(model, data)
    with pytest.raises(UsageError, match="kind 'flow'"):
        vk.fit_prior(model, data, kind="flow")


def test_perplexity_of_even_and_of_single_codes():
    assert perplexity(np.full(7, 3)) == pytest.approx(7)
    assert perplexity(np.array([0, 9, 0])) == pytest.approx(1)
    assert perplexity(np.array([1, 2, 1])) == pytest.approx(2**1.5)


@pytest.mark.parametrize("keywords", [{"levels": 2}, {"quantiser": "fsq", "fsq_values": 3}])
def test_codebook_usage_counts_the_codes(keywords):
    model, x = tiny(**keywords), torch.rand(40, 3).double()
    codes = model.codes(x).flatten(0, 1).numpy()
    figures = vk.evaluation.codebook_usage(model, x)
    if "levels" in keywords:
        by_hand = [np.bincount(codes[:, level], minlength=3) / 80 for level in range(2)]
    else:
        by_hand = [np.bincount(codes @ [1, 3], minlength=9) / 80]
    entropies = [-(p[p > 0] * np.log(p[p > 0])).sum() for p in by_hand]
    assert figures["perplexity"].value == pytest.approx(np.exp(entropies).mean())
    assert figures["codes_used"].value == sum((p > 0).sum() for p in by_hand)
    with pytest.raises(UsageError, match="has no codebook"):
        vk.evaluation.codebook_usage(vk.models.vae(vk.Schema("vector", (3,)), hidden=(4,)), x)


def test_evaluation_says_that_there_is_a_bound_and_no_more(fitted):
    model, data, *_ = fitted
    figures = vk.evaluation.evaluate(model, data)
    assert {"elbo", "kl", "distortion", "perplexity", "codes_used"} <= set(figures)
    assert not {"log_likelihood", "active_units"} & set(figures)
    estimate = vk.evaluation.log_likelihood(model, data.test, samples=5)
    assert "not log p(x)" in estimate.estimator
    assert estimate.value == pytest.approx(figures["elbo"].value, rel=1e-6)


def test_the_command_trains_reports_and_encodes(tmp_path, capsys):
    generator = np.random.default_rng(0)
    images = (generator.random((90, 8, 8)) < np.linspace(0.1, 0.9, 8)).astype(np.uint8) * 255
    np.save(tmp_path / "x.npy", images)
    run, source = str(tmp_path / "run"), str(tmp_path / "x.npy")
    small = ["--model", "vqvae", "--network", "conv", "--hidden", "8,8", "--latent-dim", "2", "--codebook-size", "4"]
    assert main(["train", source, *small, "--levels", "2", "--epochs", "2", "--out", run]) == 0
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "4 × 2 codes of 4 values" in page
    assert 'id="codebook"' in page
    assert 'id="traversals"' not in page
    assert "prior that was fitted to the codes afterwards" in page
    assert main(["score", run, source]) == 0
    said = capsys.readouterr()
    assert "90 rows, bound -" in said.err
    assert "row\tbound\t" in said.out
    assert main(["encode", run, source, "--out", str(tmp_path / "codes.npz")]) == 0
    with np.load(tmp_path / "codes.npz") as found:
        model = vk.load_run(run).model
        assert found["codes"].shape == (90, 4, 2)
        z = model.quantiser.vectors_of(torch.from_numpy(found["codes"])).flatten(1)
        assert_close(z, torch.from_numpy(found["mean"]))
    assert bool(model.prior.fitted)
