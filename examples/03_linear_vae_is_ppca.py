"""A linear VAE with a learned noise level is probabilistic PCA: training must arrive at its closed-form optimum.

    p(x | z) = N(W z + b, s^2 I);  at the maximum s^2 is the mean of the discarded eigenvalues of the covariance and

    mean log p(x) = -1/2 (sum_kept log l_i + (D - k) log s^2 + D log 2 pi + D)      (Tipping & Bishop, 1999)

python examples/03_linear_vae_is_ppca.py
"""

import math

import torch
from sklearn.datasets import load_iris

import vaekit as vk

x = torch.tensor(load_iris().data, dtype=torch.float32)
n, d = x.shape
k = 2

eigenvalues = torch.linalg.eigvalsh(torch.cov(x.double().T, correction=0)).flip(0)
noise = eigenvalues[k:].mean()
optimum = -0.5 * float(eigenvalues[:k].log().sum() + (d - k) * noise.log() + d * math.log(2 * math.pi) + d)

schema = vk.Schema(
    "vector", (d,), low=float(x.min()), high=float(x.max()), shift=tuple(x.mean(0).tolist()), mean=x.mean(0)
)
torch.manual_seed(0)
model = vk.models.vae(schema, latent_dim=k, hidden=(), likelihood="gaussian", sigma="shared")
vk.fit(model, x, epochs=2000, batch_size=n, learning_rate=1e-2, learning_rate_decay="cosine", progress=False)

reached = vk.evaluation.log_likelihood(model, x, samples=200)
print(f"probabilistic PCA {optimum:.4f} nats, linear VAE {reached.value:.4f} nats")
assert abs(reached.value - optimum) < 0.01
