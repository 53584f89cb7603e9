"""INT-3, PARAM-9: particles driven by critics that are refitted at every evaluation, or tracked in the state."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import grad, jacrev, jvp

from gflow.fields import GaussianKLFlow, MonoFlow
from gflow.fields.particles import KernelDensityFlow, MinibatchTrackedFlow, RefittedFlow, TrackedFlow
from gflow.learn import MLP, SpectralNorm
from gflow.ode import (
    EULER,
    HEUN,
    MIDPOINT,
    RK4,
    AlternatingEuler,
    ConstantStep,
    ExplicitRK,
    solve_ivp,
)
from gflow.problems import Gaussian, GaussianMixture
from gflow.ratio import (
    HINGE,
    LOGIT,
    NON_SATURATING,
    SATURATING,
    VANILLA,
    CriticLogRatio,
    DensityRatioEstimator,
    KernelDensityEstimator,
    KnownLogRatio,
    critic_gradient,
    critic_outputs,
    r1,
    zero_centred,
)
from gflow.state import Layout
from gflow.velocity import StepwiseField
from tests.halving import end, fine, gap, orders
from tests.strategies import F64, points, untyped

few = settings(max_examples=10)
seeds, dims = st.integers(0, 999), st.integers(1, 3)


@dataclass(frozen=True)
class Fit:
    log_ratio: object


class Moments:
    """The normal laws of the mean and covariance of both clouds: the exact ratio for clouds of normal moments."""

    def fit(self, p, q, generator):
        return Fit(KnownLogRatio(*(Gaussian(x.mean(0), (x - x.mean(0)).mT @ (x - x.mean(0)) / len(x)) for x in (p, q))))


@dataclass(frozen=True)
class Density:
    """Gaussian density estimates of one held bandwidth."""

    bandwidth: float

    def fit(self, p, q, generator):
        def law(x):
            return GaussianMixture(x.new_full((len(x),), 1 / len(x)), x, x.new_full((len(x),), self.bandwidth**2))

        return Fit(KnownLogRatio(law(p), law(q)))


class Quadratic(nn.Module):
    """``a + b x + c x^2`` on the line."""

    def __init__(self, coefficients=(0.0, 0.0, 0.0), dtype=F64):
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor(coefficients, dtype=dtype))

    def forward(self, x):
        return torch.cat((torch.ones_like(x), x, x * x), 1) @ self.coefficients


class Newton:
    """The quadratic critic of least vanilla loss, from 0 by Newton's method: a smooth function of the particles."""

    def fit(self, p, q, generator):
        def risk(c):
            features = [torch.cat((torch.ones_like(x), x, x * x), 1) for x in (p, q)]
            return VANILLA.loss(features[0] @ c, features[1] @ c)

        c = torch.zeros(3, dtype=p.dtype)
        for _ in range(8):
            c = c - torch.linalg.solve(jacrev(grad(risk))(c), grad(risk)(c))
        return Fit(CriticLogRatio(Quadratic(c.tolist()).requires_grad_(False), VANILLA))


def normal_points(mean, deviation, n):
    """Quantiles, scaled to have the standard deviation."""
    levels = (torch.arange(n, dtype=F64) + 0.5) / n
    z = torch.distributions.Normal(0.0, 1.0).icdf(levels)
    return (mean + deviation * z / z.square().mean().sqrt()).unsqueeze(1)


@few
@given(dims, seeds)
def test_wgf_1_refitted_to_moments_the_flow_is_the_closed_form(d, seed):
    data, y = points(d + 4, d, seed, 1.0), points(d + 5, d, seed + 1, 1.0) + 1.0
    p, q = Moments().fit(data, y, None).log_ratio.p, Moments().fit(data, y, None).log_ratio.q
    v = RefittedFlow(Moments(), data, LOGIT, seed=0)
    exact = GaussianKLFlow(p, q)
    torch.testing.assert_close(v(0.0, y), exact(0.0, y), rtol=1e-9, atol=1e-8)


