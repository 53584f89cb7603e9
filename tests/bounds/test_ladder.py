"""The ladder between exact flows: its order, its limit as the tolerance falls, and its equality cases."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from gflow.bounds import ladder, node, slack_ledger
from gflow.bounds.climbing import row_chunks
from gflow.estimate import Estimate
from gflow.fields import ProbabilityFlow, reverse
from gflow.ode import SolveError
from gflow.problems import VP, Gaussian, GaussianMixture, NoisedScore
from gflow.transport import ExactW2
from tests.bounds.fields import F64, Affine, Hidden, Ridges, Shifted, normal
from tests.strategies import floats, untyped

few = settings(max_examples=10)
NAMES = ["synchronous", "propagator", "pathwise", "local", "global"]


def values(result):
    return {name: bound.mean for name, bound in result.bounds.items()}


def assert_ordered(result, rel=1e-6):
    logs = [bound.log10 for bound in result.bounds.values()]
    assert all(b >= a - rel / math.log(10) for a, b in zip(logs[:-1], logs[1:], strict=True)), values(result)


@st.composite
def problems(draw):
    d = draw(st.integers(1, 3))
    f, g = (Ridges(d, draw(st.integers(0, 10**6)), strength=draw(floats(0.3, 2.0))) for _ in range(2))
    x = normal(12, d, seed=draw(st.integers(0, 10**6)), scale=2.0)
    y = draw(st.sampled_from([None, normal(12, d, seed=draw(st.integers(0, 10**6)), scale=1.5)]))
    return f, g, x, y, draw(floats(0.3, 2.0))


@few
@given(problems())
def test_w2b_19_the_chain_is_ordered_and_above_the_dual_of_w2(problem):
    f, g, x, y, S = problem
    # |a_j w_j^T| bounds the logarithmic norm of each ridge: a closed form, hence certified.
    bound = float((g.a.norm(dim=1) * g.w.norm(dim=1)).sum())
    result = ladder(f, g, x, y, 0.0, S, osl=lambda s: Estimate.exact(bound, bias="up"), tol=1e-7)
    assert list(result.bounds) == NAMES
    assert_ordered(result)
    assert result.synchronous.mean >= ExactW2()(result.x, result.y).sqrt().lo * (1 - 1e-9)
    assert [result.kind(name) for name in NAMES] == ["certified", *["measured"] * 3, "certified"]
    assert result.global_.bias == "up"


class Augmented:
    """The rungs by their definition: scipy on (x, y, rho, w, fundamental matrix), dense quadrature for A."""

    theta, weight = np.polynomial.legendre.leggauss(30)

    def __init__(self, f, g, x, y, S, L):
        self.f, self.g, self.shape, self.L = f, g, x.shape, L
        n, d = x.shape
        e0 = np.linalg.norm((x - y).numpy(), axis=1)
        w0 = math.sqrt(float((e0**2).mean()))
        start = np.concatenate((x.reshape(-1), y.reshape(-1), np.tile(np.eye(d).ravel(), n), e0, [w0, w0]))
        solution = integrate.solve_ivp(
            self.right, (0, S), start, method="DOP853", rtol=1e-9, atol=1e-11, dense_output=True, max_step=S / 6
        )
        at = lambda s: self.parts(solution.sol(s))  # noqa: E731
        x1, y1, psi1, rho, (local, published) = at(S)
        rms = lambda r: math.sqrt(float((r**2).mean()))  # noqa: E731
        total = np.linalg.norm(np.einsum("nij,nj->ni", psi1, (x - y).numpy()), axis=1)
        nodes, weights = np.polynomial.legendre.leggauss(60)
        for s, w in zip((nodes + 1) * S / 2, weights * S / 2, strict=True):
            xs, ys, psi, _, _ = at(s)
            delta = self.rates(s, xs, ys)[1]
            total = total + w * np.linalg.norm(
                np.einsum("nij,nj->ni", psi1, np.linalg.solve(psi, delta[:, :, None])[:, :, 0]), axis=1
            )
        self.rungs = {
            "synchronous": rms(np.linalg.norm(x1 - y1, axis=1)),
            "propagator": rms(total),
            "pathwise": rms(rho),
            "local": float(local),
            "global": float(published),
        }

    def parts(self, z):
        n, d = self.shape
        cuts = np.cumsum([n * d, n * d, n * d * d, n])
        x, y, psi, rho, w = np.split(z, cuts)
        return x.reshape(n, d), y.reshape(n, d), psi.reshape(n, d, d), rho, w

    def rates(self, s, x, y):
        tx, ty = torch.as_tensor(x.copy()), torch.as_tensor(y.copy())
        A = sum(
            w / 2 * self.g.jacobian(s, ty + (t + 1) / 2 * (tx - ty))
            for t, w in zip(self.theta, self.weight, strict=True)
        ).numpy()
        return A, (self.f(s, tx) - self.g(s, tx)).numpy(), self.f(s, tx).numpy(), self.g(s, ty).numpy()

    def right(self, s, z):
        x, y, psi, rho, (local, published) = self.parts(z)
        A, delta, dx, dy = self.rates(s, x, y)
        mu = np.linalg.eigvalsh((A + A.transpose(0, 2, 1)) / 2)[:, -1]
        size = np.linalg.norm(delta, axis=1)
        rms = math.sqrt(float((size**2).mean()))
        return np.concatenate(
            (
                dx.ravel(),
                dy.ravel(),
                (A @ psi).ravel(),
                mu * rho + size,
                [mu.max() * local + rms, self.L(s) * published + rms],
            )
        )


@pytest.mark.parametrize("same", [True, False])
def test_w2b_19_converges_to_the_continuous_definition(same):
    d, S = 2, 1.5
    f, g = Ridges(d, 11), Ridges(d, 23)
    x = normal(3, d, seed=5)
    y = x if same else x + normal(3, d, seed=6, scale=0.7)
    L = lambda s: 9.0 + s  # noqa: E731
    exact = Augmented(f, g, x, y, S, L).rungs
    gaps = []
    for tol in (1e-4, 1e-9):
        result = ladder(
            f, g, x, None if same else y, 0.0, S, osl=lambda s: Estimate.exact(L(s)), tol=tol, nodes=8, paired=True
        )
        gaps.append({name: abs(value / exact[name] - 1) for name, value in values(result).items()})
        assert_ordered(result)
    assert max(gaps[1].values()) < 2e-5, gaps[1]
    assert max(gaps[0].values()) > 20 * max(gaps[1].values())
    for name in NAMES:
        assert gaps[1][name] < max(gaps[0][name] / 3, 2e-6), (name, gaps)


def constant_family(A, direction, *, S=2.0, n=5, seed=0, y=None, osl=None):
    g = Affine(A)
    f = Shifted(g, direction, lambda s: 1.0)
    x = normal(n, len(g.A), seed=seed)
    return ladder(f, g, x, None if y is None else x + y, 0.0, S, osl=osl, paired=True)


def test_w2b_19_propagator_is_exact_along_an_eigenvector():
    """delta = e_s u with u an eigenvector of A: the propagator rung is an equality, pathwise is not."""
    A = [[-0.5, 2.0], [0.0, 0.3]]
    bounds = values(constant_family(A, [1.0, 0.0]))
    assert bounds["propagator"] == pytest.approx(bounds["synchronous"], rel=1e-9)
    assert bounds["pathwise"] > bounds["synchronous"] * 1.5


def test_w2b_19_strict_case_has_the_reference_values():
    bounds = values(constant_family([[1.0, 0.0], [0.0, -1.0]], [1.0, 1.0]))
    assert bounds["synchronous"] == pytest.approx(6.447, abs=5e-4)
    assert bounds["propagator"] == pytest.approx(6.541, abs=5e-4)
    exact = integrate.quad(lambda t: math.hypot(math.exp(t), math.exp(-t)), 0, 2)[0]
    assert bounds["propagator"] == pytest.approx(exact, rel=1e-4)
    # mu = 1 for every pair: |u| (e^S - 1).
    assert bounds["pathwise"] == pytest.approx(math.sqrt(2) * math.expm1(2), rel=1e-4)


def test_w2b_19_rotation_stays_ordered():
    """Coarse solvers break the order here; mu = 0, so pathwise is |e_0| + S |u|."""
    y = torch.tensor([[0.3, -0.4]], dtype=F64)
    result = constant_family([[0.0, 3.0], [-3.0, 0.0]], [0.6, 0.8], y=y)
    assert_ordered(result)
    assert values(result)["pathwise"] == pytest.approx(0.5 + 2.0, rel=1e-6)
    plain = constant_family([[0.0, 3.0], [-3.0, 0.0]], [0.6, 0.8])
    # |int e^{(S-s)A} u ds| = |sin(S omega / 2)| / (omega / 2).
    assert values(plain)["synchronous"] == pytest.approx(math.sin(3.0) / 1.5, rel=1e-6)


class Diagonal:
    """x' = rate(s) (x - m) + shift(s) u (mean errors) or spread(s) (x - m) (scale errors) about a fixed m."""

    def __init__(self, m, spread, shift):
        self.m, self.spread, self.shift = m, spread, shift

    def __call__(self, s, x):
        rate = 0.7 * math.cos(3 * s) + self.spread * (1 + s)
        return rate * (x - self.m) + self.shift * (1 + s) * x.new_tensor([0.6, 0.0, -0.8])

    def jacobian(self, s, x):
        rate = 0.7 * math.cos(3 * s) + self.spread * (1 + s)
        return rate * torch.eye(3, dtype=x.dtype).expand(len(x), 3, 3)


