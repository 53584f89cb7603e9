"""Observed orders, exact times, and the identities of one-step methods."""

import cmath
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    EXTRAGRADIENT,
    HEUN,
    HEUN_EULER,
    MIDPOINT,
    RK4,
    RK4_38,
    TSIT5,
    Carry,
    ConstantStep,
    ExplicitRK,
    FlatField,
    PIController,
    solve_ivp,
)
from gflow.state import Layout
from tests.ode.problems import EMBEDDED, TABLEAUX, Counted, flat_bilinear, limit_cycle, limit_cycle_exact, named, start
from tests.ode.trees import weight


def end(v, y0, t0, t1, tableau, h):
    return solve_ivp(v, y0, t0, t1, method=ExplicitRK(tableau), controller=ConstantStep(h)).y1


def end_error(tableau, t0, t1, h):
    return end(limit_cycle, start(), t0, t1, tableau, h) - limit_cycle_exact(start(), t0, t1)


@pytest.mark.parametrize(("t0", "t1"), [(0.3, 1.5), (1.5, 0.3)], ids=["forward", "backward"])
@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_observed_order_is_nominal_and_no_more_in_both_directions(tableau, t0, t1):
    """With e(h) = c h^p + d h^(p+1) + ..., the slope of e(2h) / 2^(p+1) - e(h), in which d is gone."""
    p = tableau.order
    errors = [end_error(tableau, t0, t1, abs(t1 - t0) / n) for n in ((10, 20, 40) if p < 5 else (20, 40, 80))]
    coarse, fine = ((e0 / 2 ** (p + 1) - e1).norm().item() for e0, e1 in zip(errors, errors[1:], strict=False))
    assert fine > 1e-13  # above round-off, or a slope means nothing
    # Tsitouras made the leading term of TSIT5 so small that the third one is still seen.
    assert abs(math.log2(coarse / fine) - p) < (0.15 if tableau is TSIT5 else 0.05)


@pytest.mark.parametrize("tableau", **named([EULER, HEUN, BOSH3, RK4]))
def test_observed_order_survives_a_last_step_that_does_not_divide(tableau):
    sizes = [1.2 / 20.37, 1.2 / 40.37]
    coarse, fine = (end_error(tableau, 0.3, 1.5, h).abs().max().item() for h in sizes)
    assert abs(math.log(coarse / fine) / math.log(sizes[0] / sizes[1]) - tableau.order) < 0.1


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
@settings(max_examples=5)
@given(part=st.floats(0.05, 0.95), backward=st.booleans())
def test_a_last_step_that_does_not_divide_is_the_same_step_made_shorter(tableau, part, backward):
    h, sign = 0.25, -1.0 if backward else 1.0
    middle = end(limit_cycle, start(), 0.5, 0.5 + sign * 2 * h, tableau, h)
    t1 = 0.5 + sign * (2 + part) * h
    last = end(limit_cycle, middle, 0.5 + sign * 2 * h, t1, tableau, 1.0)
    # A slope that FSAL carried over was evaluated at the node up to round-off.
    torch.testing.assert_close(end(limit_cycle, start(), 0.5, t1, tableau, h), last, rtol=0, atol=1e-14)


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_error_estimate_falls_with_one_order_above_the_embedded_one(tableau):
    errors = [one_step(tableau, h).error.norm().item() for h in (0.04, 0.02)]
    assert abs(math.log2(errors[0] / errors[1]) - tableau.embedded_order - 1) < 0.15


def one_step(tableau, h, t=0.3):
    field = FlatField(Layout.of(start()), limit_cycle)
    return ExplicitRK(tableau).step(field, t, h, start().reshape(-1), Carry())


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_int_5_error_estimate_is_the_local_error_of_the_embedded_method_up_to_a_factor_1_plus_o_of_h(tableau):
    gaps = []
    for h in (0.1, 0.05, 0.025):
        step = one_step(tableau, h)
        embedded = step.y - step.error
        local = limit_cycle_exact(start(), 0.3, 0.3 + h).reshape(-1) - embedded
        gaps.append(((step.error - local).norm() / local.norm()).item())
    assert gaps[0] < 0.4
    # What remains is the local error of the method that is advanced, one order higher or more.
    assert math.log2(gaps[1] / gaps[2]) > 0.9


def test_int_5_a_tenth_of_the_tolerance_divides_the_error_of_heun_by_5_and_costs_root_10_in_steps():
    errors, steps = [], []
    for tol in (3e-3, 3e-4, 3e-5):
        controller = PIController(rtol=0.0, atol=tol)
        solution = solve_ivp(limit_cycle, start(), 0.0, 1.0, method=ExplicitRK(HEUN_EULER), controller=controller)
        errors.append((solution.y1 - limit_cycle_exact(start(), 0.0, 1.0)).abs().max().item())
        steps.append(solution.stats.accepted)
    assert all(e0 > 5 * e1 for e0, e1 in zip(errors, errors[1:], strict=False))
    # The first few steps grow from a cautious guess, whatever the tolerance.
    assert all(2.7 < n1 / n0 < 3.4 for n0, n1 in zip(steps, steps[1:], strict=False))


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


