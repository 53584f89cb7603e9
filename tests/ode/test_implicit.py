"""Implicit midpoint and Rosenbrock-Euler: orders, stability, both linear solvers, and what happens when they fail."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp as scipy_solve_ivp

from gflow.ode import (
    EULER,
    RK4,
    ConstantStep,
    ExplicitRK,
    ImplicitMidpoint,
    Result,
    RosenbrockEuler,
    SolveError,
    solve_ivp,
)
from gflow.ode.method import linear
from tests.ode.problems import Counted, limit_cycle, limit_cycle_exact, start
from tests.strategies import floats

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

MIDPOINT = ImplicitMidpoint(tolerance=1e-12, max_iterations=20)
ROSENBROCK = RosenbrockEuler(tolerance=1e-12)
METHODS = pytest.mark.parametrize("method", [MIDPOINT, ROSENBROCK], ids=["midpoint", "Rosenbrock"])


def run(method, v, y0, t0, t1, h, **options):
    return solve_ivp(v, y0, t0, t1, method=method, controller=ConstantStep(h), **options)


def matrices(n, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, n, generator=generator, dtype=torch.float64) / math.sqrt(n)
    return noise - 1.5 * torch.eye(n, dtype=torch.float64)


@pytest.fixture
def always_iterative(monkeypatch):
    """GMRES however small the state."""
    monkeypatch.setattr(linear, "DENSE_UP_TO", 0)


# Order and stability


@pytest.mark.parametrize(("t0", "t1"), [(0.3, 1.5), (1.5, 0.3)], ids=["forward", "backward"])
@pytest.mark.parametrize(("method", "order"), [(MIDPOINT, 2), (ROSENBROCK, 1)], ids=["midpoint", "Rosenbrock"])
def test_observed_order_is_nominal_and_no_more_in_both_directions(method, order, t0, t1):
    """As for the tableaux: the slope with the next term of the expansion eliminated."""
    exact = limit_cycle_exact(start(), t0, t1)
    errors = [run(method, limit_cycle, start(), t0, t1, 1.2 / n).y1 - exact for n in (8, 16, 32)]
    coarse, fine = ((e0 / 2 ** (order + 1) - e1).norm() for e0, e1 in zip(errors, errors[1:], strict=False))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.05)
    assert (method.order, method.error_order) == (order, None)


def growth(method, z):
    """R(z) by one step of y' = z y."""
    matrix = torch.tensor([[z.real, -z.imag], [z.imag, z.real]], dtype=torch.float64)
    y1 = run(method, lambda t, y: matrix @ y, torch.tensor([1.0, 0.0], dtype=torch.float64), 0.0, 1.0, 1.0).y1
    return complex(*y1.tolist())


@settings(max_examples=10)
@given(x=floats(-50.0, 0.5), y=floats(-50.0, 50.0))
def test_int_7_growth_is_the_rational_function_of_each_method(x, y):
    z = complex(x, y)
    assert growth(MIDPOINT, z) == pytest.approx((1 + z / 2) / (1 - z / 2), rel=1e-11)
    assert growth(ROSENBROCK, z) == pytest.approx(1 / (1 - z), rel=1e-11)


@settings(max_examples=10)
@given(y=floats(0.01, 1e3))
def test_stab_2_implicit_midpoint_keeps_the_modulus_on_the_imaginary_axis(y):
    assert abs(growth(MIDPOINT, 1j * y)) == pytest.approx(1.0, abs=1e-12)


def test_implicit_midpoint_keeps_a_quadratic_invariant_of_a_nonlinear_field_and_rk4_does_not():
    def spin(t, y):
        return (2 + torch.sin(3 * y[:1]) + t) * torch.stack((-y[1], y[0]))

    y0 = torch.tensor([0.6, 0.8], dtype=torch.float64)
    ours, explicit = (run(m, spin, y0, 0.0, 2.0, 0.1).y1.norm().item() for m in (MIDPOINT, ExplicitRK(RK4)))
    assert ours == pytest.approx(1.0, abs=1e-11)
    assert abs(explicit - 1) > 1e-6


# Stiff problems


