"""`vaekit COMMAND ...`: finds the command, and turns every error into one line and an exit status.

Nothing heavy is imported here, so that `vaekit --help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

from vaekit import __version__
from vaekit.cli.allocator import keep_memory
from vaekit.errors import StorageError, VaekitError

COMMANDS = {
    "train": "learn a model from digits, mnist, fashion-mnist, a folder of images, an IDX, .npy or .npz file, or a text",
    "evaluate": "ELBO, log p(x), KL, active units of a run, each with its standard error",
    "doctor": "what is wrong with a run, and what to do about it",
    "sample": "draw new examples from a run",
    "reconstruct": "examples as a run's model sees them",
    "encode": "codes of examples, as an .npz",
    "interpolate": "examples on the line between two codes: of two sentences, or of two rows",
    "score": "log p(x) of every row or sentence of a source",
    "compare": "train several models on the same data, and measure what is said of them",
    "rate-distortion": "a run for each weight of the rate, and the curve of distortion against rate",
    "report": "write a run's report.html again",
}

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status (see `vaekit --help`).

    Without arguments the process is ours, and its allocator is set up for training.
    """
    if argv is None:
        keep_memory()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except VaekitError as error:
        if debug:
            raise
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to say to a closed pipe
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _complain(f"{error.filename or 'disk'}: the disk is full; free some space", StorageError.exit_code)
        if isinstance(error, OSError) and error.filename is not None:
            advice = "make it readable, or choose another place"
            return _complain(f"{error.filename}: {error.strerror}; {advice}", StorageError.exit_code)
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            less = "a smaller network, --latent-dim or batch, smaller images (--image-size) or shorter texts (--max-length)"
            return _complain(f"out of memory; take {less}", 1)
        reason = (str(error).splitlines() or [""])[0]
        return _complain(f"internal error: {type(error).__name__}: {reason}; --debug shows where", 1)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"vaekit {__version__}\n")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        guess = f"; did you mean {near[0]}?" if near else ""
        return _complain(f"no command {name!r}{guess} (there are {', '.join(COMMANDS)})", 2)
    return int(importlib.import_module(f"vaekit.cli.{name.replace('-', '_')}").run(rest))


def _help() -> str:
    lines = [f"  {name:<15} {summary}" for name, summary in COMMANDS.items()]
    return (
        "usage: vaekit COMMAND [options]\n\n"
        "Learn and use variational autoencoders, with likelihoods that can be trusted.\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        "`vaekit COMMAND --help` lists a command's options; --debug shows the traceback of an error;\n"
        "--version prints the version.\n\n"
        "exit status: 0 done, 2 usage, 3 data, 4 run folder or weights, 5 training failed, 6 disk, 130 interrupted\n"
    )


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"vaekit: {'' if status == INTERRUPTED else 'error: '}{message}\n")
    return status
