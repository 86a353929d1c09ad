"""What every contestant of `training.py` shares, with whatever library it computes: the setting, the arguments, the JSON.

Only the standard library is imported: it runs where one contestant alone is installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

BATCH = 128
LEARNING_RATE = 1e-3
PIXELS = 784


def arguments(description: str | None, contestants: Iterable[str]) -> argparse.Namespace:
    """Who trains on which pixels, and how long."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("contestant", choices=list(contestants))
    parser.add_argument("pixels", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--hidden", type=int, nargs="+", default=[])
    parser.add_argument("--latent", type=int)
    parser.add_argument("--epochs", type=int)
    return parser.parse_args()


def tell(seconds: list[float], **versions: str) -> None:
    """Print the seconds of every epoch and the process's peak memory, the last line that `training.py` reads."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, **versions}))
