"""The tables of the report; every W2 stands beside its sampling floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gflow.estimate import Estimate
from gflow.study import table
from studies.w2_bound.report.figures.drawn import Drawn, placed
from studies.w2_bound.report.numbers import MANY, factors, interval, number
from studies.w2_bound.report.rows import Group, of_kind, sweep

RUNGS = ("synchronous", "propagator", "pathwise", "local", "global")


def overview(found: Sequence[Group]) -> str:
    """The measured distance of every case, its floor and the sum of its budget."""
    rows = [
        (g.label, g.sampler, g.n, g.seeds, _target(g), interval(g.measured), interval(g.floor), interval(g.total))
        for g in found
        if g.case.kind != "tight"
    ]
    if not rows:
        return ""
    header = ("case", "sampler", "n", "seeds", "target", "measured W2", "sampling floor", "budget")
    return f"""## How far

{_repeats(found)} Measured W2 is exact between the sampler's cloud and its target: fresh data (p_0), or the reference's
own cloud (p_stop). The sampling floor is W2 between two independent samples of the reference law: a measured W2 near it
says only that n points cannot tell the laws apart. The budget (W2B-16) is an upper bound of the measured W2.

{table(header, rows)}"""


def ladder(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """The rungs as multiples of the exact W2 of the row's own clouds, with the figures."""
    chosen = ladders(found)
    header = ("case", "sampler", "W2 of its clouds", "floor", *RUNGS)
    rows = [
        (g.label, g.case.sampler.upper(), interval(g.w2), number(g.floor.mean), *(_rung(g, name) for name in RUNGS))
        for g in chosen
    ]
    skipped = len([g for g in found if g.case.swept in ("euler", "heun")])
    note = (
        f" The {skipped} cases that change only the ODE's steps share the first ladder and are left out."
        if skipped
        else ""
    )
    median = (
        f"from {MANY} seeds on with the interval of order statistics (94 % at five seeds, at least 95 % from six)"
        if any(g.seeds >= MANY for g in chosen)
        else "with too few seeds for an interval"
    )
    return f"""## How well the bounds tell

Rungs (W2B-19) are shown as multiples of the exact W2 between the two clouds of the row, which start from the same noised
data and are moved by the reference and by the model: the median over the seeds, {median}. `synchronous` is the
distance of the paired particles, `propagator` carries each error by its fundamental matrix, `pathwise` by one logarithmic
norm per pair, `local` by the largest one at each time, `global` is the published form (W2B-1, W2B-4, W2B-5) with one
constant per time; ↓ marks a sampled constant, which makes `global` a lower estimate of that form. ODE rows are compared
with the ODE's W2, SDE rows with the SDE's. This W2 is of clouds that share their start, so it may lie below the
floor.{note}

{table(header, rows)}
{placed(drawn, "ladder", "ladder_sweeps")}"""


def slack(found: Sequence[Group]) -> str:
    """The slack ledger, as shares of W2."""
    rows = []
    for g in ladders(found):
        if g.w2.mean <= 0:
            continue
        local, published = (_loss(g, name) for name in ("local", "global"))
        coupling, alignment = (_share(g, "coupling"), _share(g, "alignment"))
        account = number(g.slack("account").mean / g.rung("synchronous").mean)
        rows.append((g.label, g.case.sampler.upper(), interval(g.w2), coupling, alignment, local, published, account))
    header = ("case", "sampler", "W2", "coupling", "alignment", "Lipschitz, local", "Lipschitz, global", "account")
    return table(header, rows) if rows else ""


def budget(found: Sequence[Group]) -> str:
    """The terms of the budget beside what they bound."""
    names = ("truncation", "initial", "model", "discretization", "monte_carlo")
    rows = [
        (
            g.label,
            g.case.sampler.upper(),
            *(number(g.terms[name].mean) if name in g.terms else "" for name in names),
            interval(g.total),
            interval(g.measured),
            number(g.floor.mean),
            _target(g),
        )
        for g in found
        if g.case.kind != "tight"
    ]
    header = ("case", "sampler", *(n.replace("_", " ") for n in names), "sum", "measured W2", "floor", "target")
    return table(header, rows) if rows else ""


