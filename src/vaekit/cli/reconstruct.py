"""`vaekit reconstruct RUN SOURCE`: examples as the run's model sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from vaekit.cli.common import other_rows, out_option, output_path, part_option, pictured, run_parser, write_pictures
from vaekit.cli.options import parse
from vaekit.cli.pictures import paired_picture
from vaekit.cli.tables import console
from vaekit.cli.texts import decoding_options, write_lines, writer_of
from vaekit.data import Batch, Split
from vaekit.errors import UsageError
from vaekit.evaluation.rows import at_rest, batches
from vaekit.models import Model, origin_of
from vaekit.runs import load_run

_ENDINGS = (".png", ".npy", ".npz", ".txt")


def _rebuilt(model: Model, batch: Batch, told: Tensor | None) -> Tensor:
    """The reconstructions of a batch, decoded with another condition (C,) where one is given."""
    if told is None:
        return model.reconstruct(*batch)
    return model.decode(model.encode(*batch), told.to(batch.x)).mean


def _write(model: Model, rows: Split, told: Tensor | None, options: Namespace, path: Path | None) -> int:
    """Sentences as the model writes them from their codes: line i for line i."""
    if path is not None and path.suffix.lower() == ".png":
        raise UsageError(f"--out {path}: sentences are no picture; expected a file ending in .txt, .npy, .npz")
    if not model.latent_dim:
        raise UsageError("reconstruct: a language model has no code to write a sentence from; train a text-vae")
    write = writer_of(options, "greedy")
    torch.manual_seed(0)
    with at_rest(model):
        parts = [
            write(model.decode(model.encode(*batch), batch.c if told is None else told.expand(len(batch.x), -1))).cpu()
            for batch in batches(model, rows)
        ]
    tokens = torch.cat(parts)
    if path is not None and path.suffix.lower() != ".txt":
        arrays = {"originals": rows.values.numpy(), "reconstructions": tokens.numpy()}
        write_pictures(path, arrays, "reconstructions", None)
        return 0
    write_lines(path, origin_of(model).schema.text.decode(tokens))
    return 0


def run(arguments: list[str]) -> int:
    """Reconstruct the rows of a source. Returns the exit status."""
    parser = run_parser("reconstruct", "RUN SOURCE", "Encode and decode examples, in the source's order.")
    parser.add_argument("source", metavar="SOURCE", help="as for `vaekit train`")
    part_option(parser)
    parser.add_argument(
        "-n", "--number", type=int | None, default=None, help="only the first so many rows (a .png shows 64)"
    )  # type: ignore[arg-type]
    parser.add_argument(
        "--condition",
        type=str | None,
        default=None,
        help="decode as this class (or these values) in place of each row's own: the style stays, the class changes",
    )  # type: ignore[arg-type]
    decoding_options(parser, "greedy")
    kinds = ".png (originals over reconstructions), .npy, or .npz (originals, reconstructions, errors)"
    out_option(parser, f"{kinds}; of sentences .txt", needed=False)
    options = parse(parser, arguments)
    if options.number is not None and options.number < 1:
        raise UsageError(f"-n {options.number}: expected at least 1")
    path = output_path(options.out, options.overwrite, _ENDINGS) if options.out else None
    found = load_run(options.run)
    rows = other_rows(found, options.source, options.split, options.data_dir, options.sentences)
    told = None if options.condition is None else origin_of(found.model).schema.condition(options.condition)
    if told is not None and not found.model.condition_dim:
        raise UsageError(f"--condition {options.condition}: this model takes no condition; train a conditional one")
    if origin_of(found.model).schema.kind == "text":
        return _write(found.model, rows.head(options.number or len(rows)), told, options, path)
    path = pictured(options, path)
    number = options.number or (64 if path.suffix.lower() == ".png" else len(rows))
    rows = rows.head(number)
    with at_rest(found.model):
        mended = torch.cat(
            [_rebuilt(found.model, batch, told).cpu().float() for batch in batches(found.model, rows)]
        ).numpy()
    originals = rows.rows(slice(None)).numpy()
    errors = np.square(mended - originals).reshape(len(mended), -1).mean(1)
    arrays = {"originals": originals, "reconstructions": mended, "errors": errors}
    write_pictures(
        path, arrays, "reconstructions", lambda: paired_picture(origin_of(found.model).schema, originals, mended)
    )
    console().print(f"{len(mended)} reconstructions, mean squared error {errors.mean():.4g}: {path}", markup=False)
    return 0
