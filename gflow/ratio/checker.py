"""Whether the functions of a divergence or a loss belong together: every identity between them, by name.

Checked in float64 on the CPU, on grids of log-ratios, against automatic differentiation and against each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ratio.f_divergence import Elementwise, FDivergence
from gflow.ratio.loss import GeneratorLoss

Grid = Float[Tensor, " n"]
_RTOL = 1e-9
"""Nested derivatives of closed forms agree to about 1e-13 on the grids; a wrong formula is off by much more."""
_CANCELLATION = 1e-5


class IdentityError(ValueError):
    """Functions that do not belong together; the message names the identities that fail, and where."""


@dataclass(frozen=True)
class Identity:
    """One identity between functions, where on its grid it is worst."""

    name: str
    """The identity, as a formula."""
    error: float
    """Largest relative error, NaN where a side is none; for a sign or a domain, the share of points that violate it."""
    where: float
    """The point of the largest error: d, or the critic's output D where the name speaks of D."""

    @property
    def holds(self) -> bool:
        """Whether the error is rounding; NaN is not."""
        return self.error <= _RTOL


@dataclass(frozen=True)
class Check:
    """All identities of one divergence or loss."""

    subject: str
    """Its name."""
    identities: tuple[Identity, ...]
    """Each identity with its error."""

    @property
    def failures(self) -> tuple[Identity, ...]:
        """The identities that do not hold."""
        return tuple(each for each in self.identities if not each.holds)

    def raise_for_failures(self) -> None:
        """Nothing if all hold.

        Raises:
            IdentityError: some do not; the message names them.
        """
        if self.failures:
            lines = (f"  {each.name}: off by {each.error:.2g} at {each.where:.4g}" for each in self.failures)
            raise IdentityError("\n".join([f"{self.subject}: these identities fail", *lines]))


def check_divergence(f: FDivergence, /) -> Check:
    """Every identity of RATIO-4 between the functions of f, on log-ratios in [-4, 4].

    Raises:
        TypeError: a function that does not keep shape and dtype; the message names it.
    """
    d = torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)
    _require_elementwise(
        f.name,
        {
            "f": f.f,
            "f_prime": f.f_prime,
            "saturating": f.saturating,
            "conjugate": lambda d: f.conjugate(f.f_prime(d)),
            "saturating_rate": f.saturating_rate,
            "alternative_rate": f.alternative_rate,
            "activation": f.activation,
            "activated_conjugate": f.activated_conjugate,
            "log_ratio": f.log_ratio,
            "optimum": f.optimum,
        },
    )
    r, t, slope = d.exp(), f.f_prime(d), _derivative(f.f_prime)(d)
    value, conjugate = f.f(d), f.conjugate(t)
    size = 1.0 + r + (r * t).abs() + value.abs()
    origin = torch.zeros(1, dtype=torch.float64)
    identities = (
        _equal("f(1) = at_equality", origin, f.f(origin), torch.full_like(origin, f.at_equality)),
        _equal("f_prime = df/dr", d, r * t, _derivative(f.f)(d), size),
        _true("f'' > 0", d, f.alternative_rate(d) > 0),
        _true("f'(r) inside the domain", d, _inside(t, f.domain)),
        _equal("f*(f'(r)) = r f'(r) - f(r)", d, conjugate, r * t - value, size),
        _equal("f*(t) = sup_r t r - f(r)", d, conjugate, (t[:, None] * r - value).amax(1), size),
        _equal("saturating = r f'(r) - f(r)", d, f.saturating(d), r * t - value, size),
        _equal("saturating_rate = r^2 f''(r)", d, f.saturating_rate(d), r * slope, size),
        _equal("alternative_rate = r f''(r)", d, f.alternative_rate(d), slope, size),
    )
    optimum = _equal("log_ratio(optimum(d)) = d", d, f.log_ratio(f.optimum(d)), d)
    return Check(f.name, (*identities, optimum, *_output_identities(f)))


