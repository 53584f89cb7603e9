"""Explicit against implicit steps on a stiff target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gflow import plot
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import bracketed, listed, number, pooled
from studies.repeats import of_kind
from studies.wasserstein_flow.report.rows import Group

ORDER = 0.1
"""How far from 1 the order of exact JKO steps may be."""
STEP = 0.02
"""How far from its prediction the largest stable step of Euler may be, relative."""
SCHEMES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "euler": ("Euler", "C1", {"marker": "o"}),
    "rk4": ("RK4", "C2", {"marker": "^"}),
    "midpoint": ("implicit midpoint", "C3", {"marker": "v"}),
    "rosenbrock": ("Rosenbrock-Euler", "C0", {"marker": "s", "markersize": 7.5, "markerfacecolor": "none"}),
    "jko": ("exact JKO", "C4", {"marker": "D", "markersize": 3.0}),
}
"""Name, colour and mark of each scheme; the last two nearly coincide, and both are to be seen."""
_LIMITS = ("κ", "mean: largest stable h", "predicted 2/κ", "deviation: largest stable h", "predicted 1/κ")
_TOP = 10.0  # of the figure: what lies above has blown up


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:  # noqa: ARG001  # rows say all
    """W2 at the end against the number of steps, a panel for each condition number."""
    groups = of_kind(found, "stiff")
    if not groups:
        return {}

    def make() -> Figure:
        figure, axes = plot.panels(1, len(groups), height=3.1, sharey=True)
        for at, g in zip(axes, groups, strict=True):
            _panel(at, g)
        axes[0].set_ylabel("$W_2$ to the exact law at the end")
        plot.grouped_legend(figure, columns=5)
        return figure

    last = groups[-1]
    lost = f"{_lost(last, 'euler')} of {len(_steps(last))} numbers of steps"
    return {
        "stiff": Drawn(
            make,
            "Five ways to take steps of the flow of KL towards N(0, diag(1, 1/κ)). Vertical lines: the steps h = 2/κ "
            "and 1/κ, beyond which Euler's mean explodes and its deviation no longer settles; marks at the upper "
            f"edge have left the figure. At κ = {last.case.problem} Euler is lost at {lost}. "
            "Bands: smallest to largest over the seeds.",
        )
    }


def answer(found: Sequence[Group]) -> str:
    """What implicit steps buy."""
    groups = of_kind(found, "stiff")
    if not groups:
        return ""
    last = groups[-1]
    fewest = _steps(last)[0]
    return (
        f"At a condition number of {last.case.problem}, {fewest} exact JKO steps end "
        f"{number(last.mean('w2', 'jko', 0), 2)} from the exact law in $W_2$, where Euler needs more than "
        f"{number(float(last.case.problem) / 2)} steps in the same time not to explode."
    )


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """Stable steps, errors and the decay of KL."""
    groups = of_kind(found, "stiff")
    if not groups:
        return ""
    return f"""## Explicit and implicit steps on a stiff target

The flow of KL from a normal law of size 1 towards N(0, diag(1, 1/κ)) over a time of 1, with a critic that is optimal
at every stage. On an axis of variance p the mean obeys $m' = -m/p$ and the deviation $s' = 1/s - s/p$, whose slope at
$s = \\sqrt p$ is $-2/p$: Euler's steps have to stay below $2λ_{{min}}$ for the mean, and below $λ_{{min}}$ for the
deviation, which beyond hops around its goal. The largest steps from which a small displacement returned:

{table(_LIMITS, _stable(groups))}
The error at the end for the fewest and the most steps, and at how many of the numbers of steps KL fell in every
single step:

{table(("κ", "scheme", "$W_2$, fewest steps", "$W_2$, most steps", "KL fell in every step"), _errors(groups))}
Exact JKO steps lower KL whatever the step (WGF-4), with order {_orders(groups)}. Rosenbrock-Euler, one
linear solve per step, comes as close. The implicit midpoint rule has order 2 and stays bounded too, but turns a stiff
error round instead of damping it: with few steps and a large κ it is worse than either, and KL may rise.

