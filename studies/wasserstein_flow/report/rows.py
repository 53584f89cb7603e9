"""Stored rows by case."""

from __future__ import annotations

from collections.abc import Iterable

from gflow.study import Record
from studies.repeats import Repeats, by_case
from studies.wasserstein_flow.config import Case, Config, cases


class Group(Repeats[Case]):
    """What the repeats of one case say together."""


def groups(config: Config, rows: Iterable[Record]) -> list[Group]:
    """The cases of a config that have rows, in the order of the study."""
    return by_case(Group, cases(config), rows)
