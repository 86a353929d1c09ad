"""The losses of generator and critic against closed forms, and that no player moves, or pushes, another the wrong way."""

import copy
import math
from functools import partial

import pytest
import torch
from scipy.stats import wasserstein_distance, wasserstein_distance_nd
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

import vaekit as vk
from vaekit.conditional import Conditional, Parametric
from vaekit.distributions.delta import Delta
from vaekit.distributions.posteriors import Point
from vaekit.models.gan import GAN
from vaekit.networks import MLP
from vaekit.objectives import adversarial, elbo, reconstruction, wasserstein
from vaekit.objectives.adversarial import critic_loss, criticism, generator_loss, rules_of, slope_penalty
from vaekit.objectives.encoded_games import code_criticism, code_game, feature_criticism, feature_game
from vaekit.priors import StandardNormal
from vaekit.training.update import Player

LOSSES = ("non-saturating", "minimax", "hinge", "wasserstein")


def norm(gradient):
    return gradient.flatten(1).norm(dim=1)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (2.5, 0.6)])
@pytest.mark.parametrize("loss", ["non-saturating", "minimax"])
def test_the_best_critics_loss_is_log_4_less_twice_the_jensen_shannon_divergence(shift, scale, loss):
    p, q = (Normal(*torch.tensor(at, dtype=torch.float64)) for at in ((0.0, 1.0), (shift, scale)))
    x = torch.linspace(-14, 16, 60_001, dtype=torch.float64)
    dx = x[1] - x[0]
    log_p, log_q = p.log_prob(x), q.log_prob(x)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    js = 0.5 * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum() * dx
    f = log_p - log_q  # the optimum's logit, which does not depend on the loss of the generator
    apart = critic_loss(f, torch.full_like(f, -torch.inf), loss)  # a part each: at -inf the other one is 0
    together = (log_p.exp() * apart + log_q.exp() * (critic_loss(f, f, loss) - apart)).sum() * dx
    assert_close(together, math.log(4) - 2 * js, rtol=1e-9, atol=1e-9)
    assert_close(-(log_q.exp() * generator_loss(f, "minimax")).sum() * dx, together - (log_p.exp() * apart).sum() * dx)


def test_losses_by_hand():
    f = torch.tensor([-2.0, 0.0, 0.5, 3.0])
    d = torch.sigmoid(f)
    assert_close(generator_loss(f, "non-saturating"), -d.log())
    assert_close(generator_loss(f, "minimax"), (1 - d).log())
    for loss in ("hinge", "wasserstein"):
        assert_close(generator_loss(f, loss), -f)
    assert_close(critic_loss(f, f.flip(0), "wasserstein"), f.flip(0) - f)
    assert_close(critic_loss(f, f.flip(0), "hinge"), torch.tensor([7.0, 2.5, 1.5, 0.0]))
    assert_close(critic_loss(torch.zeros(3), torch.zeros(3), "minimax"), torch.full((3,), math.log(4)))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_generator_wants_a_higher_score_and_the_critic_a_wider_gap(loss):
    f = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)
    step, zero = 1e-5, torch.zeros(7, dtype=torch.float64)
    assert (generator_loss(f + step, loss) < generator_loss(f - step, loss)).all()
    assert (critic_loss(f + step, zero, loss) < critic_loss(f - step, zero, loss)).all()
    assert (critic_loss(zero, f + step, loss) > critic_loss(zero, f - step, loss)).all()


@pytest.mark.parametrize("scale", [torch.tensor(1.0), torch.tensor([0.5, 2.0, 3.0])])
@pytest.mark.parametrize("size", [0.3, 4.0])
def test_the_penalty_of_a_linear_critic_is_its_closed_form_and_so_is_its_gradient(scale, size):
    scale = scale.double()
    a = (size * torch.tensor([0.6, -0.64, 0.48], dtype=torch.float64)).requires_grad_()
    x, y = torch.randn(2, 5, 3, dtype=torch.float64)
    slope = (scale * a).norm()
    expected = {
        "two-sided": (slope - 1) ** 2,
        "one-sided": torch.relu(slope - 1) ** 2,
        "r1": slope**2 / 2,
        "none": 0 * slope,
    }

    def penalty(weights, name):
        return slope_penalty(lambda u: u @ weights, lambda g: norm(g * scale), x, y, name)

    for name, value in expected.items():
        assert_close(penalty(a, name), value.expand(5))
        if name != "none":
            assert torch.autograd.gradcheck(lambda w, name=name: penalty(w, name).mean(), a)
            (found,) = torch.autograd.grad(penalty(a, name).mean(), a)
            (right,) = torch.autograd.grad(value, a, retain_graph=True)
            assert_close(found, right)


