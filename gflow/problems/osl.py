"""Constants of mixture scores over all space, one-sided and of the Hessian: closed forms and certified bounds.

For components N(m_k, v I) the Hessian of log p is ``-I/v + Cov_gamma(m)/v^2``, with gamma the
responsibilities at x. A variable with values in an interval of length R has variance at most
R^2/4 (Popoviciu), so ``lambda_max <= -1/v + (diameter/2)^2 / v^2`` always.

Its derivative is the third central moment of the means under gamma over v^3. A variable of variance
q in an interval of length R has ``|third central moment| <= q sqrt(R^2 - 4q)``: with values in
[-a, b] about its mean, ``E (b - X)(X + q/b)^2 >= 0`` bounds E X^3 by ``b q - q^2/b``, and ``q <= b
(R - b)`` bounds b. Two values reach it. Over all q that is R^3 / (6 sqrt 3), at q = R^2/6; and a
symmetric trilinear form is largest on equal arguments (Banach 1938), so no mixed moment is larger.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate


def shared_variance_osl(weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], variance: float) -> Estimate:
    """``sup_x lambda_max(Hess log p)`` for ``p = sum w_k N(m_k, v I)``, exact or an upper bound.

    - Affinely independent means: gamma takes every value inside the simplex (its log-ratios are
      an affine map of x onto R^{k-1}), so the bound is reached at a half-half split of the two
      farthest means: exact, ``(diameter/2)^2/v^2 - 1/v``. A pair +-c gives ``c^2/v^2 - 1/v``,
      reached on the midplane (ORC-12 of docs/theory).
    - Product grids with product weights: log p is a sum over the axes, so the constant is the
      largest of the axes' constants; exact when that axis has at most two values.
    - Otherwise the bound above, labelled ``up``.
    """
    width, exact = _width(weights, means)
    value = ((width / 2.0) ** 2 / variance - 1.0) / variance
    return Estimate.exact(value, bias="none" if exact else "up")


def shared_variance_hessian_lipschitz(
    weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], variance: float
) -> Estimate:
    """Lipschitz constant of ``x -> Hess log p`` in the spectral norm for ``p = sum w_k N(m_k, v I)``.

    ``R^3 / (6 sqrt(3) v^3)`` with R the diameter of the means, or the longest side of a product
    grid with product weights. Exact (bias ``none``) where ``shared_variance_osl`` is: a pair reaches
    it where its responsibilities are ``1/2 +- 1/sqrt(12)``.
    """
    width, exact = _width(weights, means)
    return Estimate.exact((width / variance) ** 3 / (6.0 * math.sqrt(3.0)), bias="none" if exact else "up")


def _width(weights: Tensor, means: Tensor) -> tuple[float, bool]:
    """The length R of the bounds, and whether responsibilities that reach them exist."""
    sides = grid_sides(weights, means)
    if sides is not None:
        # The widest axis decides: a narrower one has a smaller bound, hence a smaller constant.
        return max(sides)
    width = diameter(means)
    return width, width == 0.0 or _affinely_independent(means)


def grid_sides(weights: Float[Tensor, " k"], means: Float[Tensor, "k d"]) -> list[tuple[float, bool]] | None:
    """The d sides of a product grid with product weights, and which have at most two values; None if no grid.

    Under every responsibilities the coordinates of such means are independent.
    """
    sides, cells, product = [], means.new_zeros(len(means), dtype=torch.long), weights.new_ones(len(means))
    count = 1
    for column in means.unbind(1):
        values, index = _levels(column)
        marginal = weights.new_zeros(len(values)).index_add(0, index, weights)
        product = product * marginal[index]
        cells = cells * len(values) + index
        count *= len(values)
        if count > len(means):
            return None
        sides.append((float(values[-1] - values[0]), len(values) <= 2))
    tolerance = 100 * torch.finfo(weights.dtype).eps
    full = count == len(means) and len(set(cells.tolist())) == count
    if not full or not torch.allclose(product, weights, rtol=tolerance, atol=0.0):
        return None
    return sides


def _levels(column: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct values of a coordinate up to rounding, ascending, and the index of each entry."""
    tolerance = 1e3 * torch.finfo(column.dtype).eps * float(column.abs().max())
    ordered, order = column.sort()
    step = torch.cat([column.new_zeros(1), (ordered.diff() > tolerance).to(column.dtype)])
    rank = step.cumsum(0).long()
    index = torch.empty_like(rank).scatter(0, order, rank)
    return ordered[torch.searchsorted(rank, torch.arange(int(rank[-1]) + 1, device=rank.device))], index


def _affinely_independent(means: Tensor) -> bool:
    """Whether the means span a simplex of dimension k - 1, judged by the rank in floating point."""
    k, d = means.shape
    return k <= d + 1 and (k == 1 or int(torch.linalg.matrix_rank(means[1:] - means[0])) == k - 1)


def diameter(means: Float[Tensor, "k d"]) -> float:
    """The largest distance between two means, in blocks of rows."""
    blocks = torch.split(means, 1024)
    # The matmul form of cdist loses digits and might round below the true diameter.
    distances = [torch.cdist(b, means, compute_mode="donot_use_mm_for_euclid_dist").max() for b in blocks]
    return float(torch.stack(distances).max())