@settings(max_examples=5)
@given(seed=st.integers(0, 99), stiffness=floats(1e2, 1e4), iterative=st.booleans())
def test_on_a_stiff_linear_system_the_steps_are_powers_of_the_closed_form(seed, stiffness, iterative):
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    a = q @ torch.diag(torch.tensor([-1.0, -2.0, -stiffness, -2 * stiffness], dtype=torch.float64)) @ q.T
    y0, eye, h = torch.ones(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64), 0.25
    powers = {
        # Round-off times the condition number lets GMRES come no nearer than 1e-12.
        ImplicitMidpoint(1e-10, 20): torch.linalg.solve(eye - h / 2 * a, eye + h / 2 * a),
        RosenbrockEuler(1e-10): torch.linalg.inv(eye - h * a),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "DENSE_UP_TO", 0 if iterative else 128)
        for method, power in powers.items():
            y1 = run(method, lambda t, y: a @ y, y0, 0.0, 1.0, h).y1
            torch.testing.assert_close(y1, torch.linalg.matrix_power(power, 4) @ y0, rtol=0, atol=1e-6)


def test_on_a_stiff_linear_problem_both_agree_with_scipys_radau_to_their_orders():
    """Prothero and Robinson's problem, one decade from the slow manifold, where explicit steps need h < 2e-4."""

    def v(t, y):
        return -1e4 * (y - math.cos(t)) - math.sin(t)

    y0 = torch.tensor([1.0, 1.001], dtype=torch.float64)
    radau = scipy_solve_ivp(
        lambda t, y: -1e4 * (y - math.cos(t)) - math.sin(t), (0.0, 2.0), y0.numpy(), "Radau", rtol=1e-9, atol=1e-9
    )
    reference = torch.from_numpy(radau.y[:, -1])
    gaps = {m: (run(m, v, y0, 0.0, 2.0, 0.05).y1 - reference).abs() for m in (MIDPOINT, ROSENBROCK)}
    # Rosenbrock-Euler damps the fast part at once; the midpoint rule's factor is -1 + 4/(h 1e4), so it stays, bounded.
    assert gaps[ROSENBROCK].max() < 0.05
    assert gaps[MIDPOINT][0] < 0.05**2
    assert gaps[MIDPOINT][1] < 2e-3


@settings(max_examples=5)
@given(deviation=floats(0.05, 2.0))
def test_int_8_rosenbrock_euler_is_stable_at_h_1_on_the_kl_flow_of_a_narrow_gaussian(deviation):
    """The standard deviation s of N(0, s^2) under the KL flow to N(0, 1e-3): s' = 1/s - 1000 s."""
    target = math.sqrt(1e-3)
    s0 = torch.tensor([deviation], dtype=torch.float64)
    s1 = run(ROSENBROCK, lambda t, s: 1 / s - 1000 * s, s0, 0.0, 14.0, 1.0).y1
    torch.testing.assert_close(s1, torch.tensor([target], dtype=torch.float64), rtol=1e-9, atol=0)


def test_int_8_euler_on_the_kl_flow_is_unstable_from_h_1e_3_on():
    target = math.sqrt(1e-3)
    near = torch.tensor([1.001 * target], dtype=torch.float64)
    gaps = {}
    for h in (0.97e-3, 1.03e-3):
        y1 = run(ExplicitRK(EULER), lambda t, s: 1 / s - 1000 * s, near, 0.0, 50 * h, h).y1
        gaps[h] = abs(y1.item() / target - 1)
    # Its factor near the target is 1 - 2000 h.
    assert gaps[0.97e-3] < 0.1e-3 < 2e-3 < gaps[1.03e-3]


def test_int_8_a_particle_of_the_linear_flow_shrinks_by_1_1001_in_a_step_of_1():
    y0 = torch.tensor([1.0, -3.0], dtype=torch.float64)
    y1 = run(ROSENBROCK, lambda t, y: -1000 * y, y0, 0.0, 1.0, 1.0).y1
    torch.testing.assert_close(y1, y0 / 1001, rtol=1e-12, atol=0)


@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_int_8_a_very_long_rosenbrock_step_is_newtons_step(seed):
    y0 = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = matrices(3, seed)

    def v(t, y):
        return a @ y - y**3 + 1

    newton = y0 - torch.linalg.solve(torch.func.jacrev(lambda y: v(0.0, y))(y0), v(0.0, y0))
    torch.testing.assert_close(run(ROSENBROCK, v, y0, 0.0, 1e12, 1e12).y1, newton, rtol=1e-8, atol=1e-8)


# The two linear solvers


def nonlinear(n):
    a = matrices(n, n)
    return lambda t, y: a @ torch.sin(y) + math.cos(t)


