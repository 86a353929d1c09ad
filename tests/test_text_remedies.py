"""What keeps a code in use, held to its exact quantity; what validation reports is the true bound whatever is trained."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.data import Batch
from vaekit.distributions.sequence import Sequence
from vaekit.errors import UsageError
from vaekit.evaluation import aggregate_posterior
from vaekit.objectives import Draw, elbo
from vaekit.training.aggressive import Pace, mutual_information

KL = torch.tensor([[0.1, 0.9], [0.7, 0.49], [0.0, 0.2]])
"""Its columns have the means 0.2667 and 0.53; its rows sum to 1, 1.19 and 0.2, 0.7967 in the mean."""


class Fixed:
    """A model whose draw has a given KL per dimension and log p(x|z) = -2."""

    def __init__(self, kl):
        self.kl = kl

    def draw(self, x, c=None, samples=1):
        return Draw(z=x[None], log_px=torch.full((1, len(x)), -2.0), log_pz=None, log_qz=None, kl_per_dim=self.kl)


TABLE = [
    ("dimension", "example", 0.5, [1.4, 1.2, 1.0], [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]),
    ("dimension", "batch", 0.5, [1.4, 0.99, 0.7], [[0.0, 1.0]] * 3),
    ("dimension", "batch", 0.2, [1.0, 1.19, 0.2], [[1.0, 1.0]] * 3),
    ("dimension", "batch", 0.6, [1.2, 1.2, 1.2], [[0.0, 0.0]] * 3),
    ("code", "example", 1.1, [1.1, 1.19, 1.1], [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]),
    ("code", "batch", 0.7, [1.0, 1.19, 0.2], [[1.0, 1.0]] * 3),
    ("code", "batch", 0.8, [0.8, 0.8, 0.8], [[0.0, 0.0]] * 3),
]


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize(("per", "over", "bits", "charged", "slope"), TABLE)
def test_free_bits_by_hand_with_no_gradient_below_the_threshold(per, over, bits, charged, slope, beta):
    kl = KL.clone().requires_grad_()
    terms = elbo(Fixed(kl), Batch(torch.zeros(3, 2)), beta=beta, free_bits=bits, free_bits_per=per, free_bits_over=over)
    assert_close(terms.loss, 2 + beta * torch.tensor(charged))
    assert_close(terms.rate, KL.sum(1))
    if terms.loss.requires_grad:
        terms.loss.sum().backward()
        assert torch.equal(kl.grad, beta * torch.tensor(slope))
    else:
        assert not torch.tensor(slope).any()


def test_free_bits_over_the_batch_are_those_of_the_paper():
    """Equation 14 of Kingma et al. (2016) for the batch's mean, whatever the rows are."""
    kl = torch.rand(50, 7, generator=torch.Generator().manual_seed(3)).double()
    batch = Batch(torch.zeros(50, 2))
    terms = elbo(Fixed(kl), batch, free_bits=0.5, free_bits_over="batch")
    assert_close(terms.loss.mean(), 2 + kl.mean(0).clamp_min(0.5).sum())
    whole = elbo(Fixed(kl), batch, free_bits=4.0, free_bits_per="code")
    assert_close(whole.loss, 2 + kl.sum(1).clamp_min(4.0))


def test_a_rate_that_is_not_a_number_is_not_hidden_by_free_bits():
    kl = torch.tensor([[float("nan"), 0.1], [0.2, 0.1]])
    for over in ("example", "batch"):
        loss = elbo(Fixed(kl), Batch(torch.zeros(2, 2)), free_bits=0.5, free_bits_over=over).loss
        assert not torch.isfinite(loss.mean())


def flow_model():
    torch.manual_seed(0)
    return vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,), posterior="flow")