@settings(max_examples=6)
@given(st.integers(0, 10**6), st.booleans(), floats(0.1, 0.8))
def test_w2b_3_all_rungs_are_equal_on_the_tight_families(seed, spreading, size):
    x = normal(6, 3, seed=seed)
    m = x.mean(0)
    f, g = Diagonal(m, size * spreading, size * (not spreading)), Diagonal(m, 0.0, 0.0)
    osl = lambda s: Estimate.exact(0.7 * math.cos(3 * s))  # noqa: E731
    result = ladder(f, g, x, None, 0.0, 1.0, osl=osl)
    w2 = ExactW2()(result.x, result.y).sqrt().mean
    for name, bound in values(result).items():
        assert bound == pytest.approx(w2, rel=1e-8), name


@settings(max_examples=3)
@given(floats(-2, 0), floats(0.2, 2), floats(0.3, 2), floats(0.3, 3), floats(0.3, 4))
def test_w2b_3_all_rungs_are_equal_for_a_diffusion(m, model_m, spread, beta, T):
    path = VP(beta, beta, T)
    u = torch.tensor([1.0, -1.0], dtype=F64)
    eye = spread**2 * torch.eye(2, dtype=F64)
    laws = Gaussian(m * u, eye), Gaussian(model_m * u, eye)
    flows = [ProbabilityFlow(path, NoisedScore(law, path)) for law in laws]
    f, g = (reverse(flow, T) for flow in flows)
    x = laws[0].at(path, T).sample(12, torch.Generator().manual_seed(0))
    result = ladder(f, g, x, None, 0.0, T, osl=lambda s: flows[1].sampling_osl(T - s))
    w2 = ExactW2()(result.x, result.y).sqrt().mean
    alpha = math.exp(-beta * T / 2)
    truth = (model_m - m) * math.sqrt(2) * (1 - alpha * spread / math.sqrt(alpha**2 * spread**2 + 1 - alpha**2))
    assert w2 == pytest.approx(truth, rel=1e-8)
    for name, bound in values(result).items():
        assert bound == pytest.approx(w2, rel=1e-8), name


