"""What a field does to a pair of points: the difference quotient and the mean Jacobian between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gflow.lipschitz.pointwise import check_points, check_value, default_chunk, jacobian, log_norm
from gflow.velocity import Time, VelocityField

_FINER = (8, 64)  # nodes of the second and third attempt: most pairs that need more than two need few more


@dataclass(frozen=True)
class MeanJacobian:
    """The mean Jacobian of n pairs, how well quadrature knew it, and its logarithmic norm."""

    A: Float[Tensor, "n d d"]
    """Mean Jacobian; with the secant correction ``A e = v(x) - v(y)`` to round-off."""
    residual: Float[Tensor, " n"]
    """``|v(x) - v(y) - A e| / |v(x) - v(y)|`` before the correction; 0 where it is round-off."""
    mu: Float[Tensor, " n"]
    """``log_norm(A)``: the one-sided Lipschitz constant along the pair; never below its quotient."""
    refined: int
    """Number of pairs that were redone with 8 nodes, and where those did not do with 64."""


def pair_quotient(
    v: VelocityField[Tensor],
    t: Time,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    *,
    vx: Float[Tensor, "n d"] | None = None,
    vy: Float[Tensor, "n d"] | None = None,
) -> Float[Tensor, " n"]:
    """``(x - y).(v(x) - v(y)) / |x - y|^2`` of each pair, NaN where x = y (0/0).

    The growth rate of ``|x - y|`` when both move with ``v``; at most the one-sided Lipschitz
    constant of ``v`` on a convex domain (W2B-2, W2B-11). For time that runs backwards give ``-v``.
    ``vx`` and ``vy`` save the evaluations when ``v(t, x)`` and ``v(t, y)`` are known.

    Raises:
        ValueError: clouds or values of different shapes or dtypes.
    """
    e = _difference(x, y)
    vx, vy = _values(v, t, x, y, vx, vy)
    return (e * (vx - vy)).sum(1) / (e * e).sum(1)


def mean_jacobian(
    v: VelocityField[Tensor],
    t: Time,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    *,
    nodes: int,
    correct: bool = True,
    refine_above: float | None = 0.05,
    vx: Float[Tensor, "n d"] | None = None,
    vy: Float[Tensor, "n d"] | None = None,
    chunk: int | None = None,
) -> MeanJacobian:
    """``A = int_0^1 Dv(y + theta (x - y)) dtheta`` of each pair, so that ``v(x) - v(y) = A (x - y)``.

    Gauss-Legendre with ``nodes`` nodes, then the least change that makes the identity hold (the
    secant update of Broyden 1965): ``A += ((v(x) - v(y)) - A e) e^T / |e|^2``, none where the defect
    is round-off, which includes e = 0. Nodes alone fail on segments that cross a steep region
    (W2B-19). Keeps dtype and device; for backward time give ``-v``.

    Args:
        v: field; its ``.jacobian`` is used where it has one.
        t: time, as ``v`` takes it.
        x: first points of the pairs.
        y: second points of the pairs.
        nodes: quadrature nodes, at least 1: exact for fields of degree ``2 * nodes`` in space.
        correct: apply the secant update.
        refine_above: pairs of larger residual are redone with 8 nodes, then with 64; None redoes none.
        vx: ``v(t, x)`` if known, which saves its evaluation.
        vy: ``v(t, y)`` if known.
        chunk: points per pass of the Jacobian.

    Raises:
        ValueError: clouds or values of different shapes or dtypes, ``nodes < 1``, a Jacobian that
            is not finite.
    """
    if nodes < 1:
        raise ValueError(f"nodes: needs at least 1, got {nodes}")
    e = _difference(x, y)
    with torch.no_grad():
        vx, vy = _values(v, t, x, y, vx, vy)
        gap, size = vx - vy, x.norm(dim=1) + y.norm(dim=1)
        noise = vx.norm(dim=1) + vy.norm(dim=1)
        a = _quadrature(v, t, y, e, nodes, chunk)
        defect, residual = _defect(a, e, gap, noise, size)
        allowed = math.inf if refine_above is None else refine_above
        rows = (residual > allowed).nonzero()[:, 0]
        refined = len(rows)
        for finer in _FINER:
            if finer > nodes and len(rows):
                a[rows] = _quadrature(v, t, y[rows], e[rows], finer, chunk)
                defect[rows], residual[rows] = _defect(a[rows], e[rows], gap[rows], noise[rows], size[rows])
                rows = rows[residual[rows] > allowed]
        if correct:
            squared = (e * e).sum(1, keepdim=True)
            # e / |e|^2 overflows for the tiniest e, whose defect is round-off and zero already.
            direction = torch.where(squared > 0, e / squared, 0.0)
            a = torch.addcmul(a, defect[:, :, None], direction[:, None, :])
    return MeanJacobian(a, residual, log_norm(a), refined)


def _quadrature(v: VelocityField[Tensor], t: Time, y: Tensor, e: Tensor, nodes: int, chunk: int | None) -> Tensor:
    """Gauss-Legendre sum of Jacobians (n, d, d), as many nodes per pass as fit the chunk."""
    n, d = y.shape
    theta, weight = (torch.as_tensor(q, dtype=y.dtype, device=y.device) for q in _gauss(nodes))
    per_pass = max(1, (chunk or default_chunk(v, y)) // n)
    total = torch.zeros((), dtype=y.dtype, device=y.device)
    for part, w in zip(torch.split(theta, per_pass), torch.split(weight, per_pass), strict=True):
        points = torch.addcmul(y, part[:, None, None], e).reshape(-1, d)
        total = total + w @ jacobian(v, t, points, chunk=chunk).reshape(len(part), -1)
    return total.reshape(n, d, d)


def _defect(a: Tensor, e: Tensor, gap: Tensor, noise: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """``gap - a e`` and its size relative to ``gap``, both 0 where a backward stable field could not know better."""
    defect = gap - torch.bmm(a, e[:, :, None])[:, :, 0]
    norm = defect.norm(dim=1)
    # v(x) carries an error of about eps (|v| + |Dv| |x|); divided by a tiny |e| it would ruin A.
    floor = 16 * torch.finfo(e.dtype).eps * (noise + a.flatten(1).norm(dim=1) * size)
    known = norm > floor
    return defect * known[:, None], torch.where(known, norm / gap.norm(dim=1), 0.0)


@lru_cache(maxsize=32)
def _gauss(nodes: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    theta, weight = np.polynomial.legendre.leggauss(nodes)
    return (theta + 1) / 2, weight / 2


def _difference(x: Tensor, y: Tensor) -> Tensor:
    check_points(x)
    if x.shape != y.shape or x.dtype != y.dtype:
        raise ValueError(f"y: expected {tuple(x.shape)} of {x.dtype} as x, got {tuple(y.shape)} of {y.dtype}")
    return x - y


def _values(
    v: VelocityField[Tensor], t: Time, x: Tensor, y: Tensor, vx: Tensor | None, vy: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The velocities at both ends, evaluated where they are not given."""
    vx = v(t, x) if vx is None else vx
    vy = v(t, y) if vy is None else vy
    check_value(vx, x, t, "v(t, x)")
    check_value(vy, y, t, "v(t, y)")
    return vx, vy
