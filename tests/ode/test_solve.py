"""States, dtypes, autograd and bad input: what solve_ivp takes and gives."""

import gc
import math
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.ode import (
    DOPRI5,
    EULER,
    RK4,
    ConstantStep,
    ExplicitRK,
    PIController,
    SolveError,
    solve_ivp,
)
from tests.ode.problems import Counted, limit_cycle, start

METHOD = ExplicitRK(RK4)
STEP = ConstantStep(0.25)


def run(v, y0, **options):
    return solve_ivp(v, y0, 0.0, 1.0, method=METHOD, controller=STEP, **options)


def test_equal_ends_return_the_start_without_a_look_at_the_field():
    field = Counted(limit_cycle)
    for controller in (STEP, PIController(rtol=1e-6, atol=1e-6)):
        solution = solve_ivp(field, start(), 0.5, 0.5, method=ExplicitRK(DOPRI5), controller=controller)
        assert solution.ts == (0.5,)
        assert torch.equal(solution.y1, start())
        assert solution.stats.evaluations == len(field.times) == 0


def test_saved_states_are_every_kth_and_both_ends():
    times = {k: run(limit_cycle, start(), save_every=k).ts for k in (None, 1, 2, 3, 9)}
    assert times[None] == times[9] == (0.0, 1.0)
    assert times[1] == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert times[2] == (0.0, 0.5, 1.0)
    assert times[3] == (0.0, 0.75, 1.0)
    solution = run(limit_cycle, start(), save_every=1)
    assert solution.ys.shape == (5, 3, 2)
    assert torch.equal(solution.ys[0], start())
    assert torch.equal(solution.ys[-1], solution.y1)
    half = solve_ivp(limit_cycle, start(), 0.0, 0.5, method=METHOD, controller=STEP)
    assert torch.equal(solution.ys[2], half.y1)


def test_memory_does_not_grow_with_the_steps():
    seen = []

    def v(t, y):
        seen.append(weakref.ref(y.untyped_storage()))
        return -y

    solution = solve_ivp(v, start(), 0.0, 1.0, method=ExplicitRK(EULER), controller=ConstantStep(2e-3))
    gc.collect()
    assert len(seen) == solution.stats.accepted == 500
    assert solution.ys.shape[0] == 2
    assert sum(ref() is not None for ref in seen) <= 2


# States


