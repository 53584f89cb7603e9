"""The sign term of the reverse SDE, and the sharper inequality that keeps it (W2B-6, W2B-7, W2B-9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import Profile
from gflow.bounds.rungs import log, log_sum
from gflow.estimate import Estimate


def sign_term(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    score_x: Float[Tensor, "n d"],
    score_y: Float[Tensor, "n d"],
) -> Estimate:
    """E[(x - y).(grad log p(x) - grad log q(y))] over the given pairs, x ~ p and y ~ q.

    For pairs y = T(x) it is E tr(DT + DT^{-1} - 2I) (W2B-6): not negative for the optimal coupling
    or in one dimension, of either sign for a coupling by flows (W2B-7). The interval is the normal
    one over the pairs.

    Raises:
        ValueError: arrays of different shapes, fewer than 2 pairs, or NaN or infinite numbers.
    """
    if len({tuple(a.shape) for a in (x, y, score_x, score_y)}) != 1 or len(x) < 2:
        shapes = [tuple(a.shape) for a in (x, y, score_x, score_y)]
        raise ValueError(f"sign_term: expected four arrays (n >= 2, d) of one shape, got {shapes}")
    values = ((x - y) * (score_x - score_y)).sum(1)
    if bad := int((~torch.isfinite(values)).sum()):
        raise ValueError(f"sign_term: NaN or infinite for {bad} of {len(values)} pairs")
    mean, half = float(values.mean()), 1.96 * float(values.std()) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, n=len(values), level=0.95, bias="none")


def sharper_sde_bound(
    s: Sequence[float],
    errors: Sequence[float],
    constants: Sequence[float],
    half_squared_diffusion: Sequence[float],
    signs: Sequence[float],
    distances: Sequence[float],
) -> Estimate:
    """B' = e + L B - (g^2/2) E tr(DT + DT^{-1} - 2I)/W2 along sampling time: W2B-5 with the term it drops (W2B-9).

    Args:
        s: nodes in sampling time, increasing; the trapezoidal rule joins them.
        errors: g^2 times the L2(p_s) norm of the score error.
        constants: one-sided Lipschitz constants of the SDE's model drift in sampling time.
        half_squared_diffusion: half the squared noise of the sampler, g^2/2 for the reverse SDE.
        signs: sign term under the optimal coupling.
        distances: W2(p_s, q_s); where it is 0 the gain, a 0/0, is left out.

    The bound is never taken below 0, and carried as a logarithm.

    Raises:
        ValueError: sequences of different lengths, fewer than 2 nodes, numbers that are not finite,
            nodes that do not increase, or a negative error, g^2/2 or distance.
    """
    columns = (s, errors, constants, half_squared_diffusion, signs, distances)
    if len({len(c) for c in columns}) != 1 or len(s) < 2:
        raise ValueError(f"sharper_sde_bound: expected sequences of one length >= 2, got {[len(c) for c in columns]}")
    _check_columns(s, errors, constants, half_squared_diffusion, signs, distances)
    gain = [a * sign / w if w > 0 else 0.0 for a, sign, w in zip(half_squared_diffusion, signs, distances, strict=True)]
    source = [e - q for e, q in zip(errors, gain, strict=True)]
    value = log(distances[0])
    for k in range(len(s) - 1):
        h = s[k + 1] - s[k]
        growth = h * (constants[k] + constants[k + 1]) / 2
        value = _log_add(_log_add(value, h * source[k] / 2) + growth, h * source[k + 1] / 2)
    return Estimate.bound(value, bias="up")


def sharper_sampler_bound(
    profile: Profile, half_squared_diffusion: Sequence[float], signs: Sequence[float], distances: Sequence[float]
) -> Estimate:
    """`local` of an Euler-Maruyama ladder less the sign term: the inequality of W2B-9 in the sampler's own steps.

    B_{k+1} = exp(h L_k) B_k + h (e_k - (g^2/2) E tr(DT + DT^{-1} - 2I)/W2), with the L_k and e_k of
    ``discrete_ladder``: without the sign term it is its ``local`` to round-off. The continuous inequality
    read at the steps, not a theorem about them, hence bias ``unknown``.

    Args:
        profile: of a discrete ladder of K steps.
        half_squared_diffusion: half the squared noise at the start of each step, (K).
        signs: sign term under the optimal coupling at the start of each step, (K).
        distances: W2(p_s, q_s) there, (K); where it is 0 the gain, a 0/0, is left out.

    Raises:
        ValueError: columns of another length than K, numbers that are not finite, or a negative
            g^2/2 or distance.
    """
    steps = len(profile.constant)
    if any(len(c) != steps for c in (half_squared_diffusion, signs, distances)):
        given = [len(c) for c in (half_squared_diffusion, signs, distances)]
        raise ValueError(f"sharper_sampler_bound: expected columns of {steps} steps, got {given}")
    _check_columns(profile.s[:-1], profile.model_error[:-1], profile.constant, half_squared_diffusion, signs, distances)
    value = log(profile.distance[0])
    for k, sign in enumerate(signs):
        h = profile.s[k + 1] - profile.s[k]
        gain = half_squared_diffusion[k] * sign / distances[k] if distances[k] > 0 else 0.0
        value = _log_add(value + h * profile.constant[k], h * (profile.model_error[k] - gain))
    return Estimate.bound(value, bias="unknown")


def _check_columns(s: Sequence[float], errors: Sequence[float], *others: Sequence[float]) -> None:
    constants, half_squared_diffusion, signs, distances = others
    named = {
        "s": s,
        "errors": errors,
        "constants": constants,
        "half_squared_diffusion": half_squared_diffusion,
        "signs": signs,
        "distances": distances,
    }
    for name, column in named.items():
        if not all(math.isfinite(v) for v in column):
            raise ValueError(f"{name}: expected finite numbers, got {list(column)}")
        if name in ("errors", "half_squared_diffusion", "distances") and min(column) < 0:
            raise ValueError(f"{name}: must not be negative, got {min(column)}")
    if any(b <= a for a, b in pairwise(s)):
        raise ValueError(f"s: nodes must increase, got {list(s)}")


def _log_add(log_value: float, c: float) -> float:
    """log(max(value + c, 0))."""
    if c >= 0:
        return log_sum(log_value, log(c))
    drop = log(-c) - log_value
    return log_value + math.log1p(-math.exp(drop)) if drop < 0 else -math.inf
