"""A model of one's own in one file: two stochastic layers, z2 -> z1 -> x.

    p(z2) = N(0, I),  p(z1 | z2) = N(mu(z2), sigma^2(z2)),  p(x | z1)
    q(z1 | x),  q(z2 | z1)                                  (Burda, Grosse & Salakhutdinov, ICLR 2016)

It fills a Draw; every objective, evaluation and run folder then works on it unchanged.

python examples/02_a_model_of_your_own.py
"""

import tempfile
from pathlib import Path

import torch
from torch.distributions import Distribution

import vaekit as vk
from vaekit.conditional import Parametric
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.models import Model
from vaekit.models.parts import Architecture, make_decoder, make_encoder
from vaekit.networks import MLP
from vaekit.priors import StandardNormal


class TwoLayers(Model):
    def __init__(self, schema: vk.Schema, first: int, second: int) -> None:
        super().__init__()
        self.latent_dim = first
        architecture = Architecture.resolve(schema, "mlp", (128,), "tanh")
        self.q1 = make_encoder(schema, architecture, DiagonalGaussian(first))
        self.q2 = Parametric(MLP((first,), (2, second), (64,), "tanh"), DiagonalGaussian(second))
        self.p1 = Parametric(MLP((second,), (2, first), (64,), "tanh"), DiagonalGaussian(first))
        self.p2 = StandardNormal(second)
        self.px = make_decoder(schema, architecture, first, "auto", None)

    def posterior(self, x: torch.Tensor, c: torch.Tensor | None = None) -> Distribution:
        return self.q1(x)

    def decode(self, z: torch.Tensor, c: torch.Tensor | None = None) -> Distribution:
        return self.px(z)

    def draw(
        self, x: torch.Tensor, c: torch.Tensor | None = None, samples: int = 1, q: Distribution | None = None
    ) -> vk.Draw:
        q1 = self.posterior(x) if q is None else q
        z1 = q1.rsample(torch.Size((samples,)))
        q2 = self.q2(z1)
        z2 = q2.rsample()
        return vk.Draw(
            z=z1,
            log_px=self.px(z1).log_prob(x),
            log_pz=self.p2().log_prob(z2) + self.p1(z2).log_prob(z1),
            log_qz=q1.log_prob(z1) + q2.log_prob(z2),
        )

    @torch.no_grad()
    def sample(self, n: int, c: torch.Tensor | None = None, *, noise: bool = False) -> torch.Tensor:
        p = self.px(self.p1(self.p2().sample(torch.Size((n,)))).sample())
        return p.sample() if noise else p.mean

    @torch.no_grad()
    def reconstruct(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.px(self.q1(x).mean).mean

    @torch.no_grad()
    def encode(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.q1(x).mean


@vk.recipe(objective=vk.iwae)
def two_layers(schema: vk.Schema, *, first: int = 12, second: int = 6) -> TwoLayers:
    return TwoLayers(schema, first, second)


data = vk.load("digits")
model = two_layers(data.schema)
vk.fit(model, data, objective=vk.iwae, epochs=15, batch_size=64)
figures = vk.evaluation.evaluate(model, data, samples=100)
for name in ("elbo", "log_likelihood", "kl", "linear_probe"):
    print(f"{name:<15} {figures[name]}")

with tempfile.TemporaryDirectory() as folder:
    path = vk.save_run(Path(folder) / "run", model)
    again = vk.load_run(path).model  # found by its recipe's name: nothing was pickled
    assert torch.equal(again.encode(data.test.rows(slice(0, 8))), model.encode(data.test.rows(slice(0, 8))))
