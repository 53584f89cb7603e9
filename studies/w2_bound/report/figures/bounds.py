"""Figures of the bounds: the ladder along sweeps, and the discretization term."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gflow import plot
from gflow.estimate import Estimate
from studies.drawn import Drawn
from studies.numbers import MANY, factors_between, listed
from studies.w2_bound.report.figures.drawn import sizes
from studies.w2_bound.report.rows import Group, sweep

_GEOMETRIES = {"error": "Modes of width 0.1", "kwon": "Width 0.0125 (Kwon et al. 2022)"}
_SWEEPS = {
    "start": ("Noise at the start", r"final $\beta$"),
    "stop": ("Early stopping", "stopping time $t$"),
    "sde": ("SDE sampler", "Euler-Maruyama steps"),
}
# Marks and dashes, no colours: those are the rungs', whose legend stands above all panels.
# Beside them the order of the slope, and a shift that keeps bars of equal steps apart.
_METHODS: dict[str, tuple[str, str, Any, int, float]] = {
    "euler": ("Euler", "o", "-", 1, 0.985),
    "heun": ("Heun", "s", (0, (4, 1.5)), 2, 1.015),
    "sde": ("Euler-Maruyama", "^", (0, (1.2, 1.2)), 0, 1.0),
}


def ladder(found: Sequence[Group]) -> Drawn | None:
    """Bounds and their ratios against the size of the score error, both geometries."""
    shown = {name: groups for name in _GEOMETRIES if (groups := sweep(found, name))}
    if not shown:
        return None

    def make() -> Figure:
        columns = len(shown)
        figure, axes = plot.panels(2, columns, height=5.2, sharex="col", height_ratios=(1.7, 1))
        for k, (name, groups) in enumerate(shown.items()):
            _bounds(axes[k], groups)
            axes[k].set_title(_GEOMETRIES[name])
            low = axes[columns + k]
            plot.bound_ratios(low, _values(groups), _ratios(groups))
            low.set_xlabel(r"size of the score error $\varepsilon$")
        axes[0].set_ylabel(r"$W_2$ and its bounds")
        axes[columns].set_ylabel(r"bound / exact $W_2$")
        plot.grouped_legend(figure, columns=7)
        return figure

    parts = [_ladder_words(name, groups) for name, groups in shown.items()]
    groups = [g for chosen in shown.values() for g in chosen]
    return Drawn(
        make,
        f"The ladder against the size of the score error (exact mixture score, centres moved by ε, widths scaled by "
        f"1 + ε): {'; '.join(parts)}. $W_2$ is exact for the two clouds of each row. "
        f"{_offscale(groups)}{_sizes(groups)}.",
    )


def sweeps(found: Sequence[Group]) -> Drawn | None:
    """The ladder against start, stop and SDE steps, and the discretization term against steps."""
    shown = {name: groups for name in _SWEEPS if (groups := sweep(found, name))}
    methods = {name: groups for name in ("euler", "heun", "sde") if (groups := sweep(found, name))}
    count = len(shown) + bool(methods)
    if not count:
        return None

    def make() -> Figure:
        columns = min(2, count)
        figure, axes = plot.panels(math.ceil(count / 2), columns, height=2.75 * math.ceil(count / 2) + 0.4)
        for name, at in zip(shown, axes, strict=False):
            _bounds(at, shown[name])
            at.set_title(_SWEEPS[name][0])
            at.set_xlabel(_SWEEPS[name][1])
            at.set_ylabel(r"$W_2$ and its bounds")
        if methods:
            _discretization(axes[len(shown)], methods)
        for at in axes[count:]:
            at.remove()
        plot.grouped_legend(figure, columns=7)
        return figure

    groups = [g for chosen in [*shown.values(), *methods.values()] for g in chosen]
    parts = [
        f"{_SWEEPS[name][1].replace('$', '')}: {_ratio_range(chosen, 'pathwise')}" for name, chosen in shown.items()
    ]
    parts = [part.replace("\\beta", "β") for part in parts]
    words = f"median of `pathwise`/$W_2$ over {'; '.join(parts)}. " if parts else ""
    text = f"The ladder along the other sweeps: {words}{_steps(methods)}{_offscale(groups)}{_sizes(groups)}."
    return Drawn(make, text)


def _bounds(axes: Axes, groups: Sequence[Group]) -> None:
    names = [n for n in groups[0].rungs if all(n in g.rungs for g in groups)]
    x = _values(groups)
    rungs = {name: [_banded(g.rung(name)) for g in groups] for name in names}
    plot.bound_ladder(axes, x, rungs, [g.w2 for g in groups], floor=[g.floor for g in groups])
    _sweep_axis(axes, x)


def _banded(estimate: Estimate) -> Estimate:
    """The estimate, with its interval where there are seeds enough for a band."""
    if estimate.n >= MANY:
        return estimate
    return replace(estimate, lo=-math.inf, hi=math.inf)


def _sweep_axis(axes: Axes, x: Sequence[float]) -> None:
    axes.set_xscale("log")
    plot.ticks_at(axes.xaxis, _apart(x))
    reach = (max(x) / min(x)) ** 0.14 if len(x) > 1 else 2.0
    axes.set_xlim(min(x) / reach, max(x) * reach)


def _apart(x: Sequence[float]) -> list[float]:
    """The values that can be labelled on a logarithmic axis of half the page without touching."""
    kept = [x[0]]
    for value in x[1:]:
        room = 0.018 + 0.0156 * (len(f"{value:g}") + len(f"{kept[-1]:g}"))  # shares of the axis, at 8 points
        if value / kept[-1] > (x[-1] / x[0]) ** room:
            kept.append(value)
    return kept


def _values(groups: Sequence[Group]) -> list[float]:
    return [float(g.case.value) for g in groups]


def _ratios(groups: Sequence[Group]) -> dict[str, list[Estimate]]:
    names = [n for n in groups[0].rungs if all(n in g.rungs and g.log_ratio(n) is not None for g in groups)]
    return {name: [_as_ratio(g.log_ratio(name)) for g in groups] for name in names}


def _as_ratio(log_ratio: Estimate | None) -> Estimate:
    """A median log10 ratio as a ratio."""
    assert log_ratio is not None
    lo, mean, hi = (10**v if v < 300 else math.inf for v in (log_ratio.lo, log_ratio.mean, log_ratio.hi))
    if not math.isfinite(log_ratio.lo):
        lo, hi = -math.inf, math.inf
    return Estimate(mean, lo, hi, log_ratio.n, log_ratio.level, log10=log_ratio.mean)


def _discretization(axes: Axes, methods: Mapping[str, Sequence[Group]]) -> None:
    """The term of the budget against steps, with slopes of the methods' orders."""
    axes.set_yscale("log")
    for name, groups in methods.items():
        _, marker, dashes, order, aside = _METHODS[name]
        x, values = _values(groups), [g.terms["discretization"] for g in groups]
        style = {"marker": marker, "linestyle": dashes, "linewidth": 1.3}
        plot.intervals(axes, [aside * value for value in x], values, colour=plot.ink(), **style)
        if order and len(x) > 1:
            slope = [0.55 * values[0].mean * (value / x[0]) ** -order for value in x]
            axes.plot(x, slope, color=plot.muted(), linewidth=0.9, linestyle=":", zorder=1)
    _sweep_axis(axes, sorted({v for groups in methods.values() for v in _values(groups)}))
    _named(axes, methods)
    axes.set_title("Discretization")
    axes.set_xlabel("steps")
    axes.set_ylabel("term of the budget")


