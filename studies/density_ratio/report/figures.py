"""The figures: fields in the plane, sweeps, value against gradient, methods, and vanishing gradients."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from gflow import plot
from gflow.estimate import Estimate
from gflow.study.study import Arrays
from studies.density_ratio.config import Kind
from studies.density_ratio.report import fields
from studies.density_ratio.report.rows import ESTIMATORS, Group, planar, point, sweep
from studies.drawn import Drawn
from studies.numbers import count
from studies.repeats import of_kind

COLOURS = {"critic": "C0", "kde": "C1", "ulsif": "C2", "kde-best": "C5"}
MARKS = {"critic": "o", "kde": "s", "ulsif": "^", "kde-best": "D"}
_DECADES = 10.0**3.5  # span of an axis beyond which powers of ten are enough
_FAMILIES = {"base": "vanilla critic", "divergence": "objectives", "penalty": "penalties", "width": "widths"}
_HUES = {
    "vanilla critic": "C0",
    ESTIMATORS["kde"]: "C1",
    ESTIMATORS["ulsif"]: "C2",
    "penalties": "C3",
    "widths": "C4",
    "objectives": "C5",
}


def draw(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:
    """All figures whose cases are there."""
    made = {
        "fields": fields.draw(found, arrays),
        "sizes": _sizes(found),
        "dimensions": _dimensions(found),
        "methods": _methods(found),
        "pairs": _pairs(found),
        "overlap": _overlap(found),
    }
    return {name: drawn for name, drawn in made.items() if drawn is not None}


def _sizes(found: Sequence[Group]) -> Drawn | None:
    """Value and gradient errors against the number of points."""
    shown = _lines(found, "size")
    if not shown:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, 2, height=3.0)
        for at, name, title in zip(axes, ("value", "gradient"), ("Value of log r", "Gradient of log r"), strict=True):
            for estimator, groups in shown.items():
                _line(at, groups, "size", estimator, name)
            _swept(at, shown, "size", "points of either cloud")
            at.set_title(title)
        axes[0].set_ylabel("error in $L^2(q)$")
        plot.grouped_legend(figure)
        return figure

    return Drawn(
        make,
        "Error in value (a constant taken off) and in gradient against the number of points of either cloud, planar "
        f"mixtures. {_seeds(shown)}.",
    )


def _dimensions(found: Sequence[Group]) -> Drawn | None:
    """Relative gradient error in higher dimensions and on digits."""
    kinds: dict[Kind, tuple[str, str]] = {
        "dimension": ("One ratio hidden in d dimensions", "dimension d"),
        "digits": ("Digits under noise, d = 64", "standard deviation of the noise"),
    }
    shown = {kind: lines for kind in kinds if (lines := _lines(found, kind))}
    if not shown:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, len(shown), height=3.0)
        for at, (kind, lines) in zip(axes, shown.items(), strict=True):
            for estimator, groups in lines.items():
                _line(at, groups, kind, estimator, "relative")
            _swept(at, lines, kind, kinds[kind][1])
            at.axhline(1.0, color=plot.muted(), linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
            at.set_title(kinds[kind][0])
        axes[0].set_ylabel("gradient error over the gradient")
        plot.grouped_legend(figure)
        return figure

    return Drawn(
        make,
        "Gradient error over the size of the true gradient; at the dotted line the zero field is as good. Left: the "
        "law of log r is the same in every dimension. Right: the digits under noise against a normal law. "
        f"{_seeds({k: g for lines in shown.values() for k, g in lines.items()})}.",
    )


def _methods(found: Sequence[Group]) -> Drawn | None:
    """Gradient errors of all methods with a log-ratio, and the direction of all, on one problem."""
    ordered = sorted(planar(found), key=lambda g: -statistics.fmean(g.values("cosine")))
    if len(ordered) < 2:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, 2, height=1.0 + 0.19 * len(ordered), sharey=True)
        for family, members in _families(ordered).items():
            for at, name in zip(axes, ("gradient", "cosine"), strict=True):
                shown = [(ordered.index(g), e) for g in members if (e := _value(g, name)) is not None]
                places, values = [k for k, _ in shown], [e for _, e in shown]
                plot.intervals(at, places, values, colour=_HUES[family], label=family, horizontal=True)
        axes[0].set_yticks(range(len(ordered)), [g.label for g in ordered])
        axes[0].invert_yaxis()
        axes[0].set_xscale("log")
        axes[1].set_xlim(right=1.02)  # Student's interval may pass 1, where no cosine lies
        _plain(axes[0].xaxis)
        axes[0].set_xlabel("gradient error in $L^2(q)$")
        axes[1].set_xlabel(r"cosine with $\nabla \log r$ in $L^2(q)$")
        plot.grouped_legend(figure)
        return figure

    return Drawn(
        make,
        "All methods on the same clouds of the planar mixtures: gradient error (critics without a log-ratio have "
        f"none), and direction alone. {_seeds({'': ordered})}.",
    )


def _pairs(found: Sequence[Group]) -> Drawn | None:
    """Gradient error against value error, a mark for each method and seed."""
    chosen = [g for g in planar(found) if g.values("gradient")]
    if len(chosen) < 2:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, 2, height=3.0, sharey=True)
        for at, name, label in zip(axes, ("value", "excess"), ("value error in $L^2(q)$", "excess risk"), strict=True):
            for family, members in _families(chosen).items():
                for g in members:
                    style: dict[str, Any] = {"linestyle": "none", "marker": MARKS[g.case.estimator], "alpha": 0.8}
                    at.plot(g.values(name), g.values("gradient"), color=_HUES[family], label=family, **style)
            at.set_xscale("log")
            at.set_yscale("log")
            _plain(at.xaxis)
            _plain(at.yaxis)
            at.set_xlabel(label)
        axes[0].set_ylabel("gradient error in $L^2(q)$")
        plot.grouped_legend(figure, columns=6)
        return figure

    return Drawn(
        make,
        "Gradient error against value error, and against the excess risk that training and stopping see (RATIO-2): a "
        f"mark for each method and seed, on the same clouds of the planar mixtures. {_seeds({'': chosen})}.",
    )


def _overlap(found: Sequence[Group]) -> Drawn | None:
    """The gradient, and the rates of both generator losses, as the laws part."""
    shown = _lines(found, "overlap")
    if "critic" not in shown:
        return None
    critics = shown["critic"]
    m = [g.case.shift for g in critics]

    def make() -> Figure:
        figure, axes = plot.panels(1, 3, height=2.9)
        style: dict[str, Any] = {"color": plot.ink(), "linewidth": 1.2, "linestyle": (0, (4, 2)), "zorder": 1}
        for estimator, groups in shown.items():
            _line(axes[0], groups, "overlap", estimator, "length")
            _line(axes[1], groups, "overlap", estimator, "relative")
        axes[0].plot(m, m, label="exact", **style)
        for name, colour, text in (("saturating", "C3", "saturating"), ("non_saturating", "C4", "non-saturating")):
            exact = [g.rows[0]["exact_rates"][name] for g in critics]
            axes[2].plot(m, exact, label="exact", **style)
            values = [e for g in critics if (e := g.mean(name)) is not None]
            plot.series(axes[2], m, values, colour=colour, label=f"critic, {text}")
        for at, title in zip(axes, ("Size of ∇D in L²(q)", "Error of ∇D over ∇ log r", "E h'(D) under q"), strict=True):
            at.set_title(title)
            _swept(at, shown, "overlap", "distance m")
        plot.grouped_legend(figure)
        return figure

    return Drawn(
        make,
        "N(m, 1) against N(0, 1): the exact critic's gradient is m and vanishes nowhere; what vanishes is the factor "
        "h' of the saturating loss (RATIO-7). A critic fitted to samples that no longer meet has lost the gradient by "
        f"itself. {_seeds(shown)}.",
    )


def _lines(found: Sequence[Group], kind: Kind) -> dict[str, list[Group]]:
    """The estimators along a sweep, where the sweep itself is there."""
    return {e: groups for e in ESTIMATORS if (groups := sweep(found, kind, e))} if of_kind(found, kind) else {}


def _line(at: Axes, groups: Sequence[Group], kind: Kind, estimator: str, name: str) -> None:
    points = [(point(g, kind), e) for g in groups if (e := g.mean(name)) is not None]
    style = {"marker": MARKS[estimator], "markersize": 4.5, "linestyle": "none" if len(points) == 1 else "-"}
    plot.series(
        at,
        [x for x, _ in points],
        [e for _, e in points],
        colour=COLOURS[estimator],
        label=ESTIMATORS[estimator],
        **style,
    )


def _swept(at: Axes, lines: Mapping[str, Sequence[Group]], kind: Kind, label: str) -> None:
    """Logarithmic axes, labelled at the points of the sweep."""
    at.set_xscale("log")
    at.set_yscale("log")
    _plain(at.yaxis)
    plot.ticks_at(at.xaxis, sorted({point(g, kind) for groups in lines.values() for g in groups}))
    at.set_xlabel(label)


def _plain(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: 1, 2 and 5 of every decade, while these are few."""
    low, high = axis.get_view_interval()
    if high > _DECADES * low:
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _families(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """The methods by what they vary, each family with a colour of its own."""
    found: dict[str, list[Group]] = {}
    for g in groups:
        critic = g.case.estimator == "critic"
        found.setdefault(_FAMILIES[g.case.kind] if critic else ESTIMATORS[g.case.estimator], []).append(g)
    return found


def _value(g: Group, name: str) -> Estimate | None:
    return g.average(name) if name == "cosine" else g.mean(name)


def _seeds(shown: Mapping[str, Sequence[Group]]) -> str:
    seeds = sorted({g.seeds for groups in shown.values() for g in groups})
    repeats = count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return f"{repeats}, geometric means" + ("; intervals: 95 % between seeds" if seeds[-1] > 1 else "")
