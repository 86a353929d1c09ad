"""`vaekit compare SOURCE --models ...`: several models on the same data, and a line under each claim that is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vaekit.cli.options import Parser, add_options, keywords_of, make_parser, parse, values_of
from vaekit.cli.settings import lasting
from vaekit.cli.tables import console, print_json, shown
from vaekit.cli.workplace import Workplace, free, short
from vaekit.comparison import Folder, Plan, carry_out, make_plan, open_folder, read_plan, seconds_of
from vaekit.comparison.words import plan_lines, said
from vaekit.data import BUILT_IN, load
from vaekit.errors import RunError, UsageError
from vaekit.models import RECIPES, autoencoder
from vaekit.training import fit

Options = dict[str, Any]

_SHARED = ("latent_dim", "network", "hidden", "activation", "likelihood", "sigma", "conditional")
_TRAINING = ("batch_size", "learning_rate", "learning_rate_decay", "gradient_clip", "device")
_MODELS = ["autoencoder", "vae", "cvae", "gan", "wgan"]


def run(arguments: list[str]) -> int:
    """Compare, or go on with a comparison. Returns the exit status."""
    resumed = [None, *values_of(arguments, "resume")][-1]
    begun = None if resumed is None else read_plan(Path(resumed))
    options = parse(_parser(begun), arguments).as_dict()
    source = _source(options)
    data = load(source["source"], **{key: source[key] for key in keywords_of(load) if key in source})
    plan = make_plan(
        data,
        options["models"],
        seeds=options["seeds"],
        **_length(options, begun),
        shared={key: options[key] for key in _SHARED},
        training={key: options[key] for key in _TRAINING},
        samples=options["evaluation_samples"],
        source=source,
    )
    place = _place(options)
    folder, out = open_folder(place.folder, plan), console(to_stderr=options["json"])
    plan = read_plan(folder.path)
    for heading, text in plan_lines(plan, data, folder):
        out.print(f"[bold]{heading:<10}[/] {escape(text)}", markup=True)
    try:
        result = carry_out(plan, data, folder, progress=not options["json"])
    except KeyboardInterrupt:
        _hint(plan, folder)
        raise
    page = place.finish() / "comparison.html"
    if options["json"]:
        print_json({"comparison": str(place.final), "page": str(page), **result})
    else:
        _print(result, out)
        out.print(f"\n[bold]page[/]       {escape(shown(page))}", markup=True)
    return 0


def _parser(begun: Plan | None) -> Parser:
    """The options; those of a comparison that is gone on with are its own."""
    parser = make_parser(
        "compare", "[SOURCE]", "Train several models on the same data and measure what is said of them."
    )
    parser.add_argument(
        "given", nargs="?", metavar="SOURCE",
        help=f"{', '.join(BUILT_IN)}, a folder of images, an IDX, .npy or .npz file (default: digits)",
    )  # fmt: skip
    old = {} if begun is None else begun.flat()
    parser.add_argument(
        "--models", nargs="+", default=old.get("models", _MODELS), metavar="MODEL",
        help=f"two or more of {', '.join(RECIPES)} (default: {' '.join(_MODELS)})",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=old.get("seeds", 3), help="trainings of each model (default: 3)")
    parser.add_argument(
        "--budget", type=str | None, default=None, metavar="TIME",
        help="of training for each model and seed: 120s, 2m or 1h; measuring is not counted (default: 60s)",
    )  # fmt: skip  # type: ignore[arg-type]
    parser.add_argument(
        "--epochs", type=int | None, default=None, help="passes over the training rows, in place of a time"
    )  # type: ignore[arg-type]
    parser.add_argument(
        "--evaluation-samples", type=int, default=old.get("samples", 100), metavar="K",
        help="draws for each test example of the importance-sampled log p(x) (default: 100)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None,
        help="folder of the comparison (default: runs/<date>_<source>_comparison); one that was interrupted is gone on with",
    )  # fmt: skip  # type: ignore[arg-type]
    parser.add_argument(
        "--resume", type=str | None, default=None, metavar="FOLDER",
        help="go on with an interrupted comparison, with its own options",
    )  # fmt: skip  # type: ignore[arg-type]
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a finished comparison once the new one is finished"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on standard output")
    add_options(parser, load, "data", defaults=old)
    free_choice = dict.fromkeys((*_SHARED, *_TRAINING))
    helps = {
        "latent_dim": "dimensions of every model's code (default: 16)",
        "conditional": "true tells the class (or the data's conditions) to every model that can be told",
        "batch_size": "rows a step (default: 128, 64 below 10,000 training rows)",
        "learning_rate": "of Adam (default: each model's own)",
    }
    add_options(
        parser, autoencoder, "networks, the same for every model", only=_SHARED, defaults=free_choice | old, helps=helps
    )
    add_options(parser, fit, "training", only=_TRAINING, defaults=free_choice | old, helps=helps)
    return parser


def _length(options: Options, begun: Plan | None) -> dict[str, Any]:
    """Seconds or epochs; those of a comparison that is gone on with where neither is said."""
    if options["budget"] is None and options["epochs"] is None and begun is not None:
        return {"seconds": begun.seconds, "epochs": begun.epochs}
    return {
        "seconds": None if options["budget"] is None else seconds_of(options["budget"]),
        "epochs": options["epochs"],
    }


def _source(options: Options) -> Options:
    """The options that read the data, in the form of a run's config.yaml."""
    begun = None if options["resume"] is None else read_plan(Path(options["resume"])).source.get("source")
    source = {"source": lasting(options["given"] or begun or "digits")}
    source |= {key: options[key] for key in keywords_of(load)}
    source["data_dir"] = options["data_dir"] and str(Path(options["data_dir"]).expanduser().absolute())
    size = source["image_size"]
    return source | {"image_size": list(size) if isinstance(size, tuple) else size}


