"""Initial value problems: the arguments, and what a solve returns or raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from gflow.ode.controller import StepController
from gflow.ode.loop import Loop, Options
from gflow.ode.method import Method
from gflow.ode.record import StepRecord
from gflow.ode.result import SolveError
from gflow.ode.solution import Solution
from gflow.state import State
from gflow.velocity import StepwiseField, VelocityField

S = TypeVar("S", bound=State)


def solve_ivp(
    v: VelocityField[S] | StepwiseField[S],
    y0: S,
    t0: float,
    t1: float,
    *,
    method: Method,
    controller: StepController,
    save_every: int | None = None,
    dense: bool = False,
    max_steps: int = 1_000_000,
    stop_when: Callable[[float, S], bool] | None = None,
    on_step: Callable[[StepRecord[S]], None] | None = None,
    restart: StepRecord[S] | None = None,
    throw: bool = True,
) -> Solution[S]:
    """Integrate dy/dt = v(t, y) from t0 to t1, whichever is larger.

    No autograd graph is kept. Time is a Python float (float64) whatever the state's dtype; with a
    constant step it is t0 + k h by an integer counter, and the last step lands on t1 exactly.

    Args:
        v: the field; a ``StepwiseField`` is asked for ``at_step(k)`` once, for all stages and retries of step k.
        y0: initial state, a tensor or a nested mapping of tensors, any floating dtype and device; not
            modified.
        t0: initial time.
        t1: final time.
        method: one step, e.g. ``ExplicitRK(DOPRI5)``.
        controller: which step, e.g. ``PIController(rtol=1e-6, atol=1e-9)`` or ``ConstantStep(0.01)``.
        save_every: keep every k-th state and both ends; None keeps the ends only.
        dense: keep all steps for ``Solution.interpolate`` and ``Solution.defect``; needs the slope at
            t1, one evaluation unless the method has it.
        max_steps: cap on accepted plus rejected steps.
        stop_when: ``stop_when(t, y)`` after each accepted step; True ends the integration there, without an error.
        on_step: called with the record of each accepted step.
        restart: record of an earlier run of the same arguments, to go on from bit for bit: t0 stays the origin of
            the grid of times and y0 gives the structure; states before the record are not saved again.
        throw: raise on failure; otherwise return the partial solution with its ``result``.

    Returns:
        The solution; ``ys`` has a leading time axis and never requires grad.

    Raises:
        SolveError: the integration failed and ``throw`` is true; carries the partial solution.
        ValueError: bad arguments, a non-finite initial state, or a field that returns another
            structure, shape, dtype or device.
        TypeError: arguments of the wrong kind, such as a tableau in place of a method.
    """
    options = Options(method, controller, save_every, max_steps, stop_when, on_step)
    loop = Loop(v, y0, (t0, t1), options, restart)
    if dense:
        loop.dense = loop.new_dense()
    with torch.no_grad():
        result, detail = loop.close(*loop.run())
        solution = loop.solution(result, detail)
    if throw and not result.ok:
        raise SolveError(f"{result.value} ({detail})", solution)
    return solution
