"""Reverse KL seeks a mode, forward KL covers the modes; a q with two modes has no need to choose.

    reverse   KL(q, p) = E_q[log q - log p]      q pays where p is small: it stays in one mode, and is short of log Z by
                                                 -log(the mode's share)
    forward   KL(p, q) = E_p[log p - log q]      q pays where it is small itself: a Gaussian takes p's mean and covariance

Minka, "Divergence measures and message passing", 2005; Bishop, "Pattern recognition and machine learning", section 10.1.2.
The target is a mixture of two Gaussians in the plane, with log Z = 0, so every ELBO should be 0 and is not.

python examples/04_reverse_and_forward_kl.py [figure.png]
"""

import math
import sys

import torch
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

import vaekit as vk

SHARE, APART = 0.35, 2.5
places = torch.tensor([[-APART, 0.0], [APART, 0.5]])
widths = torch.tensor([[0.5, 0.8], [0.6, 0.5]])
weights = Categorical(torch.tensor([SHARE, 1 - SHARE]))
p = MixtureSameFamily(weights, Independent(Normal(places, widths), 1))


def measured(q: Distribution, n: int = 100_000) -> tuple[float, float]:
    """The mass that q has on the left, and its variance from left to right."""
    x = q.sample(torch.Size((n,)))[:, 0]
    return float((x < 0).float().mean()), float(x.var())


torch.manual_seed(0)
common = {"start_scale": 3.0, "learning_rate": 0.1}
fits = {
    "reverse KL, Gaussian": vk.inference.fit(p.log_prob, 2, "full", steps=400, **common),
    "forward KL, Gaussian": vk.inference.fit(
        p.log_prob, 2, "full", divergence="forward", samples=1000, steps=400, **common
    ),
    "reverse KL, mixture": vk.inference.fit(p.log_prob, 2, "mixture", components=6, steps=600, **common),
}
rows = {"target": measured(p)} | {name: measured(found.q) for name, found in fits.items()}

print(f"{'':22} mass left  variance     ELBO  log Z by importance sampling (effective draws of 10,000)")
print(f"{'target':22} {rows['target'][0]:9.3f} {rows['target'][1]:9.3f} {0:8.3f}")
for name, found in fits.items():
    evidence = (
        f"{found.log_evidence.value:.3f} ± {found.log_evidence.standard_error:.3f} ({found.effective_samples:.0f})"
    )
    print(f"{name:22} {rows[name][0]:9.3f} {rows[name][1]:9.3f} {found.elbo.value:8.3f}  {evidence}")

reverse, forward, mixture = fits.values()
left = rows["reverse KL, Gaussian"][0]
share = SHARE if left > 0.5 else 1 - SHARE
mode = 0 if left > 0.5 else 1
assert min(left, 1 - left) < 0.01, "reverse KL stays in one mode"
assert torch.allclose(reverse.q.mean, places[mode], atol=0.02), "it is at that mode"
assert torch.allclose(reverse.q.variance.sqrt(), widths[mode], atol=0.02), "it is as wide as that mode"
assert abs(reverse.elbo.value - math.log(share)) < 0.01, "its ELBO is log Z plus the log of the mode's share"
assert abs(rows["forward KL, Gaussian"][1] - float(p.variance[0])) < 0.05 * float(p.variance[0])
assert torch.allclose(forward.q.mean, p.mean, atol=0.1), "forward KL has the target's mean"
assert forward.elbo.value < reverse.elbo.value, "for which it pays between the modes"
assert abs(rows["reverse KL, mixture"][0] - SHARE) < 0.02, "a mixture has both modes"
assert abs(mixture.elbo.value) < 0.03, "and nothing left to pay for"

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    x, y = torch.meshgrid(torch.linspace(-6, 6, 241), torch.linspace(-4, 4, 161), indexing="ij")
    plane = torch.stack([x, y], -1)
    figure = Figure(figsize=(11, 3), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, (name, found) in zip(axes, fits.items(), strict=True):
        axis.contourf(x, y, p.log_prob(plane).exp(), 12, cmap="Greys")
        density = found.q.log_prob(plane).exp()
        axis.contour(x, y, density / density.max(), [0.1, 0.3, 0.5, 0.7, 0.9], colors="tab:red", linewidths=1)
        axis.set(title=f"{name}: ELBO {found.elbo.value:.3f}", aspect="equal")
    figure.savefig(sys.argv[1], dpi=150)
