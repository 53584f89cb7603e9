"""The tables of the report; every W2 stands beside its sampling floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gflow.estimate import Estimate
from gflow.study import table
from studies.w2_bound.report.figures.drawn import Drawn, placed
from studies.w2_bound.report.numbers import MANY, factor, factors, interval, log10_of, number
from studies.w2_bound.report.rows import Group, of_kind, sweep, term_name

RUNGS = ("synchronous", "propagator", "pathwise", "local", "global")


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
    narrow = " Narrow mixtures have modes of width 0.0125 (Kwon, Fan and Lee 2022), the others of width 0.1."
    narrow = narrow if sweep(found, "kwon") else ""
    median = (
        f"from {MANY} seeds on with the interval of order statistics (94 % at five seeds, at least 95 % from six)"
        if any(g.seeds >= MANY for g in chosen)
        else "with too few seeds for an interval"
    )
    return f"""## How well the bounds tell

Rungs (W2B-19) are multiples of the exact W2 between the two clouds of the row, which start from the same points
and are moved by the reference and by the model: the median over the seeds, {median}. `synchronous` is the distance of
the paired particles; `propagator` carries each error by its fundamental matrix, `pathwise` by one logarithmic norm per
pair, `local` by the largest one at each time; `global` is the published form (W2B-1, W2B-4, W2B-5) with one constant
per time, and ↓ marks a sampled constant, which makes it a lower estimate of that form. An ODE's bound is compared with
the ODE's W2, an SDE's with the SDE's. The sampling floor is the distance of two independent samples of the
reference law; clouds that share their start may be nearer than that.{narrow}{note}{_cauchy_schwarz(found)}

{table(header, rows)}
{placed(drawn, "ladder", "ladder_sweeps")}"""


def slack(found: Sequence[Group]) -> str:
    """The slack ledger in multiples of W2, medians over the seeds."""
    rows = [
        (
            g.label,
            g.case.sampler.upper(),
            interval(g.w2),
            _share(g.share("coupling")),
            _share(g.share("alignment")),
            _huge(g, "local"),
            _huge(g, "global"),
            _share(g.share("account")),
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
            *(number(g.terms[name].mean) if name in g.terms else "" for name in names),
            interval(g.total),
            interval(g.measured),
            number(g.floor.mean),
            *([g.target] if mixed else []),
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
        f" The form by Cauchy-Schwarz in time (W2B-14) is another {factor(min(logs))} to {factor(max(logs))} times "
        "larger than the published one."
    )


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


def _share(share: float | None) -> str:
    if share is None:
        return ""
    return number(share, 2) if abs(share) >= 5e-4 else "0"


def _huge(group: Group, name: str) -> str:
    """A Lipschitz slack over W2; where it overflows the whole rung over W2 is the same to many digits."""
    share = group.share("lipschitz", name)
    if share is None or share < 1e4:
        return _share(share)
    if math.isfinite(share):
        return factor(math.log10(share))
    ratio = group.log_ratio(name)
    return "" if ratio is None else factor(ratio.mean)
