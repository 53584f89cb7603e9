"""Denoising score matching: its identity, its unbiasedness, its weights and draws of time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gflow.learn import (
    TimeDensity,
    conditional_error,
    denoising_score_matching,
    log_noise_times,
    sigma_squared,
    tabulated,
    uniform,
    uniform_times,
)
from gflow.problems import Gaussian
from tests.learn.test_networks import PATHS, paths, seeded

TIMES = {"uniform": uniform_times, "log_noise": log_noise_times}
times = pytest.mark.parametrize("draw", TIMES.values(), ids=TIMES.keys())


class Linear(nn.Module):
    """s(t, x) = c x for all t."""

    def __init__(self, c=-0.8):
        super().__init__()
        self.c = nn.Parameter(torch.tensor(c, dtype=torch.float64))

    def forward(self, t, x):
        return self.c * x


def gauss_hermite(k=60):
    nodes, weights = np.polynomial.hermite_e.hermegauss(k)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


@paths
@given(
    share=st.floats(0.1, 0.9),
    mean=st.floats(-1.0, 1.0),
    std=st.floats(0.3, 1.5),
    a=st.floats(-2.0, 2.0),
    b=st.floats(-1.0, 1.0),
)
def test_w2b_13_denoising_loss_exceeds_score_matching_by_a_constant(path, share, mean, std, a, b):
    t = path.data_time + share * (path.noise_time - path.data_time)

    def s(_t, x):
        return a * torch.sin(x) + b * x  # not the score: the gap must not depend on it

    nodes, weights = gauss_hermite()
    x_data, z = (g.reshape(-1, 1) for g in torch.meshgrid(mean + std * nodes, nodes, indexing="ij"))
    denoising = float((torch.outer(weights, weights).reshape(-1) * conditional_error(s, path, t, x_data, z)).sum())

    one = torch.ones(1, 1, dtype=torch.float64)
    law = Gaussian(mean * one[0], std**2 * one).at(path, t)
    x = law.mean() + law.covariance()[0, 0].sqrt() * nodes[:, None]
    matching = float((weights * (s(t, x) - law.score(x))[:, 0] ** 2).sum())
    constant = 1 / float(path.sigma(t)) ** 2 - 1 / float(law.covariance())
    assert denoising - matching == pytest.approx(constant, rel=1e-9, abs=1e-10)


@paths
@times
@pytest.mark.parametrize("weighted", ["uniform", "sigma_squared"])
def test_the_loss_is_the_integral_over_time_whatever_the_draws(path, draw, weighted):
    weight = uniform if weighted == "uniform" else sigma_squared(path)
    c, t_min, scale = -0.8, 0.2, 1.3
    data = torch.tensor([[scale, 0.0], [-scale, 0.0], [0.0, scale], [0.0, -scale]], dtype=torch.float64)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    lo, hi = sorted((path.noise_time, path.data_time + math.copysign(t_min, path.noise_time - path.data_time)))
    t = torch.from_numpy(lo + (hi - lo) * (nodes + 1) / 2)
    alpha, sigma = torch.as_tensor(path.alpha(t)), torch.as_tensor(path.sigma(t))
    # E|c x_t + z/sigma|^2 with E|x_data|^2 = scale^2 in d = 2.
    integrand = c**2 * alpha**2 * scale**2 + 2 * (c * sigma + 1 / sigma) ** 2
    exact = float((torch.from_numpy(weights) * (hi - lo) / 2 * weight(t) * integrand).sum())

    loss, g = denoising_score_matching(path, data, batch_size=500, weight=weight, t_min=t_min, times=draw), seeded(1)
    values = torch.stack([loss(Linear(c), g).detach() for _ in range(60)])
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - exact) < 4 * error
    assert error < 0.02 * exact  # else the line above could not fail


@paths
@times
def test_times_follow_their_density(path, draw):
    density, n = draw(path, 0.01), 4000
    t, pdf = density.sample(n, seeded(1))
    lo, hi = float(density.edges[0]), float(density.edges[-1])
    assert float(density.masses.sum()) == pytest.approx(1.0, abs=1e-12)
    assert bool((density.masses > 0).all())
    assert bool((density.edges.diff() > 0).all())
    assert {round(lo, 12), round(hi, 12)} == {
        round(path.noise_time, 12),
        round(path.data_time + math.copysign(0.01, path.noise_time - path.data_time), 12),
    }
    assert bool(((t >= lo) & (t <= hi)).all())
    # E[h(t)/pdf] = int h: stratified draws of two smooth h.
    assert float((1 / pdf).mean()) == pytest.approx(hi - lo, rel=0.02)
    assert float((t / pdf).mean()) == pytest.approx((hi**2 - lo**2) / 2, rel=0.02)
    torch.testing.assert_close(t, density.sample(n, seeded(1))[0], rtol=0, atol=0)


def test_log_noise_times_spend_more_draws_on_small_noise():
    path = PATHS["vp"]
    few, many = (float((draw(path, 1e-3).sample(4000, seeded())[0] < 0.05).double().mean()) for draw in TIMES.values())
    assert few == pytest.approx(0.05, abs=0.005)
    assert many > 4 * few


def test_the_cell_of_a_quantile():
    density = TimeDensity(torch.tensor([0.0, 1.0, 3.0]).double(), torch.tensor([0.25, 0.75]).double())
    t, pdf = density.sample(4000, seeded())
    torch.testing.assert_close(pdf, torch.where(t < 1, 0.25, 0.375).double())
    assert float((t < 1).double().mean()) == pytest.approx(0.25, abs=1e-3)


@paths
def test_the_preset_weights_are_what_their_names_say(path):
    t = torch.linspace(0.2, 0.8, 7, dtype=torch.float64)
    sigma = torch.tensor([float(path.sigma(float(s))) for s in t], dtype=torch.float64)
    torch.testing.assert_close(sigma_squared(path)(t), sigma**2)
    assert torch.equal(uniform(t), torch.ones_like(t))


@given(seed=st.integers(0, 99))
def test_tabulated_weights_interpolate(seed):
    ts = torch.rand(6, generator=seeded(seed), dtype=torch.float64).sort().values + 0.01 * torch.arange(6)
    values = torch.rand(6, generator=seeded(seed + 1), dtype=torch.float64)
    t = torch.linspace(-0.5, 1.5, 50, dtype=torch.float64)
    expected = torch.from_numpy(np.interp(t.numpy(), ts.numpy(), values.numpy()))
    torch.testing.assert_close(tabulated(ts, values)(t), expected, rtol=1e-12, atol=1e-12)


def test_a_float32_network_has_a_float32_loss():
    data = torch.randn(10, 2, generator=seeded())
    loss = denoising_score_matching(PATHS["vp"], data, batch_size=8, weight=uniform, t_min=1e-3)
    assert loss(Linear().float(), seeded()).dtype == torch.float32


def test_bad_arguments():
    data, path = torch.randn(10, 2, generator=seeded(), dtype=torch.float64), PATHS["vp"]
    build = {"batch_size": 8, "weight": uniform, "t_min": 1e-3}
    for bad, match in (
        ({"batch_size": 0}, "batch_size"),
        ({"t_min": 0.0}, r"t_min.*\(0, 1\)"),
        ({"t_min": 1.0}, "t_min"),
    ):
        with pytest.raises(ValueError, match=match):
            denoising_score_matching(path, data, **(build | bad))
    with pytest.raises(ValueError, match=r"at least 2 finite points \(n, d\), got \(1, 2\)"):
        denoising_score_matching(path, data[:1], **build)
    with pytest.raises(ValueError, match="finite"):
        denoising_score_matching(path, data * math.nan, **build)
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="increasing"):
        tabulated(ones, ones)
    with pytest.raises(ValueError, match="not negative"):
        tabulated(torch.arange(3.0), -torch.ones(3))
