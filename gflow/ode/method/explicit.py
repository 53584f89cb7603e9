"""Explicit Runge-Kutta steps: the code that interprets a tableau."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.method.protocol import Carry, FlatField, StepResult
from gflow.ode.tableau import ButcherTableau


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
        stages = len(weights.a)
        k = y.new_empty((stages, y.numel()))
        k[0] = v(t, y) if carry.slope is None else carry.slope
        for i in range(1, stages):
            k[i] = v(t + weights.c[i] * h, torch.addmv(y, k[:i].T, weights.a[i], alpha=h))
        # One stage is written as the update of an optimizer: Euler's iterates are gradient descent's, bit for bit.
        y_next = torch.add(y, k[0], alpha=h) if stages == 1 else torch.addmv(y, k.T, weights.b, alpha=h)
        dense = weights.b_dense
        return StepResult(
            y=y_next,
            error=None if weights.b_error is None else torch.mv(k.T, weights.b_error) * h,
            slope=k[0],
            # A view would keep all stages alive, and on disk, wherever a record is kept.
            carry=Carry(slope=k[-1].clone() if weights.fsal else None),
            evaluations=stages - (carry.slope is not None),
            extension=None if dense is None else lambda: dense @ k * h,
        )


@dataclass(frozen=True)
class _Weights:
    """Coefficients of a tableau in the state's dtype, on its device."""

    a: tuple[Tensor, ...]
    b: Tensor
    b_error: Tensor | None
    b_dense: Tensor | None
    """(degree, stages)."""
    c: tuple[float, ...]
    fsal: bool
    """Of the tableau; comparing fractions at every step would cost as much as a stage."""


@lru_cache(maxsize=64)
def _weights(tableau: ButcherTableau, dtype: torch.dtype, device: torch.device) -> _Weights:
    def row(values: tuple[object, ...]) -> Tensor:
        return torch.tensor([float(x) for x in values], dtype=dtype, device=device)  # type: ignore[arg-type]

    return _Weights(
        a=tuple(row(r) for r in tableau.a),
        b=row(tableau.b),
        b_error=None if tableau.b_error is None else row(tableau.b_error),
        b_dense=None if tableau.b_dense is None else torch.stack([row(r) for r in zip(*tableau.b_dense, strict=True)]),
        c=tuple(float(x) for x in tableau.c),
        fsal=tableau.fsal,
    )
