"""Reported numbers: a value, an interval, and what is known about its bias. Knows no mathematics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from scipy import stats

Bias = Literal["none", "up", "down", "unknown"]
_BIASES = ("none", "up", "down", "unknown")


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, its number of repeats and the known sign of its bias.

    One certified solve has ``lo`` = dual, ``hi`` = primal, ``n = 1`` and ``level = 1``; a pool of
    independent repeats has ``n`` repeats and ``level = 0.95``. The interval never covers the bias:
    the exact W2 between two samples of one law is positive however often it is repeated.

    Raises:
        ValueError: a NaN, ``lo <= mean <= hi`` violated, ``n < 1``, ``level`` outside (0, 1], or an
            infinite mean without ``log10``.
    """

    mean: float
    """The value, Python float."""
    lo: float
    """Lower end of the interval; ``-inf`` where none is known."""
    hi: float
    """Upper end of the interval; ``inf`` where none is known."""
    n: int = 1
    """Number of independent repeats behind the interval."""
    level: float = 1.0
    """Coverage of the interval: 1 for a certificate, 0.95 for repeats."""
    bias: Bias = "unknown"
    """Sign of E[estimate] - truth: ``up``, ``down``, ``none`` or ``unknown``."""
    log10: float | None = None
    """log10 of the value, for bounds that may overflow; the only case where ``mean`` may be inf."""

    def __post_init__(self) -> None:
        """Check the interval and the labels."""
        if any(math.isnan(v) for v in (self.mean, self.lo, self.hi, self.log10 or 0.0)):
            given = (self.mean, self.lo, self.hi, self.log10)
            raise ValueError(f"Estimate: mean, lo, hi, log10 must not be NaN, got {given}")
        if not self.lo <= self.mean <= self.hi:
            raise ValueError(f"Estimate: needs lo <= mean <= hi, got {self.lo}, {self.mean}, {self.hi}")
        if self.n < 1:
            raise ValueError(f"Estimate: n must be at least 1, got {self.n}")
        if not 0 < self.level <= 1:
            raise ValueError(f"Estimate: level must be in (0, 1], got {self.level}")
        if self.bias not in _BIASES:
            raise ValueError(f"Estimate: bias must be one of {_BIASES}, got {self.bias!r}")
        if math.isinf(self.mean) and self.log10 is None:
            raise ValueError("Estimate: an infinite mean needs log10")

    @classmethod
    def exact(cls, value: float, *, bias: Bias = "none") -> Estimate:
        """A number without an interval of its own: a closed form, or one deterministic computation."""
        return cls(mean=value, lo=value, hi=value, bias=bias)

    @classmethod
    def bound(cls, log_value: float, *, bias: Bias = "none") -> Estimate:
        """A bound given by its natural logarithm, so that it cannot overflow."""
        value = math.exp(log_value) if log_value < 709.0 else math.inf
        return cls(mean=value, lo=value, hi=value, bias=bias, log10=log_value / math.log(10.0))

    @classmethod
    def pool(cls, estimates: Iterable[Estimate], *, level: float = 0.95) -> Estimate:
        """Mean over independent repeats with its Student interval; one repeat has no interval.

        Pool squared distances, and take the root last (``.sqrt()``). Estimates that carry
        ``log10`` are pooled as logarithms: the geometric mean, which cannot overflow.

        Raises:
            ValueError: no estimates, ``level`` outside (0, 1), or an infinite mean beside estimates
                without ``log10``.
        """
        items = list(estimates)
        if not items:
            raise ValueError("Estimate.pool: needs at least one estimate, got none")
        if not 0 < level < 1:
            raise ValueError(f"Estimate.pool: level must be in (0, 1), got {level}")
        biases = {e.bias for e in items}
        bias: Bias = biases.pop() if len(biases) == 1 else "unknown"
        logs = [e.log10 for e in items if e.log10 is not None]
        if len(logs) == len(items):
            mean, lo, hi = (_power10(v) for v in _student(logs, level))
            return cls(mean, lo, hi, len(items), level, bias, math.fsum(logs) / len(logs))
        if any(math.isinf(e.mean) for e in items):
            raise ValueError("Estimate.pool: an infinite mean is pooled only where every estimate has log10")
        mean, lo, hi = _student([e.mean for e in items], level)
        return cls(mean, lo, hi, len(items), level, bias)

    def sqrt(self) -> Estimate:
        """The root of a non-negative quantity; ``lo`` is raised to 0 first, where the truth lies."""
        if self.mean < 0:
            raise ValueError(f"Estimate.sqrt: needs mean >= 0, got {self.mean}")
        log10 = None if self.log10 is None else self.log10 / 2
        return replace(
            self,
            mean=math.sqrt(self.mean),
            lo=math.sqrt(max(self.lo, 0.0)),
            hi=math.sqrt(self.hi),
            log10=log10,
        )

    def to_dict(self) -> dict[str, float | int | str]:
        """A JSON object; non-finite numbers become the strings ``"inf"`` and ``"-inf"``."""
        fields: dict[str, float | int | str] = {"n": self.n, "level": self.level, "bias": self.bias}
        numbers = {"mean": self.mean, "lo": self.lo, "hi": self.hi}
        if self.log10 is not None:
            numbers["log10"] = self.log10
        return {k: v if math.isfinite(v) else str(v) for k, v in numbers.items()} | fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, float | int | str]) -> Estimate:
        """The inverse of ``to_dict``."""
        return cls(
            mean=float(fields["mean"]),
            lo=float(fields["lo"]),
            hi=float(fields["hi"]),
            n=int(fields["n"]),
            level=float(fields["level"]),
            bias=str(fields["bias"]),  # type: ignore[arg-type]  # checked in __post_init__
            log10=float(fields["log10"]) if "log10" in fields else None,
        )


def _student(values: list[float], level: float) -> tuple[float, float, float]:
    """Mean and Student interval; unbounded for one value, and where a logarithm is infinite."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1 or math.isinf(mean):
        return mean, -math.inf, math.inf
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * spread
    return mean, mean - half, mean + half


def _power10(exponent: float) -> float:
    """10**exponent, inf or 0 past the range of a double."""
    return math.inf if exponent > 308.0 else 10.0**exponent if exponent > -308.0 else 0.0
