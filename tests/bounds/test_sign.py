"""The sign term against its closed form on clouds with exact moments, and what it does for the bound of the SDE."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, linalg

from gflow.bounds import discrete_ladder, sharper_sampler_bound, sharper_sde_bound, sign_term
from gflow.ode import BrownianPath
from gflow.problems import Gaussian
from gflow.transport import bures_map, bures_squared
from tests.bounds.fields import F64, Ridges, normal, sigma_points
from tests.strategies import build, floats, spd, tensors, untyped

few = settings(max_examples=15)


def value(mean, P, T, shift):
    """The sign term of p = N(mean, P) and y = T x + shift, expectations exact by sigma points."""
    p = build(Gaussian, mean, P)
    q = build(Gaussian, T @ mean + shift, T @ P @ T.mT)
    x = sigma_points(mean, P)
    y = x @ T.mT + shift
    return sign_term(x, y, p.score(x), q.score(y))


def formula(T):
    return float(torch.trace(T + torch.linalg.inv(T))) - 2 * len(T)


def draws(d):
    vector = tensors((d,), -2.0, 2.0)
    return st.tuples(vector, spd(d), spd(d), vector, tensors((d, d), -1.0, 1.0))


@few
@given(st.integers(1, 4).flatmap(draws))
def test_w2b_6_optimal_coupling_has_a_sign_and_any_map_has_the_formula(problem):
    mean, P, Q, shift, tilt = problem
    M = bures_map(P, Q)
    optimal = value(mean, P, M, shift)
    assert optimal.mean == pytest.approx(formula(M), abs=1e-9)
    assert optimal.mean >= -1e-9
    T = torch.eye(len(P), dtype=F64) * 1.2 + 0.5 * (tilt - tilt.mT) + 0.1 * tilt @ tilt.mT
    assert value(mean, P, T, shift).mean == pytest.approx(formula(T), abs=1e-8)


def test_w2b_6_a_translation_has_no_sign_term():
    P = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=F64)
    assert value(torch.zeros(2, dtype=F64), P, torch.eye(2, dtype=F64), torch.ones(2, dtype=F64)).mean == pytest.approx(
        0.0, abs=1e-12
    )


@pytest.mark.parametrize(("angle", "expected"), [(0.3, -0.179), (1.0, -1.839), (math.pi, -8.0)])
def test_w2b_7_rotations_are_negative(angle, expected):
    c, s = math.cos(angle), math.sin(angle)
    eye = torch.eye(2, dtype=F64)
    result = value(0 * eye[0], eye, torch.tensor([[c, -s], [s, c]], dtype=F64), 0 * eye[0]).mean
    assert result == pytest.approx(4 * c - 4, abs=1e-12)
    assert result == pytest.approx(expected, abs=1e-3)


def commutator(a):
    """The sign term and its formula for x through the commutator of exp(aX) and exp(aY), y at rest."""
    X, Y = a * np.diag([1.0, -1.0]), a * np.array([[0.0, 1.0], [1.0, 0.0]])
    M = torch.as_tensor(linalg.expm(X) @ linalg.expm(Y) @ linalg.expm(-X) @ linalg.expm(-Y))
    P = M @ M.mT
    P = (P + P.mT) / 2
    result = value(torch.zeros(2, dtype=F64), P, torch.linalg.inv(M), torch.zeros(2, dtype=F64)).mean
    assert result == pytest.approx(formula(M), abs=1e-9)
    return result


@pytest.mark.parametrize(("a", "expected"), [(0.2, -0.0131), (0.5, -0.590), (0.8, -4.98)])
def test_w2b_7_symmetric_drifts_alone_can_be_negative(a, expected):
    """Four gradient fields in turn."""
    assert commutator(a) == pytest.approx(expected, rel=1e-2)


@few
@given(floats(0.05, 0.8))
def test_w2b_7_the_commutator_is_negative_as_the_fourth_power(a):
    """tr(M + M^-1 - 2I) = -8 a^4 (1 + O(a^2)): M - I is a^2 [X, Y] = 2 a^2 times a quarter turn, whose square is -I."""
    assert -8 * a**4 * (1 + 2 * a * a) <= commutator(a) <= -8 * a**4


@few
@given(st.integers(1, 4).flatmap(draws))
def test_w2b_7_two_symmetric_factors_are_never_negative(problem):
    """The product of two SPD matrices is similar to one, so its spectrum is positive: lam + 1/lam - 2 >= 0."""
    mean, P, Q, shift, _ = problem
    T = P @ Q / math.sqrt(float(torch.linalg.det(P @ Q)))
    result = value(mean, torch.eye(len(P), dtype=F64), T, shift).mean
    assert result == pytest.approx(formula(T), rel=1e-8, abs=1e-8)
    assert result >= -1e-8 * float(torch.linalg.cond(T))


def test_the_interval_covers_the_truth_on_independent_pairs():
    generator = torch.Generator().manual_seed(0)
    T = torch.tensor([[1.5, 0.0], [0.0, 0.5]], dtype=F64)
    p, q = Gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)), Gaussian(torch.zeros(2, dtype=F64), T @ T)
    x = p.sample(4000, generator)
    result = sign_term(x, x @ T, p.score(x), q.score(x @ T))
    assert result.n == 4000
    assert result.level == 0.95
    spread = result.hi - result.mean
    # 5 standard errors; the half width is 1.96 of them.
    assert abs(result.mean - formula(T)) < 5 / 1.96 * spread
    sample = ((x - x @ T) * (p.score(x) - q.score(x @ T))).sum(1)
    assert spread == pytest.approx(1.96 * float(sample.std()) / math.sqrt(4000), rel=1e-9)


def scale_error(rho, s=1.0, model_s=0.5**0.5, m=0.0, model_m=0.0, beta=1.0, T=3.0, d=1, nodes=4001):
    """Moments of both samplers of the SDE for Gaussian scores, and the columns of the sharper bound."""
    c = (1 + rho) / 2

    def coefficients(t):
        a2 = np.exp(-beta * (T - t))
        return np.sqrt(a2), a2 * s**2 + 1 - a2, a2 * model_s**2 + 1 - a2

    def right(t, z):
        alpha, _, w = coefficients(t)
        pull = beta / 2 - c * beta / w
        return pull * z[0] + c * beta * alpha * model_m / w, 2 * pull * z[1] + rho * beta

    grid = np.linspace(0, T, nodes)
    alpha, v, w = coefficients(grid)
    start = (alpha[0] * m, v[0])
    mean, variance = integrate.solve_ivp(right, (0, T), start, t_eval=grid, rtol=1e-11, atol=1e-13).y
    W2 = np.sqrt((mean - alpha * m) ** 2 + d * (np.sqrt(variance) - np.sqrt(v)) ** 2)
    ratio = np.sqrt(variance / v)
    error = np.sqrt(d * v * (1 / w - 1 / v) ** 2 + (alpha * (model_m - m) / w) ** 2)
    columns = (
        grid,
        c * beta * error,
        beta / 2 - c * beta / w,
        np.full(nodes, rho * beta / 2),
        d * (ratio + 1 / ratio - 2),
        W2,
    )
    return tuple(map(list, columns))


@few
@given(floats(0.5, 2.0), floats(0.5, 2.0), floats(0.2, 2.0))
def test_w2b_9_sharper_bound_lies_between_w2_and_the_plain_one(s, model_s, rho):
    columns = scale_error(rho, s, model_s, d=2, T=2.0, nodes=801)
    w2 = columns[-1][-1]
    plain = sharper_sde_bound(*columns[:4], [0.0] * len(columns[0]), columns[5]).mean
    sharper = sharper_sde_bound(*columns).mean
    tolerance = 1e-4 * max(plain, 1e-3)
    assert w2 - tolerance <= sharper <= plain + tolerance
    if abs(s - model_s) > 0.1:
        assert sharper < plain * (1 - 1e-5)


def test_w2b_9_without_the_term_it_is_the_published_bound():
    """The reference value of W2B-5 at rho = 1."""
    columns = scale_error(1.0)
    plain = sharper_sde_bound(*columns[:4], [0.0] * len(columns[0]), columns[5])
    assert plain.mean == pytest.approx(0.37487, abs=1e-5)
    assert 0.29266 <= sharper_sde_bound(*columns).mean < 0.37487


@pytest.mark.parametrize(("s", "model_s", "rho", "d"), [(1.0, 0.5**0.5, 1.0, 1), (0.6, 1.2, 0.5, 3)])
def test_w2b_9_is_an_equality_for_an_isotropic_scale_error(s, model_s, rho, d):
    """Error, drift and noise all point along x - y: the term that W2B-5 drops is exactly its slack."""
    columns = scale_error(rho, s, model_s, d=d, nodes=16001)
    # The trapezoidal rule on 16001 nodes leaves 3e-8.
    assert sharper_sde_bound(*columns).mean == pytest.approx(columns[-1][-1], rel=1e-6)


def test_w2b_9_a_translation_gains_nothing():
    columns = scale_error(1.0, s=0.7, model_s=0.7, m=0.0, model_m=0.5)
    assert max(map(abs, columns[4])) < 1e-9
    assert sharper_sde_bound(*columns).mean == pytest.approx(columns[-1][-1], rel=1e-5)


def random_flow(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 2)), rng.normal(size=2)


@pytest.mark.parametrize("seed", range(5))
def test_w2b_9_derivative_of_w2_under_two_linear_flows(seed):
    """d/dt W2^2/2 = E[(x - y).(u(x) - w(y))] over the optimal pairs, by a central difference of Bures."""
    (A, a), (B, b) = random_flow(seed), random_flow(seed + 100)
    rng = np.random.default_rng(seed + 200)
    roots = rng.normal(size=(2, 2, 2))
    P, Q = (torch.as_tensor(r @ r.T + 0.3 * np.eye(2)) for r in roots)
    m0, m1 = (torch.as_tensor(v) for v in rng.normal(size=(2, 2)))
    x = sigma_points(m0, P)
    y = m1 + (x - m0) @ bures_map(P, Q).mT
    u, w = x @ torch.as_tensor(A.T) + torch.as_tensor(a), y @ torch.as_tensor(B.T) + torch.as_tensor(b)
    exact = float(((x - y) * (u - w)).sum(1).mean())

    def half_squared(h):
        laws = []
        for m, C, M, c in ((m0, P, A, a), (m1, Q, B, b)):
            phi = torch.as_tensor(linalg.expm(h * M))
            shift = torch.as_tensor(integrate.quad_vec(lambda s, M=M, c=c: linalg.expm(s * M) @ c, 0, h)[0])
            laws += [phi @ m + shift, phi @ C @ phi.mT]
        return float(bures_squared(laws[0], (laws[1] + laws[1].mT) / 2, laws[2], (laws[3] + laws[3].mT) / 2)) / 2

    h = 1e-4
    assert (half_squared(h) - half_squared(-h)) / (2 * h) == pytest.approx(exact, abs=1e-6 * (1 + abs(exact)))


def test_sharper_bound_is_carried_as_a_logarithm_and_stays_above_zero():
    one = [1.0, 1.0, 1.0]
    huge = sharper_sde_bound([0.0, 0.5, 1.0], one, [2e3, 2e3, 2e3], one, [0.0] * 3, one)
    assert huge.mean == math.inf
    assert huge.log10 == pytest.approx(2e3 / math.log(10), rel=1e-2)
    assert sharper_sde_bound([0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [9.0, 9.0], [0.1, 0.1]).mean == 0.0


def sde_profile(seed, steps=8):
    """A discrete ladder of two Euler-Maruyama samplers on common noise."""
    f, g, x, y = Ridges(2, seed), Ridges(2, seed + 50), normal(9, 2, seed=seed), normal(9, 2, seed=seed + 1)
    noise = BrownianPath(0.0, 1.5, (9, 2), levels=3, seed=seed)
    return discrete_ladder(f, g, x, y, 0.0, 1.5, steps=steps, diffusion=lambda s: 0.5 + s, noise=noise)


@few
@given(st.integers(0, 10**6), floats(0.01, 2.0), floats(0.1, 2.0))
def test_w2b_9_in_the_steps_of_a_sampler_it_is_local_without_the_term_and_below_it_with_one(seed, sign, half):
    found = sde_profile(seed)
    columns = [half] * 8, found.profile.distance[:-1]
    plain = sharper_sampler_bound(found.profile, columns[0], [0.0] * 8, columns[1])
    assert plain.log10 == pytest.approx(found.local.log10, rel=1e-12, abs=1e-12)
    for k in (0, 5, 7):
        # Small enough not to be cut at 0; what is taken off at a step shrinks or grows with the later ones.
        signs = [1e-3 * sign * found.profile.distance[k] if j == k else 0.0 for j in range(8)]
        h = found.profile.s[1]
        lost = 1e-3 * half * sign * h * math.exp(h * sum(found.profile.constant[k + 1 :]))
        kept = sharper_sampler_bound(found.profile, columns[0], signs, columns[1])
        assert plain.mean - kept.mean == pytest.approx(lost, rel=1e-6, abs=1e-9 * plain.mean)
    first = sharper_sampler_bound(found.profile, columns[0], [sign] + [0.0] * 7, [0.0, *columns[1][1:]])
    assert first.mean == plain.mean  # at distance 0 the gain is left out


def test_columns_of_another_length_than_the_steps_are_refused():
    profile = sde_profile(0).profile
    with pytest.raises(ValueError, match="columns of 8 steps, got \\[8, 9, 8\\]"):
        sharper_sampler_bound(profile, [1.0] * 8, [1.0] * 9, [1.0] * 8)
    with pytest.raises(ValueError, match="distances"):
        sharper_sampler_bound(profile, [1.0] * 8, [1.0] * 8, [-1.0] * 8)


TWO = [1.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: [0.0]}, "one length"),
        ({4: [1.0, 1.0, 1.0]}, "one length"),
        ({0: [1.0, 1.0]}, "s: "),
        ({0: [1.0, 0.0]}, "s: "),
        ({1: [-1.0, 1.0]}, "errors"),
        ({2: [math.inf, 1.0]}, "constants"),
        ({3: [-1.0, 1.0]}, "half_squared_diffusion"),
        ({4: [math.nan, 1.0]}, "signs"),
        ({5: [-1.0, 1.0]}, "distances"),
    ],
)
def test_bad_columns_are_refused_by_name(changes, message):
    columns = [[0.0, 1.0], TWO, TWO, TWO, TWO, TWO]
    for index, column in changes.items():
        columns[index] = column
    with pytest.raises(ValueError, match=message):
        sharper_sde_bound(*columns)


def test_bad_pairs_are_refused():
    x = torch.ones(3, 2, dtype=F64)
    for bad in ((x, x, x, x[:2]), (x, x[:, :1], x, x), (x[:1],) * 4):
        with untyped(), pytest.raises(ValueError, match="sign_term"):
            sign_term(*bad)
    with pytest.raises(ValueError, match="sign_term.* 1 of 3"):
        sign_term(x, x, x, x * torch.tensor([[1.0], [math.nan], [1.0]], dtype=F64))
