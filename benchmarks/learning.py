"""What the objectives, priors and layers are worth: importance-sampled log p(x) on MNIST after equal epochs.

    VAEKIT_DATA=/path/to/data python benchmarks/learning.py --epochs 20 --out learning.jsonl [--only vae iwae-5]

Every row is trained on the same dynamically binarised training images with the same networks (784-200-200-50, tanh), order
of rows, learning rate and number of epochs, and scored on the same test images by importance sampling. The rows of the
last block are on gray images: there the same densities are compared in nats of the 256 levels' unit interval. Results are
appended to --out as they come, so that a broken run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

import vaekit as vk
from vaekit.models import make_model

NETWORK = {"network": "mlp", "hidden": (200, 200), "activation": "tanh"}

CONTESTANTS: dict[str, tuple[str, str, dict[str, Any], Any]] = {
    "vae": ("binary", "vae", {"latent_dim": 50}, vk.elbo),
    "iwae-5": ("binary", "vae", {"latent_dim": 50}, partial(vk.iwae, samples=5)),
    "iwae-50": ("binary", "vae", {"latent_dim": 50}, partial(vk.iwae, samples=50)),
    "vamp": ("binary", "vae", {"latent_dim": 50, "prior": "vamp", "prior_components": 50}, vk.elbo),
    "two-layer": ("binary", "two_layer", {"latent_dims": (100, 50)}, vk.elbo),
    "two-layer-iwae-5": ("binary", "two_layer", {"latent_dims": (100, 50)}, partial(vk.iwae, samples=5)),
    "sigma-one": ("gray", "vae", {"latent_dim": 50, "likelihood": "gaussian", "sigma": 1.0}, vk.elbo),
    "sigma-optimal": ("gray", "vae", {"latent_dim": 50, "likelihood": "gaussian", "sigma": "optimal"}, vk.elbo),
}
"""Name -> (data, recipe, arguments, objective)."""


def data_for(kind: str, rows: int | None) -> vk.Dataset:
    """MNIST with pixels drawn anew in training, or its gray levels."""
    data = vk.load("mnist", binarize="dynamic" if kind == "binary" else "none")
    return data if rows is None else vk.Dataset(data.schema, data.train.head(rows), data.validation, data.test)


def train(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one contestant and score it on test images."""
    kind, recipe, arguments, objective = CONTESTANTS[name]
    data = data_for(kind, options.rows)
    torch.manual_seed(options.seed)
    model = make_model(recipe, data.schema, {**NETWORK, **arguments})
    begin = time.perf_counter()
    vk.fit(
        model, data, objective, epochs=options.epochs, batch_size=100, learning_rate=1e-3, learning_rate_decay="cosine",
        seed=options.seed, device="cpu", progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    test = data.test.fixed().head(options.test_rows)
    likelihood = vk.evaluation.log_likelihood(model, test, samples=options.samples)
    bound = vk.evaluation.elbo(model, test)
    active = vk.evaluation.active_units(model, data.test)
    return {
        "name": name, "epochs": options.epochs, "rows": len(data.train), "seed": options.seed, "samples": options.samples,
        "test_rows": len(test), "log_likelihood": likelihood.value, "standard_error": likelihood.standard_error,
        "elbo": bound["elbo"].value, "rate": bound["kl"].value, "active_units": active.value, "seconds": seconds,
    }  # fmt: skip


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = ["| | log p(x) | ± s.e. | ELBO | rate | active units | seconds |", "|---|---|---|---|---|---|---|"]
    for r in results:
        figures = f"{r['log_likelihood']:.2f} | {r['standard_error']:.2f} | {r['elbo']:.2f} | {r['rate']:.2f}"
        lines.append(f"| {r['name']} | {figures} | {r['active_units']:.0f} | {r['seconds']:,.0f} |")
    return "\n".join(lines)


def read(path: Path) -> list[dict[str, Any]]:
    """Results so far."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rows", type=int, help="training rows (default: all)")
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=500, help="K of the importance sampling")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("learning.jsonl"))
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    done = {(r["name"], r["epochs"], r["seed"]) for r in read(options.out)}
    for name in options.only:
        if (name, options.epochs, options.seed) in done:
            continue
        result = train(name, options)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
    print(table(read(options.out)))


if __name__ == "__main__":
    main()
