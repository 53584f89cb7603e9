"""The algebra of the bound ladder: from one step's growth and sources to the five rungs, in log form.

Step k carries the difference e of a pair by ``e_{k+1} = Phi_k e_k + c_k``. That identity is exact
whatever ``Phi_k`` is, since c_k is defined by it; every rung replaces it by something larger, so the
order of the rungs holds to round-off on every grid, and the grid only decides how sharp they are.
All of it is done in float64, whatever the dtype of the clouds: thousands of steps add up their logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.matrix import spectral_norm


@dataclass(frozen=True)
class Step:
    """What one step does to n pairs; made by ``Step.ordered`` only."""

    growth: Float[Tensor, " n"]
    """log of a bound of |Phi_k|, per pair."""
    source: Float[Tensor, " n"]
    """Bound of what the step adds to |e|, per pair."""
    local_growth: float
    """At least every growth."""
    log_local_source: float
    """log of at least the L2 norm of the sources."""
    global_growth: float | None
    """At least ``local_growth``, or None where no constant is known."""
    log_global_source: float
    transition: Float[Tensor, "n d d"] | None
    """Phi_k, where it is formed."""
    kicks: Float[Tensor, "n d k"] | None
    """Additions to e within the step, carried to its end; their sum is c_k, their lengths add up."""

    @classmethod
    def ordered(
        cls,
        *,
        growth: Tensor,
        source: Tensor,
        local_growth: float,
        log_local_source: float,
        global_growth: float | None = None,
        log_global_source: float = -math.inf,
        transition: Tensor | None = None,
        kicks: Tensor | None = None,
    ) -> Step:
        """Raise each quantity to the one that it must dominate, where quadrature left it below; in float64."""
        growth, source = growth.double(), source.double()
        transition, kicks = (None if q is None else q.double() for q in (transition, kicks))
        if transition is not None:
            growth = torch.maximum(growth, spectral_norm(transition).log())
        if kicks is not None:
            source = torch.maximum(source, kicks.norm(dim=1).sum(1))
        local_growth = max(local_growth, float(growth.max()))
        log_local_source = max(log_local_source, log(rms(source)))
        return cls(
            growth,
            source,
            local_growth,
            log_local_source,
            None if global_growth is None else max(global_growth, local_growth),
            max(log_global_source, log_local_source),
            transition,
            kicks,
        )


def rms(x: Float[Tensor, " n"]) -> float:
    """The L2 norm over particles of per-particle lengths."""
    return float(x.norm()) / math.sqrt(len(x))


def log_rms(log_x: Float[Tensor, " n"]) -> float:
    """The same from logarithms, without overflow."""
    return (float(torch.logsumexp(2 * log_x, 0)) - math.log(len(log_x))) / 2


def pathwise(e0: Float[Tensor, " n"], steps: list[Step]) -> float:
    """Log of || exp(sum growth)|e_0| + sum exp(later growth) source ||, from the lengths |e_0|."""
    log_rho = e0.double().log()
    for step in steps:
        log_rho = torch.logaddexp(log_rho + step.growth, step.source.log())
    return log_rms(log_rho)


def scalar(e0: float, growths: list[float], log_sources: list[float]) -> float:
    """Log of the same with one growth and one source for all particles: rungs local and global."""
    value = log(e0)
    for growth, source in zip(growths, log_sources, strict=True):
        value = log_sum(value + growth, source)
    return value


def propagator(e0: Float[Tensor, "n d"], steps: list[Step]) -> float:
    """Log of || |Psi_0 e_0| + sum |Psi_k (addition of step k)| ||, Psi_k the product of later transitions.

    Runs backward over the steps. The rows of Psi do not mix on the way, so each is rescaled on its own: none
    overflows, and none is lost beside a row that grows.
    """
    (n, d), e0 = e0.shape, e0.double()
    psi = torch.eye(d, dtype=e0.dtype, device=e0.device).expand(n, d, d)
    log_scale = torch.zeros(n, d, dtype=e0.dtype, device=e0.device)
    log_total = torch.full_like(log_scale[:, 0], -math.inf)
    for step in reversed(steps):
        if step.transition is None or step.kicks is None:
            raise ValueError("propagator: needs the transition of every step")
        added = _log_lengths(torch.bmm(psi, step.kicks), log_scale)
        log_total = torch.logaddexp(log_total, torch.logsumexp(added, 1))
        psi = torch.bmm(psi, step.transition)
        size = psi.norm(dim=2).clamp_min(torch.finfo(e0.dtype).tiny)
        psi, log_scale = psi / size[:, :, None], log_scale + size.log()
    start = _log_lengths(torch.bmm(psi, e0[:, :, None]), log_scale)[:, 0]
    return log_rms(torch.logaddexp(log_total, start))


def _log_lengths(vectors: Float[Tensor, "n d k"], log_scale: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """Log of the lengths of vectors whose components are to be scaled."""
    return torch.logsumexp(2 * (vectors.abs().log() + log_scale[:, :, None]), 1) / 2


def contributions(steps: list[Step]) -> tuple[list[float], list[float]]:
    """Per step: the L2 norm of what enters, and of what is left of it at the end after pathwise growth."""
    later = torch.zeros_like(steps[-1].growth)
    entering, arriving = [], []
    for step in reversed(steps):
        entering.append(rms(step.source))
        arriving.append(exp(log_rms(step.source.log() + later)))
        later = later + step.growth
    return entering[::-1], arriving[::-1]


def growth_rates(steps: list[Step], grid: tuple[float, ...]) -> tuple[float, ...]:
    """Mean rate of the local growth over each step."""
    return tuple(step.local_growth / (b - a) for step, a, b in zip(steps, grid[:-1], grid[1:], strict=True))


def log(x: float) -> float:
    """Natural logarithm, -inf at 0."""
    return math.log(x) if x > 0 else -math.inf


def log_sum(*logs: float) -> float:
    """Log of a sum, from the logarithms of its terms."""
    high = max(logs)
    return high if math.isinf(high) else high + math.log(math.fsum(math.exp(x - high) for x in logs))


def exp(x: float) -> float:
    """Exponential, inf past the range of a double."""
    return math.exp(x) if x < 709.0 else math.inf
