"""`vaekit rate-distortion SOURCE --betas 0.1,1,10`: a run for each weight of the rate, and the curve through them."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from rich.markup import escape

from vaekit.cli import train
from vaekit.cli.options import keywords_of
from vaekit.cli.settings import read_options
from vaekit.cli.tables import console, print_json, shown
from vaekit.cli.workplace import free, short
from vaekit.errors import RunError, UsageError, VaekitError
from vaekit.evaluation.rate_distortion import check_betas, check_rate
from vaekit.files import write_json
from vaekit.objectives import OBJECTIVES
from vaekit.report.rate_distortion import write_curve
from vaekit.runs import load_run

BETAS = "0.1,0.3,1,3,10"
FIGURES = {"rate": "kl", "distortion": "distortion", "elbo": "elbo"}
_HELP = """usage: vaekit rate-distortion [SOURCE] [options]

Train a model for each weight beta of the rate, and draw distortion against rate.

  --betas B,B,...  two or more weights (default: {betas})
  --out FOLDER     a folder that is not there yet (default: runs/<date>_<source>_rate-distortion); each beta has its run in it
  --json           print the points as one JSON object and nothing else on standard output

All other options are those of `vaekit train`, --beta and --overwrite left out; --patience is 0 unless it is given, since the
best epoch at beta = 1 is not the best at another.
"""


def run(arguments: list[str]) -> int:
    """Train the runs, write the curve. Returns the exit status."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(_HELP.format(betas=BETAS))
        return 0
    own, rest = _own(arguments)
    betas = _betas(own.betas)
    if "--patience" not in (argument.partition("=")[0] for argument in rest):
        rest = [*rest, "--patience", "0"]
    source = _checked(rest)
    folder = _folder(own.out, source)
    out = console(to_stderr=own.json)
    points: list[dict[str, Any]] = []
    try:
        for beta in betas:
            point = _point(beta, rest, folder)
            points.append(point)
            write_json(folder / "rate_distortion.json", {"source": source, "points": points})
            said = ", ".join(f"{name} {_said(point[name])}" for name in FIGURES)
            out.print(f"[bold]{f'beta {beta:g}':<10}[/] {escape(said)} nats", markup=True)
    except (KeyboardInterrupt, Exception):
        _say_what_is_kept(folder, Path(source).name, points, len(betas))
        raise
    page = write_curve(folder, Path(source).name, points)
    if own.json:
        print_json({"page": str(page), "points": points})
    else:
        out.print(f"\n[bold]page[/]       {escape(shown(page))}", markup=True)
    return 0


def _say_what_is_kept(folder: Path, source: str, points: list[dict[str, Any]], asked: int) -> None:
    """Draw the curve through the points there are, if it takes no more than two, and say where they lie."""
    if not points:
        return
    kept = folder
    if len(points) > 1:
        with contextlib.suppress(VaekitError):  # the first error is the one to tell
            kept = write_curve(folder, source, points)
    console(to_stderr=True).print(f"saved      {len(points)} of {asked} points in {shown(kept)}", markup=False)


def _own(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What this command takes itself, and what it leaves to `train`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--betas", default=BETAS)
    parser.add_argument("--out")
    parser.add_argument("--json", action="store_true")
    try:
        own, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(f"{error} (`vaekit rate-distortion --help` lists the options)") from error
    for option in ("--beta", "--overwrite"):
        if option in (argument.partition("=")[0] for argument in rest):
            raise UsageError(f"{option}: not an option of rate-distortion; give --betas and a new --out")
    return own, rest


def _betas(text: str) -> list[float]:
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--betas {text}: expected numbers divided by commas, as 0.1,1,10") from error
    return check_betas(weights)


def _checked(rest: list[str]) -> str:
    """The source, once model and objective are known to answer to beta and the options to be those of `train`."""
    model, objective, options = read_options(rest)
    if "beta" not in keywords_of(OBJECTIVES[objective]):
        raise UsageError(f"rate-distortion: the objective {objective} of {model} has no beta; take --model vae")
    return str(options["given"] or options["source"])


def _folder(out: str | None, source: str) -> Path:
    if out is None:
        return free(Path("runs") / f"{date.today():%Y-%m-%d}_{short(source)}_rate-distortion")
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: exists already; choose another --out or remove it first")
    return folder  # the first run makes it, once data and options are known to be right


def _point(beta: float, rest: list[str], folder: Path) -> dict[str, Any]:
    """Train one run and read its figures."""
    name = f"beta-{beta:g}"
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.redirect_stderr(io.StringIO()):
        train.run([*rest, "--beta", repr(beta), "--out", str(folder / name), "--json"])
    figures = json.loads(told.getvalue())["evaluation"]
    check_rate(load_run(folder / name).model)
    return {"beta": beta, "run": name, **{key: figures[figure] for key, figure in FIGURES.items()}}


def _said(entry: dict[str, Any]) -> str:
    error = entry["standard_error"]
    return f"{entry['value']:.2f}" + ("" if error is None else f" ± {error:.2g}")
