"""One repeat: draw the clouds, fit the estimator, and measure it against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gflow.ratio import KnownLogRatio
from studies.density_ratio.config import Case, Config
from studies.density_ratio.estimators import Fitted, fitted
from studies.density_ratio.measure import exact_rates, measure
from studies.density_ratio.problems import F64, pair

if TYPE_CHECKING:
    from gflow.study import Context

GRID, HALF_WIDTH = 41, 3.0
"""Points a side, and half the side, of the square on which the planar fields are drawn."""


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat of one case; estimators of one problem see the same clouds and are judged at the same points."""
    exact = pair(case, context.device)
    key = f"{case.problem} {case.dim} {case.shift} {case.noise}"
    clouds, fresh = (context.generator_for(role, key=f"{key} {n}") for role, n in (("fit", case.n), ("judge", 0)))
    p, q = (law.sample(case.n, clouds) for law in (exact.p, exact.q))
    made = fitted(config, case, exact, p, q, context)
    row = measure(exact, made, *(law.sample(config.queries, fresh) for law in (exact.p, exact.q)))
    if made.training is not None:
        row |= {"kept": made.training.kept, "steps": made.training.step, "status": made.training.status.name}
    if case.kind == "overlap":
        row["exact_rates"] = exact_rates(case.shift)
    if case.kind == "base":
        row["arrays"] = _drawn(made, exact, context)
    return row


def _drawn(made: Fitted, exact: KnownLogRatio, context: Context) -> str:
    """Values and gradients of the truth and of the estimate on a grid, for the figure of the fields."""
    axis = torch.linspace(-HALF_WIDTH, HALF_WIDTH, GRID, dtype=F64, device=context.device)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        values = {"truth": exact(grid), "estimate": made.potential(grid), "log_q": exact.q.log_prob(grid)}
    gradients = {"truth_gradient": exact.gradient(grid), "gradient": made.potential.gradient(grid)}
    return context.save_arrays("fields", **values, **gradients)
