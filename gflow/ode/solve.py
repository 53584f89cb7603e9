"""The only time loop. Knows methods and controllers by protocol, states by their layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

from gflow.ode.arguments import check_kinds, check_numbers
from gflow.ode.controller import StepController
from gflow.ode.interpolation import DenseOutput
from gflow.ode.method import FlatField, Method, StepResult
from gflow.ode.result import Result, SolveError, Stats
from gflow.ode.solution import Solution
from gflow.state import Layout, State
from gflow.velocity import StepwiseField, VelocityField

S = TypeVar("S", bound=State)

# A candidate that is not finite may only mean that the step was too long: an adaptive controller
# shortens it this many times (by 10 each time) before the state is given up.
_RETRIES = 12


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
        throw: raise on failure; otherwise return the partial solution with its ``result``.

    Returns:
        The solution; ``ys`` has a leading time axis and never requires grad.

    Raises:
        SolveError: the integration failed and ``throw`` is true; carries the partial solution.
        ValueError: bad arguments, a non-finite initial state, or a field that returns another
            structure, shape, dtype or device.
        TypeError: arguments of the wrong kind, such as a tableau in place of a method.
    """
    loop = _Loop(v, y0, t0, t1, method, controller, save_every, dense, max_steps)
    with torch.no_grad():
        result, detail = loop.close(*loop.run())
        solution = loop.solution(result, detail)
    if throw and result is not Result.SUCCESS:
        raise SolveError(f"{result.value} ({detail})", solution)
    return solution


@dataclass(frozen=True)
class _FlatField(Generic[S]):
    """A field on flat states."""

    layout: Layout
    v: VelocityField[S]

    def __call__(self, t: float, y: Tensor, /) -> Tensor:
        """v(t, y), checked against the layout."""
        return self.layout.flatten(self.v(t, cast(S, self.layout.unflatten(y))), what=f"velocity at t = {t:.6g}")


class _Loop(Generic[S]):
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
        check_kinds(v, method, controller)
        check_numbers(t0, t1, method, controller, save_every, max_steps)
        self.layout = Layout.of(y0, what="y0")
        self.y = self.layout.flatten(y0).detach().clone()
        if bad := self.layout.where_not_finite(self.y):
            raise ValueError(f"y0: needs finite numbers, got non-finite entries in {bad}")
        self.v = v
        self.stepwise = isinstance(v, StepwiseField)
        self.flat: FlatField | None = None if isinstance(v, StepwiseField) else _FlatField(self.layout, v)
        self.t0, self.t1, self.t = float(t0), float(t1), float(t0)
        self.method, self.controller = method, controller
        self.save_every, self.max_steps = save_every, max_steps
        self.saved: list[tuple[float, Tensor]] = [(self.t, self.y)]
        self.dense = DenseOutput(self.layout, self.flat) if dense else None
        self.stats = Stats()
        self.carry: Tensor | None = None
        self.h, self.memory = 0.0, 1.0
        self.grid = (self.t, 0, 0.0)
        self.retries, self.trouble = 0, ""

    def run(self) -> tuple[Result, str]:
        """Step until t1 or a failure; the verdict and what went wrong."""
        if self.t != self.t1:
            self.h = self._first_step()
        while self.t != self.t1:
            if self.stats.accepted + self.stats.rejected >= self.max_steps:
                return Result.MAX_STEPS, f"t = {self.t:.6g} of {self.t1:.6g} after {self.max_steps} steps"
            h, t_next = self._clip(self.h)
            if h == 0.0:
                underflow = Result.STEP_UNDERFLOW, f"step {self.h:.3g} at t = {self.t:.6g}"
                return (Result.NON_FINITE, self.trouble) if self.trouble else underflow
            step = self.method.step(self._field(), self.t, h, self.y, self.carry)
            self.stats = self.stats.plus(step.evaluations)
            if (bad := self._not_finite(step)) is not None:
                self.retries, self.trouble = self.retries + 1, self._blame(step, bad, t_next)
                if not self.controller.adaptive or self.retries > _RETRIES or bad is step.slope:
                    return Result.NON_FINITE, self.trouble
                self._reject(step, abs(h) / 10)
                continue
            decision = self.controller.decide(abs(h), self.y, step.y, step.error, self.method.error_order, self.memory)
            self.trouble = ""
            if not decision.accept:
                self._reject(step, decision.h)
                continue
            self._accept(step, t_next, abs(h))
            # A last step cut short by t1 says little about the next one, of which there is none.
            self.h, self.memory, self.retries = decision.h, decision.memory, 0
        return Result.SUCCESS, ""

    def close(self, result: Result, detail: str) -> tuple[Result, str]:
        """Give dense output its last node; the verdict, which is a failure where the slope there is not finite."""
        if self.dense is None:
            return result, detail
        slope = self._slope() if self.carry is None else self.carry
        if _finite(slope):
            self.dense.add(self.t, self.y, slope)
        elif result is Result.SUCCESS:
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
            self.flat = _FlatField(self.layout, cast(StepwiseField[S], self.v).at_step(self.stats.accepted))
        return self.flat

    def _slope(self) -> Tensor:
        self.stats = self.stats.plus(1)
        return self._field()(self.t, self.y)

    def _first_step(self) -> float:
        span = abs(self.t1 - self.t0)
        if not self.controller.adaptive:
            return self.controller.first_step(self.y, self.y, span)
        self.carry = self._slope()
        return max(self.controller.first_step(self.y, self.carry, span), self._shortest())

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

    def _accept(self, step: StepResult, t_next: float, h: float) -> None:
        if self.dense is not None:
            self.dense.add(self.t, self.y, step.slope)
        self.y, self.t, self.carry = step.y, t_next, None if self.stepwise else step.carry
        if self.stepwise:
            self.flat = None
        self.stats = self.stats.accept(h)
        if self.t == self.t1 or (self.save_every and self.stats.accepted % self.save_every == 0):
            self.saved.append((self.t, self.y))

    def _reject(self, step: StepResult, h: float) -> None:
        """Retry with ``h``, from the same point of the same field, whose slope the step has evaluated."""
        self.stats, self.h = self.stats.reject(), h
        if step.slope is not None:
            self.carry = step.slope

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
