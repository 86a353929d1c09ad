"""Draws of which each row has its own stream: they depend on the row and the seed, not on company or division."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Bernoulli, Independent, Normal
from torch.testing import assert_close

from vaekit.distributions import Delta
from vaekit.distributions.seeded import RowSeeded, row_seeds, unseeded


def gaussian(rows, dim=3):
    loc = torch.arange(rows * dim).view(rows, dim) / 7
    return Independent(Normal(loc, torch.full_like(loc, 0.5).add(loc / 9)), 1)


def test_a_seeded_row_has_its_own_stream():
    q, seeds = gaussian(4), [11, 22, 33, 22]
    together, state = RowSeeded(q, seeds).rsample((5,)), torch.get_rng_state()
    alone = Independent(Normal(q.base_dist.loc[2:3], q.base_dist.scale[2:3]), 1)
    assert torch.equal(RowSeeded(alone, [33]).rsample((5,))[:, 0], together[:, 2])
    noise = (together - q.mean) / q.stddev
    assert_close(noise[:, 1], noise[:, 3], rtol=0, atol=1e-5)
    assert not torch.allclose(noise[:, 0], noise[:, 1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("parts", [(5, 7), (100, 28, 1, 200), (128, 128, 73), (1,) * 329])
def test_a_seeded_row_does_not_see_how_its_draws_are_divided(parts):
    divided, whole = RowSeeded(gaussian(2), [1, 2]), RowSeeded(gaussian(2), [1, 2])
    drawn = torch.cat([divided.rsample((k,)) for k in parts])
    assert torch.equal(drawn, whole.rsample((sum(parts),)))


def test_seeded_draws_follow_their_gaussian():
    q = RowSeeded(gaussian(3), [4, 5, 6])
    noise = (q.rsample((10_000,)) - q.mean) / q.variance.sqrt()
    assert stats.kstest(noise.flatten(), "norm").pvalue > 2e-5
    assert np.abs(np.corrcoef(noise.flatten(1).T.numpy()) - np.eye(9)).max() < 0.05
    z = q.rsample((2, 2))
    assert z.shape == (2, 2, 3, 3)
    assert torch.equal(q.log_prob(z), gaussian(3).log_prob(z))
    assert unseeded(q) is q.plain


def test_other_distributions_keep_their_own_way_of_sampling():
    value = torch.rand(2, 3)
    assert torch.equal(RowSeeded(Delta(value), [1, 2]).rsample((4,)), value.expand(4, 2, 3))
    assert RowSeeded(Bernoulli(torch.full((2,), 0.5)), [1, 2]).batch_shape == (2,)


def test_row_seeds_are_a_function_of_the_rows_values_and_the_seed():
    x = torch.rand(4, 1, 2, 2)
    seeds = row_seeds(x, 0)
    assert row_seeds(x.flip(0), 0) == seeds[::-1]
    assert len({*seeds, *row_seeds(x, 1), *row_seeds(x + 1e-3, 0)}) == 12
    assert all(0 <= s < 2**63 for s in seeds)
