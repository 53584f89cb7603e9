"""Where a bound loses: alignment, Lipschitz constant, coupling (W2B-11)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gflow.bounds.climbing import Ladder
from gflow.estimate import Estimate


@dataclass(frozen=True)
class SlackLedger:
    """What each inequality between W2 and a Gronwall bound costs; all in the units of W2.

    ``distance - coupling`` is W2, ``aligned = distance + alignment``, and a rung of the ladder is
    ``aligned + lipschitz``.
    """

    account: Estimate
    """The exact account int exp(int l) e~ ds: equals ``distance`` up to quadrature."""
    distance: Estimate
    """||x_S - y_S|| of the synchronous coupling."""
    coupling: Estimate
    """Loss of coupling synchronously instead of optimally."""
    alignment: Estimate
    """Loss of taking the error where it does not point along x - y (may be negative by quadrature)."""
    lipschitz: dict[str, Estimate]
    """Loss of a one-sided constant instead of the rate along the pairs, for ``local`` and ``global``."""


def slack_ledger(ladder: Ladder, w2: Estimate) -> SlackLedger:
    """The ledger of a ladder whose clouds are at exact distance ``w2`` (its mean: the primal value)."""
    account, start = ladder.account, ladder.profile.distance[0]
    exact = _total(start, account.growth, account.forcing)
    aligned = _total(start, account.growth, account.error)
    distance = ladder.synchronous.mean
    rungs = {name: bound for name, bound in ladder.bounds.items() if name in ("local", "global")}
    return SlackLedger(
        account=Estimate.exact(max(exact, 0.0), bias="unknown"),
        distance=ladder.synchronous,
        coupling=Estimate(distance - w2.mean, distance - w2.hi, distance - w2.lo, bias="unknown"),
        alignment=Estimate.exact(aligned - distance, bias="unknown"),
        lipschitz={name: _difference(bound, aligned) for name, bound in rungs.items()},
    )


def _difference(bound: Estimate, value: float) -> Estimate:
    """Bound - value, kept in log form where the bound overflows."""
    if math.isinf(bound.mean):
        return bound
    return Estimate.exact(bound.mean - value, bias=bound.bias)


def _total(start: float, growth: tuple[float, ...], sources: tuple[float, ...]) -> float:
    """The distance after all steps, w <- exp(growth) w + source."""
    w = start
    for rate, source in zip(growth, sources, strict=True):
        w = math.exp(rate) * w + source
    return w
