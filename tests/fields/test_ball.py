"""Bounds over balls of whole fields: direction of time, weights of the score, flows between mixtures."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.fields import GaussianDisplacement, ProbabilityFlow, RectifiedFlow, ReverseDrift, reverse
from gflow.lipschitz import log_norm
from gflow.problems import LINEAR, VP, Gaussian, GaussianMixture, NoisedScore
from tests.lipschitz.balls import largest_on_balls
from tests.strategies import F64, build, floats, gaussians, inside, mixtures, paths, points, untyped

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

seeds = st.integers(0, 1000)
directions = st.sampled_from([1, -1])
exponents = floats(-3.0, 0.5)


def balls(d, seed, exponent, n=12):
    return points(n, d, seed), torch.full((n,), 10.0**exponent, dtype=F64)


def check(field, t, x, radii, direction, seed):
    """The bound holds where climbing looks, and is the value at the centre for radius 0."""
    bound = field.ball_log_norm(t, x, radii, direction=direction)
    here = log_norm(direction * field.jacobian(t, x))
    slack = 1e-9 * (1.0 + field.jacobian(t, x).flatten(1).norm(dim=1) + bound.abs())
    found = largest_on_balls(lambda y: log_norm(direction * field.jacobian(t, y)), x, radii, seed=seed)
    assert bool((found <= bound + slack).all())
    still = field.ball_log_norm(t, x, torch.zeros_like(radii), direction=direction)
    torch.testing.assert_close(still, here, rtol=1e-7, atol=1e-7 * float(slack.max() * 1e9))


@given(st.one_of(gaussians(), mixtures()), paths(), floats(0.1, 0.9), floats(0.0, 2.0), directions, seeds, exponents)
def test_w2b_2_the_drift_is_bounded_in_both_directions_of_time(law, path, share, rho, direction, seed, exponent):
    t = inside(path, share)
    x, radii = balls(law.dim, seed, exponent)
    check(ReverseDrift(path, NoisedScore(law, path), rho), t, x, radii, direction, seed)


@settings(max_examples=10)
@given(mixtures(), floats(0.0, 1.0), directions, seeds, exponents)
def test_w2b_2_a_reversed_field_has_the_bound_of_the_other_direction(law, s, direction, seed, exponent):
    path = VP(1.0, 1.0, 1.1)
    flow = ProbabilityFlow(path, NoisedScore(law, path))
    x, radii = balls(law.dim, seed, exponent)
    turned = reverse(flow, 1.1).ball_log_norm(s, x, radii, direction=direction)
    torch.testing.assert_close(turned, flow.ball_log_norm(1.1 - s, x, radii, direction=-direction))
    check(reverse(flow, 1.1), s, x, radii, direction, seed)


@given(mixtures(kind="shared"), paths(), floats(0.1, 0.9), floats(0.0, 2.0), seeds)
def test_the_jacobian_of_the_drift_moves_at_most_by_its_lipschitz_constant(law, path, share, rho, seed):
    t, score = inside(path, share), NoisedScore(law, path)
    drift = ReverseDrift(path, score, rho)
    constant = drift.jacobian_lipschitz(t)
    weight = 0.5 * (1.0 + rho) * abs(path.diffusion_squared(t))
    assert constant.mean == pytest.approx(weight * score.jacobian_lipschitz(t).mean, rel=1e-12)
    assert constant.bias == score.jacobian_lipschitz(t).bias
    assert reverse(drift, 5.0).jacobian_lipschitz(5.0 - t).mean == pytest.approx(constant.mean, rel=1e-6)
    x, step = points(20, law.dim, seed), 0.1 * points(20, law.dim, seed + 1)
    change = torch.linalg.matrix_norm(drift.jacobian(t, x + step) - drift.jacobian(t, x), 2)
    assert bool((change <= constant.mean * step.norm(dim=1) * (1 + 1e-9) + 1e-9 * weight).all())


@st.composite
def ends(draw):
    """Two mixtures of one dimension; now and then with one covariance each, which is the sharper case."""
    d, kinds = draw(st.integers(1, 3)), st.sampled_from(["shared", "shared", "isotropic", "full"])
    return draw(mixtures(d, draw(kinds))), draw(mixtures(d, draw(kinds)))


@given(ends(), floats(0.0, 1.0), directions, seeds, exponents)
def test_orc_6_the_flow_between_mixtures_is_bounded_in_both_directions(pair, t, direction, seed, exponent):
    x, radii = balls(pair[0].dim, seed, exponent)
    check(RectifiedFlow(LINEAR, *pair), t, x, radii, direction, seed)


def test_orc_6_slopes_may_be_shared_where_covariances_are_not():
    """At the noise's end all pairs move by -y, whatever their covariances."""
    pair = [mixture_of(covariances) for covariances in ((1.0, 2.0), (0.5, 3.0))]
    x, radii = balls(2, 0, -1.0)
    for direction in (1, -1):
        check(RectifiedFlow(LINEAR, *pair), 0.0, x, radii, direction, 0)


