"""The optimal transport between two Gaussians as a flow."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate
from gflow.lipschitz.ball import check_balls
from gflow.lipschitz.sampled import check_direction
from gflow.problems.checks import require_points
from gflow.problems.gaussian import Gaussian
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class GaussianDisplacement:
    """``v_t(x) = (m1 - m0) + (M - I)((1 - t) I + t M)^{-1} (x - m_t)``: straight lines from p0 (t = 0) to p1 (t = 1).

    M is the optimal map's matrix, so ``E |v_t|^2 = W2(p0, p1)^2`` at every t (McCann 1997; ORC-8 of
    docs/theory). Time runs from 0 to 1; dtype and device are those of the laws.

    Raises:
        ValueError: laws of different dimension, dtype or device.
    """

    p0: Gaussian
    """The law at t = 0."""
    p1: Gaussian
    """The law at t = 1."""
    _stretch: Float[Tensor, " d"] = field(init=False, repr=False)
    _axes: Float[Tensor, "d d"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Diagonalize ``M = A^{-1/2} (A^{1/2} B A^{1/2})^{1/2} A^{-1/2}``."""
        if self.p0.dim != self.p1.dim:
            raise ValueError(f"p1: must have the dimension of p0, got {self.p1.dim} and {self.p0.dim}")
        if self.p0.mu.dtype != self.p1.mu.dtype or self.p0.mu.device != self.p1.mu.device:
            raise ValueError(f"p1: must share dtype and device with p0, got {self.p1.mu.dtype} and {self.p0.mu.dtype}")
        root = (self.p0.axes * self.p0.values.sqrt()) @ self.p0.axes.mT
        inverse = (self.p0.axes / self.p0.values.sqrt()) @ self.p0.axes.mT
        values, axes = torch.linalg.eigh(root @ self.p1.C @ root)
        half = inverse @ axes * values.clamp_min(0.0) ** 0.25  # rounding may leave a negative zero
        stretch, directions = torch.linalg.eigh(half @ half.mT)
        object.__setattr__(self, "_stretch", stretch)
        object.__setattr__(self, "_axes", directions)

    def __call__(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The velocity at time t."""
        require_points(x, self.p0.mu)
        shift = self.p1.mu - self.p0.mu
        return shift + (x - self.p0.mu - t * shift) @ self._slope(t)

    def jacobian(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        """The same symmetric matrix at every row."""
        require_points(x, self.p0.mu)
        return self._slope(t).expand(len(x), *self._axes.shape)

    def sampling_osl(self, t: Time, /) -> Estimate:
        """The largest eigenvalue of the slope: the exact one-sided Lipschitz constant for increasing t."""
        return Estimate.exact(float(self._rates(t).max()))

    def ball_log_norm(
        self, t: Time, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """The largest eigenvalue of ``direction`` times the slope for every ball, exact.

        Raises:
            ValueError: bad balls, or a direction other than +1 and -1.
        """
        check_direction(direction)
        check_balls(centres, radii)
        require_points(centres, self.p0.mu)
        return torch.full_like(radii, float((direction * self._rates(t)).max()))

    def _rates(self, t: Time) -> Float[Tensor, " d"]:
        return (self._stretch - 1.0) / (1.0 - t + t * self._stretch)

    def _slope(self, t: Time) -> Float[Tensor, "d d"]:
        return (self._axes * self._rates(t)) @ self._axes.mT
