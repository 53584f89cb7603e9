"""One exact solve from clouds to a checked plan: rule, warm start, certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gflow.transport import solvers
from gflow.transport.clouds import Clouds, read_clouds
from gflow.transport.cost import Matrix, c_transform, cost_matrix, pair_costs
from gflow.transport.one_dim import monotone_plan
from gflow.transport.plan import Solver, TransportError, TransportPlan
from gflow.transport.planner import SolveCost, check_memory, predict
from gflow.transport.refine import refine
from gflow.transport.solvers import RawPlan

EMD_UP_TO = 6
"""Largest dimension where the network simplex beats the assignment solvers (measured)."""
TOLERANCE = 1e-9
"""Relative gap of a certified solve."""
FLOAT32_TOLERANCE = 2e-8
"""Relative gap where the potentials come from a float32 solver and no polish was asked for."""
_ROUNDING = 1e-13  # of the largest cost, O(1) here: a gap below it is arithmetic, not optimization
_MARGINAL = 1e-9


@runtime_checkable
class Settings(Protocol):
    """The options that the exact estimators share."""

    @property
    def certify(self) -> bool:
        """Whether to compute the dual bound."""
        ...

    @property
    def polish(self) -> bool:
        """Whether float32 potentials are to be refined."""
        ...

    @property
    def memory_limit(self) -> int:
        """Bytes."""
        ...

    @property
    def solver(self) -> Solver | None:
        """The caller's choice, or None for the rule."""
        ...


def check_settings(settings: Settings) -> None:
    """Raise ValueError for options that contradict each other."""
    if settings.memory_limit <= 0:
        raise ValueError(f"memory_limit: expected a positive number of bytes, got {settings.memory_limit}")
    if settings.polish and not settings.certify:
        raise ValueError("polish: narrows the certificate, which certify=False does without")
    if settings.solver is Solver.LAPX and settings.certify:
        raise ValueError("solver: LAPX returns no potentials, so nothing to certify with; use LAPJV or certify=False")


def solver_for(settings: Settings, n: int, m: int, d: int, *, weighted: bool) -> Solver:
    """The rule; the caller's own choice must fit the problem and be installed."""
    pairs = n == m and not weighted
    if (chosen := settings.solver) is not None:
        if (chosen is Solver.SORT and d > 1) or (chosen in (Solver.LAPJV, Solver.LAPX) and not pairs):
            raise ValueError(f"solver: {chosen.name} cannot solve {n} against {m} points in {d} dimensions")
        if not solvers.installed(chosen):
            raise ValueError(f"solver: the package for {chosen.name} is not installed; pip install 'gflow[fast]'")
        return chosen
    if d == 1:
        return Solver.SORT
    if d <= EMD_UP_TO or not pairs:
        return Solver.EMD
    ranked = (Solver.LAPJV,) if settings.certify else (Solver.LAPX, Solver.LAPJV)
    return next((s for s in ranked if solvers.installed(s)), Solver.EMD)


def cost_of(settings: Settings, n: int, m: int, d: int) -> SolveCost:
    """Prediction for uniform clouds under the rule."""
    return predict(solver_for(settings, n, m, d, weighted=False), n, m, d)


def solve(
    settings: Settings,
    x: Tensor,
    y: Tensor,
    *,
    weights: tuple[Tensor | None, Tensor | None],
    warm: TransportPlan | None,
    root: bool,
) -> TransportPlan:
    """A checked optimal plan for the cost |x - y|^2, or |x - y| with ``root``."""
    clouds = read_clouds(x, y, *weights)
    n, m, d = len(clouds.x), len(clouds.y), clouds.x.shape[1]
    solver = solver_for(settings, n, m, d, weighted=not clouds.uniform)
    tolerance = FLOAT32_TOLERANCE if solver is Solver.LAPJV and not settings.polish else TOLERANCE
    problem = _Problem(clouds, solver, settings, tolerance, root)
    start = problem.start(warm)
    if clouds.uniform and np.array_equal(clouds.x, clouds.y):
        # Zero potentials prove the identity optimal; no arithmetic that could leave 1e-17.
        return problem.plan(RawPlan.pairing(np.arange(n), np.zeros(n)), u=np.zeros(n), dual=0.0)
    if solver is Solver.SORT:
        raw = monotone_plan(clouds)
        return problem.plan(raw, dual=problem.primal(raw))  # optimal by a theorem: its own certificate
    check_memory(predict(solver, n, m, d), solver, n, m, settings.memory_limit)
    cost = cost_matrix(clouds.x, clouds.y, root=root)
    raw = _optimum(cost, problem, start)
    return problem.certified(raw, cost) if settings.certify else problem.plan(raw)


