"""Accelerate, made once for a training: device, precision, and processes started by torchrun."""

from __future__ import annotations

import warnings
from typing import Literal

from vaekit.errors import UsageError

with warnings.catch_warnings():  # importing it silences torch's warnings of schedulers in the whole process
    from accelerate import Accelerator as Accelerator
    from accelerate.state import AcceleratorState, PartialState

Device = Literal["auto", "cpu"]
Precision = Literal["no", "bf16", "fp16"]


def make_accelerator(device: Device = "auto", precision: Precision = "no") -> Accelerator:
    """An Accelerator for this device and precision.

    Accelerate keeps its first settings for the whole process and refuses others; a library that is called twice with
    different ones has to clear them in between.
    """
    if device not in ("auto", "cpu"):
        raise UsageError(f"device {device!r}: expected auto (an accelerator where there is one) or cpu")
    if precision not in ("no", "bf16", "fp16"):
        raise UsageError(f"precision {precision!r}: expected no, bf16 or fp16")
    state = AcceleratorState._shared_state
    if state and (state.get("_mixed_precision") != precision or (device == "cpu") != bool(state.get("_cpu"))):
        AcceleratorState._reset_state(reset_partial_state=not PartialState._shared_state.get("backend"))
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)
