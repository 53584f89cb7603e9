"""One-sided Lipschitz constants of a whole field from samples: lower estimates, never certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate
from gflow.lipschitz.pointwise import jacobian, log_norm
from gflow.lipschitz.rows import check_rows_independent
from gflow.lipschitz.segment import pair_quotient
from gflow.velocity import Time, VelocityField


@runtime_checkable
class LipschitzEstimator(Protocol):
    """``osl(direction * field)``: the least L with ``(b(x) - b(y)).(x - y) <= L |x - y|^2``.

    ``direction`` is +1 where time runs forwards (the constant of ``field``), -1 where it runs
    backwards (the constant of ``-field``). There is no default: the two are unrelated (W2B-2).
    """

    def __call__(
        self, field: VelocityField[Tensor], t: Time, points: Float[Tensor, "n d"], *, direction: int
    ) -> Estimate:
        """The constant at time ``t``; an estimate from samples carries the bias ``down``."""
        ...


@dataclass(frozen=True)
class JacobianOsl:
    """Largest ``log_norm(direction * Dv)`` over the points. For small d, or a closed-form Jacobian.

    Costs one Jacobian (d pull-backs without a closed form) and, for d > 2, n dense eigenproblems.
    Bias ``down``: the supremum over all space is at least this.
    """

    chunk: int | None = None
    """Rows per pass of the Jacobian; by default bounded by memory."""

    def __call__(
        self, field: VelocityField[Tensor], t: Time, points: Float[Tensor, "n d"], *, direction: int
    ) -> Estimate:
        """The constant of ``direction * field`` over ``points``.

        Raises:
            ValueError: ``direction`` other than +1 and -1, coupled rows, a Jacobian that is not finite.
        """
        check_direction(direction)
        check_rows_independent(field, t, points)
        values = log_norm(direction * jacobian(field, t, points, chunk=self.chunk))
        return Estimate.exact(float(values.max()), bias="down")


@dataclass(frozen=True)
class PairOsl:
    """Largest quotient ``direction (x - y).(v(x) - v(y)) / |x - y|^2`` over pairs of the points.

    Row i is paired with rows i + 1, ..., i + shifts (cyclically): two evaluations of the field in
    all, no derivative. Bias ``down``; on a convex domain at most the supremum of ``log_norm(Dv)``:
    each quotient is lowered by what the round-off of v may have added, much for points close together.
    """

    shifts: int
    """Pairs per point, at least 1."""

    def __call__(
        self, field: VelocityField[Tensor], t: Time, points: Float[Tensor, "n d"], *, direction: int
    ) -> Estimate:
        """The constant of ``direction * field`` over the pairs; pairs of equal points do not count.

        Raises:
            ValueError: ``direction`` other than +1 and -1, ``shifts`` outside [1, n - 1], coupled
                rows, a field that is not finite, or no two different points.
        """
        check_direction(direction)
        check_rows_independent(field, t, points)
        if not 1 <= self.shifts < len(points):
            raise ValueError(f"shifts: expected 1 to n - 1 = {len(points) - 1}, got {self.shifts}")
        with torch.no_grad():
            value = field(t, points)
        if not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).any(1).sum())
            raise ValueError(f"field at t={float(t):g}: NaN or infinite for {bad} of {len(points)} particles")
        largest = max(_largest(field, t, points, value, direction, k) for k in range(1, self.shifts + 1))
        if largest == -torch.inf:
            raise ValueError(f"points: needs two different points among the pairs, got {len(points)} equal ones")
        return Estimate.exact(largest, bias="down")


def check_direction(direction: int) -> None:
    """Raise ValueError unless ``direction`` is +1 or -1."""
    if direction not in (1, -1):
        raise ValueError(f"direction: expected +1 (time runs forwards) or -1 (backwards), got {direction!r}")


def _largest(field: VelocityField[Tensor], t: Time, x: Tensor, vx: Tensor, direction: int, shift: int) -> float:
    """Largest quotient between rows i and i + shift, -inf where all those rows are equal."""
    y, vy = x.roll(-shift, 0), vx.roll(-shift, 0)
    quotient = direction * pair_quotient(field, t, x, y, vx=vx, vy=vy)
    # As in the secant correction, v(x) carries an error of about eps (|v| + |Dv| |x|); |x - y| divides it.
    noise = vx.norm(dim=1) + vy.norm(dim=1) + quotient.abs() * (x.norm(dim=1) + y.norm(dim=1))
    known = quotient - 16 * torch.finfo(x.dtype).eps * noise / (x - y).norm(dim=1)
    return float(known.nan_to_num(nan=-torch.inf).max())
