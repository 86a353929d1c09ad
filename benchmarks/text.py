"""What the remedies against a lost code are worth: a language model, a plain text-vae, and a text-vae with each remedy.

    python benchmarks/text.py PTB --epochs 3 --budget 60 --out text.jsonl [--only lm vae pretrained]

PTB is a folder with train, valid and test files, one sentence a line (or one file, which is divided). Every model has the
same decoder and sees the same batches; each is scored on the test sentences: the bound (NLL with the KL in it), its rate,
active units, mutual information, and NLL by importance sampling on the first sentences, with the difference from the plain
VAE's sentence by sentence. Results are appended to --out as they come: the same command goes on where it stopped, and
begins no model after the budget's minutes. The published figures on Penn Treebank are about 100 nats a sentence for the
language model and 101 to 103 for LSTM-VAEs (He et al., ICLR 2019; Li et al., EMNLP 2019), after 10 to 50 epochs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

import vaekit as vk
from vaekit.data.batches import steps_per_epoch
from vaekit.evaluation import active_units, aggregate_posterior, importance_sampling
from vaekit.evaluation.estimate import mean_of, ratio_of
from vaekit.evaluation.likelihood import elbo_per_example
from vaekit.evaluation.text import word_counts
from vaekit.models import make_model
from vaekit.training import schedules

WARM = "a third of the training"

CONTESTANTS: dict[str, dict[str, Any]] = {
    "lm": {"recipe": "text-lm"},
    "vae": {},
    "pretrained": {"pretrain": 1, "free_bits": 0.25, "warm_up": WARM},
    "free-bits": {"free_bits": 0.25},
    "minimum-rate": {"arguments": {"minimum_rate": 0.15}},
    "word-dropout": {"arguments": {"word_dropout": 0.4}},
    "warm-up": {"warm_up": WARM},
    "beta": {"beta": 0.3},
    "aggressive": {"aggressive": 20},
    "free-bits-of-code": {"free_bits": 6.0, "free_bits_per": "code", "free_bits_over": "batch"},
    "cycles": {"cycles": 4},
}
"""Name -> what it has beside the plain VAE: arguments of the recipe, keywords of `elbo`, schedules, and the other remedies."""

_OBJECTIVE = ("beta", "free_bits", "free_bits_per", "free_bits_over")


def train(name: str, data: vk.Dataset, options: argparse.Namespace) -> tuple[Any, list[float], float]:
    """A contestant trained: the model, validation NLL after each epoch, and minutes of one core."""
    remedy = CONTESTANTS[name]
    torch.manual_seed(options.seed)
    arguments = {"softmax": options.softmax, "dropout": options.dropout, **remedy.get("arguments", {})}
    model = make_model(remedy.get("recipe", "text-vae"), data.schema, arguments)
    common = {
        "batch_size": options.batch_size, "learning_rate": options.learning_rate, "gradient_clip": 5.0,
        "seed": options.seed, "device": options.device, "progress": options.progress,
    }  # fmt: skip
    begin = time.process_time()
    if "pretrain" in remedy:
        vk.pretrain(model, data, epochs=remedy["pretrain"], **common)
    objective = partial(vk.elbo, **{key: remedy[key] for key in _OBJECTIVE if key in remedy})
    history = vk.fit(
        model, data, objective, epochs=options.epochs, learning_rate_decay="cosine", aggressive=remedy.get("aggressive", 0),
        schedules=moving(remedy, options.epochs * steps_per_epoch(len(data.train), options.batch_size)), **common,
    )  # fmt: skip
    return model, [-value for value in history["validation_elbo"]], (time.process_time() - begin) / 60


def moving(remedy: dict[str, Any], steps: int) -> dict[str, Any]:
    """The schedule of beta over a training of so many steps."""
    if "warm_up" in remedy:
        return {"beta": schedules.linear(0.0, 1.0, math.ceil(steps / 3))}
    if "cycles" in remedy:
        return {"beta": schedules.cyclical(0.0, 1.0, math.ceil(steps / remedy["cycles"]))}
    return {}


def score(model: Any, data: vk.Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """Figures on test sentences; `rows` are -log p of the first ones by importance sampling."""
    assert data.test is not None
    begin = time.process_time()
    rate, distortion, _ = elbo_per_example(model, data.test, samples=1)
    found = importance_sampling(model, data.test.head(options.test_rows), samples=options.samples)
    nll, words = mean_of(rate + distortion, "nats", "bound"), sum(word_counts(data.test, data.schema.text))
    result = {"nll": nll.value, "nll_error": nll.standard_error, "rate": float(rate.mean())}
    result["word_perplexity"] = math.exp(ratio_of(rate + distortion, words, "nats", "bound").value)
    if model.latent_dim:
        result["active_units"] = active_units(model, data.test).value
        result["mutual_information"] = aggregate_posterior(model, data.test, most=1000)["mutual_information"].value
    result |= {"effective": float(found.effective.median()), "rows": [round(-v, 3) for v in found.log_px.tolist()]}
    return result | {"scoring_minutes": (time.process_time() - begin) / 60}


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown; the difference is from the plain VAE's NLL by importance sampling, on the same sentences."""
    lines = [
        "| | NLL | KL | active units | information | NLL by importance | above the plain VAE | perplexity | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    plain = next((r["rows"] for r in results if r["name"] == "vae"), None)
    for r in results:
        rows = torch.tensor(r["rows"]).double()
        above = "" if plain is None else _shown(rows - torch.tensor(plain).double(), signed=True)
        code = f"{r['active_units']:.0f} | {r['mutual_information']:.2f}" if "active_units" in r else "|"
        lines.append(
            f"| {r['name']} | {r['nll']:.2f} ± {r['nll_error']:.2f} | {r['rate']:.2f} | {code} | {_shown(rows)} | {above} "
            f"| {r['word_perplexity']:.1f} | {r['minutes']:.1f} |"
        )
    curves = [f"{r['name']}: {' '.join(f'{v:.1f}' for v in r['curve'])}" for r in results]
    return "\n".join([*lines, "", "validation NLL after each epoch", *curves])


def _shown(values: torch.Tensor, signed: bool = False) -> str:
    """Mean ± standard error."""
    error = float(values.std()) / math.sqrt(len(values))
    return f"{float(values.mean()):{'+' if signed else ''}.2f} ± {error:.2f}"


def read(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Results so far that these options would give, in the order of the contestants."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    same = [r for r in map(json.loads, lines) if r["options"] == settings(options)]
    order = list(CONTESTANTS)
    return sorted(same, key=lambda r: order.index(r["name"]))


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The options that a result depends on."""
    kept = (
        "epochs", "batch_size", "learning_rate", "dropout", "softmax", "train_rows", "test_rows", "samples", "seed",
    )  # fmt: skip
    return {key: getattr(options, key) for key in kept}


def load(options: argparse.Namespace) -> vk.Dataset:
    """The data, of the training sentences as many as asked for."""
    data = vk.load(str(options.data))
    if options.train_rows is None:
        return data
    return vk.Dataset(data.schema, data.train.head(options.train_rows), data.validation, data.test, data.source)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--budget", type=float, default=math.inf, help="minutes after which no model is begun")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--softmax", choices=["full", "adaptive"], default="adaptive")
    parser.add_argument("--train-rows", type=int, help="training sentences (default: all)")
    parser.add_argument("--test-rows", type=int, default=400, help="test sentences of the importance sampling")
    parser.add_argument("--samples", type=int, default=100, help="K of the importance sampling")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["auto", "cpu"], default="cpu")
    parser.add_argument("--progress", action="store_true", help="a bar while a model is trained")
    parser.add_argument("--out", type=Path, default=Path("text.jsonl"))
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    return parser.parse_args()


def main() -> None:
    options, begin = parse(), time.perf_counter()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    data = load(options)
    for name in options.only:
        late = time.perf_counter() - begin > 60 * options.budget
        if late or name in {r["name"] for r in read(options.out, options)}:
            continue
        model, curve, minutes = train(name, data, options)
        result = {"name": name, "options": settings(options), "minutes": minutes, "curve": curve}
        result |= score(model, data, options)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
    print(table(read(options.out, options)))
    print(
        f"\non a GPU: python benchmarks/text.py {options.data} --epochs 40 --softmax full --device auto --test-rows 3761 "
        "--samples 1000 --out text-gpu.jsonl"
    )


if __name__ == "__main__":
    main()
