"""One step of a time integrator, explicit, implicit, stochastic or by players. A method never accepts or rejects."""

from gflow.ode.method.explicit import ExplicitRK
from gflow.ode.method.implicit import ImplicitMidpoint, RosenbrockEuler
from gflow.ode.method.players import AlternatingEuler, OptimisticEuler
from gflow.ode.method.protocol import NOTHING, Carry, FlatField, Method, StepResult
from gflow.ode.method.stochastic import EulerMaruyama

__all__ = [
    "NOTHING",
    "AlternatingEuler",
    "Carry",
    "EulerMaruyama",
    "ExplicitRK",
    "FlatField",
    "ImplicitMidpoint",
    "Method",
    "OptimisticEuler",
    "RosenbrockEuler",
    "StepResult",
]
