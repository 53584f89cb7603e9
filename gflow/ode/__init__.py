"""Initial value problems: tableaux, one-step methods, step control and the one time loop."""

from gflow.ode.brownian import BrownianPath
from gflow.ode.controller import ConstantStep, PIController, StepController
from gflow.ode.method import EulerMaruyama, ExplicitRK, Method, StepResult
from gflow.ode.order import RICHARDSON, FinerSolve, ObservedOrder, Richardson, Verdict, observed_order
from gflow.ode.order_floor import Floor, FloorCause
from gflow.ode.result import Result, SolveError, Stats
from gflow.ode.solution import Solution
from gflow.ode.solve import solve_ivp
from gflow.ode.tableau import BOSH3, DOPRI5, EULER, HEUN, HEUN_EULER, MIDPOINT, RK4, ButcherTableau
from gflow.ode.work import fixed_steps, tolerances, work_precision
from gflow.ode.work_points import Seconds, Work, WorkPoint, WorkPrecision

__all__ = [
    "BOSH3",
    "DOPRI5",
    "EULER",
    "HEUN",
    "HEUN_EULER",
    "MIDPOINT",
    "RICHARDSON",
    "RK4",
    "BrownianPath",
    "ButcherTableau",
    "ConstantStep",
    "EulerMaruyama",
    "ExplicitRK",
    "FinerSolve",
    "Floor",
    "FloorCause",
    "Method",
    "ObservedOrder",
    "PIController",
    "Result",
    "Richardson",
    "Seconds",
    "Solution",
    "SolveError",
    "Stats",
    "StepController",
    "StepResult",
    "Verdict",
    "Work",
    "WorkPoint",
    "WorkPrecision",
    "fixed_steps",
    "observed_order",
    "solve_ivp",
    "tolerances",
    "work_precision",
]
