"""Error budgets as stacked bars beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from gflow.estimate import Estimate
from gflow.plot.axes import ink, intervals, page
from gflow.plot.themes import COLOURS


def budget_bars(
    axes: Axes,
    labels: Sequence[str],
    budgets: Sequence[Mapping[str, Estimate]],
    measured: Sequence[Estimate],
    floors: Sequence[Estimate] | None = None,
    *,
    sums: Sequence[Estimate] | None = None,
    places: Sequence[float] | None = None,
) -> None:
    """One horizontal bar a case: its terms side by side, the measured distance as a mark, the floor as a tick.

    Args:
        axes: where to draw; the first case is at the top.
        labels: name of each case.
        budgets: terms by name, in the order in which they are stacked; names are those of ``COLOURS``.
        measured: the distance that each sum bounds.
        floors: distance between two independent samples of one law.
        sums: the sums of the terms, whose intervals are drawn at the ends of the bars, with an arrow
            where one is longer than the axis.
        places: vertical positions, downwards; one apart by default.
    """
    if not len(labels) == len(budgets) == len(measured):
        counts = (len(labels), len(budgets), len(measured))
        raise ValueError(f"budget_bars: expected as many labels, budgets and measured values, got {counts}")
    at = list(range(len(labels))) if places is None else list(places)
    for name in dict.fromkeys(term for terms in budgets for term in terms):
        rows = [k for k, terms in enumerate(budgets) if name in terms]
        axes.barh(
            [at[k] for k in rows],
            [budgets[k][name].mean for k in rows],
            left=[_before(budgets[k], name) for k in rows],
            height=0.72,
            color=COLOURS[name],
            edgecolor="none",
            label="Monte Carlo" if name == "monte_carlo" else name,
        )
    # The bars rule the axis: an interval of a sum may be longer than all of them.
    ends = [sum(term.mean for term in terms.values()) for terms in budgets]
    right = 1.04 * max([*ends, *(e.hi if math.isfinite(e.hi) else e.mean for e in measured)])
    if sums is not None:
        intervals(axes, at, sums, colour=ink(), horizontal=True, halo=True, up_to=right, marker="|", markersize=5.0)
    intervals(axes, at, measured, colour=ink(), label="measured $W_2$", horizontal=True, halo=True, markersize=4.0)
    if floors is not None:
        low, high = [a - 0.42 for a in at], [a + 0.42 for a in at]
        # Ink on a rim of the page: no grey stands out from every bar.
        style = {"color": ink(), "linewidth": 1.4, "linestyle": (0, (2, 1)), "zorder": 3}
        rim = [withStroke(linewidth=3.2, foreground=page())]
        at_floor = [f.mean for f in floors]
        axes.vlines(at_floor, low, high, label="sampling floor", path_effects=rim, **style)  # type: ignore[arg-type]  # linestyle
    axes.set_yticks(at, list(labels))
    axes.set_ylim(max(at) + 0.7, min(at) - 0.7)
    axes.set_xlim(0, right)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _before(terms: Mapping[str, Estimate], name: str) -> float:
    """Sum of the terms in front of one."""
    names = list(terms)
    return sum(terms[other].mean for other in names[: names.index(name)])
