"""What every model keeps to: one list of recipes, data, likelihoods and networks, over which every contract runs.

A new recipe is in the list as soon as it is registered; a combination it cannot take needs no entry here, it is refused
by name and left out.
"""

import inspect
import json
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import vaekit as vk
from vaekit.data.arrays import describe
from vaekit.data.vocabulary import EOS, PAD, Vocabulary
from vaekit.distributions import point_of
from vaekit.distributions.likelihoods import DISCRETE
from vaekit.evaluation import codes, log_likelihood_per_example, reconstruction_error
from vaekit.evaluation import elbo as evaluate_elbo
from vaekit.evaluation.rows import batch_at
from vaekit.models import RECIPES, make_model, origin_of

ROWS, LATENTS = 40, 3
GENERATOR = np.random.default_rng(11)


def stored(shape, maximum):
    """Rows whose elements differ in mean, as 8-bit levels or as floats."""
    mean = 0.3 + 0.4 * GENERATOR.random(shape)
    unit = np.clip(mean + 0.15 * GENERATOR.normal(size=(ROWS, *shape)), 0, 1)
    if maximum is None:
        return torch.from_numpy((7 * unit - 20).astype(np.float32))
    levels = unit > GENERATOR.random(unit.shape) if maximum == 1 else np.rint(unit * maximum)
    return torch.from_numpy(levels.astype(np.uint8))


DATA = {
    "bits": (stored((1, 5, 7), 1), 1),
    "gray": (stored((1, 5, 7), 255), 255),
    "colour": (stored((3, 8, 8), 16), 16),
    "real-image": (stored((3, 6, 5), None), None),
    "vector": (stored((6,), None), None),
    "counts": (stored((6,), 4), 4),
}
COMBINATIONS = [
    ("bits", "bernoulli", None, "mlp"),
    ("bits", "auto", None, "conv"),
    ("gray", "continuous-bernoulli", None, "mlp"),
    ("gray", "gaussian", 0.2, "conv"),
    ("colour", "discretized-logistic", "shared", "conv"),
    ("colour", "auto", None, "resnet"),
    ("real-image", "gaussian", "element", "conv"),
    ("real-image", "auto", None, "mlp"),
    ("vector", "auto", None, "auto"),
    ("vector", "gaussian", "element", "mlp"),
    ("counts", "auto", None, "mlp"),
    ("gray", "gaussian", "optimal", "mlp"),
    ("gray", "beta-binomial", None, "mlp"),
    ("colour", "logistic-mixture", None, "conv"),
    ("vector", "student-t", None, "mlp"),
    ("counts", "categorical", None, "mlp"),
]
PARTS = [
    ("gray", "gaussian", 0.2, "conv", (("posterior", "full"),)),
    ("vector", "auto", None, "mlp", (("posterior", "full"), ("prior", "vamp"), ("prior_components", 3))),
    ("bits", "bernoulli", None, "mlp", (("posterior", "flow"),)),
    ("counts", "auto", None, "mlp", (("posterior", "flow"), ("prior", "flow"))),
    ("bits", "bernoulli", None, "mlp", (("posterior", "box"), ("prior", "uniform"))),
    ("vector", "auto", None, "mlp", (("posterior", "box"), ("prior", "vamp"), ("prior_components", 3))),
    ("gray", "gaussian", 0.2, "mlp", (("prior", "mixture"), ("prior_components", 3))),
    ("colour", "auto", None, "conv", (("prior", "vamp"), ("prior_components", 3))),
    ("real-image", "auto", None, "conv", (("prior", "vamp"), ("prior_components", 3))),
    ("gray", "gaussian", 0.2, "mlp", (("prior", "flow"),)),
]
CONDITIONAL = [
    ("gray", "gaussian", 0.2, "conv", (("prior", "conditional"),)),
    ("gray", "gaussian", 0.2, "mlp", (("prior", "mixture"), ("prior_components", 3))),
    ("vector", "auto", None, "mlp", (("prior", "flow"),)),
]
"""Posteriors and priors of the VAE, by their names in its recipe."""

