"""What a run folder says, read once: every other file of the report works on this."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.errors import RunError
from vaekit.records import check_description, check_findings
from vaekit.report.words import finite
from vaekit.runs import read_arrays, read_config, read_data, read_evaluation, read_history, read_json

Arrays = dict[str, np.ndarray]
_SIGNS = ("config.yaml", "status.json", "metrics.jsonl", "evaluation.json", "model/model.json")


@dataclass(frozen=True)
class Contents:
    """The files of a run folder; a file that is not there is an empty dictionary or list."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, Any]
    status: dict[str, Any]
    evaluation: dict[str, Any]
    description: dict[str, Any]
    history: list[dict[str, Any]]
    arrays: Arrays
    texts: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def source(self) -> str:
        """Where the data came from."""
        recorded = self.data.get("source")
        name = recorded.get("name") if isinstance(recorded, dict) else recorded
        return str(self.config.get("source") or name or "unnamed data")

    @cached_property
    def name(self) -> str:
        """The source's name without the folders it lies in."""
        return self.source.replace("\\", "/").rstrip("/").rpartition("/")[2] or self.source

    @cached_property
    def model(self) -> str:
        """The name of the model's recipe."""
        return str(self.config.get("model") or self.description.get("recipe") or "model")

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The form of one example (`data.Schema` as JSON)."""
        found = self.data.get("schema") or self.description.get("schema")
        return found if isinstance(found, dict) else {}

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, () where nothing tells."""
        if self.schema.get("shape"):
            return tuple(int(side) for side in self.schema["shape"])
        return next((self.arrays[k].shape[1:] for k in ("originals", "samples") if k in self.arrays), ())

    @cached_property
    def form(self) -> str:
        """The shape of one example in words."""
        if self.examples == "sentence":
            return f"at most {self.shape[0]} tokens"
        if len(self.shape) < 2:
            return " × ".join(str(side) for side in self.shape) + f" value{'' if self.shape == (1,) else 's'}"
        channels = self.shape[0] if len(self.shape) == 3 else 1
        sides = " × ".join(str(side) for side in self.shape[-2:])
        return f"{sides} pixels" + ({1: "", 3: " in colour"}.get(channels, f" and {channels} channels"))

    @cached_property
    def examples(self) -> str:
        """What to call the examples: images, rows or sentences."""
        if self.schema.get("kind") == "text":
            return "sentence"
        return "image" if len(self.shape) >= 2 else "row"

    @cached_property
    def latent_dim(self) -> int | None:
        """Dimensions of the code."""
        named = (self.description.get("arguments") or {}).get("latent_dim", self.config.get("latent_dim"))
        if isinstance(named, int):
            return named
        return int(self.arrays["codes"].shape[1]) if "codes" in self.arrays else None

    @cached_property
    def code_form(self) -> str | None:
        """The codes of an example in words, where they are quantised."""
        shape = self.arrays.get("code_shape")
        if shape is None or shape.shape != (3,):
            return None
        positions, levels, size = (int(n) for n in shape)
        each = f" × {levels}" if levels > 1 else ""
        return f"{positions}{each} code{'' if positions * levels == 1 else 's'} of {size} values"

    @cached_property
    def has_likelihood(self) -> bool:
        """Whether the model has a log p(x): its records or its figures have an ELBO, or it could be sampled from."""
        if any("train_elbo" in record or "validation_elbo" in record for record in self.history):
            return True
        if self.history or self.evaluation:
            return bool({"elbo", "log_likelihood"} & set(self.evaluation))
        return "samples" in self.arrays

    @cached_property
    def makes_examples(self) -> bool:
        """Whether a generator makes the examples, so that there is no p(x|z)."""
        played = {"train_generator_loss", "train_decoder_loss"}
        return self.model in ("gan", "wgan", "vaegan") or any(played & set(record) for record in self.history)

    @cached_property
    def epochs(self) -> int:
        """Epochs that were finished."""
        return int(self.history[-1].get("epoch", len(self.history))) if self.history else 0

    @cached_property
    def kept_epoch(self) -> int | None:
        """The epoch whose weights the model has, None where the run does not say."""
        epoch = self.status.get("best_epoch")
        return epoch if isinstance(epoch, int) and epoch > 0 else None

    @cached_property
    def beta(self) -> float:
        """Weight of the KL that was asked for."""
        beta = finite(self.config.get("beta"))
        return 1.0 if beta is None else beta

    def value(self, key: str) -> float | None:
        """A figure of the evaluation; None where it is absent or not finite."""
        return finite(self.entry(key).get("value"))

    def error(self, key: str) -> float | None:
        """A figure's standard error."""
        return finite(self.entry(key).get("standard_error"))

    def entry(self, key: str) -> dict[str, Any]:
        """All that evaluation.json says of one figure."""
        entry = self.evaluation.get(key)
        return entry if isinstance(entry, dict) else {}

    def rows(self, split: str) -> int | None:
        """Examples in a split."""
        n = (self.data.get("splits") or {}).get(split, {}).get("n")
        return n if isinstance(n, int) else None

    def column(self, key: str) -> np.ndarray:
        """(epochs,) one column of the history, NaN where there is no number."""
        values = [finite(record.get(key)) for record in self.history]
        return np.array([np.nan if value is None else value for value in values])

    def class_name(self, index: int) -> str:
        """The name of a class, its number where it has none."""
        names = self.schema.get("classes") or ()
        return str(names[index]) if 0 <= index < len(names) else str(index)


def read_contents(folder: Path) -> Contents:
    """Read a run folder. Raises RunError where it is none, or one of its files is damaged."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder; `vaekit train` makes one")
    if not any((folder / name).exists() for name in _SIGNS):
        raise RunError(f"{folder}: holds no files of a run; give the folder that `vaekit train` wrote")
    gallery, texts = (folder / "figures" / name for name in ("gallery.npz", "texts.json"))
    description, findings = folder / "model" / "model.json", folder / "findings.json"
    return Contents(
        folder,
        config=read_config(folder),
        environment=read_json(folder / "environment.json", {}),
        data=read_data(folder),
        status=read_json(folder / "status.json", {}),
        evaluation=read_evaluation(folder),
        description=check_description(read_json(description, {}), description),
        history=read_history(folder),
        arrays=_usable(read_arrays(gallery)) if gallery.exists() else {},
        texts=read_json(texts, {}),
        findings=check_findings(read_json(findings, {}), findings),
    )


def _usable(arrays: Arrays) -> Arrays:
    """Without empty arrays: a picture of nothing is no picture."""
    return {name: array for name, array in arrays.items() if array.size}
