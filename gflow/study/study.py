"""What a study is: its question, its configs, and the functions that compute and report. Runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from gflow.study.context import Context

Verdict = Literal["ok", "failed", "inconclusive"]
VERDICTS: Mapping[Verdict, str] = {"ok": "holds", "failed": "fails", "inconclusive": "inconclusive"}
"""What a reader sees."""
Row = Mapping[str, Any]
"""Values of one repeat of one case: JSON values, Estimates, dataclasses, nested at will."""
Arrays = Mapping[str, Mapping[str, "NDArray[Any]"]]
"""The saved arrays of a run by key, each read when it is asked for."""

FAILED = "failed"
"""Reserved key: a row that is only ``{"failed": message}`` is a task that did not finish."""


class UsageError(Exception):
    """What the user typed or gave cannot be used; shown as one line, exit code 2."""


@runtime_checkable
class Case(Protocol):
    """One point of a study: a frozen dataclass with a name."""

    @property
    def name(self) -> str:
        """Unique in the study; ``group/detail`` is selected by ``--case group`` as well."""
        ...


C = TypeVar("C")
K = TypeVar("K", bound=Case)


@dataclass(frozen=True)
class Claim:
    """A statement that the rows decide."""

    text: str
    """The statement, Markdown."""
    verdict: Verdict
    """``ok``, ``failed``, or ``inconclusive`` where the rows cannot tell."""
    detail: str = ""
    """The numbers behind the verdict, Markdown."""

    def __post_init__(self) -> None:
        """Check the verdict."""
        if self.verdict not in ("ok", "failed", "inconclusive"):
            raise ValueError(f"Claim: verdict must be ok, failed or inconclusive, got {self.verdict!r}")


@dataclass(frozen=True)
class Report:
    """What a study says of its rows."""

    markdown: str
    """The text; it opens with the answer. A figure is placed by ``![caption](figure:name)``."""
    figures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)
    """Functions that draw a matplotlib figure; each is called once per theme, inside the theme."""
    claims: Sequence[Claim] = ()
    """What was claimed, and whether it held; they decide the exit code."""


@dataclass(frozen=True)
class Record:
    """One stored repeat of one case."""

    case: str
    """Name of the case."""
    seed: int
    """The seed value."""
    row: Mapping[str, Any]
    """Measured values; Estimates are objects again."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """All that may differ between two equal runs."""

    @property
    def failed(self) -> str | None:
        """Why the task did not finish, or None."""
        return str(self.row[FAILED]) if set(self.row) == {FAILED} else None

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the row in its run."""
        return self.case, self.seed


@dataclass(frozen=True)
class Study(Generic[C, K]):
    """A question with all that is needed to answer it again.

    The module of a study defines a frozen config dataclass, its cases, ``run`` and ``report``, and
    one constant ``STUDY``; it does no work when imported, because every worker imports it.
    """

    name: str
    """Name of the study: folder under ``runs/`` and ``results/``."""
    question: str
    """The question in one sentence."""
    version: int
    """Raised by hand when ``run`` changes its meaning: old rows are then refused, not mixed in."""
    presets: Mapping[str, C]
    """Configs by name, with at least ``default``."""
    cases: Callable[[C], Sequence[K]]
    """The cases of a config, in the order of the report."""
    run: Callable[[C, K, Context], Row]
    """One repeat of one case, with one torch thread; pure but for the context's generator and arrays."""
    report: Callable[[C, Sequence[Record], Arrays], Report]
    """Pure: config, the rows that finished (in order of cases, then seeds), arrays by key."""
    columns: Sequence[str] = ()
    """Values that every finished row has; a stored row without one is refused by its line, not met by ``report``."""
    cost: str = ""
    """What the default preset costs, in words."""
    seeds: Mapping[str, str] = field(default_factory=dict)
    """Default of ``--seeds`` by preset; ``0`` where nothing is said."""
    dtype: Literal["float32", "float64"] = "float64"
    """Default of ``--dtype``."""
    prepare: Callable[[C, Context], Mapping[str, Any]] | None = None
    """Artifacts by name, built once a run and read by every task: state dicts, tensors and plain
    values, all that ``torch.load(weights_only=True)`` reads. ``context.selected`` tells the cases."""
    validate: Callable[[C, str], None] | None = None
    """``validate(config, dtype name)`` raises UsageError for a config that cannot run, before any work."""
    estimate: Callable[[C, K], tuple[float, float]] | None = None
    """Seconds and bytes that one repeat of a case will take, for ``--dry-run``."""
    estimate_prepare: Callable[[C], tuple[float, float]] | None = None
    """Seconds and bytes of ``prepare``, for ``--dry-run``."""
    inputs: Callable[[C], Mapping[str, str]] | None = None
    """What the rows depend on beside the config (sha256 of a data file): kept in every row's
    provenance, and a run whose inputs changed is not resumed."""

    def __post_init__(self) -> None:
        """Check that the default config is there."""
        if "default" not in self.presets:
            raise ValueError(f"{self.name}: presets need a config named 'default', got {sorted(self.presets)}")

    @property
    def module(self) -> str:
        """The module that workers import; it holds this study as ``STUDY``.

        It is the module of the study's functions, or a package around it. Under ``python -m`` that is
        ``__main__``, which a worker cannot import by this name: its spec tells the true one. Empty
        for a file run as a plain script.
        """
        for function in (self.run, self.report, self.cases):
            name: str = function.__module__
            while name:
                if getattr(sys.modules.get(name), "STUDY", None) is self:
                    return _true_name(name)
                name = name.rpartition(".")[0]
        return _true_name(self.run.__module__)

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line and return the exit code: 0 ok, 1 failed, 2 usage, 3 inconclusive."""
        from gflow.study.run import main

        return main(self, sys.argv[1:] if argv is None else argv)


def _true_name(name: str) -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return name if name != "__main__" else spec.name if spec is not None else ""
