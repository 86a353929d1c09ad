"""Training: the same seed is the same run, schedules reach their objective, and nothing that fails leaves damage."""

import math
import os
import signal
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import vaekit as vk
from vaekit.data.batches import steps_per_epoch
from vaekit.errors import DataError, TrainingError, UsageError
from vaekit.objectives import Terms, elbo, iwae
from vaekit.training import schedules

ROWS = 48
SCHEMA = vk.Schema("vector", (4,))


def rows(n=ROWS, seed=7):
    return torch.from_numpy(np.random.default_rng(seed).random((n, 4), np.float32)).round(decimals=2)


def dataset():
    return vk.Dataset(SCHEMA, vk.Split(rows()), vk.Split(rows(20, 8), name="validation"))


def model(seed=0, **more):
    torch.manual_seed(seed)
    return vk.models.vae(SCHEMA, latent_dim=2, hidden=(8,), **more)


def fit(m, data=None, *given, **more):
    return vk.fit(
        m, dataset() if data is None else data, *given, **{"epochs": 2, "batch_size": 16, "progress": False, **more}
    )


def weights(m):
    return torch.nn.utils.parameters_to_vector(m.parameters()).detach().clone()


def figures(history):
    return [{k: v for k, v in record.items() if k not in ("seconds", "examples_per_second")} for record in history]


# ---- a run is a function of its seed