def growth(tableau, h, steps=3, rate=1j):
    """(R(rate h))^steps by simulation of y' = rate y."""
    rotation = torch.tensor([[rate.real, -rate.imag], [rate.imag, rate.real]], dtype=torch.float64)
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    y = end(lambda t, y: rotation @ y, y0, 0.0, steps * h, tableau, h)
    return complex(y[0], y[1])


def stability_polynomial(tableau):
    """Coefficients of R(z), which are the weights of the tall trees: 1, b^T 1, b^T A 1, ..."""
    tree, coefficients = (), [Fraction(1)]
    for _ in range(tableau.stages):
        coefficients.append(weight(tree, tableau.a, tableau.b))
        tree = (tree,)
    while not coefficients[-1]:
        coefficients.pop()
    return coefficients


INVERSE_FACTORIALS = [Fraction(1, math.factorial(k)) for k in range(7)]
POLYNOMIALS = {
    EULER: INVERSE_FACTORIALS[:2],
    MIDPOINT: INVERSE_FACTORIALS[:3],
    HEUN: INVERSE_FACTORIALS[:3],
    EXTRAGRADIENT: [1, 1, 1],
    BOSH3: INVERSE_FACTORIALS[:4],
    RK4: INVERSE_FACTORIALS[:5],
    RK4_38: INVERSE_FACTORIALS[:5],
    # Dormand and Prince's six effective stages add z^6/600.
    DOPRI5: [*INVERSE_FACTORIALS[:6], Fraction(1, 600)],
}


@pytest.mark.parametrize("tableau", **named(list(POLYNOMIALS)))
def test_int_7_stability_polynomials_are_the_published_ones(tableau):
    assert stability_polynomial(tableau) == POLYNOMIALS[tableau]


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
@settings(max_examples=10)
@given(x=st.floats(-3.0, 1.0), y=st.floats(-3.0, 3.0))
def test_int_7_simulated_growth_is_the_stability_polynomial(tableau, x, y):
    z = complex(x, y)
    wanted = sum(float(c) * z**k for k, c in enumerate(stability_polynomial(tableau)))
    assert cmath.isclose(growth(tableau, 1.0, steps=1, rate=z), wanted, rel_tol=1e-12, abs_tol=1e-12)


MODULUS_SQUARED = {
    EULER: lambda y: 1 + y**2,
    MIDPOINT: lambda y: 1 + y**4 / 4,
    HEUN: lambda y: 1 + y**4 / 4,
    EXTRAGRADIENT: lambda y: 1 - y**2 + y**4,
    BOSH3: lambda y: 1 - y**4 / 12 + y**6 / 36,
    RK4: lambda y: 1 - y**6 / 72 + y**8 / 576,
}


@pytest.mark.parametrize("tableau", **named(list(MODULUS_SQUARED)))
@settings(max_examples=10)
@given(y=st.floats(0.05, 3.0))
def test_int_7_growth_on_the_imaginary_axis_is_the_stability_polynomial(tableau, y):
    squared = abs(growth(tableau, y, steps=1)) ** 2
    assert squared == pytest.approx(MODULUS_SQUARED[tableau](y), rel=1e-12, abs=1e-12)


def test_int_7_stability_limits_on_the_imaginary_axis():
    for tableau, limit in ((EXTRAGRADIENT, 1.0), (BOSH3, math.sqrt(3)), (RK4, 2 * math.sqrt(2))):
        assert abs(growth(tableau, 0.999 * limit)) < 1 < abs(growth(tableau, 1.001 * limit))


def test_int_7_stability_limits_on_the_real_axis():
    for tableau, limit in ((EULER, 2.0), (HEUN, 2.0), (MIDPOINT, 2.0), (EXTRAGRADIENT, 1.0), (RK4, 2.785294)):
        inside, outside = (abs(growth(tableau, factor * limit, rate=-1 + 0j)) for factor in (0.999, 1.001))
        assert inside < 1 < outside


@settings(max_examples=10)
@given(h=st.floats(0.05, 0.95))
def test_stab_2_extragradient_is_an_euler_prediction_whose_slope_is_used_at_the_start(h):
    y0 = torch.tensor([1.0, -0.5], dtype=torch.float64)
    predicted = y0 + h * flat_bilinear(0.0, y0)
    y1 = end(flat_bilinear, y0, 0.0, h, EXTRAGRADIENT, h)
    torch.testing.assert_close(y1, y0 + h * flat_bilinear(0.0, predicted), rtol=0, atol=1e-15)
    assert y1.norm() < y0.norm() < end(flat_bilinear, y0, 0.0, h, EULER, h).norm()


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
@settings(max_examples=4)
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
