"""Particle flows against closed forms between Gaussians, with quadrature weights for the population."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.fields.particles import (
    DriftingFlow,
    GaussianKernel,
    KernelDensityFlow,
    LaplacianKernel,
    MMDFlow,
    SinkhornFlow,
    SlicedField,
    SlicedFlow,
    SteinFlow,
)
from gflow.problems import Gaussian
from gflow.transport import Sinkhorn
from tests.strategies import F64, floats, points

means, variances, bandwidths = floats(-1.0, 1.0), floats(0.4, 2.0), floats(0.5, 2.0)
CENTRAL = 3.0


def law(mean: float, variance: float, n: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """N(mean, variance) as weights on a grid: the trapezoidal rule, exact to rounding for smooth integrands."""
    z = torch.linspace(-8, 8, n, dtype=F64)
    return (mean + math.sqrt(variance) * z)[:, None], torch.exp(-z.square() / 2)


def check(found: torch.Tensor, y: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, atol: float) -> None:
    inside = weights > math.exp(-(CENTRAL**2) / 2)
    torch.testing.assert_close(found[inside], truth[inside], rtol=0.0, atol=atol)


def smoothed(x: torch.Tensor, m: float, b: float, tau: float) -> torch.Tensor:
    """K_{m,b} of ORC-18: the mean of the kernel over N(m, b)."""
    return tau / math.sqrt(tau**2 + b) * torch.exp(-(x - m).square() / (2 * (tau**2 + b)))


@given(mp=means, mq=means, b=variances, a=variances, tau=bandwidths)
def test_orc_17_gaussian_drifting(mp, mq, b, a, tau):
    (data, p), (y, q) = law(mp, b), law(mq, a)
    v = DriftingFlow(data, GaussianKernel(tau), data_weights=p, weights=q)(0.0, y)
    truth = tau**2 * ((mp - y) / (b + tau**2) - (mq - y) / (a + tau**2))
    check(v, y, truth, q, 1e-10)
    both = KernelDensityFlow(data, tau, data_weights=p, weights=q)(0.0, y)
    check(tau**2 * both, y, truth, q, 1e-10)
    target = Gaussian(torch.tensor([mp], dtype=F64), torch.tensor([[b]], dtype=F64))
    by_score = KernelDensityFlow(target.score, tau, weights=q)(0.0, y)
    check(by_score, y, (mp - y) / b - (mq - y) / (a + tau**2), q, 1e-10)


@given(mp=means, mq=means, b=variances, a=variances, tau=bandwidths)
def test_orc_18_mmd(mp, mq, b, a, tau):
    (data, p), (y, q) = law(mp, b), law(mq, a)
    v = MMDFlow(data, GaussianKernel(tau), data_weights=p, weights=q)(0.0, y)
    slopes = [smoothed(y, m, s, tau) * (m - y) / (tau**2 + s) for m, s in ((mp, b), (mq, a))]
    check(v, y, slopes[0] - slopes[1], q, 1e-10)


@given(mp=means, mq=means, b=variances, a=variances, tau=bandwidths)
def test_stein_between_gaussians_is_the_smoothed_kl_velocity(mp, mq, b, a, tau):
    y, q = law(mq, a)
    target = Gaussian(torch.tensor([mp], dtype=F64), torch.tensor([[b]], dtype=F64))
    v = SteinFlow(target.score, GaussianKernel(tau), weights=q)(0.0, y)
    near = (mq * tau**2 + y * a) / (tau**2 + a)
    kernel = smoothed(y, mq, a, tau)
    check(v, y, kernel * ((mp - near) / b + (y - mq) / (tau**2 + a)), q, 1e-10)


@settings(max_examples=5)
@given(b=variances, a=variances, eps=floats(0.3, 1.0))
def test_orc_16_the_debiased_sinkhorn_flow(b, a, eps):
    (data, p), (y, q) = law(0.5, b, 160), law(0.0, a, 160)
    v = SinkhornFlow(data, Sinkhorn(eps, 1e-11), data_weights=p, weights=q)(0.0, y)
    cross, own = (math.sqrt(a * s + eps**2 / 4) for s in (b, a))
    check(v, y, 0.5 + (cross - own) / a * y, q, 1e-7)
    rate = 2 * float((q * (v * y)[:, 0]).sum() / q.sum())
    assert rate == pytest.approx(2 * (cross - own), abs=1e-7)


@given(n=st.integers(1, 20), a=variances, b=variances, seed=st.integers(0, 999))
def test_orc_19_on_the_line_the_sliced_flow_is_the_w2_flow(n, a, b, seed):
    z = points(n, 1, seed, 1.0)
    y, data = math.sqrt(a) * z, math.sqrt(b) * z.flip(0)
    v = SlicedFlow(data, 1, seed).at_step(0)(0.0, y)
    torch.testing.assert_close(v, (math.sqrt(b / a) - 1) * y, rtol=0.0, atol=1e-12)
    rate = 2 * float((v * y).mean() / z.square().mean())
    assert rate == pytest.approx(2 * (math.sqrt(a * b) - a), abs=1e-10)


@given(n=st.integers(1, 9), d=st.integers(1, 4), seed=st.integers(0, 999))
def test_orc_21_the_sliced_flow_moves_a_translated_cloud_at_speed_one_over_d(n, d, seed):
    y, shift = points(n, d, seed), points(1, d, seed + 1)
    basis = torch.linalg.qr(points(d, d, seed + 2)).Q
    v = SlicedField(y + shift, basis)(0.0, y)
    torch.testing.assert_close(v, (shift / d).expand_as(v), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", [GaussianKernel(0.7), LaplacianKernel(0.7)])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_code_6_the_normalised_drift_has_unit_speed_at_any_distance(kernel, factor):
    y, data = points(12, 2, 0), points(9, 2, 1) + 1e-2 * factor
    v = DriftingFlow(data, kernel, normalised=True)(0.0, y)
    assert float(v.square().sum(1).mean().sqrt()) == pytest.approx(1.0, rel=1e-12)
    raw = DriftingFlow(data, kernel)(0.0, y)
    torch.testing.assert_close(v * raw.square().sum(1).mean().sqrt(), raw)
