"""Figure of the trained networks: what the weight of the loss does, and the denoising identity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gflow import plot
from gflow.estimate import Estimate
from studies.drawn import Drawn
from studies.numbers import number, pooled
from studies.repeats import of_kind
from studies.w2_bound.report.claims import differences
from studies.w2_bound.report.figures.drawn import sizes
from studies.w2_bound.report.rows import Group, weight

WEIGHTS = {"uniform": "1", "sigma2": r"$\sigma^2$", "g2I-over-e": r"$g^2 I/e$"}
_MARKS = ("o", "s", "^")
_COLOURS = ("C0", "C1", "C4")


def network(found: Sequence[Group]) -> Drawn | None:
    """Bounds and W2 by training weight; the two parts of the denoising loss along time; their sum against it."""
    groups = of_kind(found, "network")
    if not groups:
        return None
    matched = [g for g in groups if all("dsm" in row for row in g.rows)]

    def make() -> Figure:
        figure, axes = plot.panels(1, 3 if matched else 1, height=2.9)
        _by_weight(axes[0], groups)
        if matched:
            _losses(axes[1], matched)
            _differences(axes[2], matched)
        plot.grouped_legend(figure, columns=4)
        return figure

    best, worst = (pick(groups, key=lambda g: g.w2.mean) for pick in (min, max))
    held = differences(groups)
    identity = (
        f" Zero lies in {sum(e.lo <= 0 <= e.hi for e in held)} of {len(held)} intervals on the right." if held else ""
    )
    return Drawn(
        make,
        f"Left: {_nearest(best, worst)} (W2B-8). Middle: the parts of the denoising loss, the score-matching loss of "
        "each network and the constant that no score can lower (dashed), which hides it near the data. Right: "
        "denoising loss minus both parts, in standard errors, one mark a seed, 95 % of them in the grey strip "
        f"(W2B-13).{identity} One training a weight, shared by the seeds. {sizes(groups, 'bars')}.",
    )


def _nearest(best: Group, worst: Group) -> str:
    """Which weight ends nearest to the reference, and by how much where that is more than a rounding."""
    times = number(worst.w2.mean / best.w2.mean, 2) if best.w2.mean > 0 else "∞"
    first = f"weight {weight(best.case.variant)} ends nearest to the reference"
    return first if times == "1" else f"{first}; weight {weight(worst.case.variant)} ends {times} times as far from it"


def _by_weight(axes: Axes, groups: Sequence[Group]) -> None:
    x = [float(k) for k in range(len(groups))]
    for name, offset, marker in (("pathwise", -0.15, "^"), ("synchronous", 0.15, "o")):
        values = [g.rung(name) for g in groups]
        places = [at + offset for at in x]
        plot.intervals(axes, places, values, colour=name, label=name, marker=marker, markersize=5)
    plot.intervals(
        axes, x, [g.w2 for g in groups], colour=plot.ink(), label="exact $W_2$", markerfacecolor="none", markersize=6
    )
    axes.set_xticks(x, [WEIGHTS.get(g.case.variant, g.case.variant) for g in groups])
    axes.set_xlim(-0.6, len(groups) - 0.4)
    shown = [e for name in ("pathwise", "synchronous") for g in groups for e in [g.rung(name)]]
    axes.set_ylim(0, 1.08 * max(e.hi if math.isfinite(e.hi) else e.mean for e in [*shown, *(g.w2 for g in groups)]))
    axes.set_xlabel("weight of the training loss")
    axes.set_ylabel(r"$W_2$ and its bounds")
    axes.set_title("Weight and distance")


def _losses(axes: Axes, groups: Sequence[Group]) -> None:
    """The score-matching losses and the constant; their sum, the denoising loss, would lie on the constant."""
    t = [float(entry["t"]) for entry in groups[0].rows[0]["dsm"]]
    for group, marker, colour in zip(groups, _MARKS, _COLOURS, strict=False):
        name = f"weight {WEIGHTS.get(group.case.variant, group.case.variant)}"
        losses = [e.mean for e in _column(group, "matching")]
        axes.plot(t, losses, color=colour, marker=marker, markersize=4, label=name)
    constants = [pooled([row["dsm"][k]["constant"] for g in groups for row in g.rows]) for k in range(len(t))]
    # Near the noise the constant vanishes, and its estimate may come out negative.
    above = [k for k, e in enumerate(constants) if e.mean > 0]
    values, label = [constants[k].mean for k in above], "constant of the denoising loss"
    axes.plot([t[k] for k in above], values, color=plot.ink(), linestyle=(0, (4, 2)), linewidth=1.1, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("path time $t$")
    axes.set_ylabel("unweighted")
    axes.set_title("Score-matching loss")


def _differences(axes: Axes, groups: Sequence[Group]) -> None:
    """Differences over their standard errors; each seed is a mark."""
    axes.axhspan(-1.96, 1.96, color=plot.muted(), alpha=0.12, linewidth=0)
    axes.axhline(0, color=plot.ink(), linewidth=0.8)
    for k, (group, marker, colour) in enumerate(zip(groups, _MARKS, _COLOURS, strict=False)):
        points = [
            (float(e["t"]) * 1.13 ** (k - 1), _in_errors(e["difference"])) for row in group.rows for e in row["dsm"]
        ]
        axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=3.5, alpha=0.75, markeredgewidth=0)
    axes.set_xscale("log")
    axes.set_ylim(-4.2, 4.2)
    axes.set_xlabel("path time $t$")
    axes.set_ylabel("residual / standard error")
    axes.set_title("Denoising identity")


def _in_errors(difference: Estimate) -> float:
    """A difference over its standard error, kept inside the frame."""
    error = (difference.hi - difference.mean) / 1.96
    return max(-4.0, min(4.0, difference.mean / error)) if error > 0 else 0.0


def _column(group: Group, name: str) -> list[Estimate]:
    columns = zip(*([entry[name] for entry in row["dsm"]] for row in group.rows), strict=True)
    return [pooled(list(column)) for column in columns]
