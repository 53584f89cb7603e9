"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gflow.study.study import FAILED


class Meter(Protocol):
    """What shows the progress; a context manager."""

    def __enter__(self) -> Self:
        """Start."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        ...

    def say(self, text: str) -> None:
        """Show what is being done now."""
        ...

    def done(self, line: Mapping[str, Any]) -> None:
        """Count a row and show it."""
        ...


def meter(total: int, done: int) -> Meter:
    """A meter on standard error for ``total`` rows of which ``done`` are stored."""
    console = Console(stderr=True, highlight=False)
    return Bar(console, total, done) if console.is_terminal else Lines(console, total, done)


class Lines:
    """One plain line for each row."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        """Lines on ``console``."""
        self._console, self._total, self._done = console, total, done

    def __enter__(self) -> Self:
        """Say what is left."""
        if self._done:
            self._write(f"{self._done} of {self._total} rows are stored")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def say(self, text: str) -> None:
        """A line of its own."""
        self._write(text)

    def done(self, line: Mapping[str, Any]) -> None:
        """``[3/24] case seed 0: 1.2 s``."""
        self._done += 1
        self._write(f"[{self._done}/{self._total}] {describe(line)}")

    def _write(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class Bar:
    """A bar with the time left; failed rows stay above it."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        """A bar on ``console``."""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=total, completed=done)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        self._progress.stop()

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
