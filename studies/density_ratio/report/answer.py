"""The answer in three sentences, what to use when, and the sections below."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from studies.density_ratio.config import Kind
from studies.density_ratio.report import tables
from studies.density_ratio.report.advice import advice
from studies.density_ratio.report.claims import furthest
from studies.density_ratio.report.rows import Group, named, planar, ratio, sweep
from studies.drawn import Drawn, placed
from studies.numbers import number, percent


def answer(found: Sequence[Group]) -> str:
    """How good the critic's gradient is, what its risk tells of it, and what vanishes: a sentence each."""
    return " ".join(s for s in (_good(found), _unseen(found), _vanishing(found)) if s)


def _good(found: Sequence[Group]) -> str:
    base, critics = named(found, "base/critic"), sweep(found, "size", "critic")
    error = base.mean("relative") if base else None
    if base is None or error is None:
        return ""
    others = {words: named(found, f"base/{e}") for e, words in (("kde", "kernel densities'"), ("ulsif", "uLSIF's"))}
    ratios = {words: ratio(base, g, "gradient") for words, g in others.items() if g is not None}
    against = [f"{number(r.mean)} times {words}" for words, r in ratios.items() if r is not None]
    last = critics[-1].mean("relative") if critics[-1] is not base else None
    return (
        f"From {base.case.n} points of either of two planar mixtures a plain logistic critic knows ∇ log r up to an "
        f"error of {percent(error.mean)} of its size"
        + (f" ({' and '.join(against)})" if against else "")
        + (f", from {critics[-1].case.n} points up to {percent(last.mean)}." if last else ".")
    )


def _unseen(found: Sequence[Group]) -> str:
    pair = furthest(found)
    if pair is None:
        return ""
    a, b, risk, gradient = pair
    return (
        f"The risk does not tell how good a gradient is: on the same clouds (d = {a.case.dim}, {a.case.n} points) the "
        f"excess risk of {a.noun} is {number(risk.mean)} times that of {b.noun}, and the gradient error is "
        f"{number(gradient.mean)} times the other's."
    )


def _vanishing(found: Sequence[Group]) -> str:
    critics = sweep(found, "overlap", "critic")
    if len(critics) < 2:
        return ""
    near, far = critics[0], critics[-1]
    errors = [e.mean for g in (near, far) if (e := g.mean("relative")) is not None]
    rates = [g.rows[0]["exact_rates"]["saturating"] for g in (near, far)]
    return (
        f"A vanishing gradient is two things, and neither is the true ∇D: from m = {near.case.shift:g} to "
        f"{far.case.shift:g} the exact critic's gradient grows as m, while the saturating loss multiplies it by E h', "
        f"which falls from {number(rates[0])} to {number(rates[1])}; and a critic trained on samples is off by "
        f"{percent(errors[0])} of the gradient at the one distance, and by {percent(errors[1])} at the other, where "
        "its samples hardly meet."
    )


def sections(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> list[str]:
    """All sections whose cases are there."""
    made = (
        placed(drawn, "fields"),
        advice(found),
        _methods(found, drawn),
        _sizes(found, drawn),
        _dimensions(found, drawn),
        _overlap(found, drawn),
        f"## The pairs of laws\n\n{tables.problems()}",
    )
    return [part for part in made if part]


def _methods(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    shown = tables.methods(found)
    if not shown:
        return ""
    return f"""## Objectives, penalties, widths

All on the same clouds of the planar mixtures, from the same first weights. The value error is without its best
constant; the excess risk is the vanilla one, whatever was minimised (RATIO-2). The objectives of the f-GAN table for
the GAN and the Jensen-Shannon divergence are the vanilla one up to constants and are left out. A least-squares critic
may leave (0, 1), where it is no ratio's, and close to its ends the logit makes a slope of any size. A gradient penalty
pulls the gradient itself to zero, whatever the data say: the more, the larger its weight.{_floor(found)}

{shown}
{placed(drawn, "methods", "pairs")}"""


def _floor(found: Sequence[Group]) -> str:
    """What calibration is, where it is shown."""
    known = [value for g in planar(found) for value in g.values("calibration_floor")]
    if not known:
        return ""
    return (
        "\nCalibration is the distance of σ(D) from the share of data, a mean over bins: a perfect ratio has "
        f"{number(statistics.fmean(known))} on as many points."
    )


def _sizes(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    if "sizes" not in drawn:
        return ""
    return f"""## More points

Kernel densities take the bandwidth of the largest leave-one-out likelihood, which is that of a good density; the best
bandwidths for the gradient are wider, and only the truth can choose them.

{tables.along(found, "size")}
{placed(drawn, "sizes")}"""


def _dimensions(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    if "dimensions" not in drawn:
        return ""
    texts: dict[Kind, str] = {"dimension": _HIDDEN, "digits": _DIGITS}
    parts = [f"{words}\n\n{shown}" for kind, words in texts.items() if (shown := tables.along(found, kind))]
    return "\n".join(("## Higher dimensions and real data\n", *parts, placed(drawn, "dimensions")))


_HIDDEN = """One log-ratio in d dimensions: its law, and every divergence of p and q, is the same in all of them. An
error of 100 % is that of the zero field."""
_DIGITS = "Digits under noise against the isotropic normal law of their mean and variance: the truth is known."


def _overlap(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    shown = tables.overlap(found)
    if not shown:
        return ""
    return f"""## What a vanishing gradient is

The velocity of particles is h'(D) ∇D. For N(m, 1) against N(0, 1) the exact ∇D is m (RATIO-7): what vanishes at large m
is the factor h' of the saturating loss, and with it that loss's velocity, while the non-saturating one's tends to 1.
The trained critic adds a failure of its own. Once no point of one cloud lies among the other, the risk is zero up to
what few samples can tell, and says nothing of the slope where the model's points are.

{shown}
{placed(drawn, "overlap")}"""