def check_loss(loss: GeneratorLoss, /) -> Check:
    """Every identity of MONO-2 and MONO-3 between the functions of a loss, on log-ratios in [-10, 10].

    Raises:
        TypeError: a function that does not keep shape and dtype; the message names it.
    """
    _require_elementwise(
        loss.name,
        {"h": loss.h, "h_prime": loss.h_prime} | ({"phi": loss.phi} if loss.phi else {}),
    )
    d = torch.linspace(-10.0, 10.0, 401, dtype=torch.float64)
    rate = loss.h_prime(d)
    low, high = loss.falls_on or (math.inf, math.inf)
    # The ends themselves are zeros of h', of either sign to rounding.
    fall, end = (d > low) & (d < high), ((d - low).abs() < 1e-9) | ((d - high).abs() < 1e-9)
    identities = [
        _equal("h_prime = dh/dd", d, rate, _derivative(loss.h)(d)),
        _true("h' < 0 exactly on falls_on", d, end | (fall == (rate < 0))),
    ]
    if loss.phi is not None:
        first, size = _derivative(loss.phi), 1.0 + d.exp() * (1.0 + loss.phi(d).abs())
        # phi'(u) = -e^d dphi/dd, and u phi''(u) = -d phi'(u)/dd.
        second = _derivative(lambda d: d.exp() * first(d))(d)
        identities.append(_equal("h'(d) = u phi''(u)", d, rate, second, size))
    return Check(loss.name, tuple(identities))


def _output_identities(f: FDivergence) -> tuple[Identity, ...]:
    """What ties the critic's output to f, on outputs D in [-6, 6] that are optimal for some log-ratio."""
    D = torch.linspace(-6.0, 6.0, 241, dtype=torch.float64)
    T, d = f.activation(D), f.log_ratio(D)
    meant = d.isfinite()
    identities = (
        _true("g_f(D) inside the domain", D, _inside(T, f.domain)),
        _equal("activated_conjugate(D) = f*(g_f(D))", D, f.activated_conjugate(D), f.conjugate(T)),
        _true("log_ratio(D) is finite for some D", D, meant.any().expand_as(D)),
    )
    if not bool(meant.any()):
        return identities
    return (*identities, _equal("g_f(D) = f'(e^log_ratio(D))", D[meant], T[meant], f.f_prime(d[meant])))


def _derivative(f: Elementwise) -> Callable[[Grid], Grid]:
    """The derivative of an elementwise function, entry by entry."""
    return torch.func.grad(lambda d: f(d).sum())


def _inside(t: Grid, domain: tuple[float, float]) -> Tensor:
    return (t > domain[0]) & (t < domain[1])


def _equal(name: str, at: Grid, left: Grid, right: Grid, size: Grid | float = 1.0) -> Identity:
    """Relative to ``right``, or to 1e-5 of the ``size`` of its terms where these cancel further than that."""
    error = (left - right).abs() / right.abs().clamp(min=_CANCELLATION * torch.as_tensor(size))
    worst = int(error.argmax())  # NaN counts as the largest
    return Identity(name, float(error[worst]), float(at[worst]))


def _true(name: str, at: Grid, holds: Tensor) -> Identity:
    worst = int((~holds).to(torch.int8).argmax())
    return Identity(name, float((~holds).double().mean()), float(at[worst]))


def _require_elementwise(subject: str, functions: Mapping[str, Elementwise]) -> None:
    for dtype in (torch.float32, torch.float64):
        d = torch.linspace(-1.0, 1.0, 6, dtype=dtype).reshape(2, 3)
        for name, function in functions.items():
            found = function(d)
            if not isinstance(found, Tensor) or found.shape != d.shape or found.dtype != dtype:
                got = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
                raise TypeError(
                    f"{subject}: {name} must be elementwise and keep the dtype, got {got} from {tuple(d.shape)} {dtype}"
                )
