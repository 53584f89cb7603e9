"""Figure of the error budget: what each case may lose, beside what it loses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from gflow import plot
from studies.drawn import Drawn
from studies.numbers import factors_between, listed
from studies.repeats import of_kind
from studies.w2_bound.report.figures.drawn import sizes
from studies.w2_bound.report.rows import Group, distinct, short, term_name


def budget(found: Sequence[Group]) -> Drawn | None:
    """Stacked terms beside the measured W2; the steps of the ODE and other kinds of data have scales of their own."""
    # A sum past 1e308 is known by its logarithm only: it has no bar.
    lost = [g for g in found if math.isinf(g.total.mean)]
    found = [g for g in found if g not in lost]
    steps = [g for g in found if g.case.swept in ("euler", "heun")]
    named = {
        "Mixtures": [g for g in of_kind(found, "mixture", "network") if g not in steps],
        "Mixture, steps of the ODE sampler": steps,
        "Digits": of_kind(found, "digits"),
        "Your own": of_kind(found, "data", "score", "field"),
    }
    shown = {title: groups for title, groups in named.items() if groups}
    if not shown:
        return None

    def make() -> Figure:
        places = [_places(groups) for groups in shown.values()]
        heights = [at[-1] + 1.4 for at in places]
        height = 0.185 * sum(heights) + 0.5 * len(heights) + 0.7
        figure, axes = plot.panels(len(shown), 1, height=height, height_ratios=heights)
        for at, (title, groups), place in zip(axes, shown.items(), places, strict=True):
            plot.budget_bars(
                at,
                [short(g) for g in groups],
                [g.terms for g in groups],
                [g.measured for g in groups],
                [g.floor for g in groups],
                sums=[g.total for g in groups],
                places=place,
            )
            at.set_title(title)
        axes[-1].set_xlabel(r"$W_2$ to the target, and the terms that bound it")
        plot.grouped_legend(figure, columns=7)
        return figure

    groups = [g for chosen in shown.values() for g in chosen]
    # A case that two sweeps share has two bars and one vote.
    largest = [g.largest for g in distinct(groups)]
    tally = sorted({name: largest.count(name) for name in largest}.items(), key=lambda item: -item[1])
    words = listed([f"{term_name(name)} in {n}" for name, n in tally])
    quotients = [math.log10(g.total.mean / g.measured.mean) for g in groups if g.measured.mean > 0]
    close = f"; sum over measured: {factors_between(quotients)}" if quotients else ""
    return Drawn(
        make,
        f"The error budget (W2B-16) beside the measured $W_2$: the sampler's largest own error is {words} of "
        f"{len(largest)} cases{close}. Bars are means over the seeds, term by term, and end at the mean sum; the "
        "diamond is the measured distance of the sampler's cloud to its target, the dashed tick what two samples of "
        "the reference law are apart. "
        f"{sizes(groups, 'lines through diamonds and ends of bars, with an arrow past the axis')}."
        + (f" Not drawn, for their sums overflow: {', '.join(g.label for g in lost)}." if lost else ""),
    )


def _places(groups: Sequence[Group]) -> list[float]:
    """Vertical positions with a gap between sweeps."""
    places, at = [0.0], 0.0
    for before, after in zip(groups, groups[1:], strict=False):
        at += 1.0 if before.case.swept == after.case.swept else 1.6
        places.append(at)
    return places
