"""Critic error in, W2 out: the budget of a gradient flow (W2B-21)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gflow import plot
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import count, number, spread
from studies.repeats import of_kind
from studies.wasserstein_flow.report.rows import Group

SLOPE = 0.1
"""How far from 1 the power of the error in W2 may be, between the two smallest errors."""
FORGOTTEN = 1.05
"""Largest growth of W2 over the last third of the time, where the error is forgotten."""
_SLACK = 1e-9  # of closed forms, relative


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:  # noqa: ARG001  # rows say all
    """W2 and its bound over time and against the error."""
    group = _group(found)
    if group is None:
        return {}

    def make() -> Figure:
        figure, (left, right) = plot.panels(1, 2, height=2.9, sharey=True)
        for k, eps in enumerate(_errors(group)):
            for name, label, dashes in (("w2", "$W_2$", "-"), ("bound", "bound", (0, (1, 1.5)))):
                curve = [group.range(name, k, s) for s in range(len(_spans(group)))]
                line: dict[str, Any] = {"linestyle": dashes, "marker": "", "label": label}
                plot.series(left, _spans(group), curve, colour=f"C{k % 6}", **line)
            end = (_spans(group)[-1], group.mean("w2", k, -1))
            left.annotate(f"ε = {eps:g}", end, (4, 0), textcoords="offset points", va="center", color=f"C{k % 6}")
        left.set_xlim(0.0, 1.3 * _spans(group)[-1])
        left.set_xlabel("time $S$")
        left.set_ylabel("$W_2$ to the exact flow")
        left.set_title("The error is forgotten")
        for name, label, colour in (("bound", "bound (W2B-21)", "C1"), ("w2", "$W_2$", "C0")):
            ends = [group.range(name, k, -1) for k in range(len(_errors(group)))]
            plot.series(right, _errors(group), ends, colour=colour, label=label)
        right.set_xscale("log")
        for at in (left, right):
            at.set_yscale("log")
            at.yaxis.set_minor_formatter(NullFormatter())
        plot.ticks_at(right.xaxis, _errors(group))
        right.set_xlabel("error ε of the velocity")
        right.set_title(f"At $S = {_spans(group)[-1]:g}$")
        right.legend(loc="upper left")
        return figure

    return {
        "budget": Drawn(
            make,
            f"An error of size ε in the velocity of the flow of KL between normal laws: $W_2$ to the exact flow "
            f"(solid) and its bound (dotted), {_ratios(group)} times as large. "
            f"{count(group.seeds, 'seed')}; bands: smallest to largest.",
        )
    }


def answer(found: Sequence[Group]) -> str:
    """Error in, W2 out, in a sentence."""
    group = _group(found)
    if group is None:
        return ""
    gain = group.mean("w2", 0, -1) / _errors(group)[0]
    return (
        f"A velocity that is wrong by ε (B x + b) costs {number(gain)} ε in $W_2$ in the long run, and the bound of "
        f"W2B-21 says so within a factor of {number(_largest(group))}."
    )


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """Table and figure."""
    group = _group(found)
    if group is None:
        return ""
    header = ("ε", "error in $L^2(q)$", "$W_2$", "bound", "bound/$W_2$ over all times", "power of ε")
    rows = [
        (
            f"{eps:g}",
            group.spread("error", k, -1),
            group.spread("w2", k, -1),
            group.spread("bound", k, -1),
            spread(number(min(_ratio(group, k))), number(max(_ratio(group, k)))),
            number(_slope(group, k)) if k else "",
        )
        for k, eps in enumerate(_errors(group))
    ]
    return f"""## From the error of a velocity to W2

$u_t = \\nabla\\log(p/q_t) + ε (B x + b)$ with $|B| = |b| = 1$ in three dimensions, $q_t$ the law that u moves; all
laws are normal, so that nothing is sampled. The score of p has the one-sided constant K =
{number(group.mean("constant"))}: what was wrong a time s ago counts $e^{{Ks}}$. Values are at
S = {_spans(group)[-1]:g}; *power* is the slope against the row above.

{table(header, rows)}
{placed(drawn, "budget")}"""


def claims(found: Sequence[Group]) -> list[Claim]:
    """The bound holds, W2 is proportional to the error, and what is old is forgotten."""
    group = _group(found)
    if group is None:
        return []
    least = min(min(_ratio(group, k)) for k in range(len(_errors(group))))
    made = [
        Claim(
            "$W_2$ between the flows of a wrong and of the exact velocity never exceeds the bound of W2B-21",
            "ok" if least >= 1.0 - _SLACK else "failed",
            f"bound over $W_2$ from {number(least, 4)} to {number(_largest(group))}",
        )
    ]
    if len(_errors(group)) > 1:
        slope = _slope(group, 1)
        made.append(
            Claim(
                f"For small errors $W_2$ is proportional to the error: power 1 within {SLOPE:g}",
                "ok" if abs(slope - 1.0) <= SLOPE else "failed",
                f"power {number(slope, 4)} between ε = {_errors(group)[0]:g} and {_errors(group)[1]:g}",
            )
        )
    # A larger eps B may undo the pull of p itself.
    kept = [k for k, eps in enumerate(_errors(group)) if eps <= abs(group.mean("constant")) / 2.0]
    if kept:
        growth = max(
            late / early
            for k in kept
            for late, early in zip(group.values("w2", k, -1), group.values("w2", k, -2), strict=True)
        )
        made.append(
            Claim(
                "Towards a strongly log-concave p an error is forgotten: $W_2$ stops growing in time",
                "ok" if growth <= FORGOTTEN else "failed",
                f"from S = {_spans(group)[-2]:g} to {_spans(group)[-1]:g} it grows by "
                f"{number(100 * (growth - 1), 2)} % at most, for ε up to {_errors(group)[kept[-1]]:g}",
            )
        )
    return made


def _group(found: Sequence[Group]) -> Group | None:
    return next(iter(of_kind(found, "budget")), None)


def _errors(group: Group) -> list[float]:
    return [float(eps) for eps in group.rows[0]["errors"]]


def _spans(group: Group) -> list[float]:
    return [float(s) for s in group.rows[0]["spans"]]


def _ratio(group: Group, k: int) -> list[float]:
    """Bound over W2 for one size of the error, over times and seeds."""
    pairs = zip(group.values("bound", k), group.values("w2", k), strict=True)
    return [b / w for bounds, distances in pairs for b, w in zip(bounds, distances, strict=True)]


def _largest(group: Group) -> float:
    return max(max(_ratio(group, k)) for k in range(len(_errors(group))))


def _ratios(group: Group) -> str:
    every = [r for k in range(len(_errors(group))) for r in _ratio(group, k)]
    return spread(number(min(every)), number(max(every)))


def _slope(group: Group, k: int) -> float:
    """Power of the error between sizes k - 1 and k, at the last time."""
    low, high = _errors(group)[k - 1], _errors(group)[k]
    return math.log(group.mean("w2", k, -1) / group.mean("w2", k - 1, -1)) / math.log(high / low)
