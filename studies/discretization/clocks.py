"""The step rule that is a change of clock (INT-6), and minibatches that change within a step (INT-5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.fields import TimeChange
from gflow.ode import DOPRI5, EULER, HEUN_EULER, NOTHING, ConstantStep, ExplicitRK, FlatField, PIController, solve_ivp
from gflow.state import Layout
from gflow.velocity import Time, VelocityField
from studies.discretization.config import Case, Config
from studies.discretization.measure import ladder, order_of_values, rms, stepped
from studies.discretization.training import problem as affine

if TYPE_CHECKING:
    from gflow.study import Context

_SPAN = 1.0
_TIGHT = PIController(rtol=1e-12, atol=1e-12)
_ROWS, _BATCH = 256, 16
_FIRST_STEPS = 65_536  # first steps behind each error estimate: a slope between neighbours is known to 1 %


def run_rule(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: eps_k = eps0/sqrt(1 + |F|^2) on the affine generator, against its own clock and against flow time."""
    generator, theta = affine(context)
    changed = TimeChange(generator.tracking)
    start = TimeChange.start(theta)
    reference = solve_ivp(changed, start, 0.0, _SPAN, method=ExplicitRK(DOPRI5), controller=_TIGHT).y1

    def ruled(n: int) -> Any:
        return stepped(changed, start, 0.0, _SPAN, EULER, n)

    end = ruled(config.steps[-1])
    elapsed = float(end["elapsed"])
    naive, true = (generator.exact(t, theta) for t in (_SPAN, elapsed))
    row = ladder(ruled, config.steps, _SPAN, reference, case.order, evaluations=lambda n: n)
    return {
        **row,
        "elapsed": elapsed,
        "clock": _SPAN,
        "error_at_clock": _distance(end["y"], naive),
        "error_at_elapsed": _distance(end["y"], true),
    }


def run_minibatch(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: the embedded error estimate of Heun-Euler's first step, and the error at the end of the run."""
    problem, wide = (_LeastSquares.drawn(context, k) for k in (config.streams, _FIRST_STEPS))
    fresh, estimates, errors = case.problem == "fresh", [], []
    exact = problem.flow(_SPAN)
    for n in config.steps:
        draw = context.generator_for(f"{n} steps", device="cpu")
        method, h = ExplicitRK(HEUN_EULER), _SPAN / n
        first = FlatField(Layout.of(wide.start), _FreshPerCall(wide, draw) if fresh else wide.draw(draw))
        estimate = method.step(first, 0.0, h, wide.start.reshape(-1), NOTHING).error
        assert estimate is not None
        estimates.append(rms(estimate.reshape(wide.start.shape)))
        field: Any = _FreshPerCall(problem, draw) if fresh else _OnePerStep(problem, draw.initial_seed())
        end = solve_ivp(field, problem.start, 0.0, _SPAN, method=method, controller=ConstantStep(h)).y1
        errors.append(rms(end - exact))
    found = order_of_values(estimates, config.steps, _SPAN, case.order)
    return {**found, "evaluations": [2 * n for n in config.steps], "run_errors": errors}


@dataclass(frozen=True)
class _LeastSquares:
    """Mean squared error of a linear model on 256 rows, for many independent streams of minibatches at once."""

    a: Float[Tensor, "rows 4"]
    b: Float[Tensor, " rows"]
    start: Float[Tensor, "streams 4"]

    @classmethod
    def drawn(cls, context: Context, streams: int) -> _LeastSquares:
        """Rows and targets of the seed."""
        draw = context.generator_for("rows", key="minibatch", device="cpu")
        a = torch.randn(_ROWS, 4, generator=draw, dtype=torch.float64)
        b = a.sum(1) + torch.randn(_ROWS, generator=draw, dtype=torch.float64)
        start = torch.zeros(streams, 4, dtype=torch.float64)
        return cls(*(x.to(context.device) for x in (a, b, start)))

    def draw(self, generator: Generator) -> VelocityField[Tensor]:
        """The descent direction on a fresh minibatch for each stream, rows with replacement."""
        rows = torch.randint(_ROWS, (len(self.start), _BATCH), generator=generator).to(self.a.device)
        a, b = self.a[rows], self.b[rows]

        def field(t: Time, y: Tensor, /) -> Tensor:  # noqa: ARG001
            residual = (a * y[:, None]).sum(2) - b
            slope: Tensor = (a * residual[:, :, None]).mean(1)
            return -slope

        return field

    def flow(self, t: float) -> Float[Tensor, "streams 4"]:
        """Where the full gradient flow, which is linear, is after time t."""
        hessian = self.a.mT @ self.a / _ROWS
        optimum = torch.linalg.solve(hessian, self.a.mT @ self.b / _ROWS)
        end: Tensor = optimum + (self.start - optimum) @ torch.linalg.matrix_exp(-t * hessian)
        return end


@dataclass(frozen=True)
class _OnePerStep:
    """The minibatch field as it should be: all stages of step k see one draw."""

    problem: _LeastSquares
    seed: int

    def at_step(self, k: int) -> VelocityField[Tensor]:
        """The field of step k."""
        return self.problem.draw(Generator().manual_seed((self.seed + 1_000_003 * k) % 2**63))


@dataclass(frozen=True)
class _FreshPerCall:
    """The fault that is measured: each stage draws its own minibatch, so that a step has no field at all."""

    problem: _LeastSquares
    generator: Generator

    def __call__(self, t: Time, y: Tensor) -> Tensor:
        """A gradient on new rows."""
        return self.problem.draw(self.generator)(t, y)


def _distance(y: Any, z: Any) -> float:
    squares = sum(float((y[name] - z[name]).square().sum()) for name in y)
    return float(squares**0.5)