WORDS = ["we", "you", "they", "go", "come", "stay", "here", "there", "now", "then"]
SENTENCES = [" ".join(GENERATOR.choice(WORDS, GENERATOR.integers(1, 7))) for _ in range(ROWS)]
TEXTS = [
    ("text-lm", ()),
    ("text-lm", (("network", "transformer"), ("conditional", True))),
    ("text-autoencoder", ()),
    ("text-vae", ()),
    ("text-vae", (("conditional", True), ("bidirectional", True), ("softmax", "adaptive"))),
    ("text-vae", (("network", "transformer"), ("tied", True), ("minimum_rate", 0.1))),
]
"""Models of sentences, by the names in their recipes."""

TOLD = ("autoencoder", "aae", "two_layer", "ladder", "factorvae")
"""Recipes that can be told a condition; `cvae` always is."""

CODES = [
    ("bits", "bernoulli", None, "mlp", (("codebook", "gradient"), ("levels", 2))),
    ("gray", "gaussian", 0.2, "resnet", (("codebook", "gradient"), ("codebook_size", 8))),
    ("colour", "auto", None, "conv", (("quantiser", "fsq"), ("fsq_values", 4))),
]
"""Quantisers of the VQ-VAE."""


@dataclass(frozen=True)
class Case:
    """One model of the list, made anew for each test, with its data."""

    recipe: str
    data: str
    likelihood: str
    sigma: float | str | None
    network: str
    arguments: tuple = ()

    def __str__(self):
        own = (str(value) for _, value in self.arguments)
        return "-".join(str(v) for v in (self.recipe, self.data, self.likelihood, self.sigma, self.network, *own))

    @property
    def is_text(self):
        return self.data == "sentences"

    @cached_property
    def split(self):
        if self.is_text:
            tokens = self.schema.text.encode(SENTENCES)
            rows = [row + [EOS] + [PAD] * (self.schema.shape[0] - len(row) - 1) for row in tokens]
            lengths = torch.tensor([len(row) + 1 for row in tokens])
            return vk.Split(torch.tensor(rows, dtype=torch.int32), torch.arange(ROWS) % 3, lengths=lengths)
        values, maximum = DATA[self.data]
        return vk.Split(values, torch.arange(ROWS) % 3, maximum=maximum)

    @cached_property
    def schema(self):
        if self.is_text:
            vocabulary = Vocabulary.of(SENTENCES).to_json()
            return vk.Schema("text", (8,), classes=("a", "b", "c"), vocabulary=vocabulary)
        return describe(self.split.values, self.split.maximum, ("a", "b", "c"))

    @cached_property
    def x(self):
        return self.split.rows(slice(None))

    def batch(self, model):
        """The rows with what a training tells of them."""
        batch = vk.Batch(self.x, self.split.condition(slice(None), model.condition_dim))
        return batch.to(torch.device("cpu"), next(model.parameters()).dtype)

    def model(self, seed=0):
        torch.manual_seed(seed)
        if self.is_text:
            code = {} if self.recipe == "text-lm" else {"latent_dim": LATENTS, "encoder_dim": 8}
            sizes = {"embedding_dim": 6, "decoder_dim": 8, "dropout": 0.0}
            return RECIPES[self.recipe].function(self.schema, **code, **sizes, **dict(self.arguments))
        # tanh: a relu could be dead on so few rows, and a parameter without gradient be nobody's fault
        shape = {"hidden": (8,) if self.network in ("mlp", "auto") else (4, 8), "activation": "tanh"}
        choice = {"network": self.network, "likelihood": self.likelihood, "sigma": self.sigma}
        return RECIPES[self.recipe].function(self.schema, latent_dim=LATENTS, **shape, **choice, **dict(self.arguments))


