"""From nearly optimal potentials to an optimal assignment, by column generation in float64.

Serves twice: it repairs what a float32 solver leaves, and it re-solves a problem whose neighbour is solved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from gflow.transport.cost import Matrix, arcs_below, c_transform

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
    within: float = np.inf,
) -> Refined | None:
    """Optimal permutation and potentials, relative gap at most ``tolerance``; None where this road does not lead there.

    Keep the arcs of small reduced cost, solve that sparse assignment exactly (LAPJVsp, Jonker and
    Volgenant 1987, in scipy), make its potentials tight by shortest paths, and add the arcs that
    they violate, until none is left. A round costs one pass over ``cost``. A start whose relative
    gap is above ``within`` is not tried.
    """
    n = len(cost)
    order = np.arange(n)
    u = c_transform(cost, v)
    if _gap(cost[order, columns], u, v[columns]) > within:
        return None
    arcs = _first_arcs(cost, columns, u, v)
    for _ in range(_ROUNDS):
        if arcs is None:
            return None
        i, j = np.divmod(arcs, n)
        reduced = cost[i, j] - v[j]
        reduced -= _row_minima(i, reduced, n)[i]
        columns = _sparse_assignment(i, j, reduced, n)
        shift = _tight_potentials(i, j, reduced, columns)
        if shift is None:
            return None
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


def _row_minima(i: Int[np.ndarray, " k"], values: Float[np.ndarray, " k"], n: int) -> Float[np.ndarray, " n"]:
    """Smallest value of each row of arcs; rows ``i`` are sorted and all present."""
    starts = np.searchsorted(i, np.arange(n))
    minimum: np.ndarray = np.minimum.reduceat(values, starts)
    return minimum


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


def _sparse_assignment(
    i: Int[np.ndarray, " k"], j: Int[np.ndarray, " k"], reduced: Float[np.ndarray, " k"], n: int
) -> Int[np.ndarray, " n"]:
    """Optimal permutation within the arcs, which hold at least one permutation."""
    spread = float(reduced.max() - reduced.min())
    # A constant on every arc changes no optimum, and scipy reads a stored 0 as no arc.
    weights = reduced - reduced.min() + (spread if spread > 0 else 1.0)
    _, columns = min_weight_full_bipartite_matching(csr_array((weights, (i, j)), shape=(n, n)))
    return np.asarray(columns, dtype=np.int64)


def _tight_potentials(
    i: Int[np.ndarray, " k"],
    j: Int[np.ndarray, " k"],
    reduced: Float[np.ndarray, " k"],
    columns: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"] | None:
    """Shift s of v that makes every arc feasible and the matched ones tight: Bellman-Ford from 0.

    ``s_j <= s_{columns[i]} + reduced_ij - reduced_{i, columns[i]}``; None for a negative cycle,
    which an optimal permutation does not have.
    """
    n = len(columns)
    matched = columns[i] == j
    own = np.empty(n)
    own[i[matched]] = reduced[matched]
    order = np.argsort(j[~matched], kind="stable")
    i, j, lengths = i[~matched][order], j[~matched][order], (reduced[~matched] - own[i[~matched]])[order]
    shift = np.zeros(n)
    if not len(j):
        return shift
    starts = np.flatnonzero(np.diff(j, prepend=-1))
    targets, sources = j[starts], columns[i]
    floor = 4 * np.finfo(np.float64).eps * float(np.abs(lengths).max())  # rounding of zero cycles never settles
    for _ in range(n + 1):
        reached = np.minimum.reduceat(shift[sources] + lengths, starts)
        better = reached < shift[targets] - floor
        if not better.any():
            return shift
        shift[targets[better]] = reached[better]
    return None
