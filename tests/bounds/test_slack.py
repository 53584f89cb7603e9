"""The slack ledger: what each inequality between W2 and a Gronwall bound costs, and that it adds up."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from gflow.bounds import discrete_ladder, ladder, slack_ledger
from gflow.bounds.climbing import Rates
from gflow.estimate import Estimate
from gflow.transport import ExactW2
from tests.bounds.fields import F64, Affine, Ridges, Shifted, normal
from tests.strategies import floats

few = settings(max_examples=10)


def w2(result):
    return ExactW2()(result.x, result.y).sqrt()


problems = st.tuples(
    st.lists(st.integers(0, 10**6), min_size=4, max_size=4, unique=True),
    floats(0.3, 1.5),
    floats(0.3, 1.5),
    st.booleans(),
)


def solve(problem, d):
    seeds, strength, S, same = problem
    f, g = (Ridges(d, seed, strength=strength) for seed in seeds[:2])
    x, y = (normal(15, d, seed=seed) for seed in seeds[2:])
    top = float((g.a.norm(dim=1) * g.w.norm(dim=1)).sum())
    return ladder(f, g, x, None if same else y, 0.0, S, osl=lambda s: Estimate.exact(top, bias="up"), tol=1e-6)


@few
@given(problems, st.integers(1, 3))
def test_w2b_11_account_is_the_simulated_distance_and_the_losses_add_up(problem, d):
    result = solve(problem, d)
    distance = w2(result)
    ledger = slack_ledger(result, distance)
    # The account starts from a 0/0 where both clouds are one, and is quadrature on the steps of the solve.
    assert ledger.account.mean == pytest.approx(result.synchronous.mean, rel=1e-2)
    assert ledger.distance.mean == result.synchronous.mean
    for name in ("local", "global"):
        total = distance.mean + ledger.coupling.mean + ledger.alignment.mean + ledger.lipschitz[name].mean
        assert total == pytest.approx(result.bounds[name].mean, rel=1e-12)
    assert ledger.coupling.hi >= ledger.coupling.mean >= -1e-9 * distance.mean
    slack = 1e-2 * result.synchronous.mean
    assert ledger.alignment.mean >= -slack
    assert -slack <= ledger.lipschitz["local"].mean <= ledger.lipschitz["global"].mean


@settings(max_examples=5)
@given(problems)
def test_w2b_11_coupling_costs_nothing_in_one_dimension(problem):
    """Flows of the line keep the order of points, so the synchronous coupling is optimal (GEOM-5)."""
    result = solve(problem, 1)
    ledger = slack_ledger(result, w2(result))
    assert abs(ledger.coupling.mean) <= 1e-8 * result.synchronous.mean
    assert ledger.coupling.lo <= ledger.coupling.mean


def test_w2b_11_each_loss_is_seen_alone():
    """A = diag(1, -1), error along (1, 1): rates in closed form, from the difference e = (e^s - 1, 1 - e^-s)."""
    g = Affine([[1.0, 0.0], [0.0, -1.0]])
    x = normal(6, 2, seed=0)
    result = ladder(Shifted(g, [1.0, 1.0], lambda s: 1.0), g, x, None, 0.0, 2.0, osl=lambda s: Estimate.exact(1.5))
    ledger = slack_ledger(result, w2(result))
    # All pairs move alike: a translation, which is an optimal coupling.
    assert ledger.coupling.mean == pytest.approx(0.0, abs=1e-9)

    def rate(s):
        p, q = math.expm1(s), -math.expm1(-s)
        return (p * p - q * q) / (p * p + q * q) if s > 0 else 0.0

    aligned = integrate.solve_ivp(lambda s, w: rate(s) * w + math.sqrt(2), (0, 2), [0.0], rtol=1e-10, atol=1e-12).y[
        0, -1
    ]
    assert ledger.alignment.mean == pytest.approx(aligned - result.synchronous.mean, rel=1e-3)
    local, published = math.sqrt(2) * math.expm1(2.0), math.sqrt(2) * math.expm1(3.0) / 1.5
    assert ledger.lipschitz["local"].mean == pytest.approx(local - aligned, rel=1e-3)
    assert ledger.lipschitz["global"].mean == pytest.approx(published - aligned, rel=1e-3)


def test_w2b_11_rotated_clouds_lose_by_the_coupling_alone():
    """x at rest and y turned by a half: the end clouds are equal where the cloud is symmetric."""
    g = Affine([[0.0, -math.pi], [math.pi, 0.0]])
    x = normal(5, 2, seed=0)
    x = torch.cat((x, -x))
    result = ladder(lambda s, z: torch.zeros_like(z), g, x, None, 0.0, 1.0)
    ledger = slack_ledger(result, w2(result))
    length = 2 * math.sqrt(float((x * x).sum(1).mean()))
    assert ledger.distance.mean == pytest.approx(length, rel=1e-7)
    assert ledger.coupling.mean == pytest.approx(length, rel=1e-7)


def test_an_uncertified_distance_leaves_the_coupling_open_above():
    result = ladder(Ridges(2, 1), Ridges(2, 2), normal(8, 2, seed=0), None, 0.0, 1.0, tol=1e-6)
    ledger = slack_ledger(result, ExactW2(certify=False)(result.x, result.y).sqrt())
    assert ledger.coupling.lo == ledger.coupling.mean
    assert ledger.coupling.hi >= ledger.coupling.mean


def test_equal_flows_have_an_empty_ledger():
    g = Ridges(2, 1)
    result = ladder(g, g, normal(8, 2, seed=0), None, 0.0, 1.0, tol=1e-6)
    ledger = slack_ledger(result, Estimate.exact(0.0))
    assert ledger.account.mean == ledger.coupling.mean == ledger.alignment.mean == ledger.lipschitz["local"].mean == 0.0


@few
@given(st.integers(0, 10**6), st.sampled_from([1, 8]))
def test_w2b_11_ledger_of_a_discrete_ladder_is_exact(seed, steps):
    f, g = Ridges(2, seed), Ridges(2, seed + 9)
    result = discrete_ladder(f, g, normal(8, 2, seed=seed), normal(8, 2, seed=seed + 1), 0.0, 1.0, steps=steps)
    ledger = slack_ledger(result, w2(result))
    assert ledger.account.mean == pytest.approx(result.synchronous.mean, rel=1e-10)
    assert ledger.alignment.mean >= -1e-10
    assert ledger.lipschitz["local"].mean >= -1e-10
    assert result.x.dtype == F64


def test_w2b_11_a_step_that_forgets_the_start_costs_nothing():
    """h = 1 and g = -x: only the kick is left, |(.6, .8)| = 1, and no inequality loses anything."""
    g = Affine(-torch.eye(2, dtype=F64))
    f = Shifted(g, [0.6, 0.8], lambda s: 1.0)
    result = discrete_ladder(f, g, normal(4, 2, seed=0), normal(4, 2, seed=1), 0.0, 1.0, steps=1)
    ledger = slack_ledger(result, w2(result))
    losses = [ledger.account.mean - 1, ledger.alignment.mean, ledger.lipschitz["local"].mean]
    assert losses == pytest.approx([0.0] * 3, abs=1e-12)


@few
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_w2b_11_rates_where_all_pairs_meet_are_limits(seed, d):
    """e = h delta + o(h): forcing tends to |delta|, growth to the quotient along delta."""
    delta, A = normal(5, d, seed=seed), normal(d, d, seed=seed + 1)
    push = delta @ A.T
    met = Rates.at(0 * delta, delta, 0 * delta, lambda: push)
    quotient = float((delta * push).sum() / (delta**2).sum())
    assert (met.distance, met.forcing) == (0.0, met.error)
    assert met.growth == pytest.approx(quotient, rel=1e-12)
    near = Rates.at(1e-6 * delta, delta, 1e-6 * push, lambda: torch.full_like(delta, torch.nan))
    assert near.growth == pytest.approx(met.growth, rel=1e-9)
    assert near.forcing == pytest.approx(met.forcing, rel=1e-9)
