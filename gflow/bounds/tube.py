"""One step of a bound on the distance between a numerical solution and the exact flow around it (W2B-20)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import row_chunks
from gflow.bounds.quadrature import gauss_rule
from gflow.lipschitz import BallLogNorm, jacobian, log_norm
from gflow.ode import DenseOutput
from gflow.velocity import VelocityField

# |r| has kinks where the defect changes sign: four nodes may be 26 % low there, which the page of W2B-20 says.
_NODES = 4
_WIDENINGS = 40


@dataclass(frozen=True)
class TubeStep:
    """One step of a numerical solution, joined by an interpolant, at its q Gauss nodes."""

    h: float
    times: tuple[float, ...]
    points: Float[Tensor, "q n d"]
    """The interpolant."""
    size: Float[Tensor, "q n"]
    """Length of the defect."""
    mu: Float[Tensor, "q n"]
    """Logarithmic norm at the points."""

    @classmethod
    def of(cls, v: VelocityField[Tensor], dense: DenseOutput, k: int, shape: torch.Size) -> TubeStep:
        """Evaluate field and Jacobian along step k."""
        theta, _, _ = gauss_rule(_NODES)
        start, h = dense.ts[k], dense.ts[k + 1] - dense.ts[k]
        times = tuple(start + h * float(x) for x in theta)
        pieces = [tuple(part.reshape(shape) for part in dense.on_step(k, t)) for t in times]
        size = [(slope - v(t, u)).norm(dim=1) for t, (u, slope) in zip(times, pieces, strict=True)]
        mu = [_log_norms(v, t, u) for t, (u, _) in zip(times, pieces, strict=True)]
        return cls(h, times, torch.stack([u for u, _ in pieces]), torch.stack(size), torch.stack(mu))

    def carry(self, log_rho: Float[Tensor, " n"], mu: Float[Tensor, "q n"]) -> Float[Tensor, " n"]:
        """Log of rho at the end of the step: exp(int mu) rho + int exp(int_s^end mu) |r| ds."""
        weight, tail = self._rule()
        later = tail @ mu
        entered = torch.logsumexp(self.size.log() + later + weight.log()[:, None], 0)
        return torch.logaddexp(log_rho + weight @ mu, entered)

    def carry_largest(self, log_rho: float) -> float:
        """The same for L2 norms, with the largest norm at each time for all particles."""
        lengths = torch.stack([row.norm() / math.sqrt(len(row)) for row in self.size])
        weight, tail = self._rule()
        top = self.mu.max(1).values
        entered = float(torch.logsumexp(lengths.log() + tail @ top + weight.log(), 0))
        return float(torch.logaddexp(top.new_tensor(log_rho + float(weight @ top)), top.new_tensor(entered)))

    def widen(self, rho: Float[Tensor, " n"], ball: BallLogNorm) -> Float[Tensor, " n"] | None:
        """The radius at the end of the step, None where no ball is found that holds the exact flow in between.

        A ball of radius R holds it where the radius that R's norm allows, with its negative part left
        out so that it does not shrink within the step, is at most R.
        """
        reach = rho + self._entering()
        for _ in range(_WIDENINGS):
            mu = torch.stack([self._bound(ball, t, u, reach) for t, u in zip(self.times, self.points, strict=True)])
            needed = self.carry(rho.log(), mu.clamp_min(0.0)).exp()
            if bool((needed <= reach).all()):
                return self.carry(rho.log(), mu).exp()
            reach = torch.where(needed <= reach, reach, 1.05 * needed)
            if not bool(torch.isfinite(reach).all()):
                return None
        return None

    def _entering(self) -> Float[Tensor, " n"]:
        weight, _ = self._rule()
        return weight @ self.size

    def _rule(self) -> tuple[Tensor, Tensor]:
        """Weights over the step, and the matrix of integrals from each node to the end."""
        _, weight, to_end = gauss_rule(_NODES)
        return (self.h * self.size.new_tensor(weight)), self.h * self.size.new_tensor(to_end)

    @staticmethod
    def _bound(ball: BallLogNorm, t: float, u: Tensor, reach: Tensor) -> Tensor:
        values = ball(t, u, reach)
        if values.shape != reach.shape or bool(torch.isnan(values).any()):
            raise ValueError(f"ball at t = {t:.6g}: expected ({len(reach)},) numbers, got {tuple(values.shape)}")
        return values


def _log_norms(v: VelocityField[Tensor], t: float, u: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The logarithmic norm at each point, in chunks of bounded memory."""
    return torch.cat([log_norm(jacobian(v, t, u[part])) for part in row_chunks(u)])
