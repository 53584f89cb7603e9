"""RATIO-2, 5, 6: what a report says of exact, wrong, constant and separating log-ratios; bounds in their order."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.learn import MLP, SpectralNorm
from gflow.problems import Gaussian
from gflow.ratio import (
    PEARSON,
    VANILLA,
    CriticLogRatio,
    KnownLogRatio,
    calibration,
    f_gan,
    ratio_report,
    slopes,
)
from tests.ratio.cases import integral, targets, x
from tests.strategies import F64, floats, gaussians, points, untyped


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*mean, variance=1.0):
    d = len(mean)
    return Gaussian(torch.tensor(mean, dtype=F64), variance * torch.eye(d, dtype=F64))


def report(estimate, p, q, n=2000, m=2000, exact=None, bins=10):
    return ratio_report(estimate, p.sample(n, seeded(1)), q.sample(m, seeded(2)), bins=bins, below=1e-6, exact=exact)


@given(p=gaussians(2), q=gaussians(2), m=st.sampled_from([500, 2000]))
@settings(max_examples=10)
def test_the_exact_ratio_is_calibrated_whatever_the_sizes_of_the_samples(p, q, m):
    exact = KnownLogRatio(p, q)
    found = report(exact, p, q, m=m, exact=exact)
    # The error is a mean of ten folded normals about the floor: four times it is beyond chance.
    assert found.calibration.error <= 4 * found.calibration.floor + 1e-3
    assert found.excess_risk == 0.0
    assert found.errors.value == 0.0
    assert found.errors.gradient == 0.0
    assert list(found.calibration.predicted) == sorted(found.calibration.predicted)


@given(factor=st.sampled_from([0.3, 3.0]), shift=floats(0.8, 2.0))
@settings(max_examples=10)
def test_a_ratio_too_bold_or_too_shy_is_miscalibrated_and_its_intervals_say_so(factor, shift):
    p, q = normal(0.0), normal(shift)
    exact = KnownLogRatio(p, q)
    found = report(CriticLogRatio(lambda y: factor * exact(y), VANILLA), p, q, exact=exact).calibration
    assert found.error > 3 * found.floor
    missed = [not each.lo <= said <= each.hi for said, each in zip(found.predicted, found.observed, strict=True)]
    assert sum(missed) >= 4


@given(p=targets(), q=targets(), a=floats(-1.0, 1.0))
def test_ratio_2_the_excess_risk_is_that_of_quadrature(p, q, a):
    """Means over samples of 4000: each term is below its own size by chance only."""
    exact = KnownLogRatio(p, q)
    critic = CriticLogRatio(lambda y: exact(y) + a, VANILLA)
    density = [law.log_prob(x[:, None]).exp() for law in (p, q)]
    truth = exact(x[:, None])
    bernoulli = [torch.distributions.Bernoulli(logits=(truth + b).clamp(-700, 700)) for b in (0.0, a)]
    gap = torch.distributions.kl_divergence(*bernoulli).nan_to_num(posinf=0.0)
    found = report(critic, p, q, n=4000, m=4000, exact=exact).excess_risk
    expected = float(integral((density[0] + density[1]) * gap))
    assert found == pytest.approx(expected, rel=0.1, abs=1e-12)


def test_the_excess_risk_keeps_its_digits_where_the_ratio_is_sure():
    p, q = normal(-20.0), normal(20.0)
    exact = KnownLogRatio(p, q)
    found = report(CriticLogRatio(lambda y: exact(y) + 1.0, VANILLA), p, q, exact=exact)
    assert 0.0 < found.excess_risk < 1e-30
    assert found.separated
    assert not report(exact, normal(0.0), normal(1.0)).separated


@given(seed=st.integers(0, 99), normalized=st.booleans(), activation=st.sampled_from(["tanh", "silu", "softplus"]))
def test_the_upper_bound_of_the_lipschitz_constant_is_above_the_lower(seed, normalized, activation):
    network = MLP(2, 1, hidden=(8, 8), generator=seeded(seed), activation=getattr(torch.nn.functional, activation))
    critic = SpectralNorm(network) if normalized else network
    found = slopes(critic, points(200, 2, seed), below=1e-3)
    assert 0.0 < found.lipschitz_low <= found.lipschitz_high * (1 + 1e-9)
    assert found.lipschitz_low >= max(value for _, value in found.quantiles)
    if normalized and activation == "tanh":
        assert found.lipschitz_high == pytest.approx(1.0, rel=1e-9)


def test_slopes_of_a_linear_critic_are_its_slope_and_of_a_constant_one_are_all_below():
    linear = MLP(3, 1, hidden=(), generator=seeded())
    size = float(linear.layers[0].weight.detach().norm())
    at = points(5000, 3, 0)
    found = slopes(linear, at, below=0.5 * size)
    assert found.share_below == 0.0
    for value in (found.lipschitz_low, found.lipschitz_high, *(value for _, value in found.quantiles)):
        assert value == pytest.approx(size, rel=1e-12)
    with torch.no_grad():
        linear.layers[0].weight.zero_()
    flat = slopes(linear, at, below=1e-9)
    assert (flat.share_below, flat.lipschitz_low, flat.lipschitz_high) == (1.0, 0.0, 0.0)


def test_a_report_judges_the_critic_where_there_is_one_and_knows_no_bound_of_a_function():
    p, q = normal(0.0), normal(0.5)
    exact, objective = KnownLogRatio(p, q), f_gan(PEARSON)
    critic = CriticLogRatio(lambda y: objective.optimum(exact(y)), objective)
    found = report(critic, p, q, exact=exact)
    # D = 2 (r - 1) has slope 2 r |d'|, and d' = -1/2.
    at = q.sample(2000, seeded(2))
    assert found.slopes.lipschitz_low == pytest.approx(float(exact(at).exp().max()), rel=1e-9)
    assert found.slopes.lipschitz_high == math.inf
    assert found.errors.gradient < 1e-12
    bare = report(exact, p, q)
    assert bare.slopes.lipschitz_low == pytest.approx(0.5)
    assert (bare.errors, bare.excess_risk) == (None, None)


def test_bad_input_is_named():
    p, q = normal(0.0, 0.0), normal(1.0, 1.0)
    exact, some = KnownLogRatio(p, q), p.sample(5, seeded())
    bad = some.clone()
    bad[2, 0] = math.nan
    for a, b, bins, message in (
        (bad, some, 2, "p: 1 of 5 rows hold NaN or infinity"),
        (some, some[:0], 2, "q: needs 1 or more rows, got 0"),
        (some, some[:, :1], 2, "p and q: need one dimension"),
        (some, some, 11, "bins: need 1 to all points and points of both laws, got 11 of 5 and 5"),
        (some, some, 0, "bins: need 1 to all points"),
    ):
        with pytest.raises(ValueError, match=message), untyped():
            ratio_report(exact, a, b, bins=bins, below=0.0)
    with pytest.raises(ValueError, match="x: expected at least one point"):
        slopes(exact, some[:0], below=0.0)
    with pytest.raises(ValueError, match="points of both laws, got 1 of 5 and 0"):
        calibration(some[:, 0], some[:0, 0], bins=1)
    with pytest.raises(ValueError, match="its outputs do not depend on the points"):
        slopes(lambda y: torch.ones(len(y), dtype=F64), some, below=0.0)
