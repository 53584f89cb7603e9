"""A point cloud as a law: real data, and their noised versions in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.problems.checks import require_chunk, require_finite
from gflow.problems.components import SharedVariance
from gflow.problems.mixture import GaussianMixture
from gflow.problems.path import Path
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class Empirical:
    """The uniform law on n points; noised, a mixture of n Gaussians with one variance.

    Its noised score is the optimum of score matching on these points: a sampler that follows it to
    ``sigma = 0`` returns the points themselves. Dtype and device are those of the points.

    Raises:
        ValueError: points not (n, d) with n >= 2, not floating, NaN or infinite, or ``chunk < 1``.
    """

    points: Float[Tensor, "n d"]
    """The cloud."""
    chunk: int | None = None
    """At most this many rows of x at a time; None bounds each temporary to 64 MiB (float64)."""
    components: SharedVariance = field(init=False, repr=False)
    """The cloud as components of variance 0."""
    weights: Float[Tensor, " n"] = field(init=False, repr=False)
    """1/n."""

    def __post_init__(self) -> None:
        """Check the points."""
        require_finite("points", self.points)
        if self.points.ndim != 2 or self.points.shape[1] < 1:
            raise ValueError(f"points: expected shape (n, d), got {tuple(self.points.shape)}")
        if len(self.points) < 2:
            raise ValueError(f"points: needs at least 2 points, got {len(self.points)}")
        require_chunk(self.chunk)
        centre = self.points.mean(0)
        object.__setattr__(self, "components", SharedVariance.about(centre, self.points, 0.0))
        n = len(self.points)
        object.__setattr__(self, "weights", self.points.new_full((n,), 1.0 / n))

    @property
    def dim(self) -> int:
        """The dimension d."""
        return self.points.shape[1]

    def sample(self, n: int, generator: Generator, /) -> Float[Tensor, "n d"]:
        """Points of the cloud, (n, d), drawn with replacement on the generator's device."""
        if n < 1:
            raise ValueError(f"n: needs at least one sample, got {n}")
        index = torch.randint(len(self.points), (n,), generator=generator, device=generator.device)
        return self.points[index.to(self.points.device)]

    def log_prob(self, _x: Float[Tensor, "n d"], /) -> NoReturn:
        """A point cloud has no density.

        Raises:
            ValueError: always.
        """
        raise ValueError(_NO_DENSITY)

    def score(self, _x: Float[Tensor, "n d"], /) -> NoReturn:
        """A point cloud has no score.

        Raises:
            ValueError: always.
        """
        raise ValueError(_NO_DENSITY)

    def mean(self) -> Float[Tensor, " d"]:
        """The mean of the points."""
        return self.components.centre

    def covariance(self) -> Float[Tensor, "d d"]:
        """The covariance of the uniform law on the points (divisor n)."""
        return self.components.spread.mT @ self.components.spread / len(self.points)

    def second_moment(self) -> float:
        """The mean of |x|^2."""
        return float((self.points * self.points).sum(1).mean())

    def at(self, path: Path, t: Time, /) -> GaussianMixture:
        """``(1/n) sum_i N(alpha x_i, sigma^2 I)``.

        Raises:
            ValueError: ``sigma(t) = 0`` at a float t.
        """
        alpha, sigma = path.alpha(t), path.sigma(t)
        if not isinstance(sigma, Tensor) and sigma == 0.0:
            raise ValueError(f"t: {_NO_DENSITY}; got t = {t} where sigma = 0")
        return GaussianMixture.of(self.weights, self.weights.log(), self.components.noised(alpha, sigma), self.chunk)


_NO_DENSITY = "a point cloud has no density without noise; use at(path, t) with sigma(t) > 0 (stop early)"
