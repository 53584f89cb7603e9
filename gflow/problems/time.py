"""Functions of time that keep floats floats and tensors differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gflow.velocity import Time

# A time computed as T - s may leave [0, T] by rounding; beyond this share of T it is a mistake.
_ROUNDING = 1e-12


def check_horizon(name: str, value: float) -> None:
    """Raise ValueError unless ``value`` is positive and finite."""
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def inside(t: Time, end: float, name: str) -> Time:
    """A float time clipped to [0, end] when only rounding took it out; tensors pass."""
    if isinstance(t, Tensor):
        return t
    slack = _ROUNDING * end
    if not -slack <= t <= end + slack:
        raise ValueError(f"t: {name} runs over [0, {end}], got {t}")
    return min(max(t, 0.0), end)


def exp(x: Time) -> Time:
    """Exponential."""
    return x.exp() if isinstance(x, Tensor) else math.exp(x)


def expm1(x: Time) -> Time:
    """``exp(x) - 1`` without cancellation."""
    return x.expm1() if isinstance(x, Tensor) else math.expm1(x)


def sqrt(x: Time) -> Time:
    """Square root."""
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)


def constant(value: float, t: Time) -> Time:
    """``value`` in the kind of ``t``."""
    return torch.full_like(t, value) if isinstance(t, Tensor) else value


def log(x: Time) -> Time:
    """Natural logarithm."""
    return x.log() if isinstance(x, Tensor) else math.log(x)
