"""What the library is given: rows, classes, objectives and parts that fit, and one line where they do not."""

import copy
import json
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, Poisson

import vaekit as vk
from vaekit.conditional import Conditional
from vaekit.errors import DataError, RunError, TrainingError, UsageError
from vaekit.models import LatentModel
from vaekit.objectives import Terms
from vaekit.training.second_stage import fit_prior

RNG = np.random.default_rng(0)
REAL, WHOLE, LABELS = RNG.normal(size=(60, 5)), RNG.integers(0, 17, (60, 6)), np.arange(60) % 3
SMALL = {"latent_dim": 2, "hidden": (8,)}
evaluation = vk.evaluation


def train(model, data, *args, **keywords):
    return vk.fit(
        model, data, *args, **({"epochs": 1, "progress": False, "batch_size": 16, "device": "cpu"} | keywords)
    )


@pytest.fixture
def levels():
    """A model of rows on 17 levels, with its data."""
    data = vk.load(WHOLE, LABELS)
    torch.manual_seed(0)
    return vk.models.vae(data.schema, **SMALL), data


@pytest.fixture
def real():
    data = vk.load(REAL, LABELS)
    torch.manual_seed(0)
    return vk.models.vae(data.schema, **SMALL), data


# ---- rows that are no examples of the model's data

