"""`vaekit sample RUN`: new examples from a run's model."""

from __future__ import annotations

import torch

from vaekit.cli.common import out_option, output_path, run_parser, write_pictures
from vaekit.cli.options import parse
from vaekit.cli.pictures import grid_picture
from vaekit.cli.tables import console
from vaekit.errors import UsageError
from vaekit.models import origin_of
from vaekit.runs import load_run


def run(arguments: list[str]) -> int:
    """Sample from a run. Returns the exit status."""
    parser = run_parser("sample", "RUN", "New examples: codes from the prior, decoded.")
    parser.add_argument("-n", "--number", type=int, default=64, help="how many (default: 64)")
    parser.add_argument("--noise", action="store_true", help="draw x from p(x|z) instead of taking its mean")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    out_option(parser, ".png (a grid), .npy or .npz (array `samples`)")
    options = parse(parser, arguments)
    if options.number < 1:
        raise UsageError(f"-n {options.number}: expected at least 1")
    path = output_path(options.out, options.overwrite, (".png", ".npy", ".npz"))
    model = load_run(options.run).model
    torch.manual_seed(options.seed)
    samples = torch.cat(
        [model.sample(min(256, options.number - at), noise=options.noise) for at in range(0, options.number, 256)]
    )
    arrays = {"samples": samples.cpu().float().numpy()}
    write_pictures(path, arrays, "samples", lambda: grid_picture(origin_of(model).schema, arrays["samples"]))
    console().print(f"{options.number} samples: {path}", markup=False)
    return 0
