"""Bounds over balls for fields that mix affine ones by softmax weights. Knows no law: only weights and slopes.

``v(x) = sum gamma_k(x) v_k(x)`` with affine v_k of slopes K_k, and weights whose logits are
quadratic: their gradients s_k are affine of slopes -P_k. Scores of Gaussian mixtures (v_k = s_k) and
conditional means between them are such fields, and ``Dv = sum gamma_k K_k + Cov_gamma(v_k, s_k)``.

A weight's log-odds change over a ball by at most what Jensen's inequality leaves:
``logit gamma_k(c + h) <= logit gamma_k(c) + (s_k - mean of the others' s).h - h.(P_k - mean of the
others' P)h / 2``, which is an equality for two components.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.lipschitz.pointwise import log_norm


@dataclass(frozen=True)
class AffineMix:
    """The parts of such a field at n points; the first axis of slopes and precisions is 1 where all k agree."""

    log_gamma: Float[Tensor, "n k"]
    """Logarithms of the weights, which may be far below the smallest float."""
    velocities: Float[Tensor, "n k d"]
    """v_k at the points, up to a shift common to all k."""
    scores: Float[Tensor, "n k d"]
    """Gradients s_k of the logits, up to a shift common to all k."""
    slopes: Float[Tensor, "i d d"]
    """K_k."""
    precisions: Float[Tensor, "j d d"]
    """P_k, symmetric."""

    def times(self, direction: int) -> AffineMix:
        """The parts of ``direction * v``."""
        return AffineMix(
            self.log_gamma, direction * self.velocities, self.scores, direction * self.slopes, self.precisions
        )

    @property
    def is_score(self) -> bool:
        """Whether v is the gradient of the logits' logarithmic sum: then Dv is symmetric."""
        return torch.equal(self.velocities, self.scores) and torch.equal(self.slopes, -self.precisions)

    def score_covariance(self) -> Float[Tensor, "n d d"]:
        """``Cov_gamma(s)``: a sum of squares, which keeps its digits where one weight is nearly 1."""
        gamma = self.log_gamma.exp()
        return _gram(gamma, _centred(gamma, self.scores))


