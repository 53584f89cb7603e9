"""The only time loop. Knows methods and controllers by protocol, states by their layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

from gflow.ode.controller import StepController
from gflow.ode.interpolation import DenseOutput
from gflow.ode.method import FlatField, Method, StepResult
from gflow.ode.result import Result, SolveError, Stats
from gflow.state import Layout, State
from gflow.velocity import StepwiseField, VelocityField

S = TypeVar("S", bound=State)

# A candidate that is not finite may only mean that the step was too long: an adaptive controller
# shortens it this many times (by 10 each time) before the state is given up.
_RETRIES = 12


@dataclass(frozen=True)
class Solution(Generic[S]):
    """A trajectory: ``ys`` at ``ts``, and how it was computed."""

    ts: tuple[float, ...]
    """Saved times, from t0 on."""
    ys: S
    """The saved states, stacked along a leading time axis: (T, *shape) for each tensor."""
    stats: Stats
    result: Result
    detail: str = ""
    """What went wrong and where, in words; empty on success."""
    dense: DenseOutput | None = field(default=None, repr=False)

    @property
    def y1(self) -> S:
        """The last saved state."""
        return cast(S, _last(self.ys))

    def interpolate(self, t: float) -> S:
        """The cubic Hermite interpolant of the step that holds ``t``.

        Raises:
            ValueError: the solution was computed without ``dense=True``, or ``t`` lies outside.
        """
        return cast(S, self._dense().state(t))

    def defect(self, t: float) -> S:
        """Derivative of the interpolant minus the field there (W2B-10), in the structure of the state."""
        return cast(S, self._dense().defect(t))

    def _dense(self) -> DenseOutput:
        if self.dense is None:
            raise ValueError("Solution: no dense output; call solve_ivp(..., dense=True)")
        return self.dense


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
    throw: bool = True,
) -> Solution[S]:
    """Integrate dy/dt = v(t, y) from t0 to t1, whichever is larger.

    No autograd graph is kept. Time is a Python float (float64) whatever the state's dtype; with a
    constant step it is t0 + k h by an integer counter, and the last step lands on t1 exactly.

    Args:
        v: the field; a ``StepwiseField`` is asked for ``at_step(k)`` once per step, retries included.
        y0: initial state, a tensor or a nested mapping of tensors, any floating dtype and device.
        t0: initial time.
        t1: final time.
        method: one step, e.g. ``ExplicitRK(DOPRI5)``.
        controller: which step, e.g. ``PIController(rtol=1e-6, atol=1e-9)`` or ``ConstantStep(0.01)``.
        save_every: keep every k-th state and both ends; None keeps the ends only.
        dense: keep all steps for ``Solution.interpolate`` and ``Solution.defect``.
        max_steps: cap on accepted plus rejected steps.
        throw: raise on failure; otherwise return the partial solution with its ``result``.

    Returns:
        The solution; ``ys`` has a leading time axis.

    Raises:
        SolveError: the integration failed and ``throw`` is true; carries the partial solution.
        ValueError: bad arguments, a non-finite initial state, or a field that returns another
            structure, shape, dtype or device.
    """
    loop = _Loop(v, y0, t0, t1, method, controller, save_every, dense, max_steps)
    with torch.no_grad():
        result, detail = loop.run()
    solution: Solution[S] = loop.solution(result, detail)
    if throw and result is not Result.SUCCESS:
        raise SolveError(f"{result.value} ({detail})", solution)
    return solution


class _Loop:
    """The state of one integration."""

    def __init__(
        self,
        v: VelocityField[S] | StepwiseField[S],
        y0: S,
        t0: float,
        t1: float,
        method: Method,
        controller: StepController,
        save_every: int | None,
        dense: bool,
        max_steps: int,
    ) -> None:
        _check_arguments(t0, t1, method, controller, save_every, max_steps)
        self.layout = Layout.of(y0)
        self.y = self.layout.flatten(y0).clone()
        if bad := self.layout.where_not_finite(self.y):
            raise ValueError(f"y0: needs finite numbers, got non-finite entries in {bad}")
        self.stepwise = isinstance(v, StepwiseField)
        self.field_at = self._stepwise_field(v) if isinstance(v, StepwiseField) else self._one_field(v)
        self.t0, self.t1, self.t = float(t0), float(t1), float(t0)
        self.sign = 1.0 if t1 >= t0 else -1.0
        self.method, self.controller = method, controller
        self.save_every, self.max_steps = save_every, max_steps
        self.saved: list[tuple[float, Tensor]] = [(self.t, self.y)]
        self.dense = DenseOutput(self.layout, None if self.stepwise else self.field_at(0)) if dense else None
        self.stats = Stats()
        self.carry: Tensor | None = None

    def run(self) -> tuple[Result, str]:
        if self.t0 == self.t1:
            return Result.SUCCESS, ""
        h, memory, retries = self._first_step(), 1.0, 0
        while self.t != self.t1:
            if self.stats.accepted + self.stats.rejected >= self.max_steps:
                return Result.MAX_STEPS, f"t = {self.t:.6g} of {self.t1:.6g} after {self.max_steps} steps"
            v = self.field_at(self.stats.accepted)
            h_try, t_next = self._clip(h)
            if h_try == 0.0 or self.t + h_try == self.t:
                return Result.STEP_UNDERFLOW, f"step {h:.3g} at t = {self.t:.6g}"
            step = self.method.step(v, self.t, h_try, self.y, self.carry)
            self.stats = self.stats.plus(step.evaluations)
            if not _finite(step.y):
                retries += 1
                if not self.controller.adaptive or retries > _RETRIES:
                    return Result.NON_FINITE, self._blame(v, step, t_next)
                self.stats, h = self.stats.reject(), abs(h_try) / 10
                continue
            decision = self.controller.decide(abs(h_try), self.y, step.y, step.error, self.method.error_order, memory)
            if not decision.accept:
                self.stats, h = self.stats.reject(), decision.h
                self._remember_slope(step)
                continue
            self._accept(step, t_next, abs(h_try))
            # A last step cut short by t1 says little about the next one, of which there is none.
            h, memory, retries = decision.h, decision.memory, 0
        return Result.SUCCESS, ""

    def _first_step(self) -> float:
        if not self.controller.adaptive:
            return self.controller.first_step(self.y, self.y, abs(self.t1 - self.t0))
        slope = self.field_at(0)(self.t, self.y)
        self.stats = self.stats.plus(1)
        if not self.stepwise:
            self.carry = slope
        return self.controller.first_step(self.y, slope, abs(self.t1 - self.t0))

    def _clip(self, h: float) -> tuple[float, float]:
        """The signed step and its end: a constant grid by counter, the last step exactly to t1."""
        remaining = abs(self.t1 - self.t)
        if self.controller.adaptive:
            # Stretch up to 1 % rather than leave a sliver behind.
            last = h >= remaining / 1.01
            t_next = self.t1 if last else self.t + self.sign * h
        else:
            t_next = self.t0 + self.sign * (self.stats.accepted + 1) * h
            last = abs(t_next - self.t0) >= abs(self.t1 - self.t0) - 1e-9 * h
        t_next = self.t1 if last else t_next
        return t_next - self.t, t_next

    def _accept(self, step: StepResult, t_next: float, h: float) -> None:
        if self.dense is not None:
            self.dense.add(self.t, self.y, step.slope)
        self.y, self.t, self.carry = step.y, t_next, None if self.stepwise else step.carry
        self.stats = self.stats.accept(h)
        if self.t == self.t1 or (self.save_every and self.stats.accepted % self.save_every == 0):
            self.saved.append((self.t, self.y))
        if self.t == self.t1 and self.dense is not None:
            self.dense.finish(self.t, self.y, self.carry)

    def _remember_slope(self, step: StepResult) -> None:
        """A rejected step has evaluated v(t, y); the retry starts at the same point of the same field."""
        if step.slope is not None:
            self.carry = step.slope

    def _blame(self, v: FlatField, step: StepResult, t_next: float) -> str:
        slope = step.slope if step.slope is not None else v(self.t, self.y)
        if not _finite(slope):
            return f"the field at t = {self.t:.6g}: {self.layout.where_not_finite(slope)}"
        where = self.layout.where_not_finite(step.y)
        return f"a stage between t = {self.t:.6g} and t = {t_next:.6g}: {where}"

    def _one_field(self, v: VelocityField[S]) -> Callable[[int], FlatField]:
        flat = self._flatten_field(v)
        return lambda _: flat

    def _stepwise_field(self, v: StepwiseField[S]) -> Callable[[int], FlatField]:
        return lambda k: self._flatten_field(v.at_step(k))

    def _flatten_field(self, v: VelocityField[S]) -> FlatField:
        layout = self.layout

        def flat(t: float, y: Tensor) -> Tensor:
            return layout.flatten(v(t, cast(S, layout.unflatten(y))), what=f"velocity at t = {t:.6g}")

        return flat

    def solution(self, result: Result, detail: str) -> Solution[S]:
        if result is not Result.SUCCESS and self.saved[-1][0] != self.t:
            self.saved.append((self.t, self.y))
        ys = cast(S, self.layout.unflatten(torch.stack([y for _, y in self.saved])))
        return Solution(tuple(t for t, _ in self.saved), ys, self.stats, result, detail, self.dense)


def _check_arguments(
    t0: float, t1: float, method: Method, controller: StepController, save_every: int | None, max_steps: int
) -> None:
    for name, value in (("t0", t0), ("t1", t1)):
        if not math.isfinite(value):
            raise ValueError(f"solve_ivp: {name} must be finite, got {value}")
    if controller.adaptive and method.error_order is None:
        raise ValueError(
            f"solve_ivp: {type(controller).__name__} needs a method with an error estimate "
            "(HEUN_EULER, BOSH3, DOPRI5); use ConstantStep instead"
        )
    if save_every is not None and save_every < 1:
        raise ValueError(f"solve_ivp: save_every must be at least 1 or None, got {save_every}")
    if max_steps < 1:
        raise ValueError(f"solve_ivp: max_steps must be at least 1, got {max_steps}")


def _finite(x: Tensor) -> bool:
    # One reduction decides almost always; a sum may overflow for finite entries, so look again.
    return math.isfinite(float(x.sum())) or bool(torch.isfinite(x).all())


def _last(ys: State) -> State:
    return ys[-1] if isinstance(ys, Tensor) else {key: _last(sub) for key, sub in ys.items()}
