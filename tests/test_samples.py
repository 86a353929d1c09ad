"""Figures of samples: closed forms for Gaussians, sets that are the same, sets that are apart, copies that are found out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import linalg, ndimage
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from torchmetrics.image.fid import FrechetInceptionDistance

import vaekit as vk
from vaekit.evaluation.features import default_features, in_batches, train_classifier
from vaekit.evaluation.samples import (
    coverage,
    density,
    estimated,
    frechet_distance,
    high_frequency_power,
    memorisation,
    precision,
    recall,
    sample_quality,
    sharpness,
    two_sample,
)


def whitened(n, d, seed):
    """Rows whose mean is 0 and whose covariance is I exactly."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()
    x = x - x.mean(0)
    root = torch.linalg.cholesky(x.T @ x / (n - 1))
    return torch.linalg.solve_triangular(root, x.T, upper=False).T


def test_frechet_distance_of_gaussians_is_the_closed_form():
    x, y = whitened(300, 4, 1), whitened(200, 4, 2)
    spread, shift = torch.tensor([2.0, 0.5, 1.0, 3.0]).double(), torch.tensor([1.0, 0.0, -2.0, 0.5]).double()
    wanted = float(shift.square().sum() + (spread - 1).square().sum())
    assert frechet_distance(x, y * spread + shift) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [7, 60])
def test_frechet_distance_agrees_with_the_matrix_root(n):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, 10)) @ rng.normal(size=(10, 10)), rng.normal(size=(n + 5, 10)) + 1
    covariances = [np.cov(x, rowvar=False) + 1e-9 * np.eye(10) for x in (a, b)]
    cross = np.real(np.trace(linalg.sqrtm(covariances[0] @ covariances[1])))
    wanted = np.square(a.mean(0) - b.mean(0)).sum() + sum(map(np.trace, covariances)) - 2 * cross
    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(wanted, rel=1e-3)


class Eight(torch.nn.Module):
    """Eight features of an image, the values of its first row."""

    num_features = 8

    def forward(self, x):
        return x[:, 0, 0, :8].double()


def test_frechet_distance_agrees_with_torchmetrics():
    torch.manual_seed(0)
    a, b = torch.rand(90, 3, 8, 8), 0.7 * torch.rand(70, 3, 8, 8).square() + 0.2
    theirs = FrechetInceptionDistance(feature=Eight(), normalize=True, input_img_size=(3, 8, 8)).set_dtype(
        torch.float64
    )
    theirs.used_custom_model = True  # images as they are, not as bytes
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    ours = frechet_distance(Eight()(a), Eight()(b))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-5)


def in_balls(points, centres, k):
    """(points, centres) whether a point lies in a centre's ball, which reaches to its k-th nearest fellow: scikit-learn's."""
    reach = NearestNeighbors(n_neighbors=k + 1).fit(centres).kneighbors(centres)[0][:, -1]
    return pairwise_distances(points, centres) <= reach


