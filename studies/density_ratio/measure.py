"""One row: how far a fitted estimator is from the truth in value, gradient, direction, risk and calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from gflow.estimate import Estimate
from gflow.ratio import CriticPotential, KnownLogRatio, LogRatio, Slopes, ratio_report, slopes
from gflow.ratio.stable import sigmoid

if TYPE_CHECKING:
    from studies.density_ratio.estimators import Fitted

_BINS = 20
_NONE = 1e-2  # length of a gradient that counts as none


def measure(exact: KnownLogRatio, fitted: Fitted, p: Float[Tensor, "n d"], q: Float[Tensor, "n d"]) -> dict[str, Any]:
    """The row at fresh points of p and q.

    Outputs that are no critic's of a finite log-ratio (a least-squares critic outside (0, 1)) have their share
    said in ``undefined``, and all else is taken at the other points.
    """
    known = fitted.known(q)
    p, q = p[fitted.known(p)], q[known]
    truth, found = exact.gradient(q), fitted.potential.gradient(q)
    row: dict[str, Any] = {
        "undefined": 1.0 - float(known.double().mean()),
        "size": _rms(truth),
        "length": _rms(found),
        "cosine": _cosine(found, truth),
    }
    if isinstance(fitted.potential, CriticPotential):  # outputs that are no log-ratio
        return {**row, **_slopes(slopes(fitted.potential.critic, q, below=_NONE))}
    return {**row, **_of_log_ratio(exact, fitted.potential, p, q)}


def _of_log_ratio(exact: LogRatio, estimate: LogRatio, p: Tensor, q: Tensor) -> dict[str, Any]:
    """What only a log-ratio has: its errors, its risk and its calibration."""
    report = ratio_report(estimate, p, q, bins=_BINS, below=_NONE, exact=exact)
    with torch.no_grad():
        outputs, truth = (estimate(p), estimate(q)), (exact(p), exact(q))
    assert report.errors is not None
    return {
        "value": report.errors.value,
        "gradient": report.errors.gradient,
        "relative": report.errors.relative,
        "excess": report.excess_risk,
        "excess_measured": _difference(outputs, truth),
        "calibration": report.calibration.error,
        "calibration_floor": report.calibration.floor,
        "separated": report.separated,
        "saturating": float(sigmoid(outputs[1]).mean()),
        "non_saturating": float(sigmoid(-outputs[1]).mean()),
        **_slopes(report.slopes),
    }


def _slopes(found: Slopes) -> dict[str, Any]:
    high = found.lipschitz_high if math.isfinite(found.lipschitz_high) else None
    return {
        "lengths": [length for _, length in found.quantiles],
        "share_below": found.share_below,
        "lipschitz": {"low": found.lipschitz_low, "high": high},
    }


def _difference(outputs: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor]) -> Estimate:
    """The vanilla risk less that of the true log-ratio at the same points, with its normal interval of 95 %."""
    parts = [_loss(d, label) - _loss(exact, label) for d, exact, label in zip(outputs, truth, (1.0, 0.0), strict=True)]
    mean = sum(float(part.mean()) for part in parts)
    half = 1.96 * math.sqrt(sum(float(part.var()) / len(part) for part in parts))
    return Estimate(mean, mean - half, mean + half, n=len(parts[0]), level=0.95, bias="none")


def _loss(d: Float[Tensor, " n"], label: float) -> Float[Tensor, " n"]:
    return cross_entropy(d, torch.full_like(d, label), reduction="none")


def exact_rates(shift: float) -> dict[str, float]:
    """``E_q h'(D*)`` of both generator losses for N(m, 1) against N(0, 1), by the trapezoid rule (RATIO-7)."""
    z = torch.linspace(-12.0, 12.0, 4801, dtype=torch.float64)
    weights = torch.exp(-0.5 * z.square()) * (z[1] - z[0]) / math.sqrt(2.0 * math.pi)
    d = shift * z - 0.5 * shift**2
    return {"saturating": float(weights @ sigmoid(d)), "non_saturating": float(weights @ sigmoid(-d))}


def _cosine(found: Float[Tensor, "n d"], truth: Float[Tensor, "n d"]) -> float:
    """Of two fields as vectors of L2(q): all that a velocity known up to a factor can be judged by; 0 for none."""
    sizes = _rms(found) * _rms(truth)
    return float((found * truth).sum(1).mean()) / sizes if sizes > 0 else 0.0


def _rms(rows: Float[Tensor, "n d"]) -> float:
    return float(rows.square().sum(1).mean().sqrt())
