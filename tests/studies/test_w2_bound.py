"""The starts of the study's samplers, against closed forms (W2B-15)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.problems import LINEAR, VE, VP, Gaussian, NoisedScore
from gflow.transport import bures_squared
from studies.w2_bound import tight
from studies.w2_bound.problem import Diffusion

seeds = st.integers(0, 2**32 - 1)
paths = st.one_of(st.floats(0.5, 20.0).map(lambda b: VP(0.1, b)), st.just(VE(10.0)), st.just(LINEAR))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def gaussian(seed, d, scale=1.0):
    mean = torch.randn(d, generator=generator(seed), dtype=torch.float64)
    return Gaussian(mean, scale**2 * torch.eye(d, dtype=torch.float64))


def diffusion(path, law, stop=1e-2):
    return Diffusion(path, NoisedScore(law, path), NoisedScore(law, path), stop)


def rms(x):
    return float(x.square().sum(1).mean().sqrt())


@given(path=paths, d=st.integers(1, 4), n=st.integers(2, 50), seed=seeds)
def test_w2b_15_a_sampler_starts_from_the_noise_of_the_noised_data(path, d, n, seed):
    law = gaussian(seed, d)
    problem, clean = diffusion(path, law), law.sample(n, generator(seed))
    x0, y0 = problem.start(clean, generator(seed + 1))
    alpha = float(path.alpha(problem.start_time))
    torch.testing.assert_close(x0 - y0, alpha * clean, rtol=1e-9, atol=1e-9)
    assert rms(x0 - y0) == pytest.approx(alpha * rms(clean), rel=1e-9, abs=1e-9)


@given(path=paths, d=st.integers(1, 4), seed=seeds)
def test_w2b_15_the_prior_is_the_normal_law_of_the_noise_end(path, d, seed):
    """5 standard errors of the second moment of 4000 draws: sqrt(2 / (4000 d)) each."""
    law = gaussian(seed, d)
    problem, n = diffusion(path, law), 4000
    _, y0 = problem.start(law.sample(n, generator(seed)), generator(seed + 1))
    variance = float(y0.square().mean()) / float(path.sigma(problem.start_time)) ** 2
    assert abs(variance - 1) < 5 * math.sqrt(2 / (n * d))


@given(beta=st.floats(0.5, 3.0), scale=st.floats(0.3, 1.5), n=st.integers(3, 200), seed=seeds)
def test_w2b_15_calibrated_clouds_are_paired_by_the_optimal_map_of_their_laws(beta, scale, n, seed):
    """Their distance is Bures' with the spread of the draws, hence Bures' itself for whitened draws."""
    path, law = VP(beta, beta, 1.0), gaussian(seed, 2, scale)
    problem = diffusion(path, law)
    x0, y0 = tight._start(problem, law, n, generator(seed))
    noised, sigma = law.at(path, problem.start_time), float(path.sigma(problem.start_time))
    spread = float((y0 / sigma).square().sum(1).mean()) / 2
    prior = sigma**2 * torch.eye(2, dtype=torch.float64)
    shift, width = (
        noised.mean() - y0.mean(0),
        bures_squared(0 * noised.mean(), noised.covariance(), 0 * noised.mean(), prior),
    )
    assert rms(x0 - y0) ** 2 == pytest.approx(float(shift.square().sum()) + spread * float(width), rel=1e-9)
