"""Closed forms: Gaussians, the line, bounds from moments and couplings."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.transport import (
    CouplingW2,
    ExactW1,
    ExactW2,
    GelbrichW2,
    W2Estimator,
    bures_map,
    bures_squared,
    w2_squared_1d,
)
from tests.strategies import dims, gaussians, points, spd

F64 = torch.float64
seeds = st.integers(0, 2**16)


def root(a: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(a)
    return vectors * values.clamp(min=0).sqrt() @ vectors.mT


@given(data=st.data(), d=dims)
def test_orc_1_bures_equals_the_formula_with_roots_and_pot(data, d):
    p, q = data.draw(gaussians(d)), data.draw(gaussians(d))
    a = root(p.covariance())
    cross = torch.trace(root(a @ q.covariance() @ a))
    formula = (
        (p.mean() - q.mean()).square().sum() + torch.trace(p.covariance()) + torch.trace(q.covariance()) - 2 * cross
    )
    value = bures_squared(p.mean(), p.covariance(), q.mean(), q.covariance())
    assert value == pytest.approx(float(formula), rel=1e-10, abs=1e-12)
    pot = ot.gaussian.bures_wasserstein_distance(
        p.mean().numpy(), q.mean().numpy(), p.covariance().numpy(), q.covariance().numpy()
    )
    assert value == pytest.approx(float(pot) ** 2, rel=1e-8, abs=1e-8)


@given(data=st.data(), d=dims)
def test_orc_1_the_map_pushes_forward_and_its_cost_is_bures(data, d):
    a, b = data.draw(spd(d)), data.draw(spd(d))
    m = bures_map(a, b)
    torch.testing.assert_close(m @ a @ m, b, rtol=1e-10, atol=1e-10)
    assert float(torch.linalg.eigvalsh(m)[0]) > 0
    eye = torch.eye(d, dtype=F64)
    cost = float(torch.trace((m - eye) @ a @ (m - eye)))
    zero = torch.zeros(d, dtype=F64)
    assert bures_squared(zero, a, zero, b) == pytest.approx(cost, rel=1e-10, abs=1e-12)


@given(d=st.integers(2, 5), rank=st.integers(0, 4), seed=seeds)
def test_orc_1_singular_covariances(d, rank, seed):
    # In the subspace of the first coordinates the law is a full one of lower dimension.
    rank = min(rank, d - 1)
    a, b = (torch.zeros(d, d, dtype=F64) for _ in range(2))
    for c, s in ((a, seed), (b, seed + 1)):
        block = points(rank, rank, s)
        c[:rank, :rank] = block @ block.mT + 0.1 * torch.eye(rank, dtype=F64)
    zero, small = torch.zeros(d, dtype=F64), torch.zeros(rank, dtype=F64)
    inner = bures_squared(small, a[:rank, :rank], small, b[:rank, :rank]) if rank else 0.0
    turn = torch.linalg.qr(points(d, d, seed + 2)).Q
    a, b = turn @ a @ turn.mT, turn @ b @ turn.mT
    assert bures_squared(zero, a, zero, b) == pytest.approx(inner, rel=1e-9, abs=1e-12)
    m = bures_map(a, b)
    torch.testing.assert_close(m @ a @ m, b, rtol=1e-8, atol=1e-8)


def test_a_map_that_cannot_exist_is_refused():
    line, plane = torch.diag(torch.tensor([1.0, 0.0])), torch.eye(2)
    with pytest.raises(ValueError, match="covariance0.*rank"):
        bures_map(line, plane)
    assert bures_map(plane, line).dtype == torch.float32


@given(data=st.data(), d=dims)
def test_bures_of_a_law_with_itself_is_zero(data, d):
    p = data.draw(gaussians(d))
    assert 0 <= bures_squared(p.mean(), p.covariance(), p.mean(), p.covariance()) <= 1e-25


@given(n=st.integers(1, 40), m=st.integers(1, 40), seed=seeds)
def test_the_line_equals_pot_and_the_estimators(n, m, seed):
    x, y = points(n, 1, seed)[:, 0], points(m, 1, seed + 1)[:, 0] + 1.0
    value = w2_squared_1d(x, y)
    assert value == pytest.approx(ot.emd2_1d(x.numpy(), y.numpy()), rel=1e-10)
    cost = np.square(x.numpy()[:, None] - y.numpy()[None])
    assert value == pytest.approx(ot.emd2(ot.unif(n), ot.unif(m), cost), rel=1e-10)
    assert ExactW2()(x[:, None], y[:, None]).mean == pytest.approx(value, rel=1e-12)
    assert ExactW1()(x[:, None], y[:, None]).mean == pytest.approx(
        ot.emd2_1d(x.numpy(), y.numpy(), metric="euclidean"), rel=1e-10
    )


@given(seed=seeds, n=st.integers(1, 12), m=st.integers(1, 12))
def test_weights_on_the_line_repeat_points(seed, n, m):
    x, y = points(n, 1, seed), points(m, 1, seed + 1)
    counts = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(seed))
    counts[0] = 1
    whole = ExactW2()(x, y, x_weights=counts.to(F64))
    assert whole.mean == pytest.approx(ExactW2()(x.repeat_interleave(counts, dim=0), y).mean, rel=1e-10)


@given(n=st.integers(2, 30), d=st.sampled_from([1, 2, 5, 9]), seed=seeds)
def test_gelbrich_is_below_exact_is_below_coupling(n, d, seed):
    x, y = points(n, d, seed), points(n, d, seed + 1) ** 2
    low, exact, high = GelbrichW2()(x, y), ExactW2()(x, y), CouplingW2()(x, y)
    assert low.mean <= exact.mean * (1 + 1e-10)
    assert exact.lo <= high.mean * (1 + 1e-12)
    assert (low.bias, exact.bias, high.bias) == ("down", "up", "up")


@given(d=st.integers(1, 5), seed=seeds, scale=st.floats(0.5, 2.0))
def test_gelbrich_is_exact_for_a_linear_optimal_map(d, seed, scale):
    x = points(25, d, seed)
    y = scale * x + 3.0
    assert GelbrichW2()(x, y).mean == pytest.approx(ExactW2()(x, y).mean, rel=1e-9)


@given(n=st.integers(1, 30), d=st.integers(1, 5), seed=seeds)
def test_coupling_is_the_mean_square_of_the_pairs(n, d, seed):
    x, y = points(n, d, seed), points(n, d, seed + 1)
    assert CouplingW2()(x, y).mean == pytest.approx(float((x - y).square().sum(1).mean()), rel=1e-12)
    assert CouplingW2()(x, x).mean == 0.0


def test_bounds_keep_float32_digits_far_from_the_origin():
    x, y = (0.01 * points(50, 3, seed=s).float() + 100.0 for s in (0, 1))
    exact = float((x.double() - y.double()).square().sum(1).mean())
    assert CouplingW2()(x, y).mean == pytest.approx(exact, rel=1e-12)
    shifted = GelbrichW2()(x.double() - 100, y.double() - 100).mean
    assert GelbrichW2()(x, y).mean == pytest.approx(shifted, rel=1e-8)


def test_the_bounds_fit_the_protocol():
    assert isinstance(CouplingW2(), W2Estimator)
    assert isinstance(GelbrichW2(), W2Estimator)
