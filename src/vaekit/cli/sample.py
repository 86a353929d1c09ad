"""`vaekit sample RUN`: new examples from a run's model; sentences go to standard output unless a file is asked for."""

from __future__ import annotations

from pathlib import Path

import torch
from jsonargparse import Namespace
from torch import Tensor

from vaekit.cli.common import out_option, output_path, pictured, run_parser, write_pictures
from vaekit.cli.options import parse, seed_number
from vaekit.cli.pictures import grid_picture
from vaekit.cli.tables import console
from vaekit.cli.texts import decoding_options, given_decoding, write_lines, writer_of
from vaekit.errors import UsageError
from vaekit.evaluation.rows import at_rest
from vaekit.models import LatentModel, Model, origin_of
from vaekit.runs import load_run

_ENDINGS = (".png", ".npy", ".npz", ".txt")


def _told(model: Model, text: str | None, n: int) -> Tensor | None:
    """The conditions of n samples, (n, C); None for a model that takes none."""
    schema = origin_of(model).schema
    if not model.condition_dim:
        if text is not None:
            raise UsageError(f"--condition {text}: this model takes no condition; train a conditional one")
        return None
    if text is not None:
        return schema.condition(text).expand(n, -1)
    if schema.conditions is not None:
        raise UsageError(f"--condition: say what to draw, a value for each of {', '.join(schema.conditions)}")
    return torch.eye(model.condition_dim)[torch.arange(n) % model.condition_dim]


def _write(model: Model, options: Namespace, path: Path | None) -> int:
    """Sentences, one a line; after the label where the model is told one."""
    if path is not None and path.suffix.lower() == ".png":
        raise UsageError(f"--out {path}: sentences are no picture; expected a file ending in .txt, .npy, .npz")
    if not model.can_sample or not isinstance(model, LatentModel):
        raise UsageError("sample: this model has no prior to sample from; train a text-vae, or give it a second_stage")
    if options.noise and {"greedy", "beam"} & set(given_decoding(options)):
        raise UsageError(
            "--noise: draws words from p(x|z), as sentences are without --greedy and --beam; leave one out"
        )
    write, told = writer_of(options, "draw"), _told(model, options.condition, options.number)
    torch.manual_seed(options.seed)
    with at_rest(model):
        tokens = write(model.decode(model.sample_codes(options.number, told), told)).cpu()
    schema = origin_of(model).schema
    if path is not None and path.suffix.lower() != ".txt":
        write_pictures(path, {"samples": tokens.numpy()}, "samples", None)
        return 0
    texts = schema.text.decode(tokens)
    if told is not None and schema.conditions is None and schema.classes is not None:
        texts = [f"{schema.classes[int(c.argmax())]}\t{text}" for c, text in zip(told, texts, strict=True)]
    write_lines(path, texts)
    return 0


def run(arguments: list[str]) -> int:
    """Sample from a run. Returns the exit status."""
    parser = run_parser("sample", "RUN", "New examples: codes from the prior, decoded.")
    parser.add_argument("-n", "--number", type=int, default=64, help="how many (default: 64)")
    parser.add_argument("--noise", action="store_true", help="draw x from p(x|z) instead of taking its mean")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the draws (default: 0)")
    parser.add_argument(
        "--condition",
        type=str | None,
        default=None,
        help="what a conditional model is told: a class, NAME=VALUE pairs or all values, divided by commas (default: the "
        "classes in turn)",
    )  # type: ignore[arg-type]
    decoding_options(parser, "draw")
    out_option(parser, ".png (a grid), .npy or .npz (array `samples`); of sentences .txt", needed=False)
    options = parse(parser, arguments)
    if options.number < 1:
        raise UsageError(f"-n {options.number}: expected at least 1")
    path = output_path(options.out, options.overwrite, _ENDINGS) if options.out else None
    model = load_run(options.run).model
    if origin_of(model).schema.kind == "text":
        return _write(model, options, path)
    path = pictured(options, path)
    told = _told(model, options.condition, options.number)
    torch.manual_seed(options.seed)
    chunks = [slice(at, min(at + 256, options.number)) for at in range(0, options.number, 256)]
    with at_rest(model):
        samples = torch.cat(
            [model.sample(p.stop - p.start, None if told is None else told[p], noise=options.noise) for p in chunks]
        )
    arrays = {"samples": samples.cpu().float().numpy()}
    write_pictures(path, arrays, "samples", lambda: grid_picture(origin_of(model).schema, arrays["samples"]))
    console().print(f"{options.number} samples: {path}", markup=False)
    return 0