@given(cut=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_nested_state_is_solved_as_its_flat_tensor(cut, seed):
    flat = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def v(t, y):
        return torch.sin(y.roll(1)) + t

    def nested(t, y):
        joined = v(t, torch.cat([y["b"]["x"].reshape(-1), y["a"]]))
        # Another order of keys than the state's.
        return {"a": joined[cut:], "b": {"x": joined[:cut].reshape(1, -1)}}

    one = run(v, flat, save_every=2)
    two = run(nested, {"b": {"x": flat[:cut].reshape(1, -1)}, "a": flat[cut:]}, save_every=2)
    assert list(two.ys) == ["b", "a"]
    assert torch.equal(two.ys["b"]["x"], one.ys[:, :cut].reshape(3, 1, cut))
    assert torch.equal(two.y1["a"], one.y1[cut:])
    assert two.stats == one.stats


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_state_keeps_its_dtype_and_time_stays_a_float(dtype):
    field = Counted(lambda t, y: -t * y)
    solution = solve_ivp(
        field, torch.ones(2, dtype=dtype), 0.0, 1.0, method=METHOD, controller=ConstantStep(1 / 3), dense=True
    )
    assert solution.y1.dtype == solution.interpolate(0.4).dtype == dtype
    assert {type(t) for t in field.times} == {float}
    assert 1 / 3 in field.times  # not rounded to the state's dtype
    assert solution.y1.double().sub(math.exp(-0.5)).abs().max() < 1e-3 + 4 * torch.finfo(dtype).eps


def test_float32_reaches_its_own_accuracy_adaptively():
    y0 = start().float()
    controller = PIController(rtol=1e-4, atol=1e-5)
    single = solve_ivp(limit_cycle, y0, 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller).y1
    double = solve_ivp(limit_cycle, y0.double(), 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller).y1
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


def test_a_scalar_state_and_a_leaf_without_numbers_are_fine():
    assert run(lambda t, y: -y, torch.tensor(1.0)).ys.shape == (2,)
    empty = {"x": torch.ones(2), "none": torch.ones(0, 3)}
    assert run(lambda t, y: {k: -x for k, x in y.items()}, empty).y1["none"].shape == (0, 3)


# Autograd


@pytest.mark.parametrize("controller", [STEP, PIController(rtol=1e-3, atol=1e-3)], ids=["constant", "PI"])
def test_no_graph_is_kept_and_the_start_is_not_touched(controller):
    module = torch.nn.Linear(2, 2, dtype=torch.float64)
    y0 = start().requires_grad_()
    before = y0.detach().clone()
    solution = solve_ivp(
        lambda t, y: module(y), y0, 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller, dense=True
    )
    for y in (solution.ys, solution.y1, solution.interpolate(0.3), solution.defect(0.3)):
        assert not y.requires_grad
        assert y.grad_fn is None
    assert torch.equal(y0, before)
    solution.ys.zero_()
    solution.interpolate(0.0).zero_()
    assert torch.equal(y0, before)
    assert torch.is_grad_enabled()
    assert not solve_ivp(lambda t, y: module(y), y0, 0.0, 0.0, method=METHOD, controller=STEP).ys.requires_grad


def test_a_field_that_differentiates_inside_still_leaves_no_graph():
    def gradient(t, y):
        with torch.enable_grad():
            z = y.detach().requires_grad_()
            return -torch.autograd.grad((z**4).sum() / 4, z, create_graph=True)[0]

    controller = PIController(rtol=1e-6, atol=1e-6)
    solution = solve_ivp(gradient, start(), 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller, dense=True)
    assert not solution.ys.requires_grad
    exact = start() / (1 + 2 * start() ** 2).sqrt()
    torch.testing.assert_close(solution.y1, exact, rtol=0, atol=1e-5)


# Bad input: one clear error that names the argument


@pytest.mark.parametrize(
    ("y0", "error", "message"),
    [
        (torch.arange(3), ValueError, "y0: state needs a floating-point dtype, got torch.int64"),
        (torch.ones(0, 2), ValueError, "y0: needs at least one number"),
        ({}, ValueError, "y0: needs at least one number"),
        (torch.tensor([1.0, math.nan]), ValueError, "y0: needs finite numbers.*1 of 2 rows, first row 1"),
        ({"w": {"b": torch.tensor(math.inf)}}, ValueError, "y0: needs finite numbers.*w.b: 1 of 1 rows"),
        (
            {"a": torch.ones(2), "b": torch.ones(2).double()},
            ValueError,
            "y0: all tensors share dtype and device, got b in torch.float64",
        ),
    ],
)
def test_bad_starts_are_refused(y0, error, message):
    with pytest.raises(error, match=message):
        run(lambda t, y: y, y0)


@pytest.mark.parametrize(
    ("v", "error", "message"),
    [
        (
            lambda t, y: y["a"],
            ValueError,
            r"velocity at t = 0: expected the structure \['a', 'b.c'\], got \['a tensor'\]",
        ),
        (lambda t, y: {"a": y["a"]}, ValueError, r"expected the structure \['a', 'b.c'\], got \['a'\]"),
        (lambda t, y: {**y, "d": y["a"]}, ValueError, r"got \['a', 'b.c', 'd'\]"),
        (
            lambda t, y: {"a": y["a"].sum(0), "b": y["b"]},
            ValueError,
            r"velocity at t = 0: expected a of shape \(3, 2\), got \(2,\)",
        ),
        (
            lambda t, y: {"a": y["a"], "b": {"c": y["b"]["c"].double()}},
            ValueError,
            "velocity at t = 0: expected b.c in torch.float32 on cpu, got torch.float64 on cpu",
        ),
    ],
)
def test_a_field_that_returns_something_else_is_named_with_its_time_and_leaf(v, error, message):
    y0 = {"a": torch.ones(3, 2), "b": {"c": torch.ones(4)}}
    with pytest.raises(error, match=message):
        run(v, y0)


def test_a_field_that_changes_shape_later_is_named_with_that_time():
    with pytest.raises(ValueError, match=r"velocity at t = 0.5: expected state of shape \(3, 2\), got \(3, 1\)"):
        run(lambda t, y: y[:, :1] if t == 0.5 else y, start())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t0": math.nan}, "t0 must be finite, got nan"),
        ({"t1": math.inf}, "t1 must be finite, got inf"),
        ({"save_every": 0}, "save_every must be at least 1 or None, got 0"),
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
    ],
)
def test_bad_numbers_are_refused(changes, message):
    arguments = {"v": limit_cycle, "y0": start(), "t0": 0.0, "t1": 1.0, "method": METHOD, "controller": STEP}
    with pytest.raises(ValueError, match=message):
        solve_ivp(**(arguments | changes))


def test_a_constant_step_below_the_spacing_of_times_is_a_verdict():
    with pytest.raises(SolveError, match="spacing of floating-point times"):
        solve_ivp(limit_cycle, start(), 1e9, 1e9 + 1, method=METHOD, controller=ConstantStep(1e-9))


def test_wrong_kinds_are_refused_with_an_example():
    # Without the type checks of the test suite, as a user runs it.
    from gflow.ode.arguments import check_kinds

    with pytest.raises(TypeError, match=r"method must be a Method such as ExplicitRK\(DOPRI5\), got ButcherTableau"):
        check_kinds(limit_cycle, DOPRI5, STEP)
    with pytest.raises(TypeError, match=r"controller must be one such as ConstantStep\(0.1\), got 0.1"):
        check_kinds(limit_cycle, METHOD, 0.1)
    with pytest.raises(TypeError, match="v must be callable.*got Tensor"):
        check_kinds(torch.ones(1), METHOD, STEP)
