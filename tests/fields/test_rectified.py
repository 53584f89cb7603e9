"""Flow matching between mixtures and optimal displacement of Gaussians (ORC-6, 7, 8)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from torch import Tensor
from torch.func import jacfwd, jvp, vmap

from gflow.fields import GaussianDisplacement, RectifiedFlow
from gflow.problems import LINEAR, Empirical, Gaussian, GaussianMixture, Schedule
from tests.strategies import F64, floats, gaussians, mixtures, points, untyped

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

seeds = st.integers(0, 1000)
COSINE = Schedule(
    lambda t: torch.sin(0.5 * math.pi * t), lambda t: torch.cos(0.5 * math.pi * t), data_time=1.0, noise_time=0.0
)


@st.composite
def gaussian_pairs(draw: st.DrawFn) -> tuple[Gaussian, Gaussian]:
    d = draw(st.integers(1, 3))
    return draw(gaussians(d)), draw(gaussians(d))


@st.composite
def mixture_pairs(draw: st.DrawFn) -> tuple[GaussianMixture, GaussianMixture]:
    d = draw(st.integers(1, 3))
    return draw(mixtures(d)), draw(mixtures(d))


@given(mixtures(d=1), mixtures(d=1), floats(0.1, 0.9), floats(-3.0, 3.0))
def test_orc_6_velocity_is_the_conditional_mean(p0: GaussianMixture, p1: GaussianMixture, t: float, x: float) -> None:
    # The trapezoidal rule over x_0 is spectrally accurate: the integrand is analytic and vanishes.
    x0 = torch.linspace(-25.0, 25.0, 20001, dtype=F64)
    x1 = (x - (1.0 - t) * x0) / t
    density = (p0.log_prob(x0.unsqueeze(1)) + p1.log_prob(x1.unsqueeze(1))).exp()
    truth = torch.trapezoid((x1 - x0) * density, x0) / torch.trapezoid(density, x0)
    v = RectifiedFlow(LINEAR, p0, p1)(t, torch.tensor([[x]], dtype=F64))
    torch.testing.assert_close(v[0, 0], truth, rtol=1e-8, atol=1e-8)


def interpolant(p0: GaussianMixture, p1: GaussianMixture, t: float) -> torch.distributions.Distribution:
    """The law of (1 - t) x_0 + t x_1 in torch.distributions."""
    w = torch.outer(p0.weights, p1.weights).flatten()
    means = ((1.0 - t) * p0.means.unsqueeze(1) + t * p1.means).flatten(0, 1)
    covariances = ((1.0 - t) ** 2 * p0.covariance_matrices().unsqueeze(1) + t**2 * p1.covariance_matrices()).flatten(
        0, 1
    )
    parts = torch.distributions.MultivariateNormal(means, covariances)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(w), parts)


@given(mixture_pairs(), floats(0.1, 0.9), seeds)
def test_reflow_2_the_velocity_keeps_the_marginals(
    pair: tuple[GaussianMixture, GaussianMixture], t: float, seed: int
) -> None:
    field, x, h = RectifiedFlow(LINEAR, *pair), points(4, pair[0].dim, seed), 1e-5
    change = (interpolant(*pair, t + h).log_prob(x) - interpolant(*pair, t - h).log_prob(x)) / (2.0 * h)
    score = torch.func.grad(lambda y: interpolant(*pair, t).log_prob(y).sum())(x)
    v = field(t, x)
    divergence = field.jacobian(t, x).diagonal(0, 1, 2).sum(1)
    carried = (v * score).sum(1)
    size = change.abs() + carried.abs() + divergence.abs() + 1.0
    assert float(((change + carried + divergence).abs() / size).max()) < 1e-5


@pytest.mark.parametrize("path", [LINEAR, COSINE])
@given(pair=mixture_pairs(), t=floats(0.0, 1.0), seed=seeds)
def test_jacobian_is_that_of_autodiff(
    path: object, pair: tuple[GaussianMixture, GaussianMixture], t: float, seed: int
) -> None:
    field, x = RectifiedFlow(path, *pair), points(4, pair[0].dim, seed)  # type: ignore[arg-type]
    automatic = vmap(jacfwd(lambda row: field(t, row.unsqueeze(0))[0]))(x)
    torch.testing.assert_close(field.jacobian(t, x), automatic, rtol=1e-8, atol=1e-8)


@given(mixture_pairs(), floats(0.1, 0.9))
def test_velocity_is_differentiable_in_time(pair: tuple[GaussianMixture, GaussianMixture], t: float) -> None:
    field, x, h = RectifiedFlow(LINEAR, *pair), points(3, pair[0].dim, 0), 1e-6
    at = torch.tensor(t, dtype=F64)
    value, slope = jvp(lambda s: field(s, x), (at,), (torch.ones_like(at),))
    torch.testing.assert_close(value, field(t, x), rtol=1e-10, atol=1e-10)
    scale = float(1.0 + value.abs().max() + slope.abs().max())
    difference = (field(t + h, x) - field(t - h, x)) / (2.0 * h)
    torch.testing.assert_close(slope, difference, rtol=0.0, atol=1e-5 * scale)


@given(gaussian_pairs(), floats(0.05, 0.95))
def test_reflow_1_the_slope_solves_the_normal_equations(pair: tuple[Gaussian, Gaussian], t: float) -> None:
    p0, p1 = pair
    field, origin = RectifiedFlow(LINEAR, p0, p1), torch.zeros(1, p0.dim, dtype=F64)
    covariance = (1.0 - t) ** 2 * p0.C + t**2 * p1.C
    cross = t * p1.C - (1.0 - t) * p0.C  # E of (x1 - x0) x_t^T about the means
    slope = field.jacobian(t, origin)[0]
    torch.testing.assert_close(slope @ covariance, cross, rtol=1e-9, atol=1e-9)
    centre = ((1.0 - t) * p0.mu + t * p1.mu).unsqueeze(0)
    torch.testing.assert_close(field(t, centre)[0], p1.mu - p0.mu, rtol=1e-9, atol=1e-9)


@settings(max_examples=8)
@given(gaussian_pairs())
def test_orc_7_energy_of_flow_matching(pair: tuple[Gaussian, Gaussian]) -> None:
    p0, p1 = pair
    field, origin = RectifiedFlow(LINEAR, p0, p1), torch.zeros(1, p0.dim, dtype=F64)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    energy = 0.0
    for node, weight in zip(0.5 * (nodes + 1.0), 0.5 * weights, strict=True):
        t = float(node)
        slope = field.jacobian(t, origin)[0]
        covariance = (1.0 - t) ** 2 * p0.C + t**2 * p1.C
        drift = field(t, ((1.0 - t) * p0.mu + t * p1.mu).unsqueeze(0))
        energy += float(weight) * float(drift.square().sum() + (slope @ covariance @ slope.mT).trace())
    a, b = p0.C.numpy(), p1.C.numpy()
    root = linalg.sqrtm(a).real
    inverse = np.linalg.inv(root)
    geometric = root @ linalg.sqrtm(inverse @ b @ inverse).real @ root
    shift = float((p1.mu - p0.mu).square().sum())
    closed = shift + np.trace(a) + np.trace(b) - 0.5 * math.pi * np.trace(geometric)
    assert energy == pytest.approx(closed, rel=1e-7)


@given(gaussians(d=1), gaussians(d=1), floats(0.0, 1.0))
def test_orc_7_the_flow_of_two_normals_is_affine(p0: Gaussian, p1: Gaussian, t: float) -> None:
    x0 = p0.mu + p0.C.sqrt() * torch.tensor([[-2.0], [0.0], [1.0]], dtype=F64)

    def position(s: Tensor) -> Tensor:
        std = ((1.0 - s) ** 2 * p0.C + s**2 * p1.C).sqrt()
        return (1.0 - s) * p0.mu + s * p1.mu + std / p0.C.sqrt() * (x0 - p0.mu)

    at = torch.tensor(t, dtype=F64)
    x, velocity = jvp(position, (at,), (torch.ones_like(at),))
    torch.testing.assert_close(RectifiedFlow(LINEAR, p0, p1)(t, x), velocity, rtol=1e-9, atol=1e-9)


def squared_distance(p0: Gaussian, p1: Gaussian) -> float:
    """Squared W2 of two Gaussians by SciPy's matrix roots."""
    a, b = p0.C.numpy(), p1.C.numpy()
    root = linalg.sqrtm(a).real
    bures = np.trace(a + b - 2.0 * linalg.sqrtm(root @ b @ root).real)
    return float((p1.mu - p0.mu).square().sum()) + float(bures)