def test_bounds_beyond_floating_point_are_carried_as_logarithms():
    g = Ridges(2, 3)
    f = Shifted(g, [1.0, 0.0], lambda s: 0.1)
    result = ladder(f, g, normal(4, 2, seed=1), None, 0.0, 1.0, osl=lambda s: Estimate.exact(1e3), tol=1e-6)
    assert result.global_.mean == math.inf
    assert 400 < result.global_.log10 < 440
    assert_ordered(result)
    assert math.isfinite(result.local.mean)
    assert json.loads(json.dumps(result.global_.to_dict()))["mean"] == "inf"
    assert slack_ledger(result, ExactW2()(result.x, result.y).sqrt()).lipschitz["global"].mean == math.inf


class Resting:
    """x' = diag(rates) x, from points whose steep coordinates are exactly 0."""

    def __init__(self, rates, dtype=F64):
        self.rates = torch.as_tensor(rates, dtype=dtype)

    def __call__(self, s, x):
        return x * self.rates

    def jacobian(self, s, x):
        return torch.diag(self.rates).expand(len(x), -1, -1)


@pytest.mark.parametrize(
    ("rates", "dtype"),
    [([1000.0], F64), ([30.0], torch.float32), ([-1.0, -1.0, 800.0], F64), ([-1.0] * 9 + [800.0], F64)],
)
@pytest.mark.parametrize("apart", [False, True])
def test_pairs_at_rest_under_a_steep_field_have_bounds(rates, dtype, apart):
    """One step of the solve spans e^1000 and more; what grows so is not there, and `propagator` knows it."""
    g = Resting(rates, dtype)
    calm = (g.rates < 0).to(dtype)
    x, y = (normal(3, len(rates), seed=seed).to(dtype) * calm for seed in (0, 1))
    result = ladder(g, g, x, y if apart else None, 0.0, 10.0, tol=1e-6)
    assert_ordered(result)
    if result.propagator is not None:
        # Kept apart by the errors of the solve alone, which the rungs add up by their lengths.
        assert result.propagator.mean == pytest.approx(result.synchronous.mean, rel=0.05)
    assert result.local.log10 == (
        pytest.approx(8000 / math.log(10), rel=1e-3) if apart and len(rates) > 1 else -math.inf
    )


