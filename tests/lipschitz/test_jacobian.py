"""Jacobians against closed forms and differences, the logarithmic norm against eigenvalues, coupled rows."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.lipschitz import check_rows_independent, jacobian, log_norm
from tests.lipschitz.fields import Closed, Sine, normal, seeds

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

sizes = st.integers(1, 12)


@given(d=sizes, seed=seeds)
def test_log_norm_is_the_largest_eigenvalue_of_the_symmetric_part(d, seed):
    a = 3 * normal(5, d, d, seed=seed)
    expected = torch.linalg.eigvalsh((a + a.mT) / 2)[:, -1]
    torch.testing.assert_close(log_norm(a), expected, rtol=1e-13, atol=1e-13)


@given(d=sizes, seed=seeds)
def test_log_norm_is_the_growth_rate_of_the_exponential(d, seed):
    a, h = normal(1, d, d, seed=seed), 1e-6
    eye = torch.eye(d, dtype=a.dtype)
    rate = (torch.linalg.matrix_norm(eye + h * a[0], 2) - 1) / h
    assert abs(float(log_norm(a)) - float(rate)) < 1e-6 * (1 + float(torch.linalg.matrix_norm(a[0], 2)) ** 2)


@given(d=sizes, seed=seeds, t=st.floats(0.1, 3.0), chunk=st.integers(1, 9))
def test_autodiff_jacobian_is_the_closed_form_whatever_the_chunk(d, seed, t, chunk):
    v, x = Sine(d, seed), normal(7, d, seed=seed + 1)
    torch.testing.assert_close(jacobian(v, t, x, chunk=chunk), v.exact(t, x), rtol=1e-12, atol=1e-12)


@given(d=st.integers(1, 4), seed=seeds)
def test_jacobian_agrees_with_central_differences(d, seed):
    v, x, h = Sine(d, seed), normal(4, d, seed=seed + 1), 1e-5
    steps = h * torch.eye(d, dtype=x.dtype)
    differences = torch.stack([(v(0.7, x + e) - v(0.7, x - e)) / (2 * h) for e in steps], -1)
    # Central differences: h^2/6 |third derivative| plus eps/h.
    torch.testing.assert_close(jacobian(v, 0.7, x), differences, rtol=0, atol=1e-8)


def test_the_closed_form_of_a_field_is_used_where_it_has_one():
    v, x = Closed(3, 0), normal(5, 3, seed=1)
    torch.testing.assert_close(jacobian(v, 0.5, x, chunk=2), 2 * v.exact(0.5, x))


@pytest.mark.parametrize("d", [2, 12])
def test_a_field_behind_no_grad_is_not_taken_for_a_constant(d):
    v, x = Sine(d, 0), normal(5, d, seed=1)
    torch.testing.assert_close(jacobian(torch.no_grad()(v.__call__), 0.5, x), v.exact(0.5, x))


def test_a_constant_field_has_zero_jacobian():
    x = normal(5, 3, seed=1)
    assert not jacobian(lambda t, y: torch.ones_like(y), 0.5, x).any()


@pytest.mark.parametrize("d", [2, 12])
def test_dtype_is_kept_and_the_result_is_detached_from_parameters(d):
    v, x = Sine(d, 0, torch.float32), normal(5, d, seed=1, dtype=torch.float32)
    v.w.requires_grad_()
    j = jacobian(v, 0.5, x)
    assert j.dtype == torch.float32
    assert not j.requires_grad
    torch.testing.assert_close(j, v.exact(0.5, x).detach())


def test_time_may_be_a_tensor():
    v, x = Sine(3, 0), normal(5, 3, seed=1)
    torch.testing.assert_close(jacobian(v, torch.tensor(0.5, dtype=x.dtype), x), v.exact(0.5, x))


def test_a_jacobian_that_is_not_finite_names_the_time_and_the_particles():
    x = torch.tensor([[1.0], [0.0], [2.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"t=0.25: NaN or infinite for 1 of 3 particles"):
        jacobian(lambda t, y: y.sqrt(), 0.25, x)


def test_bad_arguments_of_jacobian():
    x = normal(5, 3, seed=1)
    with pytest.raises(ValueError, match=r"chunk.*0"):
        jacobian(Sine(3, 0), 0.5, x, chunk=0)
    with pytest.raises(ValueError, match=r"floating-point points \(n, d\)"):
        jacobian(Sine(3, 0), 0.5, x[:0])
    with pytest.raises(ValueError, match=r"expected \(5, 3\)"):
        jacobian(lambda t, y: y[:, :2], 0.5, x)
    with pytest.raises(ValueError, match="float32"):
        jacobian(lambda t, y: y.float(), 0.5, x)
    wrong = Closed(3, 0)
    wrong.jacobian = lambda t, y: torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"expected \(5, 3, 3\).*got \(2, 2\)"):
        jacobian(wrong, 0.5, x)


def test_fields_that_act_by_rows_pass_the_check():
    x = normal(6, 3, seed=1)
    check_rows_independent(Sine(3, 0), 0.5, x)
    check_rows_independent(Sine(3, 0), 0.5, x[:1])
    check_rows_independent(Sine(3, 0), 0.5, x[:1].expand(4, 3))
    check_rows_independent(lambda t, y: 0 * y, 0.5, x)


@pytest.mark.parametrize(
    "coupled",
    [
        lambda t, y: y - y.mean(0),
        lambda t, y: y - y.amax(0),
        lambda t, y: y / (1 + y.norm()),
        lambda t, y: y * torch.arange(1.0, len(y) + 1, dtype=y.dtype)[:, None],
        lambda t, y: y.flip(0),
    ],
    ids=["mean", "max", "norm", "position", "order"],
)
@pytest.mark.parametrize("rows", [1, 6])
def test_coupled_rows_are_found(coupled, rows):
    with pytest.raises(ValueError, match="row i of the result must depend on row i"):
        check_rows_independent(coupled, 0.5, normal(rows, 3, seed=1))


def test_the_row_check_names_time_and_shape():
    x = normal(6, 3, seed=1)
    with pytest.raises(ValueError, match=r"field at t=0.5: expected \(2, 3\)"):
        check_rows_independent(lambda t, y: y[:, :1], 0.5, x)
    with pytest.raises(ValueError, match=r"t=0.5: NaN"):
        check_rows_independent(lambda t, y: y * math.nan, 0.5, x)
