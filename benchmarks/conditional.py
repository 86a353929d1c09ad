"""Does a conditional VAE draw what it is asked for? A classifier trained on real MNIST judges its samples.

VAEKIT_DATA=/path/to/data python benchmarks/conditional.py [--epochs 20] [--source mnist]
"""

from __future__ import annotations

import argparse
import math

import torch

import vaekit as vk
from vaekit.evaluation.features import train_classifier


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    data = vk.load(options.source)
    with torch.enable_grad():
        judge = train_classifier(data, steps=1500)
        torch.manual_seed(0)
        model = vk.models.cvae(data.schema, latent_dim=16)
        vk.fit(model, data, epochs=options.epochs, learning_rate_decay="cosine", progress=False)
    labels = torch.arange(options.samples) % model.condition_dim
    torch.manual_seed(0)
    drawn = torch.cat([model.sample(len(part), torch.eye(model.condition_dim)[part]) for part in labels.split(500)])
    rows = [
        ("real test images", data.test.rows(slice(None)), data.test.labels),
        ("samples of the class asked for", drawn, labels),
    ]
    print("| | recognised | n |\n|---|---|---|")
    for name, x, truth in rows:
        hit = float((torch.cat([judge(part) for part in x.split(1000)]).argmax(1) == truth).float().mean())
        print(f"| {name} | {100 * hit:.2f} ± {100 * math.sqrt(hit * (1 - hit) / len(x)):.2f} % | {len(x):,} |")


if __name__ == "__main__":
    main()
