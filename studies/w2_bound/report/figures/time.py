"""Figures along time: where the error enters and how it is amplified, and the sign term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gflow import plot
from gflow.estimate import Estimate
from gflow.study.study import Arrays
from studies.w2_bound.report.figures.drawn import Drawn, short, sizes
from studies.w2_bound.report.numbers import number, pooled, pooled_w2
from studies.w2_bound.report.rows import Group, headline, sweep

_BINS = 24


@dataclass(frozen=True)
class Along:
    """A case along time, pooled over its seeds."""

    group: Group
    edges: list[float]
    """Ends of the bins: distance to the data in path time, or sampling time of a user's field."""
    entering: list[Estimate]
    """Model error that enters per unit of log time (of time, for a user's field)."""
    arriving: list[Estimate]
    """What is left of it at the end, amplified along each pair."""
    distance: list[Estimate]
    """Distance of the synchronous coupling at the edges."""

    @property
    def amplification(self) -> float:
        """Sum of what arrives over sum of what enters."""
        entering, arriving = (self._mass(curve).sum() for curve in (self.entering, self.arriving))
        return float(arriving / entering) if entering > 0 else 1.0

    @property
    def half(self) -> float:
        """Time after which half of what arrives enters."""
        mass = self._mass(self.arriving)
        k = int(np.searchsorted(np.cumsum(mass), mass.sum() / 2))
        return self.edges[min(k, len(mass) - 1)]

    def _mass(self, curve: Sequence[Estimate]) -> NDArray[np.floating]:
        widths = np.abs(np.diff(_clock(self.group, np.asarray(self.edges))))
        return np.array([e.mean for e in curve]) * widths


