"""Training by time: how long it takes, what counts, and where the learning rate goes meanwhile."""

import time

import pytest
import torch

import vaekit as vk
from vaekit.errors import UsageError
from vaekit.models import make_model
from vaekit.training.clock import Clock, cosine_by


@pytest.fixture(scope="module")
def digits():
    return vk.load("digits")


def fit(data, **more):
    torch.manual_seed(0)
    model = make_model("vae", data.schema, {"hidden": [16], "latent_dim": 2})
    return model, vk.fit(model, data, batch_size=64, progress=False, **more)


def test_seconds_end_a_training_and_on_step_costs_nothing(digits):
    seen = []

    def slow(step, seconds):
        seen.append((step, seconds))
        if step in (2, 5):
            time.sleep(0.4)

    started = time.perf_counter()
    _, history = fit(digits, seconds=0.3, on_step=slow)
    wall = time.perf_counter() - started
    assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
    assert history["step"][-1] == len(seen)
    # neither the 0.8 s of sleep nor what stands between epochs is on the clock; a step may end after the bell
    assert seen[-2][1] < 0.3 <= seen[-1][1]
    assert wall > seen[-1][1] + 0.8


def test_an_epoch_that_is_cut_short_is_recorded_by_what_was_seen(digits):
    """A clock that is up at once leaves one step, whose loss is that of its one batch."""
    _, whole = fit(digits, epochs=1)
    _, cut = fit(digits, seconds=1e-9)
    assert cut["step"] == [1]
    assert len(cut) == 1
    torch.manual_seed(0)
    model = make_model("vae", digits.schema, {"hidden": [16], "latent_dim": 2})
    first = next(iter(vk.data.batches.epoch_batches(digits.train, 64, seed=0, epoch=1, device=torch.device("cpu"))))
    torch.manual_seed(hash((0, 1, 0)) & 0x7FFFFFFF)
    loss = float(vk.elbo(model, first).loss.mean().detach())
    assert cut["train_loss"][0] == pytest.approx(loss, rel=1e-5)
    assert whole["step"] == [-(-len(digits.train) // 64)]


def test_the_learning_rate_falls_with_the_clock(digits):
    clock = Clock()
    rate = cosine_by(clock, 1e-2, 0.0, 4.0)
    for clock.spent, expected in ((0.0, 1e-2), (1.0, 1e-2 * (0.5 + 0.5**1.5)), (2.0, 5e-3), (4.0, 0.0), (9.0, 0.0)):
        assert rate(123) == pytest.approx(expected, abs=1e-12)
    rates = fit(digits, seconds=0.4, learning_rate=1e-2, learning_rate_decay="cosine")[1]["learning_rate"]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 4e-3


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_seconds_are_above_zero(digits, seconds):
    with pytest.raises(UsageError, match=f"seconds {seconds}: expected a number above 0"):
        fit(digits, seconds=seconds)
