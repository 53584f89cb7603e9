"""The checker: everything in the library passes, and each broken function is found by the identity it breaks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from gflow.ratio import (
    ARCSINH,
    DIVERGENCES,
    GAN,
    KL,
    LSGAN_HALF,
    NEYMAN,
    SATURATING,
    FDivergence,
    IdentityError,
    check_divergence,
    check_loss,
)
from tests.strategies import untyped


@pytest.mark.parametrize("f", DIVERGENCES.values(), ids=lambda f: f.name)
def test_every_divergence_passes(f: FDivergence) -> None:
    check = check_divergence(f)
    check.raise_for_failures()
    assert max(each.error for each in check.identities) < 1e-9
    assert len({each.name for each in check.identities}) == 14


def scaled(function, factor=1.001):
    return lambda d: factor * function(d)


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("f(1)", {"at_equality": 0.0}, "f(1) = at_equality"),
    ("f", {"f": scaled(GAN.f)}, "f_prime = df/dr"),
    ("f'", {"f_prime": scaled(GAN.f_prime)}, "f_prime = df/dr"),
    ("conjugate", {"conjugate": lambda t: GAN.conjugate(t) + 1e-3}, "f*(f'(r)) = r f'(r) - f(r)"),
    ("conjugate's supremum", {"conjugate": scaled(GAN.conjugate)}, "f*(t) = sup_r t r - f(r)"),
    ("domain", {"domain": (-1.0, 0.0)}, "f'(r) inside the domain"),
    ("domain of outputs", {"domain": (-5.0, 0.0)}, "g_f(D) inside the domain"),
    ("saturating", {"saturating": scaled(GAN.saturating)}, "saturating = r f'(r) - f(r)"),
    ("r^2 f''", {"saturating_rate": GAN.alternative_rate}, "saturating_rate = r^2 f''(r)"),
    ("r f''", {"alternative_rate": GAN.saturating_rate}, "alternative_rate = r f''(r)"),
    ("convexity", {"alternative_rate": lambda d: -GAN.alternative_rate(d)}, "f'' > 0"),
    ("NaN", {"saturating": lambda d: d * math.nan}, "saturating = r f'(r) - f(r)"),
    ("output", {"output": NEYMAN.output}, "g_f(D) = f'(e^log_ratio(D))"),
    ("optimum", {"output": replace(KL.output, optimum=torch.clone)}, "log_ratio(optimum(d)) = d"),
    ("output's conjugate", {"output": NEYMAN.output}, "activated_conjugate(D) = f*(g_f(D))"),
]


@pytest.mark.parametrize(("change", "identity"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_broken_divergence_is_named_with_its_identity(change: dict[str, Any], identity: str) -> None:
    check = check_divergence(replace(GAN, name="mine", **change))
    assert identity in {each.name for each in check.failures}
    with pytest.raises(IdentityError, match="mine: these identities fail") as raised:
        check.raise_for_failures()
    assert identity in str(raised.value)


def test_only_the_identities_that_use_the_broken_function_fail() -> None:
    check = check_divergence(replace(NEYMAN, saturating_rate=scaled(NEYMAN.saturating_rate)))
    (failure,) = check.failures
    assert failure.name == "saturating_rate = r^2 f''(r)"
    assert failure.error == pytest.approx(1e-3, rel=1e-6)
    assert -4.0 <= failure.where <= 4.0


def test_a_broken_loss_is_named_with_its_identity() -> None:
    cases = [
        (replace(ARCSINH, h_prime=scaled(ARCSINH.h_prime)), {"h_prime = dh/dd"}),
        (replace(SATURATING, phi=GAN.f), {"h'(d) = u phi''(u)"}),
        (replace(LSGAN_HALF, falls_on=None), {"h' < 0 exactly on falls_on"}),
        (replace(SATURATING, falls_on=(3.0, math.inf)), {"h' < 0 exactly on falls_on"}),
    ]
    for loss, names in cases:
        assert {each.name for each in check_loss(loss).failures} == names


def test_a_function_that_is_not_elementwise_is_named() -> None:
    with untyped():
        with pytest.raises(TypeError, match="f_prime must be elementwise and keep the dtype"):
            check_divergence(replace(GAN, f_prime=lambda d: GAN.f_prime(d).sum()))
        with pytest.raises(TypeError, match="alternative_rate must be elementwise and keep the dtype, got float"):
            check_divergence(replace(GAN, alternative_rate=lambda d: 1.0))
        with pytest.raises(TypeError, match="h_prime must be elementwise and keep the dtype"):
            check_loss(replace(SATURATING, h_prime=lambda d: torch.ones_like(d, dtype=torch.float64)))
