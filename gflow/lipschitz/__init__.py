"""One-sided Lipschitz constants (logarithmic norms): exact, sampled, along pairs, matrix-free.

A constant belongs to a direction of time: see W2B-2. Nothing here is signless.
"""

from gflow.lipschitz.jacobian import jacobian as jacobian
from gflow.lipschitz.jacobian import log_norm as log_norm
from gflow.lipschitz.lanczos import LanczosOsl as LanczosOsl
from gflow.lipschitz.lanczos import LanczosValues as LanczosValues
from gflow.lipschitz.rows import check_rows_independent as check_rows_independent
from gflow.lipschitz.sampled import JacobianOsl as JacobianOsl
from gflow.lipschitz.sampled import LipschitzEstimator as LipschitzEstimator
from gflow.lipschitz.sampled import PairOsl as PairOsl
from gflow.lipschitz.segment import MeanJacobian as MeanJacobian
from gflow.lipschitz.segment import mean_jacobian as mean_jacobian
from gflow.lipschitz.segment import pair_quotient as pair_quotient
