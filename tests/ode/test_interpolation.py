"""Dense output: exact at the nodes, order 4 between them, and a defect that is what it says."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    RK4,
    BrownianPath,
    ConstantStep,
    EulerMaruyama,
    ExplicitRK,
    PIController,
    solve_ivp,
)
from tests.ode.problems import TABLEAUX, limit_cycle, limit_cycle_exact, named, start

BOTH_WAYS = pytest.mark.parametrize(("t0", "t1"), [(0.2, 1.4), (1.4, 0.2)], ids=["forward", "backward"])


def dense(tableau, t0, t1, h, y0=None, **options):
    y0 = start() if y0 is None else y0
    return solve_ivp(
        limit_cycle, y0, t0, t1, method=ExplicitRK(tableau), controller=ConstantStep(h), dense=True, **options
    )


@BOTH_WAYS
@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_interpolant_and_its_slope_meet_the_nodes_exactly(tableau, t0, t1):
    solution = dense(tableau, t0, t1, 0.17, save_every=1)
    for t, y in zip(solution.ts, solution.ys, strict=True):
        assert torch.equal(solution.interpolate(t), y)
        # The FSAL slope at a node was evaluated at an argument that differs from the node by round-off.
        assert solution.defect(t).abs().max() < 1e-14


@BOTH_WAYS
def test_order_of_the_interpolant_is_4_and_of_its_defect_3(t0, t1):
    """DOPRI5's nodes are so exact that what is seen is the interpolant itself."""
    values, defects = [], []
    for n in (16, 32, 64):
        solution = dense(DOPRI5, t0, t1, abs(t1 - t0) / n)
        ts = [t0 + (t1 - t0) * (k + 0.3) / n for k in range(0, n, n // 16)]
        values.append(max((solution.interpolate(t) - limit_cycle_exact(start(), t0, t)).abs().max().item() for t in ts))
        defects.append(max(solution.defect(t).abs().max().item() for t in ts))
    assert math.log2(values[1] / values[2]) == pytest.approx(4, abs=0.15)
    assert math.log2(defects[1] / defects[2]) == pytest.approx(3, abs=0.15)


def test_defect_of_euler_has_order_1():
    """The defect in the middle of a step, which W2B-10 charges Euler for."""
    sizes = [dense(EULER, 0.0, 1.0, 1 / n).defect(0.5 + 0.5 / n).norm().item() for n in (50, 100, 200)]
    assert math.log2(sizes[1] / sizes[2]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("tableau", **named([EULER, BOSH3, RK4, DOPRI5]))
@given(t=st.floats(0.25, 1.35))
def test_w2b_10_the_interpolant_solves_the_field_plus_its_defect(tableau, t):
    """u' = v(t, u) + r, with u' by a central difference of the interpolant."""
    solution = dense(tableau, 0.2, 1.4, 0.3)
    nodes = [0.2 + 0.3 * k for k in range(5)]
    eps = 1e-5
    if min(abs(t - node) for node in nodes) < 2 * eps:  # u' jumps in its second derivative there
        return
    difference = (solution.interpolate(t + eps) - solution.interpolate(t - eps)) / (2 * eps)
    u = solution.interpolate(t)
    torch.testing.assert_close(difference, limit_cycle(t, u) + solution.defect(t), rtol=0, atol=1e-8)


@given(a=st.floats(-2, 2), b=st.floats(-2, 2), c=st.floats(-2, 2), t=st.floats(0.0, 1.0))
def test_cubics_are_interpolated_exactly(a, b, c, t):
    y0 = torch.ones(1, dtype=torch.float64)

    def v(t, y):
        return y0 * (a + 2 * b * t + 3 * c * t**2)

    solution = solve_ivp(v, y0, 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=ConstantStep(0.3), dense=True)
    assert solution.interpolate(t).item() == pytest.approx(1 + a * t + b * t**2 + c * t**3, abs=1e-13)
    assert solution.defect(t).abs().item() < 1e-12


def test_adaptive_dense_output_keeps_rejected_steps_out():
    def bumpy(t, y):
        return -y + 20 * math.exp(-((20 * (t - 0.5)) ** 2))

    controller = PIController(rtol=1e-6, atol=1e-6)
    solution = solve_ivp(bumpy, start(), 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller, dense=True)
    assert solution.stats.rejected > 0
    assert len(solution.dense.ts) == solution.stats.accepted + 1
    assert solution.dense.ts == sorted(solution.dense.ts)


@pytest.mark.parametrize("t", [0.19999, 1.40001, math.nan])
def test_times_outside_are_refused(t):
    for ends in ((0.2, 1.4), (1.4, 0.2)):
        solution = dense(RK4, *ends, 0.3)
        with pytest.raises(ValueError, match="lies outside the computed"):
            solution.interpolate(t)
        with pytest.raises(ValueError, match="lies outside the computed"):
            solution.defect(t)


def test_no_dense_output_is_said_with_the_remedy():
    solution = solve_ivp(limit_cycle, start(), 0.0, 1.0, method=ExplicitRK(EULER), controller=ConstantStep(0.5))
    for ask in (solution.interpolate, solution.defect):
        with pytest.raises(ValueError, match="dense=True"):
            ask(0.5)


def test_dense_output_needs_one_smooth_field():
    class Stepwise:
        def at_step(self, k):
            return limit_cycle

    options = {"controller": ConstantStep(0.5), "dense": True}
    with pytest.raises(ValueError, match="a StepwiseField changes at every step"):
        solve_ivp(Stepwise(), start(), 0.0, 1.0, method=ExplicitRK(EULER), **options)
    noise = EulerMaruyama(lambda t: 1.0, BrownianPath(0.0, 1.0, (3, 2), levels=1, seed=0))
    with pytest.raises(ValueError, match="a Brownian path has none"):
        solve_ivp(limit_cycle, start(), 0.0, 1.0, method=noise, **options)


def test_a_failed_solution_is_dense_as_far_as_it_got():
    solution = dense(RK4, 0.0, 1.0, 0.1, max_steps=4, throw=False)
    assert torch.equal(solution.interpolate(solution.ts[-1]), solution.y1)
    assert solution.interpolate(0.35).isfinite().all()
    with pytest.raises(ValueError, match="outside the computed"):
        solution.interpolate(0.5)


def test_an_empty_interval_is_dense_at_its_one_time():
    solution = dense(RK4, 0.5, 0.5, 0.1)
    assert torch.equal(solution.interpolate(0.5), start())
    assert solution.defect(0.5).abs().max() == 0


def test_a_field_without_a_value_at_t1_fails_only_with_dense_output():
    def v(t, y):
        return y * (math.nan if t == 1.0 else 1.0)

    options = {"method": ExplicitRK(EULER), "controller": ConstantStep(0.25), "throw": False}
    assert solve_ivp(v, start(), 0.0, 1.0, **options).detail == ""
    solution = solve_ivp(v, start(), 0.0, 1.0, dense=True, **options)
    assert "dense output needs the field at t = 1: state: 3 of 3 rows" in solution.detail
    torch.testing.assert_close(solution.y1, start() * 1.25**4, rtol=1e-14, atol=0)
    assert solution.interpolate(0.7).isfinite().all()
