"""Training: `fit`, its updates and schedules."""

from vaekit.training.fit import fit
from vaekit.training.history import History
from vaekit.updates import Update

__all__ = ["History", "Update", "fit"]
