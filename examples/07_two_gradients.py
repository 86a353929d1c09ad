"""Two unbiased gradients of one ELBO: the score function's variance grows with the dimension, the path's does not.

    score             E_q[(f(z) - b) d log q(z) / dphi]          REINFORCE, with a leave-one-out baseline b
    reparameterised   E_eps[df/dz dz/dphi]                       Kingma & Welling, ICLR 2014
    path              the same without the score of log q        Roeder, Wu & Duvenaud, NeurIPS 2017

Measured for one entry of the posterior's mean, on p(z) = N(0, I), p(x | z) = N(z, I), where the gradient is 2 mu_d - x_d.
Every estimate has the same number of draws.

python examples/07_two_gradients.py [figure.png]
"""

import sys

import torch
from torch import nn
from torch.distributions import Independent, Normal

import vaekit as vk
from vaekit.conditional import Conditional
from vaekit.models import LatentModel
from vaekit.priors import StandardNormal

ROWS, DRAWS, STD = 4000, 8, 0.6
X, MEAN = 1.0, 0.3
ESTIMATORS = {
    "score": {"gradient": "score", "kl": "sampled"},
    "reparameterised": {"kl": "sampled"},
    "path": {"gradient": "path", "kl": "sampled"},
}


class Encoder(Conditional):
    """A posterior whose mean is a parameter for every row, so that every row holds a gradient of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((ROWS, dim), MEAN))

    def forward(self, *given):
        return Independent(Normal(self.mean, STD), 1)


class Decoder(Conditional):
    def forward(self, *given):
        return Independent(Normal(given[0], 1.0), 1)


def gradients(dim: int, keywords: dict) -> torch.Tensor:
    """(ROWS,) estimates of the gradient by the first entry of the mean."""
    model = LatentModel(Encoder(dim), Decoder(), StandardNormal(dim), dim)
    loss = vk.elbo(model, vk.Batch(torch.full((ROWS, dim), X)), samples=DRAWS, **keywords).loss
    loss.sum().backward()
    return model.encoder.mean.grad[:, 0]


torch.manual_seed(0)
dims, exact = (1, 2, 4, 8, 16, 32, 64), 2 * MEAN - X
variances = {name: [] for name in ESTIMATORS}
print(f"exact gradient {exact:.3f}; variance of an estimate from {DRAWS} draws")
for dim in dims:
    for name, keywords in ESTIMATORS.items():
        found = gradients(dim, keywords)
        error = float(found.std()) / ROWS**0.5
        assert abs(float(found.mean()) - exact) < 5 * error, f"{name} is unbiased"
        variances[name].append(float(found.var()))
    print(f"{dim:3d} dimensions:  " + "  ".join(f"{name} {variances[name][-1]:9.4f}" for name in ESTIMATORS))

assert variances["score"][-1] > 10 * variances["score"][0], "the score function's variance grows with the dimension"
assert max(variances["path"]) < 1.2 * min(variances["path"]), "the path's does not"
assert variances["score"][-1] > 3 * variances["reparameterised"][-1] > 3 * variances["path"][-1]

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for name, values in variances.items():
        axes.plot(dims, values, marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="latent dimensions", ylabel="variance of the gradient")
    axes.legend()
    figure.savefig(sys.argv[1])
