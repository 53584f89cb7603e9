"""The arguments of solve_ivp, checked before any work. Knows no loop."""

from __future__ import annotations

import math
from typing import Any

from gflow.ode.controller import PIController, StepController
from gflow.ode.method import Method
from gflow.ode.record import StepRecord
from gflow.state import Layout
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


def check_particles(controller: StepController, layout: Layout) -> None:
    """Raise ValueError where the controller tells particles apart that the state does not have as rows."""
    n = controller.particles if isinstance(controller, PIController) else None
    shapes = {leaf.name: leaf.shape for leaf in layout.leaves}
    if n is not None and (list(shapes) != ["state"] or shapes["state"][:1] != (n,)):
        raise ValueError(f"PIController: particles = {n} needs a state that is one tensor ({n}, ...), got {shapes}")


def check_restart(restart: StepRecord[Any], t0: float, t1: float, layout: Layout) -> None:
    """Raise ValueError where a record cannot be one of an integration from t0 to t1 of such a state."""
    sign = 1.0 if t1 >= t0 else -1.0
    # A run the other way has its grid's origin beyond t, as has one that started before t0.
    origin = restart.grid[0] if restart.grid[2] > 0 else t0
    ordered = sign * t0 <= sign * origin <= sign * restart.t <= sign * t1
    if not (ordered and restart.h >= 0 and restart.k == restart.stats.accepted >= restart.grid[1] >= 0):
        raise ValueError(
            f"solve_ivp: restart must be a record of a run from {t0} to {t1}, got t = {restart.t}, k = {restart.k}, "
            f"h = {restart.h}, grid = {restart.grid}, accepted = {restart.stats.accepted}"
        )
    for name, x in (("slope", restart.carry.slope), ("memory", restart.carry.memory)):
        if x is not None and (x.shape, x.dtype, x.device) != ((layout.size,), layout.dtype, layout.device):
            raise ValueError(
                f"solve_ivp: restart.carry.{name} must have {layout.size} numbers in {layout.dtype} on "
                f"{layout.device}, got {tuple(x.shape)} in {x.dtype} on {x.device}"
            )
