"""Mean Jacobians and quotients of pairs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.lipschitz import jacobian, log_norm, mean_jacobian, pair_quotient
from tests.lipschitz.fields import Affine, Closed, Sine, normal, seeds


class Quadratic:
    def __init__(self, d, seed):
        self.q = normal(d, d, d, seed=seed)

    def __call__(self, t, x):
        return torch.einsum("abc,nb,nc->na", self.q, x, x)


class Steep:
    """The score of two narrow modes at +-1 on the first axis: nearly a jump at its midplane."""

    variance = 0.01

    def __call__(self, t, x):
        sign = torch.tanh(x[:, :1] / self.variance)
        return (torch.cat([sign, torch.zeros_like(x[:, 1:])], 1) - x) / self.variance


@given(d=st.integers(1, 6), seed=seeds)
def test_affine_fields_need_one_node_and_no_correction(d, seed):
    v, x, y = Affine(d, seed), normal(5, d, seed=seed + 2), normal(5, d, seed=seed + 3)
    found = mean_jacobian(v, 0.0, x, y, nodes=1, correct=False)
    torch.testing.assert_close(found.A, v.a.expand(5, d, d), rtol=1e-13, atol=1e-13)
    assert not found.residual.any()
    assert found.refined == 0


@given(d=st.integers(1, 4), seed=seeds)
def test_quadratic_fields_have_the_jacobian_at_the_midpoint(d, seed):
    v, x, y = Quadratic(d, seed), normal(5, d, seed=seed + 2), normal(5, d, seed=seed + 3)
    found = mean_jacobian(v, 0.0, x, y, nodes=1, correct=False)
    torch.testing.assert_close(found.A, jacobian(v, 0.0, (x + y) / 2), rtol=1e-12, atol=1e-12)
    assert not found.residual.any()


@given(d=st.integers(1, 4), seed=seeds, nodes=st.integers(1, 5), scale=st.floats(1e-3, 3.0))
def test_w2b_19_secant_identity_holds_to_round_off(d, seed, nodes, scale):
    v, x = Sine(d, seed), normal(5, d, seed=seed + 2)
    y = x + scale * normal(5, d, seed=seed + 3)
    found = mean_jacobian(v, 1.3, x, y, nodes=nodes, refine_above=None)
    gap, e = v(1.3, x) - v(1.3, y), x - y
    torch.testing.assert_close(torch.einsum("nab,nb->na", found.A, e), gap, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.mu, log_norm(found.A), rtol=0, atol=0)
    # mu is the constant of A, and the quotient one of its Rayleigh quotients, up to the round-off of v.
    round_off = 1e-14 * (1.3 + torch.linalg.matrix_norm(found.A) * (x.norm(dim=1) + y.norm(dim=1))) / e.norm(dim=1)
    assert bool((pair_quotient(v, 1.3, x, y) <= found.mu + round_off).all())


@given(d=st.integers(1, 4), seed=seeds)
def test_the_secant_update_is_the_least_change_and_the_residual_that_before_it(d, seed):
    v, x, y = Sine(d, seed), normal(5, d, seed=seed + 2), normal(5, d, seed=seed + 3)
    plain = mean_jacobian(v, 1.0, x, y, nodes=1, correct=False, refine_above=None)
    fixed = mean_jacobian(v, 1.0, x, y, nodes=1, refine_above=None)
    e, gap = x - y, v(1.0, x) - v(1.0, y)
    defect = gap - torch.einsum("nab,nb->na", plain.A, e)
    torch.testing.assert_close(plain.residual, defect.norm(dim=1) / gap.norm(dim=1), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(fixed.residual, plain.residual, rtol=0, atol=0)
    change = torch.linalg.matrix_norm(fixed.A - plain.A)
    torch.testing.assert_close(change, defect.norm(dim=1) / e.norm(dim=1), rtol=1e-9, atol=1e-12)


def test_more_nodes_converge_to_the_mean():
    v, x, y = Sine(3, 0), normal(5, 3, seed=1), normal(5, 3, seed=2)
    theta = (torch.arange(4000, dtype=x.dtype) + 0.5) / 4000
    mean = torch.stack([v.exact(1.0, y + s * (x - y)) for s in theta]).mean(0)
    found = mean_jacobian(v, 1.0, x, y, nodes=20, correct=False, refine_above=None)
    torch.testing.assert_close(found.A, mean, rtol=0, atol=1e-6)  # the midpoint rule errs by 1/(24 * 4000^2) |f''|


def test_steep_segments_are_refined_and_only_those():
    far = torch.tensor([[1.0, 0.3], [1.0, -0.2]], dtype=torch.float64)
    x, y = torch.cat([far, far]), torch.cat([far * torch.tensor([-0.83, 1.0], dtype=far.dtype), far + 0.1])
    v = Steep()
    coarse = mean_jacobian(v, 0.0, x, y, nodes=8, refine_above=None)
    assert bool((coarse.residual[:2] > 0.05).all())
    assert bool((coarse.residual[2:] < 1e-6).all())
    fine = mean_jacobian(v, 0.0, x, y, nodes=8)
    assert fine.refined == 2
    assert bool((fine.residual[:2] < coarse.residual[:2]).all())
    all_fine = mean_jacobian(v, 0.0, x, y, nodes=64)
    torch.testing.assert_close(fine.A[:2], all_fine.A[:2], rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(fine.A[2:], coarse.A[2:], rtol=0, atol=0)
    # The identity holds however bad the quadrature.
    for found in (coarse, fine):
        ae = torch.einsum("nab,nb->na", found.A, x - y)
        torch.testing.assert_close(ae, v(0.0, x) - v(0.0, y), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("distance", [0.0, 1e-300, 1e-17, 1e-15, 1e-13])
def test_round_off_between_equal_points_does_not_enter_the_jacobian(distance):
    v, x = Steep(), normal(20, 2, seed=0)
    found = mean_jacobian(v, 0.0, x + distance, x, nodes=2)
    expected = jacobian(v, 0.0, x)
    torch.testing.assert_close(found.A, expected, rtol=1e-6, atol=1e-6)
    assert not found.residual.any()
    assert found.refined == 0


def test_known_velocities_save_their_evaluations():
    calls = []

    class Counted(Closed):
        def __call__(self, t, x):
            calls.append(len(x))
            return super().__call__(t, x)

        def jacobian(self, t, x):
            return self.exact(t, x)

    v, x, y = Counted(2, 0), normal(5, 2, seed=1), normal(5, 2, seed=2)
    vx, vy = Sine.__call__(v, 0.5, x), Sine.__call__(v, 0.5, y)
    known = mean_jacobian(v, 0.5, x, y, nodes=3, vx=vx, vy=vy)
    quotient = pair_quotient(v, 0.5, x, y, vx=vx, vy=vy)
    assert calls == []
    torch.testing.assert_close(known.A, mean_jacobian(v, 0.5, x, y, nodes=3).A)
    torch.testing.assert_close(quotient, pair_quotient(v, 0.5, x, y))
    assert calls == [5, 5, 5, 5]


@given(chunk=st.integers(1, 40))
def test_the_chunk_does_not_change_the_mean(chunk):
    v, x, y = Sine(3, 0), normal(7, 3, seed=1), normal(7, 3, seed=2)
    whole = mean_jacobian(v, 0.5, x, y, nodes=5)
    torch.testing.assert_close(mean_jacobian(v, 0.5, x, y, nodes=5, chunk=chunk).A, whole.A, rtol=1e-13, atol=1e-13)


def test_float32_is_kept():
    v = Sine(2, 0, torch.float32)
    x, y = (normal(5, 2, seed=k, dtype=torch.float32) for k in (1, 2))
    found = mean_jacobian(v, 0.5, x, y, nodes=4)
    assert found.A.dtype == found.mu.dtype == found.residual.dtype == torch.float32
    gap = torch.einsum("nab,nb->na", found.A, x - y)
    torch.testing.assert_close(gap, v(0.5, x) - v(0.5, y), rtol=1e-5, atol=1e-5)


@given(seed=seeds, d=st.integers(1, 4))
def test_w2b_2_quotient_never_exceeds_the_constant_of_a_linear_field(seed, d):
    v, x, y = Affine(d, seed), normal(30, d, seed=seed + 2), normal(30, d, seed=seed + 3)
    quotient = pair_quotient(v, 0.0, x, y)
    assert bool((quotient <= log_norm(v.a[None]) + 1e-12).all())
    assert bool((quotient >= -log_norm(-v.a[None]) - 1e-12).all())


def test_the_quotient_of_equal_points_is_undefined():
    x = normal(3, 2, seed=1)
    assert bool(pair_quotient(Sine(2, 0), 0.5, x, x).isnan().all())


def test_the_mean_jacobian_is_detached_from_parameters():
    v, x, y = Sine(2, 0), normal(5, 2, seed=1), normal(5, 2, seed=2)
    expected = mean_jacobian(v, 0.5, x, y, nodes=2)
    v.w.requires_grad_()
    found = mean_jacobian(v, 0.5, x, y, nodes=2)
    torch.testing.assert_close(found.A, expected.A, rtol=0, atol=0)
    assert not any(z.requires_grad for z in (found.A, found.mu, found.residual))


def test_bad_arguments_of_pairs():
    v, x = Sine(3, 0), normal(5, 3, seed=1)
    with pytest.raises(ValueError, match=r"nodes.*0"):
        mean_jacobian(v, 0.5, x, x, nodes=0)
    with pytest.raises(ValueError, match=r"y: expected \(5, 3\) of torch.float64.*float32"):
        mean_jacobian(v, 0.5, x, x.float(), nodes=1)
    with pytest.raises(ValueError, match=r"v\(t, x\) at t=0.5: expected"):
        pair_quotient(lambda t, y: y[:, :2], 0.5, x, x)
    with pytest.raises(ValueError, match=r"NaN or infinite for 1 of 5"):
        mean_jacobian(lambda t, y: y.abs().sqrt(), 0.5, x, torch.cat([-x[:1], 2 * x[1:]]), nodes=1)
