"""Initial value problems: tableaux, one-step methods, step control and the one time loop."""

from gflow.ode.adapters import (
    ForTorchdiffeq,
    for_torchdiffeq,
    from_torchdiffeq,
)
from gflow.ode.brownian import (
    BrownianPath,
)
from gflow.ode.controller import (
    ConstantStep,
    PIController,
    StepController,
)
from gflow.ode.interpolation import (
    DenseOutput,
    Interpolant,
)
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
from gflow.ode.order import (
    ObservedOrder,
    Verdict,
    observed_order,
)
from gflow.ode.order_floor import (
    Floor,
    FloorCause,
)
from gflow.ode.order_runs import (
    RICHARDSON,
    FinerSolve,
    Richardson,
)
from gflow.ode.record import (
    StepRecord,
)
from gflow.ode.result import (
    Result,
    SolveError,
    Stats,
)
from gflow.ode.solution import (
    Solution,
)
from gflow.ode.solve import (
    solve_ivp,
)
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
from gflow.ode.work import (
    fixed_steps,
    tolerances,
    work_precision,
)
from gflow.ode.work_points import (
    Seconds,
    Work,
    WorkPoint,
    WorkPrecision,
)

__all__ = [
    "AlternatingEuler",
    "BOSH3",
    "BrownianPath",
    "ButcherTableau",
    "Carry",
    "ConstantStep",
    "DOPRI5",
    "DenseOutput",
    "EULER",
    "EXTRAGRADIENT",
    "EulerMaruyama",
    "ExplicitRK",
    "FinerSolve",
    "FlatField",
    "Floor",
    "FloorCause",
    "ForTorchdiffeq",
    "HEUN",
    "HEUN_EULER",
    "ImplicitMidpoint",
    "Interpolant",
    "MIDPOINT",
    "Method",
    "NOTHING",
    "ObservedOrder",
    "OptimisticEuler",
    "PIController",
    "RICHARDSON",
    "RK4",
    "RK4_38",
    "Result",
    "Richardson",
    "RosenbrockEuler",
    "Seconds",
    "Solution",
    "SolveError",
    "Stats",
    "StepController",
    "StepRecord",
    "StepResult",
    "TSIT5",
    "Verdict",
    "Work",
    "WorkPoint",
    "WorkPrecision",
    "fixed_steps",
    "for_torchdiffeq",
    "from_torchdiffeq",
    "observed_order",
    "solve_ivp",
    "tolerances",
    "work_precision",
]
