"""Sliced W2: properties, closed forms, and the same projections by POT."""

from __future__ import annotations

import ot
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gflow.transport.sliced
from gflow.transport import ExactW2, SlicedW2, W2Estimator, unit_directions, w2_squared_1d
from tests.strategies import F64, points, untyped

seeds = st.integers(0, 2**16)
sizes = st.integers(1, 9)


def sliced(projections: int, seed: int = 0) -> SlicedW2:
    return SlicedW2(projections, torch.Generator().manual_seed(seed))


def basis(d: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(points(d, d, seed)).Q


@given(n=sizes, m=sizes, d=st.integers(2, 5), seed=seeds)
def test_it_is_symmetric_and_zero_only_between_equal_clouds(n, m, d, seed):
    x, y = points(n, d, seed), points(m, d, seed + 1)
    there, back = sliced(20)(x, y), sliced(20)(y, x)
    assert there.mean == pytest.approx(back.mean, rel=1e-12)
    assert there.mean > 0
    assert (there.n, there.level, there.bias) == (20, 0.95, "up")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert sliced(20)(x, x[order]).mean == 0.0


@given(n=sizes, m=sizes, d=st.integers(2, 5), seed=seeds)
def test_orc_21_over_an_orthonormal_basis_it_is_at_most_w2_squared_over_d(n, m, d, seed):
    x, y = points(n, d, seed), points(m, d, seed + 1)
    mean = float(SlicedW2.slices(x, y, basis(d, seed)).mean())
    assert mean <= ExactW2()(x, y).mean / d * (1 + 1e-12)


@given(n=sizes, d=st.integers(2, 5), seed=seeds)
def test_orc_21_a_translation_by_m_is_m_over_root_d(n, d, seed):
    x, shift = points(n, d, seed), points(1, d, seed + 2)[0]
    truth = float(shift.square().sum()) / d
    each = SlicedW2.slices(x, x + shift, basis(d, seed))
    torch.testing.assert_close(each, (basis(d, seed) @ shift).square(), rtol=1e-10, atol=1e-12)
    assert float(each.mean()) == pytest.approx(truth, rel=1e-10)


def test_orc_21_the_interval_of_random_directions_covers_a_translation():
    x, shift = points(30, 3, 0), torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    truth = float(shift.square().sum()) / 3
    covered = [e.lo <= truth <= e.hi for e in (sliced(200, seed)(x, x + shift) for seed in range(40))]
    assert 34 <= sum(covered) <= 40
    assert sliced(5000)(x, x + shift).sqrt().mean == pytest.approx(truth**0.5, rel=0.03)


@given(n=sizes, m=sizes, d=st.integers(2, 5), seed=seeds)
def test_pot_with_the_same_projections(n, m, d, seed):
    x, y = points(n, d, seed), points(m, d, seed + 1)
    directions = unit_directions(7, d, torch.Generator().manual_seed(seed))
    pot = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions.numpy().T)
    assert float(SlicedW2.slices(x, y, directions).mean()) == pytest.approx(float(pot) ** 2, rel=1e-10)


@given(n=sizes, m=sizes, seed=seeds)
def test_on_the_line_it_is_exact(n, m, seed):
    x, y = points(n, 1, seed), points(m, 1, seed + 1)
    found = sliced(5)(x, y)
    assert found.mean == pytest.approx(w2_squared_1d(x[:, 0], y[:, 0]), rel=1e-12)
    assert (found.lo, found.hi, found.n) == (found.mean, found.mean, 1)


def test_chunks_change_no_value(monkeypatch):
    x, y = points(11, 3, 0), points(7, 3, 1)
    whole = sliced(50)(x, y)
    monkeypatch.setattr(gflow.transport.sliced, "_CHUNK_BYTES", 8 * 18 * 7)
    assert sliced(50)(x, y).mean == pytest.approx(whole.mean, rel=1e-14)


def test_the_seed_decides_and_every_call_draws_anew():
    x, y = points(11, 3, 0), points(7, 3, 1)
    estimator: W2Estimator = sliced(10)
    first = estimator(x, y)
    assert first == sliced(10)(x, y)
    assert estimator(x, y).mean != first.mean


def test_bad_input_is_named():
    x = points(4, 2, 0)
    with pytest.raises(ValueError, match="projections: needs at least 1"):
        sliced(0)
    with pytest.raises(ValueError, match="d: needs at least 1"):
        unit_directions(3, 0, torch.Generator())
    with untyped(), pytest.raises(ValueError, match="y: expected dimension 2"):
        sliced(3)(x, points(4, 3, 0))
    with untyped(), pytest.raises(ValueError, match="directions: expected dimension 2"):
        SlicedW2.slices(x, x, points(4, 3, 0))
    with pytest.raises(ValueError, match="x: 4 of 4 points hold NaN"):
        sliced(3)(x * torch.nan, x)