def test_the_same_seed_is_the_same_run_and_another_is_not():
    runs = []
    for seed in (3, 3, 4):
        m = model()
        torch.rand(len(runs) + 1)  # what the process drew before is no part of the run
        runs.append((figures(fit(m, seed=seed)), weights(m)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]
    assert not torch.equal(runs[0][1], runs[2][1])


def test_the_callers_random_state_and_denormals_are_left_alone():
    m, inside = model(), []
    tensors, arrays = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(m, on_epoch=lambda record: inside.append(denormal()))
    assert torch.equal(torch.get_rng_state(), tensors)
    assert np.array_equal(np.random.get_state()[1], arrays)
    assert denormal() > 0
    # flushed where it pays, on processors that can
    assert set(inside) == {0.0} or not torch.set_flush_denormal(False)


def denormal():
    return (torch.full((4,), 2e-38) * 0.25).max().item()


# ---- objectives and schedules


def test_schedules_reach_the_objective_and_the_record():
    seen, beta, rate = [], schedules.linear(0.0, 1.0, steps=5), schedules.cosine(0.01, 0.0, steps=9)

    def objective(m, batch, beta):
        seen.append(beta)
        return elbo(m, batch, beta=beta)

    history = fit(model(), None, objective, epochs=3, schedules={"beta": beta}, learning_rate=rate)
    assert seen == [beta(step) for step in range(9)]
    assert history["beta"] == [beta(2), beta(5), beta(8)]
    assert history["learning_rate"] == [rate(2), rate(5), rate(8)]
    assert history["step"] == [3, 6, 9]


def test_cosine_decay_ends_with_the_training():
    rates = fit(model(), epochs=4, learning_rate=0.01, learning_rate_decay="cosine")["learning_rate"]
    assert rates == pytest.approx([schedules.cosine(0.01, 0.0, 12)(step) for step in (2, 5, 8, 11)])


def test_the_learning_rate_is_that_of_the_step():
    m = model()
    before = weights(m)
    fit(m, learning_rate=lambda step: 0.0 if step else 1e-3, epochs=1)
    # Adam's first step is the learning rate in every weight that has a gradient
    assert_close((weights(m) - before).abs().max(), torch.tensor(1e-3), rtol=1e-3, atol=0)


def test_validation_is_at_beta_one_whatever_is_trained_with_the_same_draws_each_time():
    still = {"epochs": 3, "learning_rate": schedules.constant(0.0)}
    histories = [fit(model(), None, o, **still) for o in (elbo, partial(elbo, beta=50.0))]
    plain, weighted = (history.records[0] for history in histories)
    assert len({*histories[0]["validation_elbo"]}) == 1 < len({*histories[0]["train_elbo"]})
    assert plain["validation_elbo"] == weighted["validation_elbo"]
    assert plain["validation_elbo"] == pytest.approx(-plain["validation_rate"] - plain["validation_distortion"])
    assert weighted["train_loss"] == pytest.approx(50 * weighted["train_rate"] + weighted["train_distortion"], rel=1e-5)
    assert plain["train_loss"] == pytest.approx(-plain["train_elbo"], rel=1e-6)


def test_records_are_means_over_examples_when_the_last_batch_is_short():
    def objective(m, batch):
        value = batch.x[:, 0] + 0 * sum(p.sum() for p in m.parameters())
        return Terms(value, 2 * value.detach(), 3 * value.detach())

    record = fit(model(), rows(21), objective, epochs=1, batch_size=8).records[0]
    mean = float(rows(21)[:, 0].mean())
    assert [record[f"train_{k}"] for k in ("loss", "rate", "distortion")] == pytest.approx([mean, 2 * mean, 3 * mean])
    assert (record["step"], steps_per_epoch(21, 8)) == (3, 3)


@pytest.mark.parametrize(
    "objective", [elbo, partial(iwae, samples=4), partial(elbo, kl="sampled"), partial(elbo, free_bits=0.1)]
)
def test_training_raises_the_bound(objective):
    history = fit(model(), rows(), objective, epochs=15, learning_rate=0.01)
    losses = history["train_loss"]
    assert losses[-1] < losses[0] - 0.5
    assert "validation_elbo" not in history.records[0]


def test_early_stopping_restores_the_best_weights():
    m, kept = model(), []
    history = fit(m, epochs=60, patience=3, learning_rate=0.2, on_epoch=lambda record: kept.append(weights(m)))
    best = int(np.argmax(history["validation_elbo"]))
    assert history.best_epoch == best + 1
    assert len(history) == best + 4 < 60
    assert torch.equal(weights(m), kept[best])
    assert not torch.equal(kept[best], kept[-1])


def test_epochs_within_a_schedule_are_neither_counted_nor_kept():
    """Without a KL the bound falls at first, by more epochs than patience has; after the ramps it counts as ever."""
    steps = steps_per_epoch(len(dataset().train), 50)
    ramps = schedules.cyclical(0.0, 1.0, 10 * steps, ramp=0.8)
    m, kept = model(), []
    history = fit(
        m, epochs=30, patience=3, learning_rate=0.05, schedules={"beta": ramps}, batch_size=50,
        on_epoch=lambda record: kept.append(weights(m)),
    )  # fmt: skip
    bound, settled = np.array(history["validation_elbo"]), np.array(history["beta"]) == 1
    assert settled.tolist() == (([False] * 8 + [True] * 2) * 3)[: len(history)]
    assert len(history) > 20, "the ramps of two cycles did not end it"
    best = int(np.where(settled, bound, -np.inf).argmax())
    assert history.best_epoch == best + 1
    assert torch.equal(weights(m), kept[best])


# ---- when it goes wrong


@pytest.mark.parametrize("term", ["rate", "distortion", "loss"])
def test_a_loss_that_is_not_finite_names_term_step_and_epoch_and_keeps_good_weights(term):
    m, kept, calls = model(), [], []

    def objective(m, batch):
        calls.append(1)
        terms = elbo(m, batch)
        if len(calls) <= 5:
            return terms
        values = {"loss": terms.loss * math.nan, "rate": terms.rate, "distortion": terms.distortion}
        return Terms(**{**values, term: values[term] * math.nan})

    with pytest.raises(
        TrainingError, match=rf"{term} is nan at step 5 \(epoch 2\); the weights of epoch 1 are kept"
    ) as raised:
        fit(m, None, objective, epochs=4, on_epoch=lambda record: kept.append(weights(m)))
    assert raised.value.exit_code == 5
    assert torch.equal(weights(m), kept[0])
    assert all(p.requires_grad for p in m.parameters())


@pytest.mark.parametrize("epochs", [1, 2])
def test_weights_that_are_not_finite_are_never_good(epochs):
    m, weight = model(), []

    def objective(m, batch):
        """Finite at the last step of epoch 1, where the root's slope at 0 makes the gradient NaN."""
        terms = vk.elbo(m, batch)
        weight.append(next(m.parameters()))
        extra = (weight[-1] - weight[-1].detach()).abs().sum().sqrt() if len(weight) == 3 else 0.0
        return vk.Terms(terms.loss + extra, terms.rate, terms.distortion)

    with pytest.raises(TrainingError, match=r"a weight is not finite at step 2.*initial weights are kept"):
        fit(m, rows(), objective, epochs=epochs)
    assert torch.isfinite(weights(m)).all()


def test_a_first_step_that_fails_keeps_the_initial_weights():
    m = model()
    before = weights(m)
    with pytest.raises(TrainingError, match=r"at step 0 \(epoch 1\); the initial weights are kept"):
        fit(m, rows() * 1e30)
    assert torch.equal(weights(m), before)


def interrupted(m):
    """Train with a Ctrl-C in the eighth step, which takes its time; return the steps made."""
    steps = []

    def objective(m, batch):
        steps.append(len(steps))
        if len(steps) == 8:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        return elbo(m, batch)

    with pytest.raises(KeyboardInterrupt):
        fit(m, None, objective, epochs=300)
    return steps


def test_an_interrupt_ends_the_training():
    m = model()
    steps = interrupted(m)
    time.sleep(0.4)
    assert len(steps) == 8
    assert torch.isfinite(weights(m)).all()


def test_an_interrupt_is_raised_when_the_training_has_ended():
    m = model()
    interrupted(m)
    left, training = weights(m), m.training
    time.sleep(0.4)
    assert torch.equal(weights(m), left)
    assert not training


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"epochs": 0}, "epochs 0"),
        ({"batch_size": -1}, "batch_size -1"),
        ({"gradient_clip": 0.0}, "gradient_clip 0.0"),
        ({"updates": [vk.Update()], "objective": elbo}, "either updates, or an objective"),
        ({"objective": [vk.Update()]}, "got a list; players are given as updates"),
        ({"updates": [vk.Update(every=0)]}, "every 0"),
        ({"updates": [vk.Update(parameters=[])]}, "no parameter to move"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"precision": "fp8"}, "precision 'fp8'"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(more, said):
    with pytest.raises(UsageError, match=said):
        fit(model(), **more)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_rows_of_any_precision_train_a_model_of_any(precision):
    for data in (rows().double().numpy(), rows().numpy(), vk.Split((rows() * 255).byte(), maximum=255)):
        assert len(fit(model().to(precision), data)) == 2


def test_data_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="early stopping needs validation rows"):
        fit(model(), rows(), patience=2)
    with pytest.raises(DataError, match=r"shape \(4,\), the data have \(3,\)"):
        fit(model(), rows()[:, :3])
    with pytest.raises(DataError, match="empty"):
        fit(model(), rows()[:0])
