"""Axes and what every figure draws on them: estimates against a sweep, ticks, legends. Knows no study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from gflow.estimate import Estimate
from gflow.plot.themes import COLOURS, PAGES, WIDTH


def panels(
    rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float | None = None, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with its axes in reading order; further keywords go to ``Figure.subplots``.

    Args:
        rows: rows of axes.
        columns: columns of axes.
        width: width in inches.
        height: height in inches; by default each axes is two thirds as high as wide.
        **subplots: ``sharex``, ``sharey``, ``width_ratios`` and the like.
    """
    size = (width, height if height is not None else max(2.4, width / columns * 0.66) * rows)
    figure = Figure(figsize=size)
    grid = figure.subplots(rows, columns, squeeze=False, **subplots)
    return figure, list(grid.ravel())


def series(
    axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], *, colour: str, label: str, **line: Any
) -> None:
    """Estimates against ``x``: a line through the means, and a band where the intervals are finite.

    Args:
        axes: where to draw.
        x: positions, in the order of the line.
        estimates: one for each position.
        colour: a name of ``COLOURS`` or a colour of matplotlib.
        label: for the legend.
        **line: passed to ``Axes.plot``.
    """
    if len(x) != len(estimates):
        raise ValueError(f"series: expected one estimate for each x, got {len(x)} and {len(estimates)}")
    colour = COLOURS.get(colour, colour)
    lo, hi = np.array([e.lo for e in estimates]), np.array([e.hi for e in estimates])
    axes.plot(x, [e.mean for e in estimates], color=colour, label=label, **{"marker": "o", **line})
    known = np.isfinite(lo) & np.isfinite(hi)
    if len(x) == 1 and known[0]:
        axes.vlines(x, lo, hi, color=colour, linewidth=1.2)
    axes.fill_between(x, lo, hi, where=known.tolist(), color=colour, alpha=0.15, linewidth=0)


def intervals(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Estimate],
    *,
    colour: str,
    label: str = "",
    horizontal: bool = False,
    halo: bool = False,
    up_to: float = math.inf,
    **marks: Any,
) -> None:
    """Estimates as single marks with a bar where the interval is finite, for measured values and categories.

    An interval that leaves the axes ends in an arrow at the edge: on a logarithmic axis, whose scale
    must be set before, where it reaches 0, and where it passes ``up_to``.

    Args:
        axes: where to draw.
        x: positions.
        estimates: one for each position.
        colour: a name of ``COLOURS`` or a colour of matplotlib.
        label: for the legend.
        horizontal: values along the horizontal axis, positions along the vertical one.
        halo: a rim in the colour of the page, for marks on top of bars.
        up_to: upper limit of the axis, where it is fixed.
        **marks: passed to ``Axes.plot``.
    """
    if len(x) != len(estimates):
        raise ValueError(f"intervals: expected one estimate for each x, got {len(x)} and {len(estimates)}")
    colour = COLOURS.get(colour, colour)
    means = [e.mean for e in estimates]
    style = {"marker": "D", "linestyle": "none", "markersize": 4.5, "zorder": 5, **marks}
    rim = [withStroke(linewidth=3.2, foreground=page())] if halo else []
    places = (means, x) if horizontal else (x, means)
    axes.plot(*places, color=colour, label=label or "_nolegend_", path_effects=rim, **style)
    bars = axes.hlines if horizontal else axes.vlines
    logarithmic = (axes.get_xscale() if horizontal else axes.get_yscale()) == "log"
    for at, e in zip(x, estimates, strict=True):
        if not (np.isfinite(e.lo) and np.isfinite(e.hi)):
            continue
        bar = {"color": colour, "linewidth": 1.4, "zorder": style["zorder"] - 0.5, "path_effects": rim}
        below, above = logarithmic and e.lo <= 0, e.hi > up_to
        bars(at, e.mean if below else e.lo, e.mean if above else e.hi, **bar)
        for edge, off in ((0.0, below), (1.0, above)):
            if off:
                _arrow(axes, at, e.mean, edge, horizontal, bar)


def _arrow(axes: Axes, at: float, start: float, edge: float, horizontal: bool, line: Mapping[str, Any]) -> None:
    """From a mark to the lower (0) or upper (1) edge of the axes, for an interval that goes on beyond it."""
    place = axes.get_yaxis_transform() if horizontal else axes.get_xaxis_transform()
    ends: list[tuple[float, float]] = [(edge, at), (start, at)] if horizontal else [(at, edge), (at, start)]
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **line}
    axes.annotate("", xy=ends[0], xycoords=place, xytext=ends[1], textcoords="data", arrowprops=arrow)


def grouped_legend(figure: Figure, *, columns: int = 6) -> None:
    """One legend above all axes, each label once: bars first, then lines and marks as they were drawn."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    found = dict(sorted(handles.items(), key=lambda item: not isinstance(item[1], BarContainer)))
    if found:
        figure.legend(
            list(found.values()),
            list(found),
            loc="outside upper left",
            ncols=min(columns, len(found)),
            columnspacing=1.1,
            handletextpad=0.5,
            borderaxespad=0.2,
        )


def ticks_at(axis: Axis, values: Sequence[float]) -> None:
    """Label an axis at the points of a sweep and nowhere else, by their values, on any scale."""
    axis.set_ticks(list(values), labels=[f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def ink() -> str:
    """Colour of text in the theme that is drawn; for measured values among bounds."""
    return str(matplotlib.rcParams["text.color"])


def page() -> str:
    """Colour of the page that the theme is drawn for; the halo of marks that lie on bars."""
    return PAGES["dark" if to_rgb(ink())[0] > 0.5 else "light"]


def muted() -> str:
    """Colour of ticks in the theme that is drawn; for floors, references and slopes."""
    return str(matplotlib.rcParams["xtick.color"])
