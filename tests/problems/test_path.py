"""Paths: derivatives, the SDE behind them, both kinds of time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from scipy import integrate

from gflow.problems import LINEAR, VE, VP, Path, Schedule
from tests.strategies import F64, floats, inside, paths

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

COSINE = Schedule(
    lambda t: torch.cos(0.5 * math.pi * t), lambda t: torch.sin(0.5 * math.pi * t), data_time=0.0, noise_time=1.0
)


@given(paths(), floats(0.05, 0.95))
def test_derivatives_are_those_of_alpha_and_sigma(path: Path, share: float) -> None:
    t = torch.tensor(inside(path, share), dtype=F64)
    one = torch.ones_like(t)
    for value, slope in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        automatic = torch.func.jvp(value, (t,), (one,))[1]
        torch.testing.assert_close(slope(t), automatic, rtol=1e-10, atol=1e-12)


@given(paths(), floats(0.05, 0.95))
def test_floats_stay_floats_and_agree_with_tensors(path: Path, share: float) -> None:
    t = inside(path, share)
    for name in ("alpha", "sigma", "d_alpha", "d_sigma", "drift", "diffusion_squared"):
        f = getattr(path, name)
        value = f(t)
        assert isinstance(value, float)
        assert value == pytest.approx(float(f(torch.tensor(t, dtype=F64))), rel=1e-12, abs=1e-14)


@given(paths(), floats(0.1, 0.4))
def test_the_linear_sde_has_the_moments_of_the_path(path: Path, share: float) -> None:
    start, end = inside(path, share), inside(path, share + 0.5)

    def moments(t: float, y: list[float]) -> list[float]:
        return [path.drift(t) * y[0], 2.0 * path.drift(t) * y[1] + path.diffusion_squared(t)]

    solved = integrate.solve_ivp(
        moments, (start, end), [path.alpha(start), path.sigma(start) ** 2], rtol=1e-10, atol=1e-12
    )
    assert solved.y[0, -1] == pytest.approx(path.alpha(end), rel=1e-7)
    assert solved.y[1, -1] == pytest.approx(path.sigma(end) ** 2, rel=1e-7)


@pytest.mark.parametrize("path", [VP(0.1, 20.0), VE(10.0), LINEAR, COSINE])
def test_data_are_clean_at_data_time(path: Path) -> None:
    assert path.alpha(path.data_time) == pytest.approx(1.0)
    assert path.sigma(path.data_time) == pytest.approx(0.0, abs=1e-15)


def test_the_usual_vp_ends_in_noise() -> None:
    path = VP(0.1, 20.0)
    assert path.alpha(1.0) == pytest.approx(math.exp(-10.05 / 2), rel=1e-14)
    assert path.beta(0.5) == pytest.approx(10.05)


def test_vp_keeps_the_digits_of_small_noise() -> None:
    # sqrt(1 - alpha^2) computed from alpha would be 0 here.
    assert VP(2.0, 2.0).sigma(1e-18) == pytest.approx(math.sqrt(2e-18), rel=1e-12)


@given(floats(0.05, 0.95))
def test_a_schedule_differentiates_by_itself(t: float) -> None:
    assert COSINE.d_alpha(t) == pytest.approx(-0.5 * math.pi * math.sin(0.5 * math.pi * t), rel=1e-12)
    assert COSINE.d_sigma(t) == pytest.approx(0.5 * math.pi * math.cos(0.5 * math.pi * t), rel=1e-12)
    # alpha^2 + sigma^2 = 1, so g^2 = -2 alpha'/alpha
    assert COSINE.diffusion_squared(t) == pytest.approx(math.pi * math.tan(0.5 * math.pi * t), rel=1e-10)
    assert isinstance(COSINE.alpha(t), float)


@pytest.mark.parametrize("path", [VP(0.1, 20.0), VE(1.0), LINEAR])
def test_rounding_outside_the_interval_is_forgiven_and_no_more(path: Path) -> None:
    assert path.sigma(-1e-16) == path.sigma(0.0)
    assert path.sigma(1.0 + 2e-16) == path.sigma(1.0)
    for t in (-1e-6, 1.0 + 1e-6, math.nan):
        with pytest.raises(ValueError, match=r"t: \w+ runs over \[0, 1.0\]"):
            path.sigma(t)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VP(-1.0, 2.0), "beta_min"),
        (lambda: VP(2.0, 1.0), "beta_min <= beta_max"),
        (lambda: VP(0.0, 0.0), "beta_max"),
        (lambda: VP(1.0, math.nan), "beta_max"),
        (lambda: VP(1.0, 1.0, 0.0), "VP: T must be positive"),
        (lambda: VE(-3.0), "VE: sigma_max must be positive"),
        (lambda: VE(math.inf), "sigma_max"),
        (lambda: Schedule(torch.cos, torch.sin, 1.0, 1.0), "data_time and noise_time"),
    ],
)
def test_bad_paths_name_their_argument(make: Callable[[], Path], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_drift_of_pure_noise_is_refused() -> None:
    for f in (LINEAR.drift, LINEAR.diffusion_squared):
        with pytest.raises(ValueError, match=r"t: the drift alpha'/alpha is infinite at t = 0"):
            f(0.0)
