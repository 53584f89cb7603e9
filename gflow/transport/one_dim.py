"""Optimal transport on the line, where sorting is exact for every convex cost."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from gflow.transport.clouds import Clouds, read_clouds
from gflow.transport.solvers import RawPlan


def w2_squared_1d(x: Float[Tensor, " n"], y: Float[Tensor, " m"]) -> float:
    """W2 squared between two uniform clouds on the line, by sorting (numpy, float64).

    Raises:
        ValueError: not 1-D, empty, NaN or infinity, or not floating-point.
    """
    for name, values in (("x", x), ("y", y)):
        if values.ndim != 1:
            raise ValueError(f"{name}: expected values (n,), got shape {tuple(values.shape)}")
    clouds = read_clouds(x[:, None], y[:, None])
    left, right = clouds.x[:, 0], clouds.y[:, 0]
    if len(left) == len(right):
        return float(np.mean((np.sort(left) - np.sort(right)) ** 2)) * clouds.unit**2
    plan = monotone_plan(clouds)
    return float(plan.mass @ (left[plan.rows] - right[plan.columns]) ** 2) * clouds.unit**2


def monotone_plan(clouds: Clouds) -> RawPlan:
    """The monotone rearrangement of the first coordinate (optimal for convex costs, Santambrogio 2015, thm 2.9)."""
    x_order = np.argsort(clouds.x[:, 0], kind="stable")
    y_order = np.argsort(clouds.y[:, 0], kind="stable")
    if clouds.uniform and len(x_order) == len(y_order):
        columns = np.empty_like(y_order)
        columns[x_order] = y_order
        return RawPlan.pairing(columns, None)
    i, j, mass = _staircase(clouds, x_order, y_order)
    return RawPlan(x_order[i], y_order[j], mass, None)


def _staircase(
    clouds: Clouds, x_order: Int[np.ndarray, " n"], y_order: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Sorted positions that meet, and the mass each meeting moves."""
    n, m = len(x_order), len(y_order)
    if clouds.uniform:
        return uniform_staircase(n, m)
    a, b = clouds.masses
    x_end, y_end = np.cumsum(a[x_order]).clip(max=1.0), np.cumsum(b[y_order]).clip(max=1.0)
    x_end[-1] = y_end[-1] = 1.0
    return _meetings(x_end, y_end, 1.0)


def uniform_staircase(n: int, m: int) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Ranks of n and of m equal masses that meet, and the mass each meeting moves; k <= n + m - 1."""
    # In units of 1/(n m) every step of both distribution functions is an integer.
    return _meetings(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n, float(n * m))


def _meetings(
    x_end: np.ndarray, y_end: np.ndarray, total: float
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """The common refinement of two distribution functions whose steps end there."""
    ends = np.union1d(x_end, y_end)
    starts = np.concatenate([np.zeros(1, ends.dtype), ends[:-1]])
    mass = (ends - starts) / total
    return np.searchsorted(x_end, starts, side="right"), np.searchsorted(y_end, starts, side="right"), mass
