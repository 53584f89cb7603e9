"""The ladder between two exact flows: both solved together to tolerance, the mean Jacobian along their pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import (
    Account,
    Ladder,
    OneSidedConstant,
    Profile,
    assemble,
    default_tolerance,
    ordered_pairs,
)
from gflow.bounds.node import Node, account_between, node_at, step_between
from gflow.bounds.rungs import contributions, growth_rates
from gflow.lipschitz import check_rows_independent
from gflow.ode import DOPRI5, ExplicitRK, Interpolant, PIController, solve_ivp
from gflow.ode.interpolation import DenseOutput
from gflow.velocity import VelocityField

_STEEP, _TOO_STEEP = 300.0, 1e5
"""h |A| above which a step is halved, so that no exponential comes near overflow; above which it is refused."""


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
    max_steps: int = 1_000_000,
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
        max_steps: cap on the steps of the joint solve; each accepted one costs two nodes.

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
        max_steps=max_steps,
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
        first = node_at(pair, g, grid[0], osl, nodes)
        steps, account, seen, constants, times = [], [], [first.rates], [first.constant], [first.s]
        for before, middle, last in _thirds(lambda s: node_at(pair, g, s, osl, nodes), first, grid):
            h = last.s - before.s
            steps.append(step_between(before, middle, last, h))
            account.append(account_between(before.rates, middle.rates, last.rates, h))
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
