"""Stored rows by case."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from gflow.estimate import Estimate
from gflow.study import Record
from studies.numbers import number, spread
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

    def range(self, *path: str | int) -> Estimate:
        """The mean over the seeds of a number, with the smallest and the largest as its ends.

        The seeds draw problems of their own: their range says how far these differ, and a Student interval of
        the mean over few of them nothing.
        """
        found = [float(value) for value in self.values(*path)]
        low, high = min(found), max(found)
        # The mean of equal numbers may round to one beside them.
        return Estimate(min(max(math.fsum(found) / len(found), low), high), low, high, len(found))

    def mean(self, *path: str | int) -> float:
        """The mean over the seeds of a number."""
        return self.range(*path).mean

    def spread(self, *path: str | int) -> str:
        """A number, or ``0.2 to 0.4`` where the seeds differ."""
        found = self.range(*path)
        return spread(number(found.lo), number(found.hi))


def groups(config: Config, rows: Iterable[Record]) -> list[Group]:
    """The cases of a config that have rows, in the order of the study."""
    return by_case(Group, cases(config), rows)
