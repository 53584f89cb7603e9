"""Upper bounds of the logarithmic norm over balls: what a rigorous certificate of a numerical flow rests on.

A sampled constant certifies nothing (W2B-16 of docs/theory); these bounds hold at every point of a
ball, up to round-off, and are refused where only a sample is known. Knows no law and no network:
fields that know more about themselves say so by a method ``ball_log_norm``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate
from gflow.lipschitz.pointwise import check_points, jacobian, log_norm
from gflow.lipschitz.rows import check_rows_independent
from gflow.lipschitz.sampled import check_direction
from gflow.velocity import Time, VelocityField

Constant = Callable[[float], Estimate]
"""A constant of a field at time t; bias ``none`` or ``up``, no interval of repeats."""


@runtime_checkable
class BallLogNorm(Protocol):
    """``(t, centres, radii) -> bounds``: an upper bound of ``log_norm(Dv(t, .))`` on each ball (W2B-20).

    v is the field in the direction of integration (W2B-2). The bound is at least the logarithmic
    norm at every point of the closed ball, up to round-off in the dtype of the centres.
    """

    def __call__(self, t: float, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /) -> Float[Tensor, " n"]:
        """The bounds (n,) in the dtype and on the device of ``centres``."""
        ...


@runtime_checkable
class BallBounded(Protocol):
    """A field that bounds its own logarithmic norm over balls."""

    def ball_log_norm(
        self, t: Time, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``log_norm(direction * Dv(t, .))`` on each ball, for direction +1 or -1."""
        ...


@dataclass(frozen=True)
class ClosedForm:
    """The same bound for every ball: a one-sided Lipschitz constant over all space."""

    osl: Constant
    """Constant of v at t, in the direction of integration; exact or a bound from above."""

    def __call__(self, t: float, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /) -> Float[Tensor, " n"]:
        """The constant at t, n times.

        Raises:
            ValueError: bad balls, or a constant that is sampled (bias ``down`` or ``unknown``, or an
                interval of repeats) or infinite.
        """
        check_balls(centres, radii)
        return torch.full_like(radii, certified(self.osl(t), "osl"))


@dataclass(frozen=True)
class LipschitzJacobian:
    """``log_norm(Dv(centre)) + K radius``, K a Lipschitz constant of the Jacobian; never above ``osl``.

    The logarithmic norm moves by at most ``|Dv(x) - Dv(c)| <= K |x - c|`` in the spectral norm
    (Soderlind 2006). Costs one Jacobian and one eigenvalue per ball.
    """

    field: VelocityField[Tensor]
    """The field in the direction of integration; ``.jacobian`` is used where it has one."""
    constant: Constant
    """Lipschitz constant of the Jacobian of v at t over all space; exact or a bound from above."""
    osl: Constant | None = None
    """One-sided Lipschitz constant over all space, where one is known."""
    chunk: int | None = None
    """Rows per pass of the Jacobian; by default bounded by memory."""

    def __call__(self, t: float, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /) -> Float[Tensor, " n"]:
        """The bounds at t.

        Raises:
            ValueError: bad balls, coupled rows, a Jacobian that is not finite, a constant that is
                sampled, negative or infinite.
        """
        check_balls(centres, radii)
        check_rows_independent(self.field, t, centres)
        slope = certified(self.constant(t), "constant")
        if slope < 0:
            raise ValueError(f"constant: a Lipschitz constant is not negative, got {slope} at t={t:g}")
        local = log_norm(jacobian(self.field, t, centres, chunk=self.chunk)) + slope * radii
        return local if self.osl is None else local.clamp_max(certified(self.osl(t), "osl"))


@dataclass(frozen=True)
class FieldLogNorm:
    """What the field knows about itself, by its method ``ball_log_norm``.

    The sharpest bound there is for mixtures, flows between them and fully connected networks;
    ``gflow.fields.reverse`` and ``ReverseDrift`` pass it on in the right direction.
    """

    field: BallBounded
    """A field in the direction ``direction`` of integration."""
    direction: int
    """+1 where integration runs up in the field's time, -1 where it runs down (W2B-2)."""

    def __post_init__(self) -> None:
        """Check the direction, and that the field has the method."""
        check_direction(self.direction)
        if not isinstance(self.field, BallBounded):
            raise TypeError(f"field: {type(self.field).__name__} has no method ball_log_norm; use LipschitzJacobian")

    def __call__(self, t: float, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /) -> Float[Tensor, " n"]:
        """The bounds at t; raises as the field does."""
        check_balls(centres, radii)
        with torch.no_grad():
            return self.field.ball_log_norm(t, centres, radii, direction=self.direction)


def check_balls(centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"]) -> None:
    """Raise ValueError unless there are n centres (n, d) with finite radii >= 0 of their dtype and device."""
    check_points(centres, "centres")
    if radii.shape != centres.shape[:1] or radii.dtype != centres.dtype or radii.device != centres.device:
        raise ValueError(
            f"radii: expected ({len(centres)},) of {centres.dtype} on {centres.device}, "
            f"got {tuple(radii.shape)} of {radii.dtype} on {radii.device}"
        )
    bad = ~(torch.isfinite(radii) & (radii >= 0))  # a NaN fails both
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ValueError(f"radii: must be finite and not negative, got {float(radii[row])} in row {row}")
    if not bool(torch.isfinite(centres).all()):
        raise ValueError(f"centres: NaN or infinite in {int((~torch.isfinite(centres)).any(1).sum())} rows")


def certified(estimate: Estimate, name: str) -> float:
    """The upper end of a constant that no truth exceeds.

    Raises:
        ValueError: bias ``down`` or ``unknown``, an interval of repeats, or no finite number.
    """
    if estimate.bias not in ("none", "up") or estimate.level != 1.0 or not math.isfinite(estimate.hi):
        raise ValueError(
            f"{name}: needs a finite closed form or bound from above (bias none or up, level 1), got {estimate.hi} "
            f"with bias {estimate.bias} and level {estimate.level}; a sampled constant certifies nothing"
        )
    return estimate.hi
