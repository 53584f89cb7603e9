"""The part on estimated flows: which velocity estimator gets how near, at what cost, and what its error does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gflow.estimate import Estimate
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import count, interval, listed, mean_of, number, pooled_mean
from studies.repeats import of_kind
from studies.wasserstein_flow.config import TARGETS
from studies.wasserstein_flow.report import race_figures
from studies.wasserstein_flow.report.rows import Group
from studies.wasserstein_flow.targets import EARLY, SPAN

NAMES = {
    "exact": "exact velocity, held law",
    "kde": "density estimates",
    "ulsif": "kernel ratio (uLSIF)",
    "critic": "critic, refitted",
    "critic R1": "critic with R1, refitted",
    "convolutional critic": "convolutional critic, refitted",
    "tracked critic": "critic, tracked",
    "svgd": "SVGD",
    "mmd": "MMD",
    "noisy mmd": "MMD, noise injected",
    "drifting": "drifting, Gaussian kernel",
    "drifting, Laplacian": "drifting, Laplacian kernel",
    "drifting, unit speed": "drifting, unit speed",
    "sinkhorn": "Sinkhorn divergence",
    "sinkhorn, two batches": "Sinkhorn, two batches",
    "sliced": "sliced W2",
    "jko critic": "JKO, inner critic",
    "langevin": "Langevin",
}
PLACES = {"gaussian": "a normal law", "modes": "three modes", "digits": "digits"}
FACTOR = 2.0
"""Multiple of the sampling floor below which a cloud counts as one of the data's law."""
_BATCHES = "sinkhorn, two batches"


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:
    """All figures whose cases are there."""
    return race_figures.draw(of_kind(found, "race"), arrays, NAMES, PLACES)


def answer(found: Sequence[Group]) -> str:
    """Who is nearest on each target, in units of the floor."""
    parts = []
    for name in TARGETS:
        groups = on(found, name)
        if groups:
            best = min(groups, key=lambda g: end(g).mean)
            parts.append(f"{PLACES[name]} by {NAMES[best.case.scheme]} ({multiple(best)} times the sampling floor)")
    if not parts:
        return ""
    steps = of_kind(found, "race")[0].rows[0]["evaluations"][-1]
    return f"After {steps} evaluations of a velocity from samples the data are approached best, on {listed(parts)}."


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """Tables and figures of the estimated flows."""
    groups = of_kind(found, "race")
    if not groups:
        return ""
    row = groups[0].rows[0]
    return f"""## Velocities from samples

Every flow starts from the same {row["n"]} particles, sees the same data, and takes the same number of Euler steps, each
with one evaluation of its velocity. Flows of KL run in their own time, on digits with the data's average variance for
its unit; the others at a constant multiple of theirs for which the first speed is W2(q₀, p), that of the W2 flow:
$e^{{-4}}$ of the distance would be left. W2 is exact, to {row["n"]} points of the data's law that no flow has seen. The
floor is that of two such samples; below it lies a cloud that is smoother than a sample. How wrong a critic's gradient
is in as many dimensions as digits have, is the subject of the study of density ratios.

{_results(groups)}
{placed(drawn, "race", "particles", "digits")}

### The error of the velocity, at the law that the flow has reached

Points that are no particles carry the score of their own law along (the gradient of $(\\log q)' = -\\nabla\\cdot u$),
so that the velocity u can be compared with $\\nabla\\log(p/q_t)$ at the *current* law: the error that W2B-21 asks for,
without a density estimate. A direction is compared by its cosine in $L^2(q_t)$, also where a flow descends something
else than KL.

{_errors(groups)}
{placed(drawn, "velocity", "errors")}

The budget at time {EARLY:g}: the error of the velocity carried to W2 by W2B-21, that of the steps (against Heun's
method), and that of a finite sample, beside the W2 between the particles and the exact flow. The velocity of
{row["n"]} particles is a fixed field that goes on to move points that are no particles after these have come to rest,
which is what the first term counts.

{_budgets(groups)}
{_batches(found)}"""


def label(group: Group) -> str:
    """Target and velocity in words."""
    return f"{PLACES[group.case.problem]}, {NAMES[group.case.scheme]}"


def on(found: Sequence[Group], target: str) -> list[Group]:
    """The estimators towards one target."""
    return [g for g in of_kind(found, "race") if g.case.problem == target]


def end(group: Group) -> Estimate:
    """W2 to the data's law at the end, over the seeds."""
    return pooled_mean([row["w2"][-1] for row in group.rows])


def floor(group: Group) -> float:
    """The sampling floor, mean over the seeds."""
    return float(sum(row["floor"] for row in group.rows)) / group.seeds


def multiple(group: Group) -> str:
    """W2 at the end in units of the floor."""
    return number(end(group).mean / floor(group))


def over_seeds(group: Group, part: str, name: str, at: int) -> Estimate:
    """A number of the error of the velocity, mean over the seeds."""
    return mean_of([row[part][name][at] for row in group.rows])