def test_growth_beyond_any_bound_is_refused():
    g = Resting([1e12])
    with pytest.raises(ValueError, match=r"g: grows at rate 1e\+12 between s = "):
        ladder(g, g, torch.zeros(3, 1, dtype=F64), None, 0.0, 10.0)


def test_a_contraction_beyond_floating_point_is_no_error():
    g = Resting([-3000.0, 0.0])
    x = torch.tensor([[0.0, 1.0], [0.0, 2.0]], dtype=F64)
    result = ladder(g, g, x, x + torch.tensor([0.0, 0.5], dtype=F64), 0.0, 10.0, paired=True)
    assert list(values(result).values()) == pytest.approx([0.5] * 4, rel=1e-9)


def test_the_second_half_of_a_scalar_step_keeps_its_floor():
    """Error in the middle only, h = 6: Simpson's 4 exp(second half), which must not fall below the pairs' own."""
    growth, half, log_source = node._scalar_step([0.0] * 3, [0.0, 1.0, 0.0], 6.0, 1.0, 2.0)
    assert (growth, half) == (1.0, 2.0)
    assert log_source == pytest.approx(2.0 + math.log(4.0))


@pytest.mark.parametrize(("n", "d"), [(20, 8), (20, 1024), (16, 1024), (3, 3000)])
def test_chunks_hold_every_row_once_within_the_memory(n, d):
    chunks = row_chunks(torch.empty(n, d, device="meta"))
    rows = [list(range(n))[part] for part in chunks]
    assert sum(rows, []) == list(range(n))
    if d <= 8:
        assert len(rows) == 1
    assert all(len(part) == 1 or d <= 8 or 8 * len(part) * d * d <= 2**26 for part in rows)


def test_chunks_of_rows_change_nothing(monkeypatch):
    f, g = Ridges(10, 3, strength=0.5), Ridges(10, 5, strength=0.5)
    x, y = normal(8, 10, seed=1), normal(8, 10, seed=2)
    whole = ladder(f, g, x, y, 0.0, 1.0)
    monkeypatch.setattr(node, "row_chunks", lambda x: [slice(k, k + 3) for k in range(0, len(x), 3)])
    assert values(ladder(f, g, x, y, 0.0, 1.0)) == pytest.approx(values(whole), rel=1e-12)


@pytest.mark.parametrize("same", [True, False])
def test_more_than_eight_dimensions_have_no_propagator(same):
    d = 10
    f, g = Ridges(d, 3, strength=0.5), Ridges(d, 5, strength=0.5)
    x = normal(8, d, seed=1)
    result = ladder(f, g, x, None if same else normal(8, d, seed=2), 0.0, 1.0)
    assert result.propagator is None
    assert list(result.bounds) == ["synchronous", "pathwise", "local"]
    assert_ordered(result)


