"""f-divergences against sums, scalar maximisation and differentiation (RATIO-3, RATIO-4)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor

from gflow.ratio import (
    DIVERGENCES,
    GAN,
    JENSEN_SHANNON,
    KL,
    NEYMAN,
    PEARSON,
    REVERSE_KL,
    SQUARED_HELLINGER,
    FDivergence,
    check_divergence,
    divergence,
)
from tests.ratio.cases import divergences, simplices
from tests.strategies import F64, floats, untyped

log_ratios = floats(-4.0, 4.0)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return torch.special.xlogy(p, p / q).sum(-1)


def js(p: Tensor, q: Tensor) -> Tensor:
    return 0.5 * (kl(p, (p + q) / 2) + kl(q, (p + q) / 2))


SUMS = {
    KL.name: kl,
    REVERSE_KL.name: lambda p, q: kl(q, p),
    PEARSON.name: lambda p, q: ((p - q) ** 2 / q).sum(-1),
    NEYMAN.name: lambda p, q: ((p - q) ** 2 / p).sum(-1),
    SQUARED_HELLINGER.name: lambda p, q: ((p.sqrt() - q.sqrt()) ** 2).sum(-1),
    GAN.name: lambda p, q: 2.0 * js(p, q) - 2.0 * math.log(2.0),
    JENSEN_SHANNON.name: lambda p, q: 2.0 * js(p, q),
}


@given(divergences, simplices())
def test_ratio_4_each_row_is_the_divergence_it_is_called(f: FDivergence, laws: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(f.between(*laws), SUMS[f.name](*laws), rtol=1e-12, atol=1e-12)


@given(divergences, simplices(), floats(-3.0, 3.0), floats(-3.0, 3.0))
def test_ratio_3_swap_and_affine_terms(
    f: FDivergence, laws: tuple[Tensor, Tensor], constant: float, slope: float
) -> None:
    p, q = laws
    value = f.between(p, q)
    torch.testing.assert_close((p * f.swapped((q / p).log())).sum(), value, rtol=1e-12, atol=1e-12)
    moved = f.plus(constant, slope, name="moved")
    torch.testing.assert_close(moved.between(p, q), value + constant, rtol=1e-12, atol=1e-12)
    assert check_divergence(moved).failures == ()


@pytest.mark.parametrize(
    ("f", "swap"),
    [(KL, REVERSE_KL), (PEARSON, NEYMAN), (SQUARED_HELLINGER, SQUARED_HELLINGER), (GAN, GAN)],
    ids=lambda f: f.name,
)
def test_ratio_3_the_table_is_closed_under_swap(f: FDivergence, swap: FDivergence) -> None:
    d = torch.linspace(-4.0, 4.0, 41, dtype=F64)
    torch.testing.assert_close(f.swapped(d), swap.f(d), rtol=1e-12, atol=1e-12)


@given(divergences, log_ratios, floats(0.1, 1.0))
def test_ratio_4_the_scalar_maximiser_is_f_prime(f: FDivergence, d: float, q: float) -> None:
    p = q * math.exp(d)
    ends = f.f_prime(torch.tensor([-6.0, 6.0], dtype=F64))

    def loss(T: float) -> float:
        return float(q * f.conjugate(torch.tensor(T, dtype=F64)) - p * T)

    found = minimize_scalar(loss, bounds=tuple(ends.tolist()), method="bounded", options={"xatol": 1e-12})
    assert found.x == pytest.approx(float(f.f_prime(torch.tensor(d, dtype=F64))), rel=1e-6, abs=1e-6)
    assert -found.fun == pytest.approx(q * float(f.f(torch.tensor(d, dtype=F64))), rel=1e-10, abs=1e-10)


@given(divergences, st.lists(log_ratios, min_size=1, max_size=5))
def test_ratio_4_the_conjugate_at_the_optimum_and_its_slope(f: FDivergence, at: list[float]) -> None:
    d = torch.tensor(at, dtype=F64)
    t, r = f.f_prime(d), d.exp()
    torch.testing.assert_close(f.conjugate(t), r * t - f.f(d), rtol=1e-12, atol=1e-12)
    slope = torch.func.grad(lambda d: f.conjugate(f.f_prime(d)).sum())(d)
    torch.testing.assert_close(slope, f.saturating_rate(d), rtol=1e-10, atol=0.0)
    # (f*)' is the inverse of f'.
    inverse = torch.func.grad(lambda t: f.conjugate(t).sum())(t)
    torch.testing.assert_close(inverse, r, rtol=1e-10, atol=0.0)


@given(divergences, simplices())
def test_ratio_4_the_variational_value_is_attained_at_the_critic_that_means_the_ratio(
    f: FDivergence, laws: tuple[Tensor, Tensor]
) -> None:
    p, q = laws
    # The critic's output by bisection of log_ratio(D) = d: no inverse is in the library.
    low, high = torch.full_like(p, -1.999), torch.full_like(p, 400.0)
    if f.log_ratio(torch.tensor(-9.0, dtype=F64)).isfinite():
        low = -high
    for _ in range(100):
        middle = 0.5 * (low + high)
        above = f.log_ratio(middle) > (p / q).log()
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)

    def value(D: Tensor) -> Tensor:
        return (p * f.activation(D) - q * f.activated_conjugate(D)).sum()

    torch.testing.assert_close(value(low), f.between(p, q), rtol=1e-10, atol=1e-10)
    slope = torch.func.grad(value)(low)
    torch.testing.assert_close(slope, torch.zeros_like(low), rtol=0.0, atol=1e-10)


def test_ratio_4_f_prime_is_not_the_critic_unless_the_activation_is_the_identity() -> None:
    d = torch.zeros((), dtype=F64)
    assert float(GAN.f_prime(d)) == pytest.approx(-math.log(2.0))
    assert float(GAN.log_ratio(d)) == 0.0
    torch.testing.assert_close(GAN.activation(d), GAN.f_prime(d))


def test_ratio_5_critics_outside_the_family_by_scalar_minimisation() -> None:
    for p, q in ((0.9, 0.3), (0.2, 0.7), (0.5, 0.45)):
        squares = minimize_scalar(lambda D, p=p, q=q: p * (D - 1) ** 2 + q * D**2, bounds=(-3, 3), method="bounded")
        assert squares.x == pytest.approx(1.0 / (1.0 + q / p), abs=1e-5)
        hinge = minimize_scalar(
            lambda D, p=p, q=q: p * max(0.0, 1 - D) + q * max(0.0, 1 + D), bounds=(-3, 3), method="bounded"
        )
        assert hinge.x == pytest.approx(math.copysign(1.0, p - q), abs=1e-5)


def test_masses_outside_the_other_support_cost_the_limits_or_infinity() -> None:
    p, q = torch.tensor([0.5, 0.5, 0.0], dtype=F64), torch.tensor([0.5, 0.0, 0.5], dtype=F64)
    values = {name: float(f.between(p, q)) for name, f in DIVERGENCES.items()}
    assert values[SQUARED_HELLINGER.name] == pytest.approx(1.0)
    assert values[JENSEN_SHANNON.name] == pytest.approx(math.log(2.0))
    assert values[GAN.name] == pytest.approx(-math.log(2.0))
    for infinite in (KL, REVERSE_KL, PEARSON, NEYMAN):
        assert values[infinite.name] == math.inf


def test_ratio_7_disjoint_laws_are_at_one_constant_distance() -> None:
    for shares in ([1.0, 0.0], [0.3, 0.7]):
        p = torch.tensor([*shares, 0.0], dtype=F64)
        q = torch.tensor([0.0, 0.0, 1.0], dtype=F64)
        assert float(JENSEN_SHANNON.between(p, q)) == pytest.approx(2.0 * math.log(2.0))


@pytest.mark.parametrize("f", DIVERGENCES.values(), ids=lambda f: f.name)
def test_outside_its_domain_the_conjugate_is_infinite(f: FDivergence) -> None:
    high = f.domain[1]
    if math.isfinite(high):
        assert f.conjugate(torch.tensor([high + 1e-9, high + 5.0], dtype=F64)).tolist() == [math.inf, math.inf]
    assert bool(f.conjugate(torch.tensor([-50.0], dtype=F64)).isfinite().all())


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown divergence 'kl'; known are 'KL\(p\|\|q\)'"):
        divergence("kl")
    assert divergence(KL.name) is KL
    half = torch.tensor([0.5, 0.5], dtype=F64)
    with untyped():
        with pytest.raises(ValueError, match="q: needs non-negative entries of sum 1"):
            KL.between(half, 2 * half)
        with pytest.raises(ValueError, match="p: needs non-negative"):
            KL.between(torch.tensor([1.5, -0.5], dtype=F64), half)
        with pytest.raises(ValueError, match="p: needs non-negative"):
            KL.between(half * math.nan, half)
        with pytest.raises(ValueError, match="need one shape"):
            KL.between(half, half.float())
    with pytest.raises(ValueError, match="domain must be an interval"):
        FDivergence("x", KL.f, KL.f_prime, KL.saturating, KL.conjugate, (0.0, 0.0), torch.exp, torch.exp)
