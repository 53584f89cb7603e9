"""What a law with known truth can do, and its score along a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.estimate import Estimate
from gflow.problems.path import Path
from gflow.velocity import Time


@runtime_checkable
class Distribution(Protocol):
    """A law on R^d with samples, density, score and moments, and the law of its noised points.

    Points are rows (n, d) in the dtype and on the device of the parameters.
    """

    @property
    def dim(self) -> int:
        """The dimension d."""
        ...

    def sample(self, n: int, generator: Generator, /) -> Float[Tensor, "n d"]:
        """Independent points (n, d); drawn on the generator's device."""
        ...

    def log_prob(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The log-density."""
        ...

    def score(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The gradient of the log-density."""
        ...

    def mean(self) -> Float[Tensor, " d"]:
        """E x."""
        ...

    def covariance(self) -> Float[Tensor, "d d"]:
        """E (x - m)(x - m)^T."""
        ...

    def second_moment(self) -> float:
        """E |x|^2."""
        ...

    def at(self, path: Path, t: Time, /) -> Distribution:
        """The law of ``alpha(t) x + sigma(t) z``."""
        ...


@runtime_checkable
class SmoothDistribution(Distribution, Protocol):
    """A law that also knows the Hessian of its log-density."""

    def hessian(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        """The Hessian of the log-density."""
        ...

    def score_osl(self) -> Estimate:
        """``sup_x lambda_max(Hess log p)``, or a certified upper bound of it."""
        ...

    def hessian_lipschitz(self) -> Estimate:
        """Lipschitz constant of the Hessian in the spectral norm, or a certified upper bound of it."""
        ...

    def ball_log_norm(
        self, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``lambda_max(direction * Hess log p)`` on each ball."""
        ...


@runtime_checkable
class Noisable(Protocol):
    """A law whose noised laws are smooth: what ``NoisedScore`` needs."""

    def at(self, path: Path, t: Time, /) -> SmoothDistribution:
        """The law of ``alpha(t) x + sigma(t) z``."""
        ...


@dataclass(frozen=True)
class NoisedScore:
    """The exact score of noised data, ``(t, x) -> grad log p_t(x)`` with p_t the law of x_t.

    Time is the path's; ``t`` may be a float or a 0-d tensor, and the result is differentiable by
    ``torch.func`` in t and x. At ``sigma(t) = 0`` it is the score of the data themselves, which a
    point cloud does not have.
    """

    distribution: Noisable
    """The law of the data."""
    path: Path
    """How they are noised."""

    def __call__(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The score at the rows of ``x``."""
        return self.distribution.at(self.path, t).score(x)

    def jacobian(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        """The Hessian of log p_t, in closed form."""
        return self.distribution.at(self.path, t).hessian(x)

    def osl(self, t: Time, /) -> Estimate:
        """The one-sided Lipschitz constant of the score at time t.

        Raises:
            ValueError: no closed form is known for this law.
        """
        return self.distribution.at(self.path, t).score_osl()

    def jacobian_lipschitz(self, t: Time, /) -> Estimate:
        """The Lipschitz constant of the score's Jacobian at time t.

        Raises:
            ValueError: no constant over all space is known for this law.
        """
        return self.distribution.at(self.path, t).hessian_lipschitz()

    def ball_log_norm(
        self, t: Time, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``lambda_max(direction * Hess log p_t)`` on each ball."""
        return self.distribution.at(self.path, t).ball_log_norm(centres, radii, direction=direction)


def normal(n: int, like: Float[Tensor, "... d"], generator: Generator) -> Float[Tensor, "n d"]:
    """Standard normal points in the dimension, dtype and device of ``like``."""
    if n < 1:
        raise ValueError(f"n: needs at least one sample, got {n}")
    z = torch.randn(n, like.shape[-1], dtype=like.dtype, device=generator.device, generator=generator)
    return z.to(like.device)
