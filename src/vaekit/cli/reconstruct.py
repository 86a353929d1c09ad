"""`vaekit reconstruct RUN SOURCE`: examples as the run's model sees them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaekit.cli.common import other_rows, out_option, output_path, part_option, run_parser, write_pictures
from vaekit.cli.options import parse
from vaekit.cli.pictures import paired_picture
from vaekit.cli.tables import console
from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.evaluation.rows import at_rest, batches
from vaekit.models import Model, origin_of
from vaekit.runs import load_run


def _rebuilt(model: Model, batch: Batch, told: Tensor | None) -> Tensor:
    """The reconstructions of a batch, decoded with another condition (C,) where one is given."""
    if told is None:
        return model.reconstruct(*batch)
    return model.decode(model.encode(*batch), told.to(batch.x)).mean


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
    out_option(parser, ".png (originals over reconstructions), .npy, or .npz (originals, reconstructions, errors)")
    options = parse(parser, arguments)
    if options.number is not None and options.number < 1:
        raise UsageError(f"-n {options.number}: expected at least 1")
    path = output_path(options.out, options.overwrite, (".png", ".npy", ".npz"))
    found = load_run(options.run)
    rows = other_rows(found, options.source, options.split, options.data_dir)
    told = None if options.condition is None else origin_of(found.model).schema.condition(options.condition)
    if told is not None and not found.model.condition_dim:
        raise UsageError(f"--condition {options.condition}: this model takes no condition; train a cvae")
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