@METHODS
@pytest.mark.parametrize("n", [127, 128, 129])
def test_lu_and_gmres_agree_to_the_tolerance_on_both_sides_of_the_size_where_they_change(method, n, monkeypatch):
    y0 = torch.linspace(-1, 1, n, dtype=torch.float64)
    solutions = []
    for limit in (0, linear.DENSE_UP_TO, 10_000):
        monkeypatch.setattr(linear, "DENSE_UP_TO", limit)
        solutions.append(run(method, nonlinear(n), y0, 0.0, 0.5, 0.25))
    iterative, default, dense = solutions
    torch.testing.assert_close(iterative.y1, dense.y1, rtol=0, atol=1e-10)
    assert torch.equal(default.y1, (dense if n <= 128 else iterative).y1)
    assert default.stats == (dense if n <= 128 else iterative).stats
    assert iterative.stats.evaluations < dense.stats.evaluations / 3


@METHODS
def test_products_with_the_jacobian_are_counted_as_evaluations(method):
    field = Counted(nonlinear(5))
    stats = run(method, field, torch.zeros(5, dtype=torch.float64), 0.0, 0.3, 0.1).stats
    # Dense: one call on all 5 directions at once per linear solve, after the calls for slopes and residuals.
    if method is ROSENBROCK:
        assert (stats.evaluations, len(field.times)) == (3 * (1 + 5), 3 * 2)
    else:
        newton_steps = (len(field.times) - 3 * 2) // 2
        assert newton_steps >= 3
        assert stats.evaluations == 3 * 2 + newton_steps * (1 + 5)


@METHODS
def test_gmres_counts_each_product(method, always_iterative):
    field = Counted(nonlinear(5))
    stats = run(method, field, torch.zeros(5, dtype=torch.float64), 0.0, 0.3, 0.1).stats
    assert stats.evaluations == len(field.times)


# States


@METHODS
def test_a_nested_state_is_solved_as_its_flat_tensor(method):
    def nested(t, y):
        v = limit_cycle(t, torch.cat((y["a"]["b"], y["c"])))
        return {"c": v[2:], "a": {"b": v[:2]}}

    y1 = run(method, nested, {"a": {"b": start()[:2]}, "c": start()[2:]}, 0.0, 0.6, 0.2).y1
    flat = run(method, limit_cycle, start(), 0.0, 0.6, 0.2).y1
    assert torch.equal(torch.cat((y1["a"]["b"], y1["c"])), flat)


@pytest.mark.parametrize("iterative", [False, True], ids=["LU", "GMRES"])
@pytest.mark.parametrize("method", [ImplicitMidpoint(1e-6, 10), RosenbrockEuler(1e-6)], ids=["midpoint", "Rosenbrock"])
def test_float32_states_stay_float32_and_reach_its_accuracy(method, iterative, monkeypatch):
    monkeypatch.setattr(linear, "DENSE_UP_TO", 0 if iterative else 128)
    single = run(method, limit_cycle, start().float(), 0.0, 0.6, 0.2).y1
    double = run(method, limit_cycle, start(), 0.0, 0.6, 0.2).y1
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


@METHODS
def test_no_graph_is_kept_although_the_field_is_differentiated(method):
    module = torch.nn.Linear(2, 2, dtype=torch.float64)
    y0 = start().requires_grad_()
    solution = run(method, lambda t, y: module(y), y0, 0.0, 0.4, 0.2, dense=True)
    assert not solution.ys.requires_grad
    assert not solution.interpolate(0.3).requires_grad


# Failures


def hard_after_half(t, y):
    return -1e6 * y**3 if t > 0.5 else -y


def test_newton_that_does_not_converge_is_a_verdict_with_the_partial_trajectory():
    y0 = torch.tensor([1.0, 2.0], dtype=torch.float64)
    impatient = ImplicitMidpoint(tolerance=1e-12, max_iterations=1)
    solution = run(impatient, hard_after_half, y0, 0.0, 1.0, 0.125, save_every=1, throw=False)
    assert solution.result is Result.UNSOLVED
    assert solution.ts == (0.0, 0.125, 0.25, 0.375, 0.5)
    assert "at t = 0.5: the implicit equation has residual" in solution.detail
    assert "after 1 Newton steps" in solution.detail
    exact = y0 * ((1 - 0.0625) / (1 + 0.0625)) ** 4
    torch.testing.assert_close(solution.y1, exact, rtol=1e-12, atol=0)
    with pytest.raises(SolveError, match="give the method more iterations") as caught:
        run(impatient, hard_after_half, y0, 0.0, 1.0, 0.125)
    assert caught.value.solution.ts == (0.0, 0.5)
    # More of them are the remedy that the message names.
    assert run(ImplicitMidpoint(1e-12, 60), hard_after_half, y0, 0.0, 1.0, 0.125).ts[-1] == 1.0


