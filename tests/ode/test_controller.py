"""Step control on its own: what is accepted, and what the next step would have cost."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.ode import ConstantStep, PIController

UNIT = PIController(rtol=0.0, atol=1.0)


def decide(controller, error, h=0.1, order=4, memory=1.0, y=0.0):
    state = torch.full((4,), y, dtype=torch.float64)
    return controller.decide(h, state, state, torch.as_tensor(error, dtype=torch.float64).expand(4), order, memory)


@given(
    errors=st.lists(st.floats(-3, 3), min_size=4, max_size=4),
    y0=st.floats(-10, 10),
    y1=st.floats(-10, 10),
    rtol=st.floats(0, 0.5),
    atol=st.floats(0.1, 2),
)
def test_accepted_is_what_the_scaled_root_mean_square_allows(errors, y0, y1, rtol, atol):
    scaled = math.sqrt(sum((e / (atol + rtol * max(abs(y0), abs(y1)))) ** 2 for e in errors) / 4)
    if abs(scaled - 1) < 1e-9:
        return
    ends = (torch.full((4,), y, dtype=torch.float64) for y in (y0, y1))
    controller = PIController(rtol=rtol, atol=atol)
    decision = controller.decide(0.1, *ends, torch.tensor(errors, dtype=torch.float64), 4, 1.0)
    assert decision.accept == (scaled < 1)
    assert decision.memory == (pytest.approx(max(scaled, 1e-4)) if decision.accept else 1.0)


@given(order=st.integers(1, 7), error=st.floats(1.01, 3.0), h=st.floats(1e-8, 1e8))
def test_a_retry_aims_at_the_safety_factor_below_the_tolerance(order, error, h):
    """Where the error is C h^(q+1), the retry's is 0.9^(q+1) of the tolerance."""
    decision = decide(UNIT, error, h=h, order=order)
    assert not decision.accept
    assert error * (decision.h / h) ** (order + 1) == pytest.approx(0.9 ** (order + 1), rel=1e-9)


@given(order=st.integers(1, 5), constant=st.floats(1e-3, 1e3))
def test_repeated_steps_settle_where_the_tolerance_is_nearly_used(order, constant):
    h, memory = 1.0, 1.0
    for _ in range(60):
        decision = decide(UNIT, constant * h ** (order + 1), h=h, order=order, memory=memory)
        h, memory = decision.h, decision.memory
    used = constant * h ** (order + 1)
    assert decision.accept
    assert 0.9 ** (2 * order + 2) < used < 1


@pytest.mark.parametrize(("error", "factor"), [(0.0, 5.0), (1e-12, 5.0), (1e9, 0.2), (math.inf, 0.1), (math.nan, 0.1)])
def test_one_step_never_changes_by_more_than_the_limits(error, factor):
    assert decide(UNIT, error, h=0.1).h == pytest.approx(0.1 * factor)


@given(scale=st.floats(1e-6, 1e6), error=st.floats(0.01, 5.0))
def test_without_atol_the_units_of_the_state_do_not_matter(scale, error):
    relative = PIController(rtol=1e-3, atol=0.0)
    one, other = (decide(relative, 1e-3 * error * s, y=s) for s in (1.0, scale))
    assert one.h == pytest.approx(other.h, rel=1e-9)


@given(scale=st.floats(0.1, 1e3), slope=st.floats(0.1, 1e3), span=st.floats(1e-9, 1e9))
def test_the_first_step_moves_the_state_by_a_hundredth_or_spans_the_interval(scale, slope, span):
    y, f = torch.full((3,), scale, dtype=torch.float64), torch.full((3,), -slope, dtype=torch.float64)
    h = PIController(rtol=1e-3, atol=1e-3).first_step(y, f, span)
    assert h == pytest.approx(min(0.01 * scale / slope, span))
    assert PIController(rtol=1e-3, atol=1e-3).first_step(0 * y, f, span) == pytest.approx(1e-6 * span)


rows = st.lists(st.lists(st.floats(-2, 2), min_size=2, max_size=2), min_size=1, max_size=6)


@given(errors=rows, factor=st.floats(0.1, 3.0))
def test_with_particles_a_step_is_accepted_where_each_of_them_would_accept_it(errors, factor):
    error = torch.tensor(errors, dtype=torch.float64) * factor
    if any(abs(row.norm().item() / math.sqrt(2) - 1) < 1e-9 for row in error):
        return
    zero = torch.zeros(error.numel(), dtype=torch.float64)
    together = PIController(rtol=0.0, atol=1.0, particles=len(error)).decide(0.1, zero, zero, error.reshape(-1), 4, 1.0)
    apart = [UNIT.decide(0.1, zero[:2], zero[:2], row, 4, 1.0) for row in error]
    assert together.accept == all(decision.accept for decision in apart)
    # The one step serves all, so it is the one that the worst of them asks for.
    assert together.h == pytest.approx(min(decision.h for decision in apart), rel=1e-12)


@given(errors=rows)
def test_coupling_is_the_worst_particle_over_the_batch_between_1_and_root_n(errors):
    error = torch.tensor(errors, dtype=torch.float64) / 3
    zero = torch.zeros(error.numel(), dtype=torch.float64)
    n = len(error)
    coupling = PIController(rtol=0.0, atol=1.0, particles=n).decide(0.1, zero, zero, error.reshape(-1), 4, 1.0).coupling
    assert 1 - 1e-12 <= coupling <= math.sqrt(n) * (1 + 1e-12)
    if error.square().sum() > 1e-200:
        sizes = error.square().mean(1).sqrt()
        assert coupling == pytest.approx((sizes.max() / sizes.square().mean().sqrt()).item(), rel=1e-9)
    assert UNIT.decide(0.1, zero, zero, error.reshape(-1), 4, 1.0).coupling is None


def test_particles_that_do_not_divide_the_state_are_refused():
    with pytest.raises(ValueError, match="3 particles do not divide a state of 4"):
        decide(PIController(rtol=0.0, atol=1.0, particles=3), 0.1)
    with pytest.raises(ValueError, match="particles must be at least 1 or None, got 0"):
        PIController(rtol=0.0, atol=1.0, particles=0)


def test_a_constant_step_accepts_anything():
    decision = ConstantStep(0.3).decide(0.1, *torch.zeros(2, 4), None, None, 1.0)
    assert (decision.accept, decision.h) == (True, 0.3)
    with pytest.raises(ValueError, match="use ConstantStep instead"):
        UNIT.decide(0.1, *torch.zeros(2, 4), None, None, 1.0)
