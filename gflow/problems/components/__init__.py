"""Densities, scores and Hessians of weighted sums of Gaussians, one class per kind of covariance.

Nothing is factorized at a noise level: every class is closed under ``C -> alpha^2 C + sigma^2 I``.
With responsibilities ``gamma`` and component scores ``s_k = -C_k^{-1}(x - m_k)``, the score is
``sum gamma_k s_k`` and its Jacobian ``-sum gamma_k C_k^{-1} + Cov_gamma(s_k)``.

Logits and responsibilities are (k, n): reductions over a short inner axis are several times slower.
"""

from gflow.problems.components.full import Full
from gflow.problems.components.isotropic import Isotropic
from gflow.problems.components.protocol import BLOCK, Components
from gflow.problems.components.shared import SharedVariance

__all__ = ["BLOCK", "Components", "Full", "Isotropic", "SharedVariance"]
