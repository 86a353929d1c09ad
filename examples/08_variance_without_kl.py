"""Why the KL is there: without it the posterior's variance goes to 0, and the codes go where no prior looks.

A VAE trained with beta = 1 and with beta = 0 on real digits. Measured on test digits, with the aggregate posterior
q(z) = mean over x of q(z | x):

    rate E_x KL(q(z | x), p(z)) = I(x, z) + KL(q(z), p(z))              Hoffman & Johnson, "ELBO surgery", 2016

Without the KL nothing limits the rate; I(x, z) can be no more than log N, the rest is q(z) leaving the prior.

python examples/08_variance_without_kl.py [figure.png]
"""

import math
import sys
from functools import partial

import torch

import vaekit as vk

data = vk.load("digits")
x = data.test.rows(slice(None))


def trained(beta: float):
    torch.manual_seed(0)
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(64,), likelihood="gaussian", sigma=0.2)
    objective = partial(vk.elbo, beta=beta)
    vk.fit(model, data, objective=objective, epochs=12, batch_size=128, learning_rate=5e-3, progress=False)
    return model


def surgery(q, samples: int = 20) -> tuple[float, float]:
    """I(x, z) and KL(q(z), p(z)) in nats, by draws; q(z) is summed over all rows."""
    z = q.sample((samples,))  # (K, N, D)
    log_qz = torch.stack([torch.logsumexp(q.log_prob(one[:, None]), 1) for one in z]) - math.log(len(x))
    log_pz = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    return float((q.log_prob(z) - log_qz).mean()), float((log_qz - log_pz).mean())


posteriors, apart = {}, {}
for beta in (1.0, 0.0):
    with torch.no_grad():
        q = posteriors[beta] = trained(beta).posterior(x)
    information, apart[beta] = surgery(q)
    print(
        f"beta {beta:g}: sigma of q(z|x) {float(q.stddev.mean()):.4f} on average; rate {information + apart[beta]:.2f} = "
        f"I(x, z) {information:.2f} (log N = {math.log(len(x)):.2f}) + KL(q(z), p(z)) {apart[beta]:.2f} nats"
    )

assert posteriors[0.0].stddev.mean() < 0.2 * posteriors[1.0].stddev.mean(), "without the KL the variance vanishes"
assert apart[1.0] < 1 < apart[0.0], "only with the KL does q(z) stay near the prior"

if len(sys.argv) > 1:
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Ellipse

    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, beta in zip(figure.subplots(1, 2), (1.0, 0.0), strict=True):
        q = posteriors[beta]
        axes.scatter(*q.mean.T, c=data.test.labels, cmap="tab10", s=6)
        for centre, std in zip(q.mean[:60].tolist(), q.stddev[:60].tolist(), strict=True):
            axes.add_patch(Ellipse(centre, 2 * std[0], 2 * std[1], fill=False, linewidth=0.5))
        axes.add_patch(Circle((0, 0), 2, fill=False, linestyle=":"))
        axes.set(title=f"beta = {beta:g}; dotted: the prior's 2 sigma", aspect="equal")
    figure.savefig(sys.argv[1])
