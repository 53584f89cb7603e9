"""Generator losses: what each descends, by sums, quadrature, differences and particles (RATIO-7, MONO-1..4)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from gflow.problems import GaussianMixture
from gflow.ratio import (
    ARCSINH,
    CHI,
    EXPONENTIAL,
    GAN,
    JENSEN_SHANNON,
    KL,
    LOGIT,
    LSGAN_HALF,
    NON_SATURATING,
    PEARSON,
    REVERSE_KL,
    SATURATING,
    GeneratorLoss,
    check_loss,
    exponential,
    frozen_naive,
    generator_loss,
    shifted,
)
from tests.ratio.cases import LOSSES, integral, log_normal, models, simplices, targets, x
from tests.strategies import F64, floats


def kl(p: Tensor, q: Tensor) -> Tensor:
    return torch.special.xlogy(p, p / q).sum(-1)


def skewed(C: float, p: Tensor, q: Tensor) -> Tensor:
    m = (q + math.exp(C) * p) / (1.0 + math.exp(C))
    return kl(q, m) + math.exp(C) * kl(p, m)


KNOWN = [
    (LOGIT, lambda p, q: kl(q, p)),
    (SATURATING, lambda p, q: skewed(0.0, p, q)),
    (NON_SATURATING, lambda p, q: 2.0 * kl((p + q) / 2, p)),
    (CHI, lambda p, q: ((p - q) ** 2 / p).sum() / 2),
    (EXPONENTIAL, kl),
    (exponential(1.5), lambda p, q: 2.0 * ((p**1.5 / q**0.5).sum() - 1.0)),
    (exponential(2.0), lambda p, q: ((p - q) ** 2 / q).sum()),
    (shifted(2.0), lambda p, q: skewed(2.0, p, q)),
]


@given(simplices())
def test_mono_3_each_loss_descends_the_divergence_it_says(laws: tuple[Tensor, Tensor]) -> None:
    p, q = laws
    for loss, divergence in KNOWN:
        assert loss.phi is not None
        # An affine term of phi is a constant: that at p = q.
        found = (p * (loss.phi((p / q).log()) - loss.phi(torch.zeros_like(p)))).sum()
        torch.testing.assert_close(found, divergence(p, q), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_mono_3_the_closed_derivative_and_its_sign(loss: GeneratorLoss) -> None:
    d = torch.linspace(-10.0, 10.0, 400, dtype=F64)
    slope = torch.func.grad(lambda d: loss.h(d).sum())(d)
    # The floor is rounding at the zero of h' that falls_on names; without one the comparison is relative.
    torch.testing.assert_close(loss.h_prime(d), slope, rtol=1e-10, atol=0.0 if loss.monotone else 1e-14)
    assert loss.monotone == bool((loss.h_prime(d) >= 0).all())
    assert check_loss(loss).failures == ()


def test_mono_3_saturating_and_non_saturating_sum_to_logit() -> None:
    D = torch.linspace(-50.0, 50.0, 101, dtype=F64)
    torch.testing.assert_close(SATURATING.h(D) + NON_SATURATING.h(D), LOGIT.h(D), rtol=1e-14, atol=1e-13)
    assert float(SATURATING.loss(D)) == pytest.approx(-float(SATURATING.h(D).mean()))


def test_mono_3_where_the_frozen_naive_loss_falls() -> None:
    assert frozen_naive(REVERSE_KL).monotone
    assert frozen_naive(GAN).monotone
    # The same divergence up to a constant, another loss.
    assert frozen_naive(JENSEN_SHANNON).falls_on == (0.0, math.inf)
    assert frozen_naive(PEARSON).falls_on == (0.0, math.inf)
    low, high = frozen_naive(KL).falls_on or (0.0, 0.0)
    assert (low, high) == (pytest.approx(-1.0, abs=1e-12), math.inf)


def log_ratio(p: GaussianMixture, points: Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    return p.log_prob(points[:, None]) - log_normal(points, mean, std)


# A step moves the tails of q by dt h' grad d, which a difference quotient sees as small only for bounded h'.
BOUNDED = [loss for loss in LOSSES.values() if abs(float(loss.h_prime(torch.tensor(40.0, dtype=F64)))) < 10.0]


@settings(max_examples=5)
@given(targets(), models)
def test_mono_1_the_rate_of_kl(p: GaussianMixture, model: tuple[float, float]) -> None:
    assert len(BOUNDED) >= 15
    y = x[x.abs() < 10.0]
    q = log_normal(y, *model).exp()

    def d(points: Tensor) -> Tensor:
        return log_ratio(p, points, *model)

    for loss in BOUNDED:
        v, dv = (derivative(lambda z, loss=loss: loss.h(d(z)), order)(y) for order in (1, 2))

        def kl_after(dt: float, v: Tensor = v, dv: Tensor = dv) -> Tensor:
            # The density along particles divides by the stretch 1 + dt v'.
            after = log_normal(y, *model) - torch.log1p(dt * dv) - p.log_prob((y + dt * v)[:, None])
            return torch.trapezoid(q * after, y)

        rate = -torch.trapezoid(q * loss.h_prime(d(y)) * derivative(d, 1)(y) ** 2, y)
        differences = (kl_after(2e-5) - kl_after(-2e-5)) / 4e-5
        torch.testing.assert_close(differences, rate, rtol=1e-5, atol=1e-8)
        assert float(rate) <= 1e-15 or not loss.monotone


def derivative(f: Callable[[Tensor], Tensor], order: int) -> Callable[[Tensor], Tensor]:
    return f if order == 0 else torch.func.grad(lambda z: derivative(f, order - 1)(z).sum())


def phi_of(loss: GeneratorLoss, d: Tensor) -> Tensor:
    """``-int_1^u h(-log s) ds`` at u = e^-d by Gauss quadrature in log s: the definition, for any loss."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(60))
    y = -d[:, None] * (nodes + 1.0) / 2.0
    return d / 2.0 * ((loss.h(-y) * y.exp()) @ weights)


