"""The only time loop. Knows methods and controllers by protocol, states by their layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

from gflow.ode.arguments import check_kinds, check_numbers, check_particles, check_restart
from gflow.ode.controller import Decision, StepController
from gflow.ode.interpolation import DenseOutput, Interpolant
from gflow.ode.method import FlatField, Method, StepResult
from gflow.ode.record import StepRecord
from gflow.ode.result import Result, SolveError
from gflow.ode.solution import Solution
from gflow.state import Layout, State
from gflow.velocity import StepwiseField, VelocityField

S = TypeVar("S", bound=State)

# A candidate that is not finite may only mean that the step was too long: an adaptive controller
# shortens it this many times (by 10 each time) before the state is given up.
_RETRIES = 12
# Rejections in a row after which the error estimate does not fall with the step; a jump of the field needs about 25.
_STALLED = 50


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
    options = _Options(method, controller, save_every, max_steps, stop_when, on_step)
    loop = _Loop(v, y0, (t0, t1), options, restart)
    if dense:
        loop.dense = loop.new_dense()
    with torch.no_grad():
        result, detail = loop.close(*loop.run())
        solution = loop.solution(result, detail)
    if throw and not result.ok:
        raise SolveError(f"{result.value} ({detail})", solution)
    return solution


@dataclass(frozen=True)
class _Options(Generic[S]):
    """How to integrate."""

    method: Method
    controller: StepController
    save_every: int | None
    max_steps: int
    stop_when: Callable[[float, S], bool] | None
    on_step: Callable[[StepRecord[S]], None] | None


class _Loop(Generic[S]):
    """The state of one integration."""

    def __init__(
        self,
        v: VelocityField[S] | StepwiseField[S],
        y0: S,
        span: tuple[float, float],
        options: _Options[S],
        restart: StepRecord[S] | None,
    ) -> None:
        check_kinds(v, options.method, options.controller)
        check_numbers(*span, options.method, options.controller, options.save_every, options.max_steps)
        self.layout = Layout.of(y0, what="y0")
        check_particles(options.controller, self.layout)
        self.t0, self.t1 = (float(t) for t in span)
        self.options, self.method, self.controller = options, options.method, options.controller
        self.v = v
        self.stepwise = isinstance(v, StepwiseField)
        self.flat: FlatField | None = None if isinstance(v, StepwiseField) else FlatField(self.layout, v)
        if restart is None:
            start = StepRecord(0, self.t0, y0, 0.0, grid=(self.t0, 0, 0.0))
        else:
            check_restart(restart, *span, self.layout)
            start = restart
        name = "y0" if restart is None else "restart.y"
        self.y = self.layout.flatten(start.y, what=name).detach().clone()
        if bad := self.layout.where_not_finite(self.y):
            raise ValueError(f"{name}: needs finite numbers, got non-finite entries in {bad}")
        self.t, self.h, self.memory, self.grid = start.t, start.h, start.memory, start.grid
        self.stats, self.carry = start.stats, start.carry
        self.saved: list[tuple[float, Tensor]] = [(self.t, self.y)]
        self.dense: DenseOutput | None = None
        self.refused, self.retries, self.trouble = 0, 0, ""
        self.error: Tensor | None = None

    def new_dense(self) -> DenseOutput:
        """Dense output of this integration, empty."""
        if self.flat is None:
            raise ValueError("solve_ivp: dense output needs one field; a StepwiseField changes at every step")
        return DenseOutput(self.layout, self.flat, Interpolant.EXTENSION)

    def run(self) -> tuple[Result, str]:
        """Step until t1 or a failure; the verdict and what went wrong."""
        if self.t != self.t1 and self.h == 0.0:
            self.h = self._first_step()
        while self.t != self.t1:
            if self.stats.accepted + self.stats.rejected >= self.options.max_steps:
                return Result.MAX_STEPS, f"t = {self.t:.6g} of {self.t1:.6g} after {self.options.max_steps} steps"
            h, t_next = self._clip(self.h)
            if h == 0.0:
                underflow = Result.STEP_UNDERFLOW, f"step {self.h:.3g} at t = {self.t:.6g}{self._worst()}"
                return (Result.NON_FINITE, self.trouble) if self.retries else underflow
            step = self.method.step(self._field(), self.t, h, self.y, self.carry)
            self.stats = self.stats.plus(step.evaluations)
            if (bad := self._not_finite(step)) is not None:
                self.retries, self.trouble = self.retries + 1, self._blame(step, bad, t_next)
                if not self.controller.adaptive or self.retries > _RETRIES or bad is step.slope:
                    return Result.NON_FINITE, self.trouble
                self._reject(step, abs(h) / 10)
                continue
            if step.failure:
                return Result.UNSOLVED, f"at t = {self.t:.6g}: {step.failure}"
            decision = self.controller.decide(abs(h), self.y, step.y, step.error, self.method.error_order, self.memory)
            self.retries, self.trouble, self.error = 0, "", step.error
            if not decision.accept:
                self._reject(step, decision.h)
                self.refused += 1
                if self.refused > _STALLED:
                    return Result.STALLED, f"{self.refused} times at t = {self.t:.6g}{self._worst()}"
                continue
            self._accept(step, t_next, abs(h), decision)
            if self.options.stop_when is not None and self.options.stop_when(self.t, self._state()):
                return Result.STOPPED, f"at t = {self.t:.6g}"
        return Result.SUCCESS, ""

    def close(self, result: Result, detail: str) -> tuple[Result, str]:
        """Give dense output its last node; the verdict, which is a failure where the slope there is not finite."""
        if self.dense is None:
            return result, detail
        slope = self._slope() if self.carry.slope is None else self.carry.slope
        if _finite(slope):
            self.dense.add(self.t, self.y, slope)
        elif result.ok:
            where = self.layout.where_not_finite(slope)
            return Result.NON_FINITE, f"dense output needs the field at t = {self.t:.6g}: {where}"
        return result, detail

    def solution(self, result: Result, detail: str) -> Solution[S]:
        """What was saved; a partial solution ends with the last accepted state."""
        if self.saved[-1][0] != self.t:
            self.saved.append((self.t, self.y))
        ys = cast(S, self.layout.unflatten(torch.stack([y for _, y in self.saved])))
        return Solution(tuple(t for t, _ in self.saved), ys, self.stats, result, detail, self.dense)

    def _field(self) -> FlatField:
        """The field of the present step, the same object for all its stages and retries."""
        if self.flat is None:
            self.flat = FlatField(self.layout, cast(StepwiseField[S], self.v).at_step(self.stats.accepted))
        return self.flat

    def _slope(self) -> Tensor:
        self.stats = self.stats.plus(1)
        return self._field()(self.t, self.y)

    def _first_step(self) -> float:
        span = abs(self.t1 - self.t0)
        if not self.controller.adaptive:
            return self.controller.first_step(self.y, self.y, span)
        slope = self._slope()
        self.carry = replace(self.carry, slope=slope)
        return max(self.controller.first_step(self.y, slope, span), self._shortest())

    def _shortest(self) -> float:
        return 4 * math.ulp(self.t)

    def _clip(self, h: float) -> tuple[float, float]:
        """The signed step and its end, on the grid origin + k h while h stays; 0 for a step that times cannot resolve.

        The last step ends at t1 exactly.
        """
        if h != self.grid[2]:
            self.grid = (self.t, self.stats.accepted, h)
        origin, first, _ = self.grid
        k = self.stats.accepted - first
        remaining = abs(self.t1 - origin) - k * h
        # Stretch an adaptive step by up to 1 % rather than leave a sliver; a constant one only by round-off.
        last = remaining <= h * (1.01 if self.controller.adaptive else 1 + 1e-6)
        sign = math.copysign(1.0, self.t1 - self.t0)
        t_next = self.t1 if last else origin + sign * ((k + 1) * h)
        if self.controller.adaptive:
            # Below a few ulp a rejected step would be rounded up to the same one, for ever.
            return (t_next - self.t if last or h >= self._shortest() else 0.0), t_next
        if t_next == self.t:
            return 0.0, t_next
        # A difference of rounded times would not be h to the last bit.
        return sign * (remaining if remaining < h * (1 - 1e-6) else h), t_next

    def _accept(self, step: StepResult, t_next: float, h: float, decision: Decision) -> None:
        if self.dense is not None:
            self.dense.add(self.t, self.y, step.slope, step.extension)
        self.y, self.t, self.carry, self.refused = step.y, t_next, step.carry, 0
        if self.stepwise:
            # The next field is another one: a slope of this one says nothing there.
            self.flat, self.carry = None, replace(step.carry, slope=None)
        # A last step cut short by t1 says little about the next one, of which there is none.
        self.h, self.memory = decision.h, decision.memory
        self.stats = self.stats.accept(h, decision.coupling)
        every = self.options.save_every
        if self.t == self.t1 or (every and self.stats.accepted % every == 0):
            self.saved.append((self.t, self.y))
        if self.options.on_step is not None:
            self.options.on_step(self._record())

    def _reject(self, step: StepResult, h: float) -> None:
        """Retry with ``h``, from the same point of the same field, whose slope the step has evaluated."""
        self.stats, self.h = self.stats.reject(), h
        if step.slope is not None:
            self.carry = replace(self.carry, slope=step.slope)

    def _worst(self) -> str:
        """The component that holds the step down, in words: where the last estimate was largest."""
        return "" if self.error is None else f", largest error in {self.layout.where_largest(self.error)}"

    def _state(self) -> S:
        return cast(S, self.layout.unflatten(self.y))

    def _record(self) -> StepRecord[S]:
        return StepRecord(
            self.stats.accepted, self.t, self._state(), self.h, self.carry, self.memory, self.grid, self.stats
        )

    def _not_finite(self, step: StepResult) -> Tensor | None:
        """What is not finite in a step: its slope (which no shorter step can mend), its end or its error."""
        # A method may skip a stage of weight 0 in y but not in the error.
        judged = [step.y, step.error] if self.controller.adaptive else [step.y]
        for bad in judged:
            if bad is not None and not _finite(bad):
                return step.slope if step.slope is not None and not _finite(step.slope) else bad
        return None

    def _blame(self, step: StepResult, bad: Tensor, t_next: float) -> str:
        slope = bad if bad is step.slope else self._slope() if step.slope is None else None
        if slope is not None and not _finite(slope):
            return f"the field at t = {self.t:.6g}: {self.layout.where_not_finite(slope)}"
        return f"a stage between t = {self.t:.6g} and t = {t_next:.6g}: {self.layout.where_not_finite(bad)}"


def _finite(x: Tensor) -> bool:
    # One reduction decides almost always; a sum may overflow for finite entries, so look again.
    return math.isfinite(float(x.sum())) or bool(torch.isfinite(x).all())