def test_int_3_a_critic_refitted_at_every_stage_keeps_the_order_of_the_method():
    data, y = points(9, 2, 0, 1.0), points(8, 2, 1, 0.5) + 1.0
    v = RefittedFlow(Moments(), data, LOGIT, seed=0)
    exact = GaussianKLFlow(*(getattr(Moments().fit(data, y, None).log_ratio, name) for name in "pq")).exact(0.5, y)
    for tableau, order in ((EULER, 1), (MIDPOINT, 2), (RK4, 4)):
        found = orders(lambda n, tableau=tableau: gap(end(v, y, 0.5, tableau, n), exact), (10, 20, 40))
        assert found[-1] == pytest.approx(order, abs=0.15), (tableau.name, found)


def test_int_3_a_critic_held_within_the_step_leaves_order_1():
    """The midpoint rule with the log-ratio of the start of the step in both stages: 001 as written."""
    data, y = points(9, 2, 0, 1.0), points(8, 2, 1, 0.5) + 1.0
    exact = GaussianKLFlow(*(getattr(Moments().fit(data, y, None).log_ratio, name) for name in "pq")).exact(0.5, y)

    def held(n):
        x = y
        for _ in range(n):
            x = end(MonoFlow(Moments().fit(data, x, None).log_ratio, LOGIT), x, 0.5 / n, MIDPOINT, 1)
        return gap(x, exact)

    assert orders(held, (20, 40, 80))[-1] == pytest.approx(1.0, abs=0.1)


@few
@given(dims, seeds)
def test_refitted_to_density_estimates_it_is_the_kernel_density_flow(d, seed):
    data, y = points(5, d, seed, 1.0), points(6, d, seed + 1, 1.0)
    v = RefittedFlow(Density(0.8), data, LOGIT, seed=0)
    torch.testing.assert_close(v(0.0, y), KernelDensityFlow(data, 0.8)(0.0, y), rtol=1e-9, atol=1e-9)


def test_int_3_order_with_a_density_estimate_and_a_rescaled_velocity():
    data, y = points(9, 2, 0, 1.0), points(8, 2, 1, 0.5) + 0.5
    # One candidate for the bandwidth: Scott's, a smooth function of the particles.
    v = RefittedFlow(KernelDensityEstimator((1.0,)), data, SATURATING, seed=0)
    reference = fine(v, y, 1.0, 40)
    for tableau, order in ((HEUN, 2), (RK4, 4)):
        found = orders(lambda n, tableau=tableau: gap(end(v, y, 1.0, tableau, n), reference), (5, 10, 20))
        assert found[-1] == pytest.approx(order, abs=0.2), (tableau.name, found)


def trained(steps=20):
    return DensityRatioEstimator(
        MLP(2, 1, hidden=(8,), generator=torch.Generator().manual_seed(0)),
        VANILLA,
        lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
        steps=steps,
        batch=16,
        held_out=0.25,
        every=10,
        patience=3,
    )


def test_a_trained_critic_makes_a_pure_field_that_depends_on_the_seed():
    data, y = points(24, 2, 0, 1.0), points(20, 2, 1, 0.5) + 1.0
    v = RefittedFlow(trained(), data, NON_SATURATING, seed=3)
    first = v(0.0, y)
    assert torch.equal(v(1.0, y), first)
    assert not torch.equal(RefittedFlow(trained(), data, NON_SATURATING, seed=4)(0.0, y), first)
    step = solve_ivp(v, y, 0.0, 0.1, method=ExplicitRK(EULER), controller=ConstantStep(0.1)).y1
    torch.testing.assert_close(step, y + 0.1 * first, rtol=0.0, atol=1e-14)


def test_a_derivative_of_a_refitted_flow_is_refused():
    data, y = points(5, 2, 0, 1.0), points(4, 2, 1, 1.0)
    v = RefittedFlow(Density(0.8), data, LOGIT, seed=0)
    with pytest.raises(RuntimeError, match="RefittedFlow: the velocity is not differentiable"):
        jacrev(lambda x: v(0.0, x))(y)


def tracked(data, network=None, **options):
    network = (
        MLP(data.shape[1], 1, hidden=(5,), generator=torch.Generator().manual_seed(0)) if network is None else network
    )
    return TrackedFlow(network, VANILLA, NON_SATURATING, data, **{"kappa": 3.0} | options)