@settings(max_examples=4)
@given(targets(), models)
def test_mono_2_the_frozen_loss_has_the_gradient_of_the_divergence(
    p: GaussianMixture, model: tuple[float, float]
) -> None:
    theta = torch.tensor(model, dtype=F64)
    density = p.log_prob(x[:, None]).exp()
    z, weight = x, log_normal(x, 0.0, 1.0).exp()
    for loss in LOSSES.values():

        def frozen(theta_now: Tensor, loss: GeneratorLoss = loss) -> Tensor:
            D = log_ratio(p, theta_now[0] + theta_now[1] * z, *theta)
            return -integral(weight * loss.h(D))

        def functional(theta_now: Tensor, loss: GeneratorLoss = loss) -> Tensor:
            d = log_ratio(p, x, *theta_now)
            return integral(density * (loss.phi(d) if loss.phi else phi_of(loss, d)))

        steps = 1e-4 * torch.eye(2, dtype=F64)
        differences = torch.stack([(functional(theta + e) - functional(theta - e)) / 2e-4 for e in steps])
        torch.testing.assert_close(torch.func.grad(frozen)(theta), differences, rtol=1e-5, atol=1e-6)


def shift_rates(loss: GeneratorLoss, m: float) -> tuple[Tensor, Tensor, Tensor]:
    """Rates of mean, variance and third cumulant of q = N(0,1) towards p = N(m,1), by MONO-4's formulas."""
    q, d = log_normal(x, 0.0, 1.0).exp(), m * x - 0.5 * m * m
    first = loss.h_prime(d)
    second = torch.func.grad(lambda d: loss.h_prime(d).sum())(d) if loss is not LOGIT else torch.zeros_like(d)
    return m * integral(q * first), 2.0 * m * m * integral(q * second), 3.0 * m * integral(q * (x * x - 1.0) * first)


