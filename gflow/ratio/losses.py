"""The table of MONO-3 (docs/theory): the generator losses in use, in forms that are safe in float32."""

from __future__ import annotations

import math

import torch

from gflow.ratio.divergences import GAN, REVERSE_KL
from gflow.ratio.loss import GeneratorLoss, exponential
from gflow.ratio.stable import sigmoid, softplus

LOGIT = GeneratorLoss(
    name="logit",
    h=torch.clone,
    h_prime=torch.ones_like,
    descends="KL(q||p)",
    phi=lambda d: REVERSE_KL.swapped(-d),
)
"""``-E D``; sometimes called the standard GAN loss, but not Goodfellow's."""

SATURATING = GeneratorLoss(
    name="saturating",
    h=softplus,
    h_prime=sigmoid,
    descends="2 JS(p, q)",
    phi=lambda d: GAN.swapped(-d),
)
"""``E log(1 - sigma(D))``, the minimax GAN (Goodfellow et al. 2014)."""

NON_SATURATING = GeneratorLoss(
    name="non-saturating",
    h=lambda d: -softplus(-d),
    h_prime=lambda d: sigmoid(-d),
    descends="2 KL((p+q)/2||p)",
    phi=lambda d: (1.0 + (-d).exp()) * softplus(-d),
)
"""``-E log sigma(D)``: with the saturating loss it sums to the logit loss."""

CHI = exponential(-1.0)
"""``E e^-D``: half of chi^2(q||p)."""

EXPONENTIAL = exponential(1.0)
"""``-E e^D``: KL(p||q)."""

ARCSINH = GeneratorLoss(
    name="arcsinh",
    h=torch.asinh,
    h_prime=lambda d: (1.0 + d.square()).rsqrt(),
    descends="D_phi(q||p) with phi(u) = int_1^u arcsinh(log s) ds",
)
"""``-E arcsinh(D)`` (Yi, Zhu and Liu 2023)."""

LSGAN = GeneratorLoss(
    name="LSGAN to 1",
    h=lambda d: -0.5 * sigmoid(-d).square(),
    h_prime=lambda d: sigmoid(-d).square() * sigmoid(d),
    descends="KL(p||p+q) - int p^2/(2(p+q))",
    phi=lambda d: -softplus(-d) - 0.5 * sigmoid(d),
)
"""``E (S - 1)^2 / 2`` with the least-squares critic S = sigma(D) (Mao et al. 2017): the fake's target is 1."""

LSGAN_HALF = GeneratorLoss(
    name="LSGAN to 1/2",
    h=lambda d: -0.125 * (0.5 * d).tanh().square(),
    h_prime=lambda d: -0.5 * (0.5 * d).tanh() * sigmoid(d) * sigmoid(-d),
    descends="(KL(p||p+q) - int p^2/(p+q))/2, which is no divergence",
    phi=lambda d: -0.5 * (softplus(-d) + sigmoid(d)),
    falls_on=(0.0, math.inf),
)
"""``E (S - 1/2)^2 / 2``, S = sigma(D): where p > q it drives mass away from what q lacks.

In float32 the gradient of ``h`` is rounding beyond |d| = 17, where ``h_prime`` keeps its digits.
"""


def shifted(C: float, /) -> GeneratorLoss:
    """``E log(1 - sigma(D + C))``: a skewed Jensen-Shannon; C = 0 is the saturating loss, C -> inf the logit one.

    Raises:
        ValueError: C outside [-80, 80]: its e^C is no number in float32.
    """
    if not abs(C) <= 80.0:
        raise ValueError(f"shifted: C must lie in [-80, 80], got {C}")
    scale = math.exp(C)
    return GeneratorLoss(
        name=f"saturating, shifted by {C:g}",
        h=lambda d: softplus(d + C),
        h_prime=lambda d: sigmoid(d + C),
        descends=f"KL(q||m) + e^{C:g} KL(p||m), m = (q + e^{C:g} p)/(1 + e^{C:g}): a skewed JS",
        phi=lambda d: -(-d).exp() * softplus(d + C) - scale * softplus(-(d + C)),
    )


GENERATOR_LOSSES = {
    each.name: each for each in (LOGIT, SATURATING, NON_SATURATING, CHI, EXPONENTIAL, ARCSINH, LSGAN, LSGAN_HALF)
}
"""The losses of this module by name; ``shifted``, ``exponential``, ``saturating`` and the like make others."""


def generator_loss(name: str) -> GeneratorLoss:
    """The loss of that name.

    Raises:
        ValueError: no such name; the message lists them.
    """
    if name not in GENERATOR_LOSSES:
        raise ValueError(f"unknown generator loss {name!r}; known are {', '.join(map(repr, GENERATOR_LOSSES))}")
    return GENERATOR_LOSSES[name]
