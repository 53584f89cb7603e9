"""f-divergences as data: functions of the log-ratio. Knows no sample, no critic network and no training.

Everything takes ``d = log r``, ``r = p/q``, not ``r``: in float32 ``r`` overflows at d = 89, and log-sigmoids formed
from it have lost their digits by d = 17. The divergences of gflow are accurate for |d| <= 80 in float32, apart from an
``inf`` where the value exceeds the dtype, such as r^2 for d > 44.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ratio.stable import expm1

Elementwise = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
"""A function applied entry by entry, in torch operations: it keeps shape, dtype and device."""


@dataclass(frozen=True)
class CriticOutput:
    """What a critic of outputs D knows of its divergence: T = g(D), f*(g(D)), and the log-ratio it means."""

    activation: Elementwise
    """The output activation g_f: T = g_f(D) lies in the domain of f* for every D."""
    conjugate: Elementwise
    """``f*(g_f(D))`` in one safe formula: the composition may round to the end of the domain."""
    log_ratio: Elementwise
    """The log-ratio of which D is the optimal critic: ``g_f(D) = f'(e^{log_ratio(D)})``."""
    optimum: Elementwise
    """The optimal D of a log-ratio: the inverse of ``log_ratio``."""


@dataclass(frozen=True)
class FDivergence:
    """``D_f(p||q) = E_q f(p/q)`` with f strictly convex (Csiszar 1967); RATIO-3 and RATIO-4 of docs/theory.

    ``sup_T E_p T - E_q f*(T)`` is D_f(p||q), attained at T = f'(r) (Nowozin, Cseke and Tomioka 2016). Functions are
    elementwise, and are given redundantly, each in the form that is safe in float32: ``check_divergence`` tells whether
    they belong together. A critic outputs the log-ratio itself unless ``output`` says otherwise.

    Raises:
        ValueError: a domain that is not an interval.
    """

    name: str
    """What it is called; names differ between papers, the formula decides."""
    f: Elementwise
    """``f(e^d)``."""
    f_prime: Elementwise
    """``f'(e^d)``: the optimal T. Its limit at d = +inf is what mass of p outside q costs."""
    saturating: Elementwise
    """``f*(f'(r)) = r f'(r) - f(r)`` at r = e^d. Its limit at d = -inf is -f(0)."""
    conjugate: Elementwise
    """The convex conjugate ``f*(t) = sup_{r>0} t r - f(r)``."""
    domain: tuple[float, float]
    """Ends of the interval of t on which f* is finite, without the ends."""
    saturating_rate: Elementwise
    """``r^2 f''(r)`` at r = e^d: the speed of the flow of D_f(p||q) in q is this times grad log r."""
    alternative_rate: Elementwise
    """``r f''(r)`` at r = e^d: the same for the generator loss -E T."""
    at_equality: float = 0.0
    """``f(1) = D_f(p||p)``; 0 for what deserves the name divergence."""
    output: CriticOutput | None = None
    """The critic's output, or None: D is the log-ratio."""

    def __post_init__(self) -> None:
        """Check the domain."""
        if not self.domain[0] < self.domain[1]:
            raise ValueError(f"{self.name}: domain must be an interval (low, high), got {self.domain}")

    def activation(self, D: Float[Tensor, "*shape"], /) -> Float[Tensor, "*shape"]:
        """``T = g_f(D)``, the output activation."""
        return self.f_prime(D) if self.output is None else self.output.activation(D)

    def activated_conjugate(self, D: Float[Tensor, "*shape"], /) -> Float[Tensor, "*shape"]:
        """``f*(g_f(D))``."""
        return self.saturating(D) if self.output is None else self.output.conjugate(D)

    def log_ratio(self, D: Float[Tensor, "*shape"], /) -> Float[Tensor, "*shape"]:
        """The log-ratio of which D is the optimal critic; -inf or NaN where D is none's."""
        return D if self.output is None else self.output.log_ratio(D)

    def optimum(self, d: Float[Tensor, "*shape"], /) -> Float[Tensor, "*shape"]:
        """The optimal output D* at log-ratio d: ``g_f(D*) = f'(e^d)``."""
        return d if self.output is None else self.output.optimum(d)

    def swapped(self, d: Float[Tensor, "*shape"], /) -> Float[Tensor, "*shape"]:
        """``f~(e^d)`` with ``f~(u) = u f(1/u)``, for which D_f(p||q) = D_f~(q||p) (RATIO-3)."""
        return d.exp() * self.f(-d)

    def plus(self, constant: float, slope: float, *, name: str) -> FDivergence:
        """With ``f(r) + constant + slope (r - 1)``: D_f plus the constant, and the same saddle (RATIO-3)."""
        lift = slope - constant
        output = CriticOutput(
            lambda D: self.activation(D) + slope,
            lambda D: self.activated_conjugate(D) + lift,
            self.log_ratio,
            self.optimum,
        )
        return replace(
            self,
            name=name,
            f=lambda d: self.f(d) + constant + slope * expm1(d),
            f_prime=lambda d: self.f_prime(d) + slope,
            saturating=lambda d: self.saturating(d) + lift,
            conjugate=lambda t: self.conjugate(t - slope) + lift,
            domain=(self.domain[0] + slope, self.domain[1] + slope),
            at_equality=self.at_equality + constant,
            output=output,
        )

    def between(self, p: Float[Tensor, "*batch n"], q: Float[Tensor, "*batch n"], /) -> Float[Tensor, "*batch"]:
        """``D_f(p||q)`` of probability vectors along the last axis; ``inf`` where it is infinite.

        Entries may be zero: ``q f(0)`` where p has none, ``p f'(inf)`` where q has none.

        Raises:
            ValueError: shapes or dtypes that differ, or vectors that are no probabilities.
        """
        require_probabilities(p, q)
        shared = (p > 0) & (q > 0)
        inner = torch.where(
            shared, q * self.f(torch.where(shared, p, 1.0).log() - torch.where(shared, q, 1.0).log()), 0.0
        )
        end = torch.full((), math.inf, dtype=p.dtype, device=p.device)
        only_p = torch.where((p > 0) & (q == 0), p * self.f_prime(end), 0.0)
        only_q = torch.where((q > 0) & (p == 0), -q * self.saturating(-end), 0.0)
        return (inner + only_p + only_q).sum(-1)


def require_probabilities(p: Tensor, q: Tensor) -> None:
    """Raise ValueError unless both are probability vectors along the last axis, of one shape and dtype."""
    if p.shape != q.shape or p.dtype != q.dtype or p.ndim < 1:
        raise ValueError(
            f"p and q: need one shape (..., n) and dtype, got {tuple(p.shape)} {p.dtype} and {tuple(q.shape)} {q.dtype}"
        )
    for name, x in (("p", p), ("q", q)):
        gap = float((x.sum(-1) - 1).abs().max())
        # Negated, so that NaN fails.
        if not (bool((x >= 0).all()) and gap <= 100 * torch.finfo(x.dtype).eps * x.shape[-1]):
            raise ValueError(
                f"{name}: needs non-negative entries of sum 1, got {float(x.min()):.3g} and a sum off by {gap:.3g}"
            )
