"""Measures error against work, evaluations and seconds, of solvers that take turns. Knows no figure."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from gflow.ode.controller import ConstantStep, PIController
from gflow.ode.method import Method
from gflow.ode.solution import Solution
from gflow.ode.solve import solve_ivp
from gflow.ode.work_points import Seconds, WorkPoint, WorkPrecision
from gflow.state import Layout, State
from gflow.velocity import StepwiseField, VelocityField

S = TypeVar("S", bound=State)

Entry = Callable[[float], tuple[State, int]]
"""run(setting): the end state, and how many evaluations of the field it cost."""

# How solvers give up: gflow and diffrax by a RuntimeError, torchdiffeq by an assertion.
_GIVES_UP = (RuntimeError, ArithmeticError, AssertionError)
_LONGEST = 300


def work_precision(
    entries: Mapping[str, Entry],
    settings: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    error: Callable[[Any], float],
    repeats: int,
) -> WorkPrecision:
    """Solve with every entry at every setting, and report its error and what it spent.

    All points are solved once, which gives error and evaluations and whose time is discarded (a first call
    compiles and allocates), and then ``repeats`` times more, setting by setting and in each setting entry by
    entry, so that a slow minute of the machine falls on all rivals alike. Seconds are of
    ``time.perf_counter``, after a CUDA device has finished. Run it alone on the machine.

    Args:
        entries: solvers by name, ``run(setting)``; rivals from other libraries too. ``fixed_steps`` and
            ``tolerances`` make entries of gflow's methods.
        settings: numbers of steps or tolerances, one sequence for all entries or one for each name.
        error: distance of an end state from the truth, not negative.
        repeats: timed solves of each point; quartiles need 5 or more to mean much.

    Returns:
        The points. One whose solver raised a RuntimeError (``SolveError``), an ArithmeticError or an
        AssertionError, or whose state or error is not finite, has the message in place of numbers.

    Raises:
        ValueError: no entries or settings, settings for other names than the entries, a setting that is not
            finite, ``repeats`` below 1, or a negative error.
    """
    chosen = _chosen(entries, settings)
    if repeats < 1:
        raise ValueError(f"work_precision: repeats must be at least 1, got {repeats}")
    solves = [_Solve(name, entries[name], x, turn) for name, xs in chosen.items() for turn, x in enumerate(xs)]
    turns = sorted(solves, key=lambda solve: solve.turn)
    for solve in turns:
        solve.first(error)
    for _ in range(repeats):
        for solve in turns:
            solve.again()
    return WorkPrecision(tuple(solve.point() for solve in solves), repeats)


def fixed_steps(v: VelocityField[S] | StepwiseField[S], y0: S, t0: float, t1: float, method: Method) -> Entry:
    """The entry of a method with constant steps from t0 to t1, whose setting is their number.

    The entry raises ValueError at a setting that is no whole number of at least 1, and otherwise like
    ``solve_ivp``.
    """

    def run(setting: float) -> tuple[State, int]:
        if setting < 1 or setting != math.floor(setting):
            raise ValueError(f"fixed_steps: a setting must be a whole number of at least 1, got {setting}")
        return _spent(solve_ivp(v, y0, t0, t1, method=method, controller=ConstantStep(abs(t1 - t0) / setting)))

    return run


def tolerances(v: VelocityField[S] | StepwiseField[S], y0: S, t0: float, t1: float, method: Method) -> Entry:
    """The entry of an embedded method with PI control from t0 to t1, whose setting is both rtol and atol.

    The entry raises like ``solve_ivp``.
    """

    def run(setting: float) -> tuple[State, int]:
        return _spent(solve_ivp(v, y0, t0, t1, method=method, controller=PIController(rtol=setting, atol=setting)))

    return run


def _spent(solution: Solution[S]) -> tuple[State, int]:
    return solution.y1, solution.stats.evaluations


@dataclass
class _Solve:
    """One entry at one setting, and what is known of it so far."""

    entry: str
    run: Entry
    setting: float
    turn: int
    """Place of the setting among those of the entry."""
    error: float = math.nan
    evaluations: int = 0
    times: list[float] = field(default_factory=list)
    failure: str = ""

    def first(self, error: Callable[[Any], float]) -> None:
        """Solve, and judge the end state."""
        state, self.evaluations, _ = self._timed()
        if state is None:
            return
        layout = Layout.of(state, what=f"work_precision: {self.entry}")
        if bad := layout.where_not_finite(layout.flatten(state)):
            self.failure = f"the end state is not finite: {bad}"
            return
        self.error = float(error(state))
        if self.error < 0:
            raise ValueError(f"work_precision: error must not be negative, got {self.error} for {self.entry}")
        if not math.isfinite(self.error):
            self.failure = f"the error is {self.error}"

    def again(self) -> None:
        """Solve for the time."""
        if not self.failure:
            self.times.append(self._timed()[2])

    def point(self) -> WorkPoint:
        """What was found."""
        if self.failure:
            return WorkPoint(self.entry, self.setting, None, None, None, self.failure)
        # One time is its own quartiles.
        times = self.times if len(self.times) > 1 else 2 * self.times
        seconds = Seconds(*statistics.quantiles(times, n=4, method="inclusive"))
        return WorkPoint(self.entry, self.setting, self.error, self.evaluations, seconds)

    def _timed(self) -> tuple[State | None, int, float]:
        """State (None where the solver gave up), evaluations and seconds of one solve."""
        start = time.perf_counter()
        try:
            state, evaluations = self.run(self.setting)
        except _GIVES_UP as problem:
            self.failure = f"{type(problem).__name__}: {problem}"[:_LONGEST]
            return None, 0, 0.0
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return state, int(evaluations), time.perf_counter() - start


def _chosen(
    entries: Mapping[str, Entry], settings: Sequence[float] | Mapping[str, Sequence[float]]
) -> dict[str, Sequence[float]]:
    """The settings of each entry, in the order of the entries."""
    if isinstance(settings, Mapping) and set(settings) != set(entries):
        names = sorted(entries), sorted(settings)
        raise ValueError(f"work_precision: needs settings for the entries {names[0]}, got them for {names[1]}")
    chosen = {name: settings[name] if isinstance(settings, Mapping) else settings for name in entries}
    if not chosen or not all(chosen.values()):
        raise ValueError(f"work_precision: needs an entry and a setting for each, got {chosen}")
    if wrong := [x for xs in chosen.values() for x in xs if not math.isfinite(x)]:
        raise ValueError(f"work_precision: settings must be finite, got {wrong[0]}")
    return chosen
