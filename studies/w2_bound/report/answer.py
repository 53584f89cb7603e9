"""The answer in three sentences, from the numbers of the cases that are there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gflow.study import table
from studies.numbers import count, factor, factors_between, interval, listed, log10_of, number, spread
from studies.w2_bound.report.rows import Group, headline, label, middle, of_kind, sweep, target_name, term_name, weight

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
    floors = listed([number(g.floor.mean) for g in chosen])
    distances = listed([interval(g.measured) for g in chosen])
    return (
        f"On {listed([where(g) for g in chosen])} the sampler ends at $W_2$ = {distances} from {target}, where two "
        f"independent samples of the reference law are already {floors} apart."
    )


def _how_well(chosen: Sequence[Group]) -> str:
    known = [(g, ratio) for g in chosen if (ratio := g.log_ratio("pathwise")) is not None]
    if not known:
        return "The model's cloud coincides with the reference's, so no bound can be compared with their $W_2$."
    names = listed([where(g) for g, _ in known])
    ratios = listed([factor(ratio.mean) for _, ratio in known])
    published = [(g, ratio) for g, _ in known if "global" in g.rungs and (ratio := g.log_ratio("global")) is not None]
    tail = ""
    if published:
        texts = [("" if g.certified("global") else "at least ") + factor(ratio.mean) for g, ratio in published]
        only = "" if len(published) == len(known) else f" (on {listed([where(g) for g, _ in published])})"
        tail = f", and the published form {listed(texts)} times{only}"
    return f"The `pathwise` bound is {ratios} times the exact $W_2$ of its own two clouds on {names}{tail}."


def _which(chosen: Sequence[Group]) -> str:
    by_name: dict[str, list[Group]] = {}
    for g in chosen:
        by_name.setdefault(largest(g), []).append(g)
    parts = []
    for name, groups in by_name.items():
        # By logarithms: a term and its sum may both overflow.
        logs = [log10_of(g.terms[name]) - log10_of(g.total) if g.total.mean > 0 else -math.inf for g in groups]
        shares = sorted(100 * 10**log for log in logs)
        share = spread(f"{shares[0]:.0f}", f"{shares[-1]:.0f}") + " %"
        on = "" if len(by_name) == 1 else f" on {listed([where(g) for g in groups])}"
        parts.append(f"*{term_name(name)}*{on} ({share} of the sum)")
    quotients = [log10_of(g.total) - log10_of(g.measured) for g in chosen if g.measured.mean > 0]
    tail = ""
    if quotients:
        sums = "a sum that is" if len(quotients) == 1 else "sums that are"
        tail = f", in {sums} {factors_between(quotients)} times the measured distance"
    return f"The largest term of the error budget is {listed(parts)}{tail}."


def largest(group: Group) -> str:
    """Name of the largest term of a budget."""
    return max(group.terms, key=lambda term: log10_of(group.terms[term]))


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
                number(g.floor.mean),
                interval(g.total),
                term_name(largest(g)),
                interval(g.w2),
                "" if pathwise is None else factor(pathwise.mean),
                "" if published is None else factor(published.mean) + mark,
            )
        )
    target = f"W2 to {target_name(chosen[0])}" if len({g.target for g in chosen}) == 1 else "W2 to its target"
    bounds = ("W2 of its clouds", "`pathwise` over it", "published form over it")
    return table(("case", "n", "seeds", target, "floor", "its budget", "largest term", *bounds), rows)


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
