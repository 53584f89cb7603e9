"""The answer in three sentences, and the sections below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from studies.discretization.report import tables
from studies.discretization.report.claims import WITHIN
from studies.discretization.report.rows import METHODS, Group, misnamed, on
from studies.drawn import Drawn, placed
from studies.numbers import count, listed, number
from studies.repeats import of_kind


def answer(found: Sequence[Group]) -> str:
    """Which schemes have their order, which do not, and what the certificate says: a sentence each."""
    return " ".join(s for s in (_kept(found), _lost(found), _certified(found)) if s)


def _kept(found: Sequence[Group]) -> str:
    plain = [g for g in found if g.case.named is None and g.case.kind != "minibatch"]
    good = [g for g in plain if g.order is not None and abs(g.order.mean - g.case.order) <= WITHIN]
    if not plain:
        return ""
    rest = [g for g in plain if g not in good]
    refuted = [g.label for g in rest if "REFUTED" in g.verdicts]
    tail = f", {len(rest)} {'is' if len(rest) == 1 else 'are'} not settled at these steps" if rest else ""
    tail += f" and {listed(refuted)} is refuted" if refuted else ""
    shows = "shows the order of its name" if len(good) == 1 else "show the order of their name"
    return f"{count(len(good), 'scheme')} of {len(plain)} {shows} within {WITHIN}{tail}."


def _lost(found: Sequence[Group]) -> str:
    games = [g for g in misnamed(found) if g.case.kind in ("game", "critic") and g.order is not None]
    if not games:
        return ""
    worst = max(games, key=lambda g: (g.case.named or 0) - (g.order.mean if g.order is not None else 0))
    return (
        f"{count(len(games), 'published scheme')} for games and critics do not: {worst.label} promises order "
        f"{worst.case.named:g} and has {_shown(worst)}, because a stage that sees an old opponent, an old critic or no "
        "penalty is a stage of another field."
    )


def _certified(found: Sequence[Group]) -> str:
    chosen = [g for g in on(found, "mixture") if g.case.scheme in ("euler", "heun", "rk4")]
    if not chosen:
        return ""
    parts = []
    for g in chosen:
        values = [r.mean for r in g.ratios("pathwise") if r is not None]
        parts.append(f"{number(min(values))} to {number(max(values))} times for {METHODS[g.case.scheme]}")
    return (
        f"On the four modes the pathwise certificate is {listed(parts)} the true W2 between the numerical and the "
        "exact cloud, computed from the numerical solution alone."
    )


def _shown(group: Group) -> str:
    return "lost in noise" if group.order is None else f"{group.order.mean:.2f}"


def sections(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> list[str]:
    """All sections whose cases are there."""
    made = (
        _names(found, drawn),
        _orders(found, drawn),
        _certificates(found, drawn),
        _work(drawn),
        _clocks(found),
    )
    return [part for part in made if part]


def _names(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    lost = tables.names(found)
    if not lost:
        return ""
    return f"""## Schemes without the order of their name

Each promises an order by its name or its source and has another. The error is over that of the scheme that does what
the name says, at the most steps that both have; the exact flow is that of the joint game, or of the critic that is
optimal at every time.

{lost}
{placed(drawn, "games")}

{_critics(found)}"""


def _critics(found: Sequence[Group]) -> str:
    """What k steps per critic and a lagging critic cost."""
    inner = [g for g in of_kind(found, "critic") if g.case.problem.endswith("-steps")]
    lag = of_kind(found, "lag")
    parts = []
    if inner:
        shown = [f"{number(g.errors[-1].mean)} for k = {g.case.problem.split('-')[0]}" for g in inner]
        parts.append(
            f"With k Euler steps per critic the order stays 1 and the error grows with k (PARAM-8): {listed(shown)}, "
            f"at {inner[0].steps[-1]} steps."
        )
    if lag and lag[0].order is not None:
        parts.append(
            f"A critic that follows at rate κ costs an error of order {lag[0].order.mean:.2f} in 1/κ (PARAM-9)."
        )
    return " ".join(parts)


def _orders(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    return f"""## Observed orders

Least squares of log error = log C + p log h + a h on the finest levels above the floor, with Student's interval
(INT-4); over seeds, the interval between them. *Confirmed*: the interval lies within {WITHIN} of theory.
*Pre-asymptotic*: the local order still changes at the finest steps.

{tables.problems()}
{tables.orders([g for g in found if g.case.kind != "minibatch"])}
{placed(drawn, "orders")}"""


def _certificates(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    shown = tables.certificates(found)
    if not shown:
        return ""
    return f"""## The discretization certificate

Three upper bounds of W2 between the exact flow's cloud and the numerical one (W2B-20), never to be confused: `pathwise`
takes the logarithmic norm of the field at the numerical points and `local` the largest over them at each time, both
uncertified; `rigorous` takes a bound over balls that hold the exact flow, and either proves its number or says that its
radius blew up. The table has the fewest and the most steps that were certified.

{shown}
{placed(drawn, "certificate", "where")}

### Steps for a given W2

The number of equal steps for which the pathwise form falls below a W2 that is asked for, on the four modes, with the
W2 that these steps really leave (largest over the seeds).

{tables.needed(found)}"""


def _work(drawn: Mapping[str, Drawn]) -> str:
    return f"## Work and precision\n\n{placed(drawn, 'work')}" if "work" in drawn else ""


def _clocks(found: Sequence[Group]) -> str:
    rule, draws = of_kind(found, "rule"), of_kind(found, "minibatch")
    parts = []
    if rule:
        row = rule[0].rows[0]
        parts.append(
            f"The rule eps/sqrt(1 + |F|²) is Euler's method on another clock (INT-6): after {number(row['clock'])} on "
            f"its "
            f"own, the flow's clock shows {number(row['elapsed'])}, and the parameters are "
            f"{number(row['error_at_elapsed'])} "
            f"from the flow at that time and {number(row['error_at_clock'])} from the flow at the time that the steps "
            f"add "
            "up to. It controls no error."
        )
    if draws:
        orders = {g.case.problem: _shown(g) for g in draws}
        same, fresh = orders.get("same", "—"), orders.get("fresh", "—")
        ends = {g.case.problem: g.rows[0]["run_errors"][-1] for g in draws}
        shown = listed(
            [f"{number(v)} ({'one draw a step' if k == 'same' else 'one a stage'})" for k, v in ends.items()]
        )
        parts.append(
            f"With minibatches the embedded error estimate of Heun-Euler falls with order {same} where both stages "
            f"see one "
            f"draw and with order {fresh} where each draws its own: it then measures the noise of the gradient, and "
            f"step "
            f"control would chase it (INT-5). The error of the run, {shown} at {draws[0].steps[-1]} steps, is the "
            f"noise's in "
            "both."
        )
    return "## Clocks and minibatches\n\n" + "\n\n".join(parts) if parts else ""
