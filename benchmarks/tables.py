"""Published likelihoods, repeated on one's own machine: ours beside the paper's, with protocol, error and time.

    VAEKIT_DATA=/path/to/data python benchmarks/tables.py --out tables.jsonl [--only vae iwae-5] [--scale 0.1]

Protocol of the MNIST rows (Burda, Grosse & Salakhutdinov, ICLR 2016): pixels of the 50,000 training images are drawn anew
every time they are seen; those of the test images are drawn once, with NumPy's seed 777 after the last 10,000 training
images, in that order; log p(x) of all 10,000 test images by importance sampling with K = 5,000 draws. The networks are the
papers'; optimiser, schedule and length are ours, chosen so that a row trains within an hour on two cores. --scale shortens
every training, for a look. A row that stands in --out is not repeated; its model is kept beside it, so that a figure can
be looked into.

Time is the training process's processor time, which other processes on the machine do not stretch.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lagging import lagging

import vaekit as vk
from vaekit.models import make_model
from vaekit.runs import save_run
from vaekit.training.schedules import linear

IWAE = "Burda, Grosse & Salakhutdinov, ICLR 2016; dynamic MNIST, 784-200-200-50 tanh, K = 5,000, 3,280 epochs"
EXEMPLAR = (
    "300-300 gated, 40 latent dimensions, K = 5,000; the network and protocol of Norouzi, Fleet & Norouzi, NeurIPS 2020"
)
VAMP = f"dynamic MNIST, VampPrior of 500 (Tomczak & Welling, AISTATS 2018), {EXEMPLAR}"
FASHION = f"dynamic Fashion-MNIST, {EXEMPLAR}"
PPCA = "Tipping & Bishop, 1999: closed form from the covariance of the 60,000 training images / 255"


@dataclass(frozen=True)
class Row:
    """One published figure and how it is repeated. `published` is in nats: -log p(x), for `ppca` log p(x)."""

    published: float
    source: str
    arguments: dict[str, Any]
    epochs: int
    learning_rate: float = 2e-3
    draws: tuple[tuple[float, int], ...] = ((0.0, 1),)
    """(share of the training from which on, K of the IWAE bound); K = 1 is the ELBO."""
    data: str = "mnist"
    gray: bool = False
    batch_size: int = 100
    path: bool = False
    """Whether the ELBO's gradient leaves out the score (Roeder et al., NeurIPS 2017)."""
    warm_up: float = 0.0
    """Share of the training over which the weight of the KL rises from 0 to 1; the IWAE bound has no such weight."""
    resampled: int = 0
    """Draws of the last K that the gradient goes through, taken by their weights; 0: all."""
    lag: int = 1
    """Training steps from one encoding of a VampPrior's pseudo-inputs to the next."""
    muon: bool = False
    """Whether Muon moves the weights in place of Adam."""


BURDA = {"network": "mlp", "hidden": (200, 200), "activation": "tanh", "latent_dim": 50, "likelihood": "bernoulli"}
GATED = {"network": "mlp", "hidden": (300, 300), "activation": "gated", "latent_dim": 40, "likelihood": "bernoulli"}
LINEAR = {"network": "mlp", "hidden": (), "likelihood": "gaussian", "sigma": "shared"}

ROWS = {
    "ppca-2": Row(12.4276, PPCA, LINEAR | {"latent_dim": 2}, 60, gray=True),
    "ppca-10": Row(182.1546, PPCA, LINEAR | {"latent_dim": 10}, 150, learning_rate=1e-2, gray=True),
    "vae": Row(86.76, IWAE, BURDA, 600, 8e-3, batch_size=500, warm_up=0.2, muon=True),
    "iwae-5": Row(85.54, IWAE, BURDA, 430, 8e-3, batch_size=500, draws=((0.0, 5),), muon=True),
    "iwae-50": Row(84.78, IWAE, BURDA, 300, 6e-3, batch_size=250, draws=((0.0, 5), (0.64, 50)), resampled=3, muon=True),
    "vamp": Row(
        82.43, VAMP, GATED | {"prior": "vamp", "prior_components": 500}, 380, 1.5e-3, path=True, warm_up=0.2, lag=5
    ),
    "vamp-standard": Row(math.nan, f"dynamic MNIST, {EXEMPLAR}", GATED, 380, 1.5e-3, path=True, warm_up=0.2),
    "fashion": Row(228.70, FASHION, GATED, 300, data="fashion-mnist", warm_up=0.2),
}


def bound(
    model: vk.Model, batch: vk.Batch, *, samples: int = 1, beta: float = 1.0, path: bool = False, resampled: int = 0
) -> vk.Terms:
    """The IWAE bound, doubly reparameterised; of one draw the ELBO."""
    if samples > 1:
        return vk.iwae(model, batch, samples=int(samples), gradient="doubly", resampled=resampled)
    return vk.elbo(model, batch, beta=beta, gradient="path" if path else "reparameterised")


def growing(row: Row, steps: int) -> Callable[[int], int]:
    """K as a function of the step."""
    return lambda step: max(k for start, k in row.draws if step >= start * steps)


def thinning(row: Row, steps: int) -> Callable[[int], int]:
    """The number of resampled draws as a function of the step: `row.resampled` of the last K."""
    return lambda step: row.resampled if step >= row.draws[-1][0] * steps else 0


