"""`vaekit evaluate RUN`: the run's figures on its own test rows or on other data."""

from __future__ import annotations

from dataclasses import replace

from vaekit.cli.common import other_rows, own_data, part_option, run_parser
from vaekit.cli.options import parse
from vaekit.cli.tables import console, figures_table, print_json
from vaekit.data import Dataset
from vaekit.errors import UsageError
from vaekit.evaluation import to_json
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.summary import answer
from vaekit.evaluation.text import against
from vaekit.models import origin_of
from vaekit.runs import load_run


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
        "--against",
        default=None,
        metavar="RUN",
        help="another run on the same data, a language model beside a text-vae: its figures and the gain over it",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on standard output")
    options = parse(parser, arguments)
    found = load_run(options.run)
    samples = found.config.get("evaluation_samples", 1000) if options.samples is None else options.samples
    if samples < 1:
        raise UsageError(f"--samples {samples}: expected at least 1 draw")
    if options.data is None:
        data = own_data(found)
        named = data.splits()
        if options.split == "all":
            raise UsageError("--split all: evaluate one of the run's own splits: train, validation or test")
        rows = named[options.split or "test"]
    else:
        rows = other_rows(found, options.data, options.split, options.data_dir)
        # probes of the codes are fitted to the run's own training rows, which other data do not have
        data = Dataset(origin_of(found.model).schema, replace(rows, labels=None))
    mine = Question(found.model, data, rows, samples, seed=found.config.get("seed", 0))
    beside = None if options.against is None else replace(mine, model=load_run(options.against).model)
    gains: Figures = {} if beside is None else dict(against(mine, beside))
    figures = answer(mine) | gains
    other = None if beside is None else (answer(beside), beside.model.latent_dim)
    if options.json:
        extra = {} if other is None else {"against": {"run": options.against, "evaluation": to_json(other[0])}}
        print_json(to_json(figures) | extra)
    else:
        console().print(figures_table(figures, found.model.latent_dim, beside=other))
    return 0
