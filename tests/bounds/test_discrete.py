"""The discrete ladder against the recursion it is about, written out in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.bounds import discrete, discrete_ladder
from gflow.estimate import Estimate
from gflow.lipschitz import mean_jacobian
from gflow.ode import BrownianPath, SolveError
from gflow.transport import ExactW2, optimal_pairs
from tests.bounds.fields import F64, Affine, Ridges, Shifted, normal
from tests.strategies import floats, untyped

few = settings(max_examples=12)
S = 1.5


def values(result):
    return {name: bound.mean for name, bound in result.bounds.items()}


def assert_ordered(result, rel=1e-10):
    logs = [bound.log10 for bound in result.bounds.values()]
    assert all(b >= a - rel for a, b in zip(logs[:-1], logs[1:], strict=True)), values(result)


def rms(e):
    return math.sqrt(float((np.asarray(e) ** 2).sum(1).mean()))


def simulate(v, x, steps, sigma=None, noise=None):
    """Euler or Euler-Maruyama by hand."""
    h = S / steps
    for k in range(steps):
        s = k * h
        x = x + h * v(s, x) + (0 if noise is None else sigma(s) * noise.increment(s, s + h))
    return x


@few
@given(
    st.integers(1, 3),
    st.integers(0, 10**6),
    st.sampled_from([1, 4, 16]),
    st.booleans(),
    st.booleans(),
    floats(0.3, 3.0),
)
def test_w2b_19_discrete_chain_is_exact_for_the_simulated_clouds(d, seed, steps, same, noisy, strength):
    f, g = Ridges(d, seed, strength=strength), Ridges(d, seed + 50, strength=strength)
    x, y = normal(9, d, seed=seed), normal(9, d, seed=seed + 1)
    noise = BrownianPath(0.0, S, (9, d), levels=4, seed=seed) if noisy else None
    sigma = (lambda s: 0.5 + s) if noisy else None
    result = discrete_ladder(f, g, x, None if same else y, 0.0, S, steps=steps, diffusion=sigma, noise=noise)
    y = x if same else y[optimal_pairs(x, y)]
    ends = simulate(f, x, steps, sigma, noise), simulate(g, y, steps, sigma, noise)
    torch.testing.assert_close((result.x, result.y), ends, rtol=1e-11, atol=1e-12)
    assert result.synchronous.mean == pytest.approx(rms(ends[0] - ends[1]), rel=1e-10)
    assert_ordered(result)
    assert result.synchronous.mean >= ExactW2()(*ends).sqrt().lo * (1 - 1e-9)


@few
@given(st.integers(1, 3), st.integers(0, 10**6), floats(0.01, 0.5))
def test_w2b_19_difference_obeys_the_linear_recursion(d, seed, h):
    """e' = (I + h A) e + h delta to round-off, A corrected, also where two nodes do not see the ridge between."""
    f, g = Ridges(d, seed), Ridges(d, seed + 9, strength=5.0)
    x, y = normal(6, d, seed=seed, scale=8.0), normal(6, d, seed=seed + 1, scale=8.0)
    A = mean_jacobian(g, 0.3, x, y, nodes=2, refine_above=None).A
    e, delta = x - y, f(0.3, x) - g(0.3, x)
    following = x + h * f(0.3, x) - y - h * g(0.3, y)
    torch.testing.assert_close(e + h * torch.einsum("nij,nj->ni", A, e) + h * delta, following, rtol=1e-11, atol=1e-11)


