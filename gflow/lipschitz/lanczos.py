"""The logarithmic norm without the Jacobian: Lanczos on its symmetric part, all points in lock step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from gflow.estimate import Estimate
from gflow.lipschitz.pointwise import check_points, reverse_mode
from gflow.lipschitz.rows import check_rows_independent
from gflow.lipschitz.sampled import check_direction
from gflow.velocity import Time, VelocityField

_CHECK_EVERY = 4


@dataclass(frozen=True)
class LanczosValues:
    """Largest Ritz value of each point, with its residual."""

    values: Float[Tensor, " n"]
    """At most the largest eigenvalue, up to round-off; equal to it when converged."""
    residuals: Float[Tensor, " n"]
    """``|S q - value q|``: an eigenvalue of S lies within this distance."""
    iterations: int
    converged: bool
    """Whether every residual is within tolerance."""


@dataclass(frozen=True)
class LanczosOsl:
    """Largest eigenvalue of ``direction * (Dv + Dv^T) / 2`` over the points, for large d.

    One jvp and one vjp of the whole batch per iteration, full reorthogonalization (Golub and Van
    Loan, Matrix Computations, 10.3): memory n d per iteration instead of n d^2. Bias ``down``.
    The start vectors come from ``seed``, so equal calls give equal results.
    """

    tolerance: float
    """Largest residual accepted, relative to the largest Ritz value in size at any point."""
    max_iterations: int
    """Iterations allowed; d of them always suffice."""
    seed: int = 0
    """Seed of the start vectors."""

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ValueError(f"tolerance: needs a positive number, got {self.tolerance}")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations: needs at least 1, got {self.max_iterations}")

    def __call__(
        self, field: VelocityField[Tensor], t: Time, points: Float[Tensor, "n d"], *, direction: int
    ) -> Estimate:
        """The constant of ``direction * field`` over ``points``.

        Raises:
            ValueError: ``direction`` other than +1 and -1, coupled rows, a field that is not finite
                or that reverse mode cannot see through.
            RuntimeError: not converged.
        """
        found = self.solve(field, t, points, direction=direction)
        if not found.converged:
            raise RuntimeError(
                f"LanczosOsl: residual {float(found.residuals.max()):.2g} after {found.iterations} iterations; "
                f"raise max_iterations={self.max_iterations} (d={points.shape[1]} always suffices) or the tolerance"
            )
        return Estimate.exact(float(found.values.max()), bias="down")

    def solve(
        self, field: VelocityField[Tensor], t: Time, points: Float[Tensor, "n d"], *, direction: int
    ) -> LanczosValues:
        """The value and residual of each point, converged or not; raises ValueError as a call does."""
        check_direction(direction)
        check_points(points, "points")
        check_rows_independent(field, t, points)
        generator = torch.Generator().manual_seed(self.seed)
        start = torch.randn(points.shape, dtype=points.dtype, generator=generator).to(points.device)
        with torch.no_grad():
            product = _symmetric_part(field, t, points, direction)
            return _lanczos(product, start, self.tolerance, self.max_iterations)


def _symmetric_part(field: VelocityField[Tensor], t: Time, x: Tensor, direction: int) -> Callable[[Tensor], Tensor]:
    """The product q -> direction (J q + J^T q) / 2 for one vector q per row."""
    pull, seen = reverse_mode(field, t, x)

    def product(q: Tensor) -> Tensor:
        push = jvp(lambda z: field(t, z), (x,), (q,))[1]
        if not seen and bool(push.any()):
            raise ValueError(
                "field: reverse mode sees a constant (does it run under torch.no_grad()?); use JacobianOsl"
            )
        result: Tensor = (push + pull(q)) * (direction / 2)
        if not bool(torch.isfinite(result.sum())):
            bad = int((~torch.isfinite(result)).any(1).sum())
            raise ValueError(f"field at t={float(t):g}: derivative not finite for {bad} of {len(x)} particles")
        return result

    return product


def _lanczos(product: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, limit: int) -> LanczosValues:
    """Lock-step Lanczos for n symmetric operators on R^d, until every residual is small."""
    n, d = start.shape
    last = min(limit, d)
    basis = start.new_empty(n, 0, d)
    tridiagonal = start.new_zeros(n, last, last)
    size = start.new_zeros(n)
    q = start / start.norm(dim=1, keepdim=True)
    for k in range(last):
        basis = torch.cat([basis, q[:, None]], 1)
        w = product(q)
        size = torch.maximum(size, w.norm(dim=1))
        # A row whose Krylov space is exhausted goes on with a value that cannot become the largest.
        tridiagonal[:, k, k] = torch.where(q.any(1), (q * w).sum(1), tridiagonal[:, 0, 0])
        w, beta = _orthogonalize(w, basis, size)
        if (k + 1) % _CHECK_EVERY == 0 or k + 1 == last:
            found = _top_ritz(tridiagonal[:, : k + 1, : k + 1], beta, tolerance)
            if found.converged:
                break
        if k + 1 < last:
            tridiagonal[:, k, k + 1] = tridiagonal[:, k + 1, k] = beta
        q = torch.where(beta[:, None] > 0, w / beta[:, None], 0.0)
    return found


def _orthogonalize(w: Tensor, basis: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """``w`` made orthogonal to the basis, and its norm, 0 where only round-off of ``size`` is left."""
    for _ in range(2):  # twice is enough (Parlett, The Symmetric Eigenvalue Problem, 6.9)
        w = w - torch.einsum("nkd,nk->nd", basis, torch.einsum("nkd,nd->nk", basis, w))
    beta = w.norm(dim=1)
    return w, torch.where(beta > 64 * torch.finfo(w.dtype).eps * size, beta, 0.0)


def _top_ritz(tridiagonal: Tensor, beta: Tensor, tolerance: float) -> LanczosValues:
    """Largest Ritz values; the residual of one is beta times the last entry of its eigenvector."""
    values, vectors = torch.linalg.eigh(tridiagonal)
    residuals = beta * vectors[:, -1, -1].abs()
    converged = bool(residuals.max() <= tolerance * values.abs().max())
    return LanczosValues(values[:, -1], residuals, tridiagonal.shape[1], converged)
