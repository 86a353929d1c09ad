"""Nearest neighbours among training and unseen rows: the share, its error, and which models it finds out."""

import math

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.evaluation.repeating import nearer_to_training, nearest_rows


def rows(n, size=6, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32))


def test_the_share_is_that_of_all_pairs_counted_per_row():
    train, unseen, fake = rows(90, 2, 1), rows(30, 2, 2), rows(2000, 2, 3)
    found, distance = nearer_to_training(fake, vk.Split(train), unseen)
    apart = [np.linalg.norm(fake[:, None].numpy() - other[None].numpy(), axis=2) for other in (train, unseen)]
    assert distance.numpy() == pytest.approx(apart[0].min(1), abs=1e-4)
    first = apart[0].min(1) < apart[1].min(1)
    near = np.where(first, apart[0].argmin(1), 1000 + apart[1].argmin(1))
    weights = np.unique(near, return_counts=True)[1] / len(fake)
    assert "one of 90 training" in found.estimator
    a, b = first.mean() / 90, (~first).mean() / 30
    assert found.value == pytest.approx(a / (a + b))
    assert found.standard_error == pytest.approx(0.25 * math.sqrt((weights**2).sum() / (0.25 * 0.75)))


@pytest.mark.parametrize(("n", "copies"), [(600, False), (600, True), (12_000, False), (12_000, True)])
def test_a_model_that_repeats_its_rows_is_found_out_however_many_there_are(n, copies):
    """300 samples and 300 unseen rows of twenty dimensions: of as many training rows one in forty copies has its original."""
    train, unseen = rows(n, 20, 1), rows(300, 20, 2)
    fake = train[torch.randperm(n, generator=torch.Generator().manual_seed(3))[:300]] if copies else rows(300, 20, 4)
    found, distance = nearer_to_training(fake, vk.Split(train), unseen)
    assert (found.value - 4 * found.standard_error > 0.5) == copies
    assert abs(found.value - 0.5) < 3 * found.standard_error or copies
    assert bool((distance < 1e-2).all()) == copies


def test_the_error_is_that_of_repetitions_and_samples_that_look_alike_prove_nothing():
    """Of 60 repetitions with new rows few lie beyond two errors, whether samples are all different or of five kinds."""
    for kinds in (200, 5):
        scores = []
        for seed in range(60):
            fake = rows(kinds, 4, 3 * seed)[torch.arange(200) % kinds] * 0.3  # blurred: towards the mean
            found, _ = nearer_to_training(fake, vk.Split(rows(2000, 4, 3 * seed + 1)), rows(200, 4, 3 * seed + 2))
            scores.append((found.value - 0.5) / found.standard_error)
        assert sum(score > 2 for score in scores) <= 4, kinds
        assert 0.5 < np.std(scores) < 1.3, kinds


@pytest.mark.parametrize("offset", [0.0, 2000.0, 1e6])
def test_nearest_rows_of_a_table_far_from_zero(offset):
    """A column of years would otherwise leave no digit of a distance, and a column of grams would be the distance."""
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 1000.0, 0.05 if offset < 1e5 else 1.0])
    train, x = (offset + scale * rng.normal(size=(n, 3)) for n in (500, 40))
    split = vk.Split(torch.from_numpy(train).float())
    unit = torch.from_numpy(scale).float()
    found, distance = nearest_rows(torch.from_numpy(x).float(), split, unit)
    # what is stored, in double precision
    stored, asked = (
        split.rows(slice(None)).double().numpy() / scale,
        torch.from_numpy(x).float().double().numpy() / scale,
    )
    expected = np.sqrt(((asked[:, None] - stored[None]) ** 2).mean(-1))
    np.testing.assert_allclose(distance, expected.min(1), rtol=1e-3, atol=1e-3)
    assert (found.double().numpy() / scale == stored[expected.argmin(1)]).all()
    copies, none = nearest_rows(split.rows(slice(0, 30)), split, unit)
    assert torch.equal(copies, split.rows(slice(0, 30)))
    assert (none == 0).all()
