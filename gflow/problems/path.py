"""Noising paths x_t = alpha_t x_data + sigma_t z with z ~ N(0, I). Knows no distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gflow.velocity import Time


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
        return linear_drift(self, t)

    def diffusion_squared(self, t: Time, /) -> Time:
        """``g^2 = d(sigma^2)/dt - 2 f sigma^2``; negative where noise falls as t grows (linear path)."""
        return linear_diffusion_squared(self, t)


def linear_drift(path: Path, t: Time) -> Time:
    """``alpha'/alpha``.

    Raises:
        ValueError: ``alpha(t) = 0`` at a float t.
    """
    alpha = path.alpha(t)
    if not isinstance(alpha, Tensor) and alpha == 0.0:
        raise ValueError(
            f"t: the drift alpha'/alpha is infinite at t = {t}, where alpha = 0; keep away from pure noise"
        )
    return path.d_alpha(t) / alpha


def linear_diffusion_squared(path: Path, t: Time) -> Time:
    """``2 sigma sigma' - 2 f sigma^2``."""
    sigma = path.sigma(t)
    return 2.0 * sigma * path.d_sigma(t) - 2.0 * path.drift(t) * sigma * sigma


# Not a subclass of Path: a dataclass field cannot override an inherited property.
@dataclass(frozen=True)
class Schedule:
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

    def drift(self, t: Time, /) -> Time:
        """``f = alpha'/alpha``."""
        return linear_drift(self, t)

    def diffusion_squared(self, t: Time, /) -> Time:
        """``g^2 = d(sigma^2)/dt - 2 f sigma^2``."""
        return linear_diffusion_squared(self, t)


def _value(f: Callable[[Tensor], Tensor], t: Time) -> Time:
    if isinstance(t, Tensor):
        return torch.as_tensor(f(t), dtype=t.dtype, device=t.device)
    return float(f(torch.tensor(t, dtype=torch.float64)))


def _derivative(f: Callable[[Tensor], Tensor], t: Time) -> Time:
    at = t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)
    slope = torch.func.jvp(lambda s: torch.as_tensor(f(s), dtype=s.dtype), (at,), (torch.ones_like(at),))[1]
    return slope if isinstance(t, Tensor) else float(slope)
