"""`vaekit sample RUN`: new examples from a run's model."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.cli.common import out_option, output_path, run_parser, write_pictures
from vaekit.cli.options import parse
from vaekit.cli.pictures import grid_picture
from vaekit.cli.tables import console
from vaekit.errors import UsageError
from vaekit.models import Model, origin_of
from vaekit.runs import load_run


def _told(model: Model, text: str | None, n: int) -> Tensor | None:
    """The conditions of n samples, (n, C); None for a model that takes none."""
    schema = origin_of(model).schema
    if not model.condition_dim:
        if text is not None:
            raise UsageError(f"--condition {text}: this model takes no condition; train a cvae")
        return None
    if text is not None:
        return schema.condition(text).expand(n, -1)
    if schema.conditions is not None:
        raise UsageError(f"--condition: say what to draw, a value for each of {', '.join(schema.conditions)}")
    return torch.eye(model.condition_dim)[torch.arange(n) % model.condition_dim]


def run(arguments: list[str]) -> int:
    """Sample from a run. Returns the exit status."""
    parser = run_parser("sample", "RUN", "New examples: codes from the prior, decoded.")
    parser.add_argument("-n", "--number", type=int, default=64, help="how many (default: 64)")
    parser.add_argument("--noise", action="store_true", help="draw x from p(x|z) instead of taking its mean")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument(
        "--condition",
        type=str | None,
        default=None,
        help="what a conditional model is told: a class, NAME=VALUE pairs or all values, divided by commas (default: the "
        "classes in turn)",
    )  # type: ignore[arg-type]
    out_option(parser, ".png (a grid), .npy or .npz (array `samples`)")
    options = parse(parser, arguments)
    if options.number < 1:
        raise UsageError(f"-n {options.number}: expected at least 1")
    path = output_path(options.out, options.overwrite, (".png", ".npy", ".npz"))
    model = load_run(options.run).model
    told = _told(model, options.condition, options.number)
    torch.manual_seed(options.seed)
    chunks = [slice(at, min(at + 256, options.number)) for at in range(0, options.number, 256)]
    samples = torch.cat(
        [model.sample(p.stop - p.start, None if told is None else told[p], noise=options.noise) for p in chunks]
    )
    arrays = {"samples": samples.cpu().float().numpy()}
    write_pictures(path, arrays, "samples", lambda: grid_picture(origin_of(model).schema, arrays["samples"]))
    console().print(f"{options.number} samples: {path}", markup=False)
    return 0
