"""Observed orders, exact times, and the identities of one-step methods."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.ode import BOSH3, DOPRI5, EULER, HEUN, MIDPOINT, RK4, ConstantStep, ExplicitRK, solve_ivp
from tests.ode.problems import EMBEDDED, TABLEAUX, Counted, limit_cycle, limit_cycle_exact, named, start


def end(v, y0, t0, t1, tableau, h):
    return solve_ivp(v, y0, t0, t1, method=ExplicitRK(tableau), controller=ConstantStep(h)).y1


def slopes(tableau, t0, t1, steps):
    """log-log slopes of the end error between successive step sizes |t1 - t0| / n."""
    sizes = [abs(t1 - t0) / n for n in steps]
    exact = limit_cycle_exact(start(), t0, t1)
    errors = [(end(limit_cycle, start(), t0, t1, tableau, h) - exact).abs().max().item() for h in sizes]
    assert min(errors) > 2e-14  # above round-off, or a slope means nothing
    pairs = zip(zip(sizes, errors, strict=True), zip(sizes[1:], errors[1:], strict=True), strict=False)
    return [math.log(e0 / e1) / math.log(h0 / h1) for (h0, e0), (h1, e1) in pairs]


# Steps where the leading term rules (Euler's comes late) and round-off does not yet.
STEPS = {1: (160, 320, 640), 2: (40, 80, 160), 3: (40, 80, 160), 4: (20, 40, 80), 5: (40, 80, 160)}


@pytest.mark.parametrize(("t0", "t1"), [(0.3, 1.5), (1.5, 0.3)], ids=["forward", "backward"])
@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_observed_order_is_nominal_and_no_more_in_both_directions(tableau, t0, t1):
    for slope in slopes(tableau, t0, t1, STEPS[tableau.order])[-2:]:
        assert abs(slope - tableau.order) < 0.1


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_observed_order_survives_a_last_step_that_does_not_divide(tableau):
    steps = [n + 0.37 for n in STEPS[tableau.order]]
    assert abs(slopes(tableau, 0.3, 1.5, steps)[-1] - tableau.order) < 0.1


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_error_estimate_falls_with_one_order_above_the_embedded_one(tableau):
    flat = start().reshape(-1)

    def v(t, y):
        return limit_cycle(t, y.reshape(-1, 2)).reshape(-1)

    errors = [ExplicitRK(tableau).step(v, 0.3, h, flat, None).error.norm().item() for h in (0.04, 0.02)]
    assert abs(math.log2(errors[0] / errors[1]) - tableau.embedded_order - 1) < 0.15


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_constant_steps_are_on_t0_plus_k_h_and_end_at_t1(sign):
    h, n, t0 = 1e-3, 600, 0.1
    field = Counted(lambda t, y: -y)
    solution = solve_ivp(
        field, torch.ones(1), t0, t0 + sign * n * h, method=ExplicitRK(EULER), controller=ConstantStep(h)
    )
    assert field.times == [t0 + sign * (k * h) for k in range(n)]  # a running sum would drift by the 100th step
    assert solution.ts[-1] == t0 + sign * n * h
    assert solution.stats.accepted == n


@given(
    t0=st.floats(-1e6, 1e6),
    span=st.floats(1e-3, 1e3),
    n=st.integers(1, 40),
    backward=st.booleans(),
)
def test_a_span_that_h_divides_takes_exactly_n_steps(t0, span, n, backward):
    t1 = t0 - span if backward else t0 + span
    h = abs(t1 - t0) / n
    solution = solve_ivp(
        lambda t, y: 0 * y, torch.ones(1), t0, t1, method=ExplicitRK(EULER), controller=ConstantStep(h)
    )
    assert solution.stats.accepted == n
    assert solution.ts == (t0, t1)


@given(span=st.floats(0.1, 10.0), h=st.floats(0.05, 20.0))
def test_a_step_that_does_not_divide_is_cut_at_t1(span, h):
    solution = solve_ivp(
        lambda t, y: torch.ones_like(y),
        torch.zeros(1, dtype=torch.float64),
        0.0,
        span,
        method=ExplicitRK(HEUN),
        controller=ConstantStep(h),
    )
    assert solution.ts[-1] == span
    assert solution.stats.accepted == math.ceil(span / h * (1 - 1e-6) - 1e-6)
    assert solution.y1.item() == pytest.approx(span, rel=1e-14)


def rotation(t, y):
    return torch.stack((-y[1], y[0]))


def growth(tableau, h, steps=3):
    """(R(ih))^steps by simulation of y' = i y."""
    y = end(rotation, torch.tensor([1.0, 0.0], dtype=torch.float64), 0.0, steps * h, tableau, h)
    return complex(y[0], y[1])


