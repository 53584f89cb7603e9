"""Stored rows by case, and what is said of a case over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from gflow.estimate import Estimate
from gflow.study import Record
from studies.discretization.config import Case, Config, cases
from studies.numbers import pooled
from studies.repeats import Repeats, by_case

METHODS = {
    "euler": "Euler",
    "midpoint": "midpoint",
    "heun": "Heun",
    "bosh3": "Bogacki-Shampine",
    "rk4": "RK4",
    "dopri5": "Dormand-Prince",
    "tsit5": "Tsitouras",
    "notebook": 'notebook "Heun"',
    "heun_euler": "Heun-Euler",
}
PROBLEMS = {
    "gaussian": "Gaussian, probability flow",
    "mixture": "four modes, probability flow",
    "rectified": "three modes, rectified flow",
    "digits": "digits, score network",
}
_SCHEMES = {
    "tracking": "critic tracked",
    "frozen": "critic frozen in the step",
    "one-refresh": "critic frozen, against its own flow",
    "joint": "joint stages",
    "inside": "penalty inside the stages",
    "outside": "penalty outside the stages",
    "change": "step rule, on its own clock",
    "same": "one draw per step",
    "fresh": "a fresh draw per stage",
}


class Group(Repeats[Case]):
    """What the repeats of one case say together."""

    @property
    def label(self) -> str:
        """The case in words."""
        return label(self.case)

    @property
    def steps(self) -> list[int]:
        """Numbers of steps on which the order was measured."""
        return [int(n) for n in self.rows[0]["steps"]]

    @cached_property
    def order(self) -> Estimate | None:
        """The observed order: over the seeds, or of the one seed; None where lost in noise."""
        found = [row["order"] for row in self.rows if row["order"] is not None]
        return pooled(found) if len(found) == self.seeds else None

    @property
    def verdicts(self) -> list[str]:
        """The verdict of each seed."""
        return [str(row["verdict"]) for row in self.rows]

    @cached_property
    def errors(self) -> list[Estimate]:
        """Error at each number of steps: geometric mean over the seeds with its interval."""
        columns = zip(*(row["errors"] for row in self.rows), strict=True)
        return [pooled([Estimate.bound(math.log(max(e, 1e-300))) for e in column]) for column in columns]

    @cached_property
    def evaluations(self) -> list[int]:
        """Evaluations of the field at each number of steps."""
        return [int(k) for k in self.rows[0]["evaluations"]]

    @property
    def certified_steps(self) -> list[int]:
        """Numbers of steps that have a certificate."""
        return [int(n) for n in self.rows[0]["certificate"]["steps"]]

    def form(self, name: str) -> list[Estimate | None]:
        """A form of the certificate, or ``w2``, at each number of steps, over the seeds; None where a seed has none."""
        columns = list(zip(*(row["certificate"][name] for row in self.rows), strict=True))
        return [pooled([_log(e) for e in column]) if all(column) else None for column in columns]

    def ratios(self, name: str) -> list[Estimate | None]:
        """A form over the true W2, geometric mean over the seeds."""
        made = []
        for forms, trues in zip(self._columns(name), self._columns("w2"), strict=True):
            known = all(e is not None and math.isfinite(e.mean) for e in forms) and all(w.mean > 0 for w in trues)
            logs = [math.log(e.mean / w.mean) for e, w in zip(forms, trues, strict=True)] if known else []
            made.append(pooled([Estimate.bound(x) for x in logs]) if known else None)
        return made

    def _columns(self, name: str) -> list[tuple[Any, ...]]:
        return list(zip(*(row["certificate"][name] for row in self.rows), strict=True))


def label(case: Case) -> str:
    """A case in words."""
    method = METHODS[case.scheme]
    if case.kind == "flow":
        return f"{PROBLEMS[case.problem]}, {method}"
    if case.kind == "lag":
        return "critic that lags, by 1/κ"
    if case.problem.endswith("-steps"):
        return f"{case.problem.split('-')[0]} Euler steps per critic"
    subject = "game, frozen opponent" if (case.kind, case.problem) == ("game", "frozen") else _SCHEMES[case.problem]
    prefix = {"game": "" if subject.startswith("game") else "game, ", "minibatch": "minibatch, "}.get(case.kind, "")
    return f"{prefix}{subject}, {method}"


def groups(config: Config, rows: Iterable[Record]) -> list[Group]:
    """The cases of a config that have rows, in the order of the study."""
    return by_case(Group, cases(config), rows)


def on(found: Sequence[Group], problem: str) -> list[Group]:
    """The samplers on one problem."""
    return [group for group in found if group.case.kind == "flow" and group.case.problem == problem]


def misnamed(found: Sequence[Group]) -> list[Group]:
    """Schemes whose name or source promises another order."""
    return [group for group in found if group.case.named is not None]


def _log(e: Estimate) -> Estimate:
    """A positive number that is pooled geometrically."""
    return Estimate.bound(math.log(max(e.mean, 1e-300)))
