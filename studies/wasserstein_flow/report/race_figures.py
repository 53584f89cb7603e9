"""Figures of the estimated flows: W2 along time, clouds, digits, first velocities, and errors of velocities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gflow import plot
from gflow.study.study import Arrays
from studies.drawn import Drawn
from studies.numbers import count, mean_of, number, pooled_mean
from studies.wasserstein_flow.config import TARGETS
from studies.wasserstein_flow.report.rows import Group
from studies.wasserstein_flow.targets import EARLY

Names = Mapping[str, str]
# One colour a family, one dash a member.
_SHOWN: Mapping[str, tuple[str, Any]] = {
    "critic": ("C1", "-"),
    "convolutional critic": ("C1", (0, (5, 1, 1, 1))),
    "tracked critic": ("C1", (0, (2, 1))),
    "kde": ("C0", "-"),
    "ulsif": ("C0", (0, (2, 1))),
    "svgd": ("C3", "-"),
    "mmd": ("C3", (0, (2, 1))),
    "drifting": ("C2", "-"),
    "drifting, unit speed": ("C2", (0, (2, 1))),
    "sinkhorn": ("C4", "-"),
    "sliced": ("C4", (0, (2, 1))),
}
_CLOUDS = ("critic", "kde", "mmd", "sinkhorn")
_ARROWS = ("kde", "critic", "sinkhorn")
_IMAGES = 12
_SIDE = 8  # of a digit
_FAR = 3.0  # times the start's W2: beyond, a flow has blown up


def draw(found: Sequence[Group], arrays: Arrays, names: Names, places: Names) -> dict[str, Drawn]:
    """All figures whose cases are there."""
    made = {
        "race": _race(found, names, places),
        "particles": _particles(found, arrays, names),
        "digits": _digits(found, arrays, names),
        "velocity": _velocity(found, arrays, names),
        "errors": _errors(found, names, places),
    }
    return {name: drawn for name, drawn in made.items() if drawn is not None}


def _on(found: Sequence[Group], target: str) -> dict[str, Group]:
    return {g.case.scheme: g for g in found if g.case.problem == target}


def _race(found: Sequence[Group], names: Names, places: Names) -> Drawn | None:
    """W2 along time, a panel for each target."""
    shown = {t: groups for t in TARGETS if (groups := {n: g for n, g in _on(found, t).items() if n in _SHOWN})}
    if not shown:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, len(shown), height=3.3)
        for at, (target, groups) in zip(axes, shown.items(), strict=True):
            for name in (n for n in _SHOWN if n in groups):
                _along(at, groups[name], name, names[name])
            floor = np.mean([row["floor"] for g in groups.values() for row in g.rows])
            at.axhline(float(floor), color=plot.muted(), linewidth=1.0, linestyle=(0, (4, 2)), label="sampling floor")
            at.set_yscale("log")
            low, high = _range(groups)
            at.set_ylim(0.85 * min(low, float(floor)), 1.15 * high)
            values = [v for v in (0.2, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0) if 0.85 * min(low, floor) <= v <= 1.15 * high]
            plot.ticks_at(at.yaxis, values)
            at.set_title(places[target][0].upper() + places[target][1:])
            at.set_xlabel("time $t$")
        axes[0].set_ylabel("exact $W_2$ to fresh data")
        plot.grouped_legend(figure, columns=4)
        return figure

    everyone = [g for each in shown.values() for g in each.values()]
    return Drawn(
        make,
        "W2 to points of the data's law that no flow has seen, along time, with the same number of evaluations for "
        f"every velocity. Lines that leave the axes have blown up. {sizes(everyone)}.",
    )


def _along(at: Axes, group: Group, name: str, text: str) -> None:
    colour, dashes = _SHOWN[name]
    values = [pooled_mean(list(column)) for column in zip(*(row["w2"] for row in group.rows), strict=True)]
    plot.series(at, group.rows[0]["times"], values, colour=colour, label=text, linestyle=dashes, marker="")


def _range(groups: Mapping[str, Group]) -> tuple[float, float]:
    start = max(row["w2"][0].mean for g in groups.values() for row in g.rows)
    values = [w.mean for g in groups.values() for row in g.rows for w in row["w2"] if w.mean < _FAR * start]
    return min(values), min(max(values), 1.3 * start)


def _particles(found: Sequence[Group], arrays: Arrays, names: Names) -> Drawn | None:
    """Start, early and late particles on the three modes."""
    groups = {n: g for n, g in _on(found, "modes").items() if n in _CLOUDS and g.rows[0]["arrays"] in arrays}
    if not groups:
        return None

    def make() -> Figure:
        columns = len(_CLOUDS)
        figure, axes = plot.panels(1, columns, height=plot.WIDTH / columns + 0.5, sharey=True)
        for at, name in zip(axes, (n for n in _CLOUDS if n in groups), strict=False):
            saved = arrays[groups[name].rows[0]["arrays"]]
            first, early, last = saved["particles"]
            clouds = {"data": saved["data"], "start": first, f"t = {EARLY:g}": early, "end": last}
            colours = {"data": plot.muted(), "start": "C5", f"t = {EARLY:g}": "C2", "end": "C1"}
            plot.particles(at, clouds, colours=colours, half_width=3.2, centre=(0.0, 0.2))
            at.set_title(names[name])
        for at in axes[len(groups) :]:
            at.remove()
        plot.grouped_legend(figure)
        return figure

    seed = next(iter(groups.values())).records[0].seed
    return Drawn(
        make, f"Particles on the way to three modes: where they start, at an early time and at the end. Seed {seed}."
    )


def _digits(found: Sequence[Group], arrays: Arrays, names: Names) -> Drawn | None:
    """Digits at the end of every flow."""
    groups = {n: g for n, g in _on(found, "digits").items() if n in _SHOWN and g.rows[0]["arrays"] in arrays}
    if not groups:
        return None

    def make() -> Figure:
        chosen = [n for n in _SHOWN if n in groups]
        saved = {name: arrays[groups[name].rows[0]["arrays"]] for name in chosen}
        rows: dict[str, NDArray[np.floating]] = {"start": saved[chosen[0]]["particles"][0]}
        rows |= {names[name]: saved[name]["particles"][-1] for name in chosen}
        rows["data, not seen"] = saved[chosen[0]]["data"]
        figure, axes = plot.panels(1, 1, height=0.4 * len(rows) + 0.2)
        plot.image_grid(axes[0], rows, columns=_IMAGES, shape=(_SIDE, _SIDE))
        axes[0].tick_params(axis="y", labelsize=7.0)
        return figure

    seed = next(iter(groups.values())).records[0].seed
    return Drawn(make, f"Digits: the same particles at the start and at the end of every flow. Seed {seed}.")


def _velocity(found: Sequence[Group], arrays: Arrays, names: Names) -> Drawn | None:
    """The first velocity over the contours of the exact log-ratio."""
    groups = {n: g for n, g in _on(found, "modes").items() if n in _ARROWS and g.rows[0]["arrays"] in arrays}
    if not groups:
        return None

    def make() -> Figure:
        saved = {n: arrays[groups[n].rows[0]["arrays"]] for n in _ARROWS if n in groups}
        first = next(iter(saved.values()))
        fields = {"exact": first["exact"], **{names[n]: a["velocity"] for n, a in saved.items()}}
        figure, axes = plot.panels(1, len(fields), height=plot.WIDTH / len(fields) + 0.5, sharey=True)
        for at, (title, velocity) in zip(axes, fields.items(), strict=True):
            _arrows(at, first, velocity)
            at.set_title(title)
        return figure

    seed = next(iter(groups.values())).records[0].seed
    return Drawn(
        make,
        "The velocity of the first evaluation towards three modes over the contours of the exact log-ratio "
        f"$\\log p/q_0$, whose gradient is the exact one; arrows of each panel in units of their root mean square. "
        f"Seed {seed}.",
    )


def _arrows(at: Axes, saved: Mapping[str, NDArray[Any]], velocity: NDArray[Any]) -> None:
    x = saved["lattice"]
    side = round(len(x) ** 0.5)
    mesh = [x[:, k].reshape(side, side) for k in (0, 1)]
    levels = np.linspace(-8.0, 24.0, 9)
    at.contourf(*mesh, saved["log_ratio"].reshape(side, side), levels=levels, cmap="viridis", alpha=0.55, extend="both")
    thin = (np.indices((side, side)).reshape(2, -1) % 2 == 0).all(0)
    shown = velocity / np.sqrt((velocity**2).sum(1).mean())
    at.quiver(*x[thin].T, *shown[thin].T, color=plot.ink(), angles="xy", scale=13.0, width=0.006)
    at.set_aspect("equal")
    at.grid(visible=False)


def _errors(found: Sequence[Group], names: Names, places: Names) -> Drawn | None:
    """Relative error of estimates of the KL velocity, and cosine with it, along early time."""
    shown = {t: groups for t in TARGETS if (groups := {n: g for n, g in _on(found, t).items() if _has(g, n)})}
    if not shown:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(2, len(shown), height=5.0, sharex=True, sharey="row")
        pairs = [(t, part) for part in ("relative", "cosine") for t in shown]
        for at, (target, part) in zip(axes, pairs, strict=True):
            for name in (n for n in _SHOWN if n in shown[target]):
                group = shown[target][name]
                if part == "relative" and group.rows[0]["budget"] is None:
                    continue
                columns = zip(*(row["error"][part] for row in group.rows), strict=True)
                values = [mean_of(list(c)) for c in columns]
                colour, dashes = _SHOWN[name]
                times = group.rows[0]["error"]["times"]
                plot.series(at, times, values, colour=colour, label=names[name], linestyle=dashes, marker="")
            at.set_ylim((0.0, 1.5) if part == "relative" else (-0.5, 1.0))
            if part == "relative":
                at.set_title(places[target][0].upper() + places[target][1:])
            else:
                at.set_xlabel("time $t$")
        axes[0].set_ylabel("relative error")
        axes[len(shown)].set_ylabel("cosine")
        plot.grouped_legend(figure, columns=4)
        return figure

    everyone = [g for each in shown.values() for g in each.values()]
    return Drawn(
        make,
        "Velocities against that of the KL flow at the law they have reached, in $L^2(q_t)$: relative error of those "
        f"that estimate it, and the cosine of all. {sizes(everyone)}.",
    )


def _has(group: Group, name: str) -> bool:
    return name in _SHOWN and group.rows[0]["error"] is not None


def sizes(groups: Sequence[Group]) -> str:
    """How many seeds, and what bands are."""
    seeds = sorted({g.seeds for g in groups})
    repeats = count(seeds[0], "seed") if len(seeds) == 1 else f"{number(seeds[0])} to {number(seeds[-1])} seeds"
    return f"Means over {repeats}" + ("; bands: 95 % between seeds" if seeds[-1] > 1 else "")
