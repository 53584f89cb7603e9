"""Adaptive steps: against references, through failures, and what they cost."""

import math
import pickle

import pytest
import torch
import torchdiffeq
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp as scipy_solve_ivp

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    HEUN_EULER,
    RK4,
    TSIT5,
    ConstantStep,
    ExplicitRK,
    PIController,
    Result,
    SolveError,
    StepResult,
    solve_ivp,
)
from gflow.ode.controller import Decision
from tests.ode.problems import EMBEDDED, Counted, limit_cycle, limit_cycle_exact, named, start


def adaptive(v, y0, t0, t1, tableau=DOPRI5, *, tol=1e-8, **options):
    controller = PIController(rtol=tol, atol=tol)
    return solve_ivp(v, y0, t0, t1, method=ExplicitRK(tableau), controller=controller, **options)


def pendulums(t, y):
    """Driven pendulums (n, 2), without a closed form."""
    return torch.stack((y[..., 1], -torch.sin(y[..., 0]) - 0.1 * y[..., 1] + 0.5 * math.cos(2 * t)), -1)


def test_dopri5_agrees_with_torchdiffeq_and_scipy():
    y0 = start()
    ours = adaptive(pendulums, y0, 0.0, 3.0, tol=1e-10).y1
    theirs = torchdiffeq.odeint(
        lambda t, y: pendulums(float(t), y), y0, torch.tensor([0.0, 3.0]), method="dopri5", rtol=1e-10, atol=1e-10
    )[-1]
    scipys = scipy_solve_ivp(
        lambda t, y: pendulums(t, torch.from_numpy(y).reshape(-1, 2)).reshape(-1).numpy(),
        (0.0, 3.0),
        y0.reshape(-1).numpy(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-12,
    ).y[:, -1]
    reference = torch.from_numpy(scipys).reshape(-1, 2)
    torch.testing.assert_close(ours, reference, rtol=0, atol=1e-8)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


# Where the tolerance rules the steps, and a test stays cheap: tol^(1/(q+1)) is the step.
COARSE = {HEUN_EULER: 1e-2, BOSH3: 1e-3, DOPRI5: 1e-6, TSIT5: 1e-6}


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
@settings(max_examples=4)
@given(t0=st.floats(-3.0, 3.0), span=st.floats(1.0, 2.0), scale=st.floats(0.3, 1.5))
def test_error_falls_with_the_tolerance(tableau, t0, span, scale):
    exact = limit_cycle_exact(scale * start(), t0, t0 + span)
    coarse, fine = (
        (adaptive(limit_cycle, scale * start(), t0, t0 + span, tableau, tol=tol).y1 - exact).abs().max().item()
        for tol in (COARSE[tableau], COARSE[tableau] / 100)
    )
    # A step's error is held at tol and a step is tol^(1/p), so the error goes with tol^((p-1)/p) at worst:
    # 100^(1/2) for Heun-Euler, 100^(4/5) for Dormand-Prince; half of that is luck.
    assert fine < 2 * 100 ** (1 / tableau.order - 1) * coarse
    assert coarse < 20 * COARSE[tableau]


@settings(max_examples=5)
@given(t0=st.floats(-2.0, 2.0), span=st.floats(0.1, 1.0))
def test_there_and_back_again(t0, span):
    there = adaptive(limit_cycle, start(), t0, t0 + span, tol=1e-10)
    back = adaptive(limit_cycle, there.y1, t0 + span, t0, tol=1e-10)
    assert (there.ts[-1], back.ts[-1]) == (t0 + span, t0)
    torch.testing.assert_close(back.y1, start(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
@settings(max_examples=3)
@given(t0=st.floats(-2.0, 2.0), span=st.floats(0.3, 1.0), backward=st.booleans())
def test_an_adaptive_grid_replayed_as_fixed_steps_gives_the_same_states(tableau, t0, span, backward):
    t1 = t0 - span if backward else t0 + span
    solution = adaptive(limit_cycle, start(), t0, t1, tableau, tol=COARSE[tableau], save_every=1)
    y, method = start(), ExplicitRK(tableau)
    for k, (now, then) in enumerate(zip(solution.ts, solution.ts[1:], strict=False)):
        y = solve_ivp(limit_cycle, y, now, then, method=method, controller=ConstantStep(abs(then - now))).y1
        if tableau.fsal:
            # The slope that FSAL carried was evaluated at the node up to round-off.
            torch.testing.assert_close(y, solution.ys[k + 1], rtol=0, atol=1e-13)
        else:
            assert torch.equal(y, solution.ys[k + 1])


# One step for a batch


def rotations(rates):
    def v(t, y):
        return rates[:, None] * torch.stack((-y[:, 1], y[:, 0]), -1)

    return v


def batch(v, y0, t1=2.0, tol=1e-6, particles=None, **options):
    controller = PIController(rtol=0.0, atol=tol, particles=particles)
    return solve_ivp(v, y0, 0.0, t1, method=ExplicitRK(DOPRI5), controller=controller, save_every=1, **options)


@settings(max_examples=3)
@given(n=st.integers(2, 60), rate=st.floats(3.0, 8.0))
def test_with_particles_one_among_others_at_rest_gets_the_steps_it_gets_alone(n, rate):
    y0 = torch.zeros(n, 2, dtype=torch.float64)
    y0[n // 2, 0] = 1.0
    rates = torch.full((n,), rate, dtype=torch.float64)
    alone = batch(rotations(rates[:1]), y0[n // 2, None], particles=1)
    among = batch(rotations(rates), y0, particles=n)
    assert among.ts == pytest.approx(alone.ts, rel=1e-9)
    assert alone.stats.coupling == pytest.approx(1.0)
    # All of the error is one particle's, so the batch's root mean square hides a factor root n.
    assert among.stats.coupling == pytest.approx(math.sqrt(n))


@settings(max_examples=3)
@given(n=st.integers(1, 60))
def test_identical_particles_are_not_coupled_and_step_as_the_batch_does(n):
    y0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(n, 1)
    rates = torch.full((n,), 3.0, dtype=torch.float64)
    each, all_of_them = (batch(rotations(rates), y0, particles=particles) for particles in (n, None))
    assert each.stats.coupling == pytest.approx(1.0)
    assert all_of_them.stats.coupling is None
    assert each.ts == pytest.approx(all_of_them.ts, rel=1e-9)


@settings(max_examples=4)
@given(slow=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5), fast=st.floats(4.0, 8.0), copies=st.integers(1, 80))
def test_with_particles_each_ones_error_is_held_at_the_tolerance_whoever_shares_the_batch(slow, fast, copies):
    rates = torch.tensor([fast, *(slow * copies)], dtype=torch.float64)
    y0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(len(rates), 1)
    solution = batch(rotations(rates), y0, particles=len(rates))
    exact = torch.stack((torch.cos(2 * rates), torch.sin(2 * rates)), -1)
    # 15 to 60 steps of an error below 1e-6 each, which the estimate overstates; a rotation does not amplify them.
    assert (solution.y1 - exact).norm(dim=1).max() < 2e-5
    assert solution.stats.coupling > 1.2


def test_without_particles_the_error_of_a_fast_one_grows_with_the_batch_that_hides_it():
    errors = []
    for n in (1, 1000):
        rates = torch.tensor([8.0, *[0.0] * (n - 1)], dtype=torch.float64)
        y0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(n, 1)
        y1 = batch(rotations(rates), y0).y1
        errors.append(math.hypot(y1[0, 0].item() - math.cos(16.0), y1[0, 1].item() - math.sin(16.0)))
    assert errors[1] > 10 * errors[0]


def test_particles_that_are_not_the_rows_of_the_state_are_refused():
    for y0 in (torch.ones(2, 3), {"x": torch.ones(6, 1), "log": torch.ones(6)}):
        controller = PIController(rtol=1e-3, atol=1e-3, particles=6)
        with pytest.raises(ValueError, match=r"particles = 6 needs a state that is one tensor \(6, ...\), got"):
            solve_ivp(lambda t, y: y, y0, 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller)


@pytest.mark.parametrize("span", [1e-9, 1e9])
@pytest.mark.parametrize("t0", [0.0, 1e3], ids=["at 0", "at 1000"])
def test_tiny_and_huge_spans_of_time(span, t0):
    def decay(t, y):
        return -y / span

    y0 = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for solution in (
        adaptive(decay, y0, t0, t0 + span, tol=1e-9),
        solve_ivp(decay, y0, t0, t0 + span, method=ExplicitRK(RK4), controller=ConstantStep(span / 100)),
    ):
        assert solution.stats.accepted < 200
        # At t0 = 1000 the span of 1e-9 itself is only known to half an ulp of 1000.
        torch.testing.assert_close(solution.y1, y0 * math.exp(-1), rtol=1e-4 if t0 and span < 1 else 1e-7, atol=0)


def test_a_component_that_stays_zero_needs_no_absolute_tolerance():
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    controller = PIController(rtol=1e-8, atol=0.0)
    y1 = solve_ivp(lambda t, y: -y, y0, 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller).y1
    torch.testing.assert_close(y1, y0 * math.exp(-1), rtol=1e-7, atol=0)


def test_a_start_at_zero_and_a_field_that_is_zero_are_no_trouble():
    zero = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(adaptive(lambda t, y: 0 * y, zero, 0.0, 1.0).y1, zero)
    torch.testing.assert_close(adaptive(lambda t, y: y + t, zero, 0.0, 1.0).y1, zero + math.e - 2, rtol=0, atol=1e-7)


# Failures


def test_the_step_cap_is_a_verdict_with_the_partial_solution():
    solution = adaptive(limit_cycle, start(), 0.0, 50.0, max_steps=7, throw=False)
    assert solution.result is Result.MAX_STEPS
    assert solution.stats.accepted + solution.stats.rejected == 7
    assert 0 < solution.ts[-1] < 50
    exact = limit_cycle_exact(start(), 0.0, solution.ts[-1])
    torch.testing.assert_close(solution.y1, exact, rtol=0, atol=1e-6)
    assert "of 50 after 7 steps" in solution.detail


@pytest.mark.parametrize("n", [9, 10])
def test_the_step_cap_counts_exactly(n):
    result = solve_ivp(
        limit_cycle, start(), 0.0, 1.0, method=ExplicitRK(EULER), controller=ConstantStep(0.1), max_steps=n, throw=False
    ).result
    assert result is (Result.SUCCESS if n == 10 else Result.MAX_STEPS)


def test_blow_up_in_finite_time_ends_with_step_underflow_near_it():
    y0 = {"a": torch.tensor([0.1], dtype=torch.float64), "b": torch.tensor([[0.1], [1.0]], dtype=torch.float64)}
    solution = adaptive(lambda t, y: {k: x**2 for k, x in y.items()}, y0, 0.0, 2.0, tol=1e-4, throw=False)
    assert solution.result is Result.STEP_UNDERFLOW
    assert solution.ts[-1] == pytest.approx(1.0, abs=1e-3)
    assert "at t = 1" in solution.detail
    assert "largest error in b: row 1" in solution.detail
    assert all(bool(torch.isfinite(y).all()) for y in solution.y1.values())


class Stubborn:
    """Stays where it is, with an error estimate that no shorter step makes smaller."""

    order, error_order = 5, 4

    def __init__(self, error):
        self.error = error

    def step(self, v, t, h, y, carry, /):
        return StepResult(y, self.error, v(t, y), carry, 1)


@settings(max_examples=12)
@given(error=st.floats(1.001, 1e9), t0=st.sampled_from([0.0, 1.0, -1e6]), backward=st.booleans())
def test_an_estimate_that_does_not_fall_is_given_up_and_its_worst_component_named(error, t0, backward):
    errors = torch.tensor([0.0, 0.0, 0.1, error * math.sqrt(4.1), 0.0, 0.0], dtype=torch.float64)[:4]
    controller = PIController(rtol=0.0, atol=1.0)
    y0 = torch.ones(4, 1, dtype=torch.float64)
    t1 = t0 - 1 if backward else t0 + 1
    solution = solve_ivp(limit_cycle_1d, y0, t0, t1, method=Stubborn(errors), controller=controller, throw=False)
    # At 0 there is no spacing of times to fall below.
    assert solution.result is Result.STALLED or (solution.result is Result.STEP_UNDERFLOW and t0 != 0)
    assert f"at t = {t0:.6g}, largest error in state: row 3" in solution.detail
    assert (solution.ts, solution.stats.accepted) == ((t0,), 0)
    assert solution.stats.rejected <= 51
    if error < 1.5:
        assert solution.result is Result.STALLED
        assert "51 times" in solution.detail


def limit_cycle_1d(t, y):
    return 0 * y


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_noise_as_fine_as_the_step_stalls(tableau):
    generator = torch.Generator().manual_seed(0)

    def v(t, y):
        noise = torch.zeros_like(y)
        if t > 0:
            noise[1] = torch.randn(2, generator=generator, dtype=torch.float64) / t
        return limit_cycle(t, y) + noise

    field = Counted(v)
    solution = adaptive(field, start(), 0.0, 1.0, tableau, tol=1e-9, throw=False)
    assert solution.result is Result.STALLED
    assert "51 times at t = 0, largest error in state: row 1" in solution.detail
    assert len(field.times) == solution.stats.evaluations < 400
    with pytest.raises(SolveError, match="error estimate does not fall with the step.*ConstantStep"):
        adaptive(v, start(), 0.0, 1.0, tableau, tol=1e-9)


def test_bounded_noise_is_resolved_by_small_steps_until_the_cap_and_is_no_success():
    generator = torch.Generator().manual_seed(0)

    def v(t, y):
        return torch.randn(3, 2, generator=generator, dtype=torch.float64)

    solution = adaptive(v, start(), 0.0, 1.0, tol=1e-8, max_steps=200, throw=False)
    assert solution.result is Result.MAX_STEPS
    assert 0 < solution.ts[-1] < 1e-4


@settings(max_examples=5)
@given(where=st.floats(0.1, 0.9), jump=st.sampled_from([1.0, -1e3, 1e6]), tableau=st.sampled_from([DOPRI5, TSIT5]))
def test_a_jump_of_the_field_is_passed_with_the_accuracy_of_the_tolerance(where, jump, tableau):
    controller, y0 = PIController(rtol=0.0, atol=1e-6), torch.ones(2, dtype=torch.float64)
    solution = solve_ivp(
        lambda t, y: -y + jump * (t > where), y0, 0.0, 1.0, method=ExplicitRK(tableau), controller=controller
    )
    assert solution.ts[-1] == 1.0
    exact = y0 * math.exp(-1) + jump * -math.expm1(where - 1)
    # The last steps before the jump and the first ones after it err by up to the tolerance each.
    torch.testing.assert_close(solution.y1, exact, rtol=0, atol=2e-4)


def nan_after_half(t, y):
    v = limit_cycle(t, y).clone()
    if t > 0.5:
        v[2] = math.nan
    return v


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_a_field_that_turns_nan_is_named_with_time_and_rows_adaptive(tableau):
    solution = adaptive(nan_after_half, start(), 0.0, 1.0, tableau, tol=COARSE[tableau], throw=False)
    assert solution.result is Result.NON_FINITE
    assert solution.ts[-1] == pytest.approx(0.5, abs=1e-9)
    assert "t = 0.5" in solution.detail
    assert "1 of 3 rows, first row 2" in solution.detail
    assert solution.stats.rejected < 100
    assert bool(torch.isfinite(solution.y1).all())


@pytest.mark.parametrize(
    ("tableau", "where"),
    [(EULER, "the field at t = 0.6: "), (RK4, "a stage between t = 0.5 and t = 0.6: ")],
    ids=["Euler", "RK4"],
)
def test_a_field_that_turns_nan_is_named_with_time_and_rows_constant(tableau, where):
    with pytest.raises(SolveError, match="the state became NaN") as caught:
        solve_ivp(
            nan_after_half, start(), 0.0, 1.0, method=ExplicitRK(tableau), controller=ConstantStep(0.1), save_every=1
        )
    solution = caught.value.solution
    assert where + "state: 1 of 3 rows, first row 2" in str(caught.value)
    assert solution.result is Result.NON_FINITE
    assert solution.ts == pytest.approx([0.1 * k for k in range(7 if tableau is EULER else 6)])
    assert solution.ys.shape == (len(solution.ts), 3, 2)


def test_a_field_that_is_nan_at_the_start_costs_one_look():
    field = Counted(lambda t, y: y * math.nan)
    solution = adaptive(field, start(), 0.25, 1.0, throw=False)
    assert solution.result is Result.NON_FINITE
    assert "the field at t = 0.25: state: 3 of 3 rows" in solution.detail
    assert solution.ts == (0.25,)
    assert solution.stats.evaluations == len(field.times) <= 7


class Long(PIController):
    """Starts with one step over all."""

    def first_step(self, y, slope, span, /):
        return span


def test_overflow_within_a_long_first_step_is_mended_by_a_shorter_one():
    def steep(t, y):
        return torch.where(y.abs() > 1e3, math.nan, -50 * y)

    # The first guess, a hundredth of the state over the slope, is fine; a controller that starts long is not.
    solution = solve_ivp(steep, start(), 0.0, 3.0, method=ExplicitRK(DOPRI5), controller=Long(rtol=1e-6, atol=1e-9))
    assert solution.stats.rejected > 0
    assert solution.y1.abs().max().item() < 1e-7


def test_an_early_overflow_does_not_colour_a_later_underflow():
    def v(t, y):
        return torch.where(y.abs() > 1e18, math.nan, y**2)

    y0, controller = torch.ones(1, dtype=torch.float64), Long(rtol=1e-3, atol=1e-3)
    solution = solve_ivp(v, y0, 0.0, 50.0, method=ExplicitRK(DOPRI5), controller=controller, throw=False)
    assert solution.stats.rejected > 0
    assert solution.result is Result.STEP_UNDERFLOW


def test_a_solve_error_survives_the_way_back_from_a_worker():
    with pytest.raises(SolveError) as caught:
        adaptive(limit_cycle, start(), 0.0, 50.0, max_steps=3, dense=True)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.solution.ts == caught.value.solution.ts
    assert torch.equal(copy.solution.ys, caught.value.solution.ys)
    assert torch.equal(copy.solution.interpolate(0.0), start())


# Costs


@pytest.mark.parametrize("dense", [False, True], ids=["ends", "dense"])
@pytest.mark.parametrize("tableau", **named(EMBEDDED))
@settings(max_examples=4)
@given(stiffness=st.floats(1.0, 15.0), tol=st.sampled_from([1e-2, 1e-3]))
def test_evaluations_are_counted_and_a_rejected_step_keeps_its_first_slope(tableau, dense, stiffness, tol):
    field = Counted(lambda t, y: stiffness * (math.cos(stiffness * t) - y) * (1 + 10 * (t > 0.3)))
    stats = adaptive(field, start(), 0.0, 0.5, tableau, tol=tol, dense=dense).stats
    assert stats.evaluations == len(field.times)
    stages, tried = tableau.stages, stats.accepted + stats.rejected
    # One evaluation per stage; the first one only at the start, or per accepted step without FSAL.
    first = 1 if tableau.fsal else stats.accepted + dense
    assert stats.evaluations == first + (stages - 1) * tried


def test_the_cost_test_meets_rejected_steps():
    field = Counted(lambda t, y: 15 * (math.cos(15 * t) - y) * (1 + 10 * (t > 0.3)))
    for tableau in EMBEDDED:
        assert adaptive(field, start(), 0.0, 0.5, tableau, tol=1e-3).stats.rejected > 2


@pytest.mark.parametrize("tableau", **named([EULER, RK4, HEUN_EULER, BOSH3, DOPRI5]))
@pytest.mark.parametrize("dense", [False, True], ids=["ends", "dense"])
def test_evaluations_of_constant_steps_are_counted(tableau, dense):
    field = Counted(limit_cycle)
    controller = ConstantStep(0.3)
    stats = solve_ivp(field, start(), 0.0, 1.0, method=ExplicitRK(tableau), controller=controller, dense=dense).stats
    assert stats.accepted == 4
    expected = 1 + 4 * (tableau.stages - 1) if tableau.fsal else 4 * tableau.stages + dense
    assert stats.evaluations == len(field.times) == expected
    assert stats.smallest_step == pytest.approx(0.1)


def test_evaluations_are_counted_in_failures_too():
    for tableau in EMBEDDED:
        field = Counted(nan_after_half)
        solution = adaptive(field, start(), 0.3, 1.0, tableau, tol=COARSE[tableau], throw=False, dense=True)
        assert solution.result is Result.NON_FINITE
        assert solution.stats.evaluations == len(field.times)


# Fields that change from step to step


class Minibatches:
    """A field per step; notes which were asked for, and which was evaluated when."""

    def __init__(self):
        self.asked, self.seen = [], []

    def at_step(self, k):
        self.asked.append(k)
        serial = len(self.asked)

        def v(t, y):
            self.seen.append((k, serial, t))
            return -(1 + k) * y

        return v


class TwiceRejecting:
    """Adaptive by name: accepts every third attempt, from the tenth on all."""

    adaptive = True

    def __init__(self):
        self.attempts = 0

    def first_step(self, y, slope, span, /):
        return span

    def decide(self, h, y0, y1, error, error_order, memory, /):
        self.attempts += 1
        accept = self.attempts % 3 == 0 or self.attempts > 9
        return Decision(accept, 0.125 if accept else h / 2, memory)


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_a_stepwise_field_is_one_field_for_all_stages_and_retries_of_a_step(tableau):
    field = Minibatches()
    method = ExplicitRK(tableau)
    solution = solve_ivp(field, start(), 0.0, 0.125, method=method, controller=TwiceRejecting(), save_every=1)
    assert (solution.stats.accepted, solution.stats.rejected) == (4, 6)
    assert field.asked == [0, 1, 2, 3]
    assert solution.stats.evaluations == len(field.seen)
    for k, attempts in enumerate((3, 3, 3, 1)):
        stages = [(serial, t) for step, serial, t in field.seen if step == k]
        assert {serial for serial, _ in stages} == {k + 1}
        # The first slope once, then the other stages of each attempt: nothing carried from the step before.
        assert len(stages) == 1 + attempts * (tableau.stages - 1)
        assert stages[0][1] == solution.ts[k]


def test_a_stepwise_field_takes_the_steps_of_its_fields():
    solution = solve_ivp(Minibatches(), start(), 0.0, 0.3, method=ExplicitRK(DOPRI5), controller=ConstantStep(0.1))
    torch.testing.assert_close(solution.y1, start() * math.exp(-0.6), rtol=1e-6, atol=0)


# Arguments


def test_error_control_without_an_error_estimate_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="needs a method with an error estimate.*use ConstantStep"):
        adaptive(limit_cycle, start(), 0.0, 1.0, RK4)


@pytest.mark.parametrize(("rtol", "atol"), [(-1.0, 1e-3), (math.nan, 1e-3), (1e-3, math.inf), (0.0, 0.0)])
def test_bad_tolerances_are_refused(rtol, atol):
    with pytest.raises(ValueError, match="PIController: "):
        PIController(rtol=rtol, atol=atol)


@pytest.mark.parametrize("h", [0.0, -0.1, math.nan, math.inf])
def test_bad_steps_are_refused(h):
    with pytest.raises(ValueError, match="h must be positive and finite"):
        ConstantStep(h)
