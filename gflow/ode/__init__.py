"""Initial value problems: tableaux, one-step methods, step control and the one time loop."""

from gflow.ode.adapters import ForTorchdiffeq, for_torchdiffeq, from_torchdiffeq
from gflow.ode.brownian import BrownianPath
from gflow.ode.controller import ConstantStep, PIController, StepController
from gflow.ode.interpolation import DenseOutput, Interpolant
from gflow.ode.method import (
    NOTHING,
    AlternatingEuler,
    Carry,
    EulerMaruyama,
    ExplicitRK,
    FlatField,
    ImplicitMidpoint,
    Method,
    OptimisticEuler,
    RosenbrockEuler,
    StepResult,
)
from gflow.ode.record import StepRecord
from gflow.ode.result import Result, SolveError, Stats
from gflow.ode.solution import Solution
from gflow.ode.solve import solve_ivp
from gflow.ode.tableau import (
    BOSH3,
    DOPRI5,
    EULER,
    EXTRAGRADIENT,
    HEUN,
    HEUN_EULER,
    MIDPOINT,
    RK4,
    RK4_38,
    TSIT5,
    ButcherTableau,
)

__all__ = [
    "BOSH3",
    "DOPRI5",
    "EULER",
    "EXTRAGRADIENT",
    "HEUN",
    "HEUN_EULER",
    "MIDPOINT",
    "NOTHING",
    "RK4",
    "RK4_38",
    "TSIT5",
    "AlternatingEuler",
    "BrownianPath",
    "ButcherTableau",
    "Carry",
    "ConstantStep",
    "DenseOutput",
    "EulerMaruyama",
    "ExplicitRK",
    "FlatField",
    "ForTorchdiffeq",
    "ImplicitMidpoint",
    "Interpolant",
    "Method",
    "OptimisticEuler",
    "PIController",
    "Result",
    "RosenbrockEuler",
    "Solution",
    "SolveError",
    "Stats",
    "StepController",
    "StepRecord",
    "StepResult",
    "for_torchdiffeq",
    "from_torchdiffeq",
    "solve_ivp",
]
