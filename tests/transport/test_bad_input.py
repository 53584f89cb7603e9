"""Every bad input is one clear error that names the argument."""

from __future__ import annotations

from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch

from gflow.transport import (
    CouplingW2,
    ExactW1,
    ExactW2,
    GelbrichW2,
    Solver,
    bures_map,
    bures_squared,
    optimal_pairs,
    w2_squared_1d,
)
from tests.strategies import points

X = points(6, 2, seed=0)
ALL = [ExactW2(), ExactW2(certify=False), ExactW1(), CouplingW2(), GelbrichW2(), ExactW2().solve, optimal_pairs]


@pytest.fixture(autouse=True)
def _as_a_user_sees_it() -> Iterator[None]:
    """Users run without the shape checks of the test suite: the library's own must do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def with_nan(value: float) -> torch.Tensor:
    bad = X.clone()
    bad[2, 1] = bad[4, 0] = value
    return bad


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (X[:0], "needs at least"),
        (X[:, :0], "expected a cloud .n, d. with d >= 1"),
        (X[:, 0], "expected a cloud"),
        (X[None], "expected a cloud"),
        (with_nan(float("nan")), "2 of 6 points hold NaN or infinity, first at row 2"),
        (with_nan(float("inf")), "2 of 6 points hold NaN or infinity, first at row 2"),
        (X.to(torch.int64), "expected a floating-point dtype, got torch.int64"),
    ],
)
def test_bad_clouds(estimator, name, bad, message):
    arguments = {"x": X, "y": X} | {name: bad}
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        estimator(*arguments.values())


@pytest.mark.parametrize("estimator", ALL)
def test_arrays_and_lists_are_no_tensors(estimator):
    with pytest.raises(TypeError, match="x: expected a tensor .* got ndarray"):
        estimator(X.numpy(), X)
    with pytest.raises(TypeError, match="y: expected a tensor .* got list"):
        estimator(X, X.tolist())


@pytest.mark.parametrize("estimator", ALL)
def test_different_dimensions(estimator):
    with pytest.raises(ValueError, match="y: expected dimension 2 as x has"):
        estimator(X, points(6, 3, seed=0))


@pytest.mark.parametrize("estimator", [ExactW2(), CouplingW2()])
def test_coordinates_that_overflow(estimator):
    huge = torch.full((2, 2), 1.5e308, dtype=torch.float64)
    with pytest.raises(ValueError, match="overflow"):
        estimator(huge, -huge)


@pytest.mark.parametrize("name", ["x_weights", "y_weights"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.ones(5), r"expected shape \(6,\)"),
        (torch.zeros(6), "positive sum"),
        (torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, -1.0]), "finite weights >= 0"),
        (torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, float("nan")]), "finite weights >= 0"),
    ],
)
def test_bad_weights(name, bad, message):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        ExactW2()(X, X + 1, **{name: bad})


def test_weights_that_are_no_tensor():
    with pytest.raises(TypeError, match="x_weights: expected a tensor"):
        ExactW2()(X, X, x_weights=np.ones(6))


def test_options_that_contradict_each_other():
    with pytest.raises(ValueError, match="memory_limit"):
        ExactW2(memory_limit=0)
    with pytest.raises(ValueError, match="polish"):
        ExactW1(polish=True, certify=False)
    with pytest.raises(ValueError, match="LAPX returns no potentials"):
        ExactW2(solver=Solver.LAPX)


def test_solvers_that_do_not_fit(monkeypatch):
    with pytest.raises(ValueError, match="SORT cannot solve 6 against 6 points in 2 dimensions"):
        ExactW2(solver=Solver.SORT)(X, X)
    with pytest.raises(ValueError, match="LAPJV cannot solve 6 against 5"):
        ExactW2(solver=Solver.LAPJV)(X, X[:5])
    monkeypatch.setattr("gflow.transport.solvers.installed", lambda solver: solver is Solver.EMD)
    with pytest.raises(ValueError, match="LAPJV is not installed"):
        ExactW2(solver=Solver.LAPJV)(X, X)


def test_pairs_need_equal_sizes():
    with pytest.raises(ValueError, match="y: expected 6 points as x has, got 5"):
        optimal_pairs(X, X[:5])
    with pytest.raises(ValueError, match=r"y: expected shape \(6, 2\)"):
        CouplingW2()(X, X[:5])


def test_moments_need_two_points():
    with pytest.raises(ValueError, match="x: needs at least 2 points, got 1"):
        GelbrichW2()(X[:1], X)


def test_a_warm_start_of_other_sizes():
    plan = ExactW2().solve(X, X + 1)
    with pytest.raises(ValueError, match="warm_start: expected a plan between 6 and 5 points, got one between 6 and 6"):
        ExactW2().solve(X, X[:5], warm_start=plan)


def test_flows_of_different_lengths():
    with pytest.raises(ValueError, match="ys: expected 3 snapshots"):
        ExactW2().along_flow([X, X, X], [X, X])


def test_the_line_takes_values():
    with pytest.raises(ValueError, match="x: expected values"):
        w2_squared_1d(X, X[:, 0])
    with pytest.raises(ValueError, match="y: needs at least 1 point, got 0"):
        w2_squared_1d(X[:, 0], X[:0, 0])


def test_gaussians_with_bad_moments():
    mean, eye = torch.zeros(2), torch.eye(2)
    cases = [
        ((mean, eye, torch.zeros(3), eye), r"mean1: expected shape \(2,\), got \(3,\)"),
        ((mean, eye, mean, torch.eye(3)), "covariance1: expected shape"),
        ((mean, eye, mean * float("nan"), eye), "mean1: holds NaN"),
        ((mean, eye * float("inf"), mean, eye), "covariance0: holds NaN"),
        ((mean, eye, mean, -eye), "covariance1: expected no negative eigenvalue"),
        ((mean, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), mean, eye), "covariance0: expected a symmetric"),
        ((torch.zeros(2), torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 3)), "covariance0: expected a square"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            bures_squared(*arguments)
    with pytest.raises(ValueError, match="covariance1: expected shape"):
        bures_map(eye, torch.eye(3))
