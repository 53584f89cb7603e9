"""The ladder between two exact flows: both solved together to tolerance, the mean Jacobian along their pairs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import (
    PROPAGATOR_UP_TO,
    Account,
    Ladder,
    OneSidedConstant,
    Profile,
    Rates,
    assemble,
    default_tolerance,
    ordered_pairs,
    row_chunks,
)
from gflow.bounds.matrix import expm, spectral_norm
from gflow.bounds.rungs import Step, contributions, growth_rates, log, log_sum, rms
from gflow.estimate import Estimate
from gflow.lipschitz import check_rows_independent, jacobian, mean_jacobian
from gflow.ode import DOPRI5, ExplicitRK, Interpolant, PIController, solve_ivp
from gflow.ode.interpolation import DenseOutput
from gflow.velocity import VelocityField

T = TypeVar("T", float, Tensor)
_STEEP, _TOO_STEEP = 300.0, 1e5
"""h |A| above which a step is halved, so that no exponential comes near overflow; above which it is refused."""


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


def ladder(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    x0: Float[Tensor, "n d"],
    y0: Float[Tensor, "n d"] | None,
    s0: float,
    s1: float,
    *,
    osl: OneSidedConstant | None = None,
    tol: float | None = None,
    nodes: int = 2,
    paired: bool = False,
) -> Ladder:
    """The ladder of W2B-19 between the flows of ``f`` (reference) and ``g`` (model), in sampling time.

    Both flows are solved together by Dormand-Prince to ``tol``; on each accepted step the mean
    Jacobian A of g between the pair is taken at both ends and in the middle (Gauss nodes in space,
    secant correction, so that e' = A e + delta holds at these times). The transition of a step is
    the fourth-order Magnus exponential, growth and sources are Simpson sums. Since c_k is defined
    by e_{k+1} = Phi_k e_k + c_k, the rungs are ordered and at least ||x_S - y_S|| to round-off.

    How accurate they are is another matter: ``tol`` controls the pair (x, y) alone, and the rungs
    above ``synchronous`` are sums of fourth order on the steps that it takes. On four modes they are
    1e-4 (relative) from their limit at the default ``tol``, and the two Gauss nodes of the default
    put ``pathwise`` and ``local`` 5e-4 low: lower ``tol`` and raise ``nodes`` for more digits.
    Steps over which the model grows by more than e^300, possible where the pairs rest, are halved.

    Args:
        f: reference field in the direction of integration; its expectation law is that of x.
        g: model field, whose Jacobian is needed (closed form where it has ``.jacobian``).
        x0: initial cloud of the reference, any floating dtype and device.
        y0: initial cloud of the model; None starts both from ``x0``. Clouds are paired by an
            optimal plan unless ``paired``.
        s0: initial sampling time.
        s1: final sampling time, larger than ``s0``.
        osl: one-sided Lipschitz constant of g at s, for the published rung; None leaves it out.
        tol: relative and absolute tolerance of the solve; 1e-9 for d <= 8, 1e-5 above
            (larger where the dtype resolves less).
        nodes: Gauss nodes on each segment; pairs whose secant residual exceeds 5 % get 8, then 64.
        paired: row i of ``y0`` belongs to row i of ``x0``.

    Raises:
        ValueError: bad clouds, ``s1 <= s0``, ``tol <= 0``, ``nodes < 1``, an infinite constant, fields that
            couple rows or return another shape, or growth by more than e^100000 in one step.
        SolveError: the joint solve failed; its message names the time and the particles.
    """
    x, y = ordered_pairs(x0, y0, paired=paired)
    if not s1 > s0:
        raise ValueError(f"ladder: fields are in sampling time, needs s1 > s0, got s0 = {s0}, s1 = {s1}")
    tol = default_tolerance(x) if tol is None else tol
    if not 0 < tol < math.inf:
        raise ValueError(f"tol: must be positive and finite, got {tol}")
    for field in (f, g):
        check_rows_independent(field, s0, x[:2])
    solution = solve_ivp(
        lambda s, z: {"x": f(s, z["x"]), "y": g(s, z["y"])},
        {"x": x, "y": y},
        s0,
        s1,
        method=ExplicitRK(DOPRI5),
        controller=PIController(rtol=tol, atol=tol),
        dense=True,
    )
    assert solution.dense is not None
    # The cubic: between nodes it errs by less than the Simpson sums that read it.
    pair = _JointPair(solution.dense.using(Interpolant.HERMITE), f, x.shape)
    return climb(pair, g, pair.grid, osl=osl, nodes=nodes, evaluations=2 * solution.stats.evaluations)


class _JointPair:
    """x and y from one dense solution, with the slopes that it already holds at its nodes."""

    def __init__(self, dense: DenseOutput, f: VelocityField[Tensor], shape: torch.Size) -> None:
        self.dense, self.f, self.shape = dense, f, shape
        self.grid = tuple(dense.ts)
        self._row = {s: k for k, s in enumerate(dense.ts)}

    def __call__(self, s: float) -> tuple[Tensor, Tensor, Tensor]:
        """(x, y, x') at s."""
        if s in self._row:
            k = self._row[s]
            x, y = self._split(self.dense.ys[k])
            return x, y, self._split(self.dense.slopes[k])[0]
        x, y = self._split(self.dense.at(s)[0])
        return x, y, self.f(s, x)

    def _split(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        half = flat.numel() // 2
        return flat[:half].reshape(self.shape), flat[half:].reshape(self.shape)


def climb(
    pair: Callable[[float], tuple[Tensor, Tensor, Tensor]],
    g: VelocityField[Tensor],
    grid: tuple[float, ...],
    *,
    osl: OneSidedConstant | None,
    nodes: int,
    evaluations: int,
) -> Ladder:
    """The ladder along given pairs: ``pair(s)`` returns x, y and x', and y solves y' = g(s, y)."""
    with torch.no_grad():
        first = _node(pair, g, grid[0], osl, nodes)
        steps, account, seen, constants, times = [], [], [first.rates], [first.constant], [first.s]
        for before, middle, last in _thirds(lambda s: _node(pair, g, s, osl, nodes), first, grid):
            h = last.s - before.s
            steps.append(_step(before, middle, last, h))
            account.append(_account(before.rates, middle.rates, last.rates, h))
            seen.append(last.rates)
            times.append(last.s)
            constants += [middle.constant, last.constant]
    entering, arriving = contributions(steps)
    grid = tuple(times)
    distance, error = tuple(r.distance for r in seen), tuple(r.error for r in seen)
    return assemble(
        first.e,
        pair(grid[-1])[:2],
        steps,
        certified=all(c is not None and c.bias in ("none", "up") for c in constants),
        profile=Profile(grid, distance, error, tuple(entering), tuple(arriving), growth_rates(steps, grid)),
        account=Account(*zip(*account, strict=True)),
        evaluations=evaluations,
    )


def _thirds(at: Callable[[float], Node], before: Node, grid: tuple[float, ...]) -> Iterator[tuple[Node, Node, Node]]:
    """Start, middle and end of every step of the grid, halved where it is too steep for an exponential."""
    ends = list(reversed(grid[1:]))
    while ends:
        middle, last = at((before.s + ends[-1]) / 2), at(ends[-1])
        steepness = (last.s - before.s) * max(node.steepness for node in (before, middle, last))
        if steepness > _TOO_STEEP:
            raise ValueError(
                f"g: grows at rate {steepness / (last.s - before.s):.3g} between s = {before.s:.6g} and "
                f"{last.s:.6g}, too steep for a bound; expected rate times step below {_TOO_STEEP:.0e}"
            )
        if steepness > _STEEP:
            ends.append(middle.s)
            continue
        ends.pop()
        yield before, middle, last
        before = last


def _node(
    pair: Callable[[float], tuple[Tensor, Tensor, Tensor]],
    g: VelocityField[Tensor],
    s: float,
    osl: OneSidedConstant | None,
    nodes: int,
) -> Node:
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


def _step(a: Node, m: Node, b: Node, h: float) -> Step:
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


def _account(a: Rates, m: Rates, b: Rates, h: float) -> tuple[float, float, float]:
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
