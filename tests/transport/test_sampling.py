"""The sampling floor: what an empirical W2 reads when the truth is zero."""

from __future__ import annotations

from statistics import fmean

import pytest
import torch

from gflow.transport import ExactW2, GelbrichW2, sampling_floor
from tests.strategies import points


def normal(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, 2, generator=generator, dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_floor_of_a_normal_law_in_the_plane():
    # E W2^2 between two samples of n points of N(0, I_2) is about 1.2 log(n) / n here: .149^2 at n = 2048.
    floor = sampling_floor(normal, n=128, repeats=8, generator=generator())
    assert 0.3 < floor.sqrt().mean < 0.6
    assert floor.lo < floor.mean < floor.hi
    assert (floor.n, floor.level, floor.bias) == (8, 0.95, "up")


def test_the_floor_falls_with_n():
    means = [sampling_floor(normal, n=n, repeats=4, generator=generator()).mean for n in (16, 64, 256)]
    assert means[0] > 1.5 * means[1] > 3 * means[2]


def test_a_cloud_is_split_into_disjoint_samples():
    seen = []

    class Recorder:
        def __call__(self, x, y, /):
            seen.append(torch.cat([x, y]))
            return ExactW2()(x, y)

    cloud = points(21, 3, seed=0)
    floor = sampling_floor(cloud, n=10, repeats=3, generator=generator(), estimator=Recorder())
    assert floor.mean > 0  # a sample against itself would read 0
    for both in seen:
        assert len(torch.unique(both, dim=0)) == 20
    assert not torch.equal(seen[0], seen[1])


def test_the_floor_is_the_mean_of_its_repeats():
    seen = []

    class Recorder:
        def __call__(self, x, y, /):
            seen.append(ExactW2()(x, y))
            return seen[-1]

    floor = sampling_floor(normal, n=5, repeats=4, generator=generator(), estimator=Recorder())
    assert floor.mean == pytest.approx(fmean(value.mean for value in seen), rel=1e-12)


@pytest.mark.parametrize("source", [normal, points(40, 2, seed=1)])
def test_the_floor_is_a_function_of_the_generator(source):
    first, again, other = (sampling_floor(source, n=20, repeats=2, generator=generator(s)).mean for s in (3, 3, 4))
    assert first == again != other


def test_one_repeat_has_no_interval_and_any_estimator_serves():
    floor = sampling_floor(normal, n=50, repeats=1, generator=generator(), estimator=GelbrichW2())
    assert (floor.lo, floor.hi) == (float("-inf"), float("inf"))
    assert floor.bias == "up"  # the truth is 0, whatever the estimator does elsewhere


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeats": 0}, "repeats: needs at least 1, got 0"),
        ({"n": 0}, "n: needs at least 1 point per sample, got 0"),
        ({"n": 11}, "n: at most half of the 20 points of source, 10, got 11"),
        ({"source": torch.tensor([[0.0], [float("nan")]]), "n": 1}, "source: 1 of 2 points hold NaN"),
        ({"source": torch.zeros(1, 2), "n": 1}, "source: needs at least 2 points, got 1"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"source": points(20, 2, seed=0), "n": 5, "repeats": 2} | change
    with pytest.raises(ValueError, match=message):
        sampling_floor(arguments.pop("source"), **arguments, generator=generator())
