"""RATIO-1, 2, 5, 6 and REFLOW-6 to 8: what critics minimise, their penalties, and the log-ratios they tell."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.fields import MonoFlow
from gflow.learn import MLP
from gflow.problems import Gaussian
from gflow.ratio import (
    DIVERGENCES,
    EXPONENTIAL,
    HINGE,
    LEAST_SQUARES,
    LOGIT,
    NON_SATURATING,
    VANILLA,
    WASSERSTEIN,
    CriticLogRatio,
    GradientPenalty,
    KnownLogRatio,
    critic_gradient,
    f_gan,
    r1,
    r2,
    wgan_gp,
    zero_centred,
)
from tests.ratio.cases import integral, simplices, targets, x
from tests.strategies import F64, build, floats, gaussians, points, untyped

WITH_RATIO = [VANILLA, LEAST_SQUARES, *map(f_gan, DIVERGENCES.values())]
named = {"ids": lambda each: each.name}


@pytest.mark.parametrize("objective", WITH_RATIO, **named)
@given(d=floats(-3.0, 3.0), step=floats(0.001, 0.3))
def test_ratio_4_the_optimum_is_stationary_and_no_neighbour_is_lower(objective, d, step):
    """p = e^d and q = 1 at one point: the loss of one number."""
    d, p = torch.full((1,), d, dtype=F64), math.exp(d)
    best = objective.optimum(d)

    def loss(D):
        return (p * objective.on_data(D) + objective.on_model(D)).sum()

    slope = torch.func.grad(loss)(best)
    scale = float(torch.func.grad(lambda D: p * objective.on_data(D).sum())(best).abs())
    assert float(slope.abs()) <= 1e-10 * (1 + scale)
    for moved in (best + step, best - step):
        assert float(loss(moved)) >= float(loss(best)) - 1e-12 * (1 + scale)
    torch.testing.assert_close(objective.log_ratio(best), d, rtol=1e-10, atol=1e-10)


@settings(max_examples=20)
@given(pair=simplices())
def test_ratio_1_logits_on_discrete_laws_converge_to_the_log_ratio(pair):
    p, q = pair
    D = torch.zeros_like(p, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [D], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        # The loss at each point over its mass: the same optimum, better conditioned.
        loss = ((p * VANILLA.on_data(D) + q * VANILLA.on_model(D)) / (p + q)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(D.detach(), (p / q).log(), rtol=0, atol=1e-6)


@given(targets(), targets(), floats(-1.0, 1.0), floats(0.2, 2.0))
def test_ratio_2_excess_risk_is_the_divergence_of_the_two_classifiers(p, q, a, b):
    """E_{p+q} KL(Ber sigma(D*) || Ber sigma(D)), by quadrature with torch's own Bernoulli laws."""
    density = [law.log_prob(x[:, None]).exp() for law in (p, q)]
    best = p.log_prob(x[:, None]) - q.log_prob(x[:, None])
    worse = best + a * torch.sin(b * x)

    def risk(D):
        return float(integral(density[0] * VANILLA.on_data(D) + density[1] * VANILLA.on_model(D)))

    bernoulli = [torch.distributions.Bernoulli(logits=D.clamp(-700, 700)) for D in (best, worse)]
    # Where both densities are 0 to rounding the logits may be any number.
    gap = torch.distributions.kl_divergence(*bernoulli).nan_to_num(posinf=0.0)
    excess = risk(worse) - risk(best)
    assert excess >= -1e-12
    assert excess == pytest.approx(float(integral((density[0] + density[1]) * gap)), abs=1e-8)


@given(floats(-3.0, 3.0))
def test_ratio_5_hinge_tells_the_sign_only(d):
    d = torch.full((1,), d if d else 1.0, dtype=F64)
    grid = torch.linspace(-2.0, 2.0, 401, dtype=F64)
    loss = d.exp() * HINGE.on_data(grid) + HINGE.on_model(grid)
    assert float(grid[loss.argmin()]) == pytest.approx(float(HINGE.optimum(d)), abs=1e-9)
    for objective in (HINGE, WASSERSTEIN):
        with pytest.raises(ValueError, match=f"critics of {objective.name} tell no log-ratio"):
            CriticLogRatio(lambda x: x[:, 0], objective)


@given(floats(0.005, 0.1))
def test_ratio_6_small_errors_of_value_may_be_large_ones_of_gradient(delta):
    p, q = (Gaussian(torch.full((1,), m, dtype=F64), torch.ones(1, 1, dtype=F64)) for m in (1.0, 0.0))
    exact, nodes = KnownLogRatio(p, q), torch.linspace(-1.0, 1.0, 20001, dtype=F64)[:, None]
    critic = CriticLogRatio(lambda y: exact(y) + delta * torch.sin(y[:, 0] / delta**2), VANILLA)
    assert float((critic(nodes) - exact(nodes)).abs().max()) <= delta
    worst = (critic.gradient(nodes) - exact.gradient(nodes)).abs().max()
    assert float(worst) == pytest.approx(1 / delta, rel=1e-3)


