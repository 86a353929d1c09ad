"""What the commands on a finished run share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import Namespace

from vaekit.cli.options import Parser, add_options, keywords_of, make_parser
from vaekit.cli.texts import given_decoding, warn_of_losses
from vaekit.data import Dataset, Split, load
from vaekit.data.conform import Part, load_rows
from vaekit.data.sentences import Sentences
from vaekit.data.text import text_rows
from vaekit.errors import DataError, RunError, UsageError
from vaekit.files import check_writable, write_atomically
from vaekit.models import origin_of
from vaekit.runs import Run, write_arrays

_LOAD = keywords_of(load)


def run_parser(command: str, positional: str, description: str) -> Parser:
    """A parser with RUN as its first argument."""
    parser = make_parser(command, positional, description)
    parser.add_argument("run", metavar="RUN", help="a folder that `vaekit train` made")
    return parser


def out_option(parser: Parser, kinds: str, *, needed: bool = True) -> None:
    """Add --out and --overwrite."""
    if needed:
        parser.add_argument("--out", required=True, help=f"file to write: {kinds}")
    else:
        text = f"file to write: {kinds} (sentences: standard output if left out)"
        parser.add_argument("--out", type=str | None, default=None, help=text)  # type: ignore[arg-type]
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")


def part_option(parser: Parser) -> None:
    """Add --split and --data-dir."""
    sentences_option(parser)
    text = "rows of a source that has its own division: all, train, validation, test (default: its test rows)"
    parser.add_argument("--split", type=Part | None, default=None, help=text, metavar="{all,train,validation,test}")  # type: ignore[arg-type]
    parser.add_argument(
        "--data-dir", default=None, help="where the files of mnist and fashion-mnist are (default: VAEKIT_DATA)"
    )


def sentences_option(parser: Parser) -> None:
    """Add --sentences."""
    text = "of a text: line is one sentence a line, split cuts paragraphs after full stops (default: line)"
    parser.add_argument("--sentences", type=Sentences, default="line", help=text, metavar="{auto,line,split}")  # type: ignore[arg-type]


def output_path(out: str, overwrite: bool, endings: tuple[str, ...], option: str = "--out") -> Path:
    """The file to write. Raises UsageError on another ending, RunError where it is there already, StorageError
    where it cannot be written: all of it before the work of making its content."""
    path = Path(out)
    if path.suffix.lower() not in endings:
        raise UsageError(f"{option} {out}: expected a file ending in {', '.join(endings)}")
    if path.exists() and (not overwrite or path.is_dir()):
        raise RunError(f"{out}: exists already; choose another {option}, or say --overwrite to replace it")
    check_writable(path)
    return path


def pictured(options: Namespace, path: Path | None) -> Path:
    """The file for what is no text. Raises UsageError where there is none, or an option that is for sentences."""
    if given_decoding(options):
        raise UsageError(f"--{given_decoding(options)[0]}: is for sentences, and this model draws images or numbers")
    if path is None or path.suffix.lower() == ".txt":
        raise UsageError(f"--out {path or ''}".rstrip() + ": expected a file ending in .png, .npy, .npz")
    return path


def own_data(run: Run) -> Dataset:
    """The data a run was trained on, read again. Raises DataError where they are no longer the same."""
    if not run.config.get("source"):
        raise RunError(f"{run.path}: has no config.yaml that says what it was trained on; give --data SOURCE")
    data = load(run.config["source"], **{key: run.config[key] for key in _LOAD if key in run.config})
    kept, now = run.data.get("splits", {}), data.to_json()["splits"]
    changed = [name for name in now if name in kept and kept[name] != now[name]]
    if changed:
        raise DataError(
            f"{run.config['source']}: the {changed[0]} rows are not those of the run "
            f"({kept[changed[0]]['n']} then, {now[changed[0]]['n']} now, or other values); give the old data, or --data"
        )
    return data


def source_options(parser: Parser) -> None:
    """Add --data and what `load` may be told of it, all None where they are not given."""
    parser.add_argument(
        "--data",
        type=str | None,
        default=None,
        metavar="SOURCE",
        help="other data (default: what the run was trained on)",
    )  # type: ignore[arg-type]
    add_options(parser, load, "how to read --data, as in training", defaults=dict.fromkeys(_LOAD))


def asked_data(run: Run, options: Namespace) -> Dataset:
    """The source of `source_options` with its splits, else the run's own. Raises DataError where it is not of its form."""
    given = {key: options[key] for key in _LOAD if options[key] is not None}
    if options.data is None:
        if given:
            raise UsageError(
                f"--{next(iter(given)).replace('_', '-')}: says how to read other data; give --data SOURCE too"
            )
        return own_data(run)
    data, schema = load(options.data, **given), origin_of(run.model).schema
    if (data.schema.kind, data.schema.shape) != (schema.kind, schema.shape):
        raise DataError(
            f"{options.data}: is {data.schema.kind} data of shape {data.schema.shape}, and the run's model is for "
            f"{schema.kind} data of shape {schema.shape}; give what it was trained on"
        )
    if data.schema.vocabulary != schema.vocabulary:
        raise DataError(f"{options.data}: its vocabulary is not that of the run's model; give what it was trained on")
    return data


def other_rows(run: Run, source: str, part: Part | None, data_dir: str | None, sentences: Sentences = "line") -> Split:
    """Rows of another source in the form of the run's model; says where a vocabulary does not know most of their words."""
    schema = origin_of(run.model).schema
    if schema.kind == "text":
        found = text_rows(source, schema, part, sentences)
        warn_of_losses(found)
        return found.split
    return load_rows(source, schema, part=part, data_dir=data_dir or run.config.get("data_dir"))


def write_pictures(path: Path, arrays: dict[str, np.ndarray], main: str, picture: Any) -> None:
    """Write `arrays` as .npz, the array `main` as .npy, or `picture` (a Pillow image, from a function) as .png."""
    kind = path.suffix.lower()
    if kind == ".npz":
        write_arrays(path, arrays)
    elif kind == ".npy":
        write_atomically(path, lambda file: np.save(file, arrays[main], allow_pickle=False))
    else:
        write_atomically(path, lambda file: picture().save(file, "PNG"))
