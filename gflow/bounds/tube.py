"""One step of a bound on the distance between a numerical solution and the exact flow around it (W2B-20)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import row_chunks
from gflow.bounds.length import length_rule
from gflow.bounds.quadrature import Array, gauss_rule, last_coefficient, to_end
from gflow.lipschitz import BallLogNorm, jacobian, log_norm
from gflow.ode import DenseOutput
from gflow.velocity import VelocityField

_NODES = 4
# Where the Legendre coefficients of a function beyond the cubic through 4 Gauss nodes halve each time, its integral
# from any time to the end of the step is that of the cubic up to 0.051 times the size of the cubic's last one.
_MISSED = 1 / 16
_WIDENINGS = 40


@dataclass(frozen=True)
class TubeStep:
    """One step of a numerical solution, joined by an interpolant: norms at q Gauss nodes, the defect at m times."""

    h: float
    times: tuple[float, ...]
    """The Gauss nodes."""
    points: Float[Tensor, "q n d"]
    """The interpolant there."""
    mu: Float[Tensor, "q n"]
    """Logarithmic norm at the points."""
    size: Float[Tensor, "m n"]
    """At least the length of the defect, as far as it is resolved."""
    unresolved: Float[Tensor, " n"]
    """What the nodes may miss of it."""

    @classmethod
    def of(cls, v: VelocityField[Tensor], dense: DenseOutput, k: int, shape: torch.Size) -> TubeStep:
        """Evaluate field and Jacobian along step k."""
        start, h = dense.ts[k], dense.ts[k + 1] - dense.ts[k]
        times = tuple(start + h * float(x) for x in gauss_rule(_NODES)[0])
        points = [dense.on_step(k, t)[0].reshape(shape) for t in times]
        mu = [_log_norms(v, t, u) for t, u in zip(times, points, strict=True)]
        defect, rule = _defect(v, dense, k, shape), length_rule()
        return cls(h, times, torch.stack(points), torch.stack(mu), rule.majorant(defect), rule.unresolved(defect))

    @property
    def mean_defect(self) -> Float[Tensor, " n"]:
        """The length of the defect, averaged over the step."""
        return self._like(length_rule().weights) @ self.size

    def carry(
        self, log_rho: Float[Tensor, " n"], mu: Float[Tensor, "q n"], size: Float[Tensor, "m n"]
    ) -> Float[Tensor, " n"]:
        """Log of rho at the end of the step: exp(int mu) rho + int exp(int_s^end mu) size ds."""
        within, whole, later = (self.h * self._like(part) for part in (length_rule().weights, *_norm_rule()[:2]))
        entered = torch.logsumexp(size.log() + later @ mu + within.log()[:, None], 0)
        return torch.logaddexp(log_rho + whole @ mu, entered)

    def carry_largest(self, log_rho: float) -> float:
        """The same for L2 norms, with the largest norm at each time for all particles."""
        rms = self.size.norm(dim=1, keepdim=True) / math.sqrt(self.size.shape[1])
        start = self.size.new_full((1,), log_rho)
        return float(self.carry(start, self.mu.amax(1, keepdim=True), rms))

    def widen(self, rho: Float[Tensor, " n"], ball: BallLogNorm) -> Float[Tensor, " n"] | None:
        """The radius at the end of the step, None where no ball is found that holds the exact flow in between.

        A ball of radius R holds it where the radius that R's norm allows, with its negative part left
        out so that it does not shrink within the step, is at most R.
        """
        size = self.size + self.unresolved
        reach = rho + self.h * (self._like(length_rule().weights) @ size)
        for _ in range(_WIDENINGS):
            mu = torch.stack([self._bound(ball, t, u, reach) for t, u in zip(self.times, self.points, strict=True)])
            needed = self._carry_upwards(rho, mu.clamp_min(0.0), size)
            if bool((needed <= reach).all()):
                return self._carry_upwards(rho, mu, size)
            reach = torch.where(needed <= reach, reach, 1.05 * needed)
            if not bool(torch.isfinite(reach).all()):
                return None
        return None

    def _carry_upwards(
        self, rho: Float[Tensor, " n"], mu: Float[Tensor, "q n"], size: Float[Tensor, "m n"]
    ) -> Float[Tensor, " n"]:
        """``carry`` without the logarithm, and with what the nodes may miss of the norm."""
        missed = self.h * _MISSED * (self._like(_norm_rule()[2]) @ mu).abs()
        return (self.carry(rho.log(), mu, size) + missed).exp()

    def _like(self, values: Array) -> Tensor:
        return self.size.new_tensor(values)

    @staticmethod
    def _bound(ball: BallLogNorm, t: float, u: Tensor, reach: Tensor) -> Tensor:
        values = ball(t, u, reach)
        if values.shape != reach.shape or bool(torch.isnan(values).any()):
            raise ValueError(f"ball at t = {t:.6g}: expected ({len(reach)},) numbers, got {tuple(values.shape)}")
        return values


@lru_cache(maxsize=1)
def _norm_rule() -> tuple[Array, Array, Array]:
    """From the norms at the nodes: integral over the step, integrals from the defect's times to the end, last term."""
    return gauss_rule(_NODES)[1], to_end(_NODES, length_rule().times), last_coefficient(_NODES)


def _defect(v: VelocityField[Tensor], dense: DenseOutput, k: int, shape: torch.Size) -> Float[Tensor, "p n d"]:
    """The defect at the nodes of ``length_rule``; the solver knows the field at both ends."""
    start, end = dense.ts[k], dense.ts[k + 1]
    inner = [start + (end - start) * float(x) for x in length_rule().nodes[1:-1]]
    pieces = [dense.on_step(k, t) for t in (start, *inner, end)]
    within = [v(t, u.reshape(shape)).flatten() for t, (u, _) in zip(inner, pieces[1:-1], strict=True)]
    field = (dense.slopes[k], *within, dense.slopes[k + 1])
    return torch.stack([(slope - f).reshape(shape) for (_, slope), f in zip(pieces, field, strict=True)])


def _log_norms(v: VelocityField[Tensor], t: float, u: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The logarithmic norm at each point, in chunks of bounded memory."""
    return torch.cat([log_norm(jacobian(v, t, u[part])) for part in row_chunks(u)])
