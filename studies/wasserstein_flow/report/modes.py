"""What a barrier between two modes does to the rate (WGF-3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.figure import Figure

from gflow import plot
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import number
from studies.repeats import of_kind
from studies.wasserstein_flow.report.rows import Group

BARRIER = 0.1
"""How far the rate behind the highest barrier may be from its formula, relative."""


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:
    """KL over time, and the late rate against the barrier."""
    groups = [g for g in of_kind(found, "modes") if g.rows[0]["arrays"] in arrays]
    if not groups:
        return {}

    def make() -> Figure:
        figure, (left, right) = plot.panels(1, 2, height=2.9)
        for k, g in enumerate(groups):
            saved = arrays[g.rows[0]["arrays"]]
            left.plot(saved["t"][1:], saved["kl"][1:], color=f"C{k % 6}", label=f"±{g.case.problem}")
        left.set_xscale("log")
        left.set_yscale("log")
        left.set_xlabel("time $t$")
        left.set_ylabel("KL")
        left.set_title("A fast part, then the barrier")
        left.legend(title="modes at", loc="lower left")
        barriers = [g.mean("barrier") for g in groups]
        right.set_yscale("log")
        right.plot(barriers, [g.mean("predicted") for g in groups], color=plot.muted(), label="formula")
        plot.intervals(right, barriers, [g.range("rate") for g in groups], colour="C0", label="measured")
        right.set_xlabel("barrier $\\log p(a)/p(0)$")
        right.set_ylabel("late rate of KL")
        right.set_title("Exponentially slow")
        right.legend(loc="lower left")
        return figure

    first, last = groups[0], groups[-1]
    drawn = Drawn(
        make,
        f"Two modes reached from wrong weights. From ±{first.case.problem} to ±{last.case.problem} the late rate of KL "
        f"falls from {number(first.mean('rate'))} to {number(last.mean('rate'))}. Seed {first.records[0].seed} on "
        "the left.",
    )
    return {"modes": drawn}


def answer(found: Sequence[Group]) -> str:
    """The wait in one sentence."""
    modes = of_kind(found, "modes")
    if len(modes) < 2:
        return ""
    first, last = modes[0], modes[-1]
    return (
        f"Between two modes its late rate falls from {number(first.mean('rate'))} to {number(last.mean('rate'))} as "
        f"they move from ±{first.case.problem} to ±{last.case.problem}."
    )


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """Rates against the formula."""
    modes = of_kind(found, "modes")
    if not modes:
        return ""
    header = ("modes at", "barrier log p(a)/p(0)", "late rate of KL", "formula", "KL at the end")
    rows = [
        (
            f"±{g.case.problem}",
            number(g.mean("barrier")),
            g.spread("rate"),
            number(g.mean("predicted")),
            number(g.mean("kl", 1)),
        )
        for g in modes
    ]
    return f"""## What a barrier costs

Two normal laws of equal weight at ±a, reached from weights 0.6 and 0.4 and from within the modes: each mode settles at
rate 2, and then mass has to cross. The formula is twice the spectral gap $4/\\int_{{-a}}^a dx/p$ of a high barrier; the
rate is exponentially small in the barrier, and no step size changes that (WGF-3).

{table(header, rows)}
{placed(drawn, "modes")}"""


def claims(found: Sequence[Group]) -> list[Claim]:
    """The rate falls with the barrier, and behind the highest one is that of the formula."""
    modes = of_kind(found, "modes")
    if len(modes) < 2:
        return []
    rates = [g.mean("rate") for g in modes]
    off = abs(rates[-1] / modes[-1].mean("predicted") - 1.0)
    falls = all(after < before for before, after in pairwise(rates))
    claim = Claim(
        "Between modes the rate of KL falls exponentially in the barrier (WGF-3)",
        "failed" if not falls else "ok" if off <= BARRIER else "inconclusive",
        f"rates {', '.join(number(r) for r in rates)}; off the formula by {number(100.0 * off, 2)} % at "
        f"±{modes[-1].case.problem}",
    )
    return [claim]
