"""Several players in one training: each moves its own parameters, in its turn, and feels no other."""

import pytest
import torch
from torch.testing import assert_close

import vaekit as vk
from vaekit.objectives import Terms, elbo
from vaekit.training.denormals import threads_for

ROWS = 48
SCHEMA = vk.Schema("vector", (4,))


def model():
    torch.manual_seed(0)
    return vk.models.vae(SCHEMA, latent_dim=2, hidden=(8,))


def fit(m, **more):
    rows = torch.rand(ROWS, 4, generator=torch.Generator().manual_seed(7))
    return vk.fit(m, rows, **{"epochs": 1, "batch_size": 16, "progress": False, **more})


def weights(m):
    return torch.nn.utils.parameters_to_vector(m.parameters()).detach().clone()


def two_players(m, seen, every=1):
    """The encoder on the ELBO, then the decoder's negative: what leaked would be seen at once."""

    def objective(name, sign):
        def value(model, batch):
            seen.append((name, [p.requires_grad for p in model.parameters()]))
            terms = elbo(model, batch)
            return Terms(sign * terms.loss, terms.rate, terms.distortion)

        return value

    return [
        vk.Update(objective("encoder", 1.0), m.encoder.parameters()),
        vk.Update(objective("decoder", -1.0), m.decoder.parameters(), every=every),
    ]


def test_a_player_moves_only_its_own_parameters():
    m, seen = model(), []
    frozen = next(m.decoder.parameters()).requires_grad_(False)
    before = [p.detach().clone() for p in m.parameters()]
    mine = [any(p is q for q in m.encoder.parameters()) for p in m.parameters()]
    fit(m, epochs=1, updates=two_players(m, seen))
    assert [name for name, _ in seen] == ["encoder", "decoder"] * 3
    for name, needed in seen:
        assert needed == [
            p is not frozen and own == (name == "encoder") for p, own in zip(m.parameters(), mine, strict=True)
        ]
    assert [p.requires_grad for p in m.parameters()] == [p is not frozen for p in m.parameters()]
    for p, old in zip(m.parameters(), before, strict=True):
        assert torch.equal(p, old) == (p is frozen)


def test_a_player_at_rest_stays_where_it_is_and_others_do_not_feel_it():
    trained = []
    for updates in ("one", "two"):
        m = model()
        player = vk.Update(elbo, m.encoder.parameters())
        idle = vk.Update(elbo, m.decoder.parameters(), learning_rate=0.0, every=10**6)
        before = weights(m.decoder)
        fit(m, epochs=1, batch_size=ROWS, updates=[player] if updates == "one" else [player, idle])
        assert torch.equal(weights(m.decoder), before)
        trained.append(weights(m.encoder))
    assert torch.equal(*trained)


def test_every_is_counted_in_steps():
    m, seen = model(), []
    fit(m, epochs=3, updates=two_players(m, seen, every=4))
    steps = "".join(name[0] for name, _ in seen)
    assert steps == "ed" + "e" * 4 + "d" + "e" * 4 + "d"


def test_gradient_clip_limits_the_norm_over_all_parameters():
    moved = []
    for clip in (None, 0.1, 1e9):
        m = model()
        before = weights(m)
        plain = vk.Update(elbo, optimizer=lambda ps, rate: torch.optim.SGD(ps, rate))
        fit(m, epochs=1, batch_size=ROWS, learning_rate=1.0, gradient_clip=clip, updates=[plain])
        moved.append(weights(m) - before)
    assert float(moved[1].norm()) == pytest.approx(0.1, rel=1e-3)
    assert float(moved[0].norm()) > 0.2
    assert_close(moved[2], moved[0])
    assert_close(moved[1] / moved[1].norm(), moved[0] / moved[0].norm(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("every", [2, 3])
def test_the_record_is_the_mean_over_the_steps_at_which_the_first_player_acted(every):
    def objective(m, batch):
        terms = elbo(m, batch)
        return Terms(*(0 * values + 2 for values in (terms.loss, terms.rate, terms.distortion)))

    history = fit(model(), epochs=2, batch_size=8, updates=[vk.Update(objective, every=every)])
    assert history["train_loss"] == [2.0, 2.0]


def test_an_update_serves_a_second_training():
    m = model()
    update = vk.Update(elbo, m.encoder.parameters())
    assert all(len(fit(m, updates=[update])) == 1 for _ in range(2))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_small_networks_train_in_one_thread_and_leave_the_others_alone():
    seen = []
    fit(model(), on_epoch=lambda record: seen.append(torch.get_num_threads()))
    assert seen == [1]
    assert torch.get_num_threads() == 2
    assert threads_for(torch.nn.Linear(1000, 1000), 128) is None
    assert threads_for(torch.nn.Conv2d(1, 1, 3), 1) is None