def test_neighbour_figures_agree_with_scikit_learn():
    """Kynkaanniemi et al., 2019, with k = 3; Naeem et al., 2020, with k = 5, from their definitions."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(80, 3)), rng.normal(size=(60, 3)) * [1.0, 0.3, 0.5] + [0.5, 0, 0]
    a, b = torch.from_numpy(real), torch.from_numpy(fake)
    assert precision(a, b) == pytest.approx(in_balls(fake, real, 3).any(1).mean())
    assert recall(a, b) == pytest.approx(in_balls(real, fake, 3).any(1).mean())
    assert density(a, b) == pytest.approx(in_balls(fake, real, 5).sum() / (5 * 60))
    assert coverage(a, b) == pytest.approx(in_balls(fake, real, 5).any(0).mean())


def test_the_same_set_has_precision_and_recall_one_and_disjoint_sets_zero():
    x = torch.randn(100, 3)
    for figure in (precision, recall, coverage):
        assert figure(x, x) == 1
        assert figure(x, x + 100) == 0
    assert density(x, x + 100) == 0
    # each row lies in its own ball and, on average, in those of k others
    assert density(x, x) == pytest.approx(1 + 1 / 5, abs=1e-6)


def test_a_set_of_one_mode_has_precision_and_no_recall():
    modes = torch.cat([torch.randn(200, 2) * 0.1, torch.randn(200, 2) * 0.1 + 10])
    half = torch.randn(400, 2) * 0.1
    assert precision(modes, half) > 0.9
    assert recall(modes, half) < 0.6
    assert coverage(modes, half) < 0.6


def test_density_is_not_fooled_by_an_outlier():
    """One far real row has a ball that holds everything: precision is 1, density stays near 0."""
    real = torch.cat([torch.randn(200, 2) * 0.1, torch.tensor([[30.0, 0.0]])])
    fake = torch.randn(200, 2) * 0.1 + torch.tensor([5.0, 0.0])
    assert precision(real, fake) == 1
    assert density(real, fake) < 0.25


def test_two_sample_test_is_chance_for_one_law_and_sees_a_shift():
    x = torch.randn(400, 3)
    assert two_sample(x[:200], x[200:]) == pytest.approx(0.5, abs=0.1)
    shifted = two_sample(x[:200], x[200:] + 2)
    # the best rule between N(0, I) and N(2, I) in three dimensions: Phi(sqrt(12) / 2)
    assert shifted == pytest.approx(0.5 * (1 + math.erf(math.sqrt(12) / 2 / math.sqrt(2))), abs=0.03)


def test_quality_has_floors_and_errors():
    real, fake = torch.randn(600, 4), torch.randn(300, 4) * torch.tensor([1.0, 1.0, 1.0, 0.2])
    figures = sample_quality(real, fake)
    assert figures["frechet_distance"].value > figures["frechet_distance_floor"].value + 0.4
    assert figures["coverage"].value < figures["coverage_floor"].value
    assert figures["frechet_distance"].n == 300


def test_standard_errors_are_the_spread_over_fresh_rows():
    """Neighbour figures jump: leaving out a tenth of the rows at a time would call them 1.7 times as noisy as they are."""
    names = ("frechet_distance", "precision", "recall", "density", "coverage")
    again = [sample_quality(torch.randn(400, 2), torch.randn(200, 2) + 0.5, statistics=names) for _ in range(40)]
    ratios = {
        name: np.mean([f[name].standard_error for f in again]) / np.std([f[name].value for f in again])
        for name in names
    }
    assert min(ratios.values()) > 0.65
    assert max(ratios.values()) < 1.8
    assert 0.8 < np.mean(list(ratios.values())) < 1.4


def test_the_figure_of_a_mean_has_the_standard_error_of_a_mean():
    x = torch.randn(4000, 1, dtype=torch.float64)
    figure = estimated(lambda real, fake: float(fake.mean()), x, x, "", "mean")
    assert figure.standard_error == pytest.approx(1 / math.sqrt(4000), rel=0.5)
    assert figure.value == float(x.mean())


def test_features_far_from_zero_are_compared_in_their_own_precision():
    real, fake = torch.randn(400, 3, dtype=torch.float64), 2 * torch.randn(200, 3, dtype=torch.float64)
    near, far = (sample_quality(real + c, fake + c, statistics=("frechet_distance", "density")) for c in (0, 1e9))
    for name in near:
        assert far[name].value == pytest.approx(near[name].value, rel=1e-4)


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        (torch.randn(20, 3), torch.randn(100, 3)),
        (torch.randn(200, 3), torch.randn(100, 2)),
        (torch.full((200, 3), torch.nan), torch.randn(100, 3)),
    ],
)
def test_what_cannot_be_compared_is_refused(real, fake):
    with pytest.raises(vk.errors.DataError):
        sample_quality(real, fake)


def test_copies_are_found_out():
    train, test = torch.randn(300, 2), torch.randn(300, 2)
    fresh = memorisation(train, test, torch.randn(300, 2))
    assert abs(fresh.value - 0.5) < 4 * fresh.standard_error
    assert memorisation(train, test, train[:100]).value == 1
    assert memorisation(train, test, train[:100] + 0.001).value > 0.97


def test_sharpness_is_the_variance_of_the_laplacian():
    image = np.random.default_rng(0).random((2, 3, 9, 8)).astype(np.float32)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    wanted = [np.mean([ndimage.convolve(c, kernel)[1:-1, 1:-1].var() for c in x]) for x in image]
    np.testing.assert_allclose(sharpness(torch.from_numpy(image)), wanted, rtol=1e-4)
    blurred = np.stack([[ndimage.gaussian_filter(c, 1) for c in x] for x in image])
    assert (sharpness(torch.from_numpy(blurred)) < 0.2 * sharpness(torch.from_numpy(image))).all()


def test_power_of_waves_is_low_or_high():
    t = torch.arange(16.0)
    slow, fast = (torch.cos(2 * math.pi * k / 16 * t).expand(1, 1, 16, 16) for k in (2, 7))
    assert float(high_frequency_power(slow)) == pytest.approx(0, abs=1e-6)
    assert float(high_frequency_power(fast)) == pytest.approx(1, abs=1e-6)
    assert float(high_frequency_power(torch.ones(1, 1, 4, 4))) == 0


def test_classifier_features_tell_digits_apart():
    data = vk.load("digits")
    model = train_classifier(data)
    with torch.no_grad():
        hits = model(data.test.rows(slice(None))).argmax(1) == data.test.labels
    assert float(hits.float().mean()) > 0.93
    z = in_batches(default_features(data), data.test.rows(slice(None)))
    same = torch.cdist(z, z)[data.test.labels[:, None] == data.test.labels].mean()
    assert same < 0.7 * torch.cdist(z, z).mean()


def test_features_without_labels_are_principal_components():
    data = vk.load("digits")
    plain = vk.Dataset(data.schema, vk.Split(data.train.values, maximum=data.train.maximum))
    x = data.train.rows(slice(None))
    z = in_batches(default_features(plain), x)
    centred = x.flatten(1) - x.flatten(1).mean(0)
    assert torch.linalg.svdvals(z)[:5].allclose(torch.linalg.svdvals(centred)[:5], rtol=1e-3)


@pytest.mark.parametrize("labelled", [True, False])
def test_features_of_vectors_do_not_depend_on_their_units(labelled):
    """Two columns tell everything, one of them in units a million times too small for a common scale."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 3)), rng.integers(0, 2, 600)
    x[:, 1] += 6 * y
    units = np.array([1e4, 1e-3, 1.0])
    data, other = (vk.load(values.astype(np.float32), y if labelled else None) for values in (x, x * units))
    features = [in_batches(default_features(d), d.test.rows(slice(None))) for d in (data, other)]
    if not labelled:  # up to the sign of a component
        features = [f.abs() for f in features]
    assert features[1].numpy() == pytest.approx(features[0].numpy(), abs=1e-3 * float(features[0].abs().max()))