def hand_recursion(A, u, e, steps, norm):
    """The five rungs for g = A x and f = g + u: every pair has the matrix I + h A."""
    h = S / steps
    phi = np.eye(len(A)) + h * A
    size = np.linalg.norm(phi, 2) if norm is None else norm
    start, total = e, np.linalg.norm(e @ np.linalg.matrix_power(phi, steps).T, axis=1)
    pathwise, uniform = np.linalg.norm(e, axis=1), rms(e)
    for k in range(steps):
        e = e @ phi.T + h * u
        total = total + h * np.linalg.norm(np.linalg.matrix_power(phi, steps - 1 - k) @ u)
        pathwise = np.linalg.norm(phi, 2) * pathwise + h * np.linalg.norm(u)
        uniform = size * uniform + h * np.linalg.norm(u)
    assert len(start)
    return rms(e), rms(total[:, None]), rms(pathwise[:, None]), uniform


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_w2b_19_affine_example_by_hand(steps):
    A, u = np.array([[0.2, 1.5], [-0.3, -0.8]]), np.array([0.6, 0.8])
    g = Affine(A)
    f = Shifted(g, u, lambda s: 1.0)
    x, y = normal(5, 2, seed=1), normal(5, 2, seed=2)
    constant = lambda s, h: Estimate.exact(float(np.linalg.norm(np.eye(2) + h * A, 2)))  # noqa: E731
    result = discrete_ladder(f, g, x, y, 0.0, S, steps=steps, step_constant=constant, paired=True)
    expected = hand_recursion(A, u, (x - y).numpy(), steps, None)
    got = values(result)
    assert [got[k] for k in ("synchronous", "propagator", "pathwise", "global")] == pytest.approx(expected, rel=1e-12)
    assert result.certified
    assert result.kind("global") == "certified"
    # One constant for all: the local rung cannot differ from the exact one.
    assert got["local"] == pytest.approx(got["global"], rel=1e-12)


def test_a_large_step_contracts_where_the_exponential_would_not_say_so():
    """h = 1 and g = -x: one Euler step forgets the start, so every rung is the last kick alone."""
    g = Affine(-torch.eye(2, dtype=F64))
    f = Shifted(g, [0.6, 0.8], lambda s: 1 + s)
    constant = lambda s, h: Estimate.exact(abs(1 - h))  # noqa: E731
    result = discrete_ladder(
        f, g, normal(4, 2, seed=0), normal(4, 2, seed=1), 0.0, 2.0, steps=2, step_constant=constant
    )
    assert list(values(result).values()) == pytest.approx([2.0] * 5, rel=1e-12)


@pytest.mark.parametrize("d", [2, 9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_w2b_19_round_off_far_from_the_origin_is_bounded_too(d, seed):
    """The runs meet at 1000, where they are equal to 1e-13 only: more than the exact difference that is left."""
    pull = lambda s, x: -10 * (x - 1000)  # noqa: E731
    result = discrete_ladder(pull, pull, normal(8, d, seed=seed), normal(8, d, seed=seed + 9), 0.0, 4.0, steps=116)
    assert_ordered(result)


@pytest.mark.parametrize("d", [1, 9])
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-5])
def test_w2b_19_float32_runs_are_ordered_to_the_round_off_of_float64(d, size):
    """Differences of size 1e-5 between numbers of size 1 hold two digits in float32; the rungs are about those."""
    f, g = (lambda s, x, c=c: -0.5 * x + c for c in (size, 0.0))
    x = normal(8, d, seed=0).float()
    result = discrete_ladder(f, g, x, None, 0.0, 4.0, steps=64)
    assert result.x.dtype == torch.float32
    assert_ordered(result)
    ridges = [Ridges(d, seed, dtype=torch.float32, strength=0.5) for seed in (3, 4)]
    assert_ordered(discrete_ladder(*ridges, x, normal(8, d, seed=1).float(), 0.0, 4.0, steps=64))


def test_chunks_of_rows_change_nothing(monkeypatch):
    f, g = Ridges(10, 3, strength=0.3), Ridges(10, 4, strength=0.3)
    x, y = normal(8, 10, seed=0), normal(8, 10, seed=1)
    whole = discrete_ladder(f, g, x, y, 0.0, S, steps=4)
    monkeypatch.setattr(discrete, "row_chunks", lambda x: [slice(k, k + 3) for k in range(0, len(x), 3)])
    assert values(discrete_ladder(f, g, x, y, 0.0, S, steps=4)) == pytest.approx(values(whole), rel=1e-12)


