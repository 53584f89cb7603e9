"""Cost matrices that are right for near points, and passes over them in cache-sized blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

Matrix = Float[np.ndarray, "n m"]
_BLOCK_BYTES = 2**20
_DIRECT_UP_TO = 8  # dimensions in which cdist is as fast as a matrix product (measured)
_NEAR = 1e-3  # of the largest cost: below, |x|^2 + |y|^2 - 2xy has lost 3 of 16 digits


def cost_matrix(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], *, root: bool) -> Float[np.ndarray, "n m"]:
    """``|x_i - y_j|^2``, or ``|x_i - y_j|`` with ``root``; C-ordered, relative error below 1e-11.

    In low dimension from differences. Else by one matrix product, and again from differences
    where the distance is small against the size of the clouds.
    """
    if x.shape[1] <= _DIRECT_UP_TO:
        return np.asarray(cdist(x, y, "euclidean" if root else "sqeuclidean"))
    out = np.empty((len(x), len(y)))
    right = np.ascontiguousarray(-2 * y.T)
    x_squared, y_squared = np.einsum("nd,nd->n", x, x), np.einsum("nd,nd->n", y, y)
    cut = _NEAR * float(x_squared.max() + y_squared.max())
    for rows in blocks(out):
        block = out[rows]
        np.matmul(x[rows], right, out=block)
        block += x_squared[rows, None]
        block += y_squared
        _repair(block, x[rows], y, cut)
        if root:
            np.sqrt(block, out=block)
    return out


def _repair(block: Matrix, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], cut: float) -> None:
    """Recompute the entries below ``cut`` from differences, in place."""
    near = np.flatnonzero(block.ravel() < cut)
    if len(near) > block.size // 8:
        block[:] = cdist(x, y, "sqeuclidean")
    elif len(near):
        i, j = np.divmod(near, block.shape[1])
        difference = x[i] - y[j]
        block[i, j] = np.einsum("kd,kd->k", difference, difference)


def pair_costs(x: Float[np.ndarray, "k d"], y: Float[np.ndarray, "k d"], *, root: bool) -> Float[np.ndarray, " k"]:
    """Cost of each pair of rows, from differences: 0 exactly for equal points."""
    difference = x - y
    squared: np.ndarray = np.einsum("kd,kd->k", difference, difference)
    return np.sqrt(squared) if root else squared


def blocks(cost: Matrix) -> Iterator[slice]:
    """Slices of rows that stay in cache while they are worked on."""
    size = _block_rows(cost)
    for start in range(0, len(cost), size):
        yield slice(start, min(start + size, len(cost)))


def reduced_blocks(cost: Matrix, v: Float[np.ndarray, " m"]) -> Iterator[tuple[slice, Matrix]]:
    """``cost_ij - v_j`` block by block, in one buffer that the next block overwrites."""
    buffer = np.empty((min(_block_rows(cost), len(cost)), cost.shape[1]))
    for rows in blocks(cost):
        yield rows, np.subtract(cost[rows], v, out=buffer[: rows.stop - rows.start])


def c_transform(cost: Matrix, v: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """``u_i = min_j cost_ij - v_j``: the largest u for which (u, v) is feasible, in one pass."""
    u = np.empty(len(cost))
    for rows, reduced in reduced_blocks(cost, v):
        reduced.min(axis=1, out=u[rows])
    return u


def arcs_below(
    cost: Matrix, v: Float[np.ndarray, " m"], cut: Float[np.ndarray, " n"], *, limit: int
) -> Int[np.ndarray, " k"] | None:
    """Flat indices, sorted, of the entries with ``cost_ij - v_j <= cut_i``; None for more than ``limit``."""
    found = [np.empty(0, dtype=np.int64)]
    total = 0
    for rows, reduced in reduced_blocks(cost, v):
        hits = np.flatnonzero(reduced <= cut[rows, None])
        total += len(hits)
        if total > limit:
            return None
        found.append(hits + rows.start * cost.shape[1])
    return np.concatenate(found)


def _block_rows(cost: Matrix) -> int:
    """Rows of the matrix that fit in a block."""
    columns = int(cost.shape[1])
    return max(1, _BLOCK_BYTES // (8 * columns))