def where(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """Entering and arriving error above, distance of the coupling below, one column a case."""
    chosen = headline(found)[:3]
    profiles = [_along(group, arrays) for group in chosen if all(r.row["arrays"] in arrays for r in group.records)]
    if not profiles:
        return None

    def make() -> Figure:
        columns = len(profiles)
        figure, axes = plot.panels(2, columns, height=4.3, sharex="col")
        for k, along in enumerate(profiles):
            top, low = axes[k], axes[columns + k]
            top.set_title(short(along.group))
            plot.density(top, along.edges, along.entering, colour="C2", label="entering", filled=True)
            plot.density(top, along.edges, along.arriving, colour="C1", label="arriving at the end")
            plot.along_time(low, along.edges, along.distance, colour="C0", label="distance of the coupling")
            top.set_ylim(bottom=0)
            low.set_ylim(bottom=0)
            if _is_log(along.group):
                low.set_xscale("log")
            low.set_xlim(along.edges[0], along.edges[-1])
            low.set_xlabel("path time to the data" if _is_log(along.group) else "sampling time")
        logarithmic = any(_is_log(along.group) for along in profiles)
        axes[0].set_ylabel("error per e-fold of time" if logarithmic else "error per unit of time")
        axes[columns].set_ylabel(r"$\|x_t - y_t\|$ in $L_2$")
        plot.grouped_legend(figure)
        return figure

    parts = [
        f"{a.group.label}: half of what arrives enters after {number(a.half, 2)}, amplified {number(a.amplification)} "
        "times in all"
        for a in profiles
    ]
    return Drawn(
        make,
        f"Where along time the model error enters, and what is left of it at the end: {'; '.join(parts)}. Sampling "
        "runs from left to right; areas are the errors, amplified by the logarithmic norm along each pair "
        f"(`pathwise`). Below, the distance of the synchronous coupling. {sizes(chosen)}.",
    )


def _along(group: Group, arrays: Arrays) -> Along:
    """Cumulated errors, interpolated to common bins; grids of adaptive solves differ between seeds."""
    stored = [_columns(group, arrays[row["arrays"]]) for row in group.rows]
    edges = _edges(group, stored[0]["time"])
    widths = np.abs(np.diff(_clock(group, edges)))
    curves = {
        name: [np.diff(_onto(group, edges, c["time"], np.append(0.0, np.cumsum(c[name])))) / widths for c in stored]
        for name in ("entering", "arriving")
    }
    distances = [_onto(group, edges, c["time"], c["distance"]) for c in stored]
    pooled_curves = {name: _pool(columns) for name, columns in curves.items()}
    return Along(group, edges.tolist(), pooled_curves["entering"], pooled_curves["arriving"], _pool(distances))


def _columns(group: Group, stored: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    s = np.asarray(stored["s"], dtype=float)
    time = s[-1] - s + group.case.stop if _is_log(group) else s
    return {"time": time, **{k: np.asarray(stored[k], dtype=float) for k in ("entering", "arriving", "distance")}}


def _edges(group: Group, time: NDArray[np.floating]) -> NDArray[np.floating]:
    spaced = np.geomspace if _is_log(group) else np.linspace
    return np.asarray(spaced(time[0], time[-1], _BINS + 1))


def _onto(
    group: Group, edges: NDArray[np.floating], time: NDArray[np.floating], values: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Values at the edges, linear in the clock of the case, which always runs forward."""
    at, known = _clock(group, edges), _clock(group, time)
    return np.asarray(np.interp(at, known, values))


def _clock(group: Group, time: NDArray[np.floating]) -> NDArray[np.floating]:
    return -np.log(time) if _is_log(group) else time


def _is_log(group: Group) -> bool:
    return group.case.kind != "field"


def _pool(columns: Sequence[NDArray[np.floating]]) -> list[Estimate]:
    """Seeds pooled at each place; one seed has no interval."""
    return [pooled([Estimate.exact(float(v)) for v in values]) for values in zip(*columns, strict=True)]


def sign(found: Sequence[Group]) -> Drawn | None:
    """The sign term along time for the finest SDE sampler, and the inequality that keeps it, against steps."""
    groups = [g for g in sweep(found, "sde") if all("sign" in row for row in g.rows)]
    if not groups:
        return None
    finest = groups[-1]
    t = [float(v) for v in finest.rows[0]["sign"]["t"]]
    shown = [k for k in range(len(t)) if all(row["sign"]["w2"][k] > 0 for row in finest.rows)]

    def make() -> Figure:
        figure, (left, right) = plot.panels(1, 2, height=2.9, width_ratios=(1.25, 1))
        for name, colour in (("synchronous", "synchronous"), ("optimal", "C1")):
            values = [_scaled(finest, name, k) for k in shown]
            plot.series(left, [t[k] for k in shown], values, colour=colour, label=f"{name} coupling")
        left.axhline(0.0, color=plot.ink(), linewidth=0.8)
        left.set_yscale("symlog", linthresh=1.0)
        left.set_xlim(1.02, -0.02)
        left.set_xlabel("path time $t$ (data at 0)")
        left.set_ylabel(r"sign term / $W_2^2$")
        left.set_title(f"Sign term, {finest.case.steps} steps")
        left.legend(loc="upper left")
        _kept(right, groups)
        return figure

    last = {name: _scaled(finest, name, shown[-1]) for name in ("synchronous", "optimal")}
    gains = [row["sign"]["sharper"].mean / row["sign"]["dropped"].mean for row in finest.rows]
    return Drawn(
        make,
        f"Left: the sign term over $W_2^2$ along the SDE sampler with {finest.case.steps} steps; at the end it is "
        f"{number(last['synchronous'].mean)} under the synchronous and {number(last['optimal'].mean)} under the "
        "optimal coupling of the clouds (W2B-6, W2B-7). Right: the inequality that keeps the term gives "
        f"{number(float(np.median(gains)))} times the one that drops it (W2B-9, median). {sizes([finest])}.",
    )


def _scaled(group: Group, coupling: str, k: int) -> Estimate:
    """The sign term at one time over W2 squared, pooled; one seed keeps the interval over its pairs."""
    scaled = []
    for row in group.rows:
        e, square = row["sign"][coupling][k], row["sign"]["w2"][k] ** 2
        scaled.append(Estimate(e.mean / square, e.lo / square, e.hi / square, e.n, e.level))
    return pooled(scaled)


def _kept(axes: Axes, groups: Sequence[Group]) -> None:
    x = [float(g.case.steps) for g in groups]
    for name, colour, label in (("dropped", "local", "term dropped"), ("sharper", "propagator", "term kept")):
        plot.series(axes, x, [pooled([r["sign"][name] for r in g.rows]) for g in groups], colour=colour, label=label)
    exact = [pooled_w2([Estimate.exact(float(row["sign"]["w2"][-1])) for row in g.rows]) for g in groups]
    plot.intervals(axes, x, exact, colour=plot.ink(), label="exact $W_2$", markerfacecolor="none")
    axes.set_xscale("log")
    axes.set_yscale("log")
    plot.ticks_at(axes.xaxis, x)
    reach = (max(x) / min(x)) ** 0.14 if len(x) > 1 else 2.0
    axes.set_xlim(min(x) / reach, max(x) * reach)
    axes.set_xlabel("Euler-Maruyama steps")
    axes.set_ylabel(r"$W_2$ and its bounds")
    axes.set_title("Bound with and without")
    axes.legend(loc="best")
