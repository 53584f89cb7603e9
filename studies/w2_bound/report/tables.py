"""The tables of the report; every W2 stands beside its sampling floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from gflow.study import table
from studies.drawn import Drawn, placed
from studies.numbers import (
    MANY,
    bracketed,
    count,
    factors,
    factors_between,
    interval,
    listed,
    log10_of,
    mean_of,
    median,
    number,
    percent,
    spread,
)
from studies.repeats import of_kind
from studies.w2_bound.report.rows import RESOLVED, Group, by_flows, resolution, sweep, target_name, term_name

RUNGS = ("synchronous", "propagator", "pathwise", "local", "global")


def ladder(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """The rungs as multiples of the exact W2 of the row's own clouds, with the figures, then their values."""
    chosen = ladders(found)
    middle = (
        f"with the interval of order statistics from {MANY} seeds on (94 % at five seeds, at least 95 % from six), "
        "which is left out where it prints as the median"
        if any(g.seeds >= MANY for g in chosen)
        else "with too few seeds for an interval"
    )
    notes = " ".join(note for note in (_geometries(found), _shared(found), _cauchy_schwarz(found)) if note)
    findings = "\n\n".join(text for text in (notes, _kwon(found), *_real(found)) if text)
    between = ", with 95 % intervals between seeds" if any(g.seeds > 1 for g in chosen) else ""
    return f"""## How well the bounds tell

Rungs (W2B-19) are multiples of the exact W2 between the two clouds of the row, which start from the same points
and are moved by the reference and by the model: the median over the seeds, {middle}. `synchronous` is the distance of
the paired particles; `propagator` carries each error by its fundamental matrix, `pathwise` by one logarithmic norm per
pair, `local` by the largest one at each time; `global` is the published form (W2B-1, W2B-4, W2B-5) with one constant
per time, and ↓ marks a sampled constant, which makes it a lower estimate of that form. An ODE's bound is compared with
the ODE's W2, an SDE's with the SDE's. The sampling floor is the distance of two independent samples of the
reference law; clouds that share their start may be nearer than that.

{findings}

{_rungs(chosen, _ratio)}
{placed(drawn, "ladder", "ladder_sweeps")}

The same rungs as distances: pooled over the seeds as W2 is (root of the mean of the squares), or by the geometric mean
where they are astronomical{between}.

{_rungs(chosen, _value)}"""


def _rungs(chosen: Sequence[Group], cell: Callable[[Group, str], str]) -> str:
    """One row a case: W2 of its clouds, the floor, and a cell for each rung."""
    header = ("case", "sampler", "W2 of its clouds", "floor", *RUNGS)
    rows = [
        (g.label, g.case.sampler.upper(), interval(g.w2), interval(g.floor), *(cell(g, name) for name in RUNGS))
        for g in chosen
    ]
    return table(header, rows)


def slack(found: Sequence[Group]) -> str:
    """The slack ledger in multiples of W2, medians over the seeds."""
    rows = [
        (
            g.label,
            g.case.sampler.upper(),
            interval(g.w2),
            _share(g.shares("coupling")),
            _share(g.shares("alignment")),
            _huge(g, "local"),
            _huge(g, "global"),
            _share(g.shares("account")),
        )
        for g in ladders(found)
    ]
    header = ("case", "sampler", "W2", "coupling", "alignment", "Lipschitz, local", "Lipschitz, global", "account")
    return table(header, rows) if rows else ""


def budget(found: Sequence[Group]) -> str:
    """The terms of the budget beside what they bound; the target has a column where it is not the same for all."""
    names = ("truncation", "initial", "model", "discretization", "monte_carlo")
    chosen = [g for g in found if g.case.kind != "tight"]
    mixed = len({g.target for g in chosen}) > 1
    rows = [
        (
            g.label,
            g.sampler.removesuffix(" steps"),
            *(interval(g.terms[name]) if name in g.terms else "" for name in names),
            interval(g.total),
            interval(g.measured),
            interval(g.floor),
            *([target_name(g)] if mixed else []),
        )
        for g in chosen
    ]
    header = ("case", "sampler, steps", *(term_name(n) for n in names), "sum", "measured W2", "floor")
    return table((*header, "target") if mixed else header, rows) if rows else ""


def calibration(found: Sequence[Group]) -> str:
    """Bounds and W2 of the laws of the tight families."""
    rows = []
    for g in of_kind(found, "tight"):
        laws = [row["law"] for row in g.rows]
        gap = max((float(law["ratio"]) - 1 for law in laws), key=abs)
        ratios = [float(law["ratio"]) for law in laws]
        sharper = [abs(float(law["sharper"]) / float(law["w2"]) - 1) for law in laws if "sharper" in law]
        kept = number(max(sharper)) if sharper else ""
        shown = number(gap) if abs(gap) < 1e-3 else spread(number(min(ratios) - 1), number(max(ratios) - 1))
        rows.append((g.label, g.seeds, shown, kept))
    return table(("family", "seeds", "bound/W2 − 1", "|bound with the sign term/W2 − 1|"), rows) if rows else ""


