"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gflow.study.study import FAILED


@runtime_checkable
class Meter(Protocol):
    """What shows the progress."""

    def say(self, text: str) -> None:
        """Show what is being done now."""
        ...

    def done(self, line: Mapping[str, Any]) -> None:
        """Count a row and show it."""
        ...


@contextmanager
def meter(total: int, done: int) -> Iterator[Meter]:
    """A meter on standard error for ``total`` rows of which ``done`` are stored."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines(console, total, done)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}", markup=False), *columns, console=console) as progress:
        yield Bar(progress, total, done)


class Lines:
    """One plain line for each row."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        """Lines on ``console``."""
        self._console, self._total, self._done = console, total, done
        if done:
            self.say(f"{done} of {total} rows are stored")

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False, soft_wrap=True)

    def done(self, line: Mapping[str, Any]) -> None:
        """``[3/24] case seed 0: 1.2 s``."""
        self._done += 1
        self.say(f"[{self._done}/{self._total}] {describe(line)}")


class Bar:
    """A bar with the time left; failed rows stay above it."""

    def __init__(self, progress: Progress, total: int, done: int) -> None:
        """A bar in ``progress``."""
        self._progress = progress
        self._task = progress.add_task("starting", total=total, completed=done)

    def say(self, text: str) -> None:
        """The text before the bar."""
        self._progress.update(self._task, description=text)

    def done(self, line: Mapping[str, Any]) -> None:
        """Advance, naming the row."""
        self._progress.update(self._task, advance=1, description=f"{line['case']} seed {line['seed']}")
        if FAILED in line["row"]:
            self._progress.console.print(describe(line), markup=False, soft_wrap=True)


def describe(line: Mapping[str, Any]) -> str:
    """A stored row in one line."""
    seconds = line["provenance"].get("seconds")
    spent = "" if seconds is None else f"{seconds:.1f} s"
    failed = f"failed: {line['row'][FAILED]}" if set(line["row"]) == {FAILED} else ""
    return f"{line['case']} seed {line['seed']}: {', '.join(t for t in (spent, failed) if t)}"
