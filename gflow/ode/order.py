"""The observed order of convergence, as a value with an interval and a verdict. Knows no method and no field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from numbers import Integral

from gflow.estimate import Estimate
from gflow.ode.order_fit import Ladder, finest_slope, fit, settled
from gflow.ode.order_floor import Floor, find_floor
from gflow.ode.order_runs import Reference, Richardson, Run, measure
from gflow.state import State

_FEWEST_LEVELS = 4


class Verdict(Enum):
    """What an observed order says; each value is the message, with the remedy."""

    CONFIRMED = "the interval of the order lies within the tolerance of the nominal order"
    REFUTED = "the interval of the order has no point within the tolerance of the nominal order"
    MEASURED = "the interval of the order is no wider than the tolerance to either side; no nominal order was given"
    PRE_ASYMPTOTIC = (
        "the local order still changes at the finest steps: take more steps, or repeats where runs are random"
    )
    NOISE = (
        "lost in noise, for fewer than four levels lie above the floor: take fewer steps, a finer dtype, the same "
        "noise for every number of steps, or more samples"
    )
    UNDECIDED = "the interval of the order is too wide to decide: take more levels above the floor, or more repeats"


@dataclass(frozen=True)
class ObservedOrder:
    """The law error = constant h^order on the way to h = 0, and what it rests on."""

    verdict: Verdict
    order: Estimate | None
    """With its 95 % interval; None where lost in noise."""
    constant: Estimate | None
    """In units of the state over time to the order; geometric mean over repeats; None where lost in noise."""
    finest_slope: Estimate | None
    """Local order between the two finest levels used, a finer solve's own error taken out; None likewise."""
    steps: tuple[int, ...]
    """Numbers of steps, one for each level; for Richardson's differences, of the coarser run."""
    hs: tuple[float, ...]
    """Step sizes, falling."""
    errors: tuple[float, ...]
    """Root mean square over the state and the repeats; the difference, where there is no closed form."""
    used: tuple[int, ...]
    """Indices of the levels behind the fit; where lost in noise, of those above the floor."""
    floor: Floor
    """Where errors are too small to be used."""

    @property
    def slopes(self) -> tuple[float, ...]:
        """log-log slopes of ``errors`` between neighbours; NaN beside an error of 0."""
        log_h = [math.log(h) for h in self.hs]
        log_e = [math.log(e) if e > 0 else math.nan for e in self.errors]
        return tuple((log_e[i + 1] - log_e[i]) / (log_h[i + 1] - log_h[i]) for i in range(len(log_h) - 1))


def observed_order(
    runs: Run | Sequence[Run],
    *,
    steps: Sequence[int],
    span: float,
    reference: Reference | Sequence[State],
    nominal: float | None,
    tolerance: float,
) -> ObservedOrder:
    """Measure how fast the error at the end of a run falls with its step size (INT-4).

    Least squares of log error = log C + p log h + a h, over the levels above the floor whose steps are at
    most 16 times the finest there, and at least the finest five. Four are the fewest: one degree of freedom is
    left, and Student's factor is 12.7. One run has Student's interval from the residual, repeats have it
    between them, and both are widened by what a term b h^2 would change and by round-off. Errors
    C h^p (1 + a h) pass for those of order p + 1 where a h > 20 even for the finest step: no method can tell.
    Against a finer solve and with Richardson the law is that of the difference, C (h^p - g^p); the part of
    strong errors that is random adds as squares, and is told by the angle between successive moves.

    Args:
        runs: ``run(n)``, the end state after n equal steps, a tensor or a nested mapping of tensors; several
            for independent repeats, each with noise of its own that is the same for every n.
        steps: at least four increasing numbers of steps; for Richardson at least five, in constant ratio.
        span: length of the time interval, positive whatever the direction; h = span / n.
        reference: the exact end state, one for all repeats or one for each; or ``FinerSolve(factor)``; or
            ``RICHARDSON``.
        nominal: the order to confirm or refute; None to measure only.
        tolerance: how far from the nominal order an order counts as equal to it.

    Returns:
        The order with its verdict, in Python floats; errors are taken in float64 whatever the state's dtype.

    Raises:
        ValueError: bad steps, span, nominal order or tolerance; a run or a reference with another structure,
            shape, dtype or device than run(steps[0]), or with non-finite entries.
        TypeError: runs that cannot be called.
    """
    repeats = [runs] if callable(runs) else list(runs)
    _check_runs(repeats, reference)
    _check_steps(steps, isinstance(reference, Richardson))
    _check_numbers(span, nominal, tolerance)
    ladder = measure(repeats, steps, span, reference)
    return _judge(ladder, tuple(steps)[: len(ladder.hs)], nominal, tolerance)


