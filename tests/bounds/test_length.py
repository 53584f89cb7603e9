"""The length of a polynomial vector from a few values: at least the truth, and not much more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.bounds.length import length_rule
from tests.strategies import F64, tensors

RULE = length_rule()


def series(coefficients, x):
    """sum_j c_j P_j on [0, 1], (times, n, d)."""
    legendre = np.polynomial.legendre.legvander(2 * np.asarray(x) - 1, len(coefficients) - 1)
    return torch.einsum("tj,jnd->tnd", torch.tensor(legendre, dtype=F64), coefficients)


@given(tensors((8, 3, 2), -1.0, 1.0))
def test_the_majorant_is_at_least_the_length_at_every_time_and_a_few_per_cent_more_over_the_step(coefficients):
    length = series(coefficients, RULE.times).norm(dim=2)
    majorant = RULE.majorant(series(coefficients, RULE.nodes))
    assert bool((majorant >= length - 1e-12).all())
    size = float(coefficients.abs().max())
    weights = torch.tensor(RULE.weights, dtype=F64)
    assert float((weights @ (majorant - length)).max()) <= 0.1 * size


@given(tensors((8, 1, 1), 0.0, 1.0))
def test_it_is_the_length_itself_where_the_vector_never_turns(rising):
    """Powers of time with positive coefficients: all control points are positive."""

    def value(x):
        powers = torch.tensor(np.asarray(x)[:, None] ** np.arange(8), dtype=F64)
        return torch.einsum("tj,jnd->tnd", powers, rising)

    torch.testing.assert_close(RULE.majorant(value(RULE.nodes))[:, 0], value(RULE.times)[:, 0, 0])


@given(tensors((8, 2, 2), -1.0, 1.0), st.floats(0.1, 0.5))
def test_what_is_missed_is_below_the_last_coefficient_where_coefficients_halve(signs, ratio):
    scale = ratio ** torch.arange(14, dtype=F64)[:, None, None]
    coefficients = scale * torch.cat((signs, signs.flip(0)[:6])).sign()
    known = series(coefficients, RULE.nodes)
    excess = RULE.majorant(known) + RULE.unresolved(known) - series(coefficients, RULE.times).norm(dim=2)
    weights = torch.tensor(RULE.weights, dtype=F64)
    assert float((weights @ excess).min()) >= -1e-12


def test_the_last_coefficient_is_that_of_the_legendre_series():
    coefficients = torch.zeros(8, 1, 2, dtype=F64)
    coefficients[2], coefficients[7] = 5.0, torch.tensor([3.0, 4.0], dtype=F64)
    assert float(RULE.unresolved(series(coefficients, RULE.nodes))) == pytest.approx(5.0)