def test_free_bits_of_a_sampled_kl_are_taken_over_the_batch():
    model, batch = flow_model(), Batch(torch.rand(64, 3))
    for weight in model.encoder.parameters():
        weight.data.mul_(3)
    torch.manual_seed(1)
    rate = elbo(model, batch).rate.detach()
    for bits, held in ((float(rate.mean()) + 1, True), (float(rate.mean()) - 0.1, False)):
        torch.manual_seed(1)
        terms = elbo(model, batch, free_bits=bits, free_bits_per="code", free_bits_over="batch")
        assert_close(terms.loss.mean(), terms.distortion.mean() + (bits if held else rate.mean()))
    with pytest.raises(UsageError, match="take them over the batch"):
        elbo(model, batch, free_bits=1.0, free_bits_per="code")


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"free_bits": -0.1}, "free_bits -0.1: expected a number of nats of at least 0"),
        ({"free_bits": float("nan")}, "free_bits nan"),
        ({"free_bits_per": "layer"}, "free_bits_per 'layer': expected one of dimension, code"),
        ({"free_bits_over": "epoch"}, "free_bits_over 'epoch': expected one of example, batch"),
        ({"free_bits": 1.0, "kl": "sampled", "free_bits_per": "code"}, "too noisy"),
        ({"free_bits": 1.0, "gradient": "path"}, "too noisy"),
        ({"free_bits": 1.0, "capacity": 1.0}, "leave one out"),
    ],
)
def test_free_bits_that_cannot_be_right_are_refused(keywords, said):
    model = vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match=said):
        elbo(model, Batch(torch.rand(2, 3)), **keywords)


def small():
    torch.manual_seed(0)
    return vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(8,), likelihood="gaussian")


def rows(n=240):
    code = torch.randn(n, 1, generator=torch.Generator().manual_seed(5))
    return code * torch.tensor([1.0, -1.0, 0.5]) + 0.1 * torch.randn(n, 3, generator=torch.Generator().manual_seed(6))


def moved_at_each_step(pace, losses):
    """Who moves ('e'ncoder, 'd'ecoder, 'a'll) while the loss takes these values."""
    names = {id(pace.encoder): "e", id(pace.others): "d", id(None): "a"}
    said = ""
    for step, loss in enumerate(losses):
        said += names[id(pace.moves(step))]
        pace.loss = lambda model, batch, loss=loss: vk.Terms(*(torch.full((2,), loss) for _ in range(3)))
        pace.objective(pace.model, None)
    return said


def pace_of(model, most, measure_every=10**6):
    data = vk.data.as_split(rows())
    return Pace(
        model, elbo, list(model.encoder.parameters()), list(model.decoder.parameters()), data, most, measure_every
    )


def test_the_decoder_waits_until_the_encoders_loss_falls_no_more():
    falling = [float(50 - n) for n in range(20)]
    # two falling windows and one that is no lower: 30 steps of the encoder, one of the decoder, and from the start again
    assert moved_at_each_step(pace_of(small(), 1000), [*falling, *[40.0] * 12]) == "e" * 30 + "d" + "e"
    assert moved_at_each_step(pace_of(small(), 7), [1.0] * 17) == ("e" * 7 + "d") * 2 + "e"
    assert moved_at_each_step(pace_of(small(), 1), [1.0] * 6) == "ed" * 3


def test_mutual_information_ends_the_aggressive_part_once_it_is_no_higher(monkeypatch):
    said = iter([0.5, 0.9, 0.9])
    monkeypatch.setattr("vaekit.training.aggressive.mutual_information", lambda model, rows: next(said))
    pace = pace_of(small(), 1, measure_every=4)
    assert moved_at_each_step(pace, [1.0] * 15) == "ed" * 6 + "aaa"
    assert pace.information == [0.5, 0.9, 0.9]


def test_mutual_information_is_that_of_the_evaluation():
    """An independent implementation, with other draws; and codes that say nothing of their rows have none."""
    model, x = small(), rows(64)
    fit_quickly(model)
    found = aggregate_posterior(model, x, samples=50)["mutual_information"]
    assert mutual_information(model, vk.data.as_split(x)) == pytest.approx(found.value, abs=6 * found.standard_error)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.zero_()
    assert mutual_information(model, vk.data.as_split(x)) == pytest.approx(0.0, abs=1e-5)


def fit_quickly(model, **more):
    return vk.fit(model, rows(), **{"epochs": 8, "batch_size": 40, "progress": False, "learning_rate": 1e-2, **more})