def _judge(ladder: Ladder, steps: tuple[int, ...], nominal: float | None, tolerance: float) -> ObservedOrder:
    floor, above = find_floor(ladder)
    hs, errors = tuple(ladder.hs.tolist()), tuple(ladder.rms.tolist())
    if len(above) < _FEWEST_LEVELS:
        return ObservedOrder(Verdict.NOISE, None, None, None, steps, hs, errors, above, floor)
    used = _finest(above, hs)
    part = ladder.at(used)
    order, log_constant = fit(part)
    steady = settled(part, order.mean, tolerance)
    verdict = _verdict(order, nominal, tolerance) if steady else Verdict.PRE_ASYMPTOTIC
    slope = finest_slope(part, order.mean)
    return ObservedOrder(verdict, order, _exp(log_constant), slope, steps, hs, errors, used, floor)


def _finest(levels: tuple[int, ...], hs: tuple[float, ...]) -> tuple[int, ...]:
    """The levels within four halvings (INT-4) of the finest, at least the finest five."""
    near = tuple(i for i in levels if hs[i] <= hs[levels[-1]] * 16 * (1 + 1e-9))
    return max(near, levels[-5:], key=len)


def _verdict(order: Estimate, nominal: float | None, tolerance: float) -> Verdict:
    """The verdict on an order whose slopes are settled."""
    if nominal is None:
        return Verdict.MEASURED if order.hi - order.mean <= tolerance else Verdict.UNDECIDED
    lowest, highest = nominal - tolerance, nominal + tolerance
    if lowest <= order.lo and order.hi <= highest:
        return Verdict.CONFIRMED
    # An order that may be 0 may be the start of a plateau, which refutes nothing.
    disjoint = order.lo > highest or 0 < order.lo <= order.hi < lowest
    return Verdict.REFUTED if disjoint else Verdict.UNDECIDED


def _exp(log: Estimate) -> Estimate:
    lo, mean, hi = (math.exp(v) if v < 709.0 else math.inf for v in (log.lo, log.mean, log.hi))
    return Estimate(mean, lo, hi, log.n, log.level)


def _check_runs(repeats: Sequence[Run], reference: object) -> None:
    if not repeats:
        raise ValueError("observed_order: runs needs at least one run(n), got none")
    for run in repeats:
        if not callable(run):
            raise TypeError(f"observed_order: runs must be callable as run(n), got {type(run).__name__}")
    if isinstance(reference, Sequence) and len(reference) != len(repeats):
        raise ValueError(f"observed_order: needs one reference for each of {len(repeats)} runs, got {len(reference)}")


def _check_steps(steps: Sequence[int], differences: bool) -> None:
    # A difference spends one level more.
    fewest = _FEWEST_LEVELS + differences
    if len(steps) < fewest:
        raise ValueError(f"observed_order: steps must hold at least {fewest} numbers, got {list(steps)}")
    if any(not isinstance(n, Integral) or n < 1 for n in steps):
        raise ValueError(f"observed_order: steps must be whole numbers of at least 1, got {list(steps)}")
    if any(n >= m for n, m in zip(steps, steps[1:], strict=False)):
        raise ValueError(f"observed_order: steps must increase, got {list(steps)}")
    triples = zip(steps, steps[1:], steps[2:], strict=False)
    if differences and any(n * k != m * m for n, m, k in triples):
        raise ValueError(f"observed_order: RICHARDSON needs steps in constant ratio, got {list(steps)}")


def _check_numbers(span: float, nominal: float | None, tolerance: float) -> None:
    for name, value in (("span", span), ("nominal", nominal), ("tolerance", tolerance)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ValueError(f"observed_order: {name} must be positive and finite, got {value}")
