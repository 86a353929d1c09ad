"""beta walks along the rate-distortion curve: on Gaussian data a linear beta-VAE traces Shannon's own.

    R(tau) = sum_i max(0, 1/2 log(l_i / tau)),   D(tau) = sum_i min(l_i, tau)          reverse water-filling (Shannon, 1959)

l_i are the eigenvalues of the data's covariance. With a decoder N(W z + b, s^2 I) the loss D / 2 s^2 + beta R has its
minimum at the water level tau = beta s^2 (Higgins et al., ICLR 2017; Alemi et al., "Fixing a broken ELBO", ICML 2018).

python examples/09_rate_distortion.py [figure.png]
"""

import math
import sys
from functools import partial

import torch

import vaekit as vk

SIGMA, SIZE, BETAS = 0.5, 4, (0.4, 1.0, 4.0, 12.0)
torch.manual_seed(0)
mixing = torch.linalg.qr(torch.randn(SIZE, SIZE))[0] * torch.tensor([3.0, 2.0, 1.0, 0.5])
x = torch.randn(1000, SIZE) @ mixing.T
x = x - x.mean(0)
eigenvalues = torch.linalg.eigvalsh(torch.cov(x.double().T, correction=0))
schema = vk.Schema("vector", (SIZE,), low=float(x.min()), high=float(x.max()))


def shannon(tau: float) -> tuple[float, float]:
    """Rate in nats and squared error at a water level."""
    return float((eigenvalues / tau).log().clamp_min(0).sum()) / 2, float(eigenvalues.clamp_max(tau).sum())


model = vk.models.vae(schema, latent_dim=SIZE, hidden=(), likelihood="gaussian", sigma=SIGMA)


def measured(beta: float) -> tuple[float, float]:
    """Rate and squared error of the beta-VAE, trained on from the beta before."""
    fit = partial(vk.fit, model, x, partial(vk.elbo, beta=beta), batch_size=250, progress=False)
    fit(epochs=100, learning_rate=0.1, learning_rate_decay="cosine")
    found = vk.evaluation.elbo(model, x, samples=20)
    constant = SIZE * math.log(SIGMA * math.sqrt(2 * math.pi))
    return found["kl"].value, 2 * SIGMA**2 * (found["distortion"].value - constant)


points = {beta: measured(beta) for beta in BETAS}
for beta, (rate, distortion) in points.items():
    r, d = shannon(beta * SIGMA**2)
    print(
        f"beta {beta:4g}: rate {rate:6.3f} nats (Shannon {r:6.3f}), squared error {distortion:7.3f} (Shannon {d:7.3f})"
    )
    assert abs(rate - r) < 0.06 + 0.02 * r
    assert abs(distortion - d) < 0.05 + 0.03 * d

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    levels = torch.logspace(-2, math.log10(float(eigenvalues.max())), 200).tolist()
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*(shannon(tau)[::-1] for tau in levels), strict=True), label="Shannon")
    for beta, (rate, distortion) in points.items():
        axes.plot(distortion, rate, "o", label=f"beta-VAE, beta = {beta:g}")
    axes.set(xlabel="squared error", ylabel="rate in nats", xscale="log")
    axes.legend()
    figure.savefig(sys.argv[1])
