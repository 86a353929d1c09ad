"""Models with several players in the plan: who plays, and by which rules."""

from __future__ import annotations

from typing import Any

from vaekit.models.aae import AAE
from vaekit.models.gan import GAN
from vaekit.models.vaegan import VAEGAN

Options = dict[str, Any]

_PRIORS = {"normal": "N(0, I)", "uniform": "uniform on a box"}


def player_parts(model: GAN | AAE | VAEGAN, options: Options, likelihood: str) -> list[str]:
    """Networks, prior and what binds the players, in words."""
    net = f"{options['network']} {'-'.join(map(str, options['hidden'])) or 'linear'}"
    told = ["all told the class"] if model.condition_dim else []
    prior = f"prior {_PRIORS[options.get('prior', 'normal')]}"
    if isinstance(model, GAN):
        pace = f"{model.critic_steps} critic step{'s' if model.critic_steps > 1 else ''} a generator step"
        average = (
            f"samples by the generator's average of {model.ema:g}" if model.ema else "samples by the generator itself"
        )
        return [f"generator {net} mirrored", f"critic {net}", *told, prior, pace, average]
    coders = [f"encoder {net}", f"decoder {net} mirrored"]
    if isinstance(model, VAEGAN):
        return [*coders, f"critic {net}", *told, prior, f"gamma {model.gamma:g} on the critic's features"]
    critic = "-".join([str(options["critic_width"])] * options["critic_layers"])
    return [*coders, f"likelihood {likelihood}", f"critic of codes mlp {critic}", *told, prior]


def game_line(options: Options) -> str:
    """The rules of generator and critic."""
    loss = options.get("loss", "wasserstein")
    penalty, clip = options["penalty"], options["clip"]
    charge = "" if penalty == "none" or not options["weight"] else f" · penalty {options['weight']:g} {penalty}"
    bound = "" if clip is None else f" · the critic's weights within {clip:g}"
    return f"{options['objective']}: generator against critic, {loss} loss{charge}{bound}"
