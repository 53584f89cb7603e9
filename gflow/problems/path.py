"""Noising paths x_t = alpha_t x_data + sigma_t z with z ~ N(0, I). Knows no distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gflow.velocity import Time

# A time computed as T - s may leave [0, T] by rounding; beyond this share of T it is a mistake.
_ROUNDING = 1e-12


@runtime_checkable
class Path(Protocol):
    """The law of ``x_t = alpha(t) x_data + sigma(t) z``, in the time of its paper.

    VP and VE have the data at ``t = 0``, the linear path has them at ``t = 1``; ``data_time`` and
    ``noise_time`` say which. A float in gives a Python float (no tensor is made), a 0-d tensor
    gives a 0-d tensor that ``torch.func.jvp`` can differentiate.
    """

    @property
    def data_time(self) -> float:
        """Where ``alpha = 1`` and ``sigma = 0`` (VP, VE, linear)."""
        ...

    @property
    def noise_time(self) -> float:
        """Where sampling starts."""
        ...

    def alpha(self, t: Time, /) -> Time:
        """The factor of the data."""
        ...

    def sigma(self, t: Time, /) -> Time:
        """The standard deviation of the noise."""
        ...

    def d_alpha(self, t: Time, /) -> Time:
        """The time derivative of ``alpha``."""
        ...

    def d_sigma(self, t: Time, /) -> Time:
        """The time derivative of ``sigma``; infinite at ``t = 0`` for VP."""
        ...

    def drift(self, t: Time, /) -> Time:
        """``f = alpha'/alpha`` of the linear SDE ``dx = f x dt + g dw`` with the law of x_t."""
        return self.d_alpha(t) / self.alpha(t)

    def diffusion_squared(self, t: Time, /) -> Time:
        """``g^2 = d(sigma^2)/dt - 2 f sigma^2``; negative where noise falls as t grows (linear path)."""
        sigma = self.sigma(t)
        return 2.0 * sigma * self.d_sigma(t) - 2.0 * self.drift(t) * sigma * sigma


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
        _check_horizon("VP: T", self.T)

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
        return self.beta_min + (self.beta_max - self.beta_min) / self.T * _inside(t, self.T, "VP")

    def alpha(self, t: Time, /) -> Time:
        """``exp(-int_0^t beta / 2)``."""
        return _exp(-0.5 * self._integral(t))

    def sigma(self, t: Time, /) -> Time:
        """``sqrt(1 - alpha^2)``, by expm1 so that small t keeps its digits."""
        return _sqrt(-_expm1(-self._integral(t)))

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
        t = _inside(t, self.T, "VP")
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
        _check_horizon("VE: sigma_max", self.sigma_max)

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
        return _constant(1.0, t)

    def sigma(self, t: Time, /) -> Time:
        """The time itself."""
        return _inside(t, self.sigma_max, "VE")

    def d_alpha(self, t: Time, /) -> Time:
        """0."""
        return _constant(0.0, t)

    def d_sigma(self, t: Time, /) -> Time:
        """1."""
        return _constant(1.0, t)


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
        return _inside(t, 1.0, "LINEAR")

    def sigma(self, t: Time, /) -> Time:
        """``1 - t``."""
        return 1.0 - _inside(t, 1.0, "LINEAR")

    def d_alpha(self, t: Time, /) -> Time:
        """1."""
        return _constant(1.0, t)

    def d_sigma(self, t: Time, /) -> Time:
        """-1."""
        return _constant(-1.0, t)


LINEAR = Linear()
"""The linear path; it has no parameters, so one instance serves all."""


@dataclass(frozen=True)
class Schedule(Path):
    """A user's own path from two functions of a 0-d tensor; derivatives by ``torch.func.jvp``.

    Float times are evaluated in float64 and returned as floats.
    """

    alpha_of: Callable[[Tensor], Tensor]
    """t -> alpha, written with torch operations."""
    sigma_of: Callable[[Tensor], Tensor]
    """t -> sigma, written with torch operations."""
    data_time: float
    """Where the data are."""
    noise_time: float
    """Where sampling starts."""

    def __post_init__(self) -> None:
        """Check the times."""
        if not (math.isfinite(self.data_time) and math.isfinite(self.noise_time) and self.data_time != self.noise_time):
            raise ValueError(
                f"Schedule: data_time and noise_time must be finite and differ, got {self.data_time}, {self.noise_time}"
            )

    def alpha(self, t: Time, /) -> Time:
        """``alpha_of(t)``."""
        return _value(self.alpha_of, t)

    def sigma(self, t: Time, /) -> Time:
        """``sigma_of(t)``."""
        return _value(self.sigma_of, t)

    def d_alpha(self, t: Time, /) -> Time:
        """The derivative of ``alpha_of``."""
        return _derivative(self.alpha_of, t)

    def d_sigma(self, t: Time, /) -> Time:
        """The derivative of ``sigma_of``."""
        return _derivative(self.sigma_of, t)


def _check_horizon(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def _inside(t: Time, end: float, name: str) -> Time:
    """A float time clipped to [0, end] when only rounding took it out; tensors pass."""
    if isinstance(t, Tensor):
        return t
    slack = _ROUNDING * end
    if not -slack <= t <= end + slack:
        raise ValueError(f"t: {name} runs over [0, {end}], got {t}")
    return min(max(t, 0.0), end)


def _exp(x: Time) -> Time:
    return x.exp() if isinstance(x, Tensor) else math.exp(x)


def _expm1(x: Time) -> Time:
    return x.expm1() if isinstance(x, Tensor) else math.expm1(x)


def _sqrt(x: Time) -> Time:
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)


def _constant(value: float, t: Time) -> Time:
    return torch.full_like(t, value) if isinstance(t, Tensor) else value


def _value(f: Callable[[Tensor], Tensor], t: Time) -> Time:
    if isinstance(t, Tensor):
        return torch.as_tensor(f(t), dtype=t.dtype, device=t.device)
    return float(f(torch.tensor(t, dtype=torch.float64)))


def _derivative(f: Callable[[Tensor], Tensor], t: Time) -> Time:
    at = t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)
    slope = torch.func.jvp(lambda s: torch.as_tensor(f(s), dtype=s.dtype), (at,), (torch.ones_like(at),))[1]
    return slope if isinstance(t, Tensor) else float(slope)
