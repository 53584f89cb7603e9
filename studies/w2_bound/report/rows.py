"""Stored rows by case, and what is said of a case over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from gflow.estimate import Estimate
from gflow.study import Record
from studies.numbers import log10_of, median, pooled_bounds, pooled_mean, pooled_w2
from studies.repeats import Repeats, by_case, of_kind
from studies.w2_bound.config import Case, Config, cases

NETWORKS = ("network", "digits", "data", "score")
"""Kinds whose model is a network, or anything else without closed-form constants."""
RESOLVED = 1.5
"""``resolution`` up to which the quadrature of the bound by variation of constants is taken for resolved."""
_WEIGHTS = {"uniform": "1", "sigma2": "σ²", "g2I-over-e": "g²I/e"}
_METHODS = {"euler": "Euler", "heun": "Heun", "rk4": "RK4", "euler_maruyama": "Euler-Maruyama"}


class Group(Repeats[Case]):
    """What the repeats of one case say together."""

    @property
    def n(self) -> int:
        """Particles of each cloud."""
        return int(self.rows[0]["n"])

    @property
    def label(self) -> str:
        """The case in words."""
        return label(self.case)

    @property
    def sampler(self) -> str:
        """Equation, method and steps of the sampler."""
        return f"{self.case.sampler.upper()}, {_METHODS[self.case.method]}, {self.case.steps} steps"

    @cached_property
    def w2(self) -> Estimate:
        """W2 between the two clouds of the ladder, pooled as squares."""
        return pooled_w2([row["w2"] for row in self.rows])

    @cached_property
    def floor(self) -> Estimate:
        """W2 between two independent samples of the reference law, pooled as squares."""
        return pooled_w2([row["sampling_floor"] for row in self.rows])

    @cached_property
    def measured(self) -> Estimate:
        """W2 between the sampler's cloud and its target, pooled as squares."""
        return pooled_w2([row["budget"]["measured"] for row in self.rows])

    @cached_property
    def total(self) -> Estimate:
        """The sum of the budget, pooled as its terms are."""
        return pooled_mean([row["budget"]["total"] for row in self.rows])

    @property
    def target(self) -> str:
        """What ``measured`` and ``total`` are about: ``p_0`` or ``p_stop``."""
        return str(self.rows[0]["budget"]["target"])

    @cached_property
    def terms(self) -> dict[str, Estimate]:
        """The budget, term by term, in the order of the sampler's life."""
        stored = [row["budget"]["terms"] for row in self.rows]
        order = ("truncation", "initial", "model", "discretization", "monte_carlo")
        return {name: pooled_mean([t[name] for t in stored]) for name in order if name in stored[0]}

    @property
    def largest(self) -> str:
        """Name of the sampler's largest own error: Monte Carlo is of the clouds, not of the sampler."""
        own = [name for name in self.terms if name != "monte_carlo"]
        return max(own, key=lambda name: log10_of(self.terms[name]))

    @property
    def rungs(self) -> list[str]:
        """The rungs that every repeat has, sharpest first."""
        order = ("synchronous", "propagator", "pathwise", "local", "global")
        return [name for name in order if all(name in row["ladder"] for row in self.rows)]

    def rung(self, name: str) -> Estimate:
        """A bound over the seeds: pooled as W2 is, or the geometric mean where it is astronomical."""
        return pooled_bounds([row["ladder"][name] for row in self.rows])

    def certified(self, name: str) -> bool:
        """Whether the constants of a rung are closed forms in every repeat."""
        return all(row["kinds"].get(name) == "certified" for row in self.rows)

    def log_ratio(self, name: str, below: str = "") -> Estimate | None:
        """Median of log10(bound/W2), or of log10(bound/another bound); None where W2 is 0 in every repeat."""
        pairs = [(_bound(row, name), _bound(row, below) if below else row["w2"]) for row in self.rows]
        logs = [log10_of(top) - log10_of(low) for top, low in pairs if log10_of(low) > -math.inf]
        return median(logs) if logs else None

    def shares(self, *path: str) -> list[float] | None:
        """An entry of the slack ledger over W2, by seed; None where it is not in every row, or W2 is 0."""
        shares = []
        for row in self.rows:
            entry: Any = row["slack"]
            for key in path:
                entry = entry.get(key) if entry is not None else None
            if entry is None or row["w2"].mean <= 0:
                return None
            shares.append(entry.mean / row["w2"].mean)
        return shares


def _bound(row: Mapping[str, Any], name: str) -> Estimate:
    """A rung, or the variation-of-constants bound with its quadrature error."""
    bound: Estimate = row["ladder"][name] if name in row["ladder"] else Estimate.exact(row[name].hi, bias="up")
    return bound


