"""One repeat of one case, as it is sent to a worker and computed there: strings in, JSON out."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from gflow.study import provenance
from gflow.study.config import from_json
from gflow.study.context import Context
from gflow.study.store import encode
from gflow.study.study import FAILED, Study, UsageError


@dataclass(frozen=True)
class Task:
    """What a worker needs: names and paths only, so that it is sent in microseconds to any node.

    The folder must be one that every worker sees: artifacts are read from it and arrays written to it.
    """

    module: str
    """Module that holds the study as ``STUDY``."""
    config: Mapping[str, Any]
    """The config as JSON."""
    case: str
    seed: int
    selected: tuple[str, ...]
    device: str
    dtype: str
    folder: str
    """Absolute path of the run's folder."""
    artifacts: str | None = None
    """Absolute path of the artifacts' file."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What the driver knows: commit, inputs."""


def execute(task: Task, study: Study[Any, Any] | None = None) -> dict[str, Any]:
    """Compute a task with one torch thread and return its row; what ``run`` raises becomes a failed row."""
    started, start = datetime.now(UTC), time.perf_counter()
    notes: dict[str, Any] = {}
    with one_thread():
        try:
            study = study or load(task.module)
            start = time.perf_counter()  # a worker's first task imports the study
            config = from_json(type(study.presets["default"]), task.config)
            case = next(c for c in study.cases(config) if c.name == task.case)
            context = _context(study, task, notes)
            row = encode(study.run(config, case, context))
        except (Exception, SystemExit) as error:
            row = {FAILED: f"{type(error).__name__}: {error}"}
            notes["traceback"] = traceback.format_exc()
    own = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 3),
        "device": provenance.device(task.device),
        "threads": 1,
    }
    known = {**task.provenance, **own, **provenance.machine()}
    return line(task, row, known | _plain(notes))


def line(task: Task, row: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is stored."""
    return {"case": task.case, "seed": task.seed, "row": row, "provenance": dict(known)}


def failure(task: Task, message: str) -> dict[str, Any]:
    """The row of a task whose worker gave no answer."""
    return line(task, {FAILED: message}, task.provenance)


@lru_cache(maxsize=4)
def load(module: str) -> Study[Any, Any]:
    """The study of a module.

    Raises:
        UsageError: the module cannot be imported or has no ``STUDY``.
    """
    try:
        study = importlib.import_module(module).STUDY
    except (ImportError, AttributeError) as error:
        raise UsageError(f"study: expected a module with a constant STUDY, got {module}: {error}") from None
    if not isinstance(study, Study):
        raise UsageError(f"study: expected {module}.STUDY to be a Study, got {type(study).__name__}")
    return study


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside, so that sums have one order on any number of workers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_artifacts(path: str, device: str) -> Mapping[str, Any]:
    """The artifacts of a file, on ``device``; nothing but tensors and plain values is accepted."""
    import torch

    stored: Mapping[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return stored


@lru_cache(maxsize=1)
def _artifacts(path: str, device: str) -> Mapping[str, Any]:
    return read_artifacts(path, device)


def _context(study: Study[Any, Any], task: Task, notes: dict[str, Any]) -> Context:
    return Context(
        study=study.name,
        version=study.version,
        case=task.case,
        seed=task.seed,
        device_name=task.device,
        dtype_name=task.dtype,
        selected=task.selected,
        folder=Path(task.folder),
        artifacts=_artifacts(task.artifacts, task.device) if task.artifacts else {},
        notes=notes,
    )


def _plain(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Notes as JSON; a note that cannot be written loses the note, never the row."""
    kept = {}
    for key, value in notes.items():
        try:
            kept[key] = encode(value)
        except ValueError as error:
            kept[key] = str(error)
    return kept