def test_aggressive_training_moves_one_part_at_a_time():
    model, seen = small(), []

    def watched(m, batch):
        seen.append(tuple(all(p.requires_grad for p in part.parameters()) for part in (m.encoder, m.decoder)))
        assert len({p.requires_grad for p in m.encoder.parameters()}) == 1
        return elbo(m, batch)

    before = torch.nn.utils.parameters_to_vector(model.decoder.parameters()).clone()
    fit_quickly(model, objective=watched, aggressive=3, epochs=1, batch_size=80)
    assert seen[:3] == [(True, False)] * 3
    assert torch.equal(torch.nn.utils.parameters_to_vector(model.decoder.parameters()), before)
    fit_quickly(model, objective=watched, aggressive=3, epochs=1)
    assert seen[3:9] == [(True, False), (True, False), (True, False), (False, True), (True, False), (True, False)]
    assert all(p.requires_grad for p in model.parameters())


def tensors(module):
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def test_pretraining_is_an_autoencoders_training_and_resets_all_but_the_encoder():
    model, twin = small(), small()
    first = tensors(model.decoder)
    history = vk.pretrain(model, rows(), epochs=2, batch_size=40, learning_rate=1e-2, progress=False)
    by_hand = vk.fit(twin, rows(), partial(elbo, beta=0.0), epochs=2, batch_size=40, learning_rate=1e-2, progress=False)
    assert history["train_distortion"] == pytest.approx(by_hand["train_distortion"], rel=1e-5)
    assert_close(tensors(model.encoder), tensors(twin.encoder))
    assert torch.equal(tensors(model.decoder), first)
    assert not torch.equal(tensors(twin.decoder), first)
    assert not torch.equal(tensors(model.encoder), tensors(small().encoder))


def test_pretraining_keeps_the_encoder_of_a_prior_that_shares_it():
    torch.manual_seed(0)
    model = vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(8,), prior="vamp", prior_components=4)
    inputs = {n: p.detach().clone() for n, p in model.named_parameters() if n.startswith("prior.")}
    vk.pretrain(model, rows().sigmoid(), epochs=1, progress=False)
    assert inputs
    assert all(torch.equal(dict(model.named_parameters())[n], p) for n, p in inputs.items())
    assert not torch.equal(tensors(model.encoder), tensors(model.encoder) * 0)


@pytest.mark.parametrize(
    ("recipe", "epochs", "said"),
    [
        (vk.models.autoencoder, 1, "no KL that could drive"),
        (vk.models.vqvae, 1, "no KL that could drive"),
        (vk.models.vae, 0, "epochs 0: expected a number above 0"),
        (vk.models.vae, 1.5, "epochs 1.5: expected a whole number"),
        (vk.models.ladder, 1, None),
    ],
)
def test_pretraining_that_cannot_be_right_is_refused(recipe, epochs, said):
    layers = (
        {"latent_dims": (2, 2)}
        if recipe is vk.models.ladder
        else {}
        if recipe is vk.models.vqvae
        else {"latent_dim": 2}
    )
    model = recipe(vk.Schema("vector", (3,)), hidden=(4,), **layers)
    if said is None:
        assert len(vk.pretrain(model, rows().sigmoid(), epochs=epochs, progress=False)) == epochs
        return
    with pytest.raises(UsageError, match=said):
        vk.pretrain(model, rows().sigmoid(), epochs=epochs, progress=False)


REMEDIES = {
    "warm-up": {"schedules": {"beta": vk.schedules.linear(0.0, 1.0, 100)}},
    "cycles": {"schedules": {"beta": vk.schedules.cyclical(0.0, 1.0, 4)}},
    "beta": {"objective": partial(elbo, beta=0.2)},
    "free-bits": {"objective": partial(elbo, free_bits=2.0)},
    "free-bits-of-the-batch": {"objective": partial(elbo, free_bits=2.0, free_bits_over="batch")},
    "free-bits-of-the-code": {"objective": partial(elbo, free_bits=4.0, free_bits_per="code")},
    "capacity": {"objective": partial(elbo, capacity=9.0)},
    "aggressive": {"aggressive": 4},
    "pretrained": {},
}


