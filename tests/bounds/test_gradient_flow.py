"""W2B-21: the budget of a gradient flow, whose reference follows the current law."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.bounds import Panels, gradient_flow_bound
from gflow.estimate import Estimate
from gflow.fields import GaussianKLFlow
from gflow.ode import DOPRI5, ExplicitRK, PIController, solve_ivp
from gflow.problems import Gaussian
from gflow.transport import bures_squared
from tests.strategies import F64, build, floats, gaussians, points

PANELS = Panels.uniform(0.0, 1.0, 4)


class Perturbed:
    """The field ``grad log (p / q_s)(x) + B x + c`` that moves its own normal law q_s."""

    def __init__(self, target, start, b, c):
        self.target, self.b, self.c = target, b, c
        first = {"m": start.mu, "S": start.C}
        controller = PIController(rtol=1e-10, atol=1e-10)
        self.solution = solve_ivp(
            self.rate, first, 0.0, 1.0, method=ExplicitRK(DOPRI5), controller=controller, dense=True
        )

    def rate(self, t, law):
        slope = torch.linalg.inv(law["S"]) - torch.linalg.inv(self.target.C) + self.b
        drift = self.target.score(law["m"][None])[0] + self.b @ law["m"] + self.c
        return {"m": drift, "S": slope @ law["S"] + law["S"] @ slope.mT}

    def law(self, s):
        found = self.solution.interpolate(s)
        return Gaussian(found["m"], (found["S"] + found["S"].mT) / 2)

    def exact(self, s, x):
        return self.target.score(x) - self.law(s).score(x)

    def __call__(self, s, x):
        return self.exact(s, x) + x @ self.b.mT + self.c

    def samples(self, s):
        """Points with the moments of q_s: exact for the square of an affine error."""
        law = self.law(s)
        spread = math.sqrt(law.dim) * torch.linalg.cholesky(law.C).mT
        return torch.cat((law.mu + spread, law.mu - spread))

    def bound(self, initial=0.0):
        return gradient_flow_bound(self, self.exact, self.samples, self.target.score_osl(), PANELS, initial=initial)


def w2(a, b):
    return math.sqrt(bures_squared(a.mu, a.C, b.mu, b.C))


@st.composite
def pairs(draw):
    """A target and two starts."""
    d = draw(st.integers(1, 3))
    return draw(gaussians(d)), draw(gaussians(d)), draw(gaussians(d))


@settings(max_examples=20)  # each solves for its law to 1e-10
@given(pairs(), st.integers(0, 100), floats(0.0, 0.5))
def test_w2b_21_the_bound_is_above_w2_to_the_exact_flow(laws, seed, size):
    target, start, other = laws
    d = target.dim
    flow = build(Perturbed, target, start, size * points(d, d, seed), size * points(1, d, seed + 1)[0])
    reference = GaussianKLFlow(target, other).law(1.0)
    reached = w2(flow.law(1.0), reference)
    assert flow.bound(w2(start, other)).mean >= reached * (1 - 1e-6) - 1e-7


@settings(max_examples=20)  # each solves for its law to 1e-10
@given(floats(0.3, 3.0), floats(0.1, 1.0), st.integers(1, 3))
def test_w2b_21_is_an_equality_for_a_constant_error_and_a_round_target(variance, size, d):
    """The mean lags by c, the covariances agree: W2 = |c| p (1 - exp(-S / p))."""
    eye, zero = torch.eye(d, dtype=F64), torch.zeros(d, dtype=F64)
    target, start = Gaussian(zero, variance * eye), Gaussian(zero + 1.0, 0.5 * eye)
    flow = build(Perturbed, target, start, 0 * eye, zero + size)
    found = flow.bound()
    closed = size * math.sqrt(d) * variance * -math.expm1(-1 / variance)
    assert found.mean == pytest.approx(closed, rel=1e-8)
    assert w2(flow.law(1.0), GaussianKLFlow(target, start).law(1.0)) == pytest.approx(closed, rel=1e-6)


def test_w2b_21_errors_of_fields_and_constants_are_named():
    eye, zero = torch.eye(2, dtype=F64), torch.zeros(2, dtype=F64)
    flow = build(Perturbed, Gaussian(zero, eye), Gaussian(zero, eye), 0 * eye, zero)
    bad = {"exact": flow.exact, "samples": flow.samples, "panels": PANELS}
    with pytest.raises(ValueError, match=r"u at s = .*NaN or infinite for 4 of 4 particles"):
        gradient_flow_bound(lambda s, x: x * math.nan, osl=Estimate.exact(-1.0), **bad)
    with pytest.raises(ValueError, match=r"osl: expected a finite constant of grad log p, got inf"):
        gradient_flow_bound(flow, osl=Estimate.bound(1e4, bias="none"), **bad)
    with pytest.raises(ValueError, match=r"initial"):
        gradient_flow_bound(flow, osl=Estimate.exact(-1.0), initial=-1.0, **bad)
