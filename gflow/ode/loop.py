"""The only time loop. Knows methods and controllers by protocol, states by their layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

from gflow.ode.arguments import check_kinds, check_numbers, check_particles, check_restart
from gflow.ode.controller import Decision, StepController
from gflow.ode.interpolation import DenseOutput, Interpolant
from gflow.ode.method import FlatField, Method, StepResult
from gflow.ode.record import StepRecord
from gflow.ode.result import Result, Tally
from gflow.ode.solution import Solution
from gflow.state import Layout, State
from gflow.velocity import StepwiseField, VelocityField

S = TypeVar("S", bound=State)

Verdict = tuple[Result, str]
"""How an integration ended, and what went wrong."""

# A candidate that is not finite may only mean that the step was too long: an adaptive controller
# shortens it this many times (by 10 each time) before the state is given up.
_RETRIES = 12
# Rejections in a row after which the error estimate does not fall with the step; a jump of the field needs about 25.
_STALLED = 50


@dataclass(frozen=True)
class Options(Generic[S]):
    """How to integrate."""

    method: Method
    controller: StepController
    save_every: int | None
    max_steps: int
    stop_when: Callable[[float, S], bool] | None
    on_step: Callable[[StepRecord[S]], None] | None


class Loop(Generic[S]):
    """The state of one integration."""

    def __init__(
        self,
        v: VelocityField[S] | StepwiseField[S],
        y0: S,
        span: tuple[float, float],
        options: Options[S],
        restart: StepRecord[S] | None,
    ) -> None:
        check_kinds(v, options.method, options.controller)
        check_numbers(*span, options.method, options.controller, options.save_every, options.max_steps)
        self.layout = Layout.of(y0, what="y0")
        check_particles(options.controller, self.layout)
        self.t0, self.t1 = (float(t) for t in span)
        self.sign = math.copysign(1.0, self.t1 - self.t0)
        self.options, self.method, self.controller = options, options.method, options.controller
        self.v, self.room = v, dict[Any, Any]()
        self.stepwise = isinstance(v, StepwiseField)
        self.flat: FlatField | None = None if isinstance(v, StepwiseField) else FlatField(self.layout, v, self.room)
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
        self.tally, self.carry = Tally.of(start.stats), start.carry
        self.saved: list[tuple[float, Tensor]] = [(self.t, self.y)]
        self.dense: DenseOutput | None = None
        self.refused, self.retries, self.trouble = 0, 0, ""
        self.error: Tensor | None = None

    def new_dense(self) -> DenseOutput:
        """Dense output of this integration, empty."""
        if self.flat is None:
            raise ValueError("solve_ivp: dense output needs one field; a StepwiseField changes at every step")
        return DenseOutput(self.layout, self.flat, Interpolant.EXTENSION)

    def run(self) -> Verdict:
        """Step until t1 or a failure."""
        if self.t != self.t1 and self.h == 0.0:
            self.h = self._first_step()
        while self.t != self.t1:
            if (verdict := self._step()) is not None:
                return verdict
        return Result.SUCCESS, ""

    def close(self, result: Result, detail: str) -> Verdict:
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
        return Solution(tuple(t for t, _ in self.saved), ys, self.tally.stats(), result, detail, self.dense)

    def _step(self) -> Verdict | None:
        """Try one step; a verdict where it ends the integration."""
        if self.tally.tried >= self.options.max_steps:
            return Result.MAX_STEPS, f"t = {self.t:.6g} of {self.t1:.6g} after {self.options.max_steps} steps"
        h, t_next = self._clip(self.h)
        if h == 0.0:
            underflow = Result.STEP_UNDERFLOW, f"step {self.h:.3g} at t = {self.t:.6g}{self._worst()}"
            return (Result.NON_FINITE, self.trouble) if self.retries else underflow
        size = abs(h)
        step = self.method.step(self._field(), self.t, h, self.y, self.carry)
        self.tally.evaluations += step.evaluations
        if not _finite(step.y):
            return self._mend(step, step.y, size, t_next)
        if step.failure:
            return Result.UNSOLVED, f"at t = {self.t:.6g}: {step.failure}"
        decision = self.controller.decide(size, self.y, step.y, step.error, self.method.error_order, self.memory)
        # A method may skip a stage of weight 0 in y but not in the error; no controller accepts such an error.
        if not decision.accept and step.error is not None and not _finite(step.error):
            return self._mend(step, step.error, size, t_next)
        self.retries, self.error = 0, step.error
        if not decision.accept:
            return self._refuse(step, decision.h)
        self._accept(step, t_next, size, decision)
        if self.options.stop_when is not None and self.options.stop_when(self.t, self._state()):
            return Result.STOPPED, f"at t = {self.t:.6g}"
        return None

    def _mend(self, step: StepResult, bad: Tensor, h: float, t_next: float) -> Verdict | None:
        """Shorten a step that is not finite, unless its slope is not, which no shorter step can mend."""
        if step.slope is not None and not _finite(step.slope):
            bad = step.slope
        self.retries, self.trouble = self.retries + 1, self._blame(step, bad, t_next)
        if not self.controller.adaptive or self.retries > _RETRIES or bad is step.slope:
            return Result.NON_FINITE, self.trouble
        self._reject(step, h / 10)
        return None

    def _refuse(self, step: StepResult, h: float) -> Verdict | None:
        """Shorten a step whose error is too large, unless that has not helped for long."""
        self._reject(step, h)
        self.refused += 1
        if self.refused > _STALLED:
            return Result.STALLED, f"{self.refused} times at t = {self.t:.6g}{self._worst()}"
        return None

    def _field(self) -> FlatField:
        """The field of the present step, the same object for all its stages and retries."""
        if self.flat is None:
            v = cast(StepwiseField[S], self.v).at_step(self.tally.accepted)
            self.flat = FlatField(self.layout, v, self.room)
        return self.flat

    def _slope(self) -> Tensor:
        self.tally.evaluations += 1
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
            self.grid = (self.t, self.tally.accepted, h)
        origin, first, _ = self.grid
        k = self.tally.accepted - first
        remaining = abs(self.t1 - origin) - k * h
        # Stretch an adaptive step by up to 1 % rather than leave a sliver; a constant one only by round-off.
        last = remaining <= h * (1.01 if self.controller.adaptive else 1 + 1e-6)
        t_next = self.t1 if last else origin + self.sign * ((k + 1) * h)
        if self.controller.adaptive:
            # Below a few ulp a rejected step would be rounded up to the same one, for ever.
            return (t_next - self.t if last or h >= self._shortest() else 0.0), t_next
        if t_next == self.t:
            return 0.0, t_next
        # A difference of rounded times would not be h to the last bit.
        return self.sign * (remaining if remaining < h * (1 - 1e-6) else h), t_next

    def _accept(self, step: StepResult, t_next: float, h: float, decision: Decision) -> None:
        if self.dense is not None:
            self.dense.add(self.t, self.y, step.slope, step.extension)
        self.y, self.t, self.carry, self.refused = step.y, t_next, step.carry, 0
        if self.stepwise:
            # The next field is another one: a slope of this one says nothing there.
            self.flat, self.carry = None, replace(step.carry, slope=None)
        # A last step cut short by t1 says little about the next one, of which there is none.
        self.h, self.memory = decision.h, decision.memory
        self.tally.accept(h, decision.coupling)
        every = self.options.save_every
        if every and self.tally.accepted % every == 0:
            self.saved.append((self.t, self.y))
        if self.options.on_step is not None:
            self.options.on_step(self._record())

    def _reject(self, step: StepResult, h: float) -> None:
        """Retry with ``h``, from the same point of the same field, whose slope the step has evaluated."""
        self.tally.rejected += 1
        self.h = h
        if step.slope is not None:
            self.carry = replace(self.carry, slope=step.slope)

    def _worst(self) -> str:
        """The component that holds the step down, in words: where the last estimate was largest."""
        return "" if self.error is None else f", largest error in {self.layout.where_largest(self.error)}"

    def _state(self) -> S:
        return cast(S, self.layout.unflatten(self.y))

    def _record(self) -> StepRecord[S]:
        return StepRecord(
            self.tally.accepted, self.t, self._state(), self.h, self.carry, self.memory, self.grid, self.tally.stats()
        )

    def _blame(self, step: StepResult, bad: Tensor, t_next: float) -> str:
        slope = bad if bad is step.slope else self._slope() if step.slope is None else None
        if slope is not None and not _finite(slope):
            return f"the field at t = {self.t:.6g}: {self.layout.where_not_finite(slope)}"
        return f"a stage between t = {self.t:.6g} and t = {t_next:.6g}: {self.layout.where_not_finite(bad)}"


def _finite(x: Tensor) -> bool:
    # One reduction decides almost always; a sum may overflow for finite entries, so look again.
    return math.isfinite(x.sum().item()) or bool(torch.isfinite(x).all())
