"""What is known of the pairs at one time, and what one step between such times does to them (W2B-19)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from gflow.bounds.climbing import PROPAGATOR_UP_TO, OneSidedConstant, Rates, row_chunks
from gflow.bounds.matrix import expm, spectral_norm
from gflow.bounds.rungs import Step, log, log_sum, rms
from gflow.estimate import Estimate
from gflow.lipschitz import jacobian, mean_jacobian
from gflow.velocity import VelocityField

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True)
class Node:
    """Everything about the pairs at one time, in float64."""

    s: float
    e: Tensor
    """x - y, (n, d)."""
    delta: Tensor
    """x' - g(x), (n, d): what drives the pair apart."""
    A: Tensor | None
    """Mean Jacobian of g on the segments, (n, d, d); None above 8 dimensions."""
    mu: Tensor
    """Its logarithmic norms, (n,)."""
    constant: Estimate | None
    """One-sided Lipschitz constant of g at s."""
    rates: Rates

    @property
    def steepness(self) -> float:
        """The largest rate of the pairs, in size."""
        return float((self.mu if self.A is None else self.A.flatten(1).norm(dim=1)).abs().max())


def node_at(
    pair: Callable[[float], tuple[Tensor, Tensor, Tensor]],
    g: VelocityField[Tensor],
    s: float,
    osl: OneSidedConstant | None,
    nodes: int,
) -> Node:
    """The pairs at s, their mean Jacobians by ``nodes`` Gauss nodes.

    Raises:
        ValueError: an infinite constant.
    """
    x, y, velocity = pair(s)
    gx, gy = g(s, x), g(s, y)
    e, delta, gap = ((x - y).double(), (velocity - gx).double(), (gx - gy).double())
    small = x.shape[1] <= PROPAGATOR_UP_TO
    # Above 8 dimensions only logarithmic norms are kept, so rows go in chunks of bounded memory.
    parts = [mean_jacobian(g, s, x[k], y[k], nodes=nodes, vx=gx[k], vy=gy[k]) for k in row_chunks(x)]
    rates = Rates.at(e, delta, gap, lambda: torch.bmm(jacobian(g, s, x).double(), delta[:, :, None])[:, :, 0])
    constant = None if osl is None else osl(s)
    if constant is not None and not math.isfinite(constant.mean):
        raise ValueError(f"osl: expected a finite constant at s = {s:.6g}, got {constant.mean}")
    A, mu = parts[0].A.double() if small else None, torch.cat([p.mu for p in parts]).double()
    return Node(s, e, delta, A, mu, constant, rates)


def step_between(a: Node, m: Node, b: Node, h: float) -> Step:
    """One step from the nodes at its start, middle and end."""
    growth, second_half = _simpson(a.mu, m.mu, b.mu, h)
    length = [node.delta.norm(dim=1) for node in (a, m, b)]
    transition, kicks, half = None, None, None
    if a.A is not None and m.A is not None and b.A is not None:
        transition, half = _transitions(a.A, m.A, b.A, h)
        growth = torch.maximum(growth, spectral_norm(transition).log())
        second_half = torch.maximum(second_half, spectral_norm(half).log())
    simpson = h / 6 * (growth.exp() * length[0] + 4 * second_half.exp() * length[1] + length[2])
    if transition is None or half is None:
        # Without transitions the increment is known by its length alone.
        source = torch.maximum(simpson, b.e.norm(dim=1) - growth.exp() * a.e.norm(dim=1))
    else:
        kicks, excess = _kicks(a, m, b, transition, half, h)
        source = simpson - excess
    # What the error of the quadrature adds to or takes off the L2 norm, the scalar rungs take on too.
    correction = log(rms(source)) - log(rms(simpson)) if rms(simpson) > 0 else 0.0
    highest = [float(node.mu.max()) for node in (a, m, b)]
    errors = [rms(q) for q in length]
    top, top_half, top_source = _scalar_step(highest, errors, h, float(growth.max()), float(second_half.max()))
    published, published_source = None, -math.inf
    if a.constant is not None and m.constant is not None and b.constant is not None:
        # The measured norms belong to the domain too (W2B-19): a sampled constant may lie below them.
        values = [max(c.mean, mu) for c, mu in zip((a.constant, m.constant, b.constant), highest, strict=True)]
        published, _, published_source = _scalar_step(values, errors, h, top, top_half)
    return Step.ordered(
        growth=growth,
        source=source,
        local_growth=top,
        log_local_source=top_source + correction,
        global_growth=published,
        log_global_source=published_source + correction,
        transition=transition,
        kicks=kicks,
    )


def _scalar_step(
    constants: list[float], errors: list[float], h: float, floor: float, half_floor: float
) -> tuple[float, float, float]:
    """Growth over a step and over its second half, and log source, for one constant; not below the floors."""
    growth, half = _simpson(constants[0], constants[1], constants[2], h)
    growth = max(growth, floor)
    half = max(half, half_floor)
    source = log_sum(growth + log(errors[0] * h / 6), half + log(errors[1] * 4 * h / 6), log(errors[2] * h / 6))
    return growth, half, source


def account_between(a: Rates, m: Rates, b: Rates, h: float) -> tuple[float, float, float]:
    """Growth, forcing and error of one step for the exact account."""
    growth, half = _simpson(a.growth, m.growth, b.growth, h)
    weights = (math.exp(growth) * h / 6, math.exp(half) * 4 * h / 6, h / 6)
    forcing, error = ((q.forcing for q in (a, m, b)), (q.error for q in (a, m, b)))
    return growth, sum(map(operator.mul, weights, forcing)), sum(map(operator.mul, weights, error))


def _simpson(a: T, m: T, b: T, h: float) -> tuple[T, T]:
    """Integrals of the parabola through start, middle and end over the step and over its second half."""
    return h * (a + 4 * m + b) / 6, h * (8 * m + 5 * b - a) / 24


def _kicks(a: Node, m: Node, b: Node, transition: Tensor, half: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """What the step adds to e, as Simpson's three terms corrected to sum to c_k; and what the correction took off.

    The correction is the error of the quadrature. With it the lengths of the three add up to at least
    |c_k|, and to no more where all additions point one way, which is where the bounds are equalities.
    """
    weight = h / 6 * a.e.new_tensor((1.0, 4.0, 1.0))
    first, second = (torch.bmm(q, n.delta[:, :, None])[:, :, 0] for q, n in ((transition, a), (half, m)))
    raw = torch.stack((first, second, b.delta), 2) * weight
    increment = b.e - torch.bmm(transition, a.e[:, :, None])[:, :, 0]
    kicks = raw + (increment - raw.sum(2))[:, :, None] * (weight / h)
    return kicks, (raw.norm(dim=1) - kicks.norm(dim=1)).sum(1)


def _transitions(a: Tensor, m: Tensor, b: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Fundamental matrices over the step (Magnus, order 4; Blanes et al. 2009, eq. 253) and over its second half."""
    mean = (a + 4 * m + b) * (h / 6)
    commutator = torch.bmm(a, b) - torch.bmm(b, a)
    return expm(mean - commutator * (h * h / 12)), expm((8 * m + 5 * b - a) * (h / 24))