@given(gaussian_pairs(), floats(0.0, 1.0), seeds)
def test_orc_8_displacement_is_the_optimal_straight_flow(pair: tuple[Gaussian, Gaussian], t: float, seed: int) -> None:
    p0, p1 = pair
    field, x0 = GaussianDisplacement(p0, p1), points(5, p0.dim, seed)
    u = field(0.0, x0)
    torch.testing.assert_close(field(t, x0 + t * u), u, rtol=1e-8, atol=1e-8)
    map_ = torch.eye(p0.dim, dtype=F64) + field.jacobian(0.0, x0)[0]
    torch.testing.assert_close(map_ @ p0.C @ map_.mT, p1.C, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(map_, map_.mT, rtol=1e-9, atol=1e-9)
    assert float(torch.linalg.eigvalsh(map_).min()) > 0.0
    torch.testing.assert_close(x0 + u, p1.mu + (x0 - p0.mu) @ map_.mT, rtol=1e-8, atol=1e-8)
    # E |v_t|^2 is W2^2 at every t; the law of x_t is that of the straight lines.
    way = torch.eye(p0.dim, dtype=F64) + t * field.jacobian(0.0, x0)[0]
    slope = field.jacobian(t, x0)[0]
    energy = (p1.mu - p0.mu).square().sum() + (slope @ way @ p0.C @ way.mT @ slope.mT).trace()
    assert float(energy) == pytest.approx(squared_distance(p0, p1), rel=1e-7, abs=1e-7)
    assert field.sampling_osl(t).mean == pytest.approx(float(torch.linalg.eigvalsh(slope).max()), rel=1e-8, abs=1e-10)


@given(mixture_pairs(), seeds)
def test_rows_do_not_see_each_other(pair: tuple[GaussianMixture, GaussianMixture], seed: int) -> None:
    field, x = RectifiedFlow(LINEAR, *pair), points(6, pair[0].dim, seed)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(field(0.4, x[order]), field(0.4, x)[order], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(field(0.4, x[:1]), field(0.4, x)[:1], rtol=1e-12, atol=1e-12)


def standard(d: int, dtype: torch.dtype = F64) -> Gaussian:
    return Gaussian(torch.zeros(d, dtype=dtype), torch.eye(d, dtype=dtype))


@pytest.mark.parametrize("make", [lambda a, b: RectifiedFlow(LINEAR, a, b), GaussianDisplacement])
def test_laws_that_do_not_fit_are_named(make: object) -> None:
    with untyped():
        with pytest.raises(ValueError, match="p1: must have the dimension of p0, got 3 and 2"):
            make(standard(2), standard(3))  # type: ignore[operator]
        with pytest.raises(ValueError, match="p1: must share dtype"):
            make(standard(2), standard(2, torch.float32))  # type: ignore[operator]
        field = make(standard(2), standard(2))  # type: ignore[operator]
        for f in (field, field.jacobian):
            with pytest.raises(ValueError, match="x: expected points of shape"):
                f(0.5, torch.zeros(4, 3, dtype=F64))


def test_a_point_cloud_is_no_end_of_a_rectified_flow() -> None:
    cloud: Tensor = points(5, 2, 0)
    with untyped(), pytest.raises(TypeError, match="p1: expected a Gaussian or a GaussianMixture, got Empirical"):
        RectifiedFlow(LINEAR, standard(2), Empirical(cloud))  # type: ignore[arg-type]
