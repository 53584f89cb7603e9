"""Estimates: intervals of repeats, labels, logarithms that cannot overflow, strict JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy import stats

from gflow.estimate import Estimate

biases = st.sampled_from(["none", "up", "down", "unknown"])
numbers = st.floats(-1e12, 1e12)


@st.composite
def estimates(draw):
    """Any valid estimate."""
    log10 = draw(st.none() | st.floats(-1e6, 1e6))
    mean = math.inf if log10 is not None and log10 > 308 else draw(numbers)
    lo = draw(st.just(-math.inf) | st.just(mean) | st.floats(-1e15, min(mean, 1e15)))
    hi = draw(st.just(math.inf) | st.just(mean) | st.floats(max(mean, -1e15))) if mean < math.inf else math.inf
    level = draw(st.floats(0.0, 1.0, exclude_min=True))
    return Estimate(mean, lo, hi, draw(st.integers(1, 10**6)), level, draw(biases), log10)


@given(estimates())
def test_strict_json_and_back_is_the_identity(estimate):
    text = json.dumps(estimate.to_dict(), allow_nan=False)
    assert Estimate.from_dict(json.loads(text)) == estimate


def test_infinities_are_strings_in_json():
    fields = Estimate.bound(1e4).to_dict()
    assert (fields["mean"], fields["lo"], fields["hi"]) == ("inf", "inf", "inf")
    assert Estimate(0.0, -math.inf, 1.0).to_dict()["lo"] == "-inf"


@given(values=st.lists(numbers, min_size=2, max_size=8), level=st.floats(0.1, 0.999))
def test_a_pool_has_scipys_student_interval(values, level):
    pooled = Estimate.pool(map(Estimate.exact, values), level=level)
    mean, error = sum(values) / len(values), stats.sem(values)
    scale = max(map(abs, values))
    assert pooled.mean == pytest.approx(mean, rel=1e-12, abs=1e-12 * scale)
    if error > 1e-9 * scale:  # scipy divides by it
        lo, hi = stats.t.interval(level, len(values) - 1, loc=mean, scale=error)
        assert pooled.lo == pytest.approx(lo, rel=1e-7, abs=1e-9 * scale)
        assert pooled.hi == pytest.approx(hi, rel=1e-7, abs=1e-9 * scale)
    assert (pooled.n, pooled.level, pooled.bias) == (len(values), level, "none")


@given(value=numbers, bias=biases)
def test_a_pool_of_one_has_no_interval(value, bias):
    assert Estimate.pool([Estimate.exact(value, bias=bias)]) == Estimate(
        value, -math.inf, math.inf, n=1, level=0.95, bias=bias
    )


@given(value=numbers, n=st.integers(2, 9))
def test_a_pool_of_equal_repeats_is_that_value(value, n):
    pooled = Estimate.pool([Estimate.exact(value)] * n)
    # The mean of n equal numbers may be an ulp away.
    for end in (pooled.lo, pooled.mean, pooled.hi):
        assert end == pytest.approx(value, rel=1e-14)


@given(first=biases, second=biases)
def test_biases_that_differ_pool_to_unknown(first, second):
    pooled = Estimate.pool([Estimate.exact(1.0, bias=first), Estimate.exact(2.0, bias=second)])
    assert pooled.bias == (first if first == second else "unknown")


@given(log_value=st.floats(-1e5, 1e5))
def test_a_bound_carries_its_logarithm_past_overflow(log_value):
    bound = Estimate.bound(log_value)
    assert bound.log10 == pytest.approx(log_value / math.log(10), rel=1e-14)
    assert bound.lo == bound.mean == bound.hi
    if abs(log_value) < 700:
        assert math.log(bound.mean) == pytest.approx(log_value, abs=1e-12)
        assert bound.mean == pytest.approx(10**bound.log10, rel=1e-10)
    assert math.isinf(bound.mean) == (log_value >= 709)


@given(logs=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6))
def test_bounds_pool_as_logarithms(logs):
    pooled = Estimate.pool(map(Estimate.bound, logs))
    assert pooled.log10 == pytest.approx(sum(logs) / len(logs) / math.log(10), rel=1e-9, abs=1e-9)
    assert pooled.lo <= pooled.mean <= pooled.hi
    if max(logs) < 10 and min(logs) > -10:
        direct = Estimate.pool(Estimate.exact(log / math.log(10)) for log in logs)
        assert pooled.lo == pytest.approx(10**direct.lo, rel=1e-9)
        assert pooled.hi == pytest.approx(10**direct.hi if direct.hi < 308 else math.inf, rel=1e-9)


def test_a_bound_of_zero_pools():
    """Two equal fields have the bound 0, whose logarithm is -inf."""
    zero = Estimate.bound(-math.inf)
    assert (zero.mean, zero.log10) == (0.0, -math.inf)
    assert Estimate.pool([zero, zero]).mean == 0.0
    mixed = Estimate.pool([zero, Estimate.bound(1.0)])
    assert (mixed.mean, mixed.lo, mixed.hi, mixed.log10) == (0.0, 0.0, math.inf, -math.inf)


@given(squared=st.floats(0, 1e300), down=st.floats(0, 2), up=st.floats(1, 3))
def test_the_root_is_taken_last_and_of_a_lower_end_raised_to_zero(squared, down, up):
    lo = (1 - down) * squared
    root = Estimate(squared, lo, up * squared, n=5, level=0.95, bias="up").sqrt()
    assert root.mean**2 == pytest.approx(squared, rel=1e-14, abs=1e-300)
    assert root.lo == math.sqrt(max(lo, 0.0))
    assert root.hi == math.sqrt(up * squared)
    assert (root.n, root.level, root.bias) == (5, 0.95, "up")


def test_the_root_of_a_bound_halves_its_logarithm():
    assert Estimate.bound(1e4).sqrt().log10 == pytest.approx(0.5e4 / math.log(10))
    assert Estimate.pool([Estimate.exact(4.0)]).sqrt() == Estimate(2.0, 0.0, math.inf, level=0.95, bias="none")
    with pytest.raises(ValueError, match="needs mean >= 0, got -1"):
        Estimate.exact(-1.0).sqrt()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": math.nan}, "must not be NaN"),
        ({"lo": math.nan}, "must not be NaN"),
        ({"log10": math.nan}, "must not be NaN"),
        ({"lo": 2.0}, "needs lo <= mean <= hi, got 2.0, 1.0, 3.0"),
        ({"hi": 0.5}, "needs lo <= mean <= hi"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"level": 0.0}, r"level must be in \(0, 1\], got 0.0"),
        ({"level": 95.0}, r"level must be in \(0, 1\], got 95.0"),
        ({"mean": math.inf, "hi": math.inf}, "an infinite mean needs log10"),
    ],
)
def test_bad_estimates_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Estimate(**({"mean": 1.0, "lo": 0.0, "hi": 3.0} | fields))


def test_an_unknown_bias_is_refused_on_the_way_from_json():
    # The type checks of the test suite (TypeCheckError) speak before the class's own ValueError.
    with pytest.raises((ValueError, TypeCheckError), match="'sideways'"):
        Estimate.from_dict(Estimate.exact(1.0).to_dict() | {"bias": "sideways"})


@pytest.mark.parametrize(
    ("items", "level", "message"),
    [
        ([], 0.95, "needs at least one estimate"),
        ([Estimate.exact(1.0)], 1.0, r"level must be in \(0, 1\), got 1.0"),
        ([Estimate.bound(1e4), Estimate.exact(1.0)], 0.95, "every estimate has log10"),
    ],
)
def test_bad_pools_are_refused(items, level, message):
    with pytest.raises(ValueError, match=f"Estimate.pool: .*{message}"):
        Estimate.pool(items, level=level)