def test_the_pathwise_rung_is_the_same_above_and_below_eight_dimensions():
    """A block of zeros added: the branch without fundamental matrices gives the numbers of the one with them."""
    small_f, small_g = Ridges(2, 3), Ridges(2, 5)
    pad = lambda v: lambda s, x: torch.cat((v(s, x[:, :2]), -9 * x[:, 2:]), 1)  # noqa: E731
    x = normal(6, 2, seed=1)
    wide = torch.cat((x, torch.zeros(6, 7, dtype=F64)), 1)
    narrow = ladder(small_f, small_g, x, None, 0.0, 1.0, tol=1e-7)
    result = ladder(pad(small_f), pad(small_g), wide, None, 0.0, 1.0, tol=1e-7)
    for name in ("synchronous", "pathwise", "local"):
        assert values(result)[name] == pytest.approx(values(narrow)[name], rel=3e-3), name


def test_float32_clouds_keep_their_dtype_and_the_order():
    f, g = Ridges(2, 3, dtype=torch.float32), Ridges(2, 5, dtype=torch.float32)
    x, y = normal(8, 2, seed=1).float(), normal(8, 2, seed=2).float()
    result = ladder(f, g, x, y, 0.0, 1.0)
    assert result.x.dtype == torch.float32
    assert_ordered(result)
    double = ladder(Ridges(2, 3), Ridges(2, 5), x.double(), y.double(), 0.0, 1.0)
    # The ridges' parameters are drawn in their own dtype, so only the shape of the numbers can agree.
    assert list(values(result)) == list(values(double))


def test_float32_agrees_with_float64_on_the_same_field():
    A = [[0.2, 1.0], [-0.4, 0.1]]
    x = normal(8, 2, seed=1)
    single, double = (
        ladder(Affine(A, [0.5, 0.0], dtype=t), Affine(A, dtype=t), x.to(t), None, 0.0, 1.0)
        for t in (torch.float32, torch.float64)
    )
    for name, value in values(double).items():
        assert values(single)[name] == pytest.approx(value, rel=1e-4), name


def test_a_sampled_constant_makes_the_published_rung_measured():
    """One sampled constant among closed forms is enough, and it is raised to what the pairs show."""
    g = Ridges(2, 3)
    f = Shifted(g, [1.0, 0.0], lambda s: 0.1)
    x = normal(6, 2, seed=1)
    late = lambda s: Estimate.exact(-50.0, bias="down" if s > 0.9 else "none")  # noqa: E731
    result = ladder(f, g, x, None, 0.0, 1.0, osl=late, tol=1e-6)
    assert not result.certified
    assert result.global_.bias == "down"
    assert result.kind("global") == "measured"
    assert result.global_.mean >= result.local.mean


def test_evaluations_are_those_of_the_two_solves():
    calls = []
    f, g = Ridges(2, 3), Ridges(2, 5)

    def counted(s, x):
        calls.append(len(x))
        return f(s, x)

    result = ladder(counted, g, normal(7, 2, seed=1), None, 0.0, 1.0, tol=1e-6)
    steps = len(result.profile.s) - 1
    # Each step's middle costs f one more; the check of independence looks at two rows.
    assert result.evaluations == 2 * (calls.count(7) - steps)


def test_without_a_closed_jacobian_the_numbers_are_the_same():
    f, g, x = Ridges(3, 3), Ridges(3, 5), normal(5, 3, seed=1)
    closed, hidden = (ladder(f, v, x, None, 0.0, 1.0, tol=1e-6) for v in (g, Hidden(g)))
    assert values(hidden) == pytest.approx(values(closed), rel=1e-9)


def test_equal_fields_and_clouds_cost_nothing():
    g = Ridges(2, 3)
    result = ladder(g, g, normal(5, 2, seed=1), None, 0.0, 1.0)
    assert set(values(result).values()) == {0.0}


def test_profile_says_where_the_error_enters_and_what_becomes_of_it():
    """Contraction at rate 2 and an error in the second half only: late entries arrive almost whole."""
    g = Affine(-2 * torch.eye(2, dtype=F64))
    f = Shifted(g, [1.0, 0.0], lambda s: max(0.0, s - 0.5))
    result = ladder(f, g, normal(5, 2, seed=1), None, 0.0, 1.0, tol=1e-8)
    p = result.profile
    s = np.array(p.s)
    assert p.s[0] == 0.0
    assert p.s[-1] == 1.0
    assert len(p.entering) == len(p.arriving) == len(p.constant) == len(p.s) - 1 == len(p.distance) - 1
    np.testing.assert_allclose(p.model_error, np.maximum(0, s - 0.5), atol=1e-12)
    np.testing.assert_allclose(p.constant, -2, rtol=1e-6)
    np.testing.assert_allclose(p.arriving, np.array(p.entering) * np.exp(-2 * (1 - s[1:])), rtol=1e-6, atol=1e-12)
    assert sum(p.arriving) == pytest.approx(result.pathwise.mean, rel=1e-9)
    assert p.distance[-1] == pytest.approx(result.synchronous.mean, rel=1e-12)


