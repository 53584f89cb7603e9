"""The answer in three sentences, from the numbers of the cases that are there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from studies.w2_bound.report.numbers import factor, interval, listed, number
from studies.w2_bound.report.rows import Group, headline, label, of_kind


def answer(found: Sequence[Group]) -> str:
    """How far, how well the bounds tell, which error dominates: one sentence each, one paragraph."""
    chosen = headline(found)
    if not chosen:
        return _only_tight(found)
    return " ".join([_how_far(chosen), _how_well(chosen), _which(chosen)])


def where(group: Group) -> str:
    """``on the mixture with score error 0.05``."""
    case = group.case
    if case.kind == "network":
        return f"on the mixture with a trained network (weight {case.variant})"
    if case.kind == "mixture" and case.swept in ("error", "kwon"):
        narrow = "narrow " if case.swept == "kwon" else ""
        return f"on the {narrow}mixture with a score error of {case.value:g}"
    if case.kind == "mixture":
        return f"on the {label(case)}"
    names = {"digits": "on digits", "data": "on your cloud", "score": "with your score", "field": "with your field"}
    return names[case.kind]


def _how_far(chosen: Sequence[Group]) -> str:
    targets = {"p_0": "fresh data", "p_stop": "the reference's own cloud"}
    parts = [
        f"{interval(g.measured)} from {targets[g.target]} {where(g)} (two samples of the reference law: "
        f"{number(g.floor.mean)} apart)"
        for g in chosen
    ]
    return f"The sampler ends at $W_2$ = {listed(parts)}."


def _how_well(chosen: Sequence[Group]) -> str:
    known = [(g, ratio) for g in chosen if (ratio := g.log_ratio("pathwise")) is not None]
    if not known:
        return "The model's cloud coincides with the reference's, so no bound can be compared with their $W_2$."
    parts = []
    for g, ratio in known:
        published = g.log_ratio("global") if "global" in g.rungs else None
        text = f"{factor(ratio.mean)} times too large {where(g)}"
        if published is not None:
            least = "" if g.certified("global") else "at least "
            text += f" (published form: {least}{factor(published.mean)} times)"
        parts.append(text)
    return f"Against the exact $W_2$ of its own two clouds, the `pathwise` bound is {listed(parts)}."


def _which(chosen: Sequence[Group]) -> str:
    parts = []
    for g in chosen:
        name = max(g.terms, key=lambda term: g.terms[term].mean)
        share = 100 * g.terms[name].mean / g.total.mean if g.total.mean > 0 else 0.0
        parts.append(f"*{name.replace('_', ' ')}* {where(g)} ({share:.0f} %)")
    quotients = [math.log10(g.total.mean / g.measured.mean) for g in chosen if g.measured.mean > 0]
    tail = ""
    if quotients:
        low, high = factor(min(quotients)), factor(max(quotients))
        tail = f", in sums that are {low if low == high else f'{low} to {high}'} times the measured distance"
    return f"The largest term of the error budget is {listed(parts)}{tail}."


def _only_tight(found: Sequence[Group]) -> str:
    gaps = [abs(float(row["law"]["ratio"]) - 1) for g in of_kind(found, "tight") for row in g.rows]
    rows = f"Only the {len(gaps)} rows of the calibration families are there"
    equal = [g for g in of_kind(found, "tight") if (g.case.sampler, g.case.variant) != ("sde", "B")]
    worst = max((abs(float(row["law"]["ratio"]) - 1) for g in equal for row in g.rows), default=None)
    if worst is None:
        return f"{rows}, in which the bound is strict. They have no sampler to judge. They have no budget to compare."
    return (
        f"{rows}. Where the bound must equal $W_2$ it differs by at most {number(worst)} of it. "
        "How far a sampler is from data and which error dominates needs the other cases."
    )