@given(floats(0.0, 8.0))
def test_ratio_7_what_vanishes_is_the_loss_and_not_the_critic(m: float) -> None:
    q, d = log_normal(x, 0.0, 1.0).exp(), m * x - 0.5 * m * m
    vanishing, other = (float(integral(q * loss.h_prime(d))) for loss in (SATURATING, NON_SATURATING))
    assert vanishing + other == pytest.approx(1.0, abs=1e-10)
    # E_q sigma(d) = int pq/(p + q) lies between 1/2 and 1 of int min(p, q).
    overlap = math.erfc(m / math.sqrt(8.0))
    assert 0.5 * overlap - 1e-10 <= vanishing <= overlap
    if m == 8.0:
        assert vanishing == pytest.approx(4.9e-5, abs=5e-7)


@given(floats(0.2, 3.0))
def test_mono_4_mean_rates_of_saturating_and_non_saturating_share_the_shift(m: float) -> None:
    rates = [float(shift_rates(loss, m)[0]) for loss in (SATURATING, NON_SATURATING)]
    assert sum(rates) == pytest.approx(m, abs=1e-10)


@pytest.mark.parametrize("loss", [SATURATING, NON_SATURATING, LOGIT, ARCSINH], ids=lambda loss: loss.name)
def test_mono_4_particles_leave_the_gaussian_family(loss: GeneratorLoss) -> None:
    dt, m = 1e-3, 1.0
    # Particles at quantiles: their own moments are the start, and a run repeats to the last digit.
    start = torch.special.ndtri((torch.arange(200_000, dtype=F64) + 0.5) / 200_000)

    def cumulants(points: Tensor) -> Tensor:
        centred = points - points.mean()
        return torch.stack([points.mean(), (centred**2).mean(), (centred**3).mean()])

    moved = start + dt * m * loss.h_prime(m * start - 0.5 * m * m)
    found = (cumulants(moved) - cumulants(start)) / dt
    rates = torch.stack(shift_rates(loss, m))
    torch.testing.assert_close(found, rates, rtol=1e-2, atol=1e-3)
    assert (loss is LOGIT) == (abs(float(rates[2])) < 1e-10)


@given(floats(0.2, 3.0))
def test_mono_4_a_third_cumulant_at_rest_does_not_mean_an_affine_loss(m: float) -> None:
    loss = GeneratorLoss(
        name="counterexample",
        h=lambda d: 19.0 * d + 64.0 / 27.0 * (0.75 * d).exp() - 64.0 * (0.25 * d).exp(),
        h_prime=lambda d: 19.0 + 16.0 / 9.0 * (0.75 * d).exp() - 16.0 * (0.25 * d).exp(),
        descends="a divergence without a name",
    )
    assert check_loss(loss).failures == ()
    assert loss.monotone
    assert abs(float(shift_rates(loss, m)[2])) < 1e-10
    assert abs(float(shift_rates(loss, m)[1])) > 1e-2


def test_mono_4_published_numbers() -> None:
    assert [float(r) for r in shift_rates(SATURATING, 1.0)] == pytest.approx([0.397973, 0.397973, 0.0897], abs=5e-5)
    assert [float(r) for r in shift_rates(NON_SATURATING, 1.0)] == pytest.approx(
        [0.602027, -0.397973, -0.0897], abs=5e-5
    )


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="unknown generator loss 'minimax'; known are 'logit'"):
        generator_loss("minimax")
    assert generator_loss("LSGAN to 1/2") is LSGAN_HALF
    with pytest.raises(ValueError, match="k must be finite and not 0"):
        exponential(0.0)
    with pytest.raises(ValueError, match="C must lie in"):
        shifted(math.nan)
    with pytest.raises(ValueError, match="falls_on must be an interval"):
        GeneratorLoss("x", torch.clone, torch.ones_like, "KL(q||p)", falls_on=(1.0, 1.0))
    with pytest.raises(ValueError, match="mean of no critic outputs"):
        LOGIT.loss(torch.zeros(0))
