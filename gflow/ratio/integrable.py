"""Whether a flow's rate exists for a pair of laws. Decided for normal laws, by their tails."""

from __future__ import annotations

import torch

from gflow.problems import Gaussian
from gflow.ratio.loss import GeneratorLoss

_FAR = 20.0
"""h' is read off at 1, 2 and 4 times this log-ratio: in float64 its e^{k d} does not overflow for |k| <= 8."""


def require_finite_rate(loss: GeneratorLoss, p: Gaussian, q: Gaussian, /) -> None:
    """Nothing if ``E_q |h'(d)| |grad d|^2``, the rate of MONO-1, is finite between two normal laws.

    With ``h' ~ |d|^m e^{k d}`` at either end, it is finite where ``1 + k (g - 1) > 0`` for each ratio g of the
    variance of q to that of p along their common axes, k that of d -> inf where g < 1 and of d -> -inf where g > 1. The
    same holds for D_f(p||q) itself with ``saturating(f)``. Particles never show it: their sums are finite.

    Raises:
        ValueError: it is infinite, such as that of chi^2(q||p) for q of twice the variance of p; laws of
            different dimensions.
    """
    if p.dim != q.dim:
        raise ValueError(f"p and q: need one dimension, got {p.dim} and {q.dim}")
    factor = torch.linalg.cholesky(q.C.double())
    ratios = torch.linalg.eigvalsh(factor.mT @ torch.linalg.solve(p.C.double(), factor))
    for g in ratios.tolist():
        k = _exponent(loss, 1.0 if g < 1.0 else -1.0)
        if not 1.0 + k * (g - 1.0) > 1e-6:
            raise ValueError(
                f"{loss.name}: its rate is infinite for this pair: the variance of q is {g:.3g} times that of p along "
                f"an axis, where h' grows like e^({k:.2g} d)" + (f"; it needs {loss.needs}" if loss.needs else "")
            )


def _exponent(loss: GeneratorLoss, side: float) -> float:
    """K of ``h' ~ c |d|^m e^{k d}`` as d -> side inf; 0 where h' vanishes to rounding, which asks for nothing."""
    d = side * _FAR * torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    size = loss.h_prime(d).abs()
    if not bool((size > 0).all()):
        return 0.0
    near, middle, far = size.log().tolist()
    # The second difference on doubled distances drops both c and m.
    return float((far - 2 * middle + near) / (side * _FAR))