def _named(axes: Axes, methods: Mapping[str, Sequence[Group]]) -> None:
    """A legend of this panel alone, which the figure's own leaves out."""
    handles = [axes.plot([], [], color=plot.ink(), marker=_METHODS[m][1], linestyle=_METHODS[m][2])[0] for m in methods]
    axes.legend(handles, [_METHODS[m][0] for m in methods], loc="best", handlelength=2.2)


def _ladder_words(name: str, groups: Sequence[Group]) -> str:
    words = {"error": "with modes of width 0.1", "kwon": "with modes of width 0.0125"}[name]
    parts = [f"{n} {_ratio_range(groups, n)}" for n in ("propagator", "pathwise", "global") if n in groups[0].rungs]
    return f"{words} the median of bound/$W_2$ is {', '.join(parts)}"


def _ratio_range(groups: Sequence[Group], name: str) -> str:
    logs = [r.mean for g in groups if name in g.rungs and (r := g.log_ratio(name)) is not None]
    if not logs:
        return "unknown"
    return factors_between(logs)


def _steps(methods: Mapping[str, Sequence[Group]]) -> str:
    """What the panel of the discretization term shows."""
    if not methods:
        return ""
    orders = [str(_METHODS[name][3]) for name, groups in methods.items() if _METHODS[name][3] and len(groups) > 1]
    slopes = f", with slope{'s' * (len(orders) > 1)} {listed(orders)} dotted" if orders else ""
    return f"The last panel is the discretization term of the budget, the mean over the seeds{slopes}. "


def _sizes(groups: Sequence[Group]) -> str:
    """Bands need as many seeds as claims do."""
    return sizes(groups, "bands and bars" if any(g.seeds >= MANY for g in groups) else "bars")


def _offscale(groups: Sequence[Group]) -> str:
    ratios = [r.mean for g in groups if "global" in g.rungs and (r := g.log_ratio("global")) is not None]
    strip = (
        "The tinted strip gives the published form where it leaves the scale. " if ratios and max(ratios) > 3 else ""
    )
    few = all(g.seeds < MANY for g in groups)
    return strip + (f"No bands below {MANY} seeds. " if few else "Bands of ratios: order statistics of the median. ")