def _place(options: Options) -> Workplace:
    """The folder to write to, and where it ends up."""
    if options["resume"] is not None:
        if options["out"] is not None or options["overwrite"]:
            raise UsageError("--resume: goes on in its own folder; leave out --out and --overwrite")
        final = Path(options["resume"])
    elif options["out"] is None:
        if options["overwrite"]:
            raise UsageError("--overwrite: name the folder to replace with --out")
        final = free(Path("runs") / f"{date.today():%Y-%m-%d}_{short(options['given'] or 'digits')}_comparison")
    else:
        final = Path(options["out"])
    if not Folder(final).finished:
        return Workplace(final, final)
    if not options["overwrite"]:
        raise RunError(f"{final}: holds a finished comparison; choose another --out, or say --overwrite to replace it")
    return Workplace(final.with_name(f"{final.name}.unfinished"), final)


def _hint(plan: Plan, folder: Folder) -> None:
    """Say what is kept and how to go on."""
    missing = folder.missing(plan)
    kept = len(plan.models) * plan.seeds - len(missing)
    note = f"{kept} of {kept + len(missing)} runs; `vaekit compare --resume {shown(folder.path)}` goes on"
    console(to_stderr=True).print(
        f"kept       {note}" + (f" at {missing[0][0]}, seed {missing[0][1]}" if missing else ""), markup=False
    )


def _print(result: Mapping[str, Any], out: Any) -> None:
    out.print()
    # a file has no width to keep to
    wide = (
        out if out.is_terminal else Console(stderr=out.stderr, highlight=False, width=60 + 20 * len(result["figures"]))
    )
    wide.print(_table(result))
    out.print()
    for claim in result["claims"]:
        out.print(f"[bold]{claim['verdict']:<15}[/] {escape(claim['claim'])}: {escape(claim['measured'])}", markup=True)
    for name, about in result["models"].items():
        for reason in about["failed"]:
            out.print(f"[bold]failed[/]          {escape(name)}: {escape(reason)}", markup=True)


def _table(result: Mapping[str, Any]) -> Table:
    """A row a figure, a column a model; the best is bold where it is beyond the interval."""
    names = list(result["figures"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("figure", *names, "reference"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for row in said(result):
        cells = [f"[bold]{c}[/]" if name == row.best else str(c) for name, c in zip(names, row.cells, strict=True)]
        table.add_row(escape(row.name), *cells, str(row.reference or ""))
    return table
