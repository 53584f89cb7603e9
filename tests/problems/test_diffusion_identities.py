"""Identities of noised Gaussian data by quadrature, differences and plain loops (ORC-9, 10, 11, 13)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor

from gflow.fields import ProbabilityFlow, ReverseDrift, reverse
from gflow.problems import VP, Gaussian, NoisedScore, Path, gaussian_flow_map
from tests.strategies import F64, build, floats, gaussians, inside, paths, points, spd, tensors, untyped

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")


def normal_1d(mean: float, std: float) -> Gaussian:
    return build(Gaussian, torch.tensor([mean], dtype=F64), torch.tensor([[std * std]], dtype=F64))


@given(floats(-2.0, 2.0), floats(0.3, 2.0), paths(), floats(0.1, 0.9), tensors((4,), -1.0, 1.0))
def test_w2b_13_the_dsm_gap_does_not_depend_on_the_model(
    mean: float, std: float, path: Path, share: float, c: Tensor
) -> None:
    t = inside(path, share)
    alpha, sigma = path.alpha(t), path.sigma(t)
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    z, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    x0, noise = (v.flatten() for v in torch.meshgrid(mean + std * z, z, indexing="ij"))
    joint = torch.outer(w, w).flatten()
    x = alpha * x0 + sigma * noise
    model = c[0] + c[1] * x + c[2] * x**2 + c[3] * x**3
    score = NoisedScore(normal_1d(mean, std), path)(t, x.unsqueeze(1)).squeeze(1)
    denoising = joint @ (-noise / sigma - model) ** 2
    matching = joint @ (score - model) ** 2
    v = alpha**2 * std**2 + sigma**2
    torch.testing.assert_close(
        denoising - matching, torch.tensor(1.0 / sigma**2 - 1.0 / v, dtype=F64), rtol=1e-9, atol=1e-9
    )


@given(gaussians(), paths(), floats(0.1, 0.9), floats(0.1, 0.9))
def test_orc_9_the_flow_map_moves_with_the_probability_flow(law: Gaussian, path: Path, a: float, b: float) -> None:
    x = points(4, law.dim, 0)
    t = torch.tensor(inside(path, b), dtype=F64)
    position, velocity = torch.func.jvp(
        lambda s: gaussian_flow_map(law, path, inside(path, a), s, x), (t,), (torch.ones_like(t),)
    )
    field = ProbabilityFlow(path, NoisedScore(law, path))
    torch.testing.assert_close(velocity, field(t, position), rtol=1e-9, atol=1e-9)
    back = gaussian_flow_map(law, path, t, inside(path, a), position)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)


def test_orc_9_the_flow_map_carries_samples_to_the_data() -> None:
    law, path = normal_1d(1.0, 0.5), VP(1.0, 1.0, 2.0)
    noised = law.at(path, 2.0)
    x = noised.mean() + noised.covariance().sqrt() @ torch.tensor([[-2.0, 0.0, 1.0]], dtype=F64)
    expected = torch.tensor([[0.0], [1.0], [1.5]], dtype=F64)
    torch.testing.assert_close(gaussian_flow_map(law, path, 2.0, 0.0, x.mT), expected, rtol=1e-12, atol=1e-12)
    with untyped(), pytest.raises(ValueError, match="x: expected points of shape"):
        gaussian_flow_map(law, path, 2.0, 0.0, torch.zeros(3, 2, dtype=F64))


@pytest.mark.parametrize(("n", "w2"), [(20, 0.026306), (40, 0.013104), (80, 0.006533)])
def test_orc_10_euler_on_the_probability_flow_of_a_gaussian(n: int, w2: float) -> None:
    law, path = normal_1d(0.0, 0.5), VP(1.0, 1.0, 2.0)
    b, h = reverse(ProbabilityFlow(path, NoisedScore(law, path)), 2.0), 2.0 / n
    y = law.at(path, 2.0).covariance().sqrt()
    for k in range(n):
        y = y + h * b(k * h, y)
    # A linear map of a centred Gaussian: W2 is the difference of the standard deviations.
    assert abs(float(y) - 0.5) == pytest.approx(w2, abs=5e-7)


@given(floats(0.3, 2.0), floats(0.5, 3.0), floats(0.5, 4.0), floats(0.1, 1.0))
def test_orc_11_the_weight_of_the_ode_is_a_ratio_of_deviations(std: float, beta: float, T: float, share: float) -> None:
    path = VP(beta, beta, T)
    field = ProbabilityFlow(path, NoisedScore(normal_1d(0.0, std), path))
    # Adaptive: for narrow data the integrand has a pole at t = log(1 - std^2)/beta, just outside the interval.
    integral, _ = integrate.quad(lambda t: field.sampling_osl(t).mean, 0.0, share * T, epsabs=1e-12, epsrel=1e-12)
    v = 1.0 + (std**2 - 1.0) * math.exp(-beta * share * T)
    assert math.exp(integral) == pytest.approx(std / math.sqrt(v), rel=1e-9)


@given(floats(0.3, 2.0), floats(0.5, 3.0), floats(0.0, 0.99))
def test_w2b_8_the_constant_of_the_sde(std: float, beta: float, share: float) -> None:
    path = VP(beta, beta, 2.0)
    t = 2.0 * share
    v = 1.0 + (std**2 - 1.0) * math.exp(-beta * t)
    field = ReverseDrift(path, NoisedScore(normal_1d(0.0, std), path), 1.0)
    assert field.sampling_osl(t).mean == pytest.approx(beta / 2.0 - beta / v, rel=1e-10, abs=1e-12)


@given(spd(2), tensors((2,), -2.0, 2.0), tensors((2,), -2.0, 2.0), paths(), floats(0.1, 0.9))
def test_orc_11_a_wrong_mean_gives_a_constant_score_error(
    covariance: Tensor, m: Tensor, shift: Tensor, path: Path, share: float
) -> None:
    t = inside(path, share)
    true, wrong = (NoisedScore(Gaussian(mean, covariance), path) for mean in (m, m + shift))
    x = points(3, 2, 0)
    alpha = path.alpha(t)
    noised = alpha**2 * covariance + path.sigma(t) ** 2 * torch.eye(2, dtype=F64)
    expected = torch.linalg.solve(noised, alpha * shift).expand(3, 2)
    torch.testing.assert_close(wrong(t, x) - true(t, x), expected, rtol=1e-9, atol=1e-10)


@given(gaussians(), st.integers(0, 100))
def test_score_has_mean_zero_and_the_inverse_covariance(law: Gaussian, seed: int) -> None:
    n = 4000
    s = law.score(law.sample(n, torch.Generator().manual_seed(seed)))
    products = s.unsqueeze(2) * s.unsqueeze(1)
    truth = torch.linalg.inv(law.C)
    assert bool((s.mean(0).abs() <= 5.0 * s.std(0) / n**0.5).all())
    assert bool(((products.mean(0) - truth).abs() <= 5.0 * products.std(0) / n**0.5).all())
