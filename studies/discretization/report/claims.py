"""What the rows decide. Thresholds are fixed here and nowhere else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gflow.study import Claim
from studies.discretization.report.rows import Group, misnamed, on
from studies.numbers import count, number
from studies.repeats import of_kind

WITHIN = 0.05
"""Largest distance of an observed order from the nominal one."""
FORMS_WITHIN = 0.1
"""The same for the orders of the certificate's forms."""
PATHWISE, LOCAL = 4.0, 35.0
"""Largest multiples of the true W2 on the mixture, for Euler and Heun at 20 to 160 steps (W2B-20)."""
_SLACK = 1e-9  # of the exact reference flow, relative to W2


def claims(found: Sequence[Group]) -> list[Claim]:
    """The claims that the cases at hand can decide."""
    made = (_orders(found), _names(found), _rigorous(found), _ratios(found), _forms(found), _draws(found))
    return [claim for claim in made if claim is not None]


def _orders(found: Sequence[Group]) -> Claim | None:
    """Every scheme against the order that theory gives it; what one seed alone refutes is left open.

    A high order whose leading term is small may fall like a higher one down to round-off, and then looks settled there.
    """
    chosen = [g for g in found if g.case.kind != "minibatch"]
    decided = [g for g in chosen if g.order is not None and set(g.verdicts) <= {"CONFIRMED", "REFUTED"}]
    off = {g: abs(g.order.mean - g.case.order) for g in decided if g.order is not None}
    if not off:
        return None
    worst = max(off, key=lambda g: off[g])
    open_ = [f"{g.label} {g.order.mean:.2f}" for g in chosen if g not in decided and g.order is not None]
    rest = f"; not decided at these steps: {', '.join(open_)}" if open_ else ""
    beyond = [g for g in off if off[g] > WITHIN]
    return Claim(
        f"Observed orders lie within {WITHIN} of theory wherever the measurement is decided",
        "ok" if not beyond else "failed" if any(g.seeds > 1 for g in beyond) else "inconclusive",
        f"{count(len(off), 'scheme')}, largest distance {number(off[worst])} ({worst.label}){rest}",
    )


def _names(found: Sequence[Group]) -> Claim | None:
    """Schemes that promise more: the promised order must be excluded."""
    chosen = [g for g in misnamed(found) if g.order is not None]
    if not chosen:
        return None
    held = [g for g in chosen if g.order is not None and g.order.hi >= (g.case.named or 0) - 0.5]
    top = max(chosen, key=lambda g: g.order.mean if g.order is not None else 0.0)
    assert top.order is not None
    return Claim(
        "Schemes that freeze the opponent or the critic, redraw within a step, or add a penalty after it lose the "
        "order that their name promises",
        "failed" if held else "ok",
        f"{count(len(chosen), 'scheme')}; largest order observed {number(top.order.mean)} ({top.label}, "
        f"promised {top.case.named:g})",
    )


def _rigorous(found: Sequence[Group]) -> Claim | None:
    """The rigorous form against the dual W2, in every row and at every number of steps."""
    pairs = [
        (bound.mean / w2.lo, g.label, n)
        for g in of_kind(found, "flow")
        for row in g.rows
        for n, bound, w2 in _columns(row["certificate"])
        if bound is not None and w2.lo > 0
    ]
    if not pairs:
        return None
    least, where, n = min(pairs)
    return Claim(
        "The rigorous certificate is at least the true $W_2$ wherever it exists (W2B-20)",
        "ok" if least >= 1 - _SLACK else "failed",
        f"{count(len(pairs), 'certificate')}, smallest ratio {number(least)} ({where}, {n} steps)",
    )


def _columns(certificate: Mapping[str, Any]) -> list[tuple[int, Any, Any]]:
    return list(zip(certificate["steps"], certificate["rigorous"], certificate["w2"], strict=True))


def _ratios(found: Sequence[Group]) -> Claim | None:
    """Pathwise and local against the true W2 on the mixture of W2B-20."""
    chosen = [g for g in on(found, "mixture") if g.case.scheme in ("euler", "heun")]
    ratios = {
        name: [
            r.mean
            for g in chosen
            for n, r in zip(g.certified_steps, g.ratios(name), strict=True)
            if r is not None and 20 <= n <= 160
        ]
        for name in ("pathwise", "local")
    }
    if not ratios["pathwise"]:
        return None
    good = max(ratios["pathwise"]) <= PATHWISE and max(ratios["local"]) <= LOCAL and min(ratios["pathwise"]) >= 1
    shown = "; ".join(f"`{name}` {number(min(v))} to {number(max(v))}" for name, v in ratios.items())
    return Claim(
        f"On the mixture, for Euler and Heun at 20 to 160 steps, `pathwise` is within {PATHWISE:g} and `local` within "
        f"{LOCAL:g} times the true $W_2$",
        "ok" if good else "failed",
        f"times $W_2$: {shown}",
    )


def _forms(found: Sequence[Group]) -> Claim | None:
    """Orders of the forms: mean over the seeds, where the estimator decides all of them.

    One seed has an interval of 95 %, and there are a hundred of them: a few miss.
    """
    off = {
        f"{g.label}, {name}": abs(statistics.fmean(values) - float(g.rows[0]["certificate"]["order"]))
        for g in of_kind(found, "flow")
        for name in ("pathwise", "local", "rigorous")
        if (values := _decided(g, name))
    }
    if not off:
        return None
    worst = max(off, key=lambda key: off[key])
    return Claim(
        f"Orders of the certificate's forms lie within {FORMS_WITHIN} of W2B-20's, where the measurement is decided",
        "ok" if off[worst] <= FORMS_WITHIN else "failed",
        f"{count(len(off), 'order')}, largest distance {number(off[worst])} ({worst})",
    )


def _decided(group: Group, form: str) -> list[float]:
    """The observed orders of a form, one for each seed; none where one of them is open."""
    entries = [row["certificate"]["orders"].get(form) for row in group.rows]
    if not all(e and e["order"] is not None and e["verdict"] in ("CONFIRMED", "REFUTED") for e in entries):
        return []
    return [e["order"].mean for e in entries if e]


def _draws(found: Sequence[Group]) -> Claim | None:
    """The embedded error estimate with one draw a step and with one a stage (INT-5)."""
    orders = {g.case.problem: g.order for g in of_kind(found, "minibatch")}
    same, fresh = orders.get("same"), orders.get("fresh")
    if same is None or fresh is None:
        return None
    good = abs(same.mean - 2) <= 4 * WITHIN and abs(fresh.mean - 1) <= 4 * WITHIN
    return Claim(
        "With one minibatch a step the embedded error estimate measures the step (order 2); with one a stage, the "
        "noise of the gradient (order 1)",
        "ok" if good else "failed",
        f"{number(same.mean)} against {number(fresh.mean)}",
    )