@pytest.mark.parametrize("name", REMEDIES)
def test_validation_is_the_true_bound_whatever_the_remedy(name):
    """Rate and distortion by the formulas of torch's Normal, the draws being those of the training's seed."""
    model, held = small(), rows(300)[240:]
    data = vk.Dataset(vk.Schema("vector", (3,)), vk.data.as_split(rows()), vk.data.as_split(held))
    if name == "pretrained":
        vk.pretrain(model, data, epochs=1, progress=False)
    record = vk.fit(model, data, **REMEDIES[name], epochs=3, batch_size=40, seed=7, progress=False).records[-1]
    q = model.posterior(held)
    torch.manual_seed(7)
    distortion = -model.decode(q.rsample()).log_prob(held).mean().item()
    mean, deviation = q.mean.double(), q.variance.double().sqrt()
    rate = (0.5 * (mean**2 + deviation**2 - 1) - deviation.log()).sum(1).mean().item()
    assert record["validation_rate"] == pytest.approx(rate, rel=1e-4)
    assert record["validation_elbo"] == pytest.approx(-rate - distortion, rel=1e-4)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: vk.models.autoencoder(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,)), "no KL that could drive"),
        (lambda: vk.models.vae(vk.Schema("vector", (3,)), latent_dim=2, hidden=(4,)), "aggressive -1: expected"),
    ],
)
def test_aggressive_training_that_cannot_be_right_is_refused(model, said):
    with pytest.raises(UsageError, match=said):
        vk.fit(model(), rows(), epochs=1, aggressive=-1 if "expected" in said else 3, progress=False)


def test_validation_of_sentences_shows_every_word_and_charges_the_whole_rate():
    """Word dropout, dropout and free bits are of the training alone; a minimum rate is the model's own and is charged."""
    data = vk.load(["we go home", "they stay", "we stay here", "they go", "here they go", "we go"] * 8)
    torch.manual_seed(0)
    model = vk.models.text_vae(
        data.schema, latent_dim=3, embedding_dim=4, encoder_dim=6, decoder_dim=6, word_dropout=0.9, dropout=0.5,
        minimum_rate=0.3,
    )  # fmt: skip
    record = vk.fit(
        model, data, partial(elbo, free_bits=2.0), epochs=2, aggressive=2, seed=7, progress=False, device="cpu"
    ).records[-1]
    x = data.validation.rows(slice(None))
    torch.manual_seed(7)
    with torch.no_grad():
        q = model.posterior(x)
        p = Sequence(model.decoder.network, model.decoder.softmax, q.rsample(), data.schema.shape[0])
        kl = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0))
        assert float(kl.min()) >= 0.3 - 1e-6
        assert record["validation_rate"] == pytest.approx(float(kl.sum(1).mean()), rel=1e-5)
        assert record["validation_distortion"] == pytest.approx(-float(p.log_prob(x).mean()), rel=1e-5)
    assert record["validation_rate"] < 6.0  # what free bits would have charged


def test_remedies_on_the_command_line(tmp_path, capsys, monkeypatch):
    """They reach the training: the same weights as by the functions; and what cannot be right leaves no folder."""
    for name, answer in (("evaluate", {}), ("diagnose", []), ("gallery", {}), ("write_report", None)):
        monkeypatch.setattr(f"vaekit.cli.train.{name}", lambda *given, answer=answer, **more: answer)
    common = ["train", "digits", "--hidden", "8", "--latent-dim", "2", "--epochs", "1", "--evaluation-samples", "2"]
    out = tmp_path / "run"
    assert main([*common, "--pretrain", "1", "--aggressive", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 epochs as an autoencoder, decoder reset · up to 2 encoder steps a decoder step" in said
    torch.manual_seed(0)
    data = vk.load("digits")
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(8,))
    vk.pretrain(model, data, epochs=1, batch_size=64, progress=False)
    vk.fit(
        model, data, epochs=1, batch_size=64, aggressive=2, learning_rate=1e-3, learning_rate_decay="cosine",
        progress=False,
    )  # fmt: skip
    assert_close(tensors(vk.load_run(out).model), tensors(model))
    for option, text in (
        ("--pretrain=-1", "--pretrain -1: expected"),
        ("--aggressive=-2", "--aggressive -2: expected"),
    ):
        assert main([*common, option, "--out", str(tmp_path / "none")]) == 2
        assert text in capsys.readouterr().err
    assert main([*common, "--model", "autoencoder", "--pretrain", "1", "--out", str(tmp_path / "none")]) == 2
    assert "no KL that could drive its code away" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
