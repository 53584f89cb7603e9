"""The normal law N(m, C)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.estimate import Estimate
from gflow.lipschitz.ball import check_balls
from gflow.lipschitz.sampled import check_direction
from gflow.problems.checks import require_finite, require_like, require_points, require_shape, spectrum
from gflow.problems.distribution import normal
from gflow.problems.path import Path
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(m, C) with C symmetric positive definite; dtype and device are those of the mean.

    Raises:
        ValueError: NaN or infinite entries, mismatched shapes, dtypes or devices, or C not
            symmetric positive definite.
    """

    mu: Float[Tensor, " d"]
    """The mean m."""
    C: Float[Tensor, "d d"]
    """The covariance."""
    values: Float[Tensor, " d"] = field(init=False, repr=False)
    """Eigenvalues of C."""
    axes: Float[Tensor, "d d"] = field(init=False, repr=False)
    """Eigenvectors of C, in columns; every noised law shares them."""

    def __post_init__(self) -> None:
        """Check the parameters and diagonalize C."""
        require_finite("mean", self.mu)
        require_finite("covariance", self.C)
        if self.mu.ndim != 1 or not len(self.mu):
            raise ValueError(f"mean: expected shape (d,) with d >= 1, got {tuple(self.mu.shape)}")
        require_shape("covariance", self.C, (self.dim, self.dim), "(d, d)")
        require_like("covariance", self.C, self.mu, "mean")
        values, axes = spectrum("covariance", self.C)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "axes", axes)

    @classmethod
    def _from_spectrum(cls, mu: Tensor, values: Tensor, axes: Tensor) -> Gaussian:
        """Without checks: for laws made from a checked one."""
        law = object.__new__(cls)
        C = (axes * values) @ axes.mT
        for name, value in (("mu", mu), ("C", C), ("values", values), ("axes", axes)):
            object.__setattr__(law, name, value)
        return law

    @property
    def dim(self) -> int:
        """The dimension d."""
        return len(self.mu)

    def sample(self, n: int, generator: Generator, /) -> Float[Tensor, "n d"]:
        """Independent points (n, d); drawn on the generator's device."""
        return self.mu + (normal(n, self.mu, generator) * self.values.sqrt()) @ self.axes.mT

    def log_prob(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The log-density."""
        require_points(x, self.mu)
        offset = (x - self.mu) @ self.axes
        norm = 0.5 * (self.values.log().sum() + self.dim * math.log(2.0 * math.pi))
        return -0.5 * (offset * offset / self.values).sum(1) - norm

    def score(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """``-C^{-1}(x - m)``."""
        require_points(x, self.mu)
        return (self.mu - x) @ self._precision()

    def hessian(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        """``-C^{-1}`` at every row."""
        require_points(x, self.mu)
        return (-self._precision()).expand(len(x), self.dim, self.dim)

    def score_osl(self) -> Estimate:
        """``-1 / lambda_max(C)``, exact."""
        return Estimate.exact(-1.0 / float(self.values.max()))

    def hessian_lipschitz(self) -> Estimate:
        """0: the Hessian is constant."""
        return Estimate.exact(0.0)

    def ball_log_norm(
        self, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """``lambda_max(-direction * C^{-1})`` for every ball, exact.

        Raises:
            ValueError: bad balls, or a direction other than +1 and -1.
        """
        check_direction(direction)
        check_balls(centres, radii)
        require_points(centres, self.mu)
        return torch.full_like(radii, float((-direction / self.values).max()))

    def mean(self) -> Float[Tensor, " d"]:
        """The mean m."""
        return self.mu

    def covariance(self) -> Float[Tensor, "d d"]:
        """The covariance C."""
        return self.C

    def second_moment(self) -> float:
        """``|m|^2 + tr C``."""
        return float((self.mu * self.mu).sum() + self.values.sum())

    def at(self, path: Path, t: Time, /) -> Gaussian:
        """``N(alpha m, alpha^2 C + sigma^2 I)``; no factorization."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        return Gaussian._from_spectrum(alpha * self.mu, alpha * alpha * self.values + sigma * sigma, self.axes)

    def _precision(self) -> Tensor:
        return (self.axes / self.values) @ self.axes.mT
