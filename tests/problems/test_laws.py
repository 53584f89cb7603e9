"""Gaussians and mixtures: density, score, Hessian, moments and samples by independent routes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jacfwd, jvp, vmap

from gflow.problems import VP, Distribution, Gaussian, GaussianMixture, NoisedScore, Path, SmoothDistribution
from tests.strategies import (
    F64,
    build,
    floats,
    gaussians,
    inside,
    mixtures,
    paths,
    points,
    spd,
    tensors,
    untyped,
    weights,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

laws = st.one_of(gaussians(), mixtures())
seeds = st.integers(0, 1000)
KINDS = ("shared", "isotropic", "full")


def reference(law: Gaussian | GaussianMixture) -> torch.distributions.Distribution:
    """The same law in torch.distributions, which factorizes each covariance."""
    if isinstance(law, Gaussian):
        return torch.distributions.MultivariateNormal(law.mu, law.C)
    parts = torch.distributions.MultivariateNormal(law.means, law.covariance_matrices())
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(law.weights), parts)


@given(laws, seeds)
def test_log_prob_is_that_of_torch_distributions(law: Gaussian | GaussianMixture, seed: int) -> None:
    x = points(7, law.dim, seed)
    torch.testing.assert_close(law.log_prob(x), reference(law).log_prob(x), rtol=1e-10, atol=1e-10)


@given(laws, seeds)
def test_score_is_the_gradient_of_log_prob(law: SmoothDistribution, seed: int) -> None:
    x = points(7, law.dim, seed)
    torch.testing.assert_close(law.score(x), grad(lambda y: law.log_prob(y).sum())(x), rtol=1e-9, atol=1e-9)


@given(laws, seeds)
def test_hessian_is_the_jacobian_of_the_score(law: SmoothDistribution, seed: int) -> None:
    x = points(5, law.dim, seed)
    automatic = vmap(jacfwd(lambda row: law.score(row.unsqueeze(0))[0]))(x)
    torch.testing.assert_close(law.hessian(x), automatic, rtol=1e-9, atol=1e-9)


@given(laws)
def test_moments_are_those_of_torch_distributions(law: Gaussian | GaussianMixture) -> None:
    other = reference(law)
    torch.testing.assert_close(law.mean(), other.mean)
    torch.testing.assert_close(law.covariance().diagonal(), other.variance)
    assert law.second_moment() == pytest.approx(float(other.variance.sum() + other.mean.square().sum()), rel=1e-12)


@given(laws, seeds)
def test_samples_have_the_moments_of_the_law(law: Distribution, seed: int) -> None:
    n = 4000
    x = law.sample(n, torch.Generator().manual_seed(seed))
    offsets = x - law.mean()
    products = offsets.unsqueeze(2) * offsets.unsqueeze(1)
    for values, truth in ((x, law.mean()), (products, law.covariance())):
        standard_error = values.std(0) / n**0.5
        assert bool(((values.mean(0) - truth).abs() <= 5.0 * standard_error).all())


def test_samples_lie_along_the_right_axes() -> None:
    # In the plane eigenvectors often form a symmetric matrix, which hides a transpose.
    factor = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.6, 0.0], [-0.5, 0.9, 0.3]], dtype=F64)
    covariance, n = factor @ factor.mT, 20000
    normal = Gaussian(torch.zeros(3, dtype=F64), covariance)
    pair = GaussianMixture(torch.full((2,), 0.5, dtype=F64), torch.zeros(2, 3, dtype=F64), covariance.repeat(2, 1, 1))
    for law in (normal, pair):
        x = law.sample(n, torch.Generator().manual_seed(0))
        products = x.unsqueeze(2) * x.unsqueeze(1)
        assert bool(((products.mean(0) - covariance).abs() <= 5.0 * products.std(0) / n**0.5).all())


@given(mixtures(d=1), paths(), floats(0.1, 0.9), floats(-3.0, 3.0))
def test_noised_density_is_the_convolution(law: GaussianMixture, path: Path, share: float, x: float) -> None:
    t = inside(path, share)
    alpha, sigma = path.alpha(t), path.sigma(t)
    # The trapezoidal rule is spectrally accurate on analytic integrands that vanish at the ends.
    low, high = float(law.means.min()), float(law.means.max())
    width = float(law.covariances.max()) ** 0.5
    data = torch.linspace(low - 12.0 * width, high + 12.0 * width, 20001, dtype=F64)
    kernel = torch.exp(-0.5 * ((x - alpha * data) / sigma) ** 2) / (sigma * (2.0 * torch.pi) ** 0.5)
    density = torch.trapezoid(law.log_prob(data.unsqueeze(1)).exp() * kernel, data)
    noised = law.at(path, t).log_prob(torch.tensor([[x]], dtype=F64)).exp()[0]
    torch.testing.assert_close(noised, density, rtol=1e-8, atol=1e-12)


@given(laws, paths(), floats(0.1, 0.9), seeds)
def test_noised_moments_are_those_of_a_sum(law: Distribution, path: Path, share: float, seed: int) -> None:
    t = inside(path, share)
    alpha, sigma = path.alpha(t), path.sigma(t)
    noised = law.at(path, t)
    eye = torch.eye(law.dim, dtype=F64)
    torch.testing.assert_close(noised.mean(), alpha * law.mean())
    torch.testing.assert_close(noised.covariance(), alpha**2 * law.covariance() + sigma**2 * eye)
    assert noised.second_moment() == pytest.approx(alpha**2 * law.second_moment() + law.dim * sigma**2, rel=1e-11)


@st.composite
def three_ways(draw: st.DrawFn) -> tuple[GaussianMixture, ...]:
    """One mixture given by equal variances, by nearly equal ones, and by matrices."""
    d, k, v = draw(st.integers(1, 3)), draw(st.integers(2, 3)), draw(floats(0.05, 2.0))
    w, means = draw(weights(k)), draw(tensors((k, d), -3.0, 3.0))
    variances = torch.full((k,), v, dtype=F64)
    nearly = variances.clone()
    nearly[0] *= 1.0 + 1e-15
    matrices = variances[:, None, None] * torch.eye(d, dtype=F64)
    return tuple(build(GaussianMixture, w, means, c) for c in (variances, nearly, matrices))


@given(three_ways(), paths(), floats(0.1, 0.9), seeds)
def test_three_kinds_of_components_agree(
    ways: tuple[GaussianMixture, ...], path: Path, share: float, seed: int
) -> None:
    assert len({type(law.components) for law in ways}) == 3
    t, x = inside(path, share), points(6, ways[0].dim, seed)
    shared, *others = (law.at(path, t) for law in ways)
    for other in others:
        torch.testing.assert_close(shared.log_prob(x), other.log_prob(x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(shared.score(x), other.score(x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(shared.hessian(x), other.hessian(x), rtol=1e-8, atol=1e-8)


@given(mixtures(kind="full"), st.data(), seeds)
def test_score_is_equivariant_under_rigid_motions(law: GaussianMixture, data: st.DataObject, seed: int) -> None:
    rotation = torch.linalg.qr(data.draw(spd(law.dim)) + 3.0 * points(law.dim, law.dim, seed))[0]
    shift = data.draw(tensors((law.dim,), -3.0, 3.0))
    moved = GaussianMixture(law.weights, law.means @ rotation.mT + shift, rotation @ law.covariances @ rotation.mT)
    x = points(5, law.dim, seed)
    torch.testing.assert_close(moved.score(x @ rotation.mT + shift), law.score(x) @ rotation.mT, rtol=1e-8, atol=1e-8)


@given(laws, paths(), floats(0.1, 0.9), seeds)
def test_noised_score_is_differentiable_in_time(law: SmoothDistribution, path: Path, share: float, seed: int) -> None:
    score, x, t, h = NoisedScore(law, path), points(4, law.dim, seed), inside(path, share), 1e-6
    at = torch.tensor(t, dtype=F64)
    value, slope = jvp(lambda s: score(s, x), (at,), (torch.ones_like(at),))
    torch.testing.assert_close(value, score(t, x), rtol=1e-10, atol=1e-10)
    difference = (score(t + h, x) - score(t - h, x)) / (2.0 * h)
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-5 * float(1.0 + score(t, x).abs().max()))
    torch.testing.assert_close(score.jacobian(at, x), score.jacobian(t, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), seed=seeds)
def test_single_precision_follows_double(kind: str, data: st.DataObject, seed: int) -> None:
    law = data.draw(mixtures(d=2, kind=kind))
    assume(float(law.covariances.abs().max()) > 0.2)
    single = GaussianMixture(law.weights.float(), law.means.float(), law.covariances.float())
    x = points(5, 2, seed)
    for name in ("log_prob", "score", "hessian"):
        low, high = getattr(single, name)(x.float()), getattr(law, name)(x)
        assert low.dtype == torch.float32
        scale = float(high.abs().max()) + 1.0 / float(_smallest(law))
        assert float((low.double() - high).abs().max()) <= 1e-4 * scale


def _smallest(law: GaussianMixture) -> Tensor:
    return torch.linalg.eigvalsh(law.covariance_matrices()).min()


@given(mixtures(), seeds)
def test_blocks_of_rows_change_nothing(law: GaussianMixture, seed: int) -> None:
    chunked = GaussianMixture(law.weights, law.means, law.covariances, chunk=3)
    x = points(10, law.dim, seed)
    for name in ("log_prob", "score", "hessian"):
        torch.testing.assert_close(getattr(chunked, name)(x), getattr(law, name)(x), rtol=1e-12, atol=1e-12)
    assert chunked.at(VP(1.0, 1.0), 0.5).chunk == 3


def test_separated_modes_keep_the_hessian_of_the_midplane() -> None:
    # c^2/v^2 - 1/v by moments would lose everything here: c^2/v^2 = 1e16.
    law = GaussianMixture(
        torch.tensor([0.5, 0.5], dtype=F64), torch.tensor([[1.0], [-1.0]], dtype=F64), torch.full((2,), 1e-8, dtype=F64)
    )
    x = torch.tensor([[0.0], [1.0]], dtype=F64)
    torch.testing.assert_close(
        law.hessian(x).flatten(), torch.tensor([1e16 - 1e8, -1e8], dtype=F64), rtol=1e-12, atol=0.0
    )


def test_points_far_from_all_modes_have_a_finite_score() -> None:
    law = GaussianMixture(
        torch.tensor([0.5, 0.5], dtype=F64), torch.tensor([[1.0], [-1.0]], dtype=F64), torch.full((2,), 1e-4, dtype=F64)
    )
    x = torch.tensor([[50.0]], dtype=F64)
    torch.testing.assert_close(law.score(x), torch.tensor([[-49.0e4]], dtype=F64), rtol=1e-12, atol=0.0)
    assert float(law.log_prob(x)) == pytest.approx(-0.5 * 49.0**2 * 1e4, rel=1e-3)


HALF = torch.tensor([0.5, 0.5], dtype=F64)
TWO = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64)
ONES = torch.ones(2, dtype=F64)


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        (HALF, TWO, torch.tensor([1.0, 0.0], dtype=F64), "covariances: variances must be positive"),
        (HALF, TWO, torch.tensor([1.0, torch.nan], dtype=F64), "covariances: 1 of 2 entries are NaN"),
        (HALF, TWO, -torch.eye(2, dtype=F64).expand(2, 2, 2), "covariances: must be positive definite"),
        (
            HALF,
            TWO,
            torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=F64).expand(2, 2, 2),
            "covariances: must be symmetric",
        ),
        (HALF, TWO, torch.eye(3, dtype=F64).expand(2, 3, 3), "covariances: expected shape"),
        (HALF, TWO, torch.ones(3, dtype=F64), "covariances: expected shape"),
        (HALF, TWO, torch.ones(2), "covariances: must share dtype"),
        (HALF, TWO * torch.inf, ONES, "means: .* NaN or infinite"),
        (HALF, TWO[0], ONES, "means: expected shape"),
        (HALF, TWO.long(), ONES, "means: needs a floating-point dtype"),
        (HALF[:1], TWO, ONES, "weights: expected shape"),
        (0.9 * HALF, TWO, ONES, "weights: must be positive and sum to 1"),
        (torch.tensor([1.5, -0.5], dtype=F64), TWO, ONES, "weights: must be positive"),
    ],
)
def test_bad_mixtures_name_their_argument(weights: Tensor, means: Tensor, covariances: Tensor, message: str) -> None:
    with untyped(), pytest.raises(ValueError, match=message):
        GaussianMixture(weights, means, covariances)


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(2, dtype=F64), torch.zeros(2, 2, dtype=F64), "covariance: must be positive definite"),
        (torch.zeros(2, dtype=F64), torch.eye(3, dtype=F64), "covariance: expected shape"),
        (torch.zeros(2, dtype=F64), torch.eye(2), "covariance: must share dtype"),
        (torch.zeros(0, dtype=F64), torch.zeros(0, 0, dtype=F64), "mean: expected shape"),
        (torch.tensor([0.0, torch.nan], dtype=F64), torch.eye(2, dtype=F64), "mean: 1 of 2 entries"),
    ],
)
def test_bad_gaussians_name_their_argument(mean: Tensor, covariance: Tensor, message: str) -> None:
    with untyped(), pytest.raises(ValueError, match=message):
        Gaussian(mean, covariance)


@pytest.mark.parametrize("law", [Gaussian(ONES, torch.eye(2, dtype=F64)), GaussianMixture(HALF, TWO, ONES)])
def test_bad_points_are_named(law: SmoothDistribution) -> None:
    for bad in (torch.zeros(4, 3, dtype=F64), torch.zeros(4, 2)):
        for f in (law.log_prob, law.score, law.hessian):
            with untyped(), pytest.raises(ValueError, match="x: "):
                f(bad)
    with pytest.raises(ValueError, match="n: needs at least one sample, got 0"):
        law.sample(0, torch.Generator())
