"""Disentanglement is held to codes made by hand: a perfect one scores 1, noise 0, a rotated one low; shapes are what they say."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

import vaekit as vk
from vaekit.data.shapes import FACTORS, shapes
from vaekit.evaluation import disentanglement as module
from vaekit.evaluation.disentanglement import (
    dci,
    disentanglement,
    entropies,
    factorvae_score,
    mig,
    mutual_information,
    sap,
)

RNG = np.random.default_rng(3)
TRUE = np.stack([RNG.integers(n, size=4000) for n in (3, 4, 6, 5)], 1)
NOISE = RNG.normal(size=(4000, 4))
PERFECT = TRUE * [1.0, -2.0, 0.5, 3.0] + 0.001 * NOISE
STANDARD = (TRUE - TRUE.mean(0)) / TRUE.std(0)
ROTATED = STANDARD @ np.linalg.qr(RNG.normal(size=(4, 4)))[0]
SCORES = {
    "mig": mig,
    "factorvae": factorvae_score,
    "disentanglement": lambda z, f: dci(z, f)["disentanglement"],
    "completeness": lambda z, f: dci(z, f)["completeness"],
    "informativeness": lambda z, f: dci(z, f)["informativeness"],
    "sap": sap,
}


@pytest.mark.parametrize("name", SCORES)
def test_a_perfect_code_scores_one(name):
    assert SCORES[name](PERFECT, TRUE) > 0.97
    # order and sign of the dimensions, and one that carries nothing, change nothing
    assert SCORES[name](np.concatenate([-PERFECT[:, ::-1], 1e-3 * NOISE[:, :1]], 1), TRUE) > 0.97


@pytest.mark.parametrize("name", SCORES)
def test_noise_scores_nothing(name):
    # guessing one of four factors is right in a quarter of the draws
    limit = {"factorvae": 0.4, "disentanglement": 0.15, "completeness": 0.15}.get(name, 0.03)
    assert SCORES[name](NOISE, TRUE) < limit


@pytest.mark.parametrize(
    ("name", "limit"), [("mig", 0.35), ("disentanglement", 0.6), ("completeness", 0.6), ("sap", 0.5)]
)
def test_a_rotated_code_scores_low_though_it_tells_all(name, limit):
    assert SCORES[name](ROTATED, TRUE) < limit
    assert dci(ROTATED, TRUE)["informativeness"] > 0.8


def test_one_dimension_for_two_factors_is_complete_and_not_disentangled():
    both = np.concatenate([(TRUE[:, :1] * 4 + TRUE[:, 1:2]), 0.001 * NOISE[:, :1]], 1).astype(float)
    scores = dci(both, TRUE[:, :2])
    assert scores["completeness"] > 0.95
    assert scores["disentanglement"] < 0.2


def test_two_dimensions_for_one_factor_have_no_gap():
    twice = np.concatenate([TRUE[:, :1], TRUE[:, :1]], 1) + 0.001 * NOISE[:, :2]
    assert mig(twice, TRUE[:, :1]) < 0.02
    assert sap(twice, TRUE[:, :1]) < 0.02


def test_mutual_information_and_entropy_agree_with_scikit_learn():
    cut = np.minimum((20 * (ROTATED - ROTATED.min(0)) / np.ptp(ROTATED, 0)).astype(int), 19)
    wanted = np.array([[mutual_info_score(c, f) for f in TRUE.T] for c in cut.T])
    cells = np.array([[(len(set(c)) - 1) * (len(set(f)) - 1) for f in TRUE.T] for c in cut.T])
    np.testing.assert_allclose(mutual_information(ROTATED, TRUE), np.maximum(wanted - cells / 8000, 0), atol=1e-9)
    np.testing.assert_allclose(entropies(TRUE), [mutual_info_score(f, f) for f in TRUE.T], atol=1e-12)


def test_sap_is_the_correlation_ratio_by_hand():
    z, f = np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([[0], [0], [1], [1]])
    assert sap(z, f) == pytest.approx(16 / 20)


def test_every_combination_is_one_image_at_any_resolution():
    for size in ((32, 32), (16, 20)):
        images, factors = shapes(size)
        assert images.shape == (np.prod(list(FACTORS.values())), *size)
        assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    assert len(np.unique(factors, axis=0)) == len(factors)


def test_place_and_size_can_be_measured():
    images, factors = shapes()
    mass = images.astype(float).sum((1, 2))
    across = (images.sum(1) * np.arange(32)).sum(1) / mass
    ellipses = factors[:, 0] == 1
    place = (across[ellipses] + 0.5) / 16 - 1
    np.testing.assert_allclose(place, factors[ellipses, 3] / 7 - 0.5, atol=0.02)
    radius = 0.5 * (0.5 + 0.5 * factors[ellipses, 1] / 3) * 16
    np.testing.assert_allclose(mass[ellipses] / 255, np.pi * radius**2 / 2, rtol=0.06)


def test_the_set_keeps_factors_beside_its_rows():
    data = vk.load("shapes", image_size=16, binarize="dynamic")
    assert data.schema.classes == ("rectangle", "ellipse", "triangle")
    images, factors = shapes((16, 16))
    at = {tuple(f): i for i, f in enumerate(factors)}
    for row in (0, 100):
        assert torch.equal(
            data.train.values[row, 0], torch.from_numpy(images[at[tuple(data.train.factors[row].tolist())]])
        )
    assert torch.equal(data.test.labels, data.test.factors[:, 0])
    assert len(data.test.fixed().head(7).factors) == 7


class Codes(torch.nn.Module):
    """A stand-in for a model whose codes are the examples."""

    condition_dim, condition_optional = 0, False

    def encode(self, x, c=None):
        return x


def test_estimates_have_errors_and_need_factors():
    scores = disentanglement(Codes(), torch.from_numpy(PERFECT).float(), torch.from_numpy(TRUE))
    assert scores["mig"].value > 0.97
    assert all(0 <= s.standard_error < 0.1 for s in scores.values())
    with pytest.raises(vk.errors.UsageError, match="factors are known"):
        disentanglement(Codes(), torch.from_numpy(PERFECT).float())
    for wrong in (TRUE.astype(float), TRUE - 1):
        with pytest.raises(vk.errors.DataError, match="whole and from 0"):
            disentanglement(Codes(), torch.from_numpy(PERFECT).float(), torch.from_numpy(wrong))
    same = np.column_stack([TRUE, np.zeros(len(TRUE), int)])
    with pytest.raises(vk.errors.DataError, match=f"factor {TRUE.shape[1]} is the same in all but 0 of"):
        disentanglement(Codes(), torch.from_numpy(PERFECT).float(), torch.from_numpy(same))
    with pytest.raises(vk.errors.DataError, match="one row for each"):
        disentanglement(Codes(), torch.from_numpy(PERFECT).float(), torch.from_numpy(TRUE[:5]))


def test_the_error_of_a_score_is_its_spread_over_data_sets(monkeypatch):
    """Of a score that is known: one factor in two dimensions with noise. Halves are off the whole by what the whole is off."""
    monkeypatch.setattr(module, "_scores", lambda z, factors, seed: {"sap": sap(z, factors)})
    rng, found, errors = np.random.default_rng(0), [], []
    for _ in range(200):
        factors = rng.integers(4, size=(300, 1))
        z = np.column_stack([factors + rng.normal(size=(300, 1)), rng.normal(size=(300, 1))])
        score = disentanglement(Codes(), torch.from_numpy(z), torch.from_numpy(factors))["sap"]
        found.append(score.value)
        errors.append(score.standard_error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(found), rel=0.15)


@pytest.mark.parametrize("scale", [1.0, 0.04, 1e-4])
def test_the_factorvae_score_does_not_depend_on_the_scale_of_a_dimension(scale):
    """Kim & Mnih divide each dimension by its own standard deviation."""
    assert factorvae_score(TRUE[:, :2] * [1.0, scale] + 1e-3 * scale * NOISE[:, :2], TRUE[:, :2]) == 1.0


def test_a_factor_that_hardly_varies_is_refused_and_left_out_of_an_evaluation(recwarn):
    factors = TRUE[:200].copy()
    factors[:, 1] = 0
    factors[:9, 1] = 1
    with pytest.raises(vk.errors.DataError, match="factor 1 is the same in all but 9 of 200 rows"):
        disentanglement(Codes(), torch.from_numpy(PERFECT[:200]).float(), torch.from_numpy(factors))
    factors[:10, 1] = 1
    scores = disentanglement(Codes(), torch.from_numpy(PERFECT[:200]).float(), torch.from_numpy(factors))
    assert all(np.isfinite([s.value, s.standard_error]).all() for s in scores.values())
    assert not recwarn.list
    data = vk.load("shapes")
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(8,), network="mlp")
    assert "mig" not in vk.evaluation.evaluate(model, data, split=data.test.head(4), samples=2)


def test_the_factorvae_score_forgives_one_dimension_out_of_scale():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(v, size=2000) for v in (3, 4, 12, 8, 8)], 1)
    assert factorvae_score(factors * [1, 1e7, 1, 1, 1], factors) == 1.0
    far = 1e7 + rng.normal(size=(2000, 1))  # but for rounding it does not vary
    assert factorvae_score(np.hstack([factors, far]), factors) == 1.0


def test_a_value_that_a_half_does_not_hold_is_nothing_to_know(recwarn):
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(4, size=200), (np.arange(200) == 3) + 0], 1)
    assert 0.4 < dci(factors + 0.0, factors)["informativeness"] <= 1.0
    assert not [w for w in recwarn if "divide" in str(w.message)]
