"""The budget of a gradient flow (W2B-21): an error is put into an exact velocity, and W2 from the exact flow comes out.

All laws are normal, so the error, the distance and the bound are closed forms of moments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import solve_continuous_lyapunov
from torch import Tensor

from gflow.bounds import Panels, gronwall_bound
from gflow.fields import GaussianKLFlow
from gflow.problems import Gaussian
from gflow.problems.distribution import normal
from gflow.transport import bures_squared
from studies.wasserstein_flow.config import Case, Config

if TYPE_CHECKING:
    from gflow.study import Context

SPANS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
"""Times S at which W2 and its bound are taken."""
_DIM = 3
_VARIANCES = (0.5, 1.25)  # of p: its score has the one-sided constant -1/1.25, more than an error of 0.5 undoes


@dataclass(frozen=True, eq=False)
class Perturbed:
    """``u_t(x) = grad log p(x) - grad log q_t(x) + eps (B x + b)``, with q_t = N(m, S) the law that u moves.

    With ``M = eps B - P^{-1}`` the moments obey ``m' = M m + c`` and ``S' = M S + S M^T + 2 I``.
    """

    target: Gaussian
    start: Gaussian
    """q_0."""
    eps: float
    B: Float[Tensor, "d d"]
    """Of spectral norm 1."""
    b: Float[Tensor, " d"]
    """Of length 1."""

    def moments(self, t: Float[Tensor, " k"], /) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d d"]]:
        """Mean and covariance of q at times: what is stationary, and ``e^{Mt}`` of the rest."""
        precision = torch.linalg.inv(self.target.C)
        M = self.eps * self.B - precision
        mean = -torch.linalg.solve(M, precision @ self.target.mu + self.eps * self.b)
        covariance = torch.from_numpy(solve_continuous_lyapunov(M.numpy(), -2.0 * np.eye(len(M))))
        moved = torch.matrix_exp(t[:, None, None] * M)
        return mean + moved @ (self.start.mu - mean), covariance + moved @ (self.start.C - covariance) @ moved.mT

    def error(self, t: Float[Tensor, " k"], /) -> Float[Tensor, " k"]:
        """``||eps (B x + b)||`` in L2(q_t)."""
        mean, covariance = self.moments(t)
        spread = torch.einsum("ij,kjl,il->k", self.B, covariance, self.B)
        return self.eps * ((mean @ self.B.mT + self.b).square().sum(1) + spread).sqrt()


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:  # noqa: ARG001  # the case has no choices
    """One repeat: for every size of the error and every time, W2 from the exact flow and its bound."""
    target, start, B, b = _problem(context)
    exact = GaussianKLFlow(target, start)
    rows = [_measured(Perturbed(target, start, eps, B, b), exact) for eps in config.errors]
    names = ("w2", "bound", "error")
    return {
        "errors": list(config.errors),
        "spans": list(SPANS),
        "constant": target.score_osl().mean,
        **{name: [row[name] for row in rows] for name in names},
    }


def _measured(field: Perturbed, exact: GaussianKLFlow) -> dict[str, list[float]]:
    """W2, its bound and the velocity's error under the law reached, at every time."""
    spans = torch.tensor(SPANS, dtype=torch.float64)
    laws = zip(*field.moments(spans), (exact.law(span) for span in SPANS), strict=True)
    return {
        "w2": [math.sqrt(bures_squared(m, S, reference.mu, reference.C)) for m, S, reference in laws],
        "bound": [_bound(field, span) for span in SPANS],
        "error": field.error(spans).tolist(),
    }


def _bound(field: Perturbed, span: float) -> float:
    """``int_0^S e^{K(S - s)} ||u_s - grad log(p/q_s)||_{L2(q_s)} ds``, K that of the score of p."""
    panels = Panels.uniform(0.0, span, 1 + math.ceil(span))
    errors = field.error(torch.from_numpy(panels.nodes)).numpy()
    return gronwall_bound(panels, errors, np.full_like(errors, field.target.score_osl().mean), 0.0).mean


def _problem(context: Context) -> tuple[Gaussian, Gaussian, Tensor, Tensor]:
    """A strongly log-concave p, a start, and the matrix and the vector of the error."""
    generator = context.generator_for("problem", device="cpu")
    like = torch.zeros(_DIM, dtype=torch.float64)
    mu, m, b = normal(3, like, generator)
    axes, _ = torch.linalg.qr(normal(_DIM, like, generator))
    low, high = _VARIANCES
    values = torch.linspace(low, high, _DIM, dtype=torch.float64)
    root = 0.5 * normal(_DIM, like, generator)
    B = normal(_DIM, like, generator)
    target = Gaussian(mu, (axes * values) @ axes.mT)
    start = Gaussian(m, root @ root.mT + 0.3 * torch.eye(_DIM, dtype=torch.float64))
    return target, start, B / torch.linalg.matrix_norm(B, 2), b / b.norm()
