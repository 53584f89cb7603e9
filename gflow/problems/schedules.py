"""The three paths of the literature: variance preserving, variance exploding, linear."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from gflow.problems.path import Path
from gflow.problems.time import check_horizon, constant, exp, expm1, inside, sqrt
from gflow.velocity import Time


@dataclass(frozen=True)
class VP(Path):
    """Variance preserving: ``dx = -(beta/2) x dt + sqrt(beta) dw`` with ``beta`` linear on [0, T].

    Data at ``t = 0``, noise at ``t = T`` (Song et al. 2021, eq. 11); equal ``beta_min`` and
    ``beta_max`` make ``beta`` constant.

    Raises:
        ValueError: ``0 <= beta_min <= beta_max``, ``beta_max > 0`` or ``T > 0`` violated, or a
            float time outside [0, T].
    """

    beta_min: float
    """beta at t = 0."""
    beta_max: float
    """beta at t = T."""
    T: float = 1.0
    """The time of the noise."""

    def __post_init__(self) -> None:
        """Check the rates."""
        if not (0.0 <= self.beta_min <= self.beta_max < math.inf and self.beta_max > 0.0):
            raise ValueError(f"VP: needs 0 <= beta_min <= beta_max, 0 < beta_max, got {self.beta_min}, {self.beta_max}")
        check_horizon("VP: T", self.T)

    @property
    def data_time(self) -> float:
        """0."""
        return 0.0

    @property
    def noise_time(self) -> float:
        """T."""
        return self.T

    def beta(self, t: Time, /) -> Time:
        """The rate of noising at ``t``."""
        return self.beta_min + (self.beta_max - self.beta_min) / self.T * inside(t, self.T, "VP")

    def alpha(self, t: Time, /) -> Time:
        """``exp(-int_0^t beta / 2)``."""
        return exp(-0.5 * self._integral(t))

    def sigma(self, t: Time, /) -> Time:
        """``sqrt(1 - alpha^2)``, by expm1 so that small t keeps its digits."""
        return sqrt(-expm1(-self._integral(t)))

    def d_alpha(self, t: Time, /) -> Time:
        """``-beta alpha / 2``."""
        return -0.5 * self.beta(t) * self.alpha(t)

    def d_sigma(self, t: Time, /) -> Time:
        """``beta alpha^2 / (2 sigma)``."""
        sigma, alpha = self.sigma(t), self.alpha(t)
        if not isinstance(sigma, Tensor) and sigma == 0.0:
            return math.inf
        return 0.5 * self.beta(t) * alpha * alpha / sigma

    def drift(self, t: Time, /) -> Time:
        """``-beta / 2``."""
        return -0.5 * self.beta(t)

    def diffusion_squared(self, t: Time, /) -> Time:
        """``beta``."""
        return self.beta(t)

    def _integral(self, t: Time) -> Time:
        t = inside(t, self.T, "VP")
        return t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) / self.T * t)


@dataclass(frozen=True)
class VE(Path):
    """Variance exploding in sigma-time: ``alpha = 1``, ``sigma = t``, so ``f = 0`` and ``g^2 = 2t``.

    Data at ``t = 0``, noise at ``t = sigma_max`` (Karras et al. 2022). No law on this path is the
    start of a sampler exactly: N(0, sigma_max^2 I) replaces the noised data.

    Raises:
        ValueError: ``sigma_max`` not positive and finite, or a float time outside [0, sigma_max].
    """

    sigma_max: float
    """The noise level, and the time, where sampling starts."""

    def __post_init__(self) -> None:
        """Check the level."""
        check_horizon("VE: sigma_max", self.sigma_max)

    @property
    def data_time(self) -> float:
        """0."""
        return 0.0

    @property
    def noise_time(self) -> float:
        """sigma_max."""
        return self.sigma_max

    def alpha(self, t: Time, /) -> Time:
        """1."""
        return constant(1.0, t)

    def sigma(self, t: Time, /) -> Time:
        """The time itself."""
        return inside(t, self.sigma_max, "VE")

    def d_alpha(self, t: Time, /) -> Time:
        """0."""
        return constant(0.0, t)

    def d_sigma(self, t: Time, /) -> Time:
        """1."""
        return constant(1.0, t)


@dataclass(frozen=True)
class Linear(Path):
    """The straight interpolation ``x_t = t x_data + (1 - t) z``: noise at 0, data at 1.

    The path of rectified flow and flow matching (Liu et al. 2023). ``drift`` is 1/t, so fields
    written through the score need ``t > 0``; ``fields.RectifiedFlow`` does not.
    """

    @property
    def data_time(self) -> float:
        """1."""
        return 1.0

    @property
    def noise_time(self) -> float:
        """0."""
        return 0.0

    def alpha(self, t: Time, /) -> Time:
        """The time itself."""
        return inside(t, 1.0, "LINEAR")

    def sigma(self, t: Time, /) -> Time:
        """``1 - t``."""
        return 1.0 - inside(t, 1.0, "LINEAR")

    def d_alpha(self, t: Time, /) -> Time:
        """1."""
        return constant(1.0, t)

    def d_sigma(self, t: Time, /) -> Time:
        """-1."""
        return constant(-1.0, t)


LINEAR = Linear()
"""The linear path; it has no parameters, so one instance serves all."""