FIGURES = {
    "elbo": evaluation.elbo,
    "log_likelihood": partial(evaluation.log_likelihood, samples=2),
    "kl_per_dim": evaluation.kl_per_dim,
    "active_units": evaluation.active_units,
    "codes": evaluation.codes,
    "gaps": partial(evaluation.gaps, steps=1, samples=2),
    "aggregate_posterior": evaluation.aggregate_posterior,
    "reconstruction_error": evaluation.reconstruction_error,
    "inversion_error": partial(evaluation.inversion_error, steps=1),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_is_given_for_rows_off_the_models_levels_or_not_finite(name, levels, real):
    with pytest.raises(DataError, match="not on the 17 levels"):
        FIGURES[name](levels[0], WHOLE)
    holed = torch.tensor(REAL).float()
    holed[3, 1] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        FIGURES[name](real[0], holed)
    del real[0].origin  # put together by hand
    with pytest.raises(DataError, match="not finite"):
        FIGURES[name](real[0], holed)


def test_no_model_is_trained_on_them(levels, real):
    for rows in (WHOLE, REAL[:, [0, 1, 2, 3, 4, 0]]):
        with pytest.raises(DataError, match="not on the 17 levels"):
            train(levels[0], rows)
    with pytest.raises(DataError, match="not finite"):
        train(real[0], np.where(REAL > 2, np.nan, REAL))
    train(levels[0], WHOLE / 16)
    train(levels[0], levels[1])
    gray = vk.load(RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8))
    binary = vk.models.vae(vk.load(RNG.integers(0, 2, (40, 4, 4))).schema, **SMALL)
    with pytest.raises(DataError, match="not on the 2 levels"):
        train(binary, gray)
    train(binary, vk.load(RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8), binarize="dynamic"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.ma.masked_array(REAL, REAL > 1), "masked value"),
        (REAL.astype(complex), "not numbers"),
        (torch.tensor(REAL).to_sparse(), "sparse tensor"),
        (REAL.astype(object), "not numbers"),
        ("digits", "got 'digits'"),
        (None, "got a NoneType"),
        (3, "got a int"),
        ([[1.0, 2.0], [3.0]], "cannot be made an array of numbers"),
        (REAL[0], "expected rows"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(rows, said, real):
    for call in (partial(train, real[0]), partial(evaluation.elbo, real[0])):
        with pytest.raises(DataError, match=said) as error:
            call(rows)
        assert "\n" not in str(error.value)


def test_frames_and_tensors_of_any_kind_are_rows(real):
    class Frame:
        def __array__(self, dtype=None, copy=None):
            return REAL if dtype is None else REAL.astype(dtype)

    expected = evaluation.elbo(real[0], REAL)["elbo"].value
    for rows in (Frame(), torch.tensor(REAL, requires_grad=True), REAL.tolist(), np.asfortranarray(REAL)[::1]):
        assert evaluation.elbo(real[0], rows)["elbo"].value == pytest.approx(expected, abs=1e-4)
    assert vk.load(torch.tensor(REAL, requires_grad=True)).schema.shape == (5,)
    assert vk.load(torch.tensor(REAL).bfloat16()).schema.shape == (5,)


def test_a_dataset_is_no_part_and_a_part_is_no_dataset(real):
    with pytest.raises(DataError, match="give its train, validation, test"):
        evaluation.elbo(*real)
    for rows in (REAL, real[1].test):
        with pytest.raises(UsageError, match="evaluate: takes a Dataset"):
            evaluation.evaluate(real[0], rows)


# ---- classes and conditions


def test_classes_are_those_the_model_was_made_for():
    data = vk.load(REAL, LABELS)
    model = vk.models.cvae(data.schema, **SMALL)
    train(model, data)
    for others in (vk.load(REAL[LABELS > 0], LABELS[LABELS > 0]), vk.load(REAL, np.array(["u", "v", "w"])[LABELS])):
        for call in (partial(train, model), partial(evaluation.evaluate, model), partial(evaluation.diagnose, model)):
            with pytest.raises(DataError, match="made for the classes or conditions 0, 1, 2; the data have"):
                call(others)
    evaluation.evaluate(model, data, samples=2)


def test_a_condition_is_given_in_its_form_or_refused():
    data = vk.load(REAL, LABELS)
    model, plain = vk.models.cvae(data.schema, **SMALL), vk.models.vae(data.schema, **SMALL)
    x, one_hot = torch.tensor(REAL[:4]).float(), torch.eye(3)[torch.tensor([0, 1, 2, 0])]
    for c in (one_hot, one_hot.double(), one_hot.bool(), one_hot.numpy()):
        assert model.sample(4, c).shape == (4, 5)
        assert model.encode(x, c).shape == (4, 2)
    for call in (partial(model.sample, 4), partial(model.encode, x), partial(model.draw, x)):
        with pytest.raises(UsageError, match="has to be told one"):
            call()
        for c in (torch.tensor([0, 1, 2, 0]), one_hot[:, :2]):
            with pytest.raises(UsageError, match="condition: shape"):
                call(c)
    with pytest.raises(UsageError, match="4 examples for 3 conditions"):
        vk.models.cvae(data.schema, prior="conditional", **SMALL).sample(4, one_hot[:3])
    for call in (partial(plain.sample, 4), partial(plain.encode, x)):
        with pytest.raises(UsageError, match="takes none"):
            call(one_hot)
    with pytest.raises(UsageError, match="-1 examples"):
        plain.sample(-1)
    assert torch.equal(data.schema.condition(1), torch.eye(3)[1])


# ---- arguments


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"schedules": {"betta": lambda step: 1.0}}, "betta: the objective has no such keyword; it has beta"),
        ({"schedules": {"beta": 0.5}}, "expected a function of the step"),
        ({"objective": partial(vk.elbo, betta=2)}, "was given betta; it takes beta"),
        ({"updates": vk.Update()}, "expected a list of vaekit.Update"),
        ({"updates": [vk.elbo]}, "expected a list of vaekit.Update"),
        ({"updates": [vk.Update(schedules={"betta": lambda step: 1.0})]}, "no such keyword"),
        ({"epochs": "1"}, "epochs '1': expected a number"),
        ({"epochs": 1.5}, "expected a whole number"),
        ({"learning_rate": "1e-3"}, "learning_rate '1e-3': expected a number"),
        ({"learning_rate": 1e300}, "below 1e\\+38"),
    ],
)
def test_arguments_of_fit_are_refused_in_one_line(keywords, said, real):
    with pytest.raises(UsageError, match=said):
        train(*real, **keywords)


