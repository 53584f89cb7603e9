"""Entropic transport: properties, the Gaussian closed form, POT, and a checked end."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gflow.transport.entropic
from gflow.transport import ExactW2, Sinkhorn, SinkhornDivergence, TransportError, W2Estimator
from tests.strategies import F64, floats, points, untyped

seeds = st.integers(0, 2**16)
sizes = st.integers(1, 8)
eps_values = st.sampled_from([1.0, 5.0])
TOLERANCE = 1e-11


def masses(n: int, seed: int) -> torch.Tensor:
    return points(n, 1, seed).abs()[:, 0] + 0.1


def line(variance: float, n: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """A Gaussian as weights on a grid: spectrally accurate."""
    x = math.sqrt(variance) * torch.linspace(-8, 8, n, dtype=F64)[:, None]
    return x, torch.exp(-x[:, 0].square() / (2 * variance))


@settings(max_examples=15)
@given(n=sizes, m=sizes, d=st.integers(1, 3), eps=eps_values, seed=seeds)
def test_the_divergence_is_symmetric_not_negative_and_blind_to_order_and_shift(n, m, d, eps, seed):
    x, y, a, b = points(n, d, seed, 1.0), points(m, d, seed + 1, 1.0), masses(n, seed), masses(m, seed + 1)
    divergence = SinkhornDivergence(eps, TOLERANCE)
    found = divergence(x, y, x_weights=a, y_weights=b)
    back = divergence(y, x, x_weights=b, y_weights=a)
    assert found.lo - 1e-12 <= back.mean <= found.hi + 1e-12
    assert found.hi >= -1e-12
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = divergence(x[order] + 7.0, y + 7.0, x_weights=a[order], y_weights=b)
    assert moved.mean == pytest.approx(found.mean, abs=1e-9)


@settings(max_examples=15)
@given(n=sizes, d=st.integers(1, 3), eps=eps_values, seed=seeds)
def test_it_is_zero_between_equal_clouds_and_the_distance_of_a_translation(n, d, eps, seed):
    x, shift = points(n, d, seed, 1.0), torch.ones(d, dtype=F64)
    assert SinkhornDivergence(eps, TOLERANCE)(x, x.clone()).mean == pytest.approx(0.0, abs=1e-9)
    assert SinkhornDivergence(eps, TOLERANCE)(x, x + shift).mean == pytest.approx(d, abs=1e-8)


@settings(max_examples=10)
@given(n=sizes, m=sizes, d=st.integers(1, 3), eps=eps_values, seed=seeds)
def test_pot_has_the_same_plan_and_value(n, m, d, eps, seed):
    x, y, a, b = points(n, d, seed, 1.0), points(m, d, seed + 1, 1.0), masses(n, seed), masses(m, seed + 1)
    a, b = a / a.sum(), b / b.sum()
    plan = Sinkhorn(eps, 1e-12)(x, y, x_weights=a, y_weights=b)
    cost = (x[:, None] - y).square().sum(2) / 2
    pot = ot.bregman.sinkhorn_log(a.numpy(), b.numpy(), cost.numpy(), eps, numItermax=100_000, stopThr=1e-13)
    density = pot / np.outer(a, b)
    value = float((pot * cost.numpy()).sum() + eps * (pot * np.log(density)).sum())
    assert plan.estimate.mean == pytest.approx(value, abs=1e-8)
    mapped = torch.from_numpy(pot / pot.sum(1, keepdims=True)) @ y
    torch.testing.assert_close(plan.barycentric(x), mapped, rtol=0.0, atol=1e-8)


@settings(max_examples=8)
@given(a=floats(0.3, 2.0), b=floats(0.3, 2.0), eps=floats(0.2, 2.0))
def test_orc_16_slope_and_value_between_gaussians(a, b, eps):
    (x, p), (y, q) = line(a), line(b)
    plan = Sinkhorn(eps, TOLERANCE)(x, y, x_weights=p, y_weights=q)
    near = x[(x[:, 0].abs() < 3 * math.sqrt(a))]
    slope = (math.sqrt(a * b + eps**2 / 4) - eps / 2) / a
    torch.testing.assert_close(plan.barycentric(near), slope * near, rtol=0.0, atol=1e-7)

    def own(s: float, t: float) -> float:
        root = math.sqrt(s * t + eps**2 / 4)
        return (s + t) / 2 - root + eps / 2 - eps / 2 * math.log(eps / (root + eps / 2))

    truth = 2 * own(a, b) - own(a, a) - own(b, b)
    found = SinkhornDivergence(eps, TOLERANCE)(x, y, x_weights=p, y_weights=q)
    assert found.mean == pytest.approx(truth, abs=1e-8)


def test_orc_16_on_quantile_grids():
    z = math.sqrt(2) * torch.erfinv(2 * (torch.arange(600, dtype=F64) + 0.5) / 600 - 1)[:, None]
    z = z / z.square().mean().sqrt()
    a, b, eps = 1.0, 4.0, 0.5
    mapped = Sinkhorn(eps, TOLERANCE)(z, 2 * z).barycentric(z)
    slope = float((mapped * z).mean())
    assert slope == pytest.approx((math.sqrt(a * b + eps**2 / 4) - eps / 2) / a, abs=2e-3)


def test_small_eps_gives_w2_squared():
    x, y = points(20, 2, 0, 1.0), points(15, 2, 1, 1.0)
    estimator: W2Estimator = SinkhornDivergence(1e-2, 1e-6, max_iterations=100_000)
    assert estimator(x, y).mean == pytest.approx(ExactW2()(x, y).mean, rel=0.02)


def test_the_interval_holds_the_limit_at_every_tolerance():
    x, y = points(20, 2, 0), points(15, 2, 1)
    truth = Sinkhorn(0.5, 1e-13, 100_000)(x, y).estimate.mean
    for tolerance in (1e-1, 1e-3, 1e-6):
        plan = Sinkhorn(0.5, tolerance)(x, y)
        assert plan.marginal_error <= tolerance
        assert plan.estimate.lo - 1e-11 <= truth <= plan.estimate.hi + 1e-11
    assert plan.estimate.hi - plan.estimate.lo < 1e-3


def test_the_marginal_error_is_that_of_the_plan_written_out():
    x, y, a = points(9, 2, 0), points(6, 2, 1), masses(9, 2)
    plan = Sinkhorn(0.5, 1e-2)(x, y, x_weights=a)
    log = plan.f[:, None] + plan.g - (x[:, None] - y).square().sum(2) / 2
    dense = (a / a.sum())[:, None] / 6 * torch.exp(log / 0.5)
    torch.testing.assert_close(dense.sum(1), a / a.sum(), rtol=1e-10, atol=0.0)
    assert float((dense.sum(0) - 1 / 6).abs().sum()) == pytest.approx(plan.marginal_error, rel=1e-8)


def test_a_bad_warm_start_cannot_fool_the_interval():
    x, y = points(9, 2, 0), points(6, 2, 1)
    plan, truth = Sinkhorn(2.0, 2.0)(x, y), Sinkhorn(2.0, TOLERANCE)(x, y).estimate.mean
    far = Sinkhorn(2.0, 10.0)(x, y, warm_start=replace(plan, g=100 * points(6, 1, 2)[:, 0]))
    assert far.iterations == 1
    assert far.estimate.lo < truth < far.estimate.hi


def test_a_warm_start_takes_fewer_iterations_to_the_same_plan():
    x, y = points(40, 2, 0), points(30, 2, 1)
    cold = Sinkhorn(0.5, TOLERANCE)(x + 1e-3, y)
    warm = Sinkhorn(0.5, TOLERANCE)(x + 1e-3, y, warm_start=Sinkhorn(0.5, TOLERANCE)(x, y))
    assert warm.iterations < cold.iterations
    torch.testing.assert_close(warm.barycentric(x), cold.barycentric(x), rtol=0.0, atol=1e-9)
    assert Sinkhorn(0.5, TOLERANCE)(x, y, warm_start=Sinkhorn(0.5, TOLERANCE)(x, y)).iterations == 1


@pytest.mark.parametrize("eps", [1e-2, 1.0, 100.0])
def test_a_self_term_takes_few_iterations_at_any_eps(eps):
    x = points(50, 2, 0)
    assert Sinkhorn(eps, TOLERANCE)(x, x).iterations < 25


def test_no_convergence_is_an_error_not_a_value():
    x, y = points(40, 2, 0), points(30, 2, 1)
    with pytest.raises(TransportError, match=r"marginal error .* above 1.0e-12 after 3 iterations at eps = 0.1"):
        Sinkhorn(0.1, 1e-12, max_iterations=3)(x, y)


def test_chunks_change_no_value_and_float32_stays_float32(monkeypatch):
    x, y = points(40, 2, 0), points(30, 2, 1)
    whole, single = Sinkhorn(0.5, TOLERANCE)(x, y), Sinkhorn(0.5, 1e-4)(x.float(), y.float())
    assert single.f.dtype == single.barycentric(x.float()).dtype == torch.float32
    torch.testing.assert_close(single.barycentric(x.float()).double(), whole.barycentric(x), rtol=0.0, atol=1e-2)
    monkeypatch.setattr(gflow.transport.entropic, "_CHUNK_BYTES", 8 * 30 * 7)
    torch.testing.assert_close(Sinkhorn(0.5, TOLERANCE)(x, y).f, whole.f, rtol=1e-10, atol=1e-10)


def test_mass_zero_is_no_point():
    x, y = points(5, 2, 0), points(6, 2, 1)
    weights = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0], dtype=F64)
    kept = weights > 0
    found = SinkhornDivergence(2.0, TOLERANCE)(x, y, y_weights=weights)
    assert found.mean == pytest.approx(SinkhornDivergence(2.0, TOLERANCE)(x, y[kept]).mean, abs=1e-9)


def test_bad_input_is_named():
    x = points(4, 2, 0)
    for settings_, name in (({"eps": 0.0}, "eps"), ({"tolerance": math.nan}, "tolerance")):
        with pytest.raises(ValueError, match=f"{name}: must be positive"):
            SinkhornDivergence(**({"eps": 1.0, "tolerance": 1e-6} | settings_))
    with pytest.raises(ValueError, match="max_iterations: needs at least 1"):
        Sinkhorn(1.0, 1e-6, 0)
    solve = Sinkhorn(1.0, 1e-6)
    with untyped():
        for bad, message in (
            ((x, points(4, 3, 0)), "y: expected dimension 2"),
            ((x * torch.nan, x), "x: 4 of 4 points hold NaN"),
            ((x, x.float()), "y: must share dtype"),
        ):
            with pytest.raises(ValueError, match=message):
                solve(*bad)
        with pytest.raises(ValueError, match="warm_start: expected a plan to 3 points, got one to 4"):
            solve(x, x[:3], warm_start=solve(x, x))
        with pytest.raises(ValueError, match=r"points: expected shape \(k, 2\)"):
            solve(x, x).barycentric(points(3, 3, 0))
        with pytest.raises(ValueError, match="y_weights: expected shape"):
            solve(x, x, y_weights=torch.ones(3))
