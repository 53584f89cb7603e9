"""The table of RATIO-4 (docs/theory): six f-divergences and the Jensen-Shannon, in forms that are safe in float32."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from gflow.ratio.f_divergence import CriticOutput, Elementwise, FDivergence
from gflow.ratio.stable import expm1, log_one_minus_exp, sigmoid, softplus

_LINE = (-math.inf, math.inf)


def _below(end: float, conjugate: Elementwise) -> Elementwise:
    """``conjugate`` below ``end`` and +inf from there on, where f* is."""

    def everywhere(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        inside = t < end
        # Both branches are differentiated: the one not taken must be finite.
        return torch.where(inside, conjugate(torch.where(inside, t, end - 1.0)), math.inf)

    return everywhere


def _pearson_conjugate(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``t^2/4 + t``, and -1 below t = -2: there the supremum is at r = 0."""
    inside = t.clamp(min=-2.0)
    return inside * (0.25 * inside + 1.0)


def _gan(d: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``r log r - (1 + r) log(1 + r)`` without the difference of two large terms."""
    return -d.exp() * softplus(-d) - softplus(d)


KL = FDivergence(
    name="KL(p||q)",
    f=lambda d: d.exp() * d,
    f_prime=lambda d: 1.0 + d,
    saturating=torch.exp,
    conjugate=lambda t: (t - 1.0).exp(),
    domain=_LINE,
    saturating_rate=torch.exp,
    alternative_rate=torch.ones_like,
    output=CriticOutput(
        activation=torch.clone,
        conjugate=lambda D: (D - 1.0).exp(),
        log_ratio=lambda D: D - 1.0,
        optimum=lambda d: d + 1.0,
    ),
)
"""``int p log(p/q)``, f = r log r: forward KL for a model q."""

REVERSE_KL = FDivergence(
    name="KL(q||p)",
    f=torch.neg,
    f_prime=lambda d: -(-d).exp(),
    saturating=lambda d: d - 1.0,
    conjugate=_below(0.0, lambda t: -1.0 - (-t).log()),
    domain=(-math.inf, 0.0),
    saturating_rate=torch.ones_like,
    alternative_rate=lambda d: (-d).exp(),
)
"""``int q log(q/p)``, f = -log r: reverse KL for a model q."""

PEARSON = FDivergence(
    name="chi^2(p||q)",
    f=lambda d: expm1(d).square(),
    f_prime=lambda d: 2.0 * expm1(d),
    saturating=lambda d: expm1(2.0 * d),
    conjugate=_pearson_conjugate,
    domain=_LINE,
    saturating_rate=lambda d: 2.0 * (2.0 * d).exp(),
    alternative_rate=lambda d: 2.0 * d.exp(),
    output=CriticOutput(
        activation=torch.clone,
        conjugate=_pearson_conjugate,
        log_ratio=lambda D: (0.5 * D).log1p(),
        optimum=lambda d: 2.0 * expm1(d),
    ),
)
"""``int (p - q)^2 / q``, f = (r - 1)^2."""

NEYMAN = FDivergence(
    name="chi^2(q||p)",
    f=lambda d: 4.0 * (0.5 * d).sinh().square(),
    f_prime=lambda d: -expm1(-2.0 * d),
    saturating=lambda d: -2.0 * expm1(-d),
    conjugate=_below(1.0, lambda t: 2.0 - 2.0 * (1.0 - t).sqrt()),
    domain=(-math.inf, 1.0),
    saturating_rate=lambda d: 2.0 * (-d).exp(),
    alternative_rate=lambda d: 2.0 * (-2.0 * d).exp(),
    output=CriticOutput(
        activation=lambda D: -expm1(-D),
        conjugate=lambda D: -2.0 * expm1(-0.5 * D),
        log_ratio=lambda D: 0.5 * D,
        optimum=lambda d: 2.0 * d,
    ),
)
"""``int (q - p)^2 / p``, f = (1 - r)^2 / r."""

SQUARED_HELLINGER = FDivergence(
    name="squared Hellinger",
    f=lambda d: expm1(0.5 * d).square(),
    f_prime=lambda d: -expm1(-0.5 * d),
    saturating=lambda d: expm1(0.5 * d),
    conjugate=_below(1.0, lambda t: t / (1.0 - t)),
    domain=(-math.inf, 1.0),
    saturating_rate=lambda d: 0.5 * (0.5 * d).exp(),
    alternative_rate=lambda d: 0.5 * (-0.5 * d).exp(),
    output=CriticOutput(
        activation=lambda D: -expm1(-D),
        conjugate=expm1,
        log_ratio=lambda D: 2.0 * D,
        optimum=lambda d: 0.5 * d,
    ),
)
"""``int (sqrt p - sqrt q)^2``, f = (sqrt r - 1)^2; without the factor 1/2 of other texts."""

GAN = FDivergence(
    name="2 JS - 2 log 2",
    f=_gan,
    f_prime=logsigmoid,
    saturating=softplus,
    conjugate=_below(0.0, lambda t: -log_one_minus_exp(t)),
    domain=(-math.inf, 0.0),
    saturating_rate=sigmoid,
    alternative_rate=lambda d: sigmoid(-d),
    at_equality=-2.0 * math.log(2.0),
)
"""``2 JS(p, q) - 2 log 2``, f = r log r - (1 + r) log(1 + r), of the minimax GAN (Goodfellow et al. 2014)."""

JENSEN_SHANNON = GAN.plus(2.0 * math.log(2.0), math.log(2.0), name="2 JS")
"""``2 JS(p, q) = KL(p||m) + KL(q||m)``, m = (p + q)/2: the GAN's f normalized to f(1) = f'(1) = 0."""

DIVERGENCES = {each.name: each for each in (KL, REVERSE_KL, PEARSON, NEYMAN, SQUARED_HELLINGER, GAN, JENSEN_SHANNON)}
"""The divergences of this module by name."""


def divergence(name: str) -> FDivergence:
    """The divergence of that name.

    Raises:
        ValueError: no such name; the message lists them.
    """
    if name not in DIVERGENCES:
        raise ValueError(f"unknown divergence {name!r}; known are {', '.join(map(repr, DIVERGENCES))}")
    return DIVERGENCES[name]
