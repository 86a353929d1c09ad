"""`vaekit train SOURCE`: data, model, training, evaluation and report in one run folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import vaekit
from vaekit import runs
from vaekit.cli.options import Parser, add_options, given, make_parser, parse
from vaekit.cli.plan import plan_lines
from vaekit.cli.tables import console, figures_table, print_json, shown
from vaekit.cli.workplace import Workplace
from vaekit.data import BUILT_IN, Batch, Dataset, load
from vaekit.data.batches import steps_per_epoch
from vaekit.distributions.likelihoods import choose_likelihood
from vaekit.errors import UsageError
from vaekit.evaluation import evaluate, to_json
from vaekit.evaluation.gallery import gallery
from vaekit.files import write_json
from vaekit.models import RECIPES, Model, make_model
from vaekit.networks import choose_network, default_hidden
from vaekit.objectives import OBJECTIVES, Terms
from vaekit.report import write_report
from vaekit.training import History, fit, schedules
from vaekit.training.fit import check_numbers

_FIT = (
    "epochs", "batch_size", "learning_rate", "learning_rate_decay", "gradient_clip", "patience", "seed", "device",
    "precision",
)  # fmt: skip
_NOT_KEPT = ("given", "config", "out", "overwrite", "json", "print_config")
"""Options that say how this call behaves, not what the run is."""

Options = dict[str, Any]


def run(arguments: list[str]) -> int:
    """Train, evaluate, write the report. Returns the exit status."""
    name = given(arguments, "model", "vae")
    if name not in RECIPES:
        raise UsageError(f"--model {name}: expected one of {', '.join(RECIPES)}")
    objective = given(arguments, "objective", RECIPES[name].objective.__name__)
    if objective not in OBJECTIVES:
        raise UsageError(f"--objective {objective}: expected one of {', '.join(OBJECTIVES)}")
    parsed = parse(_parser(name, objective), arguments).as_dict()
    options = {key: value for key, value in parsed.items() if key not in _NOT_KEPT}
    options["source"] = _lasting(parsed["given"] or options["source"])
    data = load(options["source"], **{k: options[k] for k in _keywords(load)})
    _resolve(options, data)
    torch.manual_seed(options["seed"])
    model = make_model(name, data.schema, {k: options[k] for k in _keywords(RECIPES[name].function)})
    if int(os.environ.get("RANK", "0")) != 0:
        _fit(model, data, options, None, quiet=True)  # another process of torchrun keeps the run folder
        return 0
    _rehearse(model, data, options)
    place = Workplace.open(parsed["out"], parsed["overwrite"], options["source"], name)
    out = console(to_stderr=parsed["json"])
    for heading, text in plan_lines(data, model, options, shown(place.final)):
        out.print(f"[bold]{heading:<10}[/] {text}", markup=True)
    return _carry_out(model, data, options, place, parsed["json"], out)


def _parser(model: str, objective: str) -> Parser:
    parser = make_parser("train", "[SOURCE]", "Learn a latent-variable model and write a run folder with its report.")
    parser.add_argument(
        "given",
        nargs="?",
        metavar="SOURCE",
        help=f"{', '.join(BUILT_IN)}, a folder of images, an IDX, .npy or .npz file (default: digits)",
    )
    parser.add_argument("--source", default="digits", help="the same as SOURCE, for a configuration file")
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
        type=int,
        default=200,
        help="K, draws for each test example of the importance-sampled log p(x) (default: 200)",
    )
    add_options(parser, load, "data")
    add_options(parser, RECIPES[model].function, f"model {model}")
    add_options(parser, OBJECTIVES[objective], f"objective {objective}")
    if objective == "elbo":
        parser.add_argument(
            "--warm-up", type=int, default=0, help="epochs over which beta rises from 0 to its value (default: 0)"
        )
    own = {"epochs": None, "batch_size": None, "patience": None, "learning_rate_decay": "cosine"}
    helps = {
        "epochs": "passes over the training rows (default: enough for 12,000 steps, between 10 and 100)",
        "batch_size": "rows a step (default: 128, 64 below 10,000 training rows)",
        "learning_rate": "of Adam",
        "patience": "stop after so many epochs without a better validation ELBO, and take the best weights; 0 never stops "
        "(default: a fifth of the epochs)",
        "learning_rate_decay": "cosine takes the learning rate down to 0 over the whole training",
    }
    add_options(parser, fit, "training", only=_FIT, defaults=own, helps=helps)
    return parser


def _keywords(function: Callable[..., Any]) -> list[str]:
    import inspect

    return [name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]


def _lasting(source: str) -> str:
    """A built-in name as it is, a path made absolute so that config.yaml works from anywhere."""
    return source if source in BUILT_IN else str(Path(source).expanduser().absolute())


def _resolve(options: Options, data: Dataset) -> None:
    """Put numbers where the user left the choice to us, so that config.yaml says what was done."""
    n, schema = len(data.train), data.schema
    check_numbers(
        **{
            key: options[key]
            for key in ("epochs", "batch_size", "learning_rate", "gradient_clip", "evaluation_samples")
        }
    )
    options["batch_size"] = options["batch_size"] or (128 if n >= 10_000 else 64)
    steps = steps_per_epoch(n, options["batch_size"])
    options["epochs"] = min(100, max(10, -(-12_000 // steps))) if options["epochs"] is None else options["epochs"]
    if options["patience"] is None:
        options["patience"] = max(5, options["epochs"] // 5)
    elif options["patience"] < 0:
        raise UsageError(f"--patience {options['patience']}: expected a number of epochs, 0 to never stop early")
    if options.get("warm_up", 0) > options["epochs"] or options.get("warm_up", 0) < 0:
        raise UsageError(
            f"--warm-up {options['warm_up']}: expected 0 to {options['epochs']} epochs, the length of the run; "
            "a longer one would never reach beta"
        )
    if "network" in options:
        options["network"] = choose_network(options["network"], schema.shape)
        if options["hidden"] is None:
            options["hidden"] = default_hidden(options["network"], schema.shape)
        options["hidden"] = list(options["hidden"])
    if "likelihood" in options:
        options["likelihood"] = choose_likelihood(options["likelihood"], schema)
        scales = {"gaussian": "shared", "discretized-logistic": "element"}
        options["sigma"] = scales.get(options["likelihood"]) if options["sigma"] is None else options["sigma"]
    if isinstance(options["image_size"], tuple):
        options["image_size"] = list(options["image_size"])


def _rehearse(model: Model, data: Dataset, options: Options) -> None:
    """The objective on two rows: what cannot work is said before a folder is made."""
    rows = data.train.fixed().rows(slice(0, 2))
    with torch.no_grad(), torch.random.fork_rng():
        _objective(options)(model, Batch(rows))


def _objective(options: Options) -> Callable[..., Terms]:
    function = OBJECTIVES[options["objective"]]
    return partial(function, **{key: options[key] for key in _keywords(function)})


def _carry_out(model: Model, data: Dataset, options: Options, place: Workplace, as_json: bool, out: Any) -> int:
    folder = place.folder
    runs.write_config(folder, options)
    write_json(folder / "environment.json", _environment(model))
    write_json(folder / "data.json", data.to_json())
    started = time.perf_counter()
    status: dict[str, Any] = {"state": "running"}
    write_json(folder / "status.json", status)
    try:
        history = _fit(model, data, options, folder, quiet=as_json)
        status |= {
            "epochs": len(history),
            "best_epoch": history.best_epoch,
            "early_stopped": len(history) < options["epochs"],
        }
        status["seconds"] = seconds = round(time.perf_counter() - started, 2)
        runs.save_model(model, folder / "model")
        with out.status("evaluating") if out.is_terminal else _nothing():
            figures = evaluate(model, data, samples=options["evaluation_samples"], seed=options["seed"])
        write_json(folder / "evaluation.json", to_json(figures))
        with out.status("drawing the report") if out.is_terminal else _nothing():
            runs.write_arrays(folder / "figures" / "gallery.npz", gallery(model, data, seed=options["seed"]))
            write_json(folder / "status.json", status | {"state": "finished"})
            write_report(folder)
    except (KeyboardInterrupt, Exception) as error:
        _save_unfinished(model, place, status, error)
        raise
    final = place.finish()
    if as_json:
        print_json(
            {
                "run": str(final),
                "report": str(final / "report.html"),
                "seconds": seconds,
                "evaluation": to_json(figures),
            }
        )
    else:
        out.print()
        out.print(figures_table(figures, model.latent_dim, seconds))
        out.print(f"\n[bold]report[/]     {shown(final / 'report.html')}", markup=True)
    return 0


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def _fit(model: Model, data: Dataset, options: Options, folder: Path | None, quiet: bool) -> History:
    moving = {}
    if options.get("warm_up"):
        steps = options["warm_up"] * steps_per_epoch(len(data.train), options["batch_size"])
        moving["beta"] = schedules.linear(0.0, options["beta"], steps)
    return fit(
        model,
        data,
        _objective(options),
        schedules=moving,
        on_epoch=None if folder is None else partial(runs.append_record, folder),
        progress=not quiet,
        **{key: options[key] for key in _FIT if key != "patience"},
        patience=options["patience"] or None,
    )


def _environment(model: Model) -> dict[str, Any]:
    return {
        "vaekit": vaekit.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in ("torch", "accelerate", "numpy", "scikit-learn", "safetensors")},
        "parameters": sum(p.numel() for p in model.parameters()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _save_unfinished(model: Model, place: Workplace, status: dict[str, Any], error: BaseException) -> None:
    """Keep the weights there are, say in status.json how it ended, and leave what `--overwrite` was to replace alone."""
    interrupted = isinstance(error, KeyboardInterrupt)
    runs.save_model(model, place.folder / "model")
    state = status | {"state": "interrupted" if interrupted else "failed"}
    write_json(place.folder / "status.json", state if interrupted else state | {"error": str(error)})
    console(to_stderr=True).print(f"saved      {shown(place.folder)}", markup=False)
