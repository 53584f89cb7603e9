"""Entropic transport between clouds in the log domain: the two reductions over pairs, in bounded memory.

Cost ``c(x, y) = |x - y|^2 / 2``, so that a plan is ``a_i b_j exp((f_i + g_j - c_ij) / eps)`` and ``eps``
is the variance of its blur. Torch on any device, in the dtype of the clouds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate

_CHUNK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class EntropicPlan:
    """A converged plan from x to y. Its potentials start the solve of a nearby problem, or map any point."""

    y: Float[Tensor, "m d"]
    """Where the plan arrives."""
    log_b: Float[Tensor, " m"]
    """Logarithms of the masses of y."""
    f: Float[Tensor, " n"]
    """Potential of x: the soft c-transform of g, so that the masses of x are met exactly."""
    g: Float[Tensor, " m"]
    """Potential of y."""
    eps: float
    """Regularization, in the units of ``|x - y|^2 / 2``."""
    marginal_error: float
    """Sum of the absolute errors of the masses that arrive at y; the plan's only error."""
    iterations: int
    """Sinkhorn iterations spent."""
    estimate: Estimate
    """``min E c + eps KL(plan | product)``: lo = mean = dual, hi = a bound from the marginal error; to rounding."""

    def barycentric(self, points: Float[Tensor, "k d"], /) -> Float[Tensor, "k d"]:
        """The entropic map ``T(x) = E[y | x]``, at the rows of x or at any points (Pooladian and Niles-Weed 2021).

        At the rows of x, ``x - T(x)`` is the gradient of the potential f. Differentiable in the points, the plan held.

        Raises:
            ValueError: points that are not (k, d).
        """
        if points.ndim != 2 or points.shape[1] != self.y.shape[1]:
            raise ValueError(f"points: expected shape (k, {self.y.shape[1]}), got {tuple(points.shape)}")
        centre = self.y.mean(0)
        y = self.y - centre
        bias = self.log_b + (self.g - y.square().sum(1) / 2) / self.eps
        return centre + over_rows(points, len(y), lambda x: _logits(x - centre, y, bias, self.eps).softmax(1) @ y)


def soft_transform(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], log_b: Float[Tensor, " m"], g: Float[Tensor, " m"], eps: float
) -> Float[Tensor, " n"]:
    """``f_i = -eps log sum_j b_j exp((g_j - c_ij) / eps)``; clouds near 0, or digits are lost."""
    # |x|^2/2 is common to a row and leaves the sum, so that a chunk is one matrix product.
    bias = log_b + (g - y.square().sum(1) / 2) / eps
    f: Tensor = x.square().sum(1) / 2 - eps * over_rows(
        x, len(y), lambda rows: _logits(rows, y, bias, eps).logsumexp(1)
    )
    return f


def over_rows(x: Float[Tensor, "n d"], columns: int, block: Callable[[Tensor], Tensor]) -> Tensor:
    """``block`` on chunks of rows whose (rows, columns) temporaries take about 64 MiB each."""
    rows = max(1, _CHUNK_BYTES // (x.element_size() * columns))
    return torch.cat([block(chunk) for chunk in torch.split(x, rows)])


def _logits(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], bias: Float[Tensor, " m"], eps: float) -> Tensor:
    """``log b_j + (g_j - c_ij) / eps`` up to a number per row."""
    return torch.addmm(bias, x / eps, y.mT)