def test_a_class_that_no_training_row_has_is_a_class_of_the_classifier():
    data = vk.load("digits")
    few = replace(data, train=data.train.take(data.train.labels != 9))
    assert train_classifier(few, steps=2).head.out_features == 10


@pytest.mark.parametrize(("n", "m", "dim", "k"), [(300, 250, 16, 3), (300, 250, 16, 5), (40, 40, 2, 5), (31, 57, 2, 5)])
def test_rows_at_equal_distances_are_counted_as_they_are(n, m, dim, k):
    """Features that are whole numbers have many ties; the reference is in whole numbers throughout."""
    rng = np.random.default_rng(n + k)
    real, fake = rng.integers(3, size=(n, dim)), rng.integers(3, size=(m, dim))
    squared = ((fake[:, None] - real[None]) ** 2).sum(-1)
    radius = np.sort(((real[:, None] - real[None]) ** 2).sum(-1), 1)[:, k]
    inside = squared <= radius
    a, b = torch.tensor(real).float(), torch.tensor(fake).float()
    assert precision(a, b, k) == pytest.approx(inside.any(1).mean(), abs=1e-6)
    assert density(a, b, k) == pytest.approx(inside.sum() / (k * m), abs=1e-5)
    assert coverage(a, b, k) == pytest.approx(inside.any(0).mean(), abs=1e-6)
