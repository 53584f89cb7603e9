"""Sinkhorn's algorithm with a checked end, and the debiased divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate
from gflow.transport.clouds import check_cloud, log_masses
from gflow.transport.entropic import EntropicPlan, soft_transform
from gflow.transport.plan import TransportError


@dataclass(frozen=True)
class Sinkhorn:
    """Entropic transport, ``min E |x - y|^2 / 2 + eps KL(plan | product of the marginals)`` (Cuturi 2013).

    Log-domain updates with no lower limit on ``eps``, but iterations grow like 1/eps. The result is
    returned only once the plan meets both marginals: that of x to rounding, that of y to
    ``tolerance``, in total variation times two. Torch on the clouds' device, in their dtype, O(n + m)
    memory and 64 MiB per temporary; nothing is differentiable: gradients are ``x - T(x)``, by
    ``EntropicPlan.barycentric``.

    Raises:
        ValueError: ``eps`` or ``tolerance`` not positive and finite, ``max_iterations`` below 1.
    """

    eps: float
    """Regularization in the units of ``|x - y|^2 / 2``: the variance of the plan's blur."""
    tolerance: float
    """Sum of the absolute errors of the masses of y. Rounding leaves about (dtype epsilon) (max c) / eps."""
    max_iterations: int = 10_000
    """Beyond, the solve raises."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("eps", "tolerance"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: must be positive and finite, got {getattr(self, name)}")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations: needs at least 1, got {self.max_iterations}")

    def __call__(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        /,
        *,
        x_weights: Float[Tensor, " n"] | None = None,
        y_weights: Float[Tensor, " m"] | None = None,
        warm_start: EntropicPlan | None = None,
    ) -> EntropicPlan:
        """The plan from x to y.

        Args:
            x: first cloud.
            y: second cloud, of the same dtype and device; ``x`` itself for a self term, which takes
                some twenty iterations at any eps.
            x_weights: masses of x, scaled to sum 1; uniform by default.
            y_weights: masses of y.
            warm_start: plan of a nearby problem with the same order of points in y; changes the time alone.

        Raises:
            TypeError: an argument that is not a tensor.
            ValueError: bad clouds or weights, different dtypes or devices, a warm start of another size.
            TransportError: the marginal error was still above ``tolerance`` after ``max_iterations``.
        """
        _check_pair(x, y)
        same = y is x and y_weights is x_weights
        log_a, log_b = log_masses("x_weights", x_weights, x), log_masses("y_weights", y_weights, y)
        if warm_start is not None and warm_start.g.shape != (len(y),):
            raise ValueError(f"warm_start: expected a plan to {len(y)} points, got one to {len(warm_start.g)}")
        with torch.no_grad():
            # Distances ignore a common shift; the cancellation in |x|^2 + |y|^2 - 2xy does not.
            centre = x.mean(0) / 2 + y.mean(0) / 2
            start = torch.zeros_like(log_b) if warm_start is None else warm_start.g.to(log_b)
            f, g, error, count = self._iterate((x - centre, log_a), (y - centre, log_b), start, same=same)
            dual = float((log_a.exp() * f).sum() + (log_b.exp() * g).sum())
            # The dual is concave in g with gradient b - b', and the optimal g varies by at most max c.
            gap = error * (_largest_cost(x - centre, y - centre) + float(g.max() - g.min())) / 2
        estimate = Estimate(dual, dual, dual + gap)
        return EntropicPlan(y.detach(), log_b, f, g, self.eps, error, count, estimate)

    def _iterate(
        self, x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor], g: Tensor, *, same: bool
    ) -> tuple[Tensor, Tensor, float, int]:
        """f, g, marginal error and number of iterations."""
        b, error = y[1].exp(), math.inf
        for count in range(1, self.max_iterations + 1):
            f = soft_transform(x[0], *y, g, self.eps)
            update = soft_transform(y[0], *x, f, self.eps)
            # What arrives at y is b exp((g - update) / eps): the error costs nothing beyond the update.
            error = float(((y[1] + (g - update) / self.eps).exp() - b).abs().sum())
            if error <= self.tolerance:
                return f, g, error, count
            # Of one cloud with itself, f = g at the solution; the mean of two half-steps errs by a
            # factor (r^2 - r)/2, at most 1/8, where a whole step errs by r^2 with r near 1.
            g = (f + update) / 2 if same else update
        raise TransportError(
            f"Sinkhorn: marginal error {error:.1e} above {self.tolerance:.1e} after {self.max_iterations} iterations "
            f"at eps = {self.eps:g}; raise eps, tolerance or max_iterations, or start warm"
        )


@dataclass(frozen=True)
class SinkhornDivergence:
    """The debiased divergence in the units of W2 squared (Feydy et al. 2019): ``2 OT(x, y) - OT(x, x) - OT(y, y)``.

    OT is the value of ``Sinkhorn`` with cost ``|x - y|^2 / 2`` and the same ``eps``. The factor 2 makes
    it W2 squared as eps -> 0, and the squared distance of the means as eps -> inf; some libraries
    report half of it. Never negative, and 0 for equal clouds, to the tolerance. Arguments and errors of
    the settings as ``Sinkhorn``.
    """

    eps: float
    """Regularization in the units of ``|x - y|^2 / 2``."""
    tolerance: float
    """Marginal error of each of the three solves."""
    max_iterations: int = 10_000
    """Of each of the three solves."""

    def __post_init__(self) -> None:
        """Check the settings."""
        self._solver()

    def __call__(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        /,
        *,
        x_weights: Float[Tensor, " n"] | None = None,
        y_weights: Float[Tensor, " m"] | None = None,
    ) -> Estimate:
        """The divergence between the clouds, certified: level 1 and bounds from the marginal errors. Bias unknown.

        Raises:
            TypeError: an argument that is not a tensor.
            ValueError: bad clouds or weights, different dtypes or devices.
            TransportError: one of the three solves did not converge.
        """
        solver = self._solver()
        cross = solver(x, y, x_weights=x_weights, y_weights=y_weights).estimate
        # The same weights object on both sides, which is how the solver knows a self term.
        own = [solver(z, z, x_weights=w, y_weights=w).estimate for z, w in ((x, x_weights), (y, y_weights))]
        lo = 2 * cross.lo - sum(e.hi for e in own)
        hi = 2 * cross.hi - sum(e.lo for e in own)
        return Estimate(2 * cross.mean - sum(e.mean for e in own), lo, hi)

    def _solver(self) -> Sinkhorn:
        return Sinkhorn(self.eps, self.tolerance, self.max_iterations)


def _check_pair(x: Tensor, y: Tensor) -> None:
    """Raise unless both are finite clouds that torch can combine."""
    check_cloud("x", x)
    check_cloud("y", y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"y: expected dimension {x.shape[1]} as x has, got {tuple(y.shape)}")
    if x.dtype != y.dtype or x.device != y.device:
        raise ValueError(f"y: must share dtype and device with x, got {y.dtype} on {y.device}, {x.dtype} on {x.device}")


def _largest_cost(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """A bound of ``|x_i - y_j|^2 / 2``, by the triangle inequality."""
    return float((x.norm(dim=1).max() + y.norm(dim=1).max()).square() / 2)
