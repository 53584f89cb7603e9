"""Stored rows by case: what the reports of all studies start from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gflow.study import Record


class Named(Protocol):
    """A case of a study."""

    @property
    def name(self) -> str:
        """Unique within a config."""

    @property
    def kind(self) -> str:
        """What kind of experiment it is."""


C = TypeVar("C", bound=Named)
G = TypeVar("G", bound="Repeats[Any]")


@dataclass(frozen=True, eq=False)
class Repeats(Generic[C]):
    """The repeats of one case, one for each seed that is there."""

    case: C
    records: tuple[Record, ...]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The measured values, by seed."""
        return [record.row for record in self.records]

    @property
    def seeds(self) -> int:
        """Number of repeats."""
        return len(self.records)


def by_case(make: Callable[[C, tuple[Record, ...]], G], cases: Iterable[C], rows: Iterable[Record]) -> list[G]:
    """The cases that have rows, in the order of the study."""
    found: dict[str, list[Record]] = {}
    for record in rows:
        found.setdefault(record.case, []).append(record)
    return [make(case, tuple(found[case.name])) for case in cases if case.name in found]


def of_kind(found: Sequence[G], *kinds: str) -> list[G]:
    """The cases of some kinds."""
    return [group for group in found if group.case.kind in kinds]
