"""Brownian paths that are functions of their seed, and Euler-Maruyama on them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.ode import EULER, BrownianPath, ConstantStep, EulerMaruyama, ExplicitRK, Result, solve_ivp

seeds = st.integers(0, 2**31)
MANY = 40_000
FIVE_SE = 5 / math.sqrt(MANY)


def maruyama(drift, y0, path, h, *, diffusion=1.0, t0=None, t1=None):
    t0, t1 = path.t0 if t0 is None else t0, path.t1 if t1 is None else t1
    method = EulerMaruyama(lambda t: diffusion, path)
    return solve_ivp(drift, y0, t0, t1, method=method, controller=ConstantStep(h)).y1


def still(t, y):
    return torch.zeros_like(y)


@given(seed=seeds, t0=st.floats(-5, 5), span=st.floats(0.01, 50), levels=st.integers(0, 6), data=st.data())
def test_a_path_is_a_function_of_its_seed_whatever_the_order_of_questions(seed, t0, span, levels, data):
    n = 2**levels
    grid = [t0 + k / n * span for k in range(n + 1)]
    one = BrownianPath(t0, t0 + span, (2,), levels=levels, seed=seed)
    two = BrownianPath(t0, t0 + span, (2,), levels=levels, seed=seed)
    in_order = [one(t) for t in grid]
    for k in data.draw(st.permutations(range(n + 1))):
        assert torch.equal(two(grid[k]), in_order[k])
    assert torch.equal(one(t0), torch.zeros(2, dtype=torch.float64))
    other = BrownianPath(t0, t0 + span, (2,), levels=levels, seed=seed + 1)
    assert not torch.equal(other(grid[-1]), in_order[-1])


@given(seed=seeds, t0=st.floats(-5, 5), span=st.floats(0.01, 50), levels=st.integers(0, 5), more=st.integers(1, 9))
def test_more_levels_pass_through_the_same_points(seed, t0, span, levels, more):
    coarse = BrownianPath(t0, t0 + span, (3,), levels=levels, seed=seed)
    fine = BrownianPath(t0, t0 + span, (3,), levels=levels + more, seed=seed)
    for k in range(2**levels + 1):
        t = t0 + k / 2**levels * span
        assert torch.equal(coarse(t), fine(t))


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 2.0), (3.0, 1.0)], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_increments_are_independent_normals_of_variance_dt(t0, t1, dtype):
    path = BrownianPath(t0, t1, (MANY,), levels=5, seed=7, dtype=dtype)
    # Unequal intervals, so that a midpoint of the wrong variance shows at every level.
    grid = [t0 + k / 32 * (t1 - t0) for k in (0, 1, 2, 5, 8, 16, 17, 30, 32)]
    steps = [(b, a) for a, b in zip(grid, grid[1:], strict=False)]
    normals = torch.stack([path.increment(a, b).double() / math.sqrt(abs(b - a)) for b, a in steps])
    assert normals.mean(1).abs().max() < FIVE_SE
    assert (normals.var(1) - 1).abs().max() < math.sqrt(2) * FIVE_SE
    correlations = torch.corrcoef(normals) - torch.eye(len(normals))
    assert correlations.abs().max() < FIVE_SE
    assert (normals**4).mean(1).sub(3).abs().max() < math.sqrt(96) * FIVE_SE


def test_components_are_independent_too():
    path = BrownianPath(0.0, 1.0, (MANY, 2), levels=2, seed=3)
    assert torch.corrcoef(path(0.75).T)[0, 1].abs() < FIVE_SE


@settings(max_examples=10)
@given(seed=seeds, levels=st.integers(1, 8), data=st.data())
def test_halved_steps_see_the_same_noise(seed, levels, data):
    coarse, fine = (data.draw(st.integers(0, levels)) for _ in range(2))
    path = BrownianPath(-1.0, 1.5, (4,), levels=levels, seed=seed)
    y0 = torch.ones(4, dtype=torch.float64)
    ends = [maruyama(still, y0, path, 2.5 / 2**k, diffusion=0.7) for k in (coarse, fine)]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-13)
    torch.testing.assert_close(ends[0], y0 + 0.7 * path(1.5), rtol=0, atol=1e-13)


@pytest.mark.parametrize("own", [True, False], ids=["path from t0 to t1", "path from t1 to t0"])
def test_time_may_run_backward(own):
    path = BrownianPath(*((1.0, 0.0) if own else (0.0, 1.0)), (5,), levels=4, seed=11)
    y1 = maruyama(still, torch.zeros(5, dtype=torch.float64), path, 1 / 16, t0=1.0, t1=0.0)
    torch.testing.assert_close(y1, path(0.0) - path(1.0), rtol=0, atol=1e-14)


def test_strong_order_is_1_for_additive_noise():
    """OU, against its solution by parts, W(T) - int e^(u-T) W(u) du, on a path far finer than the steps."""
    n, fine, sigma, span = 2000, 12, 0.8, 1.0
    path = BrownianPath(0.0, span, (n,), levels=fine, seed=5)
    y0 = torch.ones(n, dtype=torch.float64)
    integral = torch.zeros(n, dtype=torch.float64)
    for k in range(2**fine + 1):
        u = k / 2**fine * span
        integral += path(u) * math.exp(u - span) * (0.5 if k in (0, 2**fine) else 1.0) * span / 2**fine
    exact = y0 * math.exp(-span) + sigma * (path(span) - integral)
    errors = [
        (maruyama(lambda t, y: -y, y0, path, span / 2**k, diffusion=sigma) - exact).pow(2).mean().sqrt().item()
        for k in (4, 5, 6, 7)
    ]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert slopes[1:] == pytest.approx([1, 1], abs=0.1)


@settings(max_examples=10)
@given(seed=seeds, levels=st.integers(1, 6), sigma=st.floats(0.0, 3.0))
def test_w2b_5_runs_on_one_path_differ_without_noise(seed, levels, sigma):
    """The difference of two OU runs on one path is exactly the noiseless recursion."""
    path = BrownianPath(0.0, 2.0, (3,), levels=levels, seed=seed)
    x0, y0 = torch.tensor([[1.0, 2.0, -3.0], [0.5, -4.0, 0.0]], dtype=torch.float64)
    h = 2.0 / 2**levels

    def drift(t, y):
        return -math.cos(t) * y

    gap = maruyama(drift, x0, path, h, diffusion=sigma) - maruyama(drift, y0, path, h, diffusion=sigma)
    noiseless = solve_ivp(drift, x0 - y0, 0.0, 2.0, method=ExplicitRK(EULER), controller=ConstantStep(h)).y1
    torch.testing.assert_close(gap, noiseless, rtol=0, atol=1e-13)


def test_w2b_17_stationary_ou_keeps_its_variance():
    """dy = -y dt + sqrt(2) dW from N(0, 1); Euler-Maruyama's own stationary variance is 1/(1 - h/2)."""
    path = BrownianPath(0.0, 4.0, (MANY,), levels=6, seed=2)
    y0 = torch.randn(MANY, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = 4.0 / 64
    y1 = maruyama(lambda t, y: -y, y0, path, h, diffusion=math.sqrt(2))
    variance = (1 - h) ** 128 + 2 * h * (1 - (1 - h) ** 128) / (1 - (1 - h) ** 2)
    assert y1.var().item() == pytest.approx(variance, abs=5 * variance * math.sqrt(2 / MANY))


def test_diffusion_is_asked_at_the_start_of_the_step_in_the_solvers_time():
    asked = []

    def diffusion(t):
        asked.append(t)
        return 1.0 + t

    path = BrownianPath(0.0, 1.0, (1,), levels=2, seed=1)
    y0 = torch.zeros(1, dtype=torch.float64)
    y1 = solve_ivp(still, y0, 0.0, 1.0, method=EulerMaruyama(diffusion, path), controller=ConstantStep(0.25)).y1
    assert asked == [0.0, 0.25, 0.5, 0.75]
    expected = sum((1 + t) * path.increment(t, t + 0.25) for t in asked)
    torch.testing.assert_close(y1, expected, rtol=0, atol=1e-14)


def test_memory_is_bounded_and_points_are_cheap(monkeypatch):
    path = BrownianPath(0.0, 1.0, (3,), levels=10, seed=0)
    draws = []
    normal = path._normal
    monkeypatch.setattr(path, "_normal", lambda a, b: draws.append(1) or normal(a, b))
    for k in range(2**10):
        path.increment(k / 2**10, (k + 1) / 2**10)
    assert len(path._cache) <= 2 * 10 + 4
    assert len(draws) < 1.5 * 2**10


def test_a_returned_value_is_the_callers_own():
    path = BrownianPath(0.0, 1.0, (3,), levels=2, seed=0)
    before = path(0.5).clone()
    path(0.5).zero_()
    path.increment(0.5, 1.0).zero_()
    assert torch.equal(path(0.5), before)


@pytest.mark.parametrize("t0", [0.0, 1e3, -1e5])
def test_times_of_a_constant_step_are_found_far_from_zero(t0):
    path = BrownianPath(t0, t0 + 0.3, (1,), levels=14, seed=0)
    h = 0.3 / 2**14
    for k in (1, 2, 3, 5461, 2**14 - 1):
        assert path(t0 + k * h).shape == (1,)


@pytest.mark.parametrize("t", [0.1, 0.250001, -0.25, 1.25, math.nan, math.inf])
def test_times_off_the_grid_are_refused_with_the_remedy(t):
    with pytest.raises(ValueError, match=r"not on the grid of 2\*\*2 intervals.*use a constant step"):
        BrownianPath(0.0, 1.0, (1,), levels=2, seed=0)(t)


def test_a_step_off_the_grid_is_refused():
    path = BrownianPath(0.0, 1.0, (1,), levels=3, seed=0)
    with pytest.raises(ValueError, match="t = 0.3 is not on the grid"):
        maruyama(still, torch.zeros(1, dtype=torch.float64), path, 0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t1": 0.0}, "t0 != t1"),
        ({"t1": math.inf}, "finite"),
        ({"levels": -1}, "levels must be in 0..30, got -1"),
        ({"levels": 31}, "levels must be in 0..30, got 31"),
        ({"t0": 1e9, "t1": 1e9 + 1e-3, "levels": 20}, "finer than times resolve"),
    ],
)
def test_bad_paths_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"BrownianPath: .*{message}"):
        BrownianPath(**({"t0": 0.0, "t1": 1.0, "shape": (1,), "levels": 2, "seed": 0} | arguments))


@pytest.mark.parametrize(
    ("y0", "message"),
    [
        (torch.zeros(2, dtype=torch.float64), "path has 3 numbers, the state has 2"),
        (torch.zeros(3), "path is torch.float64 on cpu, the state is torch.float32 on cpu"),
    ],
)
def test_a_path_that_does_not_fit_the_state_is_refused(y0, message):
    with pytest.raises(ValueError, match=message):
        maruyama(still, y0, BrownianPath(0.0, 1.0, (3,), levels=1, seed=0), 0.5)


def test_a_nan_field_is_named_and_its_look_counted():
    seen = []

    def v(t, y):
        seen.append(t)
        return y * math.nan if t >= 0.5 else -y

    path = BrownianPath(0.0, 1.0, (3,), levels=2, seed=0)
    solution = solve_ivp(
        v,
        torch.ones(3, dtype=torch.float64),
        0.0,
        1.0,
        method=EulerMaruyama(lambda t: 1.0, path),
        controller=ConstantStep(0.25),
        throw=False,
    )
    assert solution.result is Result.NON_FINITE
    assert solution.detail == "the field at t = 0.5: state: 3 of 3 rows, first row 0"
    assert solution.stats.evaluations == len(seen)
