"""`vaekit encode RUN SOURCE`: codes of examples."""

from __future__ import annotations

import numpy as np
import torch

from vaekit.cli.common import other_rows, out_option, output_path, part_option, run_parser
from vaekit.cli.options import parse
from vaekit.cli.tables import console
from vaekit.distributions.point_code import PointCode
from vaekit.errors import UsageError
from vaekit.evaluation.classes import class_probabilities
from vaekit.evaluation.rows import at_rest, batches
from vaekit.runs import load_run, write_arrays


def run(arguments: list[str]) -> int:
    """Encode the rows of a source. Returns the exit status."""
    parser = run_parser("encode", "RUN SOURCE", "Mean and standard deviation of the posterior, in the source's order.")
    parser.add_argument("source", metavar="SOURCE", help="as for `vaekit train`")
    part_option(parser)
    out_option(
        parser, ".npz (arrays `mean`, `std`, `codes` of a vqvae (n, positions, levels), and `labels` where known)"
    )
    options = parse(parser, arguments)
    path = output_path(options.out, options.overwrite, (".npz",))
    found = load_run(options.run)
    rows = other_rows(found, options.source, options.split, options.data_dir, options.sentences)
    if not found.model.latent_dim:
        raise UsageError("encode: a language model has no code; train a text-vae or a text-autoencoder")
    means, stds, codes = [], [], []
    with at_rest(found.model):
        for batch in batches(found.model, rows):
            q = found.model.posterior(*batch)
            means.append(q.mean.cpu().float())
            stds.append(q.variance.sqrt().cpu().float())
            if isinstance(q, PointCode):
                codes.append(q.codes.cpu())
    arrays: dict[str, np.ndarray] = {"mean": torch.cat(means).numpy(), "std": torch.cat(stds).numpy()}
    if codes:
        arrays["codes"] = torch.cat(codes).numpy()
    if callable(getattr(found.model, "classify", None)):
        arrays["class_probabilities"] = class_probabilities(found.model, rows).float().numpy()
    if rows.labels is not None:
        arrays["labels"] = rows.labels.numpy()
    write_arrays(path, arrays)
    console().print(f"{len(rows)} codes of {found.model.latent_dim} dimensions: {path}", markup=False)
    return 0