MODULUS_SQUARED = {
    EULER: lambda y: 1 + y**2,
    MIDPOINT: lambda y: 1 + y**4 / 4,
    HEUN: lambda y: 1 + y**4 / 4,
    BOSH3: lambda y: 1 - y**4 / 12 + y**6 / 36,
    RK4: lambda y: 1 - y**6 / 72 + y**8 / 576,
}


@pytest.mark.parametrize("tableau", **named(list(MODULUS_SQUARED)))
@given(y=st.floats(0.05, 3.0))
def test_int_7_growth_on_the_imaginary_axis_is_the_stability_polynomial(tableau, y):
    squared = abs(growth(tableau, y, steps=1)) ** 2
    assert squared == pytest.approx(MODULUS_SQUARED[tableau](y), rel=1e-12, abs=1e-12)


@given(y=st.floats(0.05, 2.0))
def test_int_7_rk4_and_dopri5_follow_the_exponential_series(y):
    series = [(1j * y) ** k / math.factorial(k) for k in range(6)]
    assert cmath.isclose(growth(RK4, y, steps=1), sum(series[:5]), rel_tol=1e-12, abs_tol=1e-12)
    # Dormand and Prince's six effective stages add z^6/600.
    assert cmath.isclose(growth(DOPRI5, y, steps=1), sum(series) + (1j * y) ** 6 / 600, rel_tol=1e-12)


def test_int_7_stability_limits_on_the_imaginary_axis():
    for tableau, limit in ((BOSH3, math.sqrt(3)), (RK4, 2 * math.sqrt(2))):
        assert abs(growth(tableau, 0.999 * limit)) < 1 < abs(growth(tableau, 1.001 * limit))


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
@settings(max_examples=6)
@given(seed=st.integers(0, 2**16))
def test_runge_kutta_commutes_with_affine_maps(tableau, seed):
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(2, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    matrix = torch.eye(2, dtype=torch.float64) * 2 + 0.3 * noise / noise.norm()

    def moved(t, z):
        return limit_cycle(t, (z - shift) @ torch.linalg.inv(matrix).T) @ matrix.T

    y1 = end(limit_cycle, start(), 0.0, 0.9, tableau, 0.15)
    z1 = end(moved, start() @ matrix.T + shift, 0.0, 0.9, tableau, 0.15)
    torch.testing.assert_close(z1, y1 @ matrix.T + shift, rtol=0, atol=1e-12)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), learning_rate=st.floats(1e-3, 0.5), size=st.integers(1, 40))
def test_int_1_gradient_descent_is_euler_bit_for_bit(seed, learning_rate, size):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    hessian = root @ root.T / size
    theta = torch.nn.Parameter(torch.randn(size, generator=generator, dtype=torch.float64))
    y0 = theta.detach().clone()
    optimizer = torch.optim.SGD([theta], lr=learning_rate)
    for _ in range(10):
        theta.grad = hessian @ theta.detach()
        optimizer.step()
    euler = end(lambda t, y: -(hessian @ y), y0, 0.0, 10 * learning_rate, EULER, learning_rate)
    assert torch.equal(euler, theta.detach())


def test_time_reversal_of_the_midpoint_rule_is_not_exact_but_of_its_order():
    # A solver that ignored the sign of h in its stages would still pass a linear autonomous check.
    gaps = []
    for h in (0.1, 0.05):
        there = end(limit_cycle, start(), 0.0, 1.0, MIDPOINT, h)
        gaps.append((end(limit_cycle, there, 1.0, 0.0, MIDPOINT, h) - start()).norm().item())
    assert gaps[1] > 0
    assert math.log2(gaps[0] / gaps[1]) > 1.9
