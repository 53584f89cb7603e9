"""Bounds of the Hessian of log p over balls, for mixtures of Gaussians.

With one isotropic variance v the covariance q of the slopes m_k / v along an axis obeys ``|dq/dx| <= q
sqrt(R^2 - 4q)``, R the width of the slopes (``problems.osl``). For two components that is the
logistic growth of their log-odds; so ``q <= R^2 p (1 - p)`` with logit p moving at speed R.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.lipschitz.mixed import AffineMix, mixed_log_norm
from gflow.problems.components import Components, SharedVariance
from gflow.problems.osl import diameter, grid_sides

_STEEPEST = 0.5 - 1.0 / math.sqrt(12.0)  # where p (1 - p) grows fastest in logit p
_MANY = 1024  # components above which the diameter is bounded by twice the radius, at no cost in pairs


def score_log_norm(
    components: Components,
    log_weights: Float[Tensor, " k"],
    centres: Float[Tensor, "n d"],
    radii: Float[Tensor, " n"],
    direction: int,
) -> Float[Tensor, " n"]:
    """An upper bound of ``lambda_max(direction * Hess log p)`` on each ball, for all rows at once."""
    mix = components.affine_mix(centres, log_weights)
    bound = mixed_log_norm(mix.times(direction), radii)
    if not isinstance(components, SharedVariance):
        return bound
    precision = 1.0 / float(components.variance)
    if direction < 0:
        return bound.clamp_max(precision)
    return torch.minimum(bound, shared_variance_growth(components, log_weights, mix, radii) - precision)


def shared_variance_growth(
    components: SharedVariance, log_weights: Float[Tensor, " k"], mix: AffineMix, radii: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Largest ``lambda_max(Cov_gamma(m)) / v^2`` on each ball: never above ``(R / 2)^2``.

    Per axis for product grids with product weights and for collinear means; sharp for two values.
    """
    variance, spread = float(components.variance), components.spread
    covariance = mix.score_covariance()
    sides = grid_sides(log_weights.exp(), spread)
    if sides is not None:
        widths = spread.new_tensor([side for side, _ in sides]) / variance
        return grown(covariance.diagonal(0, 1, 2), widths, radii, axis=True).amax(1)
    size = diameter(spread) if len(spread) <= _MANY else 2.0 * float(components.radius)
    # Collinear means vary along one axis; else the steepest direction need not be the widest.
    axis = len(spread) <= _MANY and int(torch.linalg.matrix_rank(spread - spread[0])) == 1
    widest = torch.linalg.eigvalsh(covariance)[:, -1:]
    return grown(widest, spread.new_tensor([size / variance]), radii, axis=axis)[:, 0]


def grown(
    q: Float[Tensor, "n j"], widths: Float[Tensor, " j"], radii: Float[Tensor, " n"], *, axis: bool
) -> Float[Tensor, "n j"]:
    """The solution at ``radii`` of ``dq/dr = G(q)`` from q, at most ``R^2 / 4``.

    ``G(q) = q sqrt(R^2 - 4q)`` on one axis. Else q is the largest of all directions' variances, the
    steepest of which may be any with less: G is then the largest value up to q, constant from R^2/6 on.
    """
    tiny = torch.finfo(q.dtype).tiny  # a variance that underflowed is raised: growth would not see it
    squared = (widths * widths).clamp_min(tiny)
    share = (q / squared).clamp(tiny, 0.25)
    p = 2 * share / (1 + (1 - 4 * share).sqrt())
    start, reach = torch.logit(p), widths * radii[:, None]
    stop = 0.0 if axis else math.log(_STEEPEST / (1 - _STEEPEST))
    p = torch.sigmoid((start + reach).clamp_max(stop))
    curved = torch.where(start > stop, share, p * (1 - p))
    if axis:
        return squared * torch.maximum(curved, share)
    straight = (reach - (stop - start).clamp_min(0.0)).clamp_min(0.0) / (6.0 * math.sqrt(3.0))
    return squared * (curved + straight).clamp_max(0.25)
