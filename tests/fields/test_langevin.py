"""WGF-5: Langevin sampling and its deterministic twin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings

from gflow.fields import GaussianKLFlow, LangevinDrift
from gflow.fields.particles import KernelDensityFlow
from gflow.ode import HEUN, RK4, BrownianPath, ConstantStep, ExplicitRK, solve_ivp
from gflow.problems import Gaussian, langevin_stationary
from tests.strategies import F64, floats


def normal(mean, variance):
    return Gaussian(torch.tensor([mean], dtype=F64), torch.tensor([[variance]], dtype=F64))


def sampled(target, x, h, steps, seed):
    """The unadjusted Langevin algorithm; ``steps`` a power of two."""
    path = BrownianPath(0.0, h * steps, tuple(x.shape), levels=int(math.log2(steps)), seed=seed, dtype=x.dtype)
    method = LangevinDrift.sampler(path)
    return solve_ivp(LangevinDrift(target.score), x, 0.0, h * steps, method=method, controller=ConstantStep(h)).y1


def variance_interval(x):
    """Mean square and four standard errors of it: 6e-5 of all runs lie beyond."""
    squares = (x - x.mean()).square()
    return float(squares.mean()), 4 * float(squares.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
def test_wgf_5_the_sampler_settles_at_the_biased_variance(share):
    """ORC-14: independent chains, run until (1 - h/s^2)^2k has forgotten the start."""
    target = normal(0.0, 0.5)
    h = share * 2 * 0.5
    found, error = variance_interval(sampled(target, torch.zeros(20000, 1, dtype=F64), h, 64, seed=1))
    exact = float(langevin_stationary(target, h).C)
    assert abs(found - exact) < error
    # The interval is narrow enough to tell the bias from none.
    assert exact - 0.5 > 1.5 * error


def test_wgf_5_the_sampler_diverges_beyond_twice_the_variance():
    x = sampled(normal(0.0, 0.5), torch.ones(10, 1, dtype=F64), 1.05, 64, seed=0)
    assert float(x.abs().max()) > 20.0


@settings(max_examples=5)
@given(floats(-1.0, 1.0), floats(0.3, 1.5))
def test_wgf_1_the_twin_has_the_laws_of_the_diffusion(mean, variance):
    """Both from the same law: moments of the sampler at small h lie around those of the deterministic flow."""
    target, start, t = normal(0.5, 0.8), normal(mean, variance), 0.25
    x = start.sample(10000, torch.Generator().manual_seed(2))
    end = sampled(target, x, t / 64, 64, seed=3)
    law = GaussianKLFlow(target, start).law(t)
    found, error = variance_interval(end)
    # The weak error of 64 steps is of order h / s^2 = .005, relative.
    assert abs(found - float(law.C)) < error + 0.01 * float(law.C)
    assert abs(float(end.mean() - law.mu)) < 4 * float(end.std()) / 100 + 0.01
    exact = solve_ivp(GaussianKLFlow(target, start), x, 0.0, t, method=ExplicitRK(RK4), controller=ConstantStep(t / 8))
    assert float(exact.y1.var()) == pytest.approx(float(law.C), abs=error)


def test_wgf_1_the_particle_twin_settles_near_the_target_without_noise():
    """With a bandwidth h the fixed point is q * N(0, h^2) = p: variance 0.5 - 0.2^2, up to the discreteness of 100."""
    target = normal(0.0, 0.5)
    levels = (torch.arange(100, dtype=F64) + 0.5) / 100
    x = torch.distributions.Normal(-1.0, 0.4).icdf(levels).unsqueeze(1)
    flow = KernelDensityFlow(target.score, 0.2)
    end = solve_ivp(flow, x, 0.0, 6.0, method=ExplicitRK(HEUN), controller=ConstantStep(0.02)).y1
    assert float(end.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(end.var()) == pytest.approx(0.5 - 0.04, rel=0.05)


def test_float32_stays():
    target = Gaussian(torch.zeros(1), torch.eye(1))
    assert sampled(target, torch.ones(5, 1), 0.1, 4, seed=0).dtype == torch.float32
