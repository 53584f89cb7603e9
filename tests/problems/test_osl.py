"""One-sided Lipschitz constants of scores against searches over space (ORC-12)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacfwd, vmap

from gflow.problems import VP, Empirical, Gaussian, GaussianMixture, NoisedScore, Path, grid_mixture
from tests.strategies import F64, floats, gaussians, inside, mixtures, paths, points, spd, tensors, untyped, weights

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

seeds = st.integers(0, 1000)


def largest(law: Gaussian | GaussianMixture, x: Tensor) -> float:
    """The search: the largest eigenvalue of the Hessian over the rows of x."""
    return float(torch.linalg.eigvalsh(law.hessian(x)).max())


def shared(means: Tensor, variance: float, w: Tensor | None = None) -> GaussianMixture:
    k = len(means)
    w = torch.full((k,), 1.0 / k, dtype=F64) if w is None else w
    return GaussianMixture(w, means, torch.full((k,), variance, dtype=F64))


@given(gaussians(), seeds)
def test_gaussian_constant_is_attained(law: Gaussian, seed: int) -> None:
    estimate = law.score_osl()
    assert estimate.bias == "none"
    assert estimate.mean == pytest.approx(largest(law, points(2, law.dim, seed)), rel=1e-10)


@given(st.integers(1, 3), st.data(), floats(0.1, 1.0), seeds)
def test_orc_12_a_pair_reaches_its_constant_on_the_midplane(
    d: int, data: st.DataObject, variance: float, seed: int
) -> None:
    means, w = data.draw(tensors((2, d), -2.0, 2.0)), data.draw(weights(2))
    law = shared(means, variance, w)
    constant = law.score_osl()
    assert constant.bias == "none"
    offset = means[1] - means[0]
    # Where both responsibilities are 1/2; weights only shift the plane.
    shift = variance * torch.log(w[0] / w[1]) / (offset @ offset).clamp_min(1e-12)
    middle = (means.mean(0) + shift * offset).unsqueeze(0)
    slack = 1e-9 * (abs(constant.mean) + 1.0 / variance)
    assert largest(law, torch.cat([points(500, d, seed), middle])) <= constant.mean + slack
    if float(offset.norm()) > 1e-3:
        assert largest(law, middle) >= constant.mean - slack


@given(floats(0.3, 2.0), floats(0.3, 2.0), floats(0.1, 1.0), paths(), floats(0.0, 0.8))
def test_orc_12_a_grid_of_pairs_has_the_constant_of_its_wider_axis(
    a: float, b: float, variance: float, path: Path, share: float
) -> None:
    means = torch.tensor([[a, b], [-a, b], [a, -b], [-a, -b]], dtype=F64) + 0.3
    score, t = NoisedScore(shared(means, variance), path), inside(path, share)
    constant = score.osl(t)
    alpha, c = path.alpha(t), max(a, b)
    noised = alpha**2 * variance + path.sigma(t) ** 2
    assert constant.bias == "none"
    assert constant.mean == pytest.approx((alpha * c) ** 2 / noised**2 - 1.0 / noised, rel=1e-9, abs=1e-9)
    grid = torch.cartesian_prod(*[torch.linspace(-3.0, 3.0, 31, dtype=F64)] * 2) + alpha * 0.3
    found = float(torch.linalg.eigvalsh(score.jacobian(t, grid)).max())
    assert found == pytest.approx(constant.mean, rel=1e-9, abs=1e-9)


@given(floats(0.05, 0.5), seeds)
def test_a_simplex_of_modes_approaches_its_constant_and_stays_below(variance: float, seed: int) -> None:
    means = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.4, 1.0]], dtype=F64)
    law = shared(means, variance, torch.tensor([0.2, 0.3, 0.5], dtype=F64))
    constant = law.score_osl()
    assert constant.bias == "none"
    assert constant.mean == pytest.approx(1.0 / variance**2 - 1.0 / variance)
    # Down between the two lower modes, the third one fades.
    across = torch.linspace(0.0, 2.0, 2001, dtype=F64)
    edge = torch.stack([across, torch.full_like(across, -40.0 * variance)], 1)
    found = largest(law, torch.cat([edge, points(500, 2, seed)]))
    assert constant.mean * (1.0 - 1e-3) - 1.0 / variance * 1e-3 <= found <= constant.mean + 1e-9 / variance**2


@given(mixtures(kind="shared"), seeds)
def test_the_constant_is_never_exceeded(law: GaussianMixture, seed: int) -> None:
    bound = law.score_osl().mean
    assert largest(law, points(300, law.dim, seed)) <= bound + 1e-9 * (1.0 + abs(bound))


@pytest.mark.parametrize("side", [3, 4, 5])
def test_longer_grids_get_an_upper_bound_by_their_side(side: int) -> None:
    law = grid_mixture(side, 1.0, 0.3)
    bound = law.score_osl()
    assert bound.bias == "up"
    assert bound.mean == pytest.approx(((side - 1) / 2.0) ** 2 / 0.09**2 - 1.0 / 0.09)
    grid = torch.cartesian_prod(*[torch.linspace(-2.5, 2.5, 41, dtype=F64)] * 2)
    assert largest(law, grid) <= bound.mean


def test_unequal_weights_of_a_grid_fall_back_to_its_diagonal() -> None:
    means = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=F64)
    law = shared(means, 0.5, torch.tensor([0.4, 0.1, 0.1, 0.4], dtype=F64))
    bound = law.score_osl()
    assert bound.bias == "up"
    assert bound.mean == pytest.approx(2.0 / 0.25 - 2.0)
    # The side's constant would be 1/.25 - 2 = 2: the diagonal pair exceeds it.
    assert 2.0 < largest(law, points(2000, 2, 0)) <= bound.mean


def test_a_noised_cloud_has_an_upper_bound_by_its_diameter() -> None:
    cloud = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.5, 0.5]], dtype=F64)
    bound = NoisedScore(Empirical(cloud), VP(2.0, 2.0)).osl(0.3)
    variance = 1.0 - math.exp(-0.6)
    assert bound.bias == "up"
    assert bound.mean == pytest.approx(2.5 * math.exp(-0.6) / variance**2 - 1.0 / variance)


@given(spd(2))
def test_one_component_is_a_gaussian(covariance: Tensor) -> None:
    mean = torch.zeros(2, dtype=F64)
    law = GaussianMixture(torch.ones(1, dtype=F64), mean.unsqueeze(0), covariance.unsqueeze(0))
    assert law.score_osl().mean == pytest.approx(Gaussian(mean, covariance).score_osl().mean)
    assert law.score_osl().bias == "none"


def test_no_constant_is_invented_where_none_is_known() -> None:
    half, means = torch.full((2,), 0.5, dtype=F64), torch.tensor([[0.0], [1.0]], dtype=F64)
    law = GaussianMixture(half, means, torch.tensor([1.0, 2.0], dtype=F64))
    with untyped(), pytest.raises(ValueError, match="score_osl: no closed form is known"):
        law.score_osl()


def steepest(law: GaussianMixture, x: Tensor, seed: int) -> float:
    """The search: the largest |D^3 log p[u, u, w]| over the rows of x and unit u, w, by alternating maximisation."""
    third = vmap(jacfwd(lambda row: law.hessian(row.unsqueeze(0))[0]))(x)
    best = 0.0
    for start in range(3):
        w = points(len(x), x.shape[1], seed + start)
        for _ in range(6):
            bent = torch.einsum("nabc,nc->nab", third, w / w.norm(dim=1, keepdim=True).clamp_min(1e-30))
            values, axes = torch.linalg.eigh((bent + bent.mT) / 2)
            best = max(best, float(values.abs().max()))
            u = torch.where(values[:, -1:] >= -values[:, :1], axes[:, :, -1], axes[:, :, 0])
            w = torch.einsum("nabc,na,nb->nc", third, u, u)
    return best


@given(mixtures(kind="shared"), seeds)
def test_the_third_derivative_never_exceeds_the_lipschitz_constant_of_the_hessian(
    law: GaussianMixture, seed: int
) -> None:
    bound = law.hessian_lipschitz().mean
    x = torch.cat([points(40, law.dim, seed), law.means, law.means.mean(0, keepdim=True)])
    assert steepest(law, x, seed) <= bound + 1e-9 * (1.0 + bound)


@given(st.integers(1, 3), st.data(), floats(0.1, 1.0))
def test_a_pair_reaches_the_lipschitz_constant_beside_its_midplane(
    d: int, data: st.DataObject, variance: float
) -> None:
    means, w = data.draw(tensors((2, d), -2.0, 2.0)), data.draw(weights(2))
    law = shared(means, variance, w)
    constant, offset = law.hessian_lipschitz(), means[1] - means[0]
    assert constant.bias == "none"
    # Where the responsibilities are 1/2 +- 1/sqrt(12).
    p = 0.5 - 1.0 / math.sqrt(12.0)
    shift = variance * torch.log(w[0] / w[1] * p / (1.0 - p)) / (offset @ offset).clamp_min(1e-12)
    if float(offset.norm()) > 1e-2:
        assert steepest(law, (means.mean(0) + shift * offset).unsqueeze(0), 0) == pytest.approx(constant.mean, rel=1e-8)


@given(floats(0.3, 2.0), floats(0.3, 2.0), floats(0.1, 1.0), paths(), floats(0.0, 0.8))
def test_a_grid_of_pairs_has_the_lipschitz_constant_of_its_wider_axis_at_every_noise_level(
    a: float, b: float, variance: float, path: Path, share: float
) -> None:
    means = torch.tensor([[a, b], [-a, b], [a, -b], [-a, -b]], dtype=F64) + 0.3
    score, t = NoisedScore(shared(means, variance), path), inside(path, share)
    constant = score.jacobian_lipschitz(t)
    width = 2.0 * path.alpha(t) * max(a, b)
    noised = path.alpha(t) ** 2 * variance + path.sigma(t) ** 2
    assert constant.bias == "none"
    assert constant.mean == pytest.approx(width**3 / (6.0 * math.sqrt(3.0) * noised**3), rel=1e-9)


def test_a_cloud_has_an_upper_lipschitz_constant_and_a_gaussian_none_to_speak_of() -> None:
    cloud = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.5, 0.5]], dtype=F64)
    law = Empirical(cloud).at(VP(2.0, 2.0), 0.3)
    bound = law.hessian_lipschitz()
    assert bound.bias == "up"
    assert 0.5 * bound.mean < steepest(law, points(4000, 2, 0), 0) <= bound.mean
    assert Gaussian(cloud[0], torch.eye(2, dtype=F64)).hessian_lipschitz().mean == 0.0
    half, one = torch.full((2,), 0.5, dtype=F64), torch.ones(1, dtype=F64)
    assert GaussianMixture(one, cloud[:1], torch.eye(2, dtype=F64).unsqueeze(0)).hessian_lipschitz().mean == 0.0
    law = GaussianMixture(half, cloud[:2], torch.tensor([1.0, 2.0], dtype=F64))
    with untyped(), pytest.raises(ValueError, match="hessian_lipschitz: no constant over all space is known"):
        law.hessian_lipschitz()
