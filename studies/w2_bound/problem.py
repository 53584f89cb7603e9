"""A diffusion sampler as a problem: two scores on a path, read in sampling time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.bounds import FreshData
from gflow.fields import ReverseDrift, reverse
from gflow.problems import LINEAR, VE, VP, Empirical, GaussianMixture, Path
from gflow.problems.distribution import normal
from gflow.velocity import VelocityField

CENTRES = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
SHIFTS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
WIDTHS = {"checked": 0.1, "kwon": 0.0125}
_NEAR_NOISE = 1e-3  # the linear path has no score at its noise end


def four_modes(geometry: str, eps: float, *, like: Tensor) -> GaussianMixture:
    """Four modes on a square; the model's centres move by eps, each another way, and its width by a factor 1 + eps."""
    means = torch.tensor(CENTRES).to(like) + eps * torch.tensor(SHIFTS).to(like)
    variance = (WIDTHS[geometry] * (1 + eps)) ** 2
    return GaussianMixture(like.new_full((4,), 0.25), means, like.new_full((4,), variance))


def named_path(name: str) -> Path:
    """The path of a flag."""
    return {"vp": VP(0.1, 20.0), "ve": VE(10.0), "linear": LINEAR}[name]


@dataclass(frozen=True)
class Diffusion:
    """Reference and model score on one path, sampled from its noise end to ``stop`` before the data."""

    path: Path
    reference: VelocityField[Tensor]
    model: VelocityField[Tensor]
    stop: float
    """Distance from the data time in path time."""

    @property
    def start_time(self) -> float:
        """Path time where sampling starts."""
        near = _NEAR_NOISE if self.path.alpha(self.path.noise_time) == 0 else 0.0
        return self.path.noise_time + self._towards_data * near

    @property
    def stop_time(self) -> float:
        """Path time where sampling stops."""
        return self.path.data_time - self._towards_data * self.stop

    @property
    def span(self) -> float:
        """Length of the sampling time."""
        return abs(self.stop_time - self.start_time)

    def time(self, s: float) -> float:
        """Path time at sampling time s."""
        return self.start_time + self._towards_data * s

    def drift(self, score: VelocityField[Tensor], rho: float) -> ReverseDrift:
        """The drift with a score, in path time."""
        return ReverseDrift(self.path, score, rho)

    def fields(self, rho: float) -> tuple[VelocityField[Tensor], VelocityField[Tensor]]:
        """Reference and model drifts in sampling time."""
        reference, model = (self.drift(score, rho) for score in (self.reference, self.model))
        if self._towards_data < 0:
            return reverse(reference, self.start_time), reverse(model, self.start_time)
        # Twice reversed is a shift: b_s = v(start + s).
        return reverse(reverse(reference, 0.0), -self.start_time), reverse(reverse(model, 0.0), -self.start_time)

    def diffusion(self, s: float, rho: float) -> float:
        """Coefficient of the noise at sampling time s."""
        return float(self.drift(self.reference, rho).diffusion(self.time(s)))

    def start(
        self, clean: Float[Tensor, "n d"], generator: Generator
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Data noised to the start, and draws of the prior N(0, sigma^2 I) made of the same noise (W2B-15).

        Independent draws would be as far apart as any two samples of one law, and the budget would book
        that distance, which has nothing to do with the start, as initial error.
        """
        t = self.start_time
        prior = self.path.sigma(t) * normal(len(clean), clean, generator)
        return self.path.alpha(t) * clean + prior, prior

    def fresh(self, clean: Float[Tensor, "m d"], generator: Generator) -> FreshData:
        """Independent data with their noised selves at the stopping time."""
        t = self.stop_time
        return FreshData(clean, self.path.alpha(t) * clean + self.path.sigma(t) * normal(len(clean), clean, generator))

    @property
    def _towards_data(self) -> float:
        return 1.0 if self.path.data_time > self.path.noise_time else -1.0


def halves(cloud: Float[Tensor, "N d"], generator: Generator) -> tuple[Empirical, Float[Tensor, "M d"]]:
    """A random half as the training law, the other half held out."""
    order = torch.randperm(len(cloud), generator=generator, device=generator.device).to(cloud.device)
    middle = (len(cloud) + 1) // 2
    return Empirical(cloud[order[:middle]]), cloud[order[middle:]]