def test_a_sampled_step_constant_labels_the_published_rung_down():
    g = Ridges(2, 3)
    f = Shifted(g, [0.6, 0.8], lambda s: 1.0)
    constant = lambda s, h: Estimate.exact(0.1, bias="down" if s > 1 else "up")  # noqa: E731
    result = discrete_ladder(f, g, normal(4, 2, seed=0), None, 0.0, S, steps=8, step_constant=constant)
    assert not result.certified
    assert result.global_.bias == "down"
    assert_ordered(result)


def test_published_rung_is_carried_as_a_logarithm():
    g = Ridges(2, 3)
    f = Shifted(g, [0.6, 0.8], lambda s: 1.0)
    result = discrete_ladder(
        f, g, normal(4, 2, seed=0), None, 0.0, S, steps=8, step_constant=lambda s, h: Estimate.exact(1e60)
    )
    assert result.global_.mean == math.inf
    # The first kick, h, is amplified by the seven later steps.
    assert result.global_.log10 == pytest.approx(7 * 60 + math.log10(S / 8), abs=1e-6)


def test_more_than_eight_dimensions_have_no_propagator():
    f, g = Ridges(12, 3, strength=0.3), Ridges(12, 4, strength=0.3)
    x = normal(6, 12, seed=0)
    result = discrete_ladder(f, g, x, normal(6, 12, seed=1), 0.0, S, steps=8)
    assert list(values(result)) == ["synchronous", "pathwise", "local"]
    assert_ordered(result)


def test_the_account_adds_up_to_the_simulated_distance():
    f, g = Ridges(2, 3), Ridges(2, 4)
    result = discrete_ladder(f, g, normal(6, 2, seed=0), normal(6, 2, seed=1), 0.0, S, steps=8)
    w = result.profile.distance[0]
    for growth, forcing in zip(result.account.growth, result.account.forcing, strict=True):
        w = math.exp(growth) * w + forcing
    assert w == pytest.approx(result.synchronous.mean, rel=1e-12)
    assert sum(map(bool, result.profile.entering)) == len(result.profile.s) - 1 == 8


def test_a_run_that_blows_up_names_the_time():
    x = 1 + normal(4, 1, seed=0).abs()
    explode = lambda s, z: z**9 * 1e30  # noqa: E731
    with pytest.raises(SolveError, match=r"t = 0\.\d+.* of 4"):
        discrete_ladder(explode, explode, x, None, 0.0, S, steps=8)


X = normal(4, 2, seed=0)
V = Ridges(2, 3)
NOISE = BrownianPath(0.0, S, (4, 2), levels=3, seed=0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps"),
        ({"s1": 0.0}, ValueError, "s1 > s0"),
        ({"x0": X[:1]}, ValueError, "x0"),
        ({"x0": X.tolist()}, TypeError, "x0"),
        ({"y0": X * math.inf}, ValueError, "y0"),
        ({"y0": X[:2]}, ValueError, "y0"),
        ({"diffusion": lambda s: 1.0}, ValueError, "noise"),
        ({"noise": NOISE}, ValueError, "diffusion"),
        ({"diffusion": lambda s: 1.0, "noise": NOISE, "steps": 16}, ValueError, "BrownianPath"),
        ({"diffusion": lambda s: 1.0, "noise": BrownianPath(0.0, S, (3, 2), levels=3, seed=0)}, ValueError, "path"),
        ({"g": lambda s, x: x.sum(1)}, ValueError, "expected"),
        ({"f": lambda s, x: x - x.mean(0)}, ValueError, "row"),
        ({"step_constant": lambda s, h: Estimate.exact(-1.0)}, ValueError, "step_constant"),
        ({"nodes": 0}, ValueError, "nodes"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes, error, message):
    arguments = {"f": V, "g": V, "x0": X, "y0": None, "s0": 0.0, "s1": S, "steps": 8} | changes
    positional = [arguments.pop(name) for name in ("f", "g", "x0", "y0", "s0", "s1")]
    with untyped(), pytest.raises(error, match=message):
        discrete_ladder(*positional, **arguments)
