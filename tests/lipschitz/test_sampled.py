"""One-sided Lipschitz constants of fields: direction, sampling, Lanczos."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.estimate import Estimate
from gflow.lipschitz import JacobianOsl, LanczosOsl, LipschitzEstimator, PairOsl, jacobian, log_norm
from tests.lipschitz.fields import Affine, Closed, Sine, normal, seeds

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

LANCZOS = LanczosOsl(tolerance=1e-10, max_iterations=64)
ALL = [JacobianOsl(), PairOsl(shifts=2), LANCZOS]
ids = ["jacobian", "pairs", "lanczos"]


@pytest.mark.parametrize("estimator", ALL, ids=ids)
@given(lam=st.floats(-2.0, 2.0), seed=seeds)
def test_w2b_2_backward_time_needs_the_constant_of_minus_the_field(estimator, lam, seed):
    horizon, gap, points = 1.5, 0.3, normal(6, 2, seed=seed)

    def field(t, x):
        return -lam * x

    truth = gap * math.exp(lam * horizon)  # run from T down to 0
    right = estimator(field, 0.5, points, direction=-1).mean
    wrong = estimator(field, 0.5, points, direction=1).mean
    assert gap * math.exp(horizon * right) == pytest.approx(truth, rel=1e-12)
    if lam > 1e-6:
        assert gap * math.exp(horizon * wrong) < truth


@pytest.mark.parametrize("estimator", ALL, ids=ids)
@pytest.mark.parametrize("direction", [0, 2, -0.5, None, "forward"])
def test_the_direction_is_one_of_two_and_has_no_default(estimator, direction):
    points = normal(4, 2, seed=0)
    with pytest.raises((ValueError, TypeError)):
        estimator(Sine(2, 0), 0.5, points, direction=direction)
    with pytest.raises(TypeError):
        estimator(Sine(2, 0), 0.5, points)


def test_a_wrong_direction_is_named():
    with pytest.raises(ValueError, match=r"direction: expected \+1.*got 0"):
        JacobianOsl()(Sine(2, 0), 0.5, normal(4, 2, seed=0), direction=0)


@pytest.mark.parametrize("estimator", ALL, ids=ids)
def test_sampled_constants_are_labelled_down_and_obey_the_protocol(estimator):
    assert isinstance(estimator, LipschitzEstimator)
    found = estimator(Sine(2, 0), 0.5, normal(4, 2, seed=0), direction=1)
    assert isinstance(found, Estimate)
    assert found.bias == "down"


@given(d=st.integers(1, 5), seed=seeds, direction=st.sampled_from([1, -1]))
def test_sampled_constants_of_linear_fields_are_exact_or_below(d, seed, direction):
    v, points = Affine(d, seed), normal(20, d, seed=seed + 2)
    exact = float(log_norm(direction * v.a[None]))
    assert JacobianOsl()(v, 0.0, points, direction=direction).mean == pytest.approx(exact, abs=1e-12)
    assert LANCZOS(v, 0.0, points, direction=direction).mean == pytest.approx(exact, abs=1e-9)
    assert PairOsl(shifts=3)(v, 0.0, points, direction=direction).mean <= exact + 1e-12


@given(seed=seeds, direction=st.sampled_from([1, -1]))
def test_w2b_2_quotients_stay_below_the_constant_on_a_convex_domain(seed, direction):
    v = Sine(1, seed)
    grid = torch.linspace(-2, 2, 4001, dtype=torch.float64)[:, None]
    points = grid[torch.randperm(4001, generator=torch.Generator().manual_seed(seed))[:200]]
    pairs = PairOsl(shifts=20)(v, 1.0, points, direction=direction).mean
    domain = JacobianOsl()(v, 1.0, grid, direction=direction).mean
    # The grid misses the supremum by at most step/2 times the Lipschitz constant |w|^2 of the Jacobian.
    assert pairs <= domain + 5e-4 * float(v.w.abs()) ** 2


def test_quotients_of_pairs_that_round_off_cannot_tell_apart_stay_below_the_constant():
    """1e6 - x at 0 and 1e-11: the values differ by 0 or 1e-10, the quotient is 0 or -10 and the constant -1."""
    points = torch.tensor([[0.0], [1e-11], [1.0]], dtype=torch.float64)
    found = PairOsl(shifts=2)(lambda t, x: 1e6 - x, 0.0, points, direction=1)
    assert -1 - 1e-7 <= found.mean <= -1
    assert found.bias == "down"


def test_more_points_and_more_pairs_never_lower_the_estimate():
    v, points = Sine(2, 0), normal(100, 2, seed=1)
    few, many = (JacobianOsl()(v, 1.0, p, direction=1).mean for p in (points[:10], points))
    assert few <= many
    one, ten = (PairOsl(shifts=k)(v, 1.0, points, direction=1).mean for k in (1, 10))
    assert one <= ten


@pytest.mark.parametrize("direction", [1, -1])
def test_lanczos_equals_the_dense_eigenvalue_in_64_dimensions(direction):
    v, points = Sine(64, 3), normal(10, 64, seed=4)
    exact = log_norm(direction * jacobian(v, 1.0, points))
    found = LanczosOsl(tolerance=1e-8, max_iterations=64).solve(v, 1.0, points, direction=direction)
    assert found.converged
    assert found.iterations < 64
    # The error of a Ritz value is at most its residual, and quadratic in it near convergence.
    torch.testing.assert_close(found.values, exact, rtol=1e-12, atol=1e-12)
    loose = LanczosOsl(tolerance=1e-2, max_iterations=64).solve(v, 1.0, points, direction=direction)
    assert loose.iterations < found.iterations
    assert bool((loose.values <= exact + 1e-12).all())
    assert bool((exact - loose.values <= loose.residuals + 1e-12).all())


@pytest.mark.parametrize(
    ("diagonal", "largest"), [([-2.0] * 7, -2.0), ([-1.0, -1.0, -3.0, -3.0, -5.0, -5.0, -7.0], -1.0), ([0.0] * 7, 0.0)]
)
def test_lanczos_survives_an_exhausted_krylov_space(diagonal, largest):
    scale = torch.tensor(diagonal, dtype=torch.float64)
    found = LANCZOS.solve(lambda t, x: scale * x, 0.0, normal(5, 7, seed=0), direction=1)
    torch.testing.assert_close(found.values, torch.full_like(found.values, largest), rtol=0, atol=1e-12)
    assert found.converged


def test_lanczos_sees_the_symmetric_part_only():
    rotation = torch.tensor([[0.0, 3.0], [-3.0, 0.0]], dtype=torch.float64)
    assert LANCZOS(lambda t, x: x @ rotation - x, 0.0, normal(5, 2, seed=0), direction=1).mean == pytest.approx(-1.0)


def test_lanczos_is_a_function_of_its_arguments():
    v, points = Sine(20, 3), normal(10, 20, seed=4)
    first, again = (LanczosOsl(tolerance=1e-2, max_iterations=20, seed=5)(v, 1.0, points, direction=1) for _ in "ab")
    assert first == again


def test_lanczos_without_convergence_raises_with_the_remedy_but_keeps_the_values():
    v, points = Sine(64, 3), normal(10, 64, seed=4)
    short = LanczosOsl(tolerance=1e-10, max_iterations=5)
    with pytest.raises(RuntimeError, match=r"raise max_iterations=5 \(d=64"):
        short(v, 1.0, points, direction=1)
    found = short.solve(v, 1.0, points, direction=1)
    assert not found.converged
    assert found.iterations == 5


def test_lanczos_refuses_a_field_that_reverse_mode_cannot_see():
    with pytest.raises(ValueError, match="no_grad"):
        LANCZOS(torch.no_grad()(Sine(4, 0).__call__), 0.5, normal(5, 4, seed=1), direction=1)
    assert LANCZOS(lambda t, x: torch.ones_like(x), 0.5, normal(5, 4, seed=1), direction=1).mean == 0.0


def test_the_closed_form_jacobian_is_used():
    v, points = Closed(2, 0), normal(5, 2, seed=1)
    exact = float(log_norm(2 * v.exact(0.5, points)).max())
    assert JacobianOsl()(v, 0.5, points, direction=1).mean == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("estimator", ALL, ids=ids)
def test_coupled_rows_and_bad_values_are_refused(estimator):
    points = normal(5, 2, seed=1)
    with pytest.raises(ValueError, match="row i of the result"):
        estimator(lambda t, x: x - x.mean(0), 0.5, points, direction=1)
    with pytest.raises(ValueError, match=r"t=0.5: .*(NaN|finite).* 1 of 5"):
        estimator(lambda t, x: x / (x != points[3]).all(1, keepdim=True), 0.5, points, direction=1)


@pytest.mark.parametrize("estimator", ALL, ids=ids)
def test_a_field_with_trainable_parameters_is_measured_without_a_graph(estimator):
    v, points = Sine(3, 0), normal(5, 3, seed=1)
    expected = estimator(v, 0.5, points, direction=-1)
    v.w.requires_grad_()
    assert estimator(v, 0.5, points, direction=-1) == expected


def test_bad_arguments_of_the_estimators():
    points = normal(5, 2, seed=1)
    for shifts in (0, 5):
        with pytest.raises(ValueError, match=r"shifts: expected 1 to n - 1 = 4"):
            PairOsl(shifts=shifts)(Sine(2, 0), 0.5, points, direction=1)
    with pytest.raises(ValueError, match="two different points"):
        PairOsl(shifts=1)(Sine(2, 0), 0.5, points[:1].expand(3, 2), direction=1)
    with pytest.raises(ValueError, match="tolerance"):
        LanczosOsl(tolerance=0.0, max_iterations=5)
    with pytest.raises(ValueError, match="max_iterations"):
        LanczosOsl(tolerance=1e-3, max_iterations=0)
