"""A linear model, where everything is known: mean field against the exact posterior, expectation-maximisation against gradients.

    z ~ N(0, I),  x ~ N(W z + b, s^2 I);   exact posterior precision  P = I + W'W / s^2

1. The best factorised Gaussian has variances 1 / P_dd, smaller than the marginal variances of the posterior, and its ELBO
   lies 1/2 (sum_d log P_dd - log det P) below log p(x)                      (Bishop, "Pattern recognition", 2006, 10.1.2)
2. The same bound is climbed in two ways: by expectation-maximisation, which completes the data with the exact posterior
   and solves for W and s (Tipping & Bishop, 1999), and by the gradient of a VAE. Both arrive at the optimum of
   probabilistic PCA, known from the eigenvalues of the covariance.

python examples/10_mean_field_and_em.py [figure.png]
"""

import math
import sys
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

import vaekit as vk
from vaekit.conditional import Conditional
from vaekit.models import LatentModel
from vaekit.priors import StandardNormal

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
SIZE, DIM, NOISE, ROWS = 5, 2, 0.5, 500
W = torch.randn(SIZE, 1) @ torch.ones(1, DIM) + 0.8 * torch.randn(SIZE, DIM)  # columns far from orthogonal
x = torch.randn(ROWS, DIM) @ W.T + NOISE * torch.randn(ROWS, SIZE)
x = x - x.mean(0)


class Given(Conditional):
    """p(x | z) with W and s fixed."""

    def forward(self, *given):
        return Independent(Normal(given[0] @ W.T, NOISE), 1)


class MeanField(Conditional):
    """q(z | x) with a linear mean and one standard deviation a dimension: all that the optimum needs."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_std = nn.Linear(SIZE, DIM), nn.Parameter(torch.zeros(DIM))

    def forward(self, *given):
        mean = self.mean(given[0])
        return Independent(Normal(mean, self.log_std.exp().expand_as(mean)), 1)


# 1. mean field against the exact posterior
precision = torch.eye(DIM) + W.T @ W / NOISE**2
marginal, factorised = precision.inverse().diagonal(), 1 / precision.diagonal()
gap = float(precision.diagonal().log().sum() - precision.logdet()) / 2
log_px = float(MultivariateNormal(torch.zeros(SIZE), W @ W.T + NOISE**2 * torch.eye(SIZE)).log_prob(x).mean())

model = LatentModel(MeanField(), Given(), StandardNormal(DIM), DIM).double()
options = {"epochs": 600, "batch_size": ROWS, "learning_rate_decay": "cosine", "progress": False}
vk.fit(model, x, partial(vk.elbo, samples=5), learning_rate=0.15, **options)
elbo = vk.evaluation.elbo(model, x, samples=100)["elbo"].value
variance = model.encoder.log_std.detach().exp() ** 2
for name, values in (("exact marginal", marginal), ("mean field", factorised), ("learned", variance)):
    print(f"{name + ' variances':<26}" + "  ".join(f"{v:.4f}" for v in values.tolist()))
print(f"log p(x) {log_px:.4f}; below it: mean field {gap:.4f}, learned {log_px - elbo:.4f} nats")
assert (factorised < marginal).all()
assert torch.allclose(variance, factorised, rtol=0.04)
assert abs(log_px - elbo - gap) < 0.02


# 2. expectation-maximisation and gradients
def optimum(dim: int) -> float:
    """Mean log p(x) of probabilistic PCA."""
    eigenvalues = torch.linalg.eigvalsh(x.T @ x / ROWS).flip(0)
    rest = eigenvalues[dim:].mean()
    kept = eigenvalues[:dim].log().sum()
    return -0.5 * float(kept + (SIZE - dim) * rest.log() + SIZE * math.log(2 * math.pi) + SIZE)


def maximise(steps: int) -> list[float]:
    """Mean log p(x) after each round of expectation-maximisation."""
    weight, noise, course = torch.randn(SIZE, DIM), torch.tensor(1.0), []
    for _ in range(steps):
        covariance = (torch.eye(DIM) + weight.T @ weight / noise).inverse()
        z = x @ weight @ covariance / noise  # E[z | x]
        zz = ROWS * covariance + z.T @ z  # sum of E[z z' | x]
        weight = x.T @ z @ zz.inverse()
        noise = (x.square().sum() - (x @ weight * z).sum()) / (ROWS * SIZE)
        marginals = MultivariateNormal(torch.zeros(SIZE), weight @ weight.T + noise * torch.eye(SIZE))
        course.append(float(marginals.log_prob(x).mean()))
    return course


best, course = optimum(DIM), maximise(200)
torch.set_default_dtype(torch.float32)
schema = vk.Schema("vector", (SIZE,), low=float(x.min()), high=float(x.max()))
vae = vk.models.vae(schema, latent_dim=DIM, hidden=(), likelihood="gaussian", sigma="shared")
history = vk.fit(vae, x.float(), learning_rate=0.05, **options)
reached = vk.evaluation.log_likelihood(vae, x.float(), samples=100).value
print(f"probabilistic PCA {best:.4f}; expectation-maximisation {course[-1]:.4f}, VAE by gradient {reached:.4f} nats")
assert all(b > a - 1e-9 for a, b in pairwise(course)), "no round lowers the likelihood"
assert abs(course[-1] - best) < 1e-3
assert abs(reached - best) < 0.02

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(course) + 1), course, label="expectation-maximisation, log p(x)")
    axes.plot(range(1, len(history) + 1), history["train_elbo"], label="VAE by gradient, ELBO")
    axes.axhline(best, linestyle=":", color="black", label="probabilistic PCA")
    axes.set(xlabel="rounds, epochs", ylabel="nats", ylim=(best - 2, best + 0.2), xscale="log")
    axes.legend()
    figure.savefig(sys.argv[1])
