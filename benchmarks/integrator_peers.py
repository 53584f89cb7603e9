"""Solvers of torchdiffeq, torchode and diffrax as entries of a work-precision diagram. Times nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.integrator_problems import Problem
from gflow.ode import FlatField
from gflow.ode.work import Entry
from gflow.state import Layout, State

INSTALL = "python -m venv peers && peers/bin/python -m pip install -r benchmarks/peers.txt"


def require() -> dict[str, str]:
    """Versions of the peers.

    Raises:
        SystemExit: one is not installed; the message is the command that installs them.
    """
    try:
        import diffrax
        import jax
        import torchdiffeq
        import torchode
    except ImportError as missing:
        raise SystemExit(f"benchmarks.integrators: {missing}; install the peers by: {INSTALL}") from None
    jax.config.update("jax_enable_x64", True)
    modules = (torchdiffeq, torchode, diffrax, jax)
    return {module.__name__: module.__version__ for module in modules}


class Counted:
    """A field that counts its calls: on the state itself where that is one tensor, else on the flat state."""

    def __init__(self, problem: Problem) -> None:
        self.layout, self.calls = Layout.of(problem.y0), 0
        plain = isinstance(problem.y0, Tensor)
        self.field = problem.v if plain else FlatField(self.layout, problem.v)
        self.start = problem.y0 if plain else self.layout.flatten(problem.y0)

    def __call__(self, t: float, y: Tensor) -> Tensor:
        """The velocity."""
        self.calls += 1
        return self.field(t, y)

    def state(self, y: Tensor) -> State:
        """What a solver ended with, in the structure of the problem."""
        return self.layout.unflatten(y.reshape(-1))


def by_torchdiffeq(problem: Problem, method: str) -> Entry:
    """Its ``dopri5`` at a tolerance or its ``rk4`` (the 3/8 rule) with a number of steps."""
    from torchdiffeq import odeint

    times = torch.tensor([0.0, problem.t1], dtype=torch.float64)

    def run(setting: float) -> tuple[State, int]:
        counted = Counted(problem)
        adaptive = method == "dopri5"
        # Without step_t it steps past t1, where a probability flow has no velocity.
        options = {"step_t": times[1:]} if adaptive else {"step_size": problem.t1 / setting}
        tolerance = {"rtol": setting, "atol": setting} if adaptive else {}
        with torch.no_grad():
            y = odeint(
                lambda t, y: counted(float(t), y), counted.start, times, method=method, options=options, **tolerance
            )[-1]
        return counted.state(y), counted.calls

    return run


def by_torchode(problem: Problem) -> Entry:
    """Its Dopri5 at a tolerance; all of the state is one sample, so that one step serves it as everywhere here."""
    import torchode

    start = Layout.of(problem.y0).flatten(problem.y0)[None]
    shape = Counted(problem).start.shape
    ends = torch.tensor([0.0], dtype=torch.float64), torch.tensor([problem.t1], dtype=torch.float64)

    def run(setting: float) -> tuple[State, int]:
        counted = Counted(problem)
        term = torchode.ODETerm(lambda t, y: counted(float(t[0]), y.reshape(shape)).reshape(y.shape))
        control = torchode.IntegralController(atol=setting, rtol=setting, term=term)
        solver = torchode.AutoDiffAdjoint(torchode.Dopri5(term=term), control)
        with torch.no_grad():
            solution = solver.solve(torchode.InitialValueProblem(start, *ends))
        if bool((solution.status != 0).any()):
            raise RuntimeError(f"torchode: status {solution.status.tolist()}")
        return counted.state(solution.ys[0, -1]), counted.calls

    return run


def by_diffrax(problem: Problem, method: str) -> Entry:
    """Its Dopri5 at a tolerance or the classical RK4 with a number of steps, compiled with the field."""
    import diffrax
    import jax

    layout = Layout.of(problem.y0)
    start = jax.tree.map(lambda x: jax.numpy.asarray(x.numpy()), problem.y0)
    field = problem.for_jax()
    term = diffrax.ODETerm(lambda t, y, args: field(t, y))  # noqa: ARG005

    @jax.jit
    def solve(y0: Any, setting: Any) -> Any:
        adaptive = method == "dopri5"
        control = diffrax.PIDController(rtol=setting, atol=setting) if adaptive else diffrax.ConstantStepSize()
        first = None if adaptive else problem.t1 / setting
        solver = diffrax.Dopri5() if adaptive else classical()
        return diffrax.diffeqsolve(
            term, solver, 0.0, problem.t1, first, y0, stepsize_controller=control, max_steps=10**5, throw=False
        )

    def run(setting: float) -> tuple[State, int]:
        solution = solve(start, float(setting))
        y = jax.tree.map(lambda x: torch.from_numpy(np.array(x[-1])), solution.ys)
        if not bool(solution.result == diffrax.RESULTS.successful):
            raise RuntimeError(f"diffrax: {solution.result}")
        steps = int(solution.stats["num_steps"])
        # Six stages a step, one before the first step and two to choose it; or four stages a step.
        spent = 6 * steps + 3 if method == "dopri5" else 4 * steps
        return layout.unflatten(layout.flatten(y)), spent

    return run


def classical() -> Any:
    """RK4 for diffrax, which has no explicit method of order 4 with a constant step."""
    import diffrax

    class RK4(diffrax.AbstractERK):
        tableau = diffrax.ButcherTableau(
            c=np.array([0.5, 0.5, 1.0]),
            b_sol=np.array([1.0, 2.0, 2.0, 1.0]) / 6,
            b_error=np.zeros(4),
            a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        )
        interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

        def order(self, terms: Any) -> int:  # noqa: ARG002
            return 4

    return RK4()
