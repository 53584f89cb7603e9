"""Continuous extension of a numerical solution: the cubic Hermite interpolant of each step, and its defect."""

from __future__ import annotations

import bisect

import torch
from torch import Tensor

from gflow.ode.method import FlatField
from gflow.state import Layout, State


class DenseOutput:
    """States and slopes at all accepted steps; order 4 between them in the step size.

    The defect r(t) = u'(t) - v(t, u(t)) of the interpolant u is the exact perturbation that the
    numerical solution solves: u' = v(t, u) + r (W2B-10).
    """

    def __init__(self, layout: Layout, v: FlatField | None) -> None:
        if v is None:
            raise ValueError("solve_ivp: dense output needs one field; a StepwiseField changes at every step")
        self.layout, self.v = layout, v
        self.ts: list[float] = []
        self.ys: list[Tensor] = []
        self.slopes: list[Tensor] = []

    def add(self, t: float, y: Tensor, slope: Tensor | None) -> None:
        """Append a step's start, or the end of the last step."""
        if slope is None:
            raise ValueError("solve_ivp: dense output needs a method with slopes; a Brownian path has none")
        self.ts.append(t)
        self.ys.append(y)
        self.slopes.append(slope.clone())

    def state(self, t: float) -> State:
        """The interpolant at ``t``."""
        return self.layout.unflatten(self.at(t)[0])

    def defect(self, t: float) -> State:
        """The defect at ``t``."""
        with torch.no_grad():
            y, slope = self.at(t)
            return self.layout.unflatten(slope - self.v(t, y))

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        """Value and derivative of the interpolant as flat tensors."""
        if not self.ts:
            raise ValueError("Solution: dense output is empty, for the field is not finite at t0")
        first, last = self.ts[0], self.ts[-1]
        if not min(first, last) <= t <= max(first, last):
            raise ValueError(f"Solution: t = {t} lies outside the computed [{first}, {last}]")
        if len(self.ts) == 1:
            return self.ys[0], self.slopes[0]
        sign = 1.0 if last >= first else -1.0
        k = bisect.bisect_right(self.ts, sign * t, key=lambda s: sign * s) - 1
        k = min(max(k, 0), len(self.ts) - 2)
        h = self.ts[k + 1] - self.ts[k]
        x = (t - self.ts[k]) / h
        nodes = torch.stack((self.ys[k], self.slopes[k] * h, self.ys[k + 1], self.slopes[k + 1] * h))
        value = (1 - x) ** 2 * (1 + 2 * x), x * (1 - x) ** 2, x**2 * (3 - 2 * x), x**2 * (x - 1)
        slope = 6 * x * (x - 1), (1 - x) * (1 - 3 * x), 6 * x * (1 - x), x * (3 * x - 2)
        weights = nodes.new_tensor((value, slope))
        at, derivative = weights @ nodes
        return at, derivative / h
