"""`vaekit train SOURCE`: data, model, training, evaluation and report in one run folder."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape

import vaekit
from vaekit import runs
from vaekit.cli.doctor import findings_json, print_findings
from vaekit.cli.objective import check_no_code, objective_of, schedules_of
from vaekit.cli.options import keywords_of
from vaekit.cli.plan import plan_lines
from vaekit.cli.settings import FIT, NOT_KEPT, Options, lasting, read_options, resolve
from vaekit.cli.tables import console, figures_table, print_json, shown
from vaekit.cli.workplace import Workplace
from vaekit.data import Batch, Dataset, load
from vaekit.data.batches import steps_per_epoch
from vaekit.errors import VaekitError
from vaekit.evaluation import diagnose, evaluate, to_json
from vaekit.evaluation.gallery import gallery
from vaekit.evaluation.texts import text_gallery
from vaekit.files import write_json
from vaekit.models import RECIPES, Model, make_model
from vaekit.report import write_report
from vaekit.training import History, fit
from vaekit.training.aggressive import check_aggressive
from vaekit.training.fit import check_patience, with_labelled_share
from vaekit.training.pretraining import check_pretraining, pretrain


def run(arguments: list[str]) -> int:
    """Train, evaluate, write the report. Returns the exit status."""
    name, _, parsed = read_options(arguments)
    options = {key: value for key, value in parsed.items() if key not in NOT_KEPT}
    options["source"] = lasting(parsed["given"] or options["source"])
    options["data_dir"] = options["data_dir"] and str(Path(options["data_dir"]).expanduser().absolute())
    data = load(options["source"], **{k: options[k] for k in keywords_of(load)})
    resolve(options, data)
    torch.manual_seed(options["seed"])
    model = make_model(name, data.schema, {k: options[k] for k in keywords_of(RECIPES[name].function)})
    if int(os.environ.get("RANK", "0")) != 0:
        _fit(model, data, options, None, quiet=True)  # another process of torchrun keeps the run folder
        return 0
    _rehearse(model, data, options)
    place = Workplace.open(parsed["out"], parsed["overwrite"], options["source"], name)
    out = console(to_stderr=parsed["json"])
    for heading, text in plan_lines(data, model, options, shown(place.final)):
        out.print(f"[bold]{heading:<10}[/] {escape(text)}", markup=True)
    return _carry_out(model, data, options, place, parsed["json"], out)


def _rehearse(model: Model, data: Dataset, options: Options) -> None:
    """The objective on two rows: what cannot work is said before a folder is made."""
    if options["pretrain"]:
        check_pretraining(model, options["pretrain"])
    if options["aggressive"]:
        check_aggressive(model, options["aggressive"])
    if not model.latent_dim:
        check_no_code(options)
    for split in data.splits().values():
        split.condition(slice(None), model.condition_dim, optional=model.condition_optional)
    rows, two = data.train.fixed(), slice(0, 2)
    c = None if model.condition_optional else rows.condition(two, model.condition_dim)
    objective = with_labelled_share(objective_of(options, len(data.train)), data.train)
    players = model.updates(objective)
    check_patience(options["patience"] or None, players)
    with torch.random.fork_rng():  # with gradients, which not every draw has
        for player in players:
            player.objective(model, Batch(rows.rows(two), c))


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
            "early_stopped": options["seconds"] is None and len(history) < options["epochs"],
        }
        status["seconds"] = seconds = round(time.perf_counter() - started, 2)
        runs.save_model(model, folder / "model")
        with out.status("evaluating") if out.is_terminal else contextlib.nullcontext():
            figures = evaluate(model, data, samples=options["evaluation_samples"], seed=options["seed"])
        write_json(folder / "evaluation.json", to_json(figures))
        found = diagnose(
            model, data, history=history, config=options, evaluation=to_json(figures), seed=options["seed"]
        )
        write_json(folder / "findings.json", findings_json(found))
        with out.status("drawing the report") if out.is_terminal else contextlib.nullcontext():
            runs.write_arrays(folder / "figures" / "gallery.npz", gallery(model, data, seed=options["seed"]))
            if data.schema.kind == "text":
                write_json(folder / "figures" / "texts.json", text_gallery(model, data, seed=options["seed"]))
            write_json(folder / "status.json", status | {"state": "finished"})
            write_report(folder, final=place.final)
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
                **findings_json(found),
            }
        )
    else:
        out.print()
        out.print(figures_table(figures, model.latent_dim, seconds))
        out.print()
        print_findings(found, out)
        out.print(f"\n[bold]report[/]     {escape(shown(final / 'report.html'))}", markup=True)
    return 0


def _fit(model: Model, data: Dataset, options: Options, folder: Path | None, quiet: bool) -> History:
    if options["pretrain"]:
        same = ("batch_size", "learning_rate", "gradient_clip", "seed", "device", "precision")
        pretrain(model, data, epochs=options["pretrain"], progress=not quiet, **{key: options[key] for key in same})
    history = fit(
        model,
        data,
        objective_of(options, len(data.train)),
        schedules=schedules_of(options, steps_per_epoch(len(data.train), options["batch_size"])),
        on_epoch=None if folder is None else partial(runs.append_record, folder),
        progress=not quiet,
        **{key: options[key] for key in FIT if key != "patience"},
        patience=options["patience"] or None,
    )
    if options.get("second_stage", "none") != "none" or getattr(model, "waits_for_prior", False):
        from vaekit.training.second_stage import fit_prior

        fit_prior(model, data, seed=options["seed"])
    return history


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
    state = status | {"state": "interrupted" if interrupted else "failed"}
    with contextlib.suppress(VaekitError):  # on a full disk the first error is the one to tell
        write_json(place.folder / "status.json", state if interrupted else state | {"error": str(error)})
        runs.save_model(model, place.folder / "model")
        write_report(place.folder)
        console(to_stderr=True).print(f"saved      {shown(place.folder)}", markup=False)
