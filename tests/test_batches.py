"""Training batches: their order, their division among processes, and pixels drawn black or white."""

import numpy as np
import pytest
import torch
from scipy import stats

import vaekit as vk
from vaekit.data.batches import epoch_batches
from vaekit.data.binarize import bernoulli_pixels
from vaekit.errors import DataError


@pytest.mark.parametrize("maximum", [1, 16, 255])
def test_bytes_reach_a_model_as_levels_from_0_to_1(maximum):
    stored = torch.arange(maximum + 1, dtype=torch.uint8)[:, None]
    x = vk.Split(stored, maximum=maximum).rows(slice(None))
    torch.testing.assert_close(x, torch.linspace(0, 1, maximum + 1)[:, None])


def test_order_of_rows_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        batches = epoch_batches(
            vk.Split(torch.arange(50.0)[:, None]), 8, seed=seed, epoch=epoch, device=torch.device("cpu")
        )
        return torch.cat([batch.x for batch in batches]).flatten().tolist()

    first = order(1, 2)
    torch.rand(3)
    assert first == order(1, 2)
    assert sorted(first) == list(range(50))
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (1, 2)}) == 4


def test_processes_share_each_batch_without_loss():
    def part(rank, world):
        split = vk.Split(torch.arange(50.0)[:, None])
        batches = epoch_batches(split, 8, seed=0, epoch=1, device=torch.device("cpu"), share=(rank, world))
        return [set(batch.x.flatten().tolist()) for batch in batches]

    for whole, *parts in zip(part(0, 1), *(part(r, 3) for r in range(3)), strict=True):
        assert set.union(*parts) == whole
        assert sum(map(len, parts)) == len(whole)


@pytest.mark.parametrize(("maximum", "values"), [(255, [0, 1, 127, 254, 255]), (16, [0, 1, 8, 15, 16]), (1, [0, 1])])
def test_pixels_are_white_with_their_gray_as_probability(maximum, values):
    n = 400_000
    for value in values:
        drawn = bernoulli_pixels(torch.full((n,), value, dtype=torch.uint8), maximum, np.random.default_rng(value))
        assert set(drawn.unique().tolist()) <= {0, 1}
        white = int(drawn.long().sum())
        if value in (0, maximum):
            assert white == n * value // maximum
        else:
            assert stats.binomtest(white, n, value / maximum).pvalue > 2e-5


def test_dynamic_pixels_are_drawn_anew_each_epoch_and_repeat_with_the_seed():
    split = vk.Split(torch.full((30, 4), 128, dtype=torch.uint8), maximum=255, dynamic=True)

    def pixels(seed, epoch):
        return torch.cat([b.x for b in epoch_batches(split, 8, seed=seed, epoch=epoch, device=torch.device("cpu"))])

    assert torch.equal(pixels(0, 1), pixels(0, 1))
    assert not torch.equal(pixels(0, 1), pixels(0, 2))
    assert not torch.equal(pixels(0, 1), pixels(1, 1))
    assert torch.equal(split.fixed(3).values, split.fixed(3).values)
    with pytest.raises(DataError, match=r"call fixed\(\) first"):
        split.rows(slice(0, 2))
