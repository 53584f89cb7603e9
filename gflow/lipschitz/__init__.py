"""One-sided Lipschitz constants (logarithmic norms): exact, sampled, along pairs, matrix-free.

A constant belongs to a direction of time (W2B-2): nothing here is a signless "Lipschitz constant".
"""

from gflow.lipschitz.ball import BallBounded, BallLogNorm, ClosedForm, FieldLogNorm, LipschitzJacobian
from gflow.lipschitz.lanczos import LanczosOsl, LanczosValues
from gflow.lipschitz.pointwise import jacobian, log_norm
from gflow.lipschitz.rows import check_rows_independent
from gflow.lipschitz.sampled import JacobianOsl, LipschitzEstimator, PairOsl
from gflow.lipschitz.segment import MeanJacobian, mean_jacobian, pair_quotient

__all__ = [
    "BallBounded",
    "BallLogNorm",
    "ClosedForm",
    "FieldLogNorm",
    "JacobianOsl",
    "LanczosOsl",
    "LanczosValues",
    "LipschitzEstimator",
    "LipschitzJacobian",
    "MeanJacobian",
    "PairOsl",
    "check_rows_independent",
    "jacobian",
    "log_norm",
    "mean_jacobian",
    "pair_quotient",
]
