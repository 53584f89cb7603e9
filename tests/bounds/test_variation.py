"""The variation-of-constants bound against independent tangents, and between W2 and the Gronwall bound."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from gflow.bounds import ladder, variation_bound
from gflow.fields import ProbabilityFlow, reverse
from gflow.ode import SolveError
from gflow.problems import VP, GaussianMixture, NoisedScore
from gflow.transport import ExactW2
from tests.bounds.fields import F64, Affine, Hidden, Ridges, Shifted, normal
from tests.strategies import untyped

# Loading torch's forward mode compiles with a deprecated tool of torch's own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")
S = 1.2


def rms(x):
    return math.sqrt(float((x**2).sum(-1).mean()))


def flow(v, x, s0, s1, tangent=None):
    """scipy's solution from s0 to s1, with tangents carried by the closed Jacobian where they are given."""
    n, d = x.shape

    def right(s, z):
        y = torch.as_tensor(z[: n * d].copy()).reshape(n, d)
        parts = [v(s, y).reshape(-1)]
        if tangent is not None:
            w = torch.as_tensor(z[n * d :].copy()).reshape(n, d, 1)
            parts.append((v.jacobian(s, y) @ w).reshape(-1))
        return torch.cat(parts).numpy()

    start = x.reshape(-1) if tangent is None else torch.cat((x.reshape(-1), tangent.reshape(-1)))
    if s1 == s0:
        end = start.numpy()
    else:
        end = integrate.solve_ivp(right, (s0, s1), start.numpy(), method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    return torch.as_tensor(end).reshape(-1, n, d)


def reference(f, g, x):
    """int DY (f - g)(x_s) ds per particle and the integral of its L2 norm, by Gauss nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    total, length = torch.zeros_like(x), 0.0
    for s, w in zip((nodes + 1) * S / 2, weights * S / 2, strict=True):
        at = flow(f, x, 0.0, s)[0]
        pushed = flow(g, at, s, S, f(s, at) - g(s, at))[1]
        total, length = total + w * pushed, length + w * rms(pushed)
    return total, length


@pytest.mark.parametrize("d", [1, 2])
def test_w2b_12_identity_and_bound_by_an_independent_route(d):
    f, g, x = Ridges(d, 1), Ridges(d, 2), normal(5, d, seed=3)
    total, length = reference(f, g, x)
    difference = flow(f, x, 0.0, S)[0] - flow(g, x, 0.0, S)[0]
    assert float((total - difference).abs().max()) < 1e-6
    result = variation_bound(f, g, x, None, 0.0, S, nodes=33, tol=1e-9)
    assert result.mean == pytest.approx(length, rel=1e-5)
    assert result.lo == result.mean <= result.hi
    assert result.hi == pytest.approx(length, rel=1e-3)


def test_w2b_12_more_nodes_and_less_spread():
    f, g, x = Ridges(2, 1), Ridges(2, 2), normal(5, 2, seed=3)
    exact = reference(f, g, x)[1]
    coarse, fine = (variation_bound(f, g, x, None, 0.0, S, nodes=n, tol=1e-8) for n in (5, 17))
    assert abs(fine.mean - exact) < abs(coarse.mean - exact) / 10
    assert fine.hi - fine.mean < (coarse.hi - coarse.mean) / 10


@settings(max_examples=3)
@given(st.integers(0, 10**6), st.booleans())
def test_w2b_12_lies_between_w2_and_the_gronwall_bound(seed, same):
    f, g = Ridges(2, seed), Ridges(2, seed + 9)
    x = normal(8, 2, seed=seed)
    y = None if same else normal(8, 2, seed=seed + 1)
    rungs = ladder(f, g, x, y, 0.0, S, tol=1e-6)
    result = variation_bound(f, g, x, y, 0.0, S, nodes=9, tol=1e-6)
    assert result.hi >= ExactW2()(rungs.x, rungs.y).sqrt().lo * (1 - 1e-6)
    assert result.mean <= rungs.local.mean * (1 + 1e-2)
    assert result.bias == "up"


def test_w2b_12_is_exact_for_a_translation_of_different_clouds():
    """g = A x, f = g + u: int |e^{(S-s)A} u| ds + |e^{SA} (x - y)|; pairs come from the optimal plan."""
    g = Affine([[0.4, 0.0], [0.0, -0.6]])
    f = Shifted(g, [0.0, 2.0], lambda s: 1.0)
    x = normal(6, 2, seed=1)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    result = variation_bound(f, g, x, x[order] + 0.01, 0.0, S, nodes=33, tol=1e-9)
    initial = 0.01 * math.hypot(math.exp(0.4 * S), math.exp(-0.6 * S))
    assert result.mean == pytest.approx(2 * -math.expm1(-0.6 * S) / 0.6 + initial, rel=1e-6)
    kept = variation_bound(f, g, x, x[order] + 0.01, 0.0, S, nodes=5, tol=1e-6, paired=True)
    assert kept.mean > 5 * initial + result.mean


def test_tiny_errors_are_carried_as_well_as_large_ones():
    """The tangent is linear: an absolute tolerance must not swallow an error of its own size."""
    g, x = Ridges(2, 2, strength=3.0), normal(5, 2, seed=3)
    small, large = (
        variation_bound(Shifted(g, [1.0, 1.0], lambda s, e=e: e), g, x, None, 0.0, S, nodes=9, tol=1e-6)
        for e in (1e-9, 1e-3)
    )
    assert small.mean * 1e6 == pytest.approx(large.mean, rel=3e-3)


def test_it_needs_no_closed_jacobian_and_works_above_eight_dimensions():
    f, g, x = Ridges(10, 1, strength=0.3), Ridges(10, 2, strength=0.3), normal(5, 10, seed=3)
    closed = variation_bound(f, g, x, None, 0.0, S, nodes=9, tol=1e-7)
    hidden = variation_bound(f, Hidden(g), x, None, 0.0, S, nodes=9, tol=1e-7)
    assert hidden.mean == pytest.approx(closed.mean, rel=1e-12)
    length = reference(f, g, x)[1]
    assert closed.mean == pytest.approx(length, rel=1e-3)


def test_equal_fields_cost_nothing():
    g = Ridges(2, 1)
    assert variation_bound(g, g, normal(4, 2, seed=0), None, 0.0, S, nodes=5, tol=1e-6).hi == 0.0


def test_stiff_flow_of_four_modes_is_quick():
    weights = torch.full((4,), 0.25, dtype=F64)
    means = torch.tensor([[0.5, 0.5], [0.5, -0.5], [-0.5, 0.5], [-0.5, -0.5]], dtype=F64)
    path = VP(0.1, 20.0)
    p, q = (GaussianMixture(weights, m, torch.full((4,), 0.01, dtype=F64)) for m in (means, means + 0.02))
    f, g = (reverse(ProbabilityFlow(path, NoisedScore(law, path)), 1.0) for law in (p, q))
    x = p.at(path, 1.0).sample(100, torch.Generator().manual_seed(0))
    began = time.process_time()
    result = variation_bound(f, g, x, None, 0.0, 0.999, nodes=17, tol=1e-5)
    assert time.process_time() - began < 20
    rungs = ladder(f, g, x, None, 0.0, 0.999, tol=1e-6)
    assert rungs.synchronous.mean <= result.hi
    assert result.mean <= rungs.local.mean


X, V = normal(4, 2, seed=0), Ridges(2, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x0": X[:1]}, ValueError, "x0"),
        ({"x0": X.tolist()}, TypeError, "x0"),
        ({"y0": X * math.nan}, ValueError, "y0"),
        ({"y0": X[:, :1]}, ValueError, "y0"),
        ({"s1": 0.0}, ValueError, "s1 > s0"),
        ({"nodes": 3}, ValueError, "nodes"),
        ({"nodes": 7}, ValueError, "nodes"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"g": lambda s, x: x[:, :1]}, ValueError, "g at s"),
        ({"f": lambda s, x: x.sum(1)}, ValueError, "velocity"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes, error, message):
    arguments = {"f": V, "g": V, "x0": X, "y0": None, "s0": 0.0, "s1": S, "nodes": 5, "tol": 1e-6} | changes
    positional = [arguments.pop(name) for name in ("f", "g", "x0", "y0", "s0", "s1")]
    with untyped(), pytest.raises(error, match=message):
        variation_bound(*positional, **arguments)


def test_nan_names_the_time_and_the_particles():
    broken = lambda s, x: torch.where((s > 0.5) & (x[:, :1] > 0), torch.nan, V(s, x))  # noqa: E731
    with pytest.raises((SolveError, ValueError), match=r"0\.\d+.* of \d+"):
        variation_bound(V, broken, X, None, 0.0, S, nodes=5, tol=1e-6)
