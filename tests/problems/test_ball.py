"""Bounds of the Hessian over balls: above everything found by climbing, sharp for pairs, exact at radius 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor

from gflow.lipschitz import log_norm
from gflow.problems import VP, Empirical, Gaussian, GaussianMixture, NoisedScore, grid_mixture
from gflow.problems.ball import grown, shared_variance_growth
from tests.lipschitz.balls import largest_on_balls
from tests.strategies import F64, build, floats, gaussians, mixtures, points, tensors, untyped, weights

seeds = st.integers(0, 1000)
directions = st.sampled_from([1, -1])
exponents = floats(-3.0, 1.0)


def centres_of(law: Gaussian | GaussianMixture, seed: int, n: int = 12) -> Tensor:
    """Points of the law, and points between two modes, where the Hessian turns fastest."""
    generator = torch.Generator().manual_seed(seed)
    x = law.sample(n, generator)
    return torch.cat([x, 0.5 * (x + x.flip(0)), points(4, law.dim, seed, 4.0)])


def norm_of(law: Gaussian | GaussianMixture, direction: int):
    return lambda x: log_norm(direction * law.hessian(x))


def size(law: GaussianMixture, x: Tensor) -> Tensor:
    """The size of the Hessian and of the precisions behind it."""
    narrowest = float(torch.linalg.eigvalsh(law.covariance_matrices()).min())
    return 1.0 + law.hessian(x).flatten(1).norm(dim=1) + 1.0 / narrowest


def slack(law: GaussianMixture, x: Tensor) -> Tensor:
    """Round-off of a Hessian and of a supremum found by climbing."""
    return 1e-9 * size(law, x)


laws = st.one_of(mixtures(), mixtures(kind="shared"))


@given(laws, seeds, exponents, directions)
def test_w2b_20_the_bound_is_above_all_that_climbing_finds_on_the_ball(law, seed, exponent, direction):
    x = centres_of(law, seed)
    radii = torch.full((len(x),), 10.0**exponent, dtype=F64)
    bound = law.ball_log_norm(x, radii, direction=direction)
    found = largest_on_balls(norm_of(law, direction), x, radii, seed=seed)
    assert bool((found <= bound + slack(law, x)).all())


@given(laws, seeds, directions)
def test_the_bound_is_the_value_at_the_centre_and_grows_from_there_without_a_jump(law, seed, direction):
    x = centres_of(law, seed)
    here, allowed = norm_of(law, direction)(x), slack(law, x)
    still, tiny = (
        law.ball_log_norm(x, torch.full((len(x),), radius, dtype=F64), direction=direction) - here
        for radius in (0.0, 1e-7)
    )
    assert bool((still.abs() <= allowed).all())
    # The slope is some widths of the means over a variance, at most 1e4, times the size; a jump is not.
    assert bool((tiny <= 1e-7 * 1e4 * size(law, x)).all())


@given(laws, seeds, directions, st.lists(floats(0.0, 5.0), min_size=2, max_size=2))
def test_a_larger_ball_has_no_smaller_bound(law, seed, direction, radii):
    x = centres_of(law, seed)
    small, large = (
        law.ball_log_norm(x, torch.full((len(x),), radius, dtype=F64), direction=direction) for radius in sorted(radii)
    )
    assert bool((small <= large + slack(law, x)).all())


@given(mixtures(kind="shared"), seeds, exponents)
def test_orc_12_the_bound_is_below_the_global_constant_and_below_the_centre_plus_k_radius(law, seed, exponent):
    x, radius = centres_of(law, seed), 10.0**exponent
    bound = law.ball_log_norm(x, torch.full((len(x),), radius, dtype=F64), direction=1)
    allowed = slack(law, x)
    assert bool((bound <= law.score_osl().mean + allowed).all())
    assert bool((bound <= norm_of(law, 1)(x) + law.hessian_lipschitz().mean * radius + allowed).all())


@given(st.integers(1, 3), st.data(), floats(0.05, 1.0), floats(0.0, 2.0), seeds)
def test_for_a_pair_the_bound_is_the_supremum(d, data, variance, radius, seed):
    means, w = data.draw(tensors((2, d), -2.0, 2.0)), data.draw(weights(2))
    law = build(GaussianMixture, w, means, torch.full((2,), variance, dtype=F64))
    axis = means[1] - means[0]
    x = centres_of(law, seed)
    # The Hessian varies along the axis alone; it is largest on the midplane or nearest to it.
    along = torch.linspace(-radius, radius, 1001, dtype=F64)[:, None, None] * axis / axis.norm().clamp_min(1e-12)
    found = norm_of(law, 1)((x + along).reshape(-1, d)).reshape(-1, len(x)).amax(0)
    bound = law.ball_log_norm(x, torch.full((len(x),), radius, dtype=F64), direction=1)
    # The grid misses the supremum by K times half its spacing at most.
    assert bool((bound <= found + law.hessian_lipschitz().mean * radius / 1000 + slack(law, x)).all())
    assert bool((bound >= found - slack(law, x)).all())


@given(tensors((2,), 0.2, 1.5), floats(0.1, 1.0), floats(0.0, 1.0), seeds)
def test_for_a_grid_of_pairs_the_bound_is_the_supremum(sides, variance, radius, seed):
    a, b = sides.tolist()
    means = torch.tensor([[a, b], [-a, b], [a, -b], [-a, -b]], dtype=F64)
    law = build(GaussianMixture, torch.full((4,), 0.25, dtype=F64), means, torch.full((4,), variance, dtype=F64))
    x = centres_of(law, seed)
    along = torch.linspace(-radius, radius, 1001, dtype=F64)[:, None, None]
    moved = torch.cat([x + along * torch.eye(2, dtype=F64)[i] for i in (0, 1)])
    found = norm_of(law, 1)(moved.reshape(-1, 2)).reshape(-1, len(x)).amax(0)
    bound = law.ball_log_norm(x, torch.full((len(x),), radius, dtype=F64), direction=1)
    assert bool((bound <= found + law.hessian_lipschitz().mean * radius / 1000 + slack(law, x)).all())
    assert bool((bound >= found - slack(law, x)).all())


@pytest.mark.parametrize("radius", [0.05, 0.2, 0.4])
def test_orc_12_at_a_mode_the_bound_beats_the_global_constant_and_the_lipschitz_one(radius):
    law = grid_mixture(2, 2.0, 0.3)
    x, radii = law.means, torch.full((4,), radius, dtype=F64)
    bound = law.ball_log_norm(x, radii, direction=1)
    coarse = (norm_of(law, 1)(x) + law.hessian_lipschitz().mean * radii).clamp_max(law.score_osl().mean)
    # A mode's curvature is -1 / 0.09; halfway to the midplane the other mode is still invisible.
    assert float(bound.max()) < -10.0
    assert float((coarse - bound).min()) > 100.0 * radius


def test_weights_below_the_smallest_float_still_count():
    means = torch.tensor([[-50.0, 0.0], [50.0, 0.3]], dtype=F64)
    law = GaussianMixture(torch.tensor([0.5, 0.5], dtype=F64), means, torch.full((2,), 0.01, dtype=F64))
    assert float(law.components.affine_mix(means[:1], law.log_weights).log_gamma.min()) < -1e5
    for kind in (law, GaussianMixture(law.weights, means, law.covariance_matrices())):
        near, far = (kind.ball_log_norm(means[:1], torch.tensor([r], dtype=F64), direction=1) for r in (40.0, 51.0))
        assert float(near) == pytest.approx(-100.0)
        # The ball reaches the midplane now.
        assert float(far) >= law.score_osl().mean * (1 - 1e-9)


@given(seeds, exponents)
def test_a_noised_cloud_is_bounded_by_its_near_points(seed, exponent):
    cloud = torch.rand(60, 3, generator=torch.Generator().manual_seed(seed), dtype=F64)
    law = Empirical(cloud).at(VP(1.0, 1.0), 0.02)
    x = centres_of(law, seed, 6)
    radii = torch.full((len(x),), 10.0**exponent / 10, dtype=F64)
    bound = law.ball_log_norm(x, radii, direction=1)
    assert bool((largest_on_balls(norm_of(law, 1), x, radii, seed=seed) <= bound + slack(law, x)).all())
    assert bool((bound <= law.score_osl().mean * (1 + 1e-12)).all())


def test_more_components_than_pairs_can_afford_are_bounded_too():
    cloud = torch.rand(1100, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    law = Empirical(cloud).at(VP(1.0, 1.0), 0.01)
    x = centres_of(law, 0, 6)
    for radius in (0.01, 0.1, 10.0):
        radii = torch.full((len(x),), radius, dtype=F64)
        bound = law.ball_log_norm(x, radii, direction=1)
        assert bool((largest_on_balls(norm_of(law, 1), x, radii, seed=0) <= bound + slack(law, x)).all())
    # Twice the radius in place of the diameter costs at most the factor 2 squared.
    assert bool((bound <= 4 * law.score_osl().mean + 4 / law.components.variance).all())
    ends = torch.cat([0.01 * cloud, 0.01 * cloud + 1.0])
    law = Empirical(ends).at(VP(1.0, 1.0), 0.01)
    middle = law.mean().unsqueeze(0)
    assert float(law.ball_log_norm(middle, middle.new_zeros(1), direction=1)) >= float(norm_of(law, 1)(middle)) - 1e-6


@pytest.mark.parametrize("axis", [True, False])
@pytest.mark.parametrize("width", [0.5, 3.0])
@pytest.mark.parametrize("share", [1e-6, 0.05, 1 / 6, 0.2, 0.25])
def test_the_growth_of_a_variance_solves_its_equation(axis, width, share):
    def rate(q):
        less = np.array([q]) if axis else np.linspace(0.0, q, 10001)
        return (less * np.sqrt(np.maximum(width**2 - 4 * less, 0.0))).max()

    start, radii = share * width**2, np.linspace(0.0, 12.0 / width, 25)
    solved = integrate.solve_ivp(
        lambda _, q: [rate(q[0])], (0.0, radii[-1]), [start], t_eval=radii, rtol=1e-8, atol=1e-12
    )
    expected = torch.from_numpy(np.minimum(solved.y[0], width**2 / 4))
    if axis and share < 0.25:  # the rate vanishes at the top, where the equation has more than one solution
        top = int(expected.argmax())
        expected[top:] = expected[top]
    q = torch.full((25, 1), start, dtype=F64)
    found = grown(q, torch.tensor([width], dtype=F64), torch.from_numpy(radii), axis=axis)[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * width**2)


def test_only_means_on_a_line_grow_as_on_an_axis():
    for means, axis in (
        (torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], dtype=F64), True),
        (torch.tensor([[0.0, 0.0], [1.0, 1.1], [2.0, 2.0]], dtype=F64), False),
    ):
        law = GaussianMixture(torch.tensor([0.5, 0.25, 0.25], dtype=F64), means, torch.full((3,), 0.5, dtype=F64))
        x, radii = means, torch.full((3,), 0.7, dtype=F64)
        mix = law.components.affine_mix(x, law.log_weights)
        q = torch.linalg.eigvalsh(mix.score_covariance())[:, -1:]
        expected = grown(q, torch.tensor([2 * math.sqrt(8.0)], dtype=F64), radii, axis=axis)[:, 0]
        torch.testing.assert_close(shared_variance_growth(law.components, law.log_weights, mix, radii), expected)


@given(gaussians(), directions)
def test_a_gaussian_has_one_value(law, direction):
    x = points(5, law.dim, 0)
    bound = law.ball_log_norm(x, torch.linspace(0.0, 9.0, 5, dtype=F64), direction=direction)
    torch.testing.assert_close(bound, norm_of(law, direction)(x), rtol=1e-9, atol=1e-9)


@given(mixtures(), seeds, directions)
def test_chunks_and_the_path_change_nothing(law, seed, direction):
    x = points(7, law.dim, seed)
    radii = torch.linspace(0.0, 1.0, 7, dtype=F64)
    chunked = build(GaussianMixture, law.weights, law.means, law.covariances, 3)
    whole = law.ball_log_norm(x, radii, direction=direction)
    torch.testing.assert_close(chunked.ball_log_norm(x, radii, direction=direction), whole)
    path = VP(1.0, 1.0)
    noised = NoisedScore(law, path).ball_log_norm(0.3, x, radii, direction=direction)
    torch.testing.assert_close(noised, law.at(path, 0.3).ball_log_norm(x, radii, direction=direction))


@pytest.mark.parametrize("kind", ["shared", "isotropic", "full"])
def test_float32_agrees_with_float64(kind):
    means = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.4, 1.0]], dtype=F64)
    covariances = {
        "shared": torch.full((3,), 0.3, dtype=F64),
        "isotropic": torch.tensor([0.3, 0.5, 0.2], dtype=F64),
        "full": torch.eye(2, dtype=F64).repeat(3, 1, 1) * torch.tensor([0.3, 0.5, 0.2], dtype=F64)[:, None, None],
    }[kind]
    law = GaussianMixture(torch.tensor([0.2, 0.3, 0.5], dtype=F64), means, covariances)
    low = GaussianMixture(law.weights.float(), means.float(), covariances.float())
    x, radii = centres_of(law, 0), torch.linspace(0.0, 0.5, 28, dtype=F64)
    for direction in (1, -1):
        single = low.ball_log_norm(x.float(), radii.float(), direction=direction)
        assert single.dtype == torch.float32
        double = law.ball_log_norm(x, radii, direction=direction)
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


def test_bad_balls_and_directions_are_named():
    law = grid_mixture(2, 1.0, 0.3)
    x, radii = law.means, torch.ones(4, dtype=F64)
    for bounded in (law, Gaussian(x[0], torch.eye(2, dtype=F64))):
        with untyped():
            with pytest.raises(ValueError, match=r"direction: expected \+1"):
                bounded.ball_log_norm(x, radii, direction=0)
            with pytest.raises(ValueError, match=r"radii: must be finite and not negative, got -1.0 in row 2"):
                bounded.ball_log_norm(x, radii * torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=F64), direction=1)
            with pytest.raises(ValueError, match="x: expected points of shape"):
                bounded.ball_log_norm(torch.zeros(4, 3, dtype=F64), radii, direction=1)
    assert math.isfinite(float(law.ball_log_norm(x, 1e300 * radii, direction=1).max()))