def calibration(found: Sequence[Group]) -> str:
    """Bounds and W2 of the laws of the tight families."""
    rows = []
    for g in of_kind(found, "tight"):
        laws = [row["law"] for row in g.rows]
        gap = max((float(law["ratio"]) - 1 for law in laws), key=abs)
        ratios = [float(law["ratio"]) for law in laws]
        sharper = [abs(float(law["sharper"]) / float(law["w2"]) - 1) for law in laws if "sharper" in law]
        kept = number(max(sharper)) if sharper else ""
        shown = number(gap) if abs(gap) < 1e-3 else f"{number(min(ratios) - 1)} to {number(max(ratios) - 1)}"
        rows.append((g.label, g.seeds, shown, kept))
    return table(("family", "seeds", "bound/W2 − 1", "|bound with the sign term/W2 − 1|"), rows) if rows else ""


def memory(found: Sequence[Group]) -> str:
    """Nearest-neighbour distances of the samples of each law."""
    rows = []
    for g in _with_nearest(found):
        for law, name in (("exact", "exact score"), ("network", "model"), ("held_out", "held-out points, noised")):
            values = [row["nearest"][law] for row in g.rows]
            train, other, copies = (_mean([float(v[key]) for v in values]) for key in ("train", "held_out", "copies"))
            own = law == "held_out"  # held-out points are among those that they would be compared with
            share = f"{number(100 * copies.mean)} %"
            rows.append((g.label, name, interval(train), "" if own else interval(other), share))
    header = ("case", "samples of", "to training", "to held-out", "copies")
    return table(header, rows) if rows else ""


def ladders(found: Sequence[Group]) -> list[Group]:
    """Cases with a ladder of their own: steps of an ODE sampler do not change the exact flows."""
    kept = [g for g in found if g.case.kind != "tight" and g.case.swept not in ("euler", "heun")]
    return kept or [*sweep(found, "heun")[:1], *sweep(found, "euler")[:1]][:1] or of_kind(found, "tight")


def _with_nearest(found: Sequence[Group]) -> list[Group]:
    return [g for g in found if all("nearest" in row for row in g.rows)]


def _mean(values: Sequence[float]) -> Estimate:
    exact = [Estimate.exact(v) for v in values]
    return exact[0] if len(exact) == 1 else Estimate.pool(exact)


def _rung(group: Group, name: str) -> str:
    if name not in group.rungs:
        return ""
    mark = " ↓" if name == "global" and not group.certified("global") else ""
    return factors(group.log_ratio(name)) + mark


def _share(group: Group, name: str) -> str:
    value = group.slack(name).mean / group.w2.mean
    return number(value, 2) if abs(value) >= 5e-4 else "0"


def _loss(group: Group, name: str) -> str:
    """A Lipschitz slack over W2, as a power of ten where it is huge."""
    if any(name not in row["slack"]["lipschitz"] for row in group.rows):
        return ""
    value = group.slack("lipschitz", name)
    if value.log10 is not None and value.log10 > 4:
        return f"10^{value.log10 - math.log10(group.w2.mean):.1f}"
    share = value.mean / group.w2.mean
    return number(share, 2) if share < 1e4 else f"10^{math.log10(share):.1f}"


def _target(group: Group) -> str:
    return {"p_0": "p_0", "p_stop": "p_stop"}[group.target]


def _repeats(found: Sequence[Group]) -> str:
    seeds = {g.seeds for g in found}
    if max(seeds) == 1:
        return "One seed: no interval between repeats is there."
    return "Values in brackets are 95 % intervals between the seeds; W2 is pooled as squares, with the root last."
