"""The Wasserstein gradient flow of KL(q || p) between normal laws, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.fields.affine import AffineGenerator, tracked_covariance
from gflow.problems.checks import require_like, require_points, require_shape
from gflow.problems.gaussian import Gaussian
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class GaussianKLFlow:
    """``v(t, x) = grad log p(x) - grad log q_t(x)``, with q_t the law at t of the flow itself (WGF-1).

    The velocity on particles of the steepest descent of KL(q || p) in W2, from N(m_0, S_0) to N(mu, P);
    its laws are those of the Langevin diffusion. Time runs from 0, where q is ``start``. Points are rows
    (n, d) in the dtype and on the device of the target.

    Raises:
        ValueError: laws of other dimensions, dtypes or devices.
    """

    target: Gaussian
    """p."""
    start: Gaussian
    """q_0."""
    _factor: Float[Tensor, "d d"] = field(init=False, repr=False)
    _within: Float[Tensor, "d d"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the laws fit, factor S_0 and turn it into the axes of P."""
        require_shape("start.mu", self.start.mu, (self.target.dim,), "(d,)")
        require_like("start.mu", self.start.mu, self.target.mu, "the target")
        object.__setattr__(self, "_factor", torch.linalg.cholesky(self.start.C))
        object.__setattr__(self, "_within", self.target.axes.mT @ self.start.C @ self.target.axes)

    def law(self, t: Time, /) -> Gaussian:
        """q_t: ``m_t = mu + E (m_0 - mu)``, ``S_t = E S_0 E + (I - E^2) P`` with ``E = exp(-P^{-1} t)`` (ORC-2).

        Raises:
            ValueError: ``t`` so negative that no normal law flows into the start.
        """
        mean, covariance = self._moments(t)
        return Gaussian(mean, covariance)

    def __call__(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The velocity at the rows of ``x``; differentiable by ``torch.func`` in both arguments."""
        require_points(x, self.target.mu)
        mean, covariance = self._moments(t)
        own: Tensor = torch.linalg.solve(covariance, (x - mean).mT).mT
        velocity: Tensor = self.target.score(x) + own
        return velocity

    def jacobian(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        """``S_t^{-1} - P^{-1}``, the same in every row."""
        require_points(x, self.target.mu)
        _, covariance = self._moments(t)
        axes, values = self.target.axes, self.target.values
        slope: Tensor = torch.linalg.inv(covariance) - (axes / values) @ axes.mT
        return slope.expand(len(x), -1, -1)

    def exact(self, t: float, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """Where the flow takes ``x`` from time 0 to ``t >= 0``; as exact as ``AffineGenerator.exact``.

        Raises:
            ValueError: ``x`` not (n, d), or ``t`` negative or not finite.
        """
        require_points(x, self.target.mu)
        moved = AffineGenerator(self.target).exact(t, {"m": self.start.mu, "A": self._factor})
        white = torch.linalg.solve_triangular(self._factor, (x - self.start.mu).mT, upper=False)
        reached: Tensor = moved["m"] + (moved["A"] @ white).mT
        return reached

    def _moments(self, t: Time) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
        values, axes = self.target.values, self.target.axes
        decay = torch.exp(-t / values)
        mean = self.target.mu + ((self.start.mu - self.target.mu) @ axes * decay) @ axes.mT
        covariance = axes @ tracked_covariance(values, self._within, t) @ axes.mT
        return mean, (covariance + covariance.mT) / 2
