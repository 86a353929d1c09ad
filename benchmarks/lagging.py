"""A VampPrior whose pseudo-inputs are encoded at every n-th training step only.

With 500 pseudo-inputs and batches of 100, most of a step goes into the pseudo-inputs: through the encoder and back. In
between, p(z) hardly moves. So the mixture that was made last stands for n steps; what its components' raw parameters r
would have been moved by is gathered, and goes back through the encoder at the step that makes the mixture anew:

    d loss / d weights = sum over n steps of  d loss / d r  .  d r / d weights

with the Jacobian of that step, n - 1 steps late at most. It is no gradient of any one loss, which is why it is a device of
this table and not the library's. Evaluation always sees the mixture as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.distributions import Distribution

from vaekit.conditional import Parametric
from vaekit.priors import VampPrior


def lagging(prior: VampPrior, encoder: Parametric, every: int) -> Callable[[], Distribution]:
    """What `prior.make` is to be: the same mixture, made at every `every`-th call in training."""
    plain, calls, held = prior.make, 0, torch.empty(0)

    def make() -> Distribution:
        nonlocal calls, held
        if not (prior.training and torch.is_grad_enabled()):
            return plain()
        if calls % every == 0:
            raw, gathered = encoder.network(prior.pseudo_inputs), held.grad
            if gathered is not None:
                raw.register_hook(lambda slope: slope + gathered)
            held = raw.detach().requires_grad_()
        else:
            raw = held
        calls += 1
        return prior.mixed(encoder.family(raw))

    return make