def groups(config: Config, rows: Iterable[Record]) -> list[Group]:
    """The cases of a config that have rows, in the order of the study."""
    return by_case(Group, cases(config), rows)


def sweep(found: Sequence[Group], swept: str) -> list[Group]:
    """The cases of one sweep, in the order of the swept value."""
    chosen = [group for group in found if group.case.swept == swept]
    return sorted(chosen, key=lambda g: g.case.value) if swept != "network" else chosen


def middle(chosen: Sequence[Group]) -> Group | None:
    """The case in the middle of a sweep."""
    return chosen[len(chosen) // 2] if chosen else None


def best_network(found: Sequence[Group]) -> list[Group]:
    """The network of the mixture that ends nearest to the reference, or none."""
    return sorted(sweep(found, "network"), key=lambda g: g.w2.mean)[:1]


def headline(found: Sequence[Group]) -> list[Group]:
    """The cases that the opening speaks of: one of each kind, with the ODE sampler where there is one."""
    chosen = [middle(sweep(found, "error")), next(iter(best_network(found)), None)]
    for kind in ("digits", "data", "score", "field"):
        chosen.append(next(iter(of_kind(found, kind)), None))
    named = [group for group in chosen if group is not None]
    return named or of_kind(found, "mixture")[:1]


def near_floor(group: Group) -> bool:
    """Whether the measured W2 is hardly more than that of two samples of the reference law."""
    return group.measured.mean < 1.2 * group.floor.mean


def at_floor(group: Group) -> bool:
    """Whether the measured W2 is near the floor, and their intervals meet: no difference from it is seen."""
    return near_floor(group) and group.measured.lo <= group.floor.hi


def resolution(group: Group) -> float:
    """Upper end over value of the bound by variation of constants, the worst of the seeds."""
    return max(
        row["variation"].hi / row["variation"].mean if row["variation"].mean > 0 else math.inf for row in group.rows
    )


def sign_gain(group: Group) -> Estimate:
    """Median of log10 of `local` with the sign term kept (W2B-9) over `local`, which drops it."""
    return median([log10_of(row["sign"]["sharper"]) - log10_of(row["ladder"]["local"]) for row in group.rows])


def distinct(found: Iterable[Group]) -> list[Group]:
    """The cases that differ in more than the sweep they belong to: sweeps cross in the base case."""
    by_setting: dict[Case, Group] = {}
    for group in found:
        by_setting.setdefault(replace(group.case, name="", swept="", value=""), group)
    return list(by_setting.values())


def by_flows(found: Iterable[Group]) -> dict[Case, list[Group]]:
    """Cases by the flows that their ladder compares: the steps of an ODE sampler do not change the exact ones."""
    by_setting: dict[Case, list[Group]] = {}
    for group in found:
        case = replace(group.case, name="", swept="", value="")
        flows = replace(case, method="heun", steps=0) if case.sampler == "ode" else case
        by_setting.setdefault(flows, []).append(group)
    return by_setting


def target_name(group: Group) -> str:
    """What W2 and the sum of the budget are about, as a formula."""
    return {"p_0": "$p_0$", "p_stop": r"$p_{\mathrm{stop}}$"}[group.target]


def term_name(name: str) -> str:
    """A term of the budget in words."""
    return "Monte Carlo" if name == "monte_carlo" else name


def weight(variant: str) -> str:
    """The weight of a training loss as a formula."""
    return _WEIGHTS.get(variant, variant)


def short(group: Group) -> str:
    """The case in words, where it is said that it is the mixture."""
    return group.label.removeprefix("mixture, ").replace("narrow mixture", "narrow")


def label(case: Case) -> str:
    """A case in words, with the value that its sweep changes."""
    sampler = case.sampler.upper()
    if case.kind == "tight":
        return f"tight, family {case.variant}, {sampler}"
    if case.kind == "network":
        return f"mixture, network, weight {weight(case.variant)}"
    if case.kind != "mixture":
        names = {"digits": "digits", "data": "your cloud", "score": "your score", "field": "your field"}
        return names[case.kind] if case.kind == "field" else f"{names[case.kind]}, {sampler}"
    texts = {
        "error": f"mixture, score error {case.value:g}",
        "kwon": f"narrow mixture, score error {case.value:g}",
        "euler": f"mixture, Euler, {case.steps} steps",
        "heun": f"mixture, Heun, {case.steps} steps",
        "start": f"mixture, final beta {case.value:g}",
        "stop": f"mixture, stopped at {case.stop:g}",
        "sde": f"mixture, SDE, {case.steps} steps",
    }
    return texts[case.swept]