def mixture_of(variances):
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=F64)
    return GaussianMixture(torch.tensor([0.3, 0.7], dtype=F64), means, torch.tensor(variances, dtype=F64))


@given(ends(), floats(0.05, 0.95), directions, seeds)
def test_the_bound_between_mixtures_grows_with_the_radius_and_without_a_jump(pair, t, direction, seed):
    field, x = RectifiedFlow(LINEAR, *pair), points(8, pair[0].dim, seed)
    values = [
        field.ball_log_norm(t, x, torch.full((8,), radius, dtype=F64), direction=direction)
        for radius in (0.0, 1e-8, 0.1, 1.0, 1e3)
    ]
    size = 1.0 + field.jacobian(t, x).flatten(1).norm(dim=1)
    for small, large in zip(values[:-1], values[1:], strict=True):
        assert bool((small <= large + 1e-9 * size).all())
    # Slopes: the pairs' scores over their distance, up to 1e3 at variance .05, times the Jacobian's parts.
    assert bool((values[1] - values[0] <= 1e-8 * 1e5 * size).all())


@st.composite
def shared_ends(draw):
    d = draw(st.integers(1, 3))
    return draw(mixtures(d, "shared")), draw(mixtures(d, "shared"))


@given(shared_ends(), floats(0.05, 0.95), directions, seeds)
def test_with_one_covariance_the_bound_stays_below_one_of_all_space(pair, t, direction, seed):
    p0, p1 = pair
    x = points(8, p0.dim, seed)
    bound = RectifiedFlow(LINEAR, p0, p1).ball_log_norm(t, x, torch.full((8,), 1e8, dtype=F64), direction=direction)
    v0, v1 = float(p0.covariances[0]), float(p1.covariances[0])
    variance = (1 - t) ** 2 * v0 + t**2 * v1
    slope = (t * v1 - (1 - t) * v0) / variance
    # Cov(a, b) / S is at most |a| |b| / (4 S) for values within balls of diameters |a| and |b|.
    means = ((1 - t) * p0.means[:, None] + t * p1.means).flatten(0, 1)
    rates = (p1.means - p0.means[:, None]).flatten(0, 1) - slope * means
    diameters = [float(torch.cdist(q, q).max()) for q in (means, rates)]
    allowed = direction * slope + diameters[0] * diameters[1] / (4 * variance)
    assert bool((bound <= allowed * (1 + 1e-9) + 1e-6).all())


