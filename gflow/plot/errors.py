"""Errors against steps and cost: convergence with reference slopes, and work-precision diagrams."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from gflow.estimate import Estimate
from gflow.plot.axes import muted, series
from gflow.plot.themes import COLOURS, MARKERS

_MOST_LABELS = 7  # of ticks; more would touch where three axes share a line


def convergence(
    axes: Axes, steps: Sequence[float], errors: Sequence[Estimate], *, name: str, label: str, **line: object
) -> None:
    """An error against the number of steps, both logarithmic: a line through the means and a band.

    Args:
        axes: where to draw; both scales are set here.
        steps: numbers of steps, increasing.
        errors: one for each number of steps; those that are 0 are left out.
        name: of the scheme in ``COLOURS`` and ``MARKERS``, or a colour of matplotlib.
        label: for the legend.
        **line: passed to ``Axes.plot``.
    """
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    kept = [(n, e) for n, e in zip(steps, errors, strict=True) if e.mean > 0]
    style = {"marker": MARKERS.get(name, "o"), "markersize": 4.5, **line}
    series(axes, [n for n, _ in kept], [e for _, e in kept], colour=name, label=label, **style)
    # The ticks of all lines so far: series on one axes may have steps of their own.
    drawn = [np.asarray(other.get_xdata(), dtype=float) for other in axes.lines]
    shown = np.unique(np.concatenate([*drawn, np.asarray(steps, dtype=float)])).tolist()
    every = math.ceil(len(shown) / _MOST_LABELS)
    axes.set_xticks(shown, labels=["" if k % every else f"{n:g}" for k, n in enumerate(shown)])
    axes.set_xticks([], minor=True)


def reference_slopes(axes: Axes, orders: Sequence[int], *, at: float = 0.12) -> None:
    """Thin lines of slopes -p for p in ``orders`` from the upper left, each with its order; call after the data.

    ``at`` is the share of the height of the axes, from above, at which they start.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    start = 10 ** (math.log10(high) - at * (math.log10(high) - math.log10(low)))
    span = math.log10(right / left)
    for order in orders:
        # Down to the lower edge or to the right one, whichever comes first.
        reach = min(0.86 * span, math.log10(start / low) * 0.92 / order)
        ends = [left * 10 ** (0.04 * span), left * 10 ** (0.04 * span + reach)]
        style = {"color": muted(), "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 1}
        axes.plot(ends, [start, start * 10 ** (-order * reach)], **style)  # type: ignore[arg-type]  # a style
        place = {"fontsize": 7.0, "color": muted(), "ha": "left", "va": "center"}
        axes.text(ends[1] * 10 ** (0.01 * span), start * 10 ** (-order * reach), f"{order}", **place)  # type: ignore[arg-type]
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)


def work_precision(
    axes: Axes, cost: Sequence[float], errors: Sequence[Estimate], *, name: str, label: str, **line: object
) -> None:
    """An error against what it costs, both logarithmic; arguments as ``convergence``."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    kept = [(c, e) for c, e in zip(cost, errors, strict=True) if e.mean > 0 and c > 0]
    style = {"marker": MARKERS.get(name, "o"), "markersize": 4.5, **line}
    series(axes, [c for c, _ in kept], [e for _, e in kept], colour=COLOURS.get(name, name), label=label, **style)