{placed(drawn, "stiff")}"""


def claims(found: Sequence[Group]) -> list[Claim]:
    """JKO lowers KL and has order 1; Euler's limits are where they are predicted."""
    groups = of_kind(found, "stiff")
    if not groups:
        return []
    fell = [ok for g in groups for row in g.values("kl_falls", "jko") for ok in row]
    orders = {g.case.problem: pooled(g.values("jko_order")) for g in groups if all(g.values("jko_order"))}
    off = {k: max(abs(e.mean - 1.0) for e in by.values("jko_order")) for k, by in zip(orders, groups, strict=False)}
    made = [
        Claim(
            "Exact JKO steps lower KL in every step, however long (WGF-4)",
            "ok" if all(fell) else "failed",
            f"{sum(fell)} of {len(fell)} runs",
        )
    ]
    if off:
        made.append(
            Claim(
                f"Exact JKO steps have order 1 within {ORDER:g} (WGF-4)",
                "ok" if max(off.values()) <= ORDER else "failed",
                f"orders {', '.join(f'{e.mean:.3f} (κ = {k})' for k, e in orders.items())}",
            )
        )
    steps = [
        abs(row[name] / predicted[name] - 1.0)
        for g in groups
        for row, predicted in zip(g.values("stable"), g.values("predicted"), strict=True)
        for name in ("mean", "deviation")
    ]
    made.append(
        Claim(
            "Euler's largest stable step is 2 λmin for the mean and λmin for the deviation",
            "ok" if max(steps) <= STEP else "failed",
            f"largest relative difference {number(100 * max(steps), 2)} %",
        )
    )
    return made


def _panel(at: Axes, group: Group) -> None:
    kappa, steps = float(group.case.problem), _steps(group)
    for line, (name, (label, colour, marks)) in enumerate(SCHEMES.items()):
        known = [(n, group.range("w2", name, k)) for k, n in enumerate(steps) if all(_ends(group, name, k))]
        plot.convergence(at, [n for n, _ in known], [e for _, e in known], name=colour, label=label, **marks)
        gone = [n for k, n in enumerate(steps) if any(w is None or w > _TOP for w in _ends(group, name, k))]
        if gone:
            edge = {**marks, "linestyle": "", "color": colour, "transform": at.get_xaxis_transform()}
            at.plot(gone, [0.97 - 0.05 * line] * len(gone), **edge)
    at.set_ylim(1e-13, _TOP)
    for limit in (kappa / 2.0, kappa):
        if steps[0] / 1.3 < limit < steps[-1] * 1.3:
            at.axvline(limit, color=plot.muted(), linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    at.set_xticks(steps, labels=[str(n) for n in steps])
    at.set_title(f"κ = {group.case.problem}")
    at.set_xlabel("steps")


def _stable(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    return [
        (
            g.case.problem,
            *(number(g.mean(which, name), 4) for name in ("mean", "deviation") for which in ("stable", "predicted")),
        )
        for g in groups
    ]


def _errors(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    return [
        (
            g.case.problem,
            label,
            *(_end(g, name, k) for k in (0, len(_steps(g)) - 1)),
            _fell(g, name),
        )
        for g in groups
        for name, (label, _, _) in SCHEMES.items()
    ]


def _end(group: Group, name: str, k: int) -> str:
    """W2 at the end, or that there is none."""
    return group.spread("w2", name, k) if all(_ends(group, name, k)) else "exploded"


def _fell(group: Group, name: str) -> str:
    runs = [ok for row in group.values("kl_falls", name) for ok in row]
    return f"{sum(runs)} of {len(runs)}"


def _orders(groups: Sequence[Group]) -> str:
    found = [pooled(g.values("jko_order")) for g in groups if all(g.values("jko_order"))]
    return listed([bracketed(f"{e.mean:.4f}", f"{e.lo:.4f}", f"{e.hi:.4f}") for e in found]) if found else "unknown"


def _ends(group: Group, name: str, k: int) -> list[float | None]:
    return group.values("w2", name, k)


def _lost(group: Group, name: str) -> int:
    """Numbers of steps at which a seed exploded."""
    return sum(not all(_ends(group, name, k)) for k in range(len(_steps(group))))


def _steps(group: Group) -> list[int]:
    return [int(n) for n in group.rows[0]["steps"]]
