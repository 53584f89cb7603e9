"""RATIO-8 and RATIO-9: what scores do not see, and what a frozen critic does to particles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gflow.fields import MonoFlow
from gflow.ode import EULER, ConstantStep, ExplicitRK, solve_ivp
from gflow.problems import Gaussian, GaussianMixture
from gflow.ratio import LOGIT, KnownLogRatio
from tests.strategies import F64, floats

X = torch.linspace(-16.0, 16.0, 6401, dtype=F64)[:, None]


def modes(weight, a):
    weights = torch.tensor([weight, 1 - weight], dtype=F64)
    return GaussianMixture(weights, torch.tensor([[-a], [a]], dtype=F64), torch.ones(2, dtype=F64))


def fisher_and_kl(p, q):
    """``E_p |grad log p/q|^2`` and ``KL(p||q)``, by the trapezoid rule."""
    ratio, density = KnownLogRatio(p, q), p.log_prob(X).exp()
    fisher, kl = ratio.gradient(X).square().sum(1), ratio(X)
    return tuple(float(torch.trapezoid(density * values, X[:, 0])) for values in (fisher, kl))


@given(floats(0.1, 0.9), floats(2.0, 6.0))
def test_ratio_8_scores_lose_sight_of_the_weights_and_the_ratio_does_not(weight, a):
    assume(abs(weight - 0.5) > 0.02)
    near, far = (fisher_and_kl(modes(0.5, b), modes(weight, b)) for b in (a, a + 1))
    if a >= 3.0:
        assert far[0] < near[0] / 2
        assert far[1] == pytest.approx(near[1], rel=0.05)
    # The log-ratio tells the weights: it is log of their ratio at either mode.
    d = KnownLogRatio(modes(0.5, 8.0), modes(weight, 8.0))(torch.tensor([[-8.0], [8.0]], dtype=F64))
    torch.testing.assert_close(d.exp(), torch.tensor([0.5 / weight, 0.5 / (1 - weight)], dtype=F64))


def test_ratio_8_printed_values():
    """Separations 8 and 12 of weights .5/.5 and .9/.1."""
    fisher, kl = fisher_and_kl(modes(0.5, 4.0), modes(0.9, 4.0))
    assert (fisher, kl) == (pytest.approx(1.1e-3, abs=5e-5), pytest.approx(0.5108, abs=5e-4))
    fisher, kl = fisher_and_kl(modes(0.5, 6.0), modes(0.9, 6.0))
    assert (fisher, kl) == (pytest.approx(7.5e-8, abs=5e-10), pytest.approx(0.51083, abs=5e-6))


@settings(max_examples=15)
@given(floats(0.01, 0.5), st.integers(1, 12), floats(-2.0, 2.0))
def test_ratio_9_k_frozen_steps_are_one_step_k_times_as_long(eta, k, theta):
    """p = N(0, 1), q = N(theta, 1): the critic is linear, and a refresh multiplies theta by 1 - k eta."""
    assume(abs(k * eta - 2.0) > 0.05 and abs(theta) > 0.01)
    one = torch.eye(1, dtype=F64)
    target = Gaussian(torch.zeros(1, dtype=F64), one)
    x = torch.tensor([[theta - 1.0], [theta + 1.0]], dtype=F64)
    solve = {"method": ExplicitRK(EULER), "controller": ConstantStep(eta)}
    for _ in range(15):
        critic = MonoFlow(KnownLogRatio(target, Gaussian(x.mean(0), one)), LOGIT)
        before, x = x, solve_ivp(critic, x, 0.0, k * eta, **solve).y1
        torch.testing.assert_close(x.mean(), (1 - k * eta) * before.mean(), rtol=1e-9, atol=1e-12)
        if abs(float(x.mean())) > 1e6:
            break
    grown = abs(float(x.mean())) > abs(theta)
    assert grown == (k * eta > 2.0)


def test_ratio_9_against_a_frozen_critic_particles_go_to_its_maximum():
    """For modes apart they collapse onto the points where log p - log q is largest, at infinity for a linear one."""
    line = KnownLogRatio(*(Gaussian(torch.tensor([m], dtype=F64), torch.eye(1, dtype=F64)) for m in (0.0, 1.0)))
    x = torch.tensor([[-1.0], [3.0]], dtype=F64)
    solve = {"method": ExplicitRK(EULER), "controller": ConstantStep(0.1)}
    far = solve_ivp(MonoFlow(line, LOGIT), x, 0.0, 50.0, **solve).y1
    torch.testing.assert_close(far, x - 50.0)
    wide = Gaussian(torch.zeros(1, dtype=F64), 4 * torch.eye(1, dtype=F64))
    narrow = Gaussian(torch.ones(1, dtype=F64), torch.eye(1, dtype=F64))
    end = solve_ivp(MonoFlow(KnownLogRatio(narrow, wide), LOGIT), x, 0.0, 50.0, **solve).y1
    # -(x - 1)^2/2 + x^2/8 is largest at 4/3.
    torch.testing.assert_close(end, torch.full_like(x, 4 / 3))
