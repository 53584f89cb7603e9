"""What a solve returns, and what it may be called with. Knows no algorithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gflow.estimate import Estimate


class Solver(Enum):
    """The exact solvers; ``solver_for`` of an estimator says which one a problem gets."""

    SORT = "monotone rearrangement, one dimension"
    """Sorting; the plan is optimal for every convex cost."""
    EMD = "network simplex (POT)"
    """For low dimensions, and for clouds of different sizes or weights."""
    LAPJV = "Jonker-Volgenant assignment with potentials (package lapjv)"
    """For equal sizes, with the potentials that a certificate needs."""
    LAPX = "Jonker-Volgenant assignment without potentials (package lapx)"
    """For equal sizes where no certificate is asked for."""


class TransportError(RuntimeError):
    """A solve that did not reach the optimum, or whose plan or certificate failed its check."""


@runtime_checkable
class W2Estimator(Protocol):
    """Two clouds in, an ``Estimate`` of W2 squared out."""

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], /) -> Estimate:
        """W2 squared between the laws that the clouds stand for."""
        ...


@dataclass(frozen=True)
class TransportPlan:
    """An optimal plan between two clouds, its cost, and the potentials that prove it. Tensors lie on the CPU."""

    x_index: Int[Tensor, " k"]
    """Rows of x that send mass; ``arange(n)`` for a permutation."""
    y_index: Int[Tensor, " k"]
    """Rows of y that receive it."""
    mass: Float[Tensor, " k"]
    """Mass moved from ``x[x_index]`` to ``y[y_index]``; sums to 1."""
    primal: float
    """Cost of the plan: an upper bound of the optimal cost, from differences of coordinates."""
    dual: float
    """Dual value of feasible potentials: a lower bound to rounding; ``-inf`` where none was asked for."""
    potentials: tuple[Float[Tensor, " n"], Float[Tensor, " m"]] | None
    """(u, v) with ``u_i + v_j <= cost_ij``, in the units of the cost; None without a certificate, and for SORT."""
    solver: Solver
    """Which solver found the plan."""

    @property
    def gap(self) -> float:
        """``primal - dual``, relative to ``primal``; 0 where both are 0."""
        return 0.0 if self.primal == self.dual else (self.primal - self.dual) / self.primal

    @property
    def permutation(self) -> Int[Tensor, " n"]:
        """The permutation p with ``x[i]`` paired to ``y[p[i]]``, int64.

        Raises:
            ValueError: the plan splits mass.
        """
        k = len(self.x_index)
        order = torch.arange(k)
        if not torch.equal(self.x_index, order) or not torch.equal(self.y_index.sort().values, order):
            raise ValueError("permutation: this plan splits mass, it pairs no points one to one")
        return self.y_index

    def estimate(self) -> Estimate:
        """The certified interval [dual, primal]; bias ``up``, that of the plug-in between independent samples."""
        # Where the gap is below rounding, dual may come out above primal by a few ulp.
        lo = min(self.dual, self.primal) if math.isfinite(self.dual) else -math.inf
        return Estimate(mean=self.primal, lo=lo, hi=self.primal, bias="up")