def four_modes(eps, sigma=0.1):
    """The geometry of W2B-19's reference line: modes at (+-.5, +-.5), the model's moved and widened by eps."""
    means = torch.tensor([[0.5, 0.5], [0.5, -0.5], [-0.5, 0.5], [-0.5, -0.5]], dtype=F64)
    moved = means + eps * torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=F64)
    weights = torch.full((4,), 0.25, dtype=F64)
    path = VP(0.1, 20.0)
    laws = [
        GaussianMixture(weights, m, torch.full((4,), s**2, dtype=F64))
        for m, s in ((means, sigma), (moved, sigma * (1 + eps)))
    ]
    return path, laws[0], *(reverse(ProbabilityFlow(path, NoisedScore(law, path)), 1.0) for law in laws)


def test_w2b_19_four_modes_stay_within_a_few_times_w2():
    path, law, f, g = four_modes(0.05)
    ratios = []
    for seed in range(3):
        x = law.at(path, 1.0).sample(200, torch.Generator().manual_seed(seed))
        result = ladder(f, g, x, None, 0.0, 0.999, tol=1e-8)
        w2 = ExactW2()(result.x, result.y).sqrt()
        assert_ordered(result)
        assert result.synchronous.mean >= w2.lo
        ratios.append({name: value / w2.mean for name, value in values(result).items()})
    median = {name: statistics.median(r[name] for r in ratios) for name in ratios[0]}
    assert median["pathwise"] <= 5
    assert median["propagator"] <= 4
    assert median["local"] > 10


def test_nan_names_the_time_and_the_particles():
    g = Ridges(2, 3)

    def broken(s, x):
        return torch.where((s > 0.5) & (x[:, :1] > 0), torch.nan, g(s, x))

    x = normal(10, 2, seed=1)
    with pytest.raises(SolveError, match=r"t = 0\.\d+.* of 10"):
        ladder(g, broken, x, None, 0.0, 1.0, tol=1e-6)


X = normal(4, 2, seed=0)
V = Ridges(2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((V, V, X[:1], None, 0.0, 1.0), ValueError, "x0"),
        ((V, V, X[:0], None, 0.0, 1.0), ValueError, "x0"),
        ((V, V, X[:, :0], None, 0.0, 1.0), ValueError, "x0"),
        ((V, V, X[0], None, 0.0, 1.0), ValueError, "x0"),
        ((V, V, X.long(), None, 0.0, 1.0), ValueError, "x0"),
        ((V, V, X.numpy(), None, 0.0, 1.0), TypeError, "x0"),
        ((V, V, X * torch.nan, None, 0.0, 1.0), ValueError, "x0.* 4 of 4"),
        ((V, V, X, X / 0, 0.0, 1.0), ValueError, "y0.* 4 of 4"),
        ((V, V, X, X[:3], 0.0, 1.0), ValueError, "y0"),
        ((V, V, X, X.float(), 0.0, 1.0), ValueError, "y0"),
        ((V, V, X, None, 1.0, 0.0), ValueError, "s1 > s0"),
        ((V, V, X, None, 0.0, math.nan), ValueError, "s1 > s0"),
        ((V, lambda s, x: x[:, :1], X, None, 0.0, 1.0), ValueError, "expected .*2, 2"),
        ((lambda s, x: x.float(), V, X, None, 0.0, 1.0), ValueError, "float32"),
        ((V, lambda s, x: x - x.mean(0), X, None, 0.0, 1.0), ValueError, "row"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with untyped(), pytest.raises(error, match=message):
        ladder(*arguments)


@pytest.mark.parametrize(("name", "value"), [("tol", 0.0), ("tol", math.nan), ("nodes", 0)])
def test_bad_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        ladder(V, V, X, None, 0.0, 1.0, **{name: value})


def test_a_constant_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="osl"):
        ladder(V, V, X, None, 0.0, 1.0, osl=lambda s: Estimate(math.inf, 0.0, math.inf, log10=400.0), tol=1e-6)
