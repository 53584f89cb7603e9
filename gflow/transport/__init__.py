"""Distances between clouds of points: exact W2 and W1 with a certificate, and bounds from either side.

Knows measures, no dynamics. Estimators take clouds (n, d), (m, d) in any floating dtype and on any
device, compute on the CPU in float64 on centred data, and return an ``Estimate`` of **W2 squared**
(cost ``|x - y|^2``, no 1/2); take ``.sqrt()`` last. Entropic transport stays on the device and in the
dtype of its clouds. Nothing is differentiable.
"""

from gflow.transport.entropic import EntropicPlan
from gflow.transport.exact import ExactW1, ExactW2, optimal_pairs
from gflow.transport.gaussian import bures_map, bures_squared
from gflow.transport.moments import CouplingW2, GelbrichW2
from gflow.transport.one_dim import w2_squared_1d
from gflow.transport.plan import Solver, TransportError, TransportPlan, W2Estimator
from gflow.transport.planner import SolveCost
from gflow.transport.sampling import Sampler, sampling_floor
from gflow.transport.sinkhorn import Sinkhorn, SinkhornDivergence
from gflow.transport.sliced import SlicedW2, unit_directions

__all__ = [
    "CouplingW2",
    "EntropicPlan",
    "ExactW1",
    "ExactW2",
    "GelbrichW2",
    "Sampler",
    "Sinkhorn",
    "SinkhornDivergence",
    "SlicedW2",
    "SolveCost",
    "Solver",
    "TransportError",
    "TransportPlan",
    "W2Estimator",
    "bures_map",
    "bures_squared",
    "optimal_pairs",
    "sampling_floor",
    "unit_directions",
    "w2_squared_1d",
]
