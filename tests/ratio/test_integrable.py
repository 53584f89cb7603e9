"""MONO-1: for which normal laws a loss has a finite rate, against the definiteness of its integrand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.problems import Gaussian
from gflow.ratio import (
    ARCSINH,
    CHI,
    GENERATOR_LOSSES,
    LOGIT,
    NEYMAN,
    PEARSON,
    SATURATING,
    GeneratorLoss,
    alternative,
    exponential,
    require_finite_rate,
    saturating,
)
from tests.strategies import F64, floats, gaussians


def accepts(loss, p, q):
    try:
        require_finite_rate(loss, p, q)
    except ValueError:
        return False
    return True


POWERS = {
    exponential(2.0): 2.0,
    exponential(-2.0): -2.0,
    CHI: -1.0,
    exponential(0.5): 0.5,
    saturating(PEARSON): 2.0,
    alternative(NEYMAN): -2.0,
}


@given(p=gaussians(2), q=gaussians(2), case=st.sampled_from(list(POWERS.items())))
def test_powers_of_the_ratio_have_a_rate_exactly_if_the_exponent_is_definite(p, q, case):
    """int p^k q^(1-k) |grad d|^2: a normal integral with precision k P^-1 + (1 - k) Q^-1."""
    loss, k = case
    smallest = float(torch.linalg.eigvalsh(k * torch.linalg.inv(p.C) + (1 - k) * torch.linalg.inv(q.C)).min())
    if abs(smallest) > 1e-4:
        assert accepts(loss, p, q) == (smallest > 0)


@given(p=gaussians(2), q=gaussians(2), loss=st.sampled_from([LOGIT, SATURATING, ARCSINH]))
def test_bounded_rates_exist_for_every_pair(p, q, loss):
    require_finite_rate(loss, p, q)


@given(ratio=floats(1.1, 3.0))
def test_chi_squared_of_a_model_twice_as_wide_is_infinite(ratio):
    p, q = (Gaussian(torch.zeros(1, dtype=F64), torch.full((1, 1), v, dtype=F64)) for v in (1.0, ratio))
    assert accepts(CHI, p, q) == (ratio < 2.0)


def test_equality_of_the_precisions_is_no_density():
    p, q = (Gaussian(torch.zeros(1, dtype=F64), torch.full((1, 1), v, dtype=F64)) for v in (1.0, 2.0))
    assert not accepts(CHI, p, q)


def test_a_rate_that_vanishes_far_out_asks_for_nothing():
    cut = GeneratorLoss("cut", lambda d: d.clamp(-1.0, 1.0), lambda d: (d.abs() < 1).to(d.dtype), "nothing known")
    p, q = (Gaussian(torch.zeros(1, dtype=F64), torch.full((1, 1), v, dtype=F64)) for v in (1.0, 9.0))
    require_finite_rate(cut, p, q)


def test_the_error_says_what_is_needed_and_dimensions_are_compared():
    p, q = (Gaussian(torch.zeros(2, dtype=F64), v * torch.eye(2, dtype=F64)) for v in (1.0, 4.0))
    message = (
        r"exponential -1: its rate is infinite for this pair: the variance of q is 4 times .* it needs int p\^-1 q\^2"
    )
    with pytest.raises(ValueError, match=message):
        require_finite_rate(GENERATOR_LOSSES[CHI.name], p, q)
    line = Gaussian(torch.zeros(1, dtype=F64), torch.ones(1, 1, dtype=F64))
    with pytest.raises(ValueError, match="p and q: need one dimension, got 2 and 1"):
        require_finite_rate(LOGIT, p, line)
    assert math.isinf(float(CHI.h_prime(torch.tensor(-800.0, dtype=F64))))
