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
from studies.drawn import Drawn
from studies.numbers import bracketed, count, factor, number, pooled, pooled_bounds, pooled_w2
from studies.w2_bound.report.figures.drawn import sizes
from studies.w2_bound.report.rows import Group, headline, short, sign_gain, sweep

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
        """Time between which and the end of sampling half of what arrives enters."""
        mass = self._mass(self.arriving)
        k = int(np.searchsorted(np.cumsum(mass), mass.sum() / 2))
        return self.edges[min(k, len(mass) - 1)]

    def _mass(self, curve: Sequence[Estimate]) -> NDArray[np.floating]:
        widths = np.abs(np.diff(_clock(self.group, np.asarray(self.edges))))
        return np.array([e.mean for e in curve]) * widths


def where(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """Entering and arriving error above, distance of the coupling below, one column a case."""
    there = [group for group in headline(found)[:3] if all(r.row["arrays"] in arrays for r in group.records)]
    stored = [group for group in there if _enters(group, arrays)]
    chosen = [group for group in stored if _is_finite(group, arrays)]
    profiles = [_along(group, arrays) for group in chosen]
    if not profiles:
        return None

    def make() -> Figure:
        columns = len(profiles)
        figure, axes = plot.panels(2, columns, height=4.3, sharex="col")
        for k, along in enumerate(profiles):
            top, low = axes[k], axes[columns + k]
            top.set_title(short(along.group))
            plot.density(top, along.edges, along.entering, colour="model", label="entering", filled=True)
            plot.density(top, along.edges, along.arriving, colour="pathwise", label="arriving at the end")
            plot.along_time(low, along.edges, along.distance, colour="synchronous", label="distance of the coupling")
            top.set_ylim(bottom=0)
            low.set_ylim(bottom=0)
            if _is_log(along.group):
                low.set_xscale("log")
            low.set_xlim(along.edges[0], along.edges[-1])
            low.set_xlabel("path time $t$ (data at 0)" if _is_log(along.group) else "sampling time $s$")
        logarithmic = any(_is_log(along.group) for along in profiles)
        axes[0].set_ylabel("error per e-fold of time" if logarithmic else "error per unit of time")
        axes[columns].set_ylabel(r"$\|x_t - y_t\|$ in $L_2$")
        plot.grouped_legend(figure)
        return figure

    parts = [
        f"{a.group.label}: half of what arrives enters {'below t' if _is_log(a.group) else 'after s'} = "
        f"{number(a.half, 2)}, amplified {number(a.amplification)} times in all"
        for a in profiles
    ]
    return Drawn(
        make,
        f"Where along time the model error enters, and what is left of it at the end: {'; '.join(parts)}. Sampling "
        "runs from left to right; areas are the errors, amplified by the logarithmic norm along each pair "
        f"(`pathwise`). Below, the distance of the synchronous coupling. {sizes(chosen, 'bands')}."
        + "".join(f" Not drawn, for it overflows: {group.label}." for group in stored if group not in chosen),
    )


def _enters(group: Group, arrays: Arrays) -> bool:
    """Whether any error enters: none does where the model is the reference."""
    return any(bool((arrays[row["arrays"]]["entering"] > 0).any()) for row in group.rows)


def _is_finite(group: Group, arrays: Arrays) -> bool:
    """Whether all curves are numbers: an amplification past 1e308 is known by its logarithm only."""
    return all(bool(np.isfinite(arrays[row["arrays"]]["arriving"]).all()) for row in group.rows)


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
        for name, colour in (("synchronous", "synchronous"), ("optimal", "C0")):
            values = [_scaled(finest, name, k) for k in shown]
            plot.series(left, [t[k] for k in shown], values, colour=colour, label=f"{name} coupling")
        left.axhline(0.0, color=plot.ink(), linewidth=0.8)
        left.set_yscale("symlog", linthresh=1.0)
        left.set_xscale("log")
        left.invert_xaxis()
        left.set_xlabel("path time $t$ (data at 0)")
        left.set_ylabel(r"sign term / $W_2^2$, linear within $\pm 1$")
        left.set_title(f"Sign term, {finest.case.steps} steps")
        left.legend(loc="lower left")
        _kept(right, groups)
        return figure

    last = {name: _with_interval(_scaled(finest, name, shown[-1])) for name in ("synchronous", "optimal")}
    return Drawn(
        make,
        f"Left: the sign term over $W_2^2$ along the SDE sampler with {finest.case.steps} steps; at the end it is "
        f"{last['synchronous']} under the synchronous and {last['optimal']} under the optimal coupling of the clouds "
        "(W2B-6, W2B-7). Right: `local` of the ladder, whose constant is the largest growth of a step over the pairs, "
        "drops the term; with the term kept, interpolated between the times on the left, it is "
        f"{factor(sign_gain(finest).mean)} times as large (W2B-9, median, {finest.case.steps} steps). "
        f"{_sign_sizes(groups)}.",
    )


def _scaled(group: Group, coupling: str, k: int) -> Estimate:
    """The sign term at one time over W2 squared, pooled; one seed keeps the interval over its pairs."""
    scaled = []
    for row in group.rows:
        e, square = row["sign"][coupling][k], row["sign"]["w2"][k] ** 2
        scaled.append(Estimate(e.mean / square, e.lo / square, e.hi / square, e.n, e.level))
    return pooled(scaled)


def _with_interval(estimate: Estimate) -> str:
    """Of either sign, with the interval that is drawn."""
    text = number(estimate.mean)
    known = np.isfinite(estimate.lo) and np.isfinite(estimate.hi)
    return bracketed(text, number(estimate.lo), number(estimate.hi)) if known else text


def _sign_sizes(groups: Sequence[Group]) -> str:
    """One seed has the interval over its pairs on the left, and none on the right."""
    if groups[-1].seeds > 1:
        return sizes(groups, "bands and bars")
    return f"n = {groups[-1].n} particles, {count(1, 'seed')}; interval over its pairs on the left, none on the right"


def _kept(axes: Axes, groups: Sequence[Group]) -> None:
    x = [float(g.case.steps) for g in groups]
    kept = [pooled_bounds([row["sign"]["sharper"] for row in g.rows]) for g in groups]
    plot.series(axes, x, [g.rung("local") for g in groups], colour="local", label="local, term dropped")
    plot.series(axes, x, kept, colour="C0", label="term kept")
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