def _results(groups: Sequence[Group]) -> str:
    header = (
        "target",
        "velocity",
        "W2 at a quarter",
        "W2 at the end",
        "in floors",
        "with a quarter of the steps",
        "ms",
    )
    rows = []
    for g in groups:
        quarter = pooled_mean([row["w2"][2] for row in g.rows])
        coarse = pooled_mean([row["ends"][0] for row in g.rows])
        rows.append(
            (
                PLACES[g.case.problem],
                NAMES[g.case.scheme],
                interval(quarter),
                interval(end(g)),
                multiple(g),
                "blows up" if coarse.mean > 100 * floor(g) else interval(coarse),
                _milliseconds(g),
            )
        )
    return table(header, rows) + "\n\nms: wall time of an evaluation where these rows were computed, first seed.\n"


def _milliseconds(group: Group) -> str:
    seconds = group.records[0].provenance.get("seconds_per_evaluation")
    return "" if seconds is None else number(1000 * seconds, 2)


def _errors(groups: Sequence[Group]) -> str:
    rows = []
    for g in groups:
        if g.rows[0]["error"] is None:
            continue
        last = len(g.rows[0]["error"]["times"]) - 1
        kl = g.rows[0]["budget"] is not None
        relative = [interval(over_seeds(g, "error", "relative", k)) if kl else "" for k in (0, last)]
        cosine = [number(over_seeds(g, "error", "cosine", k).mean, 2) for k in (0, last)]
        rows.append((PLACES[g.case.problem], NAMES[g.case.scheme], *relative, *cosine))
    header = ("target", "velocity", "relative error at 0", f"at {EARLY:g}", "cosine at 0", f"at {EARLY:g}")
    return table(header, rows) if rows else ""


def _budgets(groups: Sequence[Group]) -> str:
    rows = []
    for g in groups:
        if g.rows[0]["budget"] is None:
            continue
        terms = {n: _mean(g, n) for n in ("model", "discretization", "monte_carlo")}
        total = sum(t.mean for t in terms.values())
        share = terms["model"].mean / total
        rows.append(
            (
                PLACES[g.case.problem],
                NAMES[g.case.scheme],
                *(interval(t) for t in terms.values()),
                number(total),
                f"{100 * share:.0f} %",
                interval(measured(g)),
            )
        )
    header = (
        "target",
        "velocity",
        "velocity's error",
        "steps",
        "Monte Carlo",
        "sum",
        "owned by velocity",
        "measured W2",
    )
    return table(header, rows) if rows else ""


def _mean(group: Group, term: str) -> Estimate:
    return pooled_mean([Estimate.exact(row["budget"]["terms"][term].mean) for row in group.rows])


def measured(group: Group) -> Estimate:
    """W2 between the particles and the exact flow at the early time, over the seeds."""
    return pooled_mean([row["budget"]["measured"] for row in group.rows])


def total(row: Mapping[str, object]) -> float:
    """The sum of the budget of one row."""
    terms = row["budget"]["terms"]  # type: ignore[index]  # rows are nested at will
    return float(sum(t.mean for t in terms.values()))


def _batches(found: Sequence[Group]) -> str:
    rates = {g.case.problem: growth(g) for g in of_kind(found, "race") if g.case.scheme == _BATCHES}
    if not rates:
        return ""
    shown = listed([f"{number(rate)} on {PLACES[name]}" for name, rate in rates.items()])
    return (
        "The two-batch self-term, whose halves push each other, is no flow that one may follow: with v the mean of "
        "the data less that of the *other* half, the difference of the halves' means grows like $e^{t}$. W2 grows over "
        f"the last quarter of the flow's own time at the rate {shown}. Fresh batches at every step hide it; fixed "
        "particles do not."
    )


def growth(group: Group) -> float:
    """Rate of W2 over the last quarter, in the flow's own time, mean over the seeds."""
    rates = [math.log(row["w2"][-1].mean / row["w2"][-3].mean) / (row["speed"] * SPAN / 4) for row in group.rows]
    return float(sum(rates)) / len(rates)


def claims(found: Sequence[Group]) -> list[Claim]:
    """The claims that the cases at hand can decide."""
    made = (_bounded(found), _arrives(found))
    return [claim for claim in made if claim is not None]


def _bounded(found: Sequence[Group]) -> Claim | None:
    """The sum of the budget against the measured W2, in every row."""
    ratios = {
        (label(g), record.seed): total(record.row) / record.row["budget"]["measured"].mean
        for g in of_kind(found, "race")
        for record in g.records
        if record.row["budget"] is not None
    }
    if not ratios:
        return None
    worst = min(ratios, key=lambda key: ratios[key])
    return Claim(
        "Error of the velocity by W2B-21, of the steps and of the sample add up to at least the W2 between the "
        "particles and the exact flow",
        "ok" if ratios[worst] >= 1 else "failed",
        f"{count(len(ratios), 'row')}, smallest ratio {number(ratios[worst])} ({worst[0]})",
    )


def _arrives(found: Sequence[Group]) -> Claim | None:
    """Whether refitted critics reach the data's law in the plane."""
    chosen = [g for g in of_kind(found, "race") if g.case.scheme == "critic" and g.case.problem != "digits"]
    if not chosen:
        return None
    ratios = [(r.row["w2"][-1].mean / r.row["floor"], label(g)) for g in chosen for r in g.records]
    largest, where = max(ratios)
    return Claim(
        f"Particles driven by a refitted critic end within {FACTOR:g} times the sampling floor of the data's law",
        "ok" if largest <= FACTOR else "failed",
        f"{count(len(ratios), 'row')}, largest {number(largest)} ({where})",
    )
