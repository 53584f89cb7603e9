"""The answer in three sentences, from the numbers of the cases that are there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gflow.study import table
from studies.numbers import count, factor, factors, factors_between, interval, listed, log10_of, number, spread
from studies.repeats import of_kind
from studies.w2_bound.report.rows import (
    Group,
    at_floor,
    headline,
    label,
    middle,
    sweep,
    target_name,
    term_name,
    weight,
)

_TARGETS = {"p_0": "fresh data", "p_stop": "the reference's own cloud"}


def answer(found: Sequence[Group]) -> str:
    """How far, how well the bounds tell, which error dominates: a sentence each, and the numbers in a table.

    The table holds two distances: the sampler's own, which the budget bounds, and that of the two clouds
    that start together, which the ladder bounds.
    """
    chosen = headline(found)
    if not chosen:
        return _only_tight(found)
    narrow = middle(sweep(found, "kwon"))
    bounded = [*chosen[:1], narrow, *chosen[1:]] if narrow is not None else chosen
    sentences = (_how_far(chosen), _how_well(bounded), _which(chosen))
    return f"{' '.join(sentences)}\n\n{_summary(bounded)}"


def where(group: Group) -> str:
    """``the mixture with score error 0.05``, to stand after "on"."""
    case = group.case
    if case.kind == "network":
        return f"the mixture with a trained network (weight {weight(case.variant)})"
    if case.kind == "mixture" and case.swept in ("error", "kwon"):
        return f"the {'narrow ' if case.swept == 'kwon' else ''}mixture with score error {case.value:g}"
    names = {"digits": "digits", "data": "your cloud", "score": "your score", "field": "your field"}
    return names.get(case.kind, f"the {label(case)}")


def _how_far(chosen: Sequence[Group]) -> str:
    targets = {_TARGETS[g.target] for g in chosen}
    target = targets.pop() if len(targets) == 1 else "its target"
    parts = [f"at {interval(g.measured)} on {where(g)} ({interval(g.floor)})" for g in chosen]
    floor = "in parentheses: two independent samples of the reference law"
    return f"In $W_2$ from {target} ({floor}), the sampler ends {listed(parts)}{_at_floor(chosen)}."


def _at_floor(chosen: Sequence[Group]) -> str:
    """Said where most of the distances to data are no larger than those of two samples of one law."""
    against_data = [g for g in chosen if g.target == "p_0"]
    low = [g for g in against_data if at_floor(g)]
    if 2 * len(low) <= len(against_data):
        return ""
    these = "which is" if len(against_data) == 1 else "all" if len(low) == len(against_data) else "most of them"
    return f", {these} at that floor, where finite clouds hardly tell a sampler from data"


def _how_well(chosen: Sequence[Group]) -> str:
    known = [(g, ratio) for g in chosen if (ratio := g.log_ratio("pathwise")) is not None]
    if not known:
        if any(g.terms["model"].mean > 0 for g in chosen):
            return "The model's cloud coincides with the reference's, so no bound can be compared with their $W_2$."
        return (
            "The model moves its cloud exactly as the reference does: the model term of the budget is 0, as is the "
            "$W_2$ of the two clouds, and no bound can be compared with it."
        )
    parts = [f"{factors(ratio)} times{_published(g)} on {where(g)}" for g, ratio in known]
    form = " (in parentheses: the published form)" if any("global" in g.rungs for g, _ in known) else ""
    return f"Over the exact $W_2$ of its own two clouds, the `pathwise` bound{form} is {listed(parts)}."


def _published(group: Group) -> str:
    ratio = group.log_ratio("global") if "global" in group.rungs else None
    if ratio is None:
        return ""
    return f" ({'' if group.certified('global') else 'at least '}{factor(ratio.mean)})"


def _which(chosen: Sequence[Group]) -> str:
    by_name: dict[str, list[Group]] = {}
    for g in chosen:
        by_name.setdefault(g.largest, []).append(g)
    parts = []
    for name, groups in by_name.items():
        on = "" if len(by_name) == 1 else f" on {listed([where(g) for g in groups])}"
        parts.append(f"*{term_name(name)}*{on} ({_shares(groups, name)} of the budget)")
    finite = [g for g in chosen if "monte_carlo" in g.terms]
    clouds = f", while the finite clouds make {_shares(finite, 'monte_carlo')}" if finite else ""
    quotients = [log10_of(g.total) - log10_of(g.measured) for g in chosen if g.measured.mean > 0]
    tail = f"; the budget is {factors_between(quotients)} times the measured distance" if quotients else ""
    return f"The sampler's largest own error is {listed(parts)}{clouds}{tail}."


def _shares(groups: Sequence[Group], term: str) -> str:
    """The smallest to the largest share of a term in the sum."""
    # By logarithms: a term and its sum may both overflow.
    logs = [log10_of(g.terms[term]) - log10_of(g.total) if g.total.mean > 0 else -math.inf for g in groups]
    shares = sorted(100 * 10**log for log in logs)
    return spread(f"{shares[0]:.0f}", f"{shares[-1]:.0f}") + " %"


def _summary(chosen: Sequence[Group]) -> str:
    rows = []
    for g in chosen:
        published = g.log_ratio("global") if "global" in g.rungs else None
        pathwise = g.log_ratio("pathwise")
        mark = "" if g.certified("global") or published is None else " ↓"
        rows.append(
            (
                g.label,
                g.n,
                g.seeds,
                interval(g.measured),
                interval(g.floor),
                interval(g.total),
                term_name(g.largest),
                interval(g.w2),
                factors(pathwise),
                "" if published is None else factor(published.mean) + mark,
            )
        )
    target = f"W2 to {target_name(chosen[0])}" if len({g.target for g in chosen}) == 1 else "W2 to its target"
    bounds = ("W2 of its clouds", "`pathwise` over it", "published form over it")
    return table(("case", "n", "seeds", target, "floor", "its budget", "largest own error", *bounds), rows)


def _only_tight(found: Sequence[Group]) -> str:
    equal = [g for g in of_kind(found, "tight") if (g.case.sampler, g.case.variant) != ("sde", "B")]
    gaps = [abs(float(row["law"]["ratio"]) - 1) for g in equal for row in g.rows]
    rows = f"Only {count(sum(g.seeds for g in found), 'row')} of the calibration families are there"
    second = (
        f"Where the bound must equal $W_2$ it differs by at most {number(max(gaps))} of it."
        if gaps
        else "In these the bound is strict, so nothing can be calibrated."
    )
    return f"{rows}. {second} How far a sampler is from data and which error dominates needs the other cases."
