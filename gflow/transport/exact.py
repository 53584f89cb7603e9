"""Exact W2 and W1 between clouds: solver rule, certificate, warm start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gflow.estimate import Estimate
from gflow.transport import solve
from gflow.transport.clouds import check_cloud
from gflow.transport.plan import Solver, TransportPlan
from gflow.transport.planner import DEFAULT_MEMORY_LIMIT, SolveCost


@dataclass(frozen=True)
class ExactW2:
    """W2 squared between two clouds, solved to the optimum and certified.

    Solver by a fixed rule (``solver_for``): sorting for d = 1, network simplex for d <= 6 and for
    clouds of unequal size or weight, an assignment solver for d >= 7. The mean is the cost of a
    checked plan; ``lo`` is the dual value of potentials made feasible by a c-transform over the
    whole cost matrix (Peyre and Cuturi 2019, sec. 3.2), to rounding. The interval covers the
    optimum between *these* clouds; as an estimate of W2 between their laws the mean is biased up,
    by what ``sampling_floor`` measures.

    Any dtype and device in; float64 on the CPU inside; deterministic.
    """

    certify: bool = True
    """False: no certificate, ``lo = -inf``; a little faster, and for d >= 7 by a solver without potentials."""
    polish: bool = False
    """Relative gap at most 1e-9 from every solver; without it the float32 solver of d >= 7 may leave 2e-8."""
    memory_limit: int = DEFAULT_MEMORY_LIMIT
    """Bytes above which a solve is refused before it starts."""
    solver: Solver | None = None
    """Overrules the rule; worth it for clouds in d >= 7 that lie near a surface, where EMD is faster."""

    def __post_init__(self) -> None:
        """Check that the options fit each other."""
        solve.check_settings(self)

    def __call__(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        /,
        *,
        x_weights: Float[Tensor, " n"] | None = None,
        y_weights: Float[Tensor, " m"] | None = None,
    ) -> Estimate:
        """W2 squared, lo = dual, hi = primal, n = 1, level = 1, bias up. Arguments and errors as ``solve``."""
        return self.solve(x, y, x_weights=x_weights, y_weights=y_weights).estimate()

    def solve(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        *,
        x_weights: Float[Tensor, " n"] | None = None,
        y_weights: Float[Tensor, " m"] | None = None,
        warm_start: TransportPlan | None = None,
    ) -> TransportPlan:
        """The optimal plan, its cost and its certificate.

        Args:
            x: first cloud.
            y: second cloud; n may differ from m.
            x_weights: masses of x, scaled to sum 1; uniform by default.
            y_weights: masses of y.
            warm_start: plan of a nearby problem with the same n, m and order of points, such as
                the last snapshot of a flow; changes the time, never the optimum.

        Raises:
            TypeError: an argument that is not a tensor.
            ValueError: bad shapes, NaN or infinity, empty clouds, different dimensions, bad weights,
                or a warm start of other sizes.
            MemoryError: the solve would need more than ``memory_limit``.
            TransportError: the solver stopped before the optimum, or plan or certificate fail their check.
        """
        return solve.solve(self, x, y, weights=(x_weights, y_weights), warm=warm_start, root=False)

    def along_flow(
        self, xs: Sequence[Tensor] | Float[Tensor, "T n d"], ys: Sequence[Tensor] | Tensor
    ) -> list[Estimate]:
        """W2 squared at each snapshot, each solve started from the last one's plan.

        Always certified, since what is carried over are the potentials.

        Args:
            xs: snapshots (n, d); point i is the same particle in all of them.
            ys: as many snapshots (m, d), or one cloud (m, d) for all.

        Raises:
            ValueError: different numbers of snapshots, or whatever ``solve`` raises.
        """
        targets = [ys] * len(xs) if isinstance(ys, Tensor) and ys.ndim == 2 else list(ys)
        if len(targets) != len(xs):
            raise ValueError(f"ys: expected {len(xs)} snapshots as xs has, or one cloud (m, d), got {len(targets)}")
        estimates: list[Estimate] = []
        certified = replace(self, certify=True)
        plan: TransportPlan | None = None
        for x, y in zip(xs, targets, strict=True):
            plan = certified.solve(x, y, warm_start=plan)
            estimates.append(plan.estimate())
        return estimates

    def solver_for(self, n: int, m: int, d: int, *, weighted: bool = False) -> Solver:
        """Which solver n and m points in d dimensions get, given what is installed."""
        return solve.solver_for(self, n, m, d, weighted=weighted)

    def cost_of(self, n: int, m: int, d: int) -> SolveCost:
        """Memory and time that a solve between uniform clouds will take, before it starts."""
        return solve.cost_of(self, n, m, d)


@dataclass(frozen=True)
class ExactW1:
    """W1 between two clouds (cost ``|x - y|``, not squared), solved and certified as ``ExactW2`` is.

    At most the root of W2 squared between the same clouds. Bias up, as a plug-in.
    """

    certify: bool = True
    """As in ``ExactW2``."""
    polish: bool = False
    """As in ``ExactW2``."""
    memory_limit: int = DEFAULT_MEMORY_LIMIT
    """As in ``ExactW2``."""
    solver: Solver | None = None
    """As in ``ExactW2``."""

    def __post_init__(self) -> None:
        """Check that the options fit each other."""
        solve.check_settings(self)

    def __call__(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        /,
        *,
        x_weights: Float[Tensor, " n"] | None = None,
        y_weights: Float[Tensor, " m"] | None = None,
    ) -> Estimate:
        """W1, lo = dual, hi = primal, n = 1, level = 1, bias up. Arguments and errors as ``ExactW2.solve``."""
        return self.solve(x, y, x_weights=x_weights, y_weights=y_weights).estimate()

    def solve(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        *,
        x_weights: Float[Tensor, " n"] | None = None,
        y_weights: Float[Tensor, " m"] | None = None,
        warm_start: TransportPlan | None = None,
    ) -> TransportPlan:
        """The optimal plan for the cost ``|x - y|``. Arguments and errors as ``ExactW2.solve``."""
        return solve.solve(self, x, y, weights=(x_weights, y_weights), warm=warm_start, root=True)

    def solver_for(self, n: int, m: int, d: int, *, weighted: bool = False) -> Solver:
        """Which solver n and m points in d dimensions get, given what is installed."""
        return solve.solver_for(self, n, m, d, weighted=weighted)

    def cost_of(self, n: int, m: int, d: int) -> SolveCost:
        """Memory and time that a solve between uniform clouds will take, before it starts."""
        return solve.cost_of(self, n, m, d)


def optimal_pairs(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], *, memory_limit: int = DEFAULT_MEMORY_LIMIT
) -> Int[Tensor, " n"]:
    """Permutation p, int64 on the device of x, for which the pairs ``(x[i], y[p[i]])`` are optimal for W2.

    Raises:
        ValueError: clouds of different sizes, or whatever ``ExactW2.solve`` raises.
    """
    check_cloud("x", x)
    check_cloud("y", y)
    if len(x) != len(y):
        raise ValueError(f"y: expected {len(x)} points as x has, got {len(y)}")
    return ExactW2(memory_limit=memory_limit).solve(x, y).permutation.to(torch.int64).to(x.device)
