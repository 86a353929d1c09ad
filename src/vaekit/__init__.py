"""vaekit: learn and use variational autoencoders and their kin.

>>> import vaekit as vk
>>> data = vk.load("digits")
>>> model = vk.models.vae(data.schema, latent_dim=8)
>>> history = vk.fit(model, data, objective=vk.elbo, epochs=2)
>>> estimate = vk.evaluation.log_likelihood(model, data.test, samples=100)
>>> estimate.unit
'nats'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vaekit import data, distributions, errors, evaluation, inference, models, networks, objectives, training
    from vaekit.comparison import compare
    from vaekit.data import Batch, Dataset, Schema, Split, load
    from vaekit.models import recipe
    from vaekit.objectives import (
        Draw,
        Terms,
        adversarial,
        beta_tc,
        ciwae,
        elbo,
        factor,
        iwae,
        miwae,
        mmd,
        piwae,
        reconstruction,
        renyi,
        wasserstein,
    )
    from vaekit.runs import Run, load_run, save_run
    from vaekit.training import History, Update, fit, schedules
    from vaekit.training.pretraining import pretrain
    from vaekit.training.second_stage import fit_prior

_HOME = {
    "load": "vaekit.data", "Batch": "vaekit.data", "Dataset": "vaekit.data", "Schema": "vaekit.data", "Split": "vaekit.data",
    "Draw": "vaekit.objectives", "Terms": "vaekit.objectives",
    "elbo": "vaekit.objectives", "iwae": "vaekit.objectives", "miwae": "vaekit.objectives", "ciwae": "vaekit.objectives",
    "piwae": "vaekit.objectives", "renyi": "vaekit.objectives", "beta_tc": "vaekit.objectives", "mmd": "vaekit.objectives",
    "factor": "vaekit.objectives", "reconstruction": "vaekit.objectives", "adversarial": "vaekit.objectives",
    "wasserstein": "vaekit.objectives",
    "recipe": "vaekit.models", "fit": "vaekit.training", "compare": "vaekit.comparison",
    "pretrain": "vaekit.training.pretraining",
    "fit_prior": "vaekit.training.second_stage", "Update": "vaekit.training", "History": "vaekit.training",
    "Run": "vaekit.runs", "load_run": "vaekit.runs", "save_run": "vaekit.runs",
}  # fmt: skip
_MODULES = (
    "data",
    "distributions",
    "errors",
    "evaluation",
    "inference",
    "models",
    "networks",
    "objectives",
    "training",
)

__all__ = ["__version__", "schedules", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import vaekit` and `vaekit --help` cost nothing."""
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name == "schedules":
        value = importlib.import_module("vaekit.training.schedules")
    elif name in _MODULES:
        value = importlib.import_module(f"vaekit.{name}")
    else:
        raise AttributeError(f"module 'vaekit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
