"""The importance-weighted bound rises to log p(x), and its gap closes like 1/K with a constant known in advance.

    L_K = E log 1/K sum_k w_k,   w = p(x, z) / q(z | x)                     Burda, Grosse & Salakhutdinov, ICLR 2016
    K (log p(x) - L_K)  ->  Var_q[w / p(x)] / 2                             Maddison et al., NeurIPS 2017; delta method

Measured on z ~ N(0, 1), x | z ~ N(z, 1), where p(x) = N(0, 2) and p(z | x) = N(x / 2, 1 / 2); q is off by a shift and a width.

python examples/06_jensen_gap_closes_with_k.py [figure.png]
"""

import math
import sys
from itertools import pairwise

import torch
from torch.distributions import Normal

import vaekit as vk

X, SHIFT, WIDEN = 1.5, 0.5, 1.3
EXACT = Normal(X / 2, math.sqrt(0.5))
Q = Normal(X / 2 + SHIFT, WIDEN * math.sqrt(0.5))
LOG_PX = float(Normal(0.0, math.sqrt(2)).log_prob(torch.tensor(X)))


class Toy:
    """All that an objective needs of a model is a `draw`."""

    def draw(self, x, c=None, samples=1):
        z = Q.sample((samples, len(x)))
        log_px, log_pz = Normal(z, 1.0).log_prob(x[:, 0]), Normal(0.0, 1.0).log_prob(z)
        return vk.Draw(z=z[..., None], log_px=log_px, log_pz=log_pz, log_qz=Q.log_prob(z))


def bound(k: int, values: int = 1_000_000) -> tuple[float, float]:
    """L_K and its standard error, from as many draws for every K.

    The mean weight over p(x) has mean 1; what it is off by is taken out as a control variate.
    """
    rows = torch.full((values // k, 1), X)
    log_mean_weight = -vk.iwae(Toy(), vk.Batch(rows), samples=k).loss.double()
    controlled = log_mean_weight - ((log_mean_weight - LOG_PX).exp() - 1)
    return float(controlled.mean()), float(controlled.std()) / math.sqrt(len(rows))


torch.manual_seed(0)
grid = torch.linspace(-12, 14, 200_001, dtype=torch.float64)
second = torch.trapezoid((2 * EXACT.log_prob(grid) - Q.log_prob(grid)).exp(), grid)
constant = (float(second) - 1) / 2  # Var_q[w / p(x)] / 2 by quadrature
draws = (1, 2, 5, 10, 20, 50, 100, 200)
bounds = [bound(k) for k in draws]

print(f"log p(x) = {LOG_PX:.4f}; K gap tends to {constant:.4f}\n    K      L_K      s.e.      gap    K gap")
for k, (value, error) in zip(draws, bounds, strict=True):
    print(f"{k:5d} {value:9.4f} {error:8.5f} {LOG_PX - value:8.4f} {k * (LOG_PX - value):8.4f}")

divergence = float(torch.distributions.kl_divergence(Q, EXACT))
assert abs(LOG_PX - bounds[0][0] - divergence) < 5 * bounds[0][1], "at K = 1 the gap is KL(q, posterior)"
assert all(a[0] < b[0] for a, b in pairwise(bounds)), "the bound rises with K"
for k, (value, error) in list(zip(draws, bounds, strict=True))[-2:]:
    assert abs(k * (LOG_PX - value) - constant) < 5 * k * error + 0.05 * constant, "the gap closes like 1/K"

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.errorbar(draws, [LOG_PX - v for v, _ in bounds], [2 * e for _, e in bounds], fmt="o", label="measured")
    axes.plot(draws, [constant / k for k in draws], label="Var(w / p(x)) / 2K")
    axes.set(xscale="log", yscale="log", xlabel="K", ylabel="log p(x) - L_K in nats")
    axes.legend()
    figure.savefig(sys.argv[1])
