"""Explicit Runge-Kutta steps: the code that interprets a tableau."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.method.protocol import NOTHING, Carry, FlatField, StepResult
from gflow.ode.tableau import ButcherTableau
from gflow.state import Layout


@dataclass(frozen=True)
class ExplicitRK:
    """The explicit Runge-Kutta method of a tableau."""

    tableau: ButcherTableau

    @property
    def order(self) -> int:
        """Order of the tableau."""
        return self.tableau.order

    @property
    def error_order(self) -> int | None:
        """Order of the embedded method."""
        return self.tableau.embedded_order

    def step(self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Carry, /) -> StepResult:
        """One step; costs ``stages`` evaluations, one fewer where the slope is carried."""
        weights = _weights(self.tableau, y.dtype, y.device)
        spent = len(weights.c) - (carry.slope is not None)
        slope = v(t, y) if carry.slope is None else carry.slope
        if len(weights.c) == 1:
            # As an optimizer updates: Euler's iterates are gradient descent's, bit for bit.
            return StepResult(torch.add(y, slope, alpha=h), None, slope, NOTHING, spent)
        stages = _stages(v, self.tableau)
        # Copied, because a compiled field may write its next value where it wrote this one.
        stages.put(0, slope)
        inner = y
        for i in range(1, len(weights.c)):
            inner = stages.moved(y, weights.a[i], h, i)
            stages.put(i, v(t + weights.c[i] * h, inner))
        everything, dense = stages.first[-1], weights.b_dense
        return StepResult(
            # The last stage of an FSAL method is evaluated where the step ends.
            y=inner if weights.fsal else stages.moved(y, weights.b, h, len(weights.c)),
            error=None if weights.b_error is None else torch.addmv(y, everything, weights.b_error, beta=0, alpha=h),
            slope=stages.rows[0],
            # A view would keep all stages alive, and on disk, wherever a record is kept.
            carry=Carry(slope=stages.rows[-1].clone()) if weights.fsal else NOTHING,
            evaluations=spent,
            extension=None if dense is None else lambda: dense @ everything.T * h,
        )


class _Stages:
    """Room for the slopes of a step, with the views that its sums need; each view costs as much as half a sum."""

    def __init__(self, layout: Layout, count: int) -> None:
        self.slopes = slopes = torch.empty((count, layout.size), dtype=layout.dtype, device=layout.device)
        self.rows = [slopes[i] for i in range(count)]
        self.first = [slopes[:i].T for i in range(count + 1)]
        """The first i slopes as columns."""

    def put(self, i: int, slope: Tensor) -> None:
        """Write the slope of stage i."""
        # Autograd takes a view from before the last write for a leaf.
        (self.slopes[i] if torch.is_grad_enabled() else self.rows[i]).copy_(slope)

    def moved(self, y: Tensor, row: _Row, h: float, count: int) -> Tensor:
        """Y + h (the first ``count`` slopes, weighted by ``row``)."""
        if row.only is not None:
            return torch.add(y, self.rows[row.only], alpha=row.factor * h)
        return torch.addmv(y, self.first[count], row.weights, alpha=h)


def _stages(v: FlatField, tableau: ButcherTableau) -> _Stages:
    """The room of this solve; a new one for each step where autograd remembers what was in it."""
    if torch.is_grad_enabled():
        return _Stages(v.layout, tableau.stages)
    room: _Stages | None = v.room.get(tableau)
    if room is None:
        room = v.room[tableau] = _Stages(v.layout, tableau.stages)
    return room


@dataclass(frozen=True)
class _Row:
    """Coefficients of one weighted sum of slopes."""

    weights: Tensor
    only: int | None
    """The place of the single coefficient that is not zero, for which one product will do; None where more are not."""
    factor: float
    """That coefficient."""

    @classmethod
    def of(cls, values: tuple[Fraction, ...], dtype: torch.dtype, device: torch.device) -> _Row:
        used = [i for i, x in enumerate(values) if x]
        only = used[0] if len(used) == 1 else None
        return cls(_tensor(values, dtype, device), only, 0.0 if only is None else float(values[only]))


@dataclass(frozen=True)
class _Weights:
    """Coefficients of a tableau in the state's dtype, on its device."""

    a: tuple[_Row, ...]
    b: _Row
    b_error: Tensor | None
    b_dense: Tensor | None
    """(degree, stages)."""
    c: tuple[float, ...]
    fsal: bool
    """Of the tableau; comparing fractions at every step would cost as much as a stage."""


@lru_cache(maxsize=64)
def _weights(tableau: ButcherTableau, dtype: torch.dtype, device: torch.device) -> _Weights:
    return _Weights(
        a=tuple(_Row.of(row, dtype, device) for row in tableau.a),
        b=_Row.of(tableau.b, dtype, device),
        b_error=None if tableau.b_error is None else _tensor(tableau.b_error, dtype, device),
        b_dense=None if tableau.b_dense is None else _tensor(tableau.b_dense, dtype, device).T,
        c=tuple(float(x) for x in tableau.c),
        fsal=tableau.fsal,
    )


def _tensor(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Fractions, or rows of them, rounded once."""
    rounded = [[float(x) for x in v] if isinstance(v, tuple) else float(v) for v in values]
    return torch.tensor(rounded, dtype=dtype, device=device)
