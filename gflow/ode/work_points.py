"""The points of a work-precision diagram: its front, work at equal error, and its file. Runs nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

_FORMAT = "gflow work-precision 1"


class Work(Enum):
    """What a solver spends."""

    EVALUATIONS = "evaluations of the field"
    SECONDS = "median seconds"


@dataclass(frozen=True)
class Seconds:
    """Quartiles of the wall time of one solve over its repeats.

    Raises:
        ValueError: a number that is negative, not finite or out of order.
    """

    q1: float
    median: float
    q3: float

    def __post_init__(self) -> None:
        """Check the order."""
        if not 0 <= self.q1 <= self.median <= self.q3 < math.inf:
            given = (self.q1, self.median, self.q3)
            raise ValueError(f"Seconds: needs finite 0 <= q1 <= median <= q3, got {given}")


@dataclass(frozen=True)
class WorkPoint:
    """One entry at one setting: its error and its work, or how it failed.

    Raises:
        ValueError: a negative or non-finite number, or a failure beside numbers.
    """

    entry: str
    setting: float
    """A tolerance or a number of steps, whatever the entry takes."""
    error: float | None
    """Not negative; None where the solve failed."""
    evaluations: int | None
    """Evaluations of the field; None where the solve failed."""
    seconds: Seconds | None
    """None where the solve failed."""
    failure: str = ""
    """What went wrong; empty on success."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        where = f"WorkPoint: {self.entry} at {self.setting}"
        numbers = (self.error, self.evaluations, self.seconds)
        if any((x is None) != bool(self.failure) for x in numbers):
            raise ValueError(f"{where} needs error, evaluations and seconds, or a failure: {numbers}, {self.failure!r}")
        if not math.isfinite(self.setting):
            raise ValueError(f"{where}: the setting must be finite")
        if any(x is not None and not 0 <= x < math.inf for x in (self.error, self.evaluations)):
            raise ValueError(f"{where} needs finite error and evaluations >= 0, got {self.error}, {self.evaluations}")

    def work(self, by: Work) -> float:
        """What the solve spent; infinite where it failed."""
        if self.evaluations is None or self.seconds is None:
            return math.inf
        return float(self.evaluations) if by is Work.EVALUATIONS else self.seconds.median


@dataclass(frozen=True)
class WorkPrecision:
    """The points of a work-precision diagram.

    Raises:
        ValueError: ``repeats`` below 1.
    """

    points: tuple[WorkPoint, ...]
    """In the order of the entries, each in the order of its settings."""
    repeats: int
    """Number of timed solves behind the quartiles of each point."""

    def __post_init__(self) -> None:
        """Check the repeats."""
        if self.repeats < 1:
            raise ValueError(f"WorkPrecision: repeats must be at least 1, got {self.repeats}")

    @property
    def entries(self) -> tuple[str, ...]:
        """Names in their order."""
        return tuple(dict.fromkeys(point.entry for point in self.points))

    def of(self, entry: str) -> tuple[WorkPoint, ...]:
        """The points of one entry, failed ones included.

        Raises:
            ValueError: no entry of this name.
        """
        if entry not in self.entries:
            raise ValueError(f"WorkPrecision: expected one of the entries {list(self.entries)}, got {entry!r}")
        return tuple(point for point in self.points if point.entry == entry)

    def pareto(self, by: Work) -> tuple[WorkPoint, ...]:
        """The points that no other beats, from the cheapest on.

        One point beats another where neither its error nor its work is larger, and one of them is smaller.
        """
        return _front(self.points, by)

    def cost_at(self, error: float, *, entry: str, by: Work) -> float | None:
        """Work at which ``entry`` reaches ``error``, on straight log-log lines between its unbeaten points.

        None where its points do not enclose ``error``: a curve says nothing beyond its ends.

        Raises:
            ValueError: an error that is not positive, or no entry of this name.
        """
        if not 0 < error < math.inf:
            raise ValueError(f"WorkPrecision.cost_at: error must be positive and finite, got {error}")
        front = [(point.work(by), point.error or 0.0) for point in _front(self.of(entry), by)]
        if exact := [work for work, reached in front if reached == error]:
            return exact[0]
        for (work, above), (more, below) in zip(front, front[1:], strict=False):
            if above > error > below:
                return _between(math.log(above / error), above, below, work, more)
        return None

    def save(self, path: str | Path) -> None:
        """Write JSON, in one step: a reader never meets half a file."""
        content = {"format": _FORMAT, **asdict(self)}
        scratch = Path(path).with_name(f"{Path(path).name}.{os.getpid()}.tmp")
        try:
            scratch.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> WorkPrecision:
        """Read what ``save`` wrote.

        Raises:
            ValueError: the file holds something else; the message names the file and what is wrong.
            OSError: the file cannot be read.
        """
        content = Path(path).read_bytes()
        try:
            return _parse(json.loads(content))
        except ValueError as error:
            raise ValueError(f"WorkPrecision.load: {path} is no saved work-precision: {error}") from None


def _front(points: Iterable[WorkPoint], by: Work) -> tuple[WorkPoint, ...]:
    """The unbeaten points among those that did not fail, by rising work."""
    front: list[WorkPoint] = []
    solved = [(point.work(by), point.error, point) for point in points if point.error is not None]
    best = (-math.inf, math.inf)
    for work, error, point in sorted(solved, key=lambda item: item[:2]):
        if error < best[1] or (work, error) == best:
            best = (work, error)
            front.append(point)
    return tuple(front)


def _between(drop: float, above: float, below: float, work: float, more: float) -> float:
    """Work where the logarithm of the error has fallen by ``drop`` on the way from ``above`` to ``below``."""
    # Zero has no logarithm: then the dearer point is what is certain to do.
    if below == 0 or work == 0:
        return more
    return float(work * (more / work) ** (drop / math.log(above / below)))


_NUMBER = (int, float)
_NONE = (type(None),)
_FILE = {"format": (str,), "points": (list,), "repeats": (int,)}
_POINT = {
    "entry": (str,),
    "setting": _NUMBER,
    "error": _NUMBER + _NONE,
    "evaluations": (int, *_NONE),
    "seconds": (dict, *_NONE),
    "failure": (str,),
}
_SECONDS = {"q1": _NUMBER, "median": _NUMBER, "q3": _NUMBER}


def _parse(content: object) -> WorkPrecision:
    """The values behind a file; raises ValueError where it has other fields, types or numbers."""
    data = _checked(content, _FILE, "the file")
    if data["format"] != _FORMAT:
        raise ValueError(f"expected the format {_FORMAT!r}, got {data['format']!r}")
    points = [_checked(item, _POINT, f"point {i}") for i, item in enumerate(data["points"])]
    for i, point in enumerate(points):
        if point["seconds"] is not None:
            point["seconds"] = Seconds(**_checked(point["seconds"], _SECONDS, f"seconds of point {i}"))
    return WorkPrecision(tuple(WorkPoint(**point) for point in points), data["repeats"])


def _checked(content: object, types: Mapping[str, tuple[type, ...]], what: str) -> dict[str, Any]:
    """``content`` as a mapping with exactly these fields of these types."""
    if not isinstance(content, dict) or set(content) != set(types):
        raise ValueError(f"{what} needs the fields {sorted(types)}, got {str(content):.80}")
    for name, kinds in types.items():
        # bool is an int to isinstance.
        if type(content[name]) not in kinds:
            raise ValueError(
                f"{name} of {what} must be {' or '.join(k.__name__ for k in kinds)}, got {content[name]!r:.80}"
            )
    return content
