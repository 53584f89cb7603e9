"""The part on MonoFlow's table: verdicts predicted from the loss against what the runs did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from gflow import plot
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import count, interval, mean_of, number
from studies.repeats import of_kind
from studies.wasserstein_flow.monoflow import START_W2, Row, row_named, verdict
from studies.wasserstein_flow.report.rows import Group

LIMITS = {"critic/Rkl": 0.03, "critic/Exp": 0.08}
"""Largest mean W2 of the rows with a critic that converge; the published runs had 0.031 and 0.083."""
_MANY = 20
"""Runs from which the mean of a critic's row is judged."""
_NAMES = {
    "Rkl": "reverse KL",
    "Fkl": "forward KL",
    "Chi": "chi squared",
    "Hellinger": "Hellinger",
    "Js": "Jensen-Shannon",
    "Exp": "$h = r^{1.5}$",
}
_TITLES = {"through": "Exact ratio, through", "held": "Exact ratio, held", "critic": "Critic"}
_RATIOS = {"through": "exact, differentiated through", "held": "exact, held", "critic": "critic"}


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:  # noqa: ARG001  # no part but this needs none
    """W2 of every run beside the start's, in the colour of the prediction."""
    groups = of_kind(found, "table")
    if not groups:
        return {}

    def make() -> Figure:
        shown = [r for r in _RATIOS if any(_row(g).ratio == r for g in groups)]
        figure, axes = plot.panels(1, len(shown), height=2.9, sharey=True)
        for at, ratio in zip(axes, shown, strict=True):
            chosen = [g for g in groups if _row(g).ratio == ratio]
            for k, g in enumerate(chosen):
                converges = g.rows[0]["predicted"] == "converges"
                colour, mark = ("C0", "o") if converges else ("C1", "s")
                values = _all(g)
                spots = [k + 0.25 * (i / max(1, len(values) - 1) - 0.5) for i in range(len(values))]
                text = "predicted to converge" if converges else "predicted to diverge"
                at.plot(
                    spots, [max(v, 1e-4) for v in values], mark, color=colour, markersize=3.5, alpha=0.75, label=text
                )
            at.axhline(START_W2, color=plot.muted(), linestyle=(0, (4, 2)), linewidth=1.0, label="start")
            at.set_yscale("log")
            at.set_xticks(
                range(len(chosen)), [_NAMES[_row(g).name.split("/")[1]] for g in chosen], rotation=35, ha="right"
            )
            at.grid(visible=False, axis="x")
            at.set_title(_TITLES[ratio])
        axes[0].set_ylabel("final $W_2$ to the target")
        plot.grouped_legend(figure)
        return figure

    agree = sum(_agrees(g) for g in groups)
    return {
        "table": Drawn(
            make,
            f"MonoFlow's Gaussian experiment: final W2 of every run, coloured by what the loss predicts; {agree} of "
            f"{len(groups)} verdicts are as predicted. Values below 1e-4 are drawn there. {_runs(groups)}.",
        )
    }


def answer(found: Sequence[Group]) -> str:
    """How many verdicts the sign of h' and the convexity of f predict."""
    groups = of_kind(found, "table")
    if not groups:
        return ""
    return (
        f"The sign of $h'$ and the convexity of f, read from the loss alone, predict {sum(map(_agrees, groups))} of "
        f"{len(groups)} verdicts of MonoFlow's table."
    )


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """The table, measured and predicted."""
    groups = of_kind(found, "table")
    if not groups:
        return ""
    return f"""## MonoFlow's table: which losses converge

A generator m + A z is fitted to a normal law by Adam on −E h(d) (Yi, Zhu and Liu 2023; float32, as published).
Differentiated *through* points and density, E f(r) descends exactly if f is convex (RATIO-3); with the ratio *held*, or
told by a *critic*, exactly if h' ≥ 0 (MONO-1), which −r f'(r) is for reverse KL alone. A run has converged when a tenth
of the start's W2 ({number(START_W2)}) is left, and diverged when it is further away than at the start. At the published
draws (one generator for all rows) mean and covariance are compared with the printed ones, to three decimals.

{_table(groups)}
{placed(drawn, "table")}"""


def _table(groups: Sequence[Group]) -> str:
    header = (
        "ratio",
        "loss",
        "predicted",
        "measured",
        "W2 over seeds",
        "largest",
        "W2 at published draws",
        "as printed",
    )
    rows = []
    for g in groups:
        row, values, published = _row(g), _all(g), g.rows[0]["published"]
        rows.append(
            (
                _RATIOS[row.ratio],
                _NAMES[row.name.split("/")[1]],
                g.rows[0]["predicted"],
                verdict(values),
                interval(mean_of(values)),
                number(max(values)),
                "" if published is None else number(published["w2"]),
                "" if published is None else "yes" if published["equal"] else "no",
            )
        )
    return table(header, rows) + f"\n\n{_runs(groups)}; means with 95 % intervals.\n"


def _runs(groups: Sequence[Group]) -> str:
    sizes = sorted({len(_all(g)) for g in groups})
    return f"{count(sizes[0], 'run')} a row" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} runs a row"


def _row(group: Group) -> Row:
    return row_named(group.case.problem)


def _all(group: Group) -> list[float]:
    """Final W2 of all runs over the seeds of the study and of its batches."""
    return [float(w2) for row in group.rows for w2 in row["w2"]]


def _agrees(group: Group) -> bool:
    return bool(verdict(_all(group)) == group.rows[0]["predicted"])


def claims(found: Sequence[Group]) -> list[Claim]:
    """Verdicts, printed digits and the two limits."""
    groups = of_kind(found, "table")
    made = (_verdicts(groups), _printed(groups), *(_limit(g) for g in groups if g.case.problem in LIMITS))
    return [claim for claim in made if claim is not None]


def _verdicts(groups: Sequence[Group]) -> Claim | None:
    if not groups:
        return None
    wrong = {_row(g).name: verdict(_all(g)) for g in groups if not _agrees(g)}
    opposite = any(found != "undecided" for found in wrong.values())
    shown = ", ".join(f"{name} {found}" for name, found in wrong.items())
    return Claim(
        "Every row of MonoFlow's table does what the sign of $h'$ or the convexity of f predicts (MONO-1, RATIO-3)",
        "failed" if opposite else "inconclusive" if wrong else "ok",
        f"{len(groups) - len(wrong)} of {len(groups)} rows" + (f"; not: {shown}" if wrong else ""),
    )


def _printed(groups: Sequence[Group]) -> Claim | None:
    known = {_row(g).name: row["published"]["equal"] for g in groups for row in g.rows if row["published"] is not None}
    if not known:
        return None
    wrong = [name for name, equal in known.items() if not equal]
    return Claim(
        "At the published draws, rows with the exact ratio have the printed mean and covariance to three decimals",
        "failed" if wrong else "ok",
        f"{len(known) - len(wrong)} of {len(known)} rows" + (f"; not: {', '.join(wrong)}" if wrong else ""),
    )


def _limit(group: Group) -> Claim:
    values, limit = _all(group), LIMITS[group.case.problem]
    mean = mean_of(values)
    verdict_ = "ok" if mean.mean <= limit else "failed"
    return Claim(
        f"With a critic, {_NAMES[_row(group).name.split('/')[1]]} ends at a mean W2 of at most {limit:g}",
        verdict_ if len(values) >= _MANY else "inconclusive",  # type: ignore[arg-type]  # a literal
        f"{interval(mean)}, {count(len(values), 'run')}; judged from {_MANY} on",
    )
