"""The options of `vaekit train`: gathered from the signatures of source, model, objective and `fit`, then resolved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaekit.cli.objective import add_objective_options, check_schedule
from vaekit.cli.options import Parser, add_options, config_first, given, make_parser, parse
from vaekit.data import BUILT_IN, Dataset, load
from vaekit.data.batches import steps_per_epoch
from vaekit.distributions.likelihoods import DEFAULT_SIGMA, choose_likelihood
from vaekit.errors import UsageError
from vaekit.models import RECIPES
from vaekit.networks import choose_network, default_hidden
from vaekit.objectives import OBJECTIVES
from vaekit.training import fit
from vaekit.training.fit import check_numbers

FIT = (
    "epochs",
    "seconds",
    "batch_size",
    "learning_rate",
    "learning_rate_decay",
    "optimizer",
    "gradient_clip",
    "aggressive",
    "patience",
    "seed",
    "device",
    "precision",
)
"""The keywords of `fit` that are options of the run."""

NOT_KEPT = ("given", "config", "out", "overwrite", "json", "print_config")
"""Options that say how this call behaves, not what the run is."""

_SENTENCES_DRAWN = 100_000
"""Draws over all test sentences that an evaluation takes by default: each costs a softmax over the vocabulary a word."""

Options = dict[str, Any]


def read_options(arguments: list[str]) -> tuple[str, str, Options]:
    """Model, objective and all options of `vaekit train` from its arguments."""
    arguments = config_first(arguments)
    name = given(arguments, "model", "vae")
    if name not in RECIPES:
        raise UsageError(f"--model {name}: expected one of {', '.join(RECIPES)}")
    objective = given(arguments, "objective", RECIPES[name].objective.__name__)
    if objective not in OBJECTIVES:
        raise UsageError(f"--objective {objective}: expected one of {', '.join(OBJECTIVES)}")
    options = parse(train_parser(name, objective), arguments).as_dict()
    for key, read in (("model", name), ("objective", objective)):
        if options[key] != read:  # a configuration in a form that `given` does not read
            raise UsageError(f"--{key}: the configuration says {options[key]}; name it on the command line")
    return name, objective, options


def train_parser(model: str, objective: str) -> Parser:
    """The parser for a model and an objective, which decide what options there are."""
    parser = make_parser("train", "[SOURCE]", "Learn a latent-variable model and write a run folder with its report.")
    parser.add_argument(
        "given",
        nargs="?",
        metavar="SOURCE",
        help=f"{', '.join(BUILT_IN)}, a folder of images, an IDX, .npy or .npz file, a text file or a folder of them "
        "(default: digits)",
    )
    parser.add_argument("--source", type=str, default="digits", help="the same as SOURCE, for a configuration file")
    parser.add_argument("--config", action="config", help="a YAML file of options; a run's config.yaml repeats the run")
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder of the run (default: runs/<date>_<source>_<model>)"
    )  # type: ignore[arg-type]
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the folder given with --out once the new run is finished"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the result as one JSON object on standard output, the rest on standard error",
    )
    parser.add_argument("--model", default=model, help=f"one of {', '.join(RECIPES)} (default: vae)")
    parser.add_argument(
        "--objective", default=objective, help=f"one of {', '.join(OBJECTIVES)} (default: the model's own)"
    )
    parser.add_argument(
        "--evaluation-samples",
        type=int | None,
        default=None,
        help="K, draws for each test example of the importance-sampled log p(x) (default: 200; fewer, at least 10, where "
        "there are many test sentences, or where m2 decodes every class for each draw)",
    )  # type: ignore[arg-type]
    add_options(parser, load, "data")
    add_options(parser, RECIPES[model].function, f"model {model}")
    add_objective_options(parser, objective)
    own = {"epochs": None, "batch_size": None, "patience": None, "learning_rate_decay": "cosine", "learning_rate": 1e-3}
    own |= RECIPES[model].training
    helps = {
        "epochs": "passes over the training rows (default: enough for 12,000 steps, between 10 and 100)",
        "batch_size": "rows a step (default: 128, 64 below 10,000 training rows)",
        "learning_rate": "of the optimiser",
        "patience": "stop after so many epochs without a better validation ELBO, and take the best weights; 0 never stops "
        "(default: a fifth of the epochs)",
        "learning_rate_decay": "cosine takes the learning rate down to 0 over the whole training",
    }
    if own["batch_size"] is not None:
        helps["batch_size"] = "rows a step"
    add_options(parser, fit, "training", only=FIT, defaults=own, helps=helps)
    parser.add_argument(
        "--pretrain",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="passes over the training rows as an autoencoder, after which all but the encoder begins anew (Li et al., 2019; "
        "default: 0)",
    )
    return parser


def lasting(source: str) -> str:
    """A built-in name as it is, a path made absolute so that config.yaml works from anywhere."""
    return source if source in BUILT_IN else str(Path(source).expanduser().absolute())


def resolve(options: Options, data: Dataset) -> None:
    """Put numbers where the user left the choice to us, so that config.yaml says what was done."""
    n, schema = len(data.train), data.schema
    numbers = ("epochs", "seconds", "batch_size", "learning_rate", "gradient_clip", "evaluation_samples")
    check_numbers(**{key: options[key] for key in numbers})
    if options["evaluation_samples"] is None:
        tested = len(data.test or data.train) if schema.kind == "text" else 1
        decoded = (
            max(1, len(schema.classes or ())) if options["model"] == "m2" else 1
        )  # a draw is decoded as every class
        options["evaluation_samples"] = max(10, min(200 // decoded, _SENTENCES_DRAWN // tested))
    options["batch_size"] = options["batch_size"] or (128 if n >= 10_000 else 64)
    steps = steps_per_epoch(n, options["batch_size"])
    options["epochs"] = min(100, max(10, -(-12_000 // steps))) if options["epochs"] is None else options["epochs"]
    if options["patience"] is None:
        options["patience"] = max(5, options["epochs"] // 5)
    elif options["patience"] < 0:
        raise UsageError(f"--patience {options['patience']}: expected a number of epochs, 0 to never stop early")
    for name in ("pretrain", "aggressive"):
        if options[name] < 0:
            raise UsageError(f"--{name} {options[name]}: expected a number of at least 0; 0 leaves it out")
    check_schedule(options)
    if "hidden" in options:
        options["network"] = choose_network(options["network"], schema.shape)
        if options["hidden"] is None:
            options["hidden"] = default_hidden(options["network"], schema.shape)
        options["hidden"] = list(options["hidden"])
    if "likelihood" in options:
        options["likelihood"] = choose_likelihood(options["likelihood"], schema)
        options["sigma"] = DEFAULT_SIGMA.get(options["likelihood"]) if options["sigma"] is None else options["sigma"]
    if isinstance(options["image_size"], tuple):
        options["image_size"] = list(options["image_size"])
