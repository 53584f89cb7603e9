"""WGF-1 to WGF-5: the gradient flow of KL between normal laws, its implicit steps and its Langevin twin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, kl_divergence

from gflow.fields import GaussianKLFlow
from gflow.ode import DOPRI5, ExplicitRK, PIController, Verdict, observed_order, solve_ivp
from gflow.problems import Gaussian, gaussian_jko_step, langevin_stationary
from gflow.transport import bures_squared
from tests.strategies import F64, build, dims, floats, gaussians, points

TIGHT = {"method": ExplicitRK(DOPRI5), "controller": PIController(rtol=1e-12, atol=1e-12)}
times = floats(0.01, 1.0)


@st.composite
def flows(draw):
    d = draw(dims)
    return build(GaussianKLFlow, draw(gaussians(d)), draw(gaussians(d)))


def sigma_points(law):
    """2 d points with the mean and covariance of the law: exact for quadratic functions."""
    spread = math.sqrt(law.dim) * torch.linalg.cholesky(law.C).mT
    return torch.cat((law.mu + spread, law.mu - spread))


def moments(x):
    return x.mean(0), (x - x.mean(0)).mT @ (x - x.mean(0)) / len(x)


def kl(q, p):
    return float(kl_divergence(MultivariateNormal(q.mu, q.C), MultivariateNormal(p.mu, p.C)))


def w2(a, b):
    return math.sqrt(bures_squared(a.mu, a.C, b.mu, b.C))


def sheared(law, along, values):
    """A law with the axes of another."""
    return Gaussian(law.mu + along, (law.axes * values) @ law.axes.mT)


@settings(max_examples=25)  # each solves to 1e-12
@given(flows(), times)
def test_wgf_1_particles_have_the_closed_moments_and_are_where_the_flow_map_takes_them(flow, t):
    x = sigma_points(flow.start)
    y = solve_ivp(flow, x, 0.0, t, **TIGHT).y1
    mean, covariance = moments(y)
    torch.testing.assert_close(mean, flow.law(t).mu, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(covariance, flow.law(t).C, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(y, flow.exact(t, x), rtol=1e-9, atol=1e-8)


@given(flows(), floats(0.05, 1.0))
def test_wgf_1_the_law_solves_the_fokker_planck_equation(flow, t):
    """d_t log q = -(div v + v . grad log q), and v = grad log p - grad log q with the gradients of autograd."""
    x, h = points(5, flow.target.dim, 0), 1e-4
    ahead, behind = (flow.law(t + k).log_prob(x) for k in (h, -h))
    v = flow(t, x)
    ratio = torch.func.grad(lambda y: (flow.target.log_prob(y) - flow.law(t).log_prob(y)).sum())(x)
    torch.testing.assert_close(v, ratio, rtol=1e-9, atol=1e-9)
    divergence = flow.jacobian(t, x).diagonal(0, 1, 2).sum(1)
    rate = -(divergence + (v * flow.law(t).score(x)).sum(1))
    # Differences of step h: h^2 times a third derivative, and 1e-16 / h.
    scale = 1.0 + float(rate.abs().max()) + float(v.square().sum(1).max())
    assert float(((ahead - behind) / (2 * h) - rate).abs().max()) <= 1e-5 * scale * (1 + 1 / t**2)


@settings(max_examples=25)
@given(flows(), times)
def test_wgf_1_the_jacobian_is_that_of_the_velocity(flow, t):
    x = points(3, flow.target.dim, 1)
    by_autodiff = torch.func.vmap(torch.func.jacrev(lambda row: flow(t, row[None])[0]))(x)
    torch.testing.assert_close(flow.jacobian(t, x), by_autodiff, rtol=1e-9, atol=1e-9)


@given(flows(), floats(0.1, 1.0))
def test_wgf_2_means_of_functions_move_by_their_gradient_along_the_velocity(flow, t):
    d, h = flow.target.dim, 1e-5
    a = points(d, d, 2)

    def mean(s):
        law = flow.law(s)
        return float(torch.trace(a @ law.C) + law.mu @ a @ law.mu)

    x = sigma_points(flow.law(t))
    weak = float(((x @ (a + a.mT)) * flow(t, x)).sum(1).mean())
    assert (mean(t + h) - mean(t - h)) / (2 * h) == pytest.approx(weak, rel=1e-6, abs=1e-6)


@given(flows(), floats(0.05, 1.0))
def test_wgf_3_kl_falls_by_the_squared_velocity(flow, t):
    h = 1e-4
    rate = (kl(flow.law(t + h), flow.target) - kl(flow.law(t - h), flow.target)) / (2 * h)
    x = sigma_points(flow.law(t))
    dissipation = float(flow(t, x).square().sum(1).mean())
    assert rate == pytest.approx(-dissipation, rel=1e-4, abs=1e-6)


@given(flows(), times)
def test_wgf_3_kl_and_w2_fall_at_the_rate_of_the_log_concavity(flow, t):
    alpha = 1 / float(flow.target.values.max())
    now, start, p = flow.law(t), flow.start, flow.target
    assert kl(now, p) <= math.exp(-2 * alpha * t) * kl(start, p) * (1 + 1e-9) + 1e-12
    assert w2(now, p) <= math.exp(-alpha * t) * w2(start, p) * (1 + 1e-9) + 1e-7


@given(gaussians(), floats(0.3, 3.0), floats(0.001, 0.5), floats(-2.0, 2.0))
def test_wgf_4_an_implicit_step_lowers_its_objective_against_all_nearby_laws(target, s, h, shift):
    law = sheared(target, shift, torch.full((target.dim,), s * s, dtype=F64))

    def objective(q):
        return w2(q, law) ** 2 / (2 * h) + kl(q, target)

    step = gaussian_jko_step(target, law, h)
    assert kl(step, target) <= kl(law, target) + 1e-12
    for k in (-1e-3, 1e-3):
        moved = Gaussian(step.mu + k, step.C)
        wider = Gaussian(step.mu, step.C * (1 + k))
        assert objective(step) <= min(objective(moved), objective(wider)) + 1e-12


@given(floats(0.3, 3.0))
def test_wgf_4_the_root_of_one_dimension(s):
    """N(0, s^2) towards N(0, 1): the printed root."""
    one, h = torch.ones(1, 1, dtype=F64), 0.1
    step = gaussian_jko_step(Gaussian(one[0] * 0, one), Gaussian(one[0] * 0, one * s * s), h)
    root = (s + math.sqrt(s * s + 4 * h * (1 + h))) / (2 * (1 + h))
    assert float(step.C) == pytest.approx(root**2, rel=1e-12)


def test_wgf_4_implicit_steps_have_order_1():
    target = Gaussian(torch.tensor([0.5, -0.5], dtype=F64), torch.diag(torch.tensor([0.5, 2.0], dtype=F64)))
    start = Gaussian(torch.tensor([2.0, 1.0], dtype=F64), torch.diag(torch.tensor([1.5, 0.4], dtype=F64)))

    def end(n):
        law = start
        for _ in range(n):
            law = gaussian_jko_step(target, law, 1 / n)
        return torch.cat((law.mu, law.C.flatten()))

    exact = GaussianKLFlow(target, start).law(1.0)
    found = observed_order(
        end,
        steps=(20, 40, 80, 160, 320),
        span=1.0,
        reference=[torch.cat((exact.mu, exact.C.flatten()))],
        nominal=1,
        tolerance=0.05,
    )
    assert found.verdict is Verdict.CONFIRMED


@given(gaussians(), floats(0.01, 0.9))
def test_wgf_5_the_langevin_iteration_settles_at_the_biased_law(target, share):
    h = share * 2 * float(target.values.min())
    factor = torch.eye(target.dim, dtype=F64) - h * torch.linalg.inv(target.C)
    law = langevin_stationary(target, h)
    again = factor @ law.C @ factor.mT + 2 * h * torch.eye(target.dim, dtype=F64)
    torch.testing.assert_close(again, law.C, rtol=1e-9, atol=1e-9)


def test_wgf_5_the_printed_value_and_divergence_beyond_twice_the_variance():
    target = Gaussian(torch.zeros(1, dtype=F64), torch.full((1, 1), 0.5, dtype=F64))
    assert float(langevin_stationary(target, 0.1).C) == pytest.approx(0.5555555556, abs=1e-10)
    with pytest.raises(ValueError, match=r"h: expected a step in \(0, 2 lambda_min = 1\), got 1.0"):
        langevin_stationary(target, 1.0)


def test_bad_laws_and_steps_are_named():
    line = Gaussian(torch.zeros(1, dtype=F64), torch.ones(1, 1, dtype=F64))
    plane = Gaussian(torch.zeros(2, dtype=F64), torch.diag(torch.tensor([1.0, 2.0], dtype=F64)))
    turned = Gaussian(plane.mu, torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=F64))
    with pytest.raises(ValueError, match=r"start.mu: expected"):
        GaussianKLFlow(line, plane)
    with pytest.raises(ValueError, match=r"h: must be positive"):
        gaussian_jko_step(line, line, 0.0)
    with pytest.raises(
        ValueError, match=r"law: expected a covariance diagonal in the target's axes, got entries of 0.5"
    ):
        gaussian_jko_step(plane, turned, 0.1)