NOT_TEXT = [name for name, recipe in RECIPES.items() if "text" not in recipe.kinds]
LIKELY = [name for name in NOT_TEXT if "likelihood" in inspect.signature(RECIPES[name].function).parameters]
CASES = [Case(name, *rest) for name in LIKELY for rest in COMBINATIONS] + [Case("vae", *rest) for rest in PARTS]
CASES += [Case("vqvae", *rest) for rest in CODES]
CASES += [Case("cvae", *rest) for rest in CONDITIONAL]
CASES += [Case(name, *rest, (("conditional", True),)) for name in TOLD for rest in COMBINATIONS[::5]]
CASES += [Case("m2", *COMBINATIONS[0], (("class_prior", "learned"),))]
CASES += [Case(name, "sentences", "softmax", None, "lstm", arguments) for name, arguments in TEXTS]
every = pytest.mark.parametrize("case", CASES, ids=str)
with_likelihood = pytest.mark.parametrize("case", [c for c in CASES if c.model().has_likelihood], ids=str)
# a condition is told loudly, and would add an offset that no few first weights average out
mlps = pytest.mark.parametrize(
    "case", [c for c in CASES if c.network == "mlp" and ("conditional", True) not in c.arguments], ids=str
)


def figures(model, split):
    """Everything an evaluation says of each row."""
    if not model.has_likelihood:
        return torch.cat([model.reconstruct(*batch_at(model, split, slice(None))).flatten(1), codes(model, split)], 1)
    return log_likelihood_per_example(model, split, samples=7)[:, None]


def made_of(model, batch):
    """What a model makes of its own codes: examples, or where these are whole numbers their log-probabilities."""
    made = model.reconstruct(*batch)
    return made if made.is_floating_point() else model.decode(model.encode(*batch), batch.c).log_prob(batch.x)


