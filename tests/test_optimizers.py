"""Muon beside Adam: torch's own as the oracle of both parts, what is a matrix, and how a training takes it."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import vaekit as vk
from vaekit.cli.main import main
from vaekit.errors import UsageError
from vaekit.optimizers import Muon, linear_weights, orthogonal

X = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (24, 24), (3, 1)])
def test_matrices_move_as_torchs_muon_moves_them(shape):
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
    optimizer = Muon([ours], 0.01, [ours])
    reference = torch.optim.Muon([theirs], 0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    gap = (ours - theirs).detach().norm() / theirs.detach().norm()  # theirs is in bfloat16
    assert float(gap) < 0.03


def test_the_others_move_as_torchs_adam_moves_them():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(7)) for _ in range(2))
    optimizer = Muon([ours], 0.01, [], share=0.3, betas=(0.8, 0.99))
    reference = torch.optim.Adam([theirs], 0.003, betas=(0.8, 0.99))
    for step in range(6):
        ours.grad = torch.randn(7)
        theirs.grad = ours.grad.clone()
        for player, rate in ((optimizer, 0.01), (reference, 0.003)):  # as a schedule sets it
            for group in player.param_groups:
                group["lr"] = rate / (1 + step)
            player.step()
    assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_singular_values_come_near_one_and_large_matrices_go_in_halves():
    torch.manual_seed(0)
    for shape in ((30, 20), (20, 30)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    large = torch.randn(514, 520)
    assert_close(orthogonal(large), torch.cat([orthogonal(half) for half in large.split(257)]))


def test_a_state_that_is_kept_and_loaded_goes_on_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 1))
    optimizer = Muon(model.parameters(), 0.01, linear_weights(model))

    def steps(model, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            model(X).square().mean().backward()
            optimizer.step()

    steps(model, optimizer)
    again = copy.deepcopy(model)
    other = Muon(again.parameters(), 0.5, linear_weights(again))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer)
    steps(again, other)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_pseudo_inputs_codebooks_and_convolutions_are_no_matrices():
    schema = vk.Schema("vector", (6,), examples=X)
    vamp = vk.models.vae(schema, hidden=(8,), latent_dim=2, prior="vamp", prior_components=4)
    chosen = {id(p) for p in linear_weights(vamp)}
    names = {name for name, p in vamp.named_parameters() if p.ndim == 2 and id(p) not in chosen}
    assert len(names) == 1
    assert names.pop().startswith("prior")
    conv = vk.models.vae(vk.Schema("image", (1, 8, 8)), network="conv", hidden=(4, 8), latent_dim=2)
    assert all(p.ndim == 2 for p in linear_weights(conv))


@pytest.mark.parametrize("recipe", ["vae", "two_layer", "factorvae", "vqvae", "autoencoder"])
def test_a_training_takes_it(recipe):
    data = vk.load(X.numpy())
    torch.manual_seed(0)
    model = getattr(vk.models, recipe)(
        data.schema, hidden=(16,), **({} if recipe in ("two_layer", "vqvae") else {"latent_dim": 2})
    )
    history = vk.fit(
        model, data, epochs=15, optimizer="muon", learning_rate=5e-3, progress=False, device="cpu", batch_size=16
    )
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_what_it_cannot_move_is_said():
    data = vk.load(X.numpy())
    for model, name, said in (
        (vk.models.gan(data.schema, hidden=(8,)), "muon", "the players of a GAN have their own"),
        (vk.models.vae(data.schema, hidden=(8,)), "muno", "optimizer 'muno': expected one of adam, muon"),
    ):
        with pytest.raises(UsageError, match=said):
            vk.fit(model, data, epochs=1, optimizer=name, progress=False)


def test_the_command_takes_it_and_keeps_it(tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--epochs", "1", "--hidden", "8", "--latent-dim", "2", "--evaluation-samples", "2", "--out", str(out)]
    assert main(["train", "digits", "--optimizer", "muon", "--learning-rate", "8e-3", *options]) == 0
    assert "Muon 0.008 (cosine to 0)" in capsys.readouterr().out
    assert "optimizer: muon" in (out / "config.yaml").read_text("utf-8")
    assert main(["train", "digits", "--optimizer", "sgd", *options]) == 2
    assert "expected one of 'adam', 'muon'" in capsys.readouterr().err
