"""What a log-ratio is worth: calibration on fresh points, slopes, and its errors where the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor

from gflow.estimate import Estimate
from gflow.learn import lipschitz_bound
from gflow.ratio.critic import Critic, CriticLogRatio, LogRatio, Potential, critic_gradient
from gflow.ratio.fitting import check_clouds
from gflow.ratio.stable import sigmoid, softplus

_ROWS = 4096
"""Points of one gradient evaluation."""
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Calibration:
    """The share of data among points of like ``sigma(d)``, in bins of about equally many points.

    A calibrated ratio may still be far from the true one (d = 0 is calibrated), an accurate one is calibrated.
    """

    predicted: tuple[float, ...]
    """Mean of ``sigma(d)`` in each bin, ascending; with the prior odds of the two samples."""
    observed: tuple[Estimate, ...]
    """The share of data in it, with Wilson's interval of level 0.95."""
    error: float
    """Expected calibration error: mean over points of ``|observed - predicted|`` of their bins; biased up."""
    floor: float
    """About what ``error`` is of a perfectly calibrated ratio on as many points."""


@dataclass(frozen=True)
class Slopes:
    """Lengths of a gradient at given points."""

    share_below: float
    """Share of lengths below the threshold asked for."""
    quantiles: tuple[tuple[float, float], ...]
    """Levels with the quantiles of the lengths."""
    lipschitz_low: float
    """The largest length seen: a lower bound of the Lipschitz constant."""
    lipschitz_high: float
    """An upper bound of it over all space, up to round-off; ``inf`` where none is known."""


@dataclass(frozen=True)
class RatioErrors:
    """How far an estimated log-ratio is from the true one, root mean squares at given points."""

    value: float
    """Of the values, after the best constant is taken off: a constant moves no particle."""
    gradient: float
    """Of the gradients: the error of the velocity of the KL flow (W2B-21)."""
    relative: float
    """The gradients' error over the size of the true gradient; ``inf`` where that is 0 everywhere."""


@dataclass(frozen=True)
class RatioReport:
    """A log-ratio on points that it was not fitted to."""

    calibration: Calibration
    """Whether ``sigma(d)`` is the probability of data."""
    slopes: Slopes
    """At the points of q: of the critic where there is one, of the log-ratio elsewhere."""
    separated: bool
    """Whether d tells every point of p from every point of q: if their supports are disjoint, d is not determined."""
    errors: RatioErrors | None
    """At the points of q, against the truth; None where it is not known."""
    excess_risk: float | None
    """``E_(p+q) KL(Ber sigma(d*) || Ber sigma(d))`` at the points (RATIO-2), >= 0; None where d* is not known."""


def ratio_report(
    estimate: LogRatio,
    p: Float[Tensor, "n d"],
    q: Float[Tensor, "m d"],
    /,
    *,
    bins: int,
    below: float,
    exact: LogRatio | None = None,
) -> RatioReport:
    """Judge a log-ratio on fresh samples of both laws; those it was fitted to flatter it.

    Args:
        estimate: the log-ratio, of any estimator.
        p: samples of the data.
        q: samples of the model.
        bins: of the calibration.
        below: length of a gradient that counts as none.
        exact: the true log-ratio, where it is known.

    Raises:
        ValueError: clouds that do not fit each other or hold NaN, fewer points than bins, or as the log-ratios do.
    """
    check_clouds(p, q)
    with torch.no_grad():
        on_p, on_q = estimate(p), estimate(q)
        excess = None if exact is None else _excess(exact(p), on_p) + _excess(exact(q), on_q)
    return RatioReport(
        calibration=calibration(on_p, on_q, bins=bins),
        slopes=slopes(estimate.critic if isinstance(estimate, CriticLogRatio) else estimate, q, below=below),
        separated=bool(on_p.min() > on_q.max()),
        errors=None if exact is None else ratio_errors(estimate, exact, q),
        excess_risk=excess,
    )