def test_slopes_are_taken_evenly_along_lines_from_data_to_samples():
    real, fake = torch.full((40_000, 1), 2.0, dtype=torch.float64), torch.full((40_000, 1), 4.0, dtype=torch.float64)
    values = slope_penalty(lambda u: 0.5 * u.square().sum(1), norm, real, fake, "two-sided").detach()
    assert float(values.min()) >= 1
    assert float(values.max()) <= 9
    # the integral of (u - 1)^2 over [2, 4], halved: 13/3
    assert abs(float(values.mean()) - 13 / 3) < 4 * float(values.std()) / 200
    at_data = slope_penalty(lambda u: 0.5 * u.square().sum(1), norm, real, fake, "r1")
    assert_close(at_data, torch.full_like(at_data, 2.0))


class Moved(Conditional):
    """G(z) = shift + scale * z, or one of some points."""

    def __init__(self, shift, scale=1.0):
        super().__init__()
        self.shift, self.scale = nn.Parameter(torch.tensor(shift)), scale

    def forward(self, z):
        return Delta(self.shift + self.scale * z, 1)


def game(generator, dims, hidden=(32,)):
    critic = Parametric(MLP((dims,), (1,), hidden), Point(1))
    return GAN(generator, critic, StandardNormal(dims), dims, betas=(0.0, 0.9), ema=0.0)


def trained_critic(model, rows, penalty, weight, epochs=40):
    """The critic alone at play, for 10 steps an epoch."""
    rules = rules_of(partial(wasserstein, penalty=penalty, weight=weight))
    update = vk.Update(partial(criticism, **rules), model.critic.parameters())
    vk.fit(model, rows, updates=[update], epochs=epochs, batch_size=len(rows) // 10, learning_rate=1e-2,
           learning_rate_decay="cosine", progress=False)  # fmt: skip
    return model


def gap(model, real, fake):
    with torch.no_grad():
        return float(model.criticise(real).mean() - model.criticise(fake).mean())


@pytest.mark.parametrize(("penalty", "weight"), [("two-sided", 10.0), ("two-sided", 100.0), ("one-sided", 20.0)])
def test_the_critics_value_approaches_the_wasserstein_distance_of_two_gaussians(penalty, weight):
    torch.manual_seed(0)
    real, fake = 2.0 + torch.randn(1000, 1), torch.randn(1000, 1)
    found = gap(trained_critic(game(Moved([0.0]), 1), real, penalty, weight), real, fake)
    distance = wasserstein_distance(real.flatten().numpy(), fake.flatten().numpy())
    assert distance == pytest.approx(2.0, abs=0.15)
    # of all slopes s the penalty's optimum is s W - w (s - 1)^2 at its largest: s = 1 + W / 2w
    assert found == pytest.approx(distance * (1 + distance / (2 * weight)), rel=0.04)


def test_the_critics_value_approaches_the_wasserstein_distance_of_shifted_clouds():
    torch.manual_seed(0)
    cloud, shift = torch.randn(500, 2) * torch.tensor([1.5, 0.5]), torch.tensor([1.2, -1.6])

    class Cloud(Moved):
        def forward(self, z):
            return Delta(cloud[torch.randint(len(cloud), z.shape[:-1])] + 0 * self.shift, 1)

    real = cloud + shift
    found = gap(trained_critic(game(Cloud([0.0, 0.0]), 2), real, "two-sided", 100.0), real, cloud)
    distance = wasserstein_distance_nd(real[:100].numpy(), cloud[:100].numpy())
    assert distance == pytest.approx(2.0, rel=1e-3)
    assert found == pytest.approx(2.0 * (1 + 2.0 / 200), rel=0.05)


