"""The error budget on Gaussian data, where every term has a closed form, and its sum on mixtures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from gflow.bounds import ErrorBudget, FreshData, ode_budget, sde_budget
from gflow.estimate import Estimate
from gflow.fields import ProbabilityFlow, ReverseDrift, reverse
from gflow.ode import (
    DOPRI5,
    EULER,
    HEUN,
    MIDPOINT,
    RK4,
    BrownianPath,
    ConstantStep,
    EulerMaruyama,
    ExplicitRK,
    PIController,
    solve_ivp,
)
from gflow.problems import VP, Gaussian, GaussianMixture, NoisedScore
from gflow.transport import ExactW2
from tests.bounds.fields import F64, Ridges, normal
from tests.strategies import floats, untyped

T, PATH = 2.0, VP(1.0, 1.0, 2.0)
EXACT = {"method": ExplicitRK(DOPRI5), "controller": PIController(rtol=1e-10, atol=1e-10)}


def gaussian_flow(variance, mean=0.0):
    law = Gaussian(torch.tensor([mean], dtype=F64), torch.tensor([[variance]], dtype=F64))
    return reverse(ProbabilityFlow(PATH, NoisedScore(law, PATH)), T)


def noised(variance, t):
    return math.exp(-t) * variance - math.expm1(-t)


def cloud(variance, n=40):
    """A symmetric 1-D cloud with exactly this mean square."""
    z = normal(n // 2, 1, seed=4)
    z = torch.cat((z, -z))
    return z * math.sqrt(variance / float((z * z).mean()))


def budget(f, g, x, y, **changes):
    return ode_budget(f, g, x, y, 0.0, T, **(EXACT | changes)).budget


def euler(steps):
    return {"method": ExplicitRK(EULER), "controller": ConstantStep(T / steps)}


@pytest.mark.parametrize(("steps", "w2"), [(20, 0.026306), (80, 0.006533)])
def test_w2b_16_euler_on_gaussian_data_has_the_closed_error(steps, w2):
    """ORC-10: |sqrt(v_T) prod(1 + h (1 - 1/v_n)/2) - s| for beta = 1, s^2 = 1/4."""
    v, h = 0.25, T / steps
    g = gaussian_flow(v)
    y = cloud(noised(v, T))
    factor = math.prod(1 + h / 2 * (1 - 1 / noised(v, T - k * h)) for k in range(steps))
    run = ode_budget(g, g, y, y, 0.0, T, **euler(steps))
    result = run.budget
    torch.testing.assert_close(run.sampled, factor * y, rtol=1e-12, atol=1e-12)
    assert abs(math.sqrt(noised(v, T)) * factor - 0.5) == pytest.approx(w2, abs=5e-7)
    assert result.measured.mean == pytest.approx(w2, abs=5e-7)
    # A scalar problem whose defect has one sign: the certificate is an equality, to the tolerance of the exact flow.
    assert result.discretization.mean == pytest.approx(result.measured.mean, abs=1e-8)
    assert result.total.mean >= result.measured.mean * (1 - 1e-9)


@settings(max_examples=3)
@given(floats(0.2, 2.0), floats(0.2, 2.0), floats(0.5, 2.0))
def test_w2b_16_terms_have_their_closed_forms(variance, model_variance, start):
    x, y = cloud(noised(variance, T)), cloud(start)
    result = budget(gaussian_flow(variance), gaussian_flow(model_variance), x, y)
    factor = math.sqrt(model_variance / noised(model_variance, T))
    initial = factor * abs(math.sqrt(start) - math.sqrt(noised(variance, T)))
    model = abs(math.sqrt(variance) - factor * math.sqrt(noised(variance, T)))
    assert result.initial.mean == pytest.approx(initial, rel=1e-6, abs=1e-9)
    assert result.model.mean == pytest.approx(model, rel=1e-6, abs=1e-8)
    assert result.discretization.mean < 1e-7
    assert result.measured.mean == pytest.approx(
        abs(math.sqrt(variance) - factor * math.sqrt(start)), rel=1e-6, abs=1e-7
    )
    assert result.total.mean >= result.measured.mean * (1 - 1e-9) - 1e-9


@pytest.mark.parametrize("cause", ["initial", "model", "discretization"])
def test_w2b_16_a_term_vanishes_when_its_cause_is_off(cause):
    f, g = gaussian_flow(0.25), gaussian_flow(0.5, 0.3)
    x, y = cloud(noised(0.25, T)), cloud(1.0)
    settings_ = euler(8)
    if cause == "initial":
        y = x.flip(0)
    if cause == "model":
        f = g
    if cause == "discretization":
        settings_ = {}
    result = budget(f, g, x, y, **settings_)
    for name, term in result.terms.items():
        assert (term.mean < 1e-7) == (name == cause), (name, term.mean)
    assert result.target == "p_stop"
    assert list(result.terms) == ["initial", "model", "discretization"]


def two_modes(d):
    """A model flow in d dimensions that is not affine."""
    means = torch.zeros(2, d, dtype=F64)
    means[:, 0] = torch.tensor([1.0, -1.0], dtype=F64)
    law = GaussianMixture(torch.tensor([0.3, 0.7], dtype=F64), means, torch.full((2,), 0.25, dtype=F64))
    return reverse(ProbabilityFlow(PATH, NoisedScore(law, PATH)), T)


def discretization(g, y, tableau, steps, tol):
    run = ode_budget(g, g, y, y, 0.0, T, method=ExplicitRK(tableau), controller=ConstantStep(T / steps), tol=tol)
    assert run.budget.total.mean >= run.budget.measured.lo
    return run.budget.discretization.mean


@pytest.mark.parametrize(
    ("flow", "d", "tableau", "order", "steps", "tol"),
    [
        (lambda d: gaussian_flow(0.25, 0.4), 1, EULER, 1, (64, 128), 1e-7),
        (lambda d: gaussian_flow(0.25, 0.4), 1, HEUN, 2, (64, 128), 1e-7),
        (two_modes, 2, MIDPOINT, 2, (64, 128), 1e-7),
        # Above 8 dimensions the exact flow is known to 1e-5 only, so the tolerance is given here as well.
        (two_modes, 9, HEUN, 2, (64, 128), 1e-7),
    ],
)
def test_w2b_16_discretization_has_the_order_of_the_method(flow, d, tableau, order, steps, tol):
    g, y = flow(d), normal(6, d, seed=2)
    terms = [discretization(g, y, tableau, n, tol) for n in steps]
    np.testing.assert_allclose(-np.diff(np.log2(terms)), order, atol=0.1)


@pytest.mark.parametrize("d", [2, 9])
def test_w2b_10_discretization_has_no_floor_but_the_tolerance(d):
    """A rate of both signs, exp(int |rate|) = 25: RK4 in 64 steps is 1e-6 away, and so is the term."""
    g = Swaying()
    y = normal(6, d, seed=0)
    assert discretization(g, y, RK4, 64, 1e-9) < 3e-5


class Swaying:
    """v(s, x) = (1 + cos 5s) x."""

    def __call__(self, s, x):
        return (1 + math.cos(5 * s)) * x

    def jacobian(self, s, x):
        return (1 + math.cos(5 * s)) * torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1)


def mixture_flows():
    weights = torch.tensor([0.3, 0.7], dtype=F64)
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=F64)
    laws = [
        GaussianMixture(weights, m, torch.full((2,), v, dtype=F64)) for m, v in ((means, 0.09), (means + 0.1, 0.12))
    ]
    return laws, [ReverseDrift(PATH, NoisedScore(law, PATH), rho) for law in laws for rho in (0.0, 1.0)]


def fresh_data(law, t, n, seed):
    generator = torch.Generator().manual_seed(seed)
    clean = law.sample(n, generator)
    z = torch.randn(n, 2, generator=generator, dtype=F64)
    return FreshData(clean, PATH.alpha(t) * clean + PATH.sigma(t) * z)


@pytest.mark.parametrize("with_data", [False, True])
def test_w2b_16_sum_is_above_w2_for_an_ode_sampler(with_data):
    laws, drifts = mixture_flows()
    f, g = reverse(drifts[0], T), reverse(drifts[2], T)
    generator = torch.Generator().manual_seed(0)
    x = laws[0].at(PATH, T).sample(60, generator)
    y = torch.randn(60, 2, generator=generator, dtype=F64)
    fresh = fresh_data(laws[0], 0.05, 60, 1) if with_data else None
    run = ode_budget(
        f, g, x, y, 0.0, T - 0.05, method=ExplicitRK(EULER), controller=ConstantStep((T - 0.05) / 12), fresh=fresh
    )
    result = run.budget
    target = run.reference if fresh is None else fresh.clean
    assert result.measured.mean == pytest.approx(ExactW2()(target, run.sampled).sqrt().mean, rel=1e-9)
    assert result.total.mean >= result.measured.lo
    assert result.slack.mean == pytest.approx(result.total.mean - result.measured.mean)
    assert result.target == ("p_0" if with_data else "p_stop")
    assert ("truncation" in result.terms) == ("monte_carlo" in result.terms) == with_data
    assert math.fsum(t.mean for t in result.terms.values()) == pytest.approx(result.total.mean, rel=1e-12)
    assert result.total.bias == "up"
    assert run.model_ladder.pathwise == result.model
    # The sampler's cloud is the one of its own method and steps, in the order of the optimal pairs.
    sampled = solve_ivp(g, y, 0.0, T - 0.05, method=ExplicitRK(EULER), controller=ConstantStep((T - 0.05) / 12)).y1
    assert sorted(run.sampled[:, 0].tolist()) == pytest.approx(sorted(sampled[:, 0].tolist()))


def test_w2b_16_truncation_and_monte_carlo_are_about_the_fresh_points():
    g = gaussian_flow(0.25)
    x = cloud(noised(0.25, T))
    clean = cloud(0.25)
    fresh = FreshData(clean, 0.9 * clean + 0.2)
    result = budget(g, g, x, x, fresh=fresh)
    assert result.truncation.mean == pytest.approx(math.sqrt(0.01 * 0.25 + 0.04), rel=1e-9)
    # The reference ends at the clean cloud here, in one dimension and the same order.
    assert result.monte_carlo.mean == pytest.approx(result.truncation.mean, rel=1e-6)
    assert result.measured.mean == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_w2b_16_sum_is_above_w2_for_an_sde_sampler(seed, with_data):
    laws, drifts = mixture_flows()
    f, g = reverse(drifts[1], T), reverse(drifts[3], T)
    end, n, steps, refinement = T - 0.05, 40, 16, 8
    generator = torch.Generator().manual_seed(seed)
    x = laws[0].at(PATH, T).sample(n, generator)
    y = torch.randn(n, 2, generator=generator, dtype=F64)
    noise = BrownianPath(0.0, end, (n, 2), levels=7, seed=seed)
    diffusion = lambda s: drifts[1].diffusion(T - s)  # noqa: E731
    fresh = fresh_data(laws[0], 0.05, n, seed) if with_data else None
    run = sde_budget(
        f, g, x, y, 0.0, end, steps=steps, refinement=refinement, diffusion=diffusion, noise=noise, fresh=fresh
    )
    assert run.budget.total.mean >= run.budget.measured.lo
    assert run.budget.target == ("p_0" if with_data else "p_stop")
    assert run.budget.discretization.bias == "down"
    assert run.budget.total.bias == "unknown"
    method = EulerMaruyama(diffusion, noise)
    fine, coarse = (
        solve_ivp(f, x, 0.0, end, method=method, controller=ConstantStep(end / k)).y1
        for k in (steps * refinement, steps)
    )
    torch.testing.assert_close(run.reference, fine)
    assert run.budget.discretization.mean == pytest.approx(math.sqrt(float(((fine - coarse) ** 2).sum(1).mean())))


def test_w2b_16_sde_discretization_falls_at_order_one():
    _, drifts = mixture_flows()
    f = reverse(drifts[1], T)
    noise = BrownianPath(0.0, T, (30, 2), levels=8, seed=3)
    x = normal(30, 2, seed=1)
    diffusion = lambda s: drifts[1].diffusion(T - s)  # noqa: E731
    terms = [
        sde_budget(
            f, f, x, x, 0.0, T, steps=n, refinement=2, diffusion=diffusion, noise=noise
        ).budget.discretization.mean
        for n in (64, 128)
    ]
    assert math.log2(terms[0] / terms[1]) == pytest.approx(1.0, abs=0.15)


def test_a_term_beyond_floating_point_leaves_the_sum_in_log_form():
    one, huge = Estimate.exact(1.0, bias="up"), Estimate.bound(1000.0, bias="up")
    result = ErrorBudget(one, huge, one, None, None, Estimate.exact(0.5), "p_stop")
    assert result.total.mean == math.inf
    assert result.total.log10 == pytest.approx(huge.log10)
    assert result.slack.mean == math.inf
    assert (
        ErrorBudget(*[Estimate.exact(0.0, bias="up")] * 3, None, None, Estimate.exact(0.0), "p_stop").total.mean == 0.0
    )


X, V = normal(4, 2, seed=0), Ridges(2, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x0": X[:1]}, ValueError, "x0"),
        ({"y0": X[:3]}, ValueError, "y0"),
        ({"y0": X * math.nan}, ValueError, "y0"),
        ({"s1": 0.0}, ValueError, "s1 > s0"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"fresh": FreshData(X[:, :1], X[:, :1])}, ValueError, "fresh"),
    ],
)
def test_bad_arguments_of_the_ode_budget_are_refused_by_name(changes, error, message):
    arguments = {"f": V, "g": V, "x0": X, "y0": X, "s0": 0.0, "s1": 1.0} | EXACT | changes
    positional = [arguments.pop(name) for name in ("f", "g", "x0", "y0", "s0", "s1")]
    with untyped(), pytest.raises(error, match=message):
        ode_budget(*positional, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"refinement": 0}, "refinement"),
        ({"refinement": 1}, "refinement"),
        ({"refinement": 64}, "BrownianPath"),
        ({"s1": 0.0}, "s1 > s0"),
        ({"fresh": FreshData(X[:, :1], X[:, :1])}, "fresh"),
    ],
)
def test_bad_arguments_of_the_sde_budget_are_refused_by_name(changes, message):
    noise = BrownianPath(0.0, 1.0, (4, 2), levels=5, seed=0)
    arguments = {"s1": 1.0, "steps": 4, "refinement": 4, "diffusion": lambda s: 1.0, "noise": noise} | changes
    with untyped(), pytest.raises(ValueError, match=message):
        sde_budget(V, V, X, X, 0.0, arguments.pop("s1"), **arguments)


@pytest.mark.parametrize(
    ("clean", "noised", "error", "message"),
    [
        (X, X[:3], ValueError, "fresh: "),
        (X * math.inf, X, ValueError, "fresh.clean.* 4 of 4"),
        (X, X * math.nan, ValueError, "fresh.noised"),
        (X[:1], X[:1], ValueError, "fresh.clean"),
        (X.tolist(), X, TypeError, "fresh.clean"),
    ],
)
def test_bad_fresh_data_are_refused_by_name(clean, noised, error, message):
    with untyped(), pytest.raises(error, match=message):
        FreshData(clean, noised)