def test_numbers_of_numpy_are_numbers(real, tmp_path):
    history = train(*real, epochs=np.int64(2), batch_size=np.int32(16), seed=np.int64(3), patience=np.int64(2))
    assert len(history) == 2
    values = [
        evaluation.log_likelihood(real[0], REAL, samples=n, seed=s).value
        for n, s in ((3, 1), (np.int64(3), np.int64(1)))
    ]
    assert values[0] == values[1]
    model = vk.models.vae(real[1].schema, latent_dim=np.int64(2), hidden=np.array([8]), sigma=np.float32(0.5))
    vk.save_run(tmp_path / "run", model)
    assert json.loads((tmp_path / "run" / "model" / "model.json").read_text("utf-8"))["arguments"]["hidden"] == [8]


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"latent_dim": 2.0}, "latent_dim 2.0: expected a whole number"),
        ({"latent_dim": "2"}, "latent_dim '2': expected a whole number"),
        ({"hidden": 8}, "hidden 8: expected sizes of layers"),
        ({"hidden": (8.0,)}, "expected sizes of layers"),
        ({"prior": "vamp", "prior_components": 1.5}, "prior_components 1.5: expected a whole number"),
    ],
)
def test_arguments_of_a_recipe_are_refused_in_one_line(keywords, said, real):
    with pytest.raises(UsageError, match=said):
        vk.models.vae(real[1].schema, **keywords)


def test_a_recipe_is_for_a_schema_and_names_its_arguments(real):
    with pytest.raises(UsageError, match="got a Dataset; give its schema"):
        vk.models.vae(real[1])
    with pytest.raises(UsageError, match="give arguments by name"):
        vk.models.vae(real[1].schema, 8)
    for samples in (2.5, "5"):
        with pytest.raises(UsageError, match="expected a whole number"):
            evaluation.log_likelihood(real[0], REAL, samples=samples)


# ---- objectives and parts of one's own


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda t: t.loss, "returned a Tensor"),
        (lambda t: None, "returned a NoneType"),
        (lambda t: Terms(t.loss.mean(), t.rate, t.distortion), r"its loss is \(\), expected a tensor \(16,\)"),
        (lambda t: Terms(t.loss, 0.0, t.distortion), "its rate is float"),
        (lambda t: Terms(t.loss[None], t.rate, t.distortion), r"its loss is \(1, 16\)"),
        (lambda t: Terms(t.loss.detach(), t.rate, t.distortion), "its loss has no gradient"),
    ],
)
def test_an_objective_returns_a_number_for_each_row(made, said, real):
    with pytest.raises(UsageError, match=said):
        train(*real, lambda model, batch: made(vk.elbo(model, batch)))


def test_given_players_are_told_the_size_of_the_data(real):
    train(*real, updates=[vk.Update(vk.beta_tc)])