@given(gaussians(2), gaussians(2), st.sampled_from([VANILLA, *map(f_gan, DIVERGENCES.values())]))
def test_the_log_ratio_of_an_optimal_critic_and_its_gradient_are_those_of_the_laws(p, q, objective):
    exact, at = build(KnownLogRatio, p, q), 0.2 * points(6, 2, 0)
    if float(exact(at).abs().max()) > 12:  # a ratio of e^24 leaves 1 - 1/r^2 no digits
        return
    critic = CriticLogRatio(lambda y: objective.optimum(exact(y)), objective)
    torch.testing.assert_close(critic(at), exact(at), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(critic.gradient(at), exact.gradient(at), rtol=1e-5, atol=1e-5)


@given(gaussians(2), gaussians(2))
def test_wgf_1_the_logit_loss_moves_particles_by_the_difference_of_scores(p, q):
    at = points(5, 2, 1)
    torch.testing.assert_close(MonoFlow(KnownLogRatio(p, q), LOGIT)(0.0, at), p.score(at) - q.score(at))


@given(gaussians(2), gaussians(2))
def test_mono_2_the_velocity_is_the_gradient_of_h_of_the_log_ratio(p, q):
    ratio, at = KnownLogRatio(p, q), points(5, 2, 1)
    climbed = torch.func.grad(lambda y: NON_SATURATING.h(ratio(y)).sum())(at)
    torch.testing.assert_close(MonoFlow(ratio, NON_SATURATING)(0.0, at), climbed, rtol=1e-8, atol=1e-8)


@given(floats(0.1, 20.0), floats(-3.0, 3.0))
def test_reflow_6_the_critic_between_point_masses_has_slope_a_over_twice_the_weight(weight, a):
    """q at 0 and p at a: D' = a / (2 weight) on the segment, so 2 weight D does not depend on it (REFLOW-8)."""
    p, q = torch.full((4, 1), a, dtype=F64), torch.zeros(4, 1, dtype=F64)
    generator = torch.Generator().manual_seed(0)
    slope = torch.full((), a / (2 * weight), dtype=F64, requires_grad=True)

    def critic(y):
        return slope * y[:, 0]

    loss = WASSERSTEIN.loss(critic(p), critic(q)) + zero_centred(weight).loss(critic, p, q, generator)
    loss.backward()
    assert float(slope.grad.abs()) <= 1e-12 * (1 + abs(a))
    # The minimum is -||p - q||^2_{H^-1(pbar)} / (4 weight).
    assert float(loss.detach()) == pytest.approx(-(a**2) / (4 * weight), rel=1e-12, abs=1e-15)


@given(points_seed=st.integers(0, 100))
def test_penalties_take_the_closed_gradient_of_a_quadratic_critic(points_seed):
    p, q = points(7, 3, points_seed), points(7, 3, points_seed + 1)

    def critic(y):
        return 0.5 * y.square().sum(1, keepdim=True)

    generator = torch.Generator()
    for penalty, at in ((r1(2.0), p), (r2(2.0), q)):
        expected = at.square().sum(1).mean()
        torch.testing.assert_close(penalty.loss(critic, p, q, generator), expected)
    penalty = wgan_gp()
    between = penalty.points(p, q, generator.manual_seed(3))
    expected = 10.0 * (between.norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(penalty.loss(critic, p, q, generator.manual_seed(3)), expected)
    share = ((between - q) / (p - q)).mean(1, keepdim=True)
    torch.testing.assert_close(between, q + share * (p - q))
    assert bool(((share > 0) & (share < 1)).all())


def test_the_gradient_of_a_penalty_in_the_parameters_is_that_of_differences():
    critic = MLP(2, 1, hidden=(8, 8), generator=torch.Generator().manual_seed(0))
    p, q = points(6, 2, 0), points(6, 2, 1)

    def loss():
        return wgan_gp().loss(critic, p, q, torch.Generator().manual_seed(1))

    loss().backward()
    for parameter in critic.parameters():
        flat, h = parameter.data.view(-1), 1e-6
        kept = float(flat[0])
        values = []
        for shift in (h, -h):
            flat[0] = kept + shift
            values.append(float(loss().detach()))
        flat[0] = kept
        found = 0.0 if parameter.grad is None else float(parameter.grad.view(-1)[0])
        assert found == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-6, abs=1e-7)


def test_bad_critics_and_batches_are_named():
    at = points(4, 2, 0)
    with pytest.raises(ValueError, match=r"expected outputs \(4,\) or \(4, 1\), got \(4, 2\)"):
        critic_gradient(lambda y: y, at, create_graph=False)
    with pytest.raises(ValueError, match="its outputs do not depend on the points"):
        critic_gradient(lambda y: torch.ones(len(y), dtype=F64), at, create_graph=False)
    with pytest.raises(ValueError, match="gradient is NaN or infinite for 4 of 4 points"):
        critic_gradient(lambda y: (0 * y[:, 0]).sqrt(), at, create_graph=False)
    with pytest.raises(ValueError, match="4 of 4 outputs are no least squares critic's"):
        CriticLogRatio(lambda y: 2 + 0 * y[:, 0], LEAST_SQUARES)(at)
    with pytest.raises(ValueError, match="got none of q"):
        VANILLA.loss(at[:, 0], at[:0, 0])
    with pytest.raises(ValueError, match="interpolates need equal shapes"):
        wgan_gp().loss(lambda y: y[:, 0], at, at[:2], torch.Generator())
    with pytest.raises(ValueError, match="weight: must be positive"):
        zero_centred(0.0)
    with pytest.raises(ValueError, match="at: expected data, model or interpolates, got 'fake'"), untyped():
        GradientPenalty(1.0, 0.0, "fake")
    line = Gaussian(torch.zeros(1, dtype=F64), torch.ones(1, 1, dtype=F64))
    plane = Gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
    with pytest.raises(ValueError, match="p and q: need one dimension, got 1 and 2"):
        KnownLogRatio(line, plane)


def test_a_velocity_that_overflows_is_refused_before_the_integrator_sees_it():
    near, far = (Gaussian(torch.full((1,), m), 0.01 * torch.ones(1, 1)) for m in (0.0, 100.0))
    flow = MonoFlow(KnownLogRatio(near, far), EXPONENTIAL)
    with pytest.raises(ValueError, match="the velocity is NaN or infinite for 1 of 1 particles"):
        flow(0.0, torch.zeros(1, 1))