def mixed_log_norm(mix: AffineMix, radii: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """An upper bound of ``log_norm(Dv)`` on the ball of each radius about each point, up to round-off.

    Exact at radius 0, larger by O(radius), monotone in the radius. With common slopes and
    precisions it stays below a constant of the whole space, ``log_norm(K) + diam(z)^2 / 16`` with
    z = tau v + s / tau. Time and memory are those of a few arrays (n, k, d): chunk the rows.
    """
    if mix.log_gamma.shape[1] == 1:
        return log_norm(mix.slopes).expand(len(radii)).clone()
    gamma = mix.log_gamma.exp()
    s = _centred(gamma, mix.scores)
    weights = weight_ranges(mix, s, radii)
    shared = len(mix.slopes) == len(mix.precisions) == 1
    if shared and mix.is_score:
        return log_norm(mix.slopes + _gram(weights.highest, s))  # Cov(s) <= E (s - c)(s - c)^T for any c
    v = _centred(gamma, mix.velocities)
    mean_slope = mix.slopes if len(mix.slopes) == 1 else torch.einsum("nk,kab->nab", gamma, mix.slopes)
    jacobian = mean_slope + (gamma[:, :, None] * v).mT @ s
    # What a weight's change adds, delta v s^T, lies between -fall and rise times the two halves of its symmetric part.
    along, against = _halves(v, s)
    local = log_norm(jacobian + _gram(weights.rise, along) + _gram(weights.fall, against))
    if shared:
        local = local + _mean_shift(weights, v, s, radii)
        return torch.minimum(local, log_norm(mix.slopes) + _polarised(weights.highest, v, s))
    # 0 * inf where a huge radius overflows: infinity is a bound too.
    return (local + _spread(weights, mix, v, s, radii)).nan_to_num(nan=math.inf, posinf=math.inf)


@dataclass(frozen=True)
class WeightRanges:
    """The weights at the centres, and at most how far above and below that they go on the balls."""

    gamma: Float[Tensor, "n k"]
    rise: Float[Tensor, "n k"]
    fall: Float[Tensor, "n k"]

    @property
    def highest(self) -> Tensor:
        """A bound of each weight."""
        return self.gamma + self.rise

    @property
    def change(self) -> Tensor:
        """A bound of how far each weight goes either way."""
        return torch.maximum(self.rise, self.fall)


def weight_ranges(mix: AffineMix, s: Float[Tensor, "n k d"], radii: Float[Tensor, " n"]) -> WeightRanges:
    """How far the weights can go: by their log-odds (module docstring), and no one falls by more than all others rise.

    Exact for two components of one precision. ``s`` are the scores about their mean.
    """
    gamma, top = mix.log_gamma.exp(), mix.log_gamma.argmax(1, keepdim=True)
    # Near 1 the largest weight leaves no digits to the others' mean: they are averaged by themselves.
    others = mix.log_gamma.scatter(1, top, -math.inf).softmax(1)
    rest = 1 - gamma
    of_top = s.gather(1, top.unsqueeze(2).expand(-1, 1, s.shape[2]))[:, 0]
    away_top = of_top - _mean(others, s)
    distance = (s.norm(dim=2) / rest).scatter(1, top, away_top.norm(dim=1, keepdim=True))
    reach = radii[:, None] * distance
    if len(mix.precisions) > 1:
        narrower = _pairwise(mix.precisions, lambda m: log_norm(m).clamp_min(0.0)).mT
        curvature = (gamma @ narrower / rest).scatter(1, top, (others @ narrower).gather(1, top))
        reach = reach + radii[:, None] ** 2 / 2 * curvature
    rise = (torch.sigmoid(mix.log_gamma - torch.log(rest) + reach) - gamma).clamp_min(0.0)
    return WeightRanges(gamma, rise, torch.minimum(gamma, rise.sum(1, keepdim=True) - rise))


def _mean_shift(weights: WeightRanges, v: Tensor, s: Tensor, radii: Tensor) -> Tensor:
    """What ``-E(v) E(s)^T``, 0 at the centre, can add: nothing along its part ``-c E(s) E(s)^T``."""
    joint, own = ((weights.gamma * (part * s).sum(2)).sum(1) for part in (v, s))
    c = (joint / own.clamp_min(torch.finfo(s.dtype).tiny)).clamp_min(0.0)
    left = v - c[:, None, None] * s
    # The mean of s moves by Cov(s) h, that of the rest by Cov(rest, s) h; or by what the weights allow.
    size, size_left = (log_norm(_gram(weights.highest, part)).clamp_min(0.0) for part in (s, left))
    shift = torch.minimum((weights.change * s.norm(dim=2)).sum(1), radii * size)
    shift_left = torch.minimum((weights.change * left.norm(dim=2)).sum(1), radii * (size * size_left).sqrt())
    return shift * shift_left


def _polarised(highest: Tensor, v: Tensor, s: Tensor) -> Tensor:
    """``Cov(v, s) <= Cov(z) / 4`` with z = tau v + s / tau, whose variances are at most (diameter / 2)^2."""
    wide, tall = (_diameter(part[0]) for part in (v, s))
    if wide == 0.0 or tall == 0.0:
        return torch.zeros_like(v[:, 0, 0])
    z = math.sqrt(tall / wide) * v + math.sqrt(wide / tall) * s
    bound: Tensor = log_norm(_gram(highest, z)).clamp_max(_diameter(z[0]) ** 2 / 4) / 4
    return bound


def _spread(weights: WeightRanges, mix: AffineMix, v: Tensor, s: Tensor, radii: Tensor) -> Tensor:
    """What slopes and precisions that differ add, and the shift of the means with them."""
    rho, change = radii[:, None], weights.change
    slopes, bends = (_deviation(weights.gamma, part) for part in (mix.slopes, mix.precisions))
    long_v, long_s = v.norm(dim=2), s.norm(dim=2)
    moved = weights.highest * rho * (slopes * long_s + long_v * bends + rho * slopes * bends)
    shift_v, shift_s = (change * (long_v + rho * slopes)).sum(1), (change * (long_s + rho * bends)).sum(1)
    total: Tensor = (change * slopes + moved).sum(1)
    return total if mix.is_score else total + shift_v * shift_s  # of a score the shift takes off -E(s) E(s)^T


def _halves(v: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors p, q with ``(v s^T + s v^T) / 2 = p p^T - q q^T``, of least size."""
    sizes = [part.norm(dim=2, keepdim=True) for part in (v, s)]
    units = [part / size.clamp_min(torch.finfo(v.dtype).tiny) for part, size in zip((v, s), sizes, strict=True)]
    scale = (sizes[0] * sizes[1]).sqrt() / 2
    return scale * (units[0] + units[1]), scale * (units[0] - units[1])


def _centred(gamma: Tensor, parts: Tensor) -> Tensor:
    return parts - _mean(gamma, parts).unsqueeze(1)


def _mean(gamma: Tensor, parts: Tensor) -> Tensor:
    return (gamma.unsqueeze(1) @ parts)[:, 0]


def _gram(factors: Tensor, parts: Tensor) -> Tensor:
    """``sum_k f_k q_k q_k^T``, (n, d, d)."""
    return (factors.unsqueeze(2) * parts).mT @ parts


def _deviation(gamma: Tensor, matrices: Tensor) -> Tensor:
    """A bound (n, k) of the spectral norm of each matrix minus their mean under gamma."""
    if len(matrices) == 1:
        return torch.zeros_like(gamma)
    return gamma @ _pairwise(matrices, lambda m: torch.linalg.matrix_norm(m, 2))


def _pairwise(matrices: Tensor, size: Callable[[Tensor], Tensor]) -> Tensor:
    """``[a, b] = size(matrices[b] - matrices[a])``, one row at a time."""
    return torch.stack([size(matrices - one) for one in matrices])


def _diameter(points: Tensor) -> float:
    """The largest distance between two of the points (k, d), or above 1024 of them a bound of it."""
    if len(points) > 1024:
        return 2.0 * float((points - points.mean(0)).norm(dim=1).max())
    # The matmul form of cdist loses digits and might round below the true diameter.
    return float(torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").max())
