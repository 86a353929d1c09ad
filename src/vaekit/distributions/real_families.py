"""Families for real values beside the Gaussian with a learned sigma: the Gaussian at its optimal sigma, and Student's t."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vaekit.distributions.bounds import soft_bound
from vaekit.distributions.families import Family, Scale, Sigma, independent, unstack
from vaekit.distributions.student_t import StudentT as StudentTDistribution
from vaekit.errors import UsageError

Place = float | tuple[float, ...]


class OptimalGaussian(Family):
    """Normal with one sigma for all elements, at its maximum-likelihood value (sigma-VAE; Rybkin, Daniilidis & Levine,
    "Simple and effective VAE training with calibrated decoders", ICML 2021).

        sigma^2 = argmax E log N(x; mu, sigma^2) = mean of (x - mu)^2 over batch, draws and elements

    In training mode `log_prob(x)` uses the sigma of the very rows it is given, so its mean is the best any shared sigma
    reaches on them: summed over a batch, a training loss lies about half a nat below the one at a sigma known beforehand. Sigma is
    held constant in the gradient. For a loss that is the mean of -log p(x|z) this is no approximation, because the
    derivative by sigma is 0 at its optimum; for weighted bounds (IWAE) it is a step by mu at the last best sigma.

    In evaluation mode sigma is a number of the model, as a likelihood needs: the moving average of the mean squared error
    over the last 20 or so training batches (decay 0.9), a buffer that is saved and loaded with the weights. The noise of a
    sigma from N = 19 B D squares costs an example D / (2 N) nats, 1 / (38 B) at a batch of B rows.

    The log of sigma (in units of `scale`) is cut to -7 and 7. It has no gradient that a hard bound could stop.

    Args:
        event_shape: of one example.
        shift, scale: where the data lie, as for `Gaussian`; errors and sigma are in units of scale.
        begin: sigma before any training, in units of scale.
    """

    parameters_per_element = 1
    shift: Tensor
    scale: Tensor
    squared_error: Tensor
    weight: Tensor

    def __init__(
        self, event_shape: tuple[int, ...], shift: Place = 0.0, scale: Place = 1.0, begin: float = 1.0
    ) -> None:
        super().__init__()
        self.event_shape, self.begin = event_shape, begin
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("squared_error", torch.tensor(0.0))
        self.register_buffer("weight", torch.tensor(0.0))

    @property
    def sigma(self) -> Tensor:
        """The sigma of evaluation, in units of scale."""
        average = self.squared_error / self.weight.clamp_min(torch.finfo(self.weight.dtype).tiny)
        return _root(torch.where(self.weight > 0, average, self.begin**2))

    def observe(self, squared_error: Tensor) -> None:
        """Take a training batch's mean squared error, in units of scale, into the moving average."""
        self.squared_error.lerp_(squared_error, 0.1)
        self.weight.lerp_(torch.ones_like(self.weight), 0.1)

    def forward(self, raw: Tensor) -> Distribution:
        (loc,) = unstack(raw, self.event_shape)
        loc = self.shift + self.scale * loc
        return _AtItsOptimum(self, loc) if self.training else self.normal(loc, self.sigma)

    def normal(self, loc: Tensor, sigma: Tensor) -> Distribution:
        """N(loc, (sigma scale)^2) over the event."""
        return independent(Normal(loc, (sigma * self.scale).expand_as(loc), validate_args=False), self.event_shape)

    def start(self, mean: Tensor) -> Tensor:
        return ((mean - self.shift) / self.scale)[None]


class _AtItsOptimum(Distribution):
    """What `OptimalGaussian` is in training mode: `log_prob` fits sigma to the values that it is given."""

    arg_constraints = {}

    def __init__(self, family: OptimalGaussian, loc: Tensor) -> None:
        self.family, self.loc = family, loc
        split = loc.dim() - len(family.event_shape)
        super().__init__(loc.shape[:split], loc.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.family.normal(self.loc, self.family.sigma).variance

    def log_prob(self, value: Tensor) -> Tensor:
        squared_error = ((value - self.loc.detach()) / self.family.scale).square().mean()
        if torch.is_grad_enabled():
            self.family.observe(squared_error)
        return self.family.normal(self.loc, _root(squared_error)).log_prob(value)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.family.normal(self.loc, self.family.sigma).sample(torch.Size(sample_shape))


def _root(squared_error: Tensor) -> Tensor:
    """sigma, its logarithm between -7 and 7."""
    return (0.5 * squared_error.log()).clamp(-7.0, 7.0).exp()


class StudentT(Family):
    """Student's t in every element, for data with outliers.

    Args:
        event_shape: of one example.
        degrees: nu, a number above 2, or "shared", one learned: 2 + exp(v) with v softly within (-3, 5), so that it runs
            from 2.05 to 150 and mean and variance exist. It starts at 5.
        sigma: scale s, a number, "shared" or "element"; its log within (-7, 7) where it is learned.
        shift, scale, begin: as for `Gaussian`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        degrees: float | Literal["shared"] = "shared",
        sigma: Sigma = "shared",
        shift: Place = 0.0,
        scale: Place = 1.0,
        begin: float = 1.0,
    ) -> None:
        super().__init__()
        if degrees != "shared" and not (isinstance(degrees, int | float) and 2 < degrees < math.inf):
            raise UsageError(
                f"StudentT: degrees {degrees!r}: expected a number above 2, where mean and variance exist, or 'shared'"
            )
        self.event_shape, self.fixed_degrees = event_shape, degrees if degrees != "shared" else None
        if degrees == "shared":
            self.log_degrees = nn.Parameter(torch.tensor(math.log(3.0)))
        self.sigma = Scale(sigma, begin, bounds=(-7.0, 7.0))
        self.parameters_per_element = self.sigma.parameters_per_element
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    @property
    def degrees(self) -> Tensor:
        """nu, a single number."""
        if self.fixed_degrees is not None:
            return self.scale.new_tensor(self.fixed_degrees)
        return 2 + soft_bound(self.log_degrees, -3.0, 5.0).exp()

    def forward(self, raw: Tensor) -> Distribution:
        loc, log_sigma = self.sigma.split(raw, self.event_shape)
        sigma = log_sigma.exp() if self.sigma.kind == "fixed" else log_sigma.exp() * self.scale
        return independent(StudentTDistribution(self.degrees, self.shift + self.scale * loc, sigma), self.event_shape)

    def start(self, mean: Tensor) -> Tensor:
        return self.sigma.start((mean - self.shift) / self.scale)
