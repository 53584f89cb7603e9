"""Exact W2 and W1: laws of a distance, agreement of the solvers, certificates."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from gflow.transport import ExactW1, ExactW2, Solver, TransportPlan, W2Estimator, optimal_pairs
from gflow.transport.solvers import installed
from tests.strategies import floats, points

F64 = torch.float64
seeds = st.integers(0, 2**16)
dims = st.sampled_from([1, 2, 3, 8, 12])
sizes = st.integers(1, 30)
needs_lapjv = pytest.mark.skipif(not installed(Solver.LAPJV), reason="needs the extra 'fast'")
needs_lapx = pytest.mark.skipif(not installed(Solver.LAPX), reason="needs the extra 'fast'")


def pair(n: int, m: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return points(n, d, seed), 0.7 * points(m, d, seed + 1) + 0.5


def reference(x: torch.Tensor, y: torch.Tensor, metric: str = "sqeuclidean") -> float:
    cost = cdist(x.numpy(), y.numpy(), metric)
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


@given(n=sizes, d=dims, seed=seeds)
def test_equals_the_assignment_of_scipy(n, d, seed):
    x, y = pair(n, n, d, seed)
    assert ExactW2(polish=True)(x, y).mean == pytest.approx(reference(x, y), rel=1e-12)
    assert ExactW1(polish=True)(x, y).mean == pytest.approx(reference(x, y, "euclidean"), rel=1e-12)


@given(n=sizes, m=sizes, d=dims, seed=seeds, weighted=st.booleans())
def test_equals_pot_for_unequal_sizes_and_weights(n, m, d, seed, weighted):
    x, y = pair(n, m, d, seed)
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(k, generator=generator, dtype=F64) + 0.1 if weighted else None for k in (n, m))
    masses = [ot.unif(len(z)) if w is None else (w / w.sum()).numpy() for z, w in ((x, a), (y, b))]
    value = ot.emd2(*masses, cdist(x, y, "sqeuclidean"))
    plan = ExactW2().solve(x, y, x_weights=a, y_weights=b)
    assert plan.primal == pytest.approx(value, rel=1e-9, abs=1e-12)
    moved = torch.zeros(n, m, dtype=F64).index_put((plan.x_index, plan.y_index), plan.mass, accumulate=True)
    torch.testing.assert_close(moved.sum(1), torch.from_numpy(masses[0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(moved.sum(0), torch.from_numpy(masses[1]), rtol=0, atol=1e-12)


@given(seed=seeds, d=dims)
def test_a_point_without_mass_does_not_count(seed, d):
    x, y = pair(6, 8, d, seed)
    x_weights = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.0, 3.0], dtype=F64)
    kept = x_weights > 0
    whole = ExactW2()(x, y, x_weights=x_weights)
    assert whole.mean == pytest.approx(ExactW2()(x[kept], y, x_weights=x_weights[kept]).mean, rel=1e-12)


@given(n=sizes, m=sizes, d=dims, seed=seeds, estimator=st.sampled_from([ExactW2(), ExactW1(), ExactW2(polish=True)]))
def test_the_certificate_holds_and_is_narrow(n, m, d, seed, estimator):
    x, y = pair(n, m, d, seed)
    plan = estimator.solve(x, y)
    assert plan.dual <= plan.primal * (1 + 1e-13) + 1e-300
    assert plan.gap <= (1e-9 if estimator.polish else 2e-8)
    estimate = plan.estimate()
    assert (estimate.lo, estimate.hi) == (min(plan.dual, plan.primal), plan.primal)
    assert (estimate.n, estimate.level, estimate.bias) == (1, 1.0, "up")
    if d > 1:
        cost = torch.cdist(x, y) if isinstance(estimator, ExactW1) else torch.cdist(x, y).square()
        u, v = plan.potentials
        assert float((u[:, None] + v - cost).max()) <= 1e-12 * float(cost.max())


@given(n=sizes, d=dims, seed=seeds, length=floats(0.0, 5.0))
def test_a_translation_costs_its_length(n, d, seed, length):
    x = points(n, d, seed)
    shift = torch.nn.functional.normalize(points(1, d, seed + 1)) * length
    shuffled = (x + shift)[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    assert ExactW2()(x, shuffled).sqrt().mean == pytest.approx(length, rel=1e-9, abs=1e-12)
    assert ExactW1()(x, shuffled).mean == pytest.approx(length, rel=1e-9, abs=1e-12)


@given(n=sizes, m=sizes, d=dims, seed=seeds, power=st.integers(-140, 140))
def test_scaling_at_any_magnitude(n, m, d, seed, power):
    # POT compares costs with an absolute tolerance: unscaled, 1e-6 is already wrong by per cents.
    x, y = pair(n, m, d, seed)
    scale = 10.0**power
    assert ExactW2()(scale * x, scale * y).mean == pytest.approx(scale**2 * ExactW2()(x, y).mean, rel=1e-8)


@given(n=sizes, m=sizes, d=dims, seed=seeds)
def test_symmetry(n, m, d, seed):
    x, y = pair(n, m, d, seed)
    assert ExactW2(polish=True)(x, y).mean == pytest.approx(ExactW2(polish=True)(y, x).mean, rel=1e-9)


@given(d=dims, seed=seeds, n=sizes)
def test_the_triangle_inequality(d, seed, n):
    x, y, z = points(n, d, seed), points(n + 3, d, seed + 1), points(5, d, seed + 2)
    for distance in (lambda a, b: ExactW2()(a, b).sqrt().mean, lambda a, b: ExactW1()(a, b).mean):
        assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-9


@given(n=sizes, m=sizes, d=dims, seed=seeds)
def test_w2b_18_w1_is_at_most_w2(n, m, d, seed):
    x, y = pair(n, m, d, seed)
    assert ExactW1()(x, y).lo <= ExactW2()(x, y).sqrt().hi * (1 + 1e-12)


@pytest.mark.parametrize("d", [1, 2, 6, 7, 20])
def test_distance_to_itself_is_zero_exactly(d):
    x = points(40, d, seed=0, scale=1e3) + 100.0
    for y in (x, x.clone(), x[torch.randperm(40, generator=torch.Generator().manual_seed(1))]):
        estimate = ExactW2()(x, y)
        assert (estimate.mean, estimate.hi) == (0.0, 0.0)
        assert abs(estimate.lo) <= 1e-12 * 1e6


@pytest.mark.parametrize("d", [2, 8])
def test_ties_and_repeated_points(d):
    x = torch.zeros(30, d, dtype=F64)
    grid = torch.randint(0, 2, (30, d), generator=torch.Generator().manual_seed(0)).to(F64)
    assert ExactW2(polish=True)(x, grid).mean == pytest.approx(float(grid.square().sum(1).mean()), rel=1e-12)
    assert ExactW2(polish=True)(grid, grid.flip(0)).mean == 0.0


@pytest.mark.parametrize("d", [2, 12])
def test_float32_far_from_the_origin(d):
    x, y = (0.01 * points(60, d, seed=s) + 100.0 for s in (0, 1))
    x32, y32 = x.float(), y.float()
    exact = reference(x32.double(), y32.double())
    assert ExactW2(polish=True)(x32, y32).mean == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("d", [2, 12])
def test_near_clouds_keep_their_digits(d):
    # An expanded square loses 1e-16 of |x|^2, here all of the answer.
    x = points(80, d, seed=0)
    y = x + 1e-8 * points(80, d, seed=1)
    plan = ExactW2(polish=True).solve(x, y)
    assert plan.primal == pytest.approx(float((x - y).square().sum(1).mean()), rel=1e-12)
    assert plan.gap <= 1e-9


@needs_lapjv
@needs_lapx
@pytest.mark.parametrize("d", [2, 6, 8, 30])
def test_all_solvers_agree(d):
    x, y = pair(150, 150, d, seed=3)
    exact = reference(x, y)
    for solver in (Solver.EMD, Solver.LAPJV):
        assert ExactW2(solver=solver, polish=True)(x, y).mean == pytest.approx(exact, rel=1e-12)
    estimate = ExactW2(solver=Solver.LAPX, certify=False)(x, y)
    assert estimate.mean == pytest.approx(exact, rel=1e-7)
    assert estimate.lo == -math.inf


@given(n=sizes, d=dims, seed=seeds)
def test_optimal_pairs_are_a_permutation_that_attains_w2(n, d, seed):
    x, y = pair(n, n, d, seed)
    p = optimal_pairs(x.float(), y.float())
    assert p.dtype == torch.int64
    assert torch.equal(p.sort().values, torch.arange(n))
    cost = float((x.float().double() - y.float().double()[p]).square().sum(1).mean())
    assert cost == pytest.approx(reference(x.float().double(), y.float().double()), rel=1e-7)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_uncertified_has_no_lower_end(d):
    x, y = pair(20, 20, d, seed=0)
    estimate = ExactW2(certify=False)(x, y)
    assert estimate.lo == -math.inf
    assert estimate.mean == estimate.hi == pytest.approx(reference(x, y), rel=1e-6)


@given(d=st.sampled_from([2, 3, 5, 9]), seed=seeds, step=st.sampled_from([0.0, 1e-3, 0.05, 1.0]), same=st.booleans())
def test_a_warm_start_changes_the_time_and_not_the_optimum(d, seed, step, same):
    x, y = pair(40, 40 if same else 25, d, seed)
    cold = ExactW2(polish=True)
    last = cold.solve(x, y)
    moved = x + step * torch.sin(3 * x)
    warm = cold.solve(moved, y, warm_start=last)
    assert warm.primal == pytest.approx(cold(moved, y).mean, rel=1e-9)
    assert warm.gap <= 1e-9


@pytest.mark.parametrize("fixed", [True, False])
def test_along_a_flow_equals_snapshot_by_snapshot(fixed):
    x, y = pair(50, 50, 8, seed=5)
    xs = torch.stack([x * (1 - 0.02 * k) for k in range(6)])
    ys = y if fixed else [y + 0.01 * k for k in range(6)]
    estimates = ExactW2().along_flow(xs, ys)
    for k, estimate in enumerate(estimates):
        assert estimate.mean == pytest.approx(reference(xs[k], y if fixed else ys[k]), rel=1e-7)


def test_the_estimators_fit_the_protocol():
    assert isinstance(ExactW2(), W2Estimator)


def test_a_plan_that_splits_mass_has_no_permutation():
    x, y = pair(3, 4, 2, seed=0)
    plan: TransportPlan = ExactW2().solve(x, y)
    with pytest.raises(ValueError, match="splits mass"):
        _ = plan.permutation


def test_the_rule_says_which_solver(monkeypatch):
    rule = ExactW2().solver_for
    assert rule(9, 9, 1) is Solver.SORT
    assert rule(9, 9, 6) is Solver.EMD
    assert rule(9, 8, 7) is Solver.EMD
    assert rule(9, 9, 7, weighted=True) is Solver.EMD
    monkeypatch.setattr("gflow.transport.solvers.installed", lambda _: True)
    assert rule(9, 9, 7) is Solver.LAPJV
    assert ExactW2(certify=False).solver_for(9, 9, 7) is Solver.LAPX
    monkeypatch.setattr("gflow.transport.solvers.installed", lambda solver: solver is Solver.EMD)
    assert rule(9, 9, 7) is ExactW2(certify=False).solver_for(9, 9, 7) is Solver.EMD
    x, y = pair(12, 12, 9, seed=0)
    assert ExactW2().solve(x, y).solver is Solver.EMD


def test_importing_the_package_imports_no_solver():
    code = "import sys, gflow.transport; assert not {'ot', 'lap', 'lapjv', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_do_not_depend_on_numpy_views():
    x, y = pair(20, 20, 3, seed=1)
    strided = torch.stack([x, y]).transpose(0, 2)[..., 0].T
    assert ExactW2()(strided, y).mean == ExactW2()(x, y).mean
    assert np.isfinite(ExactW2()(x.requires_grad_(), y).mean)
