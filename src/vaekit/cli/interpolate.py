"""`vaekit interpolate RUN --from A --to B`: examples on the straight line between two codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from vaekit.cli.common import other_rows, out_option, output_path, part_option, pictured, run_parser, write_pictures
from vaekit.cli.options import parse
from vaekit.cli.pictures import grid_picture
from vaekit.cli.tables import console
from vaekit.cli.texts import decoding_options, warn_of_losses, write_lines, writer_of
from vaekit.data import Batch, Split
from vaekit.data.text import text_rows
from vaekit.distributions.sequence import point_of
from vaekit.errors import UsageError
from vaekit.evaluation.rows import at_rest, batch_at
from vaekit.models import Model, origin_of
from vaekit.runs import Run, load_run

_ENDINGS = (".png", ".npy", ".npz", ".txt")


def run(arguments: list[str]) -> int:
    """Interpolate between two examples. Returns the exit status."""
    parser = run_parser(
        "interpolate",
        "RUN [SOURCE]",
        "Decode the straight line from the code of one example to that of another: two sentences, or two rows of a source.",
    )
    parser.add_argument("source", nargs="?", default=None, metavar="SOURCE", help="as for `vaekit train`")
    row = "a sentence; with SOURCE the number of a row, from 0"
    parser.add_argument("--from", dest="start", required=True, metavar="A", help=f"the first example: {row}")
    parser.add_argument("--to", dest="end", required=True, metavar="B", help="the last example, likewise")
    parser.add_argument("--steps", type=int, default=8, help="examples to write, both ends included (default: 8)")
    parser.add_argument(
        "--condition",
        type=str | None,
        default=None,
        help="of a conditional model: decode all as this class or these values (default: from the first row's to the last's)",
    )  # type: ignore[arg-type]
    decoding_options(parser, "greedy")
    part_option(parser)
    out_option(parser, ".png (a row), .npy or .npz (array `interpolation`); of sentences .txt", needed=False)
    options = parse(parser, arguments)
    if options.steps < 2:
        raise UsageError(f"--steps {options.steps}: expected at least 2, the two ends")
    path = output_path(options.out, options.overwrite, _ENDINGS) if options.out else None
    found = load_run(options.run)
    if not found.model.latent_dim or not found.model.has_posterior:
        raise UsageError("interpolate: this model finds no code of an example; train a vae or a text-vae")
    is_text = origin_of(found.model).schema.kind == "text"
    path = path if is_text else pictured(options, path)
    ends, told = _ends(found, options), _told(found.model, options.condition)
    return _write(found.model, ends, told, options, path) if is_text else _draw(found.model, ends, told, options, path)


def _ends(found: Run, options: Namespace) -> Split:
    """The two examples: sentences as they were typed, or rows of the source."""
    schema = origin_of(found.model).schema
    if options.source is None:
        if schema.kind != "text":
            raise UsageError("interpolate: give a SOURCE, and --from and --to as numbers of its rows")
        if found.model.condition_dim and options.condition is None:
            raise UsageError("interpolate: this model is told the label of a sentence; say which with --condition")
        typed = [options.start, options.end]
        rows = text_rows(typed, schema)
        warn_of_losses(rows)
        return rows.split
    rows_of = other_rows(found, options.source, options.split, options.data_dir, options.sentences)
    picked = []
    for name, text in (("--from", options.start), ("--to", options.end)):
        if not text.isdecimal() or int(text) >= len(rows_of):
            raise UsageError(f"{name} {text}: expected the number of a row, from 0 to {len(rows_of) - 1}")
        picked.append(int(text))
    return rows_of.take(torch.tensor(picked))


def _told(model: Model, text: str | None) -> Tensor | None:
    """The condition (C,) that --condition names, None without one."""
    if text is None:
        return None
    if not model.condition_dim:
        raise UsageError(f"--condition {text}: this model takes no condition")
    return origin_of(model).schema.condition(text)


def _line(model: Model, ends: Split, told: Tensor | None, steps: int) -> Batch:
    """Codes (steps, D) and conditions (steps, C) from the first example's to the last's."""
    if told is not None and ends.conditions is None and ends.labels is None:
        x, c = ends.rows(slice(None)), told.expand(2, -1)
        batch = Batch(x, c).to(*_place(model))
    else:
        batch = batch_at(model, ends, slice(None))
    z = model.encode(*batch)
    t = torch.linspace(0, 1, steps, device=z.device, dtype=z.dtype)[:, None]
    between = batch.c if told is None else told.to(z).expand(2, -1)
    return Batch((1 - t) * z[0] + t * z[1], None if between is None else (1 - t) * between[0] + t * between[1])


def _place(model: Model) -> tuple[torch.device, torch.dtype]:
    parameter = next(model.parameters())
    return parameter.device, parameter.dtype


def _write(model: Model, ends: Split, told: Tensor | None, options: Namespace, path: Path | None) -> int:
    if path is not None and path.suffix.lower() == ".png":
        raise UsageError(f"--out {path}: sentences are no picture; expected a file ending in .txt, .npy, .npz")
    write = writer_of(options, "greedy")
    torch.manual_seed(0)
    with at_rest(model):
        tokens = write(model.decode(*_line(model, ends, told, options.steps))).cpu()
    if path is not None and path.suffix.lower() != ".txt":
        write_pictures(path, {"interpolation": tokens.numpy()}, "interpolation", None)
    else:
        write_lines(path, origin_of(model).schema.text.decode(tokens))
    return 0


def _draw(model: Model, ends: Split, told: Tensor | None, options: Namespace, path: Path | None) -> int:
    assert path is not None
    with at_rest(model):
        x = point_of(model.decode(*_line(model, ends, told, options.steps))).cpu().float()
    arrays: dict[str, np.ndarray] = {"interpolation": x.numpy()}
    write_pictures(
        path, arrays, "interpolation", lambda: grid_picture(origin_of(model).schema, arrays["interpolation"])
    )
    console().print(f"{options.steps} examples: {path}", markup=False)
    return 0