@few
@given(dims, seeds, st.sampled_from([None, r1(0.5), zero_centred()]))
def test_the_tracked_velocity_is_that_of_autograd(d, seed, penalty):
    """Both blocks by another route: the module itself, autograd, and the penalty's own loss."""
    data, y = points(7, d, seed, 1.0), points(7, d, seed + 1, 1.0)
    flow = tracked(data, MLP(d, 1, hidden=(5,), generator=torch.Generator().manual_seed(seed)), penalty=penalty, seed=9)
    state = flow.start(y)
    v = flow(0.0, state)
    critic = flow.network
    slope = critic_gradient(critic, y, create_graph=False)
    expected = NON_SATURATING.h_prime(critic_outputs(critic, y).detach())[:, None] * slope
    torch.testing.assert_close(v["particles"], expected, rtol=0.0, atol=1e-12)
    risk = VANILLA.loss(critic_outputs(critic, data), critic_outputs(critic, y))
    if penalty is not None:
        risk = risk + penalty.loss(critic, data, y, torch.Generator().manual_seed(9))
    names, parameters = zip(*critic.named_parameters(), strict=True)
    for name, slope in zip(names, torch.autograd.grad(risk, parameters), strict=True):
        torch.testing.assert_close(v["critic"][name], -3.0 * slope, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(flow.log_ratio(state).gradient(y), critic_gradient(critic, y, create_graph=False))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")
def test_the_tracked_velocity_has_the_derivative_of_its_differences():
    flow = tracked(points(9, 2, 0, 1.0), penalty=r1(0.5))
    state, h = flow.start(points(8, 2, 1, 0.5) + 1.0), 1e-5
    layout = Layout.of(state)
    flat = layout.flatten(state)
    direction = points(1, len(flat), 2, 1.0)[0]

    def velocity(z):
        return layout.flatten(flow(0.0, layout.unflatten(z)))

    slope = (velocity(flat + h * direction) - velocity(flat - h * direction)) / (2 * h)
    torch.testing.assert_close(jvp(velocity, (flat,), (direction,))[1], slope, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("penalty", [None, r1(0.5)])
def test_int_3_joint_steps_keep_the_order_of_the_method(penalty):
    flow = tracked(points(9, 2, 0, 1.0), penalty=penalty)
    start = flow.start(points(8, 2, 1, 0.5) + 1.0)
    reference = fine(flow, start, 1.0, 40)
    for tableau, order in ((HEUN, 2), (RK4, 4)):
        found = orders(lambda n, tableau=tableau: gap(end(flow, start, 1.0, tableau, n), reference), (4, 8, 16))
        assert found[-1] == pytest.approx(order, abs=0.25), (tableau.name, found)


@pytest.mark.parametrize("updates", [1, 3])
def test_alternating_steps_update_the_critic_first_and_then_the_particles(updates):
    """Steps of torch.optim.SGD on the critic, then one Euler step of the particles under the new critic."""
    data, y, h = points(9, 2, 0, 1.0), points(8, 2, 1, 0.5) + 1.0, 0.1
    flow = tracked(data)
    method = AlternatingEuler((*["critic"] * updates, "particles"))
    found = solve_ivp(flow, flow.start(y), 0.0, h, method=method, controller=ConstantStep(h)).y1
    critic = MLP(2, 1, hidden=(5,), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(critic.parameters(), lr=h * flow.kappa / updates)
    for _ in range(updates):
        optimizer.zero_grad()
        VANILLA.loss(critic_outputs(critic, data), critic_outputs(critic, y)).backward()
        optimizer.step()
    for name, value in critic.named_parameters():
        torch.testing.assert_close(found["critic"][name], value.detach(), rtol=0.0, atol=1e-14)
    moved = y + h * MonoFlow(CriticLogRatio(critic, VANILLA), NON_SATURATING)(0.0, y).detach()
    torch.testing.assert_close(found["particles"], moved, rtol=0.0, atol=1e-14)


def test_param_9_the_tracked_flow_is_within_one_over_kappa_of_the_optimal_critic():
    data, y = normal_points(1.0, 0.8, 16), normal_points(-0.3, 1.1, 16)
    optimal = RefittedFlow(Newton(), data, LOGIT, seed=0)
    reference = end(optimal, y, 0.5, RK4, 10)
    best = Newton().fit(data, y, None).log_ratio.critic
    errors = []
    for kappa in (100.0, 200.0):
        flow = TrackedFlow(best, VANILLA, LOGIT, data, kappa)
        # The largest eigenvalue lambda of the loss is 1.4, and RK4 is stable up to h kappa lambda = 2.8.
        final = end(flow, flow.start(y), 0.5, RK4, int(0.3 * kappa))
        errors.append(gap(final["particles"], reference))
    ratios = [a / b for a, b in zip(errors, errors[1:], strict=False)]
    assert all(1.8 <= ratio <= 2.3 for ratio in ratios), (errors, ratios)


def test_minibatches_are_those_of_the_step_and_of_the_seed():
    data, y = points(50, 2, 0, 1.0), points(8, 2, 1, 1.0)
    flow = MinibatchTrackedFlow(tracked(data, penalty=zero_centred()), batch=8, seed=1)
    assert isinstance(flow, StepwiseField)
    assert torch.equal(flow.at_step(3).data, flow.at_step(3).data)
    assert not torch.equal(flow.at_step(3).data, flow.at_step(4).data)
    assert flow.at_step(3).seed != flow.at_step(4).seed
    assert not torch.equal(flow.at_step(3).data, MinibatchTrackedFlow(flow.flow, 8, 2).at_step(3).data)
    assert bool((flow.at_step(0).data[:, None] == data).all(2).any(1).all())
    solve = {"method": ExplicitRK(HEUN), "controller": ConstantStep(0.1)}
    first, again = (solve_ivp(flow, flow.flow.start(y), 0.0, 0.5, **solve).y1 for _ in range(2))
    assert gap(first, again) == 0.0


def test_the_network_is_not_changed_and_float32_stays():
    data, y = points(9, 2, 0, 1.0).float(), points(8, 2, 1, 1.0).float()
    network = MLP(2, 1, hidden=(5,), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    before = [value.clone() for value in network.parameters()]
    flow = tracked(data, network)
    final = end(flow, flow.start(y), 0.5, HEUN, 5)
    assert final["particles"].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not any(value.requires_grad for value in final["critic"].values())


def test_bad_arguments_and_states_are_named():
    data, y = points(9, 2, 0, 1.0), points(8, 2, 1, 1.0)
    flow = tracked(data)
    state = flow.start(y)
    with untyped():
        for kappa in (0.0, -1.0, math.inf):
            with pytest.raises(ValueError, match="kappa: must be positive and finite"):
                tracked(data, kappa=kappa)
        with pytest.raises(ValueError, match="objective: critics of hinge tell no log-ratio"):
            TrackedFlow(flow.network, HINGE, LOGIT, data, 1.0)
        with pytest.raises(ValueError, match="network: has no parameters"):
            tracked(data, nn.Identity())
        with pytest.raises(ValueError, match="network: a SpectralNorm changes from step to step"):
            tracked(data, SpectralNorm(flow.network))
        with pytest.raises(ValueError, match=r"particles: expected rows \(n, 2\)"):
            flow.start(y[:, :1])
        with pytest.raises(ValueError, match=r"state: expected particles and critic with \['layers.0.weight'"):
            flow(0.0, {"particles": y, "critic": {}})
        with pytest.raises(ValueError, match="batch: must be at least 1"):
            MinibatchTrackedFlow(flow, 0, 0)
        with pytest.raises(ValueError, match="p and q: interpolates need equal shapes"):
            tracked(data, penalty=zero_centred())(0.0, state)
        with pytest.raises(ValueError, match=r"y: expected rows \(n, 2\)"):
            RefittedFlow(Moments(), data, LOGIT, 0)(0.0, y[:, :1])
        with pytest.raises(ValueError, match="data: 1 of 9 points hold NaN"):
            RefittedFlow(Moments(), torch.where(data == data[0, 0], math.nan, data), LOGIT, 0)
        broken = {"particles": y, "critic": {k: v * math.inf for k, v in state["critic"].items()}}
        with pytest.raises(ValueError, match="non-saturating: the velocity is NaN or infinite for 8 of 8"):
            flow(0.0, broken)
