"""`vaekit evaluate RUN`: the run's figures on its own test rows or on other data."""

from __future__ import annotations

import math
from dataclasses import replace

from jsonargparse import Namespace

from vaekit.cli.columns import ENDINGS, write_columns
from vaekit.cli.common import other_rows, output_path, own_data, part_option, run_parser
from vaekit.cli.options import Parser, parse
from vaekit.cli.tables import console, figures_table, print_json, shown
from vaekit.data import Dataset, Split
from vaekit.errors import UsageError
from vaekit.evaluation import to_json
from vaekit.evaluation.examples import check_per_example, per_example
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.summary import answer
from vaekit.evaluation.text import against
from vaekit.files import check_writable, write_json
from vaekit.models import Model, origin_of
from vaekit.report import write_report
from vaekit.report.contents import read_contents
from vaekit.runs import Run, load_run


def run(arguments: list[str]) -> int:
    """Evaluate a run. Returns the exit status."""
    parser = run_parser("evaluate", "RUN", "ELBO, log p(x), KL, active units and more, each with its standard error.")
    parser.add_argument("--data", default=None, metavar="SOURCE", help="other data (default: the run's own test rows)")
    part_option(parser)
    parser.add_argument(
        "--samples",
        type=int | None,
        default=None,
        metavar="K",
        help="draws for each example of log p(x) (default: as in training)",
    )  # type: ignore[arg-type]
    parser.add_argument(
        "--standard-error",
        type=float,
        default=None,
        metavar="NATS",
        help="an example takes as many draws as it needs for its own log p(x) to be known as well as this; K is then the most",
    )
    parser.add_argument(
        "--against",
        default=None,
        metavar="RUN",
        help="another run on the same data, a language model beside a text-vae: its figures and the gain over it",
    )
    _longer(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")
    options = parse(parser, arguments)
    path = None
    if options.per_example is not None:
        path = output_path(options.per_example, options.overwrite, ENDINGS, "--per-example")
    if options.write and (options.data is not None or options.split not in (None, "test")):
        raise UsageError("--write: a run keeps the figures of its own test rows; leave out --data and --split")
    found = load_run(options.run)
    if options.write:
        check_writable(found.path / "evaluation.json")
        read_contents(found.path)  # a report that cannot be made is said before the figures in its folder are replaced
    if options.two_sample and origin_of(found.model).schema.kind == "text":
        raise UsageError("--two-sample: looks at images and numbers, this run's model writes sentences; leave it out")
    if path is not None:
        check_per_example(found.model)
    samples = found.config.get("evaluation_samples", 1000) if options.samples is None else options.samples
    _check(options, samples)
    data, rows = _asked_rows(found, options)
    mine = Question(
        found.model,
        data,
        rows,
        samples,
        seed=found.config.get("seed", 0),
        two_sample=options.two_sample,
        gap_rows=options.gaps,
        annealed_rows=options.annealed,
        temperatures=options.temperatures,
        standard_error=options.standard_error,
    )
    beside = None if options.against is None else _beside(mine, load_run(options.against).model)
    gains: Figures = {} if beside is None else dict(against(mine, beside))
    own = answer(mine)
    figures = own | gains
    other = None if beside is None else (answer(beside), beside.model.latent_dim)
    out = console()
    if options.json:
        extra = {} if other is None else {"against": {"run": options.against, "evaluation": to_json(other[0])}}
        print_json(to_json(figures) | extra)
    else:
        out.print(figures_table(figures, found.model.latent_dim, beside=other))
    told = []
    if path is not None:  # once the figures are shown: what took an hour is not lost with a file
        write_columns(path, per_example(mine))
        told.append(f"{len(rows):,} rows, one a line: {path}")
    if options.write:
        write_json(found.path / "evaluation.json", found.evaluation | to_json(own))
        write_report(found.path)
        told.append(f"kept in {shown(found.path / 'evaluation.json')} and report.html")
    for line in () if options.json else told:
        out.print(f"\n{line}", markup=False)
    return 0


def _beside(mine: Question, other: Model) -> Question:
    """The same question to another model; one without a code, whose log p(x) is exact, is not asked how far a bound is off."""
    if other.latent_dim:
        return replace(mine, model=other)
    return replace(mine, model=other, gap_rows=0, annealed_rows=0)


def _longer(parser: Parser) -> None:
    """Add the options of what takes longer, and of where results go."""
    parser.add_argument("--two-sample", action="store_true", help="also train a classifier to tell samples from data")
    parser.add_argument(
        "--gaps", type=int, default=0, metavar="N", help="approximation and amortisation gap of N rows (default: none)"
    )
    parser.add_argument(
        "--annealed",
        type=int,
        default=0,
        metavar="N",
        help="log p(x) of N rows by annealed importance sampling, and bounds from both sides on N simulated examples",
    )
    parser.add_argument("--temperatures", type=int, default=500, metavar="T", help="of the annealing (default: 500)")
    parser.add_argument(
        "--per-example",
        type=str | None,
        default=None,
        metavar="FILE",
        help="also write the numbers of every row: .csv, .npy or .npz",
    )  # type: ignore[arg-type]
    parser.add_argument("--overwrite", action="store_true", help="replace the file of --per-example if it is there")
    parser.add_argument(
        "--write", action="store_true", help="keep the figures in the run's evaluation.json, and write its report again"
    )


def _check(options: Namespace, samples: int) -> None:
    if samples < 1:
        raise UsageError(f"--samples {samples}: expected at least 1 draw")
    if options.standard_error is not None and not 0 < options.standard_error < math.inf:
        raise UsageError(f"--standard-error {options.standard_error}: expected a number of nats above 0")
    for name in ("gaps", "annealed"):
        if getattr(options, name) < 0:
            raise UsageError(f"--{name} {getattr(options, name)}: expected a number of rows, 0 for none")
    if options.temperatures < 1:
        raise UsageError(f"--temperatures {options.temperatures}: expected at least 1")


def _asked_rows(run: Run, options: Namespace) -> tuple[Dataset, Split]:
    """The data that features and probes are learned from, and the rows to evaluate."""
    if options.data is not None:
        rows = other_rows(run, options.data, options.split, options.data_dir, options.sentences)
        # probes of the codes are fitted to the run's own training rows, which other data do not have
        return Dataset(origin_of(run.model).schema, replace(rows, labels=None)), rows
    data, name = own_data(run), options.split or "test"
    if name == "all":
        raise UsageError("--split all: evaluate one of the run's own splits: train, validation or test")
    if name not in data.splits():
        raise UsageError(
            f"--split {name}: the run's data have only {', '.join(data.splits())}; name one, or give --data"
        )
    return data, data.splits()[name]
