"""Statistics over seeds, and numbers as text. Pure."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace

from scipy import stats

from gflow.estimate import Estimate

MANY = 5
"""Seeds from which a claim about a median is made."""
_HUGE = 6.0  # log10 of what is not worth a mean of squares


def pooled(estimates: Sequence[Estimate]) -> Estimate:
    """Mean over seeds with its 95 % interval (bounds: geometric mean); one seed keeps its own interval."""
    return estimates[0] if len(estimates) == 1 else Estimate.pool(estimates)


def mean_of(values: Sequence[float]) -> Estimate:
    """Mean of plain numbers with its 95 % interval; one number has none."""
    return pooled([Estimate.exact(value) for value in values])


def pooled_mean(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of the values over seeds, never a geometric one: the terms of a budget must add up to its sum."""
    if len(estimates) == 1:
        return estimates[0]
    return positive(Estimate.pool([Estimate.exact(e.mean, bias=e.bias) for e in estimates]))


def pooled_w2(estimates: Sequence[Estimate]) -> Estimate:
    """Root of the mean of the squares over seeds; one seed keeps its own interval."""
    if len(estimates) == 1:
        return estimates[0]
    return positive(Estimate.pool([Estimate.exact(e.mean**2, bias=e.bias) for e in estimates])).sqrt()


def pooled_bounds(estimates: Sequence[Estimate]) -> Estimate:
    """Bounds of W2 over seeds: pooled as W2 is, or the geometric mean where one is astronomical."""
    return pooled(estimates) if max(map(log10_of, estimates)) > _HUGE else pooled_w2(estimates)


def positive(estimate: Estimate) -> Estimate:
    """The Student interval of a positive mean read in its logarithm: mean exp(+-half/mean), never down to 0.

    To first order in half/mean the two are one interval; with few seeds the plain one reaches below
    zero, where no distance lies, and disappears from logarithmic axes.
    """
    if estimate.mean <= 0 or not math.isfinite(estimate.hi):
        return estimate
    factor = math.exp((estimate.hi - estimate.mean) / estimate.mean)
    return replace(estimate, lo=estimate.mean / factor, hi=estimate.mean * factor)


def median(values: Sequence[float]) -> Estimate:
    """Median with the interval of order statistics, whose coverage needs no law.

    The interval is the narrowest symmetric one of coverage 95 %, from six values on; five values
    have 94 % between the smallest and the largest, and fewer have none.
    """
    ordered, n = sorted(values), len(values)
    middle = statistics.median(ordered)
    if n < MANY:
        return Estimate(middle, -math.inf, math.inf, n, 0.95)
    below = max((k for k in range(1, n // 2 + 1) if 1 - 2 * stats.binom.cdf(k - 1, n, 0.5) >= 0.95), default=1)
    level = 1 - 2 * float(stats.binom.cdf(below - 1, n, 0.5))
    return Estimate(middle, ordered[below - 1], ordered[n - below], n, level)


def log10_of(estimate: Estimate) -> float:
    """log10 of the mean, also where it overflows; ``-inf`` for 0."""
    if estimate.log10 is not None:
        return estimate.log10
    return math.log10(estimate.mean) if estimate.mean > 0 else -math.inf


def number(value: float, digits: int = 3) -> str:
    """Three digits; as a formula with a power of ten outside [1e-3, 1e5]."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    if 1e-3 <= abs(value) < 1e5:
        text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
        return text.replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    sign, size = ("-" if value < 0 else ""), f"{abs(float(mantissa)):g}"
    return f"${sign}10^{{{int(exponent)}}}$" if size == "1" else rf"${sign}{size}\cdot10^{{{int(exponent)}}}$"


def percent(share: float, digits: int = 3) -> str:
    """A share as ``58.8 %``."""
    return f"{number(100 * share, digits)} %"


def tied(text: str) -> str:
    """The text of a report with every number tied to its per cent sign, so that no line break parts them."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def interval(estimate: Estimate, digits: int = 3) -> str:
    """A distance or bound with its interval between repeats, ``0.283 [0.271, 0.295]``; a certificate by its mean."""
    if log10_of(estimate) > 5:
        return factor(log10_of(estimate))
    text = number(estimate.mean, digits)
    if not _has_interval(estimate):
        return text
    # Distances and their bounds are not negative, whatever a Student interval of few seeds says.
    return bracketed(text, number(max(estimate.lo, 0.0), digits), number(estimate.hi, digits))


def bracketed(text: str, low: str, high: str) -> str:
    """A value and its interval, whose ends no line break may part; the value alone where they print as it does."""
    return text if low == text == high else f"{text} [{low},\u00a0{high}]"


def factor(log10: float) -> str:
    """A ratio by its log10: ``1.53``, ``312``, ``$10^{8.4}$``."""
    if log10 == math.inf:
        return "∞"
    if log10 >= 4:
        return f"$10^{{{log10:.0f}}}$" if log10 >= 100 else f"$10^{{{log10:.1f}}}$"
    value = 10**log10
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def factors(log_ratio: Estimate | None) -> str:
    """A median ratio with its interval: ``1.53 [1.4, 1.7]``; empty where there is none."""
    if log_ratio is None:
        return ""
    text = factor(log_ratio.mean)
    if log_ratio.n < MANY or not math.isfinite(log_ratio.lo):
        return text
    return bracketed(text, factor(log_ratio.lo), factor(log_ratio.hi))


def spread(low: str, high: str) -> str:
    """``1.1 to 2.4``, or ``1.1`` where both ends print the same."""
    return low if low == high else f"{low} to {high}"


def factors_between(logs: Sequence[float]) -> str:
    """The smallest to the largest of some ratios, by their log10."""
    return spread(factor(min(logs)), factor(max(logs)))


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def count(n: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _has_interval(estimate: Estimate) -> bool:
    known = math.isfinite(estimate.lo) and math.isfinite(estimate.hi)
    return known and estimate.level < 1 and estimate.n > 1
