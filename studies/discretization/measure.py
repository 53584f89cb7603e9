"""What every case stores: errors along a ladder of steps, and the observed order with its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    HEUN,
    HEUN_EULER,
    MIDPOINT,
    RK4,
    TSIT5,
    ButcherTableau,
    ConstantStep,
    ExplicitRK,
    ObservedOrder,
    observed_order,
    solve_ivp,
)
from gflow.state import State
from gflow.velocity import VelocityField

TABLEAUX: dict[str, ButcherTableau] = {
    "euler": EULER,
    "midpoint": MIDPOINT,
    "heun": HEUN,
    "bosh3": BOSH3,
    "rk4": RK4,
    "dopri5": DOPRI5,
    "tsit5": TSIT5,
    "heun_euler": HEUN_EULER,
}
TOLERANCE = 0.05
"""How far from the nominal order an observed order may be and count as equal to it."""


def stepped(v: VelocityField[Any], y: State, t0: float, t1: float, tableau: ButcherTableau, steps: int) -> State:
    """The end of ``steps`` equal steps."""
    step = ConstantStep(abs(t1 - t0) / steps)
    end: State = solve_ivp(v, y, t0, t1, method=ExplicitRK(tableau), controller=step).y1
    return end


def ladder(
    run: Callable[[int], State],
    steps: Sequence[int],
    span: float,
    reference: Any,
    nominal: float,
    *,
    evaluations: Callable[[int], int],
) -> dict[str, Any]:
    """Errors along the steps with their order, as a row stores them."""
    found = observed_order(run, steps=steps, span=span, reference=reference, nominal=nominal, tolerance=TOLERANCE)
    return {**order_values(found), "evaluations": [evaluations(n) for n in found.steps]}


def order_values(found: ObservedOrder) -> dict[str, Any]:
    """An observed order as a row stores it."""
    return {
        "steps": list(found.steps),
        "errors": list(found.errors),
        "order": found.order,
        "constant": found.constant,
        "finest_slope": found.finest_slope,
        "verdict": found.verdict.name,
        "used": list(found.used),
    }


def order_of_values(values: Sequence[float], steps: Sequence[int], span: float, nominal: float) -> dict[str, Any]:
    """The order with which given positive numbers, such as bounds, fall with the step."""
    table = dict(zip(steps, values, strict=True))
    found = observed_order(
        lambda n: torch.tensor([table[n]], dtype=torch.float64),
        steps=list(steps),
        span=span,
        reference=torch.zeros(1, dtype=torch.float64),
        nominal=nominal,
        tolerance=2 * TOLERANCE,
    )
    return order_values(found)


def rms(x: Tensor) -> float:
    """The L2 norm over particles of per-particle lengths."""
    return float(x.norm(dim=1).square().mean().sqrt())
