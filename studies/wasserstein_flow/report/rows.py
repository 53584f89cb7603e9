"""Stored rows by case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gflow.estimate import Estimate
from gflow.study import Record
from studies.numbers import pooled_mean
from studies.repeats import Repeats, by_case
from studies.wasserstein_flow.config import Case, Config, cases


class Group(Repeats[Case]):
    """What the repeats of one case say together."""

    def values(self, *path: str | int) -> list[Any]:
        """What each seed stored under a name, or deeper: ``values("kl", -1)``."""
        found: list[Any] = self.rows
        for key in path:
            found = [value[key] for value in found]
        return found

    def over_seeds(self, *path: str | int) -> Estimate:
        """The mean over the seeds of a number, with its interval."""
        return pooled_mean([Estimate.exact(float(value)) for value in self.values(*path)])

    def mean(self, *path: str | int) -> float:
        """The mean over the seeds of a number."""
        return self.over_seeds(*path).mean


def groups(config: Config, rows: Iterable[Record]) -> list[Group]:
    """The cases of a config that have rows, in the order of the study."""
    return by_case(Group, cases(config), rows)