def memory(found: Sequence[Group]) -> str:
    """Nearest-neighbour distances of the samples of each law."""
    rows = []
    for g in _with_nearest(found):
        for law, name in (("exact", "exact score"), ("network", "model"), ("held_out", "held-out points, noised")):
            values = [row["nearest"][law] for row in g.rows]
            train, other, copies = (mean_of([float(v[key]) for v in values]) for key in ("train", "held_out", "copies"))
            own = law == "held_out"  # held-out points are among those that they would be compared with
            rows.append((g.label, name, interval(train), "" if own else interval(other), percent(copies.mean)))
    header = ("case", "samples of", "to training", "to held-out", "copies")
    return table(header, rows) if rows else ""


def _geometries(found: Sequence[Group]) -> str:
    if not sweep(found, "kwon"):
        return ""
    return "Narrow mixtures have modes of width 0.0125 (Kwon, Fan and Lee 2022), the others of width 0.1."


def _shared(found: Sequence[Group]) -> str:
    """Which cases have the ladder of another, and of which."""
    sharing = [groups for groups in by_flows(found).values() if groups[0].case.kind != "tight" and len(groups) > 1]
    parts = [f"{count(len(groups) - 1, 'case')} with *{groups[0].label}*" for groups in sharing]
    return f"Cases that differ in the ODE's steps alone share a ladder, shown once: {listed(parts)}." if parts else ""


def _cauchy_schwarz(found: Sequence[Group]) -> str:
    """What the form of Kwon, Fan and Lee costs on top of the published one."""
    logs = [
        log10_of(row["cauchy_schwarz"]) - log10_of(row["ladder"]["global"])
        for g in found
        for row in g.rows
        if "cauchy_schwarz" in row and "global" in row["ladder"]
    ]
    if not logs:
        return ""
    return (
        f"The form by Cauchy-Schwarz in time (W2B-14) is another {factors_between(logs)} times "
        "larger than the published one."
    )


def _kwon(found: Sequence[Group]) -> str:
    """The numbers of the narrow geometry over its sweep: medians of each case, smallest to largest."""
    groups = sweep(found, "kwon")
    pairs = {
        "`synchronous`/W2": ("synchronous", ""),
        "`pathwise`/`synchronous`": ("pathwise", "synchronous"),
        "published form/W2": ("global", ""),
    }
    parts = []
    for words, (top, below) in pairs.items():
        logs = [r.mean for g in groups if top in g.rungs and (r := g.log_ratio(top, below)) is not None]
        if logs:
            parts.append(f"{words} {factors_between(logs)}")
    return f"Narrow mixtures, medians from the smallest to the largest case: {listed(parts)}." if parts else ""


def _real(found: Sequence[Group]) -> list[str]:
    """How far below the published form the bounds get on images or a user's cloud, where they gain least."""
    return [text for g in of_kind(found, "digits", "data") if "global" in g.rungs and (text := _below_published(g))]


def _below_published(group: Group) -> str:
    """``pathwise`` and the bound by variation of constants against the published form."""
    own = group.log_ratio("global", "pathwise")
    if own is None:
        return ""
    only = "only " if own.mean < math.log10(2) else ""
    text = f"On *{group.label}* `pathwise` is {only}{factors(own)} times below the published form"
    if not all("variation" in row for row in group.rows) or resolution(group) > RESOLVED:
        return f"{text}."
    other = factors(group.log_ratio("global", "variation"))
    return f"{text}; the bound by variation of constants (W2B-12), which is no rung, is {other} times below it."


def ladders(found: Sequence[Group]) -> list[Group]:
    """Cases with a ladder of their own, the first of those that share one."""
    kept = [groups[0] for groups in by_flows(found).values() if groups[0].case.kind != "tight"]
    return kept or of_kind(found, "tight")


def _with_nearest(found: Sequence[Group]) -> list[Group]:
    return [g for g in found if all("nearest" in row for row in g.rows)]


def _ratio(group: Group, name: str) -> str:
    """Bound over W2, the median over the seeds."""
    ratio = group.log_ratio(name) if name in group.rungs else None
    return factors(ratio) + _mark(group, name) if ratio is not None else ""


def _value(group: Group, name: str) -> str:
    """The bound itself."""
    return interval(group.rung(name)) + _mark(group, name) if name in group.rungs else ""


def _mark(group: Group, name: str) -> str:
    return "\u00a0↓" if name == "global" and not group.certified("global") else ""


def _share(shares: Sequence[float] | None) -> str:
    """The median over the seeds with its interval; what rounds to nothing is 0."""
    if shares is None:
        return ""
    middle = median(shares)
    ends = (middle.lo, middle.hi) if len(shares) >= MANY else (middle.mean, middle.mean)
    return bracketed(*(number(v, 2) if abs(v) >= 5e-4 else "0" for v in (middle.mean, *ends)))


def _huge(group: Group, name: str) -> str:
    """A Lipschitz slack over W2; where it is astronomical the whole rung over W2 is the same to many digits."""
    shares = group.shares("lipschitz", name)
    return _share(shares) if shares is None or max(shares) < 1e4 else factors(group.log_ratio(name))
