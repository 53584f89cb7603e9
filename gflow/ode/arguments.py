"""The arguments of solve_ivp, checked before any work. Knows no loop."""

from __future__ import annotations

import math
from typing import Any

from gflow.ode.controller import StepController
from gflow.ode.method import Method
from gflow.ode.record import StepRecord
from gflow.velocity import StepwiseField


def check_kinds(v: object, method: object, controller: object) -> None:
    """Raise TypeError where a field, method or controller is none."""
    if not callable(v) and not isinstance(v, StepwiseField):
        raise TypeError(f"solve_ivp: v must be callable as v(t, y) or have at_step(k), got {type(v).__name__}")
    if not isinstance(method, Method):
        raise TypeError(f"solve_ivp: method must be a Method such as ExplicitRK(DOPRI5), got {method!r:.60}")
    if not isinstance(controller, StepController):
        raise TypeError(f"solve_ivp: controller must be one such as ConstantStep(0.1), got {controller!r:.60}")


def check_numbers(
    t0: float, t1: float, method: Method, controller: StepController, save_every: int | None, max_steps: int
) -> None:
    """Raise ValueError where a number is out of range, or the controller needs an error that the method lacks."""
    for name, value in (("t0", t0), ("t1", t1)):
        if not math.isfinite(value):
            raise ValueError(f"solve_ivp: {name} must be finite, got {value}")
    if controller.adaptive and method.error_order is None:
        raise ValueError(
            f"solve_ivp: {type(controller).__name__} needs a method with an error estimate "
            "(HEUN_EULER, BOSH3, DOPRI5, TSIT5); use ConstantStep instead"
        )
    if save_every is not None and save_every < 1:
        raise ValueError(f"solve_ivp: save_every must be at least 1 or None, got {save_every}")
    if max_steps < 1:
        raise ValueError(f"solve_ivp: max_steps must be at least 1, got {max_steps}")


def check_restart(restart: StepRecord[Any], t0: float, t1: float) -> None:
    """Raise ValueError where a record cannot be one of an integration from t0 to t1."""
    if not min(t0, t1) <= restart.t <= max(t0, t1) or restart.k < 0 or not restart.h >= 0:
        raise ValueError(
            f"solve_ivp: restart must be a record of a run from {t0} to {t1}, got t = {restart.t}, k = {restart.k}, "
            f"h = {restart.h}"
        )
