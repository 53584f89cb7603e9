"""The tables of the report."""

from __future__ import annotations

from collections.abc import Sequence

from gflow.estimate import Estimate
from gflow.study import table
from studies.density_ratio.config import Kind
from studies.density_ratio.report.rows import ESTIMATORS, Group, planar, point, sweep
from studies.numbers import bracketed, interval, number, percent
from studies.repeats import of_kind

_HEADERS: dict[Kind, str] = {"size": "points", "dimension": "d", "overlap": "m", "digits": "noise"}


def methods(found: Sequence[Group]) -> str:
    """Every method of one size on the planar mixtures, by its gradient error."""
    header = (
        "method",
        "gradient error",
        "of the gradient",
        "value error",
        "excess risk",
        "cosine",
        "calibration",
        "no log-ratio at",
    )
    chosen = sorted(planar(found), key=_order)
    rows = [
        (
            g.label,
            _shown(g.mean("gradient")),
            _percents(g.mean("relative")),
            _shown(g.mean("value")),
            _shown(g.mean("excess")),
            _cosine(g.average("cosine")),
            _shown(g.mean("calibration")),
            _share(g),
        )
        for g in chosen
    ]
    return table(header, rows) if rows else ""


def along(found: Sequence[Group], kind: Kind) -> str:
    """Relative gradient error and excess risk of the estimators along one sweep."""
    lines = {e: {point(g, kind): g for g in groups} for e in ESTIMATORS if (groups := sweep(found, kind, e))}
    columns = ("gradient error", "excess risk")
    header = (_HEADERS[kind], *(f"{ESTIMATORS[e]}: {what}" for e in lines for what in columns))
    rows = [
        (f"{x:g}", *(cell for groups in lines.values() for cell in _cells(groups.get(x))))
        for x in sorted({x for groups in lines.values() for x in groups})
    ]
    return table(header, rows) if rows else ""


def _cells(g: Group | None) -> tuple[str, str]:
    return ("", "") if g is None else (_percents(g.mean("relative")), _shown(g.mean("excess")))


def overlap(found: Sequence[Group]) -> str:
    """What is left of the critic's gradient and of both generator losses as the laws part (RATIO-7)."""
    header = (
        "m",
        "true gradient",
        "critic's",
        "its error",
        "E h' saturating: exact",
        "critic's",
        "E h' non-saturating: exact",
        "critic's",
    )
    rows = [
        (
            f"{g.case.shift:g}",
            f"{g.case.shift:g}",
            _shown(g.mean("length")),
            _percents(g.mean("relative")),
            number(g.rows[0]["exact_rates"]["saturating"]),
            _shown(g.mean("saturating")),
            number(g.rows[0]["exact_rates"]["non_saturating"]),
            _shown(g.mean("non_saturating")),
        )
        for g in of_kind(found, "overlap")
        if g.case.estimator == "critic"
    ]
    return table(header, rows) if rows else ""


def problems() -> str:
    """What the pairs of laws are."""
    rows = (
        ("planar", "p: three modes of width 0.6; q: two of width 0.8; d = 2"),
        (
            "hidden",
            "two modes against a wide normal along one axis, equal normals along the others, all axes rotated: the "
            "law of log r, and with it every divergence of p and q, is the same in every d",
        ),
        ("shifted", "p = N(m, 1), q = N(0, 1): log r = m x − m²/2 (RATIO-7)"),
        ("digits", "p: 8x8 digits under noise; q: the isotropic normal law with their mean and mean variance; d = 64"),
    )
    return table(("pair", "what it is"), rows)


def _order(g: Group) -> tuple[bool, float]:
    """By gradient error; critics without a log-ratio last, by their direction."""
    gradient, cosine = g.mean("gradient"), g.average("cosine")
    return gradient is None, gradient.mean if gradient is not None else -(cosine.mean if cosine else 0.0)


def _shown(value: Estimate | None) -> str:
    return "" if value is None else interval(value)


def _cosine(value: Estimate | None) -> str:
    """A mean with its interval, which Student's may carry beyond 1, where no cosine lies."""
    if value is None:
        return ""
    ends = (f"{max(value.lo, -1.0):.2f}", f"{min(value.hi, 1.0):.2f}")
    text = f"{value.mean:.2f}"
    return (bracketed(text, *ends) if value.n > 1 else text).replace("-", "−")


def _percents(value: Estimate | None) -> str:
    if value is None:
        return ""
    text = percent(value.mean)
    known = value.n > 1 and value.hi < float("inf")
    return bracketed(text, number(100 * value.lo), percent(value.hi)) if known else text


def _share(g: Group) -> str:
    worst = max(g.values("undefined"))
    return "" if worst == 0 else f"up to {percent(worst)} of q's points"