SCHEMA = vk.Schema("vector", (4,), low=-4.0, high=4.0)
MODELS = {
    "gan": (vk.models.gan, adversarial, ("generator", "critic")),
    "wgan": (vk.models.wgan, wasserstein, ("generator", "critic")),
    "aae": (vk.models.aae, reconstruction, ("", "critic", "encoder")),
    "vaegan": (vk.models.vaegan, elbo, ("encoder", "decoder", "critic")),
}
OWNED = {
    "gan": {"generator": ("generator",), "critic": ("critic",)},
    "wgan": {"generator": ("generator",), "critic": ("critic",)},
    "aae": {"": ("autoencoder.encoder", "autoencoder.decoder"), "critic": ("critic",), "encoder": ("autoencoder.encoder",)},
    "vaegan": {"encoder": ("encoder",), "decoder": ("decoder",), "critic": ("look", "head")},
}  # fmt: skip


def rows():
    return torch.randn(32, 4, generator=torch.Generator().manual_seed(3))


def made(name, **more):
    torch.manual_seed(5)
    return MODELS[name][0](SCHEMA, latent_dim=2, hidden=(8,), activation="tanh", **more)


@pytest.mark.parametrize(("name", "player"), [(name, player) for name in MODELS for player in MODELS[name][2]])
def test_a_player_moves_its_own_weights_and_no_other_bit(name, player):
    model = made(name)
    (update,) = (u for u in model.updates(MODELS[name][1]) if u.name == player)
    before = copy.deepcopy(model.state_dict())
    turn = Player(model, update, 1e-2, alone=False)
    turn.take_turn(0)
    turn(vk.Batch(rows()), {}).loss.mean().backward()
    turn.optimizer.step()
    for key, value in model.state_dict().items():
        moved = not torch.equal(value, before[key])
        constant = (name, key) == ("wgan", "critic.network.1.out.bias")  # in a difference of two scores it has no say
        assert moved == (any(key.startswith(f"{part}.") for part in OWNED[name][player]) and not constant), key
    for key, p in model.named_parameters():  # nor is there a gradient that another optimiser could take
        assert p.grad is None or any(key.startswith(f"{part}.") for part in OWNED[name][player]), key


@pytest.mark.parametrize("name", MODELS)
def test_a_critics_loss_reaches_no_other_player_even_where_none_is_frozen(name):
    model = made(name)
    (critic,) = (u for u in model.updates(MODELS[name][1]) if u.name == "critic")
    critic.objective(model, vk.Batch(rows())).loss.mean().backward()
    for key, p in model.named_parameters():
        assert (p.grad is not None) == any(key.startswith(f"{part}.") for part in OWNED[name]["critic"]), key


def stepped(model, objective, parameters, rate=1e-2):
    """The model after one small step down an objective, the same noise before and after."""
    parameters = list(parameters)
    torch.manual_seed(9)
    grads = torch.autograd.grad(objective(model, vk.Batch(rows())).loss.mean(), parameters)
    with torch.no_grad():
        for p, g in zip(parameters, grads, strict=True):
            p -= rate * g
    return model


def scores(model, codes=None):
    """The critic's mean score of data and of what is made."""
    torch.manual_seed(9)
    with torch.no_grad():
        fake = model.generate(32) if codes is None else model.decode(codes).mean
        return float(model.criticise(rows()).mean()), float(model.criticise(fake).mean())


@pytest.mark.parametrize("loss", LOSSES)
def test_the_generators_step_raises_the_score_of_samples_and_the_critics_widens_the_gap(loss):
    objective = partial(adversarial, loss=loss, penalty="none" if loss != "wasserstein" else "two-sided", weight=0.1)
    for name in ("gan", "wgan"):
        model = made(name)
        before = scores(model)[1]
        stepped(model, objective, model.generator.parameters())
        assert scores(model)[1] > before
        real, fake = scores(model)
        critic = partial(criticism, **{**rules_of(objective), "penalty": "none"})
        stepped(model, critic, model.critic.parameters())
        after = scores(model)
        assert after[0] - after[1] > real - fake


def far(model):
    """Minus the log-density of the features at reconstructions."""
    torch.manual_seed(9)
    with torch.no_grad():
        return float(feature_game(model, vk.Batch(rows()), gamma=1.0).distortion.mean())