def test_a_tolerance_below_round_off_is_said_and_not_passed_over():
    y0 = torch.tensor([1.0, 2.0], dtype=torch.float32)
    solution = run(ImplicitMidpoint(1e-12, 8), lambda t, y: -torch.exp(y), y0, 0.0, 1.0, 0.5, throw=False)
    assert solution.result is Result.UNSOLVED
    assert "after 8 Newton steps" in solution.detail


@pytest.mark.parametrize("iterative", [False, True], ids=["LU", "GMRES"])
@pytest.mark.parametrize(("method", "rate"), [(MIDPOINT, 2.0), (ROSENBROCK, 1.0)], ids=["midpoint", "Rosenbrock"])
def test_a_singular_matrix_is_unsolved_and_not_a_field_that_is_not_finite(method, rate, iterative, monkeypatch):
    monkeypatch.setattr(linear, "DENSE_UP_TO", 0 if iterative else 128)
    y0 = torch.ones(2, dtype=torch.float64)
    solution = run(method, lambda t, y: rate * y, y0, 0.0, 1.0, 1.0, throw=False)
    assert solution.result is Result.UNSOLVED
    assert ("GMRES did not reach" if iterative else "Dv is singular") in solution.detail
    assert torch.equal(solution.y1, y0)


def test_gmres_that_stagnates_is_unsolved():
    """I - h Dv is a cyclic shift of 300, on which restarted GMRES makes no progress at all."""
    y0 = torch.zeros(300, dtype=torch.float64)
    y0[0] = 1.0
    solution = run(ROSENBROCK, lambda t, y: y - y.roll(1), y0, 0.0, 1.0, 1.0, throw=False)
    assert solution.result is Result.UNSOLVED
    assert "GMRES did not reach the residual 1e-12 in" in solution.detail
    assert solution.stats.evaluations < 300


@pytest.mark.parametrize("iterative", [False, True], ids=["LU", "GMRES"])
@METHODS
def test_a_field_that_turns_nan_is_named_with_its_rows(method, iterative, monkeypatch):
    monkeypatch.setattr(linear, "DENSE_UP_TO", 0 if iterative else 128)
    bad = torch.tensor([[False], [False], [True]])

    def v(t, y):
        return torch.where(bad & torch.tensor(t > 0.5), math.nan, limit_cycle(t, y))

    field = Counted(v)
    solution = run(method, field, start(), 0.0, 1.0, 0.1, throw=False)
    where = "a stage between t = 0.5 and t = 0.6" if method is MIDPOINT else "the field at t = 0.6"
    assert solution.result is Result.NON_FINITE
    assert f"{where}: state: 1 of 3 rows, first row 2" in solution.detail
    assert sum(t > 0.5 for t in field.times) <= (1 if method is MIDPOINT else 3)
    assert bool(torch.isfinite(solution.y1).all())


def test_newton_that_leaves_the_domain_of_the_field_is_not_accepted():
    """log y is NaN for y < 0, where the explicit prediction lands."""
    y0 = torch.full((2,), 0.5, dtype=torch.float64)
    solution = run(MIDPOINT, lambda t, y: 1e3 * torch.log(y), y0, 0.0, 1.0, 0.1, throw=False)
    assert solution.result is Result.NON_FINITE
    assert torch.equal(solution.y1, y0)


def test_a_start_at_rest_is_solved_without_a_newton_step():
    zero = torch.zeros(3, dtype=torch.float64)
    solution = run(MIDPOINT, lambda t, y: torch.sin(y), zero, 0.0, 1.0, 0.5)
    assert torch.equal(solution.y1, zero)
    assert solution.stats.evaluations == 4


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -1e-3, math.nan])
def test_bad_tolerances_are_refused(tolerance):
    with pytest.raises(ValueError, match=r"ImplicitMidpoint: tolerance must lie in \(0, 1\)"):
        ImplicitMidpoint(tolerance=tolerance, max_iterations=3)
    with pytest.raises(ValueError, match=r"RosenbrockEuler: tolerance must lie in \(0, 1\)"):
        RosenbrockEuler(tolerance=tolerance)


def test_no_iterations_are_refused():
    with pytest.raises(ValueError, match="max_iterations must be at least 1, got 0"):
        ImplicitMidpoint(tolerance=1e-6, max_iterations=0)
