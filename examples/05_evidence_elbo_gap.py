"""log p(x) = ELBO + KL(q, posterior), whatever q is: by enumeration for a discrete code, by quadrature in one and two dimensions.

    log p(x) = log sum_z p(z) p(x | z)
    ELBO     = E_q[log p(x, z) - log q(z)]
    KL       = E_q[log q(z) - log p(z | x)],   p(z | x) = p(x, z) / p(x)

(Jordan, Ghahramani, Jaakkola & Saul, Machine Learning 1999; Kingma & Welling, ICLR 2014.) The left-hand side and the KL are
computed without any draw; the ELBO a second time by vaekit's estimators, from draws. A better q makes the KL smaller and the
ELBO larger by the same amount, because their sum does not know of q.

python examples/05_evidence_elbo_gap.py [figure.png]
"""

import math
import sys

import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

import vaekit as vk

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
results: dict[str, tuple[float, float, float, float, float]] = {}
"""log p(x), exact ELBO, KL, and the ELBO by draws with its standard error."""


def by_sum(log_joint: Tensor, log_q: Tensor, log_volume: float = 0.0) -> tuple[float, float, float]:
    """(log p(x), ELBO, KL) from log p(x, z) and log q(z) on all codes, or on a grid of cells of that volume."""
    log_px = torch.logsumexp(log_joint, 0) + log_volume
    q = (log_q + log_volume).exp()
    posterior = log_joint - log_px
    return float(log_px), float((q * (log_joint - log_q)).sum()), float((q * (log_q - posterior)).sum())


# ---- a discrete code: which of four clusters does x come from?

centres, x = torch.tensor([-2.0, -0.5, 1.0, 3.0]), torch.tensor([0.4])
prior = Categorical(torch.tensor([0.4, 0.3, 0.2, 0.1]))
log_joint = prior.logits + Normal(centres, 0.7).log_prob(x)


class Clusters:
    """All that an objective needs of a model is a `draw`."""

    def __init__(self, q: Categorical) -> None:
        self.q = q

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1) -> vk.Draw:
        z = self.q.sample((samples, len(x)))
        return vk.Draw(
            z=z,
            log_px=Normal(centres[z], 0.7).log_prob(x[:, 0]),
            log_pz=prior.log_prob(z),
            log_qz=self.q.log_prob(z),
        )


for name, probabilities in {"even": [0.25] * 4, "near": [0.05, 0.55, 0.35, 0.05]}.items():
    q = Categorical(torch.tensor(probabilities))
    drawn = -vk.elbo(Clusters(q), vk.Batch(x.expand(100_000, 1))).loss
    error = float(drawn.std()) / math.sqrt(len(drawn))
    results[f"discrete, q {name}"] = (*by_sum(log_joint, q.logits), float(drawn.mean()), error)

# ---- a continuous code, and a decoder that bends it: x | z ~ N(g(z), 0.5^2)


def bend(z: Tensor) -> Tensor:
    return torch.tanh(2 * z[..., 0]) + 0.5 * z.square().sum(-1)


def log_density(z: Tensor) -> Tensor:
    """log p(x = 1.2, z) for codes (n, D)."""
    return Normal(bend(z), 0.5).log_prob(torch.tensor(1.2)) + Normal(0.0, 1.0).log_prob(z).sum(-1)


def grid(dim: int) -> tuple[Tensor, float]:
    """Codes (n, D) and the log volume of a cell: a sum over them is exact to many digits where all dies out at the ends."""
    axis = torch.linspace(-7, 7, 4001 if dim == 1 else 501)
    return torch.cartesian_prod(*[axis] * dim).view(-1, dim), dim * math.log(float(axis[1] - axis[0]))


def compare(name: str, dim: int, q: torch.distributions.Distribution, elbo: vk.evaluation.Estimate) -> None:
    z, log_volume = grid(dim)
    exact = by_sum(log_density(z), q.log_prob(z), log_volume)
    results[name] = (*exact, elbo.value, elbo.standard_error or 0.0)


for dim in (1, 2):
    at_rest = vk.inference.fit(log_density, dim, steps=1, learning_rate=1e-12)  # q as it starts: N(0, I), the prior
    compare(f"{dim}-D, q the prior", dim, at_rest.q, at_rest.elbo)
    for kind in ("mean-field", "full", "mixture"):
        if (dim, kind) != (1, "full"):  # one dimension has no covariance
            found = vk.inference.fit(log_density, dim, kind, steps=250, learning_rate=0.1)
            compare(f"{dim}-D, q {kind}", dim, found.q, found.elbo)

print(f"{'':22}   log p(x) =     ELBO +       KL      ELBO by draws")
for name, (log_px, bound, gap, drawn, error) in results.items():
    print(f"{name:22} {log_px:10.6f}   {bound:10.6f} {gap:10.6f}   {drawn:10.4f} ± {error:.4f}")
    assert abs(log_px - bound - gap) < 1e-9, "the identity"
    assert gap > 0, "the KL is not negative, so the ELBO is a bound"
    assert abs(drawn - bound) < 5 * error + 1e-6, "the estimator is the exact ELBO on average"

gaps = {name: gap for name, (_, _, gap, _, _) in results.items()}
assert gaps["discrete, q near"] < gaps["discrete, q even"]
assert gaps["1-D, q mixture"] < gaps["1-D, q mean-field"] < gaps["1-D, q the prior"]
assert gaps["2-D, q mixture"] < gaps["2-D, q full"] + 1e-6 < gaps["2-D, q mean-field"] + 2e-2 < gaps["2-D, q the prior"]

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.add_subplot()
    names = list(results)[::-1]
    bottom = min(r[1] for r in results.values()) - 0.3
    axis.barh(names, [results[n][1] - bottom for n in names], left=bottom, label="ELBO")
    axis.barh(names, [results[n][2] for n in names], left=[results[n][1] for n in names], label="KL(q, posterior)")
    axis.plot([results[n][0] for n in names], range(len(names)), "k|", markersize=16, label="log p(x)")
    axis.set(xlabel="nats")
    figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(sys.argv[1], dpi=150)
