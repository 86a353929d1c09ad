"""`vaekit report RUN`: the page again, from the folder's files; of a comparison too."""

from __future__ import annotations

from pathlib import Path

from vaekit.cli.common import run_parser
from vaekit.cli.options import parse
from vaekit.cli.tables import console, shown
from vaekit.comparison.folder import PLAN
from vaekit.comparison.page import write_page
from vaekit.errors import RunError
from vaekit.report import write_report


def run(arguments: list[str]) -> int:
    """Write report.html, or the page of a comparison, again. Returns the exit status."""
    options = parse(run_parser("report", "RUN", "Write report.html from the files of the run."), arguments)
    if (Path(options.run) / PLAN).is_file():
        console().print(f"comparison {shown(write_page(Path(options.run)))}", markup=False)
        return 0
    if not (Path(options.run) / "config.yaml").is_file() and not (Path(options.run) / "model").is_dir():
        raise RunError(f"{options.run}: no such run folder; `vaekit train` makes one")
    console().print(f"report     {shown(write_report(Path(options.run)))}", markup=False)
    return 0