def calibration(on_p: Float[Tensor, " n"], on_q: Float[Tensor, " m"], /, *, bins: int) -> Calibration:
    """Of a log-ratio with these values at samples of p and of q.

    Raises:
        ValueError: fewer points than bins, fewer than one bin, or no points of one law.
    """
    n = len(on_p) + len(on_q)
    if not 1 <= bins <= n or not len(on_p) or not len(on_q):
        raise ValueError(
            f"bins: need 1 to all points and points of both laws, got {bins} of {len(on_p)} and {len(on_q)}"
        )
    chance = sigmoid(torch.cat([on_p, on_q]).double() + math.log(len(on_p) / len(on_q)))
    parts = _bins(chance, bins)
    predicted = [float(chance[part].mean()) for part in parts]
    observed = [_share(int((part < len(on_p)).sum()), len(part)) for part in parts]
    weights = [len(part) / n for part in parts]
    gaps = [abs(seen.mean - said) for said, seen in zip(predicted, observed, strict=True)]
    # E|N(0, v)| = sqrt(2 v / pi), with the variance v of a binomial share.
    floors = [math.sqrt(2 * s * (1 - s) / (math.pi * len(part))) for s, part in zip(predicted, parts, strict=True)]
    return Calibration(
        tuple(predicted),
        tuple(observed),
        error=math.fsum(w * gap for w, gap in zip(weights, gaps, strict=True)),
        floor=math.fsum(w * each for w, each in zip(weights, floors, strict=True)),
    )


def slopes(function: Potential | Critic, x: Float[Tensor, "n d"], /, *, below: float) -> Slopes:
    """The lengths of the gradient of a potential or a critic at the rows of ``x``.

    Raises:
        ValueError: no points, or as ``critic_gradient``.
    """
    if not len(x):
        raise ValueError("x: expected at least one point, got none")
    gradients = (
        function.gradient(block)
        if isinstance(function, Potential)
        else critic_gradient(function, block, create_graph=False)
        for block in torch.split(x, _ROWS)
    )
    lengths = torch.cat([each.double().norm(dim=1) for each in gradients])
    found = torch.quantile(lengths, lengths.new_tensor(_LEVELS))
    return Slopes(
        share_below=float((lengths < below).double().mean()),
        quantiles=tuple(zip(_LEVELS, found.tolist(), strict=True)),
        lipschitz_low=float(lengths.max()),
        lipschitz_high=lipschitz_bound(function),
    )


def ratio_errors(estimate: LogRatio, exact: LogRatio, x: Float[Tensor, "n d"], /) -> RatioErrors:
    """Value and gradient errors at ``x``, samples of q for the norms of L2(q): two different things (RATIO-6).

    Raises:
        ValueError: no points, or as the log-ratios do.
    """
    if not len(x):
        raise ValueError("x: expected at least one point, got none")
    with torch.no_grad():
        off = estimate(x) - exact(x)
    truth = exact.gradient(x)
    gradient, size = _rms(estimate.gradient(x) - truth), _rms(truth)
    return RatioErrors(_rms((off - off.mean()).unsqueeze(1)), gradient, gradient / size if size else math.inf)


def _rms(rows: Float[Tensor, "n k"]) -> float:
    """Root mean square length of the rows."""
    return float(rows.square().sum(1).mean().sqrt())


def _excess(exact: Tensor, estimate: Tensor) -> float:
    """The mean of ``KL(Ber sigma(exact) || Ber sigma(estimate))``, of terms that keep their digits at both ends."""
    a, b = exact.double(), estimate.double()
    terms = sigmoid(a) * (softplus(-b) - softplus(-a)) + sigmoid(-a) * (softplus(b) - softplus(a))
    # Each term is >= 0 up to rounding.
    return float(terms.clamp_min(0.0).mean())


def _bins(values: Float[Tensor, " n"], bins: int) -> list[Tensor]:
    """Indices of the values in each bin, ascending; equal values share one, so that there may be fewer bins."""
    edges = values.sort().values[[len(values) * k // bins for k in range(1, bins)]]
    bin_of = torch.bucketize(values, edges, right=True)
    return [(bin_of == k).nonzero()[:, 0] for k in torch.unique(bin_of)]


def _share(count: int, n: int) -> Estimate:
    interval = binomtest(count, n).proportion_ci(0.95, method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high), n, level=0.95, bias="none")
