"""Generator losses -E h(D) as data: which divergence each descends, and where it does not. Knows no network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ratio.f_divergence import Elementwise, FDivergence
from gflow.ratio.stable import expm1

_REACH = 80.0
"""Log-ratios beyond this are no numbers in float32."""


@dataclass(frozen=True)
class GeneratorLoss:
    """``L_G = -E_q h(D)`` for a critic D that outputs the log-ratio d = log p/q; MONO-2 and MONO-3 of docs/theory.

    With the optimal critic, held while differentiating, its gradient is that of ``D_phi(q||p) = int p phi(q/p)`` with
    ``phi'(u) = -h(-log u)``, and particles move with velocity ``h'(d) grad d``. It is a descent of KL(q||p) for every
    pair exactly if h' >= 0 (MONO-1). Functions are elementwise in d, safe in float32 for |d| <= 80.

    Raises:
        ValueError: ``falls_on`` that is no interval.
    """

    name: str
    """What it is called."""
    h: Elementwise
    """``h(d)``."""
    h_prime: Elementwise
    """``h'(d)``: the rescaling of grad log r in the velocity."""
    descends: str
    """The functional whose gradient flow it is, in words."""
    phi: Elementwise | None = None
    """``phi(q/p)`` at q/p = e^-d, up to a constant and a multiple of q/p; None where no elementary form is known."""
    falls_on: tuple[float, float] | None = None
    """The open interval of d on which h' < 0: mass is driven the wrong way there. None: h' >= 0 everywhere."""
    needs: str = ""
    """What must be finite for the rate E_q h'(d)|grad d|^2 to exist, where that is not evident."""

    def __post_init__(self) -> None:
        """Check the interval."""
        if self.falls_on is not None and not self.falls_on[0] < self.falls_on[1]:
            raise ValueError(f"{self.name}: falls_on must be an interval (low, high), got {self.falls_on}")

    @property
    def monotone(self) -> bool:
        """Whether h' >= 0 everywhere."""
        return self.falls_on is None

    def loss(self, D: Float[Tensor, " n"], /) -> Float[Tensor, ""]:
        """``-mean h(D)`` of the critic's outputs D at samples of the generator, a 0-d tensor.

        Raises:
            ValueError: no outputs.
        """
        if not D.numel():
            raise ValueError(f"{self.name}: the mean of no critic outputs does not exist")
        return -self.h(D).mean()


def saturating(f: FDivergence, /) -> GeneratorLoss:
    """``-E f*(T)``, the generator's part of the zero-sum f-GAN: h = f*(f'(e^d)), descends D_f(p||q) itself."""
    return GeneratorLoss(
        name=f"saturating, {f.name}",
        h=f.saturating,
        h_prime=f.saturating_rate,
        descends=f.name,
        phi=lambda d: f.swapped(-d),
    )


def alternative(f: FDivergence, /) -> GeneratorLoss:
    """``-E T``: h = f'(e^d), increasing, but in general the descent of a divergence other than D_f."""
    return GeneratorLoss(
        name=f"alternative, {f.name}",
        h=f.f_prime,
        h_prime=f.alternative_rate,
        descends=f"D_phi(q||p) with phi'(u) = -f'(1/u), f of {f.name}",
    )


def frozen_naive(f: FDivergence, /) -> GeneratorLoss:
    """``E_q f(r)`` with r held: h = -f(e^d), h' = -r f'(r), increasing only where f' < 0.

    Not the gradient of D_f(p||q), of which it is the value: the ratio depends on q. Unlike D_f it changes with a
    multiple of r - 1 added to f. In float32 it is accurate for |d| <= 40.
    """
    return GeneratorLoss(
        name=f"frozen naive, {f.name}",
        h=lambda d: -f.f(d),
        h_prime=lambda d: -d.exp() * f.f_prime(d),
        descends=f"int p phi(q/p) with phi'(u) = f(1/u), f of {f.name}",
        falls_on=_where_positive(f),
    )


def exponential(k: float, /) -> GeneratorLoss:
    """``h = sign(k) e^{k d}``, k != 0: the powers (int p^k q^{1-k} - 1)/(k - 1), alpha-divergences up to factors.

    k = 1 is KL(p||q), k = -1 half of chi^2(q||p), k = 2 chi^2(p||q); k -> 0, rescaled, is the logit loss.

    Raises:
        ValueError: k zero or not finite.
    """
    if k == 0.0 or not math.isfinite(k):
        raise ValueError(f"exponential: k must be finite and not 0 (k -> 0 is the logit loss), got {k}")
    sign, name = math.copysign(1.0, k), f"exponential {k:g}"
    power = k - 1.0
    return GeneratorLoss(
        name=name,
        h=lambda d: sign * (k * d).exp(),
        h_prime=lambda d: abs(k) * (k * d).exp(),
        descends="KL(p||q)" if k == 1.0 else f"{sign:g} (int p^{k:g} q^{1.0 - k:g} - 1)/{power:g}",
        # phi = sign u^(1-k)/(k-1) up to a constant; expm1 keeps it finite as k -> 1, where it is -log u = d.
        phi=lambda d: d if power == 0.0 else sign * expm1(power * d) / power,
        needs=f"int p^{k:g} q^{1.0 - k:g} |grad d|^2 finite",
    )


def _where_positive(f: FDivergence) -> tuple[float, float] | None:
    """The d at which f'(e^d) > 0: (d0, inf), f' being increasing; None where there is no such d."""

    def positive(d: float) -> bool:
        return bool(f.f_prime(torch.tensor(d, dtype=torch.float64)) > 0)

    low, high = -_REACH, _REACH
    if not positive(high):
        return None
    if positive(low):
        return (-math.inf, math.inf)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if positive(middle) else (middle, high)
    return (round(low, 12), math.inf)
