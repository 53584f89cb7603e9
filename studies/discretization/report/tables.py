"""The tables of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gflow.estimate import Estimate
from gflow.study import table
from studies.discretization.report.rows import METHODS, PROBLEMS, Group, misnamed, on
from studies.numbers import factor, interval, log10_of, number
from studies.repeats import of_kind

_VERDICTS = {
    "CONFIRMED": "confirmed",
    "REFUTED": "refuted",
    "PRE_ASYMPTOTIC": "pre-asymptotic",
    "NOISE": "lost in noise",
    "UNDECIDED": "undecided",
    "MEASURED": "measured",
}
# Source of each scheme that promises another order, and why it does not keep it.
_WHY = {
    ("critic", "frozen"): (
        "updates of the generator between two critics",
        "the critic is that of the step's start (INT-3)",
    ),
    ("game", "joint"): ("ODE-GAN notebook, `euler_heun_step`", "its tableau has Σ b c = 1/4, not 1/2 (CODE-1)"),
    ("game", "frozen"): ("ODE-GAN notebook, `ode_update`", "each player's stages see the old opponent (CODE-1)"),
    ("game", "outside"): ("ode-gan-pytorch", "the penalty's gradient enters once, at the first stage (CODE-2)"),
    ("minibatch", "fresh"): ("loops that draw inside the field", "its stages are of different fields (INT-5)"),
}


def orders(found: Sequence[Group]) -> str:
    """Nominal and observed order of every scheme."""
    header = ("scheme", "theory", "observed order", "verdict", "steps", "error at most steps")
    rows = [
        (
            g.label,
            f"{g.case.order:g}",
            _order(g),
            _verdicts(g),
            f"{g.steps[0]} to {g.steps[-1]}",
            interval(g.errors[-1]),
        )
        for g in found
    ]
    return table(header, rows)


def names(found: Sequence[Group]) -> str:
    """Schemes without the order of their name: by how much, and why."""
    header = ("scheme", "as in", "promised", "observed", "error over the joint scheme's", "why")
    rows = []
    for g in misnamed(found):
        source, why = _WHY[g.case.kind, g.case.problem]
        rows.append((g.label, source, f"{g.case.named:g}", _order(g), _excess(found, g), why))
    return table(header, rows) if rows else ""


def certificates(found: Sequence[Group]) -> str:
    """The three forms over the true W2, at the fewest and the most certified steps."""
    header = (
        "sampler",
        "steps",
        "true W2",
        "pathwise/W2",
        "local/W2",
        "rigorous/W2",
        "orders: W2B-20, pathwise, local",
    )
    rows = []
    for g in of_kind(found, "flow"):
        last = len(g.certified_steps) - 1
        for k in dict.fromkeys((0, last)):
            trues = g.form("w2")[k]
            shown = [_times(g.ratios(name)[k]) for name in ("pathwise", "local")]
            rigorous = _times(g.ratios("rigorous")[k]) or _status(g, k)
            tail = _form_orders(g) if k == last else ""
            rows.append((g.label, g.certified_steps[k], interval(trues) if trues else "", *shown, rigorous, tail))
    return table(header, rows) if rows else ""


def needed(found: Sequence[Group]) -> str:
    """Steps and evaluations for which the pathwise form meets a W2, and the W2 that they really give."""
    header = ("method", "W2 asked for", "steps", "evaluations", "pathwise", "true W2")
    rows = []
    for g in on(found, "mixture"):
        for k, entry in enumerate(g.rows[0]["needed"]):
            seeds = [row["needed"][k] for row in g.rows]
            spread = [s["steps"] for s in seeds]
            steps = f"{min(spread)}" if min(spread) == max(spread) else f"{min(spread)} to {max(spread)}"
            worst = max(seeds, key=lambda s: s["w2"].mean)
            evaluations = max(s["evaluations"] for s in seeds)
            rows.append(
                (
                    METHODS[g.case.scheme],
                    number(entry["target"]),
                    steps,
                    evaluations,
                    number(max(s["pathwise"].mean for s in seeds)),
                    number(worst["w2"].mean),
                )
            )
    return table(header, rows) if rows else ""


def problems() -> str:
    """What the samplers are."""
    text = {
        "gaussian": "N(m, diag(.25, .64)) under VP with β = 1 on [0, 2]; the exact flow is a closed form (ORC-9)",
        "mixture": "four modes at (±1, ±1), width 0.3, VP with β = 1 on [0, 3]: the problem of W2B-20",
        "rectified": "N(0, I) to three modes on a line of width 0.5, linear path on [0, 1] (ORC-6)",
        "digits": "8x8 digits, a score network trained in the study, VP with β from 0.1 to 20, stopped at 0.01",
    }
    return table(("problem", "what it is"), [(PROBLEMS[name], words) for name, words in text.items()])


def _order(group: Group) -> str:
    if group.order is None:
        return "—"
    value = group.order
    if not (math.isfinite(value.lo) and math.isfinite(value.hi)):
        return f"{value.mean:.3f}"
    return f"{value.mean:.3f} [{value.lo:.3f}, {value.hi:.3f}]".replace(" ", "\u00a0")


def _verdicts(group: Group) -> str:
    counted = {name: group.verdicts.count(name) for name in dict.fromkeys(group.verdicts)}
    if len(counted) == 1:
        return _VERDICTS[group.verdicts[0]]
    return ", ".join(f"{_VERDICTS[name]} {k}" for name, k in counted.items())


def _excess(found: Sequence[Group], group: Group) -> str:
    """Error over that of the scheme that keeps the order, at the most steps that both have."""
    partner = {
        "frozen": "tracking" if group.case.kind == "critic" else "joint",
        "joint": "joint",
        "outside": "inside",
    }.get(group.case.problem)
    scheme = "heun" if group.case.scheme == "notebook" else group.case.scheme
    other = next(
        (
            g
            for g in found
            if (g.case.kind, g.case.problem, g.case.scheme) == (group.case.kind, partner, scheme) and g is not group
        ),
        None,
    )
    if other is None:
        return ""
    most = max(set(group.steps) & set(other.steps))
    mine, its = (log10_of(g.errors[g.steps.index(most)]) for g in (group, other))
    return factor(mine - its)


def _times(ratio: Estimate | None) -> str:
    return "" if ratio is None else factor(log10_of(ratio))


def _status(group: Group, k: int) -> str:
    states = {row["certificate"]["status"][k] for row in group.rows}
    return (
        {"NOT_ASKED": "no bound", "BLOW_UP": "blow-up"}.get(next(iter(states)), "some") if len(states) == 1 else "some"
    )


def _form_orders(group: Group) -> str:
    parts = [f"{group.rows[0]['certificate']['order']}"]
    for name in ("pathwise", "local"):
        entries = [row["certificate"]["orders"].get(name) for row in group.rows]
        values = [e["order"].mean for e in entries if e is not None and e["order"] is not None]
        parts.append(f"{sum(values) / len(values):.2f}" if values else "—")
    return ", ".join(parts)