def test_the_decoder_of_a_vaegan_is_pushed_towards_what_looks_real_and_towards_the_features():
    codes = torch.randn(64, 2, generator=torch.Generator().manual_seed(4))
    model = made("vaegan")
    before = scores(model, codes)[1]
    stepped(model, partial(feature_game, gamma=0.0), model.decoder.parameters())
    assert scores(model, codes)[1] > before
    model = made("vaegan")
    distance = far(model)
    for _ in range(20):
        stepped(model, partial(feature_game, gamma=1.0), model.decoder.parameters(), rate=1e-4)
    assert far(model) < distance
    real = scores(model, codes)
    stepped(model, partial(feature_criticism, weight=0.0), [*model.look.parameters(), *model.head.parameters()])
    after = scores(model, codes)
    assert after[0] - after[1] > real[0] - real[1]


def test_the_encoder_of_an_adversarial_autoencoder_is_pushed_towards_the_prior():
    model = made("aae")

    def seen():
        with torch.no_grad():
            drawn = torch.randn(256, 2, generator=torch.Generator().manual_seed(1))
            return float(model.criticise(drawn).mean()), float(model.criticise(model.encode(rows())).mean())

    before = seen()
    stepped(model, code_game, model.autoencoder.encoder.parameters())
    assert seen()[1] > before[1]
    before = seen()
    stepped(model, code_criticism, model.critic.parameters(), rate=0.05)
    assert seen()[0] - seen()[1] > before[0] - before[1]


def test_a_vaegans_draw_is_the_density_of_the_features():
    model, x = made("vaegan"), rows()
    draw = model.draw(x, None, 3)
    with torch.no_grad():
        mean = model.features(model.decode(draw.z).mean)
        expected = torch.distributions.Independent(Normal(mean, model.sigma), 1).log_prob(model.features(x))
    assert_close(draw.log_px, expected, rtol=1e-4, atol=1e-3)
    q, p = model.posterior(x), model.prior()
    assert_close(draw.kl, kl_divergence(q, p))
    assert_close(elbo(model, vk.Batch(x)).rate, kl_divergence(q, p))


def test_a_loss_does_not_depend_on_the_size_of_the_batch():
    model = made("gan")
    with torch.no_grad():
        for p in model.generator.parameters():
            p.zero_()  # every example is the same one
    twice = vk.Batch(torch.cat([rows(), rows()]))
    for objective in (adversarial, partial(criticism, **rules_of(adversarial))):
        one, two = objective(model, vk.Batch(rows())).loss, objective(model, twice).loss
        assert_close(two.mean(), one.mean())


def test_the_other_side_plays_by_the_same_rules():
    assert rules_of(adversarial) == {"loss": "non-saturating", "penalty": "r1", "weight": 1.0, "clip": None}
    clipped = {"loss": "wasserstein", "penalty": "two-sided", "weight": 10.0, "clip": 0.01}
    assert rules_of(partial(wasserstein, clip=0.01)) == clipped
    model = made("gan")
    generator, critic = model.updates(partial(adversarial, loss="hinge", penalty="one-sided", weight=3.0))
    assert critic.objective.keywords == {"loss": "hinge", "penalty": "one-sided", "weight": 3.0, "clip": None}
    assert critic.after is None
    assert generator.after is not None


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"loss": "sharp"}, "loss 'sharp': expected one of non-saturating"),
        ({"penalty": "both"}, "penalty 'both': expected one of none"),
        ({"weight": -1.0}, "weight -1.0"),
        ({"weight": math.nan}, "weight nan"),
        ({"clip": 0.0}, "clip 0.0: expected a positive bound"),
        ({"loss": "wasserstein", "penalty": "none"}, "give it a penalty"),
        ({"loss": "wasserstein", "weight": 0.0}, "give it a penalty"),
    ],
)
def test_rules_that_cannot_be_are_refused(keywords, said):
    with pytest.raises(vk.errors.UsageError, match=said):
        adversarial(made("gan"), vk.Batch(rows()), **keywords)


def test_a_game_needs_its_players_and_players_their_game():
    with pytest.raises(vk.errors.UsageError, match="needs a model with a generator and a critic"):
        adversarial(vk.models.vae(SCHEMA, hidden=(8,)), vk.Batch(rows()))
    with pytest.raises(vk.errors.UsageError, match="objective elbo: a generator and a critic play"):
        made("gan").updates(elbo)
