"""The figures: orders of samplers, of critics and games, the certificate, and work-precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gflow import plot
from gflow.estimate import Estimate
from gflow.study.study import Arrays
from studies.discretization.report.rows import METHODS, PROBLEMS, Group, on
from studies.drawn import Drawn
from studies.numbers import count, number, pooled

_FORMS = ("pathwise", "local", "rigorous")
_KEPT, _LOST = ("-", None), ((0, (3, 1.5)), "none")
# Lines of each panel: what the order needs (solid), and the same method without it (dashed, hollow).
_PANELS = {
    "Critic": {
        "critic/tracking-euler": _KEPT,
        "critic/tracking-midpoint": _KEPT,
        "critic/tracking-rk4": _KEPT,
        "critic/frozen-midpoint": _LOST,
        "critic/frozen-rk4": _LOST,
    },
    "Game": {
        "game/joint-euler": _KEPT,
        "game/joint-heun": _KEPT,
        "game/joint-rk4": _KEPT,
        "game/frozen-heun": _LOST,
        "game/frozen-rk4": _LOST,
    },
    "Penalty": {"game/penalty-inside": _KEPT, "game/penalty-outside": _LOST},
}


def draw(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:
    """All figures whose cases are there."""
    made = {
        "orders": _orders(found),
        "games": _games(found),
        "certificate": _certificate(found),
        "where": _where(found, arrays),
        "work": _work(found),
    }
    return {name: drawn for name, drawn in made.items() if drawn is not None}


def _orders(found: Sequence[Group]) -> Drawn | None:
    """Error against steps, a panel for each problem."""
    shown = {name: groups for name in PROBLEMS if (groups := on(found, name))}
    if not shown:
        return None

    def make() -> Figure:
        rows = math.ceil(len(shown) / 2)
        figure, axes = plot.panels(rows, min(2, len(shown)), height=2.7 * rows + 0.4)
        for at, (name, groups) in zip(axes, shown.items(), strict=False):
            for g in groups:
                _line(at, g, METHODS[g.case.scheme], g.case.scheme)
            at.set_title(PROBLEMS[name])
            plot.reference_slopes(at, sorted({int(g.case.order) for g in groups}))
        for at in axes[len(shown) :]:
            at.remove()
        for at in axes[:: min(2, len(shown))]:
            at.set_ylabel("RMS error at the end")
        for at in axes[-min(2, len(shown)) :]:
            at.set_xlabel("steps")
        plot.grouped_legend(figure, columns=7)
        return figure

    return Drawn(
        make,
        "Error at the end of sampling against the number of equal steps, with slopes of the nominal orders dotted. "
        f"{_ranges(shown)} {_sizes([g for groups in shown.values() for g in groups])}.",
    )


def _games(found: Sequence[Group]) -> Drawn | None:
    """Critics, games and penalties: the same method with and without what it needs."""
    by_name = {g.case.name: g for g in found}
    shown = {t: {by_name[n]: style for n, style in lines.items() if n in by_name} for t, lines in _PANELS.items()}
    shown = {title: lines for title, lines in shown.items() if lines}
    if not shown:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, len(shown), height=3.0)
        for at, (title, lines) in zip(axes, shown.items(), strict=True):
            for g, (dashes, face) in lines.items():
                text = METHODS[g.case.scheme] if face is None else "the same without it"
                style = {} if face is None else {"markerfacecolor": face, "markersize": 7.0}
                _line(at, g, text, g.case.scheme, linestyle=dashes, **style)
            at.set_title(title)
            at.set_xlabel("steps")
            plot.reference_slopes(at, sorted({int(g.case.order) for g in lines}))
        axes[0].set_ylabel("RMS error at the end")
        plot.grouped_legend(figure)
        return figure

    groups = [g for lines in shown.values() for g in lines]
    return Drawn(
        make,
        "The same methods with what their order needs (solid) and without it (dashed, hollow): the critic optimal at "
        "every stage, the opponent moved with the stages, the penalty inside the field. The dashed lines lie on "
        f"Euler's. Slopes of the orders dotted. {_sizes(groups)}.",
    )


def _certificate(found: Sequence[Group]) -> Drawn | None:
    """The three forms above the true W2 on the mixture."""
    groups = [g for g in on(found, "mixture") if g.case.scheme in ("euler", "heun", "rk4", "dopri5")]
    if not groups:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, len(groups), height=3.0, sharey=True)
        for at, g in zip(axes, groups, strict=True):
            for name in _FORMS:
                points = [(n, e) for n, e in zip(g.certified_steps, g.form(name), strict=True) if e is not None]
                if points:
                    xs, values = [n for n, _ in points], [e for _, e in points]
                    plot.convergence(at, xs, values, name=name, label=name)
            trues = [e for e in g.form("w2") if e is not None]
            plot.intervals(at, g.certified_steps, trues, colour=plot.ink(), label="true $W_2$", markerfacecolor="none")
            at.set_title(METHODS[g.case.scheme])
            at.set_xlabel("steps")
            at.set_xticks(g.certified_steps, labels=[str(n) for n in g.certified_steps])
        axes[0].set_ylabel("$W_2$ to the exact flow, and its bounds")
        plot.grouped_legend(figure, columns=5)
        return figure

    parts = [f"{METHODS[g.case.scheme]} {_span(g, 'pathwise')}" for g in groups]
    return Drawn(
        make,
        f"The discretization certificate on the four modes: true $W_2$ between the exact and the numerical cloud, and "
        f"its "
        f"three bounds. `pathwise` over $W_2$: {'; '.join(parts)}. {_sizes(groups)}.",
    )


def _where(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """Defect and bound along sampling time."""
    groups = [g for g in on(found, "mixture") if g.case.scheme in ("euler", "heun", "rk4")]
    stored = [(g, arrays[g.rows[0]["arrays"]]) for g in groups if g.rows[0].get("arrays") in arrays]
    if not stored:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, 2, height=2.8)
        for g, saved in stored:
            s = saved["s"]
            style = {"colour": g.case.scheme, "label": METHODS[g.case.scheme]}
            plot.along_time(
                axes[0], ((s[:-1] + s[1:]) / 2).tolist(), [Estimate.exact(float(v)) for v in saved["defect"]], **style
            )
            plot.along_time(axes[1], s[1:].tolist(), [Estimate.exact(float(v)) for v in saved["radius"][1:]], **style)
        for at, title in zip(axes, ("Defect of the interpolant", "Pathwise bound so far"), strict=True):
            at.set_title(title)
            at.set_yscale("log")
            at.set_xlabel("sampling time $s$")
        axes[0].set_ylabel("$L^2$ over the particles")
        plot.grouped_legend(figure)
        return figure

    steps = len(stored[0][1]["s"]) - 1
    return Drawn(
        make,
        f"Where the error enters on the four modes with {steps} steps, and what the flow makes of it: the defect of "
        f"the "
        f"numerical solution, and the pathwise bound up to each time. Seed {stored[0][0].records[0].seed}.",
    )


def _work(found: Sequence[Group]) -> Drawn | None:
    """Error against evaluations, equal steps and step control."""
    shown = {name: groups for name in ("mixture", "rectified") if (groups := on(found, name))}
    if not shown:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, len(shown), height=3.1)
        for at, (name, groups) in zip(axes, shown.items(), strict=True):
            for g in groups:
                plot.work_precision(at, g.evaluations, g.errors, name=g.case.scheme, label=METHODS[g.case.scheme])
                _adaptive(at, g)
            at.set_title(PROBLEMS[name])
            at.set_xlabel("evaluations of the field")
        axes[0].set_ylabel("RMS error at the end")
        plot.grouped_legend(figure, columns=7)
        return figure

    return Drawn(
        make,
        "Work-precision: error against evaluations with equal steps (solid) and under step control at the tolerances "
        "of "
        f"the config (dotted). Lower and further left is better. {_sizes([g for gs in shown.values() for g in gs])}.",
    )


def _adaptive(at: Axes, group: Group) -> None:
    points = list(zip(*(row["adaptive"] for row in group.rows), strict=True))
    if not points:
        return
    cost = [sum(p["evaluations"] for p in column) / len(column) for column in points]
    errors = [pooled([Estimate.bound(math.log(p["error"])) for p in column]) for column in points]
    style = {"linestyle": (0, (1, 1.2)), "linewidth": 1.2, "markersize": 3.0, "markerfacecolor": "none"}
    plot.work_precision(at, cost, errors, name=group.case.scheme, label="_nolegend_", **style)


def _line(at: Axes, group: Group, text: str, scheme: str, **style: object) -> None:
    plot.convergence(at, group.steps, group.errors, name=scheme, label=text, **style)


def _span(group: Group, name: str) -> str:
    values = [r.mean for r in group.ratios(name) if r is not None]
    return f"{number(max(values))} to {number(min(values))}" if values else "not known"


def _ranges(shown: Mapping[str, Sequence[Group]]) -> str:
    orders = [g for groups in shown.values() for g in groups if g.order is not None]
    worst = max(orders, key=lambda g: abs(g.order.mean - g.case.order) if g.order is not None else 0.0)
    assert worst.order is not None
    return f"Furthest from its nominal order: {worst.label}, {worst.order.mean:.3f}."


def _sizes(groups: Sequence[Group]) -> str:
    seeds = sorted({g.seeds for g in groups})
    repeats = count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return f"{repeats}, geometric means" + ("; bands: 95 % between seeds" if seeds[-1] > 1 else "")