def moving(model):
    """The parameters that training moves: those of a second stage wait without gradients until it is over."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@every
@pytest.mark.parametrize("samples", [1, 3])
def test_a_draw_has_k_by_b_log_densities_that_are_finite(case, samples):
    model = case.model()
    draw = model.draw(*case.batch(model), samples)
    assert draw.z.shape == (samples, ROWS, model.latent_dim)
    wanted = (draw.log_px, draw.log_pz, draw.log_qz) if model.has_likelihood else (draw.log_px,)
    for values in wanted:
        assert values.shape == (samples, ROWS)
        assert torch.isfinite(values).all()
    if draw.kl is not None:
        assert draw.kl.shape == (ROWS,)
    if draw.kl_per_layer is not None:
        assert_close(draw.kl_per_layer.sum(-1), draw.kl)
    if draw.kl_per_dim is not None:
        assert_close(draw.kl_per_dim.sum(-1), draw.kl)
        assert (draw.kl_per_dim > -1e-5).all()


@every
def test_the_objective_is_finite_and_its_gradient_reaches_every_parameter(case):
    model = case.model()
    for update in model.updates(RECIPES[case.recipe].objective):
        model.zero_grad()
        terms = update.objective(model, case.batch(model))
        for values in (terms.loss, terms.rate, terms.distortion):
            assert values.shape == (ROWS,)
            assert torch.isfinite(values).all()
        terms.loss.mean().backward()
        mine = {id(p) for p in (model.parameters() if update.parameters is None else update.parameters)}
        for name, parameter in moving(model).items():
            if id(parameter) in mine:
                assert parameter.grad is not None, name
                assert torch.isfinite(parameter.grad).all(), name
                assert parameter.grad.abs().max() > 0, name


@every
def test_training_lowers_the_loss_and_moves_every_parameter(case):
    model = case.model()
    before = {name: p.detach().clone() for name, p in moving(model).items()}
    epochs = 30 if case.recipe == "aae" else 5  # a game pulls the codes about while the decoder learns
    history = vk.fit(
        model,
        case.split,
        RECIPES[case.recipe].objective,
        epochs=epochs,
        batch_size=10,
        learning_rate=5e-3,
        progress=False,
    )
    assert history["train_loss"][-1] < history["train_loss"][0]
    for name, p in model.named_parameters():
        assert name not in before or not torch.equal(before[name], p), name


@every
def test_a_recipes_name_arguments_and_weights_make_the_same_model(case):
    model = case.model(seed=1).eval()
    origin = origin_of(model)
    assert origin.recipe == case.recipe
    arguments = json.loads(json.dumps(origin.arguments))
    schema = vk.Schema.from_json(json.loads(json.dumps(origin.schema.to_json())))
    torch.manual_seed(2)
    again = make_model(origin.recipe, schema, arguments).eval()
    batch = case.batch(model)
    assert not torch.allclose(made_of(again, batch), made_of(model, batch), rtol=1e-4)
    again.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    assert origin_of(again).arguments == origin.arguments
    assert torch.equal(again.reconstruct(*batch), model.reconstruct(*batch))
    assert torch.equal(made_of(again, batch), made_of(model, batch))
    assert torch.equal(figures(again, case.split), figures(model, case.split))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_origin_holds_defaults_too(recipe):
    """So that a default which changes later does not change a model that was saved."""
    function = RECIPES[recipe].function
    schema = Case(recipe, *(COMBINATIONS[-1] if recipe in NOT_TEXT else ("sentences", "softmax", None, "lstm"))).schema
    arguments = origin_of(function(schema)).arguments
    expected = {name: p.default for name, p in inspect.signature(function).parameters.items() if name != "schema"}
    assert arguments == {name: list(v) if isinstance(v, tuple) else v for name, v in expected.items()}


@every
def test_a_rows_figures_do_not_depend_on_its_company(case):
    model = case.model().double()
    whole, part = figures(model, case.split), [33, 4, 5, 21, 0]
    kept = {"values": case.split.values[part], "labels": case.split.labels[part]}
    if case.is_text:
        kept["lengths"] = case.split.lengths[part]
    few = replace(case.split, **kept)
    assert_close(figures(model, few), whole[part], rtol=1e-11, atol=1e-11)


@every
def test_double_precision_goes_through(case):
    model = case.model()
    x, c = case.batch(model)
    z = model.draw(x, c).z
    single = model.decode(z, c).log_prob(x)
    x, c = case.batch(model.double())
    assert_close(model.decode(z.double(), c).log_prob(x), single.double(), rtol=1e-4, atol=1e-3)
    for values in (model.encode(x, c), model.draw(x, c).log_px):
        assert values.dtype == torch.float64
    assert model.reconstruct(x, c).dtype == (torch.int64 if case.is_text else torch.float64)
    if case.is_text:
        return
    # rows that are stored as bytes reach a model in its own precision
    assert reconstruction_error(model, case.split).n == ROWS


@every
def test_verbs_give_examples_and_codes(case):
    model, shape = case.model(), case.schema.shape
    x, c = case.batch(model)
    z = model.encode(x, c)
    assert z.shape == (ROWS, model.latent_dim)
    assert_close(point_of(model.decode(z, c)), model.reconstruct(x, c))
    assert model.reconstruct(x, c).shape == (ROWS, *shape)
    told = None if c is None else c[:6]
    p = model.decode(torch.zeros(2, 5, model.latent_dim), None if c is None else c[:5])
    assert (p.batch_shape, p.event_shape) == ((2, 5), shape)
    assert not z.requires_grad
    if not model.has_likelihood:
        return
    assert model.sample(6, told).shape == (6, *shape)
    drawn = model.sample(6, told, noise=True)
    assert drawn.shape == (6, *shape)
    if case.likelihood in DISCRETE:
        case.schema.check(drawn, "samples")


@mlps
def test_the_first_reconstruction_is_near_the_training_mean(case):
    # over many first weights, because each adds an offset of its own; a decoder without the mean is off by 1 or more
    models = [case.model(seed) for seed in range(60)]
    starts = [m.reconstruct(*case.batch(m)).mean(0) for m in models]
    off = (torch.stack(starts).mean(0) - case.schema.mean).square().mean().sqrt()
    assert off < 0.5 * case.schema.mean.std()


@with_likelihood
def test_log_likelihood_is_above_the_elbo(case):
    model = case.model()
    bound = evaluate_elbo(model, case.split, samples=200)["elbo"].value
    assert log_likelihood_per_example(model, case.split, samples=500).mean() > bound - 0.02


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_refuses_data_it_is_not_for(recipe):
    other = Case("text-lm", "sentences", "", None, "") if recipe in NOT_TEXT else Case("vae", *COMBINATIONS[0])
    with pytest.raises(vk.errors.DataError, match=f"model {recipe}: is for .*, these data are .*; take one of"):
        RECIPES[recipe].function(other.schema)
