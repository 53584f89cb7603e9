"""From nearly optimal potentials to an optimal assignment, by column generation in float64.

Serves twice: it repairs what a float32 solver leaves, and it re-solves a problem whose neighbour is solved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gflow.transport.cost import Matrix, arcs_below, c_transform
from gflow.transport.solvers import sparse_simplex

_ARCS_PER_ROW = 8  # in the first sparse problem: optimal arcs rank among the first few (measured, d = 2 to 64)
_ARCS_LIMIT = 64  # per row; more means ties all over, where sparsity gains nothing
_ROUNDS = 12
_SAMPLED_ROWS = 64


@dataclass(frozen=True)
class Refined:
    """A permutation and potentials v that prove it optimal to the tolerance asked for."""

    columns: Int[np.ndarray, " n"]
    u: Float[np.ndarray, " n"]
    """The c-transform of v."""
    v: Float[np.ndarray, " n"]


def refine(
    cost: Matrix,
    columns: Int[np.ndarray, " n"],
    v: Float[np.ndarray, " n"],
    *,
    tolerance: float,
) -> Refined | None:
    """Optimal permutation and potentials, relative gap at most ``tolerance``; None where this road does not lead there.

    Keep the arcs of small reduced cost, solve that sparse problem exactly by network simplex, and add
    the arcs that its potentials violate, until none is left. A round costs one pass over ``cost``.
    """
    n = len(cost)
    order = np.arange(n)
    u = c_transform(cost, v)
    arcs = _first_arcs(cost, columns, u, v)
    for _ in range(_ROUNDS):
        if arcs is None:
            return None
        i, j = np.divmod(arcs, n)
        # Reduced costs are small where it matters; differences of costs would have lost their digits.
        solved = sparse_simplex(i, j, cost[i, j] - u[i] - v[j], n)
        if solved is None:
            return None
        columns, shift = solved
        v = v + shift
        u = c_transform(cost, v)
        matched = cost[order, columns]
        if _gap(matched, u, v[columns]) <= tolerance:
            return Refined(columns, u, v)
        arcs = _extended(arcs, cost, u, v, matched - v[columns])
    return None


def _gap(matched: Float[np.ndarray, " n"], u: Float[np.ndarray, " n"], v: Float[np.ndarray, " n"]) -> float:
    """Duality gap of the matched pairs, relative to their cost; summed from terms that vanish one by one."""
    primal, gap = float(matched.sum()), float((matched - u - v).sum())
    return gap / primal if primal > 0 else (0.0 if gap <= 0 else np.inf)


def _first_arcs(
    cost: Matrix, columns: Int[np.ndarray, " n"], u: Float[np.ndarray, " n"], v: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " k"] | None:
    """Sorted flat indices: the arcs of small reduced cost and those of the given permutation."""
    n = len(cost)
    sampled = np.arange(0, n, max(1, n // _SAMPLED_ROWS))
    rank = min(_ARCS_PER_ROW, n - 1)
    reduced = cost[sampled] - v - u[sampled, None]
    width = float(np.median(np.partition(reduced, rank, axis=1)[:, rank]))
    arcs = arcs_below(cost, v, u + width, limit=_ARCS_LIMIT * n)
    return None if arcs is None else np.union1d(arcs, np.arange(n) * n + columns)


def _extended(
    arcs: Int[np.ndarray, " k"],
    cost: Matrix,
    u: Float[np.ndarray, " n"],
    v: Float[np.ndarray, " n"],
    tight: Float[np.ndarray, " n"],
) -> Int[np.ndarray, " k2"] | None:
    """The arcs and those of negative reduced cost under (tight, v), sorted."""
    n = len(cost)
    rows = np.flatnonzero(u < tight)
    violated = arcs_below(cost[rows], v, tight[rows], limit=_ARCS_LIMIT * n)
    if violated is None:
        return None
    i, j = np.divmod(violated, n)
    together = np.union1d(arcs, rows[i] * n + j)
    return together if len(together) <= _ARCS_LIMIT * n else None