def falling(row: Row, steps: int) -> Callable[[int], float]:
    """Learning rate as a function of the step: half a cosine down to 0 over the training's work, not over its steps.

    As measured for these networks a step costs 2 and each draw 1, or a third where no gradient goes through it. Over steps, few
    steps of many draws at the end would have next to no learning rate.
    """
    draws, resampled = growing(row, steps), thinning(row, steps)
    costs = [2.0 + (resampled(s) + draws(s) / 3 if resampled(s) else draws(s)) for s in range(steps)]
    work = np.cumsum([0.0, *costs])
    return lambda s: row.learning_rate * 0.5 * (1.0 + math.cos(math.pi * float(work[min(s, steps)] / work[steps])))


def train(name: str, scale: float, seed: int, watch: bool) -> tuple[vk.Model, vk.Dataset, int, float]:
    """Train a row's model; returns it with its data, the epochs and the processor seconds they took."""
    row = ROWS[name]
    data = vk.load(row.data, binarize="none" if row.gray else "dynamic")
    if row.gray:
        rows = torch.cat([data.train.rows(slice(None)), data.validation.rows(slice(None))])
        data = vk.Dataset(data.schema, vk.Split(rows, name="train"))
    epochs = max(1, round(row.epochs * scale))
    steps = epochs * -(-len(data.train) // row.batch_size)
    torch.manual_seed(seed)
    model = make_model("vae", data.schema, row.arguments)
    schedules = {"samples": growing(row, steps)}
    if row.resampled:
        schedules["resampled"] = thinning(row, steps)
    if row.warm_up:
        schedules["beta"] = linear(0.0, 1.0, round(row.warm_up * steps))
    if row.lag > 1:
        model.prior.make = lagging(model.prior, model.encoder, row.lag)
    begin = time.process_time()

    def tell(record: dict[str, Any]) -> None:
        if watch and (record["epoch"] & (record["epoch"] - 1) == 0 or record["epoch"] % 20 == 0):
            shown = record.get("validation_elbo", record["train_elbo"])
            print(name, record["epoch"], f"{shown:.3f}", f"{time.process_time() - begin:.0f} s", flush=True)

    player = vk.Update(partial(bound, path=row.path), schedules=schedules)
    vk.fit(
        model, data, updates=[player], epochs=epochs, batch_size=row.batch_size,
        learning_rate=falling(row, steps), optimizer="muon" if row.muon else "adam",
        seed=seed, device="cpu", progress=False, on_epoch=tell,
    )  # fmt: skip
    return model, data, epochs, time.process_time() - begin


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train a row and score it by its protocol."""
    row = ROWS[name]
    model, data, epochs, seconds = train(name, options.scale, options.seed, options.watch)
    result = {
        "name": name, "published": row.published, "source": row.source, "epochs": epochs, "scale": options.scale,
        "seed": options.seed, "minutes": seconds / 60,
    }  # fmt: skip
    save_run(options.out.parent / f"{options.out.stem}-models" / f"{name}-{options.seed}-{options.scale:g}", model)
    begin = time.process_time()
    if row.gray:
        result |= {"value": linear_log_likelihood(model, data.train), "standard_error": 0.0, "samples": None}
    else:
        figure = vk.evaluation.log_likelihood(model, data.test, samples=options.samples)
        result |= {"value": -figure.value, "standard_error": figure.standard_error, "samples": options.samples}
        result |= {"elbo": vk.evaluation.elbo(model, data.test)["elbo"].value}
    return result | {"scoring_minutes": (time.process_time() - begin) / 60}


def linear_log_likelihood(model: Any, split: vk.Split) -> float:
    """Mean log N(x; b, W W' + sigma^2 I) of a linear model's own weights: no estimate, no encoder."""
    out = model.decoder.network.out
    with torch.no_grad():
        p = model.decode(torch.zeros(1, model.latent_dim))
        w, b = out.weight.double().numpy(), p.mean.flatten().double().numpy()
        sigma = float(p.stddev.flatten()[0])
    x = split.rows(slice(None)).flatten(1).double().numpy()
    centred = x - b
    second = centred.T @ centred / len(x)
    covariance = w @ w.T + sigma**2 * np.eye(len(b))
    _, log_det = np.linalg.slogdet(covariance)
    return -0.5 * float(len(b) * math.log(2 * math.pi) + log_det + np.trace(np.linalg.solve(covariance, second)))


def read(path: Path) -> list[dict[str, Any]]:
    """Rows so far."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def table(results: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| row | ours | ± s.e. | K | published | epochs | minutes | source |", "|---|---|---|---|---|---|---|---|"]
    for r in results:
        lines.append(
            f"| {r['name']} | {r['value']:.3f} | {r['standard_error']:.3f} | {r['samples'] or 'exact'} | "
            f"{'' if math.isnan(r['published']) else format(r['published'], '.6g')} | {r['epochs']} | "
            f"{r['minutes']:.1f} | {r['source']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the rows that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tables.jsonl"))
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--watch", action="store_true", help="print the validation ELBO now and then")
    options = parser.parse_args()
    for name in options.only:
        asked = (name, options.seed, options.scale, None if ROWS[name].gray else options.samples)
        if asked in {(r["name"], r["seed"], r["scale"], r["samples"]) for r in read(options.out)}:
            continue
        result = measure(name, options)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
    print(table([r for r in read(options.out) if r["name"] in options.only]))


if __name__ == "__main__":
    main()