@given(mixtures(kind="shared"), floats(0.1, 0.9), seeds, exponents)
def test_reflow_1_from_noise_the_bound_is_no_sharper_than_that_of_the_probability_flow(law, t, seed, exponent):
    noise = build(Gaussian, torch.zeros(law.dim, dtype=F64), torch.eye(law.dim, dtype=F64))
    x, radii = balls(law.dim, seed, exponent)
    rectified = RectifiedFlow(LINEAR, noise, law).ball_log_norm(t, x, radii, direction=1)
    flow = ProbabilityFlow(LINEAR, NoisedScore(law, LINEAR)).ball_log_norm(t, x, radii, direction=1)
    assert bool((flow <= rectified + 1e-7 * (1 + rectified.abs())).all())


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("radius", [1e-3, 1e-2, 3e-2])
def test_between_mixtures_the_rise_over_the_centre_is_a_few_times_the_true_one(t, radius):
    means = torch.tensor([[-2.0, 0.0], [-2.0, 1.5], [2.0, 0.0], [2.0, 1.5], [1.0, -1.0]], dtype=F64)
    p0 = GaussianMixture(torch.full((2,), 0.5, dtype=F64), means[:2], torch.full((2,), 0.2, dtype=F64))
    p1 = GaussianMixture(torch.full((3,), 1 / 3, dtype=F64), means[2:], torch.full((3,), 0.1, dtype=F64))
    field, generator = RectifiedFlow(LINEAR, p0, p1), torch.Generator().manual_seed(0)
    x = (1 - t) * p0.sample(200, generator) + t * p1.sample(200, generator)
    radii = torch.full((200,), radius, dtype=F64)
    here = log_norm(field.jacobian(t, x))
    found = largest_on_balls(lambda y: log_norm(field.jacobian(t, y)), x, radii, seed=0)
    rise = field.ball_log_norm(t, x, radii, direction=1) - here
    # Measured 3 to 10: at t = 0.2 terms cancel in the truth that the bound adds up.
    assert float(rise.mean()) < 12.0 * float((found - here).mean())


@given(gaussians(2), gaussians(2), floats(0.0, 1.0), directions)
def test_orc_8_displacement_has_one_value(p0, p1, t, direction):
    field, x = GaussianDisplacement(p0, p1), points(3, 2, 0)
    bound = field.ball_log_norm(t, x, torch.tensor([0.0, 1.0, 9.0], dtype=F64), direction=direction)
    torch.testing.assert_close(bound, log_norm(direction * field.jacobian(t, x)), rtol=1e-8, atol=1e-8)


def test_a_score_that_knows_nothing_is_named():
    drift = ProbabilityFlow(VP(1.0, 1.0), lambda t, x: -x)
    x, radii = points(3, 2, 0), torch.ones(3, dtype=F64)
    with untyped():
        with pytest.raises(TypeError, match="jacobian_lipschitz: the score must have a method"):
            drift.jacobian_lipschitz(0.5)
        with pytest.raises(TypeError, match="ball_log_norm: the score must have a method"):
            reverse(drift, 1.0).ball_log_norm(0.5, x, radii, direction=1)
        with pytest.raises(TypeError, match="ball_log_norm: the field must have a method"):
            reverse(lambda t, y: y, 1.0).ball_log_norm(0.5, x, radii, direction=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_the_balls_is_kept(dtype):
    means = torch.tensor([[0.5, 0.5], [-0.5, 0.5]], dtype=dtype)
    law = GaussianMixture(means.new_tensor([0.5, 0.5]), means, means.new_tensor([0.1, 0.1]))
    noise = Gaussian(means[0], torch.eye(2, dtype=dtype))
    x, radii = means + 0.1, means.new_tensor([0.1, 0.2])
    for field in (
        reverse(ProbabilityFlow(VP(1.0, 1.0), NoisedScore(law, VP(1.0, 1.0))), 1.0),
        RectifiedFlow(LINEAR, noise, law),
        GaussianDisplacement(noise, Gaussian(means[1], torch.eye(2, dtype=dtype))),
    ):
        with torch.device("meta"):
            bound = field.ball_log_norm(0.5, x, radii, direction=1)
        assert (bound.dtype, bound.device.type, bound.shape) == (dtype, "cpu", (2,))


def test_where_the_diffusion_vanishes_only_the_drift_is_left_even_of_an_infinite_bound():
    class Unbounded:
        def __call__(self, t, x):
            return -x

        def ball_log_norm(self, t, centres, radii, *, direction):
            return torch.full_like(radii, math.inf)

    path = VP(0.0, 2.0, 1.0)
    assert float(path.diffusion_squared(0.0)) == 0.0
    field = ProbabilityFlow(path, Unbounded())
    centres = torch.zeros(3, 2, dtype=torch.float64)
    bound = field.ball_log_norm(0.0, centres, centres[:, 0] + 1.0, direction=-1)
    torch.testing.assert_close(bound, torch.full((3,), -float(path.drift(0.0)), dtype=torch.float64))
