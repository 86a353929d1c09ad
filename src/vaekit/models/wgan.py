"""The Wasserstein GAN: a GAN whose critic measures a distance between data and samples.

Arjovsky, Chintala & Bottou, "Wasserstein generative adversarial networks", ICML 2017;
Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville, "Improved training of Wasserstein GANs", NeurIPS 2017.

    W1(p, q) = max E_p f(x) - E_q f(x)   over f with |f(x) - f(y)| <= |x - y|
    f   minimises E f(G(z)) - E f(x) + w E (|df(u)/du| - 1)^2,   u on lines between x and G(z)
    G   minimises -E f(G(z))

The critic's value, data minus samples, estimates W1 from below as far as its slopes keep to 1; it falls as the samples get
better, and stands in the history for held-out rows as validation_wasserstein. Everything else is the GAN's (models/gan.py);
weights clipped to a bound in place of the penalty are keywords of the objective `wasserstein`.
"""

from __future__ import annotations

from vaekit.data.schema import Schema
from vaekit.models.gan import GAN, NoisePriorName, make_gan
from vaekit.models.parts import ActivationName, NetworkName
from vaekit.models.recipes import recipe
from vaekit.objectives.adversarial import wasserstein


@recipe(objective=wasserstein, training={"patience": 0})
def wgan(
    schema: Schema,
    *,
    latent_dim: int = 16,
    prior: NoisePriorName = "normal",
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    critic_steps: int = 5,
    ema: float = 0.999,
    beta1: float = 0.0,
    beta2: float = 0.9,
    critic_learning_rate: float | None = None,
    conditional: bool = False,
) -> GAN:
    """A Wasserstein GAN, by default with a gradient penalty; penalty and clip are keywords of the objective `wasserstein`.

    Args:
        latent_dim: dimensions of the code.
        prior: p(z): normal, or uniform on a box of the same variance.
        network: kind of generator and critic; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of the critic, mirrored in the generator.
        activation: between the layers.
        critic_steps: steps of the critic for each step of the generator.
        ema: largest weight that the generator's moving average, from which samples are made, gives to what it was; 0 takes
            the generator itself.
        beta1, beta2: of both players' Adam, (0, 0.9) as in the paper of 2017.
        critic_learning_rate: of the critic's Adam; left out, that of the generator.
        conditional: tell generator and critic the class of each example, or its conditions.
    """
    return make_gan(
        "wgan", schema, latent_dim, prior, network, hidden, activation, conditional, critic_steps=critic_steps, ema=ema,
        betas=(beta1, beta2), critic_learning_rate=critic_learning_rate,
    )  # fmt: skip
