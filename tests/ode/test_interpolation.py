"""Dense output: exact at the nodes, of its own order between them, and a defect that is what it says."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    HEUN,
    RK4,
    RK4_38,
    TSIT5,
    BrownianPath,
    ConstantStep,
    EulerMaruyama,
    ExplicitRK,
    Interpolant,
    PIController,
    solve_ivp,
)
from tests.ode.problems import CONTINUOUS, TABLEAUX, Counted, limit_cycle, limit_cycle_exact, named, start

LINEAR, HERMITE, QUARTIC, EXTENSION = Interpolant

BOTH_WAYS = pytest.mark.parametrize(("t0", "t1"), [(0.2, 1.4), (1.4, 0.2)], ids=["forward", "backward"])


def dense(tableau, t0, t1, h, y0=None, **options):
    y0 = start() if y0 is None else y0
    return solve_ivp(
        limit_cycle, y0, t0, t1, method=ExplicitRK(tableau), controller=ConstantStep(h), dense=True, **options
    )


@functools.cache
def ready(tableau, t0, t1, h=0.3):
    """A dense solution that several tests read and none changes."""
    return dense(tableau, t0, t1, h, save_every=1)


@BOTH_WAYS
@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_interpolant_and_its_slope_meet_the_nodes_exactly(tableau, t0, t1):
    solution = ready(tableau, t0, t1)
    for t, y in zip(solution.ts, solution.ys, strict=True):
        assert torch.equal(solution.interpolate(t), y)
        # The FSAL slope at a node was evaluated at an argument that differs from the node by round-off.
        assert solution.defect(t).abs().max() < 1e-14


@BOTH_WAYS
@pytest.mark.parametrize("interpolant", Interpolant, ids=lambda x: x.name)
def test_each_interpolant_meets_the_nodes_and_all_but_the_lines_meet_the_slopes(interpolant, t0, t1):
    output = ready(DOPRI5, t0, t1).dense.using(interpolant)
    for k, t in enumerate(output.ts):
        assert torch.equal(output.state(t).reshape(-1), output.ys[k])
        sides = [output.on_step(j, t) for j in (k - 1, k) if 0 <= j < len(output.ts) - 1]
        for value, slope in sides:
            torch.testing.assert_close(value, output.ys[k], rtol=0, atol=1e-15)
            if interpolant is not LINEAR:
                torch.testing.assert_close(slope, output.slopes[k], rtol=0, atol=1e-13)
        jump = (sides[0][1] - sides[-1][1]).abs().max()
        assert jump < 1e-13 or interpolant is LINEAR


@BOTH_WAYS
def test_lines_are_chords_and_their_defect_is_the_one_w2b_10_charges_euler_for(t0, t1):
    output = ready(EULER, t0, t1).dense.using(LINEAR)
    y, v = output.ys[1].reshape(3, 2), output.slopes[1].reshape(3, 2)
    t, h = output.ts[1], output.ts[2] - output.ts[1]
    u = y + 0.6 * h * v
    torch.testing.assert_close(output.state(t + 0.6 * h), u, rtol=0, atol=1e-15)
    torch.testing.assert_close(output.defect(t + 0.6 * h), v - limit_cycle(t + 0.6 * h, u), rtol=0, atol=1e-14)


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["forward", "backward"])
@pytest.mark.parametrize(
    ("tableau", "interpolant", "order"),
    [(DOPRI5, LINEAR, 2), (DOPRI5, HERMITE, 4), (DOPRI5, QUARTIC, 5), (DOPRI5, EXTENSION, 5), (TSIT5, EXTENSION, 5)],
    ids=["LINEAR", "HERMITE", "QUARTIC", "EXTENSION of DOPRI5", "EXTENSION of TSIT5"],
)
def test_error_of_an_interpolant_within_a_step_falls_with_its_order(tableau, interpolant, order, sign):
    """The ends are so exact that what is seen is the interpolant itself."""
    errors = []
    for h in (0.05, 0.025):
        output = dense(tableau, 0.4, 0.4 + sign * h, 1.0).dense.using(interpolant)
        ts = [0.4 + sign * h * x for x in (0.1, 0.3, 0.5, 0.7, 0.9)]
        errors.append(max((output.state(t) - limit_cycle_exact(start(), 0.4, t)).norm().item() for t in ts))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


# W2B-20: the interpolants whose defect has the order of the method, and what the others have.
DEFECTS = [
    (EULER, LINEAR, 1),
    (HEUN, HERMITE, 2),
    (BOSH3, HERMITE, 3),
    (RK4, HERMITE, 3),
    (RK4, QUARTIC, 4),
    (RK4_38, QUARTIC, 4),
    (DOPRI5, HERMITE, 3),
    (DOPRI5, EXTENSION, 4),
    (TSIT5, LINEAR, 1),
    (TSIT5, EXTENSION, 4),
]


def largest_defect(tableau, interpolant, t0, t1, n):
    """The largest of the defects at three places in 8 of n steps."""
    output = ready(tableau, t0, t1, abs(t1 - t0) / n).dense.using(interpolant)
    ts = [t0 + (t1 - t0) * (k + x) / n for k in range(0, n, n // 8) for x in (0.1, 0.5, 0.9)]
    return max(output.defect(t).abs().max().item() for t in ts)


@BOTH_WAYS
@pytest.mark.parametrize(
    ("tableau", "interpolant", "order"), DEFECTS, ids=[f"{x[0].name}-{x[1].name}" for x in DEFECTS]
)
def test_w2b_20_orders_of_the_defects(tableau, interpolant, order, t0, t1):
    coarse, fine = (largest_defect(tableau, interpolant, t0, t1, n) for n in (16, 32))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@BOTH_WAYS
def test_the_defect_of_the_quartic_is_far_below_that_of_the_cubic(t0, t1):
    assert largest_defect(RK4, QUARTIC, t0, t1, 32) < largest_defect(RK4, HERMITE, t0, t1, 32) / 5


def test_only_the_quartic_asks_the_field_again():
    field = Counted(limit_cycle)
    step = ConstantStep(0.3)
    output = solve_ivp(field, start(), 0.2, 1.4, method=ExplicitRK(DOPRI5), controller=step, dense=True).dense
    for interpolant in Interpolant:
        field.times.clear()
        output.using(interpolant).state(0.6)
        # 0.6 lies in the step from 0.5 to 0.8, at whose quarter point the cubic's slope is worst.
        assert field.times == (pytest.approx([0.575]) if interpolant is QUARTIC else [])


@pytest.mark.parametrize(
    ("tableau", "interpolant"),
    [(EULER, LINEAR), (BOSH3, HERMITE), (RK4, QUARTIC), (DOPRI5, EXTENSION), (TSIT5, EXTENSION)],
    ids=["Euler", "BOSH3", "RK4", "DOPRI5", "TSIT5"],
)
@given(t=st.floats(0.25, 1.35), backward=st.booleans())
def test_w2b_10_the_interpolant_solves_the_field_plus_its_defect(tableau, interpolant, t, backward):
    """u' = v(t, u) + r, with u' by a central difference of the interpolant."""
    output = ready(tableau, *((1.4, 0.2) if backward else (0.2, 1.4))).dense.using(interpolant)
    eps = 1e-5
    if min(abs(t - node) for node in output.ts) < 2 * eps:  # u' jumps in its second derivative there
        return
    difference = (output.state(t + eps) - output.state(t - eps)) / (2 * eps)
    u = output.state(t)
    torch.testing.assert_close(difference, limit_cycle(t, u) + output.defect(t), rtol=0, atol=1e-8)


EXACT = [(DOPRI5, LINEAR, 1), (DOPRI5, HERMITE, 3), (RK4, QUARTIC, 4), (DOPRI5, EXTENSION, 4), (TSIT5, EXTENSION, 4)]


@pytest.mark.parametrize(("tableau", "interpolant", "degree"), EXACT, ids=[f"{x[0].name}-{x[1].name}" for x in EXACT])
@settings(max_examples=10)
@given(coefficients=st.lists(st.floats(-2, 2), min_size=4, max_size=4), t=st.floats(0.0, 1.0))
def test_polynomials_of_its_degree_are_interpolated_exactly(tableau, interpolant, degree, coefficients, t):
    y0 = torch.ones(1, dtype=torch.float64)
    terms = list(enumerate(coefficients, start=1))[:degree]

    def v(t, y):
        return y0 * sum(k * c * t ** (k - 1) for k, c in terms)

    options = {"method": ExplicitRK(tableau), "controller": ConstantStep(0.3), "dense": True}
    output = solve_ivp(v, y0, 0.0, 1.0, **options).dense.using(interpolant)
    assert output.state(t).item() == pytest.approx(1 + sum(c * t**k for k, c in terms), abs=1e-13)
    assert output.defect(t).abs().item() < 1e-12


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_the_pairs_own_extension_is_the_default_where_there_is_one_and_the_cubic_elsewhere(tableau):
    solution = ready(tableau, 0.2, 1.4)
    default = EXTENSION if tableau in CONTINUOUS else HERMITE
    at = {x: solution.dense.using(x).state(0.6) for x in Interpolant if x is not EXTENSION or default is EXTENSION}
    assert torch.equal(solution.interpolate(0.6), at.pop(default))
    assert not any(torch.equal(solution.interpolate(0.6), other) for other in at.values())
    if default is HERMITE:
        with pytest.raises(ValueError, match="this method has no continuous extension; use HERMITE"):
            solution.dense.using(EXTENSION)


@BOTH_WAYS
@pytest.mark.parametrize("interpolant", Interpolant, ids=lambda x: x.name)
def test_a_nested_state_is_interpolated_as_its_flat_tensor(interpolant, t0, t1):
    def nested(t, y):
        v = limit_cycle(t, torch.cat((y["a"]["b"], y["c"])))
        return {"a": {"b": v[:2]}, "c": v[2:]}

    options = {"method": ExplicitRK(DOPRI5), "controller": ConstantStep(0.3), "dense": True}
    y0 = {"a": {"b": start()[:2]}, "c": start()[2:]}
    output = solve_ivp(nested, y0, t0, t1, **options).dense.using(interpolant)
    flat = ready(DOPRI5, t0, t1).dense.using(interpolant)
    for ours, theirs in ((output.state(0.77), flat.state(0.77)), (output.defect(0.77), flat.defect(0.77))):
        assert torch.equal(torch.cat((ours["a"]["b"], ours["c"])), theirs)


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
    for interpolant in Interpolant:
        output = solution.dense.using(interpolant)
        assert torch.equal(output.state(0.5), start())
        assert output.defect(0.5).abs().max() == 0


def test_a_field_without_a_value_at_t1_fails_only_with_dense_output():
    def v(t, y):
        return y * (math.nan if t == 1.0 else 1.0)

    options = {"method": ExplicitRK(EULER), "controller": ConstantStep(0.25), "throw": False}
    assert solve_ivp(v, start(), 0.0, 1.0, **options).detail == ""
    solution = solve_ivp(v, start(), 0.0, 1.0, dense=True, **options)
    assert "dense output needs the field at t = 1: state: 3 of 3 rows" in solution.detail
    torch.testing.assert_close(solution.y1, start() * 1.25**4, rtol=1e-14, atol=0)
    assert solution.interpolate(0.7).isfinite().all()
