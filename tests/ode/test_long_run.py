"""Many steps: the end time is exact, and memory does not grow; and what a method keeps between steps does no harm."""

import math
import tracemalloc

import pytest
import torch

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    MIDPOINT,
    RK4,
    Carry,
    ConstantStep,
    ExplicitRK,
    FlatField,
    PIController,
    Result,
    solve_ivp,
)
from gflow.state import Layout
from tests.ode.problems import limit_cycle, start


def rotate(t, y):
    return torch.stack((-y[1], y[0]))


def walk(steps):
    """Euler steps of size 1e-3 on a 2-vector."""
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return solve_ivp(rotate, y0, 0.0, steps * 1e-3, method=ExplicitRK(EULER), controller=ConstantStep(1e-3))


def peak(steps):
    """Most bytes of Python objects, tensors among them, that a walk holds at once."""
    tracemalloc.start()
    walk(steps)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_many_euler_steps_end_at_t1_to_the_last_bit_and_are_what_the_map_gives():
    steps = 20_000
    solution = walk(steps)
    assert solution.ts == (0.0, steps * 1e-3)
    assert solution.stats.accepted == steps
    assert solution.stats.smallest_step == 1e-3
    # The Euler map multiplies the complex number y by 1 + i h.
    exact = (1 + 1e-3j) ** steps
    wanted = torch.tensor([exact.real, exact.imag], dtype=torch.float64)
    torch.testing.assert_close(solution.y1, wanted, rtol=1e-11, atol=0)


def test_the_memory_of_a_solve_does_not_grow_with_its_steps():
    walk(100)
    short, long = peak(500), peak(2000)
    # 1500 more states would take a hundred bytes each at the least.
    assert long < short + 15_000


@pytest.mark.parametrize("tableau", [EULER, MIDPOINT, RK4, BOSH3, DOPRI5], ids=lambda tableau: tableau.name)
def test_a_step_outside_no_grad_is_differentiable_in_its_start(tableau):
    field = FlatField(Layout.of(start()), limit_cycle)

    def step(y):
        first = ExplicitRK(tableau).step(field, 0.0, 0.1, y, Carry())
        return ExplicitRK(tableau).step(field, 0.1, 0.1, first.y, first.carry).y

    assert torch.autograd.gradcheck(step, (start().reshape(-1).requires_grad_(),))


@pytest.mark.parametrize("tableau", [RK4, BOSH3, DOPRI5], ids=lambda tableau: tableau.name)
def test_a_field_that_writes_every_value_to_the_same_memory_is_integrated_as_any_other(tableau):
    out = torch.empty_like(start())

    def reuses(t, y):
        return out.copy_(limit_cycle(t, y))

    options = {"method": ExplicitRK(tableau), "controller": ConstantStep(0.1), "dense": True}
    one, two = (solve_ivp(v, start(), 0.0, 1.0, **options) for v in (reuses, limit_cycle))
    assert torch.equal(one.y1, two.y1)
    assert torch.equal(one.interpolate(0.55), two.interpolate(0.55))


def test_solves_within_solves_do_not_share_the_room_of_their_stages():
    method, controller = ExplicitRK(DOPRI5), PIController(rtol=1e-6, atol=1e-6)

    def inner(t, y):
        # Keeps y, and moves something by the same method meanwhile.
        solve_ivp(limit_cycle, start(), 0.0, 0.1, method=method, controller=controller)
        return limit_cycle(t, y)

    one, two = (solve_ivp(v, start(), 0.0, 1.0, method=method, controller=controller).y1 for v in (inner, limit_cycle))
    assert torch.equal(one, two)


def test_a_state_whose_sum_overflows_is_still_finite():
    y0 = torch.full((4,), 1e308, dtype=torch.float64)
    solution = solve_ivp(
        lambda t, y: 0 * y,
        y0,
        0.0,
        1.0,
        method=ExplicitRK(DOPRI5),
        controller=PIController(rtol=1e-6, atol=math.ulp(0)),
    )
    assert torch.equal(solution.y1, y0)


def test_a_field_that_is_not_finite_where_an_fsal_step_ends_is_reported_by_the_step_that_starts_there():
    def v(t, y):
        return y * (math.nan if t >= 0.5 else -1.0)

    options = {"method": ExplicitRK(BOSH3), "controller": ConstantStep(0.25), "throw": False}
    solution = solve_ivp(v, start(), 0.0, 1.0, **options)
    assert solution.result is Result.NON_FINITE
    assert "the field at t = 0.5" in solution.detail
    assert solution.ts[-1] == 0.5
    assert torch.isfinite(solution.y1).all()
