"""Continuous extension of a numerical solution, step by step, and its defect."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

import torch
from torch import Tensor

from gflow.ode.method import FlatField
from gflow.state import Layout, State


class Interpolant(Enum):
    """What joins the nodes of a solution. The order of the defect is one below that of the interpolant."""

    LINEAR = "straight lines: order 2, the one whose defect has the order of Euler's method"
    HERMITE = "the cubic through states and slopes at both ends: order 4"
    QUARTIC = (
        "the cubic raised to meet the field at its quarter point, one evaluation a step: order 5, for RK4 (W2B-20)"
    )
    EXTENSION = "the pair's own continuous extension (DOPRI5, TSIT5): order 5, no evaluation"


@dataclass(frozen=True)
class DenseOutput:
    """States and slopes at all accepted steps, joined by an interpolant u that is C^1 (C^0 if linear).

    The defect r(t) = u'(t) - v(t, u(t)) is the exact perturbation that the numerical solution
    solves: u' = v(t, u) + r (W2B-10).
    """

    layout: Layout
    v: FlatField
    """The field on flat states."""
    interpolant: Interpolant
    ts: list[float] = field(default_factory=list)
    ys: list[Tensor] = field(default_factory=list, repr=False)
    slopes: list[Tensor] = field(default_factory=list, repr=False)
    extensions: list[Tensor | None] = field(default_factory=list, repr=False)
    """Coefficients (degree, size) of the pair's own extension of each step, where it has one."""

    def add(self, t: float, y: Tensor, slope: Tensor | None, extension: Callable[[], Tensor] | None = None) -> None:
        """Append a step's start, or the end of the last step."""
        if slope is None:
            raise ValueError("solve_ivp: dense output needs a method with slopes; a Brownian path has none")
        self.ts.append(t)
        self.ys.append(y)
        self.slopes.append(slope.clone())
        self.extensions.append(None if extension is None else extension())

    def using(self, interpolant: Interpolant) -> DenseOutput:
        """The same nodes with another interpolant.

        Raises:
            ValueError: ``EXTENSION`` for a method that has none.
        """
        if interpolant is Interpolant.EXTENSION and any(e is None for e in self.extensions[:-1]):
            raise ValueError("Interpolant.EXTENSION: this method has no continuous extension; use HERMITE")
        return replace(self, interpolant=interpolant)

    def state(self, t: float) -> State:
        """The interpolant at ``t``."""
        return self.layout.unflatten(self.at(t)[0])

    def defect(self, t: float) -> State:
        """The defect at ``t``."""
        with torch.no_grad():
            y, slope = self.at(t)
            return self.layout.unflatten(slope - self.v(t, y))

    def at(self, t: float) -> tuple[Tensor, Tensor]:
        """Value and derivative of the interpolant as flat tensors; at a node the state itself, and its slope."""
        if not self.ts:
            raise ValueError("Solution: dense output is empty, for the field is not finite at t0")
        first, last = self.ts[0], self.ts[-1]
        if not min(first, last) <= t <= max(first, last):
            raise ValueError(f"Solution: t = {t} lies outside the computed [{first}, {last}]")
        sign = 1.0 if last >= first else -1.0
        k = bisect.bisect_right(self.ts, sign * t, key=lambda s: sign * s) - 1
        if t == self.ts[k] and (self.interpolant is not Interpolant.LINEAR or len(self.ts) == 1):
            return self.ys[k], self.slopes[k]
        return self.on_step(min(k, len(self.ts) - 2), t)

    def on_step(self, k: int, t: float) -> tuple[Tensor, Tensor]:
        """Value and derivative at ``t`` of the polynomial of step k, up to and including both of its ends."""
        h = self.ts[k + 1] - self.ts[k]
        x = (t - self.ts[k]) / h
        extension = self.extensions[k]
        if self.interpolant is Interpolant.LINEAR:
            # lerp, unlike y + x (y1 - y), ends in y1 to the last bit.
            return torch.lerp(self.ys[k], self.ys[k + 1], x), (self.ys[k + 1] - self.ys[k]) / h
        if self.interpolant is Interpolant.EXTENSION and extension is not None:
            return _polynomial(self.ys[k], extension, x, h)
        value, slope = self._hermite(k, x, h)
        if self.interpolant is Interpolant.QUARTIC:
            bend = self._bend(k)
            value = torch.add(value, bend, alpha=(x * (1 - x)) ** 2)
            slope = torch.add(slope, bend, alpha=2 * x * (1 - x) * (1 - 2 * x) / h)
        return value, slope

    def _hermite(self, k: int, x: float, h: float) -> tuple[Tensor, Tensor]:
        nodes = torch.stack((self.ys[k], self.slopes[k] * h, self.ys[k + 1], self.slopes[k + 1] * h))
        value = (1 - x) ** 2 * (1 + 2 * x), x * (1 - x) ** 2, x**2 * (3 - 2 * x), x**2 * (x - 1)
        slope = 6 * x * (x - 1), (1 - x) * (1 - 3 * x), 6 * x * (1 - x), x * (3 * x - 2)
        at, derivative = nodes.new_tensor((value, slope)) @ nodes
        return at, derivative / h

    def _bend(self, k: int) -> Tensor:
        """The multiple of x^2 (1-x)^2 with which u' = v(t, cubic) at x = 1/4, where the cubic's slope is worst."""
        h = self.ts[k + 1] - self.ts[k]
        value, slope = self._hermite(k, 0.25, h)
        with torch.no_grad():
            return (self.v(self.ts[k] + h / 4, value) - slope) * (h / 0.1875)


def _polynomial(y: Tensor, q: Tensor, x: float, h: float) -> tuple[Tensor, Tensor]:
    """The polynomial y + sum_j x^(j+1) q_j and its derivative in t."""
    degree = len(q)
    value, slope = [x ** (j + 1) for j in range(degree)], [(j + 1) * x**j / h for j in range(degree)]
    at, derivative = q.new_tensor((value, slope)) @ q
    return y + at, derivative