class Rates(Conditional):
    """A Poisson for each of three rows' features: counts have no reparameterised draw."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x):
        return Independent(Poisson(self.layer(x).exp(), validate_args=False), 1)


class Constant(Conditional):
    def forward(self):
        return Independent(Poisson(torch.ones(2), validate_args=False), 1)


class Means(Conditional):
    def __init__(self, independent=True):
        super().__init__()
        self.layer, self.independent = nn.Linear(2, 5), independent

    def forward(self, z):
        p = Normal(self.layer(z), 1.0)
        return Independent(p, 1) if self.independent else p


def test_a_posterior_of_counts_learns_by_the_score_and_is_evaluated():
    torch.manual_seed(0)
    model, data = LatentModel(Rates(), Means(), Constant(), 2), vk.load(REAL)
    before = evaluation.elbo(model, data.test)["elbo"].value
    history = train(model, data, partial(vk.elbo, gradient="score"), epochs=3)
    assert history["validation_elbo"][-1] > before - 5
    assert np.isfinite(evaluation.log_likelihood(model, data.test, samples=5).value)
    with pytest.raises(UsageError, match=r"take vaekit\.elbo with gradient='score'"):
        train(model, data, partial(vk.iwae, samples=2))


def test_a_likelihood_of_elements_is_told_to_be_wrapped():
    parts = vk.models.vae(vk.load(REAL).schema, **SMALL)
    model = LatentModel(parts.encoder, Means(False), parts.prior, 2)
    with pytest.raises(UsageError, match=r"in torch\.distributions\.Independent"):
        train(model, REAL)


def test_free_bits_of_a_code_in_layers_are_too_noisy_for_one_example(real):
    model = vk.models.two_layer(real[1].schema, latent_dims=(3, 2), hidden=(8,))
    with pytest.raises(UsageError, match="take them over the batch"):
        train(model, real[1], partial(vk.elbo, free_bits=0.5, free_bits_per="code"))
    train(model, real[1], partial(vk.elbo, free_bits=0.5, free_bits_per="code", free_bits_over="batch"))


# ---- state


def test_an_evaluation_leaves_every_modules_mode(real):
    model, data = real
    model.train()
    model.encoder.eval()
    evaluation.elbo(model, data.test)
    assert (model.training, model.encoder.training, model.decoder.training) == (True, False, True)


def test_annealing_keeps_its_slopes_in_inference_mode(real):
    model, rows = real[0], real[1].test.head(3)
    annealed = partial(evaluation.annealed_importance_sampling, model, rows, temperatures=5, seed=0)
    outside = annealed().value
    with torch.inference_mode():
        assert annealed().value == outside
        assert np.isfinite(evaluation.gaps(model, rows, steps=2, samples=2)["amortisation_gap"].value)


def test_a_chain_that_goes_too_far_is_turned_back_and_torch_checks_again(real):
    class Steep(Conditional):
        def forward(self, z):
            mean = z.sum(-1, keepdim=True).expand(*z.shape[:-1], 5)
            return Independent(Normal(mean, 1e-4), 1)

    parts = real[0]
    model = LatentModel(parts.encoder, Steep(), parts.prior, 2)
    found = evaluation.annealed_importance_sampling(model, torch.tensor(REAL[:3]).float(), temperatures=3, seed=0)
    assert not np.isnan(found.value)
    with pytest.raises(ValueError, match="constraint"):
        Normal(torch.tensor(torch.nan), 1.0)


def test_training_leaves_the_warnings_alone(real):
    before = list(warnings.filters)
    train(*real)
    added = [f for f in warnings.filters if f not in before]
    assert not [f for f in added if f[0] == "ignore"]


# ---- what is saved is what is read


def test_an_edited_model_is_not_saved_as_its_recipes(real, tmp_path):
    model = real[0]
    vk.save_run(tmp_path / "whole", model)
    other = copy.deepcopy(model)
    for module in other.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Tanh())
    assert repr(other) != repr(model)
    third = copy.deepcopy(model)
    third.decoder.network = nn.Linear(2, 5)
    for edited in (other, third):
        with pytest.raises(RunError, match="no longer what recipe vae makes"):
            vk.save_run(tmp_path / "edited", edited)
        assert not (tmp_path / "edited").exists()


def test_figures_that_json_cannot_hold_are_refused_before_anything_is_written(real, tmp_path):
    model, data = real
    with pytest.raises(UsageError, match=r"give evaluation\.to_json"):
        vk.save_run(tmp_path / "run", model, None, {"elbo": evaluation.elbo(model, data.test)["elbo"]})
    assert not (tmp_path / "run").exists()


def test_weights_that_two_parts_share_are_kept(tmp_path):
    @vk.models.recipe(name="tied")
    def tied(schema, *, latent_dim: int = 5):
        model = vk.models.vae(schema, latent_dim=latent_dim, hidden=(5,))
        layers = [m for m in model.decoder.modules() if isinstance(m, nn.Linear)]
        layers[-1].weight = layers[0].weight
        return model

    model = tied(vk.load(REAL).schema)
    vk.save_run(tmp_path / "run", model)
    again = vk.load_run(tmp_path / "run").model
    assert evaluation.elbo(again, REAL)["elbo"].value == evaluation.elbo(model, REAL)["elbo"].value


def test_components_of_a_second_stage_are_those_asked_for(real, tmp_path):
    model, data = real
    fit_prior(model, data, "mixture", components=3)
    assert model.second_stage.prior.family.components == 3
    vk.save_run(tmp_path / "run", model)
    assert vk.load_run(tmp_path / "run").model.second_stage.prior.family.components == 3
    with pytest.raises(UsageError, match="give kind too"):
        fit_prior(model, data, components=4)
    mixed = vk.models.vae(data.schema, prior="mixture", prior_components=4, **SMALL)
    with pytest.raises(UsageError, match="leave components out"):
        fit_prior(mixed, data, "mixture", components=3)


def test_a_training_that_fails_in_a_later_step_is_still_a_training_error(real):
    model, data = real
    with pytest.raises(TrainingError):
        train(model, data, learning_rate=1e30, epochs=3)
