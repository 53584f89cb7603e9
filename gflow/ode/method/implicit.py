"""Implicit and linearly implicit steps: for stiff flows, and for centres that explicit steps leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.method.linear import solve_shifted
from gflow.ode.method.protocol import NOTHING, Carry, FlatField, StepResult


@dataclass(frozen=True)
class ImplicitMidpoint:
    """y1 = y + h v(t + h/2, (y + y1)/2): order 2, A-stable.

    Keeps quadratic invariants (Hairer, Lubich and Wanner 2006, IV.2). The midpoint m = y + (h/2) v(m) is
    found by Newton's method from the explicit half step. The field must be differentiable by ``torch.func.jvp``.
    """

    tolerance: float
    """Residual of the implicit equation, relative to |y| + |m - y|, at which Newton's method ends."""
    max_iterations: int
    """Newton steps before the step is given up: its ``failure`` then says how far it came."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check_tolerance("ImplicitMidpoint", self.tolerance)
        if self.max_iterations < 1:
            raise ValueError(f"ImplicitMidpoint: max_iterations must be at least 1, got {self.max_iterations}")

    @property
    def order(self) -> int:
        """Order of convergence."""
        return 2

    @property
    def error_order(self) -> int | None:
        """No error estimate."""
        return None

    def step(self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Carry, /) -> StepResult:
        """One step; an evaluation for the prediction, one per Newton step, and those of its linear solve."""
        slope = v(t, y) if carry.slope is None else carry.slope
        spent = 1 - (carry.slope is not None)
        middle, half = torch.add(y, slope, alpha=h / 2), t + h / 2
        failure = ""
        for iteration in range(self.max_iterations + 1):
            residual = middle - y - h / 2 * v(half, middle)
            spent += 1
            size = float(residual.norm())
            if size <= self.tolerance * float(y.norm() + (middle - y).norm()):
                break
            if iteration == self.max_iterations or not math.isfinite(size):
                # A residual with NaN in it shows the solver in which rows the field has them.
                middle = middle - residual
                failure = f"the implicit equation has residual {size:.3g} after {iteration} Newton steps"
                break
            solved = solve_shifted(v, half, middle, h / 2, residual, self.tolerance)
            spent += solved.products
            if solved.failure:
                failure = solved.failure
                break
            middle = middle - solved.x
        return StepResult(2 * middle - y, None, slope, NOTHING, spent, failure)


@dataclass(frozen=True)
class RosenbrockEuler:
    """y1 = y + h (I - h Dv)^{-1} v(t, y): linearly implicit Euler, order 1, L-stable.

    For h -> inf it is Newton's step (INT-8; Hairer and Wanner 1996, IV.7). The field must be differentiable by
    ``torch.func.jvp``.
    """

    tolerance: float
    """Relative residual of the linear solve where it is iterative."""

    def __post_init__(self) -> None:
        """Check the tolerance."""
        _check_tolerance("RosenbrockEuler", self.tolerance)

    @property
    def order(self) -> int:
        """Order of convergence."""
        return 1

    @property
    def error_order(self) -> int | None:
        """No error estimate."""
        return None

    def step(self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Carry, /) -> StepResult:
        """One step; one evaluation and one linear solve."""
        slope = v(t, y) if carry.slope is None else carry.slope
        solved = solve_shifted(v, t, y, h, slope, self.tolerance)
        spent = 1 - (carry.slope is not None) + solved.products
        # The x of a singular matrix may be infinite, which would pass for a field that is.
        y_next = y if solved.failure else torch.add(y, solved.x, alpha=h)
        return StepResult(y_next, None, slope, NOTHING, spent, solved.failure)


def _check_tolerance(name: str, tolerance: float) -> None:
    if not 0 < tolerance < 1:
        raise ValueError(f"{name}: tolerance must lie in (0, 1), got {tolerance}")