def _optimum(cost: Matrix, problem: _Problem, start: RawPlan | None) -> RawPlan:
    """Warm where that pays, cold where not."""
    potentials = None
    if start is not None and start.v is not None:
        if problem.pairs(start) and (found := problem.refined(start, cost)):
            return found
        potentials = (c_transform(cost, start.v), start.v) if problem.solver is Solver.EMD else None
    if problem.solver is Solver.EMD:
        return solvers.network_simplex(cost, *problem.clouds.masses, potentials)
    return solvers.assignment(cost, problem.solver)


@dataclass(frozen=True)
class _Problem:
    """Normalized clouds, and how to turn what a solver found into a plan in the caller's units."""

    clouds: Clouds
    solver: Solver
    settings: Settings
    tolerance: float
    root: bool

    @property
    def unit(self) -> float:
        """What a cost of 1.0 stands for."""
        return self.clouds.unit if self.root else self.clouds.unit**2

    def pairs(self, raw: RawPlan) -> bool:
        """Whether this is an assignment problem and ``raw`` an assignment."""
        return self.clouds.uniform and raw.is_permutation

    def primal(self, raw: RawPlan) -> float:
        """Cost of the plan, from differences of coordinates."""
        x, y = self.clouds.x[raw.rows], self.clouds.y[raw.columns]
        return float(raw.mass @ pair_costs(x, y, root=self.root))

    def interval(self, raw: RawPlan, cost: Matrix) -> tuple[Float[np.ndarray, " n"], float, float]:
        """Feasible u, dual, primal: dual <= optimum <= primal whatever v the solver returned."""
        a, b = self.clouds.masses
        assert raw.v is not None
        u = c_transform(cost, raw.v) if raw.u is None else raw.u
        return u, float(a @ u + b @ raw.v), self.primal(raw)

    def certified(self, raw: RawPlan, cost: Matrix) -> TransportPlan:
        """Refine where the gap is above the tolerance; raise where it stays there."""
        u, dual, primal = self.interval(raw, cost)
        if primal - dual > self.tolerance * primal and self.pairs(raw):
            raw = self.refined(raw, cost) or self.again(raw, cost)
            u, dual, primal = self.interval(raw, cost)
        gap = primal - dual
        if gap > self.tolerance * primal and gap > _ROUNDING * float(cost.max()):
            raise TransportError(f"{self.solver.value}: relative gap {gap / primal:.1e} above {self.tolerance:.0e}")
        return self.plan(raw, u=u, dual=dual)

    def refined(self, raw: RawPlan, cost: Matrix) -> RawPlan | None:
        """An optimal assignment found from this one, or None."""
        assert raw.v is not None
        found = refine(cost, raw.columns, raw.v, tolerance=TOLERANCE / 2)
        return None if found is None else RawPlan.pairing(found.columns, found.v, found.u)

    def again(self, raw: RawPlan, cost: Matrix) -> RawPlan:
        """The float64 solver, where refinement of a float32 solution gave up; it needs more memory."""
        if self.solver is Solver.EMD:
            return raw
        n, d = self.clouds.x.shape
        check_memory(predict(Solver.EMD, n, n, d), Solver.EMD, n, n, self.settings.memory_limit)
        return solvers.network_simplex(cost, *self.clouds.masses)

    def plan(self, raw: RawPlan, *, u: Float[np.ndarray, " n"] | None = None, dual: float = -math.inf) -> TransportPlan:
        """The public plan, after its masses are checked."""
        for name, index, mass in zip("xy", (raw.rows, raw.columns), self.clouds.masses, strict=True):
            error = float(np.abs(np.bincount(index, raw.mass, len(mass)) - mass).sum())
            if not error <= _MARGINAL:
                raise TransportError(f"{self.solver.value}: the plan misses the masses of {name} by {error:.1e}")
        potentials = None
        if u is not None and raw.v is not None:
            potentials = (torch.from_numpy(u * self.unit), torch.from_numpy(raw.v * self.unit))
        return TransportPlan(
            x_index=torch.from_numpy(raw.rows),
            y_index=torch.from_numpy(raw.columns),
            mass=torch.from_numpy(raw.mass),
            primal=self.primal(raw) * self.unit,
            dual=dual * self.unit if self.settings.certify else -math.inf,
            potentials=potentials,
            solver=self.solver,
        )

    def start(self, warm: TransportPlan | None) -> RawPlan | None:
        """The old plan in the units of this problem; None where it holds no potentials."""
        if warm is None or warm.potentials is None:
            return None
        u, v = warm.potentials
        if (len(u), len(v)) != (len(self.clouds.x), len(self.clouds.y)):
            raise ValueError(
                f"warm_start: expected a plan between {len(self.clouds.x)} and {len(self.clouds.y)} points, "
                f"got one between {len(u)} and {len(v)}"
            )
        return RawPlan(warm.x_index.numpy(), warm.y_index.numpy(), warm.mass.numpy(), v.numpy() / self.unit)
