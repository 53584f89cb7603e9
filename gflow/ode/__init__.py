"""Initial value problems: tableaux, one-step methods, step control and the one time loop."""

from gflow.ode.brownian import BrownianPath
from gflow.ode.controller import ConstantStep, PIController, StepController
from gflow.ode.method import EulerMaruyama, ExplicitRK, Method, StepResult
from gflow.ode.result import Result, SolveError, Stats
from gflow.ode.solution import Solution
from gflow.ode.solve import solve_ivp
from gflow.ode.tableau import BOSH3, DOPRI5, EULER, HEUN, HEUN_EULER, MIDPOINT, RK4, ButcherTableau

__all__ = [
    "BOSH3",
    "DOPRI5",
    "EULER",
    "HEUN",
    "HEUN_EULER",
    "MIDPOINT",
    "RK4",
    "BrownianPath",
    "ButcherTableau",
    "ConstantStep",
    "EulerMaruyama",
    "ExplicitRK",
    "Method",
    "PIController",
    "Result",
    "Solution",
    "SolveError",
    "Stats",
    "StepController",
    "StepResult",
    "solve_ivp",
]
