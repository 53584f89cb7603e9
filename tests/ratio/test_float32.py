"""Single precision: the failures of published code, and agreement with double precision (CODE-4)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gflow.ratio import DIVERGENCES, LSGAN_HALF, NON_SATURATING, FDivergence, GeneratorLoss, shifted
from tests.ratio.cases import LOSSES

D32 = torch.linspace(-80.0, 80.0, 641)


def gradient(f, d: Tensor) -> Tensor:
    return torch.func.grad(lambda d: f(d).sum())(d)


def agree(single: Tensor, double: Tensor) -> None:
    assert single.dtype == torch.float32
    assert not bool(single.isnan().any())
    normal = (double.abs() < 3e38) & ((double.abs() > 1e-37) | (double == 0))
    torch.testing.assert_close(single.double()[normal], double[normal], rtol=1e-4, atol=0.0)
    assert bool(single[double.abs() > 3.5e38].isinf().all())


@pytest.mark.parametrize("d", [12.0, 30.0, 80.0])
def test_code_4_the_shifted_loss_is_finite_with_its_gradient(d: float) -> None:
    at, loss = torch.tensor(d), shifted(5.0)
    published = lambda d: torch.log(1.0 - torch.sigmoid(d + 5.0))  # noqa: E731
    assert not bool(gradient(published, at).isfinite())
    assert float(loss.loss(at[None])) == -(d + 5.0)
    assert float(gradient(lambda d: loss.loss(d[None]), at)) == pytest.approx(-1.0, rel=1e-6)


def test_code_4_the_non_saturating_loss_is_finite_with_its_gradient() -> None:
    at = torch.tensor(-90.0)
    published = lambda d: -torch.log(torch.sigmoid(d))  # noqa: E731
    assert not bool(gradient(published, at).isfinite())
    assert float(NON_SATURATING.loss(at[None])) == 90.0
    assert float(gradient(lambda d: NON_SATURATING.loss(d[None]), at)) == -1.0


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_code_4_losses_agree_with_double_precision(loss: GeneratorLoss) -> None:
    # r f'(r) is a product whose factors leave the dtype first.
    d = D32[D32.abs() <= 40.0] if loss.name.startswith("frozen naive") else D32
    agree(loss.h_prime(d), loss.h_prime(d.double()))
    if loss is LSGAN_HALF:  # flat beyond |d| = 17: rounding of 1 - tanh^2 is all that is left there
        torch.testing.assert_close(gradient(loss.h, d), loss.h_prime(d), rtol=1e-4, atol=1e-7)
        return
    agree(gradient(loss.h, d), loss.h_prime(d.double()))


@pytest.mark.parametrize("f", DIVERGENCES.values(), ids=lambda f: f.name)
def test_code_4_divergences_agree_with_double_precision(f: FDivergence) -> None:
    for function in (f.f_prime, f.saturating, f.saturating_rate, f.alternative_rate, f.activated_conjugate):
        agree(function(D32), function(D32.double()))
        agree(gradient(function, D32), gradient(function, D32.double()))
    near = D32[D32.abs() < 40.0]
    torch.testing.assert_close(f.f(near).double(), f.f(near.double()), rtol=1e-4, atol=1e-6)
    agree(f.activation(near), f.activation(near.double()))
