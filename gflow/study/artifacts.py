"""The artifacts of a run: built once by ``prepare``, stored in one file, read by every task."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gflow.study.config import digest
from gflow.study.context import Context
from gflow.study.plan import Plan
from gflow.study.progress import Meter
from gflow.study.store import Store
from gflow.study.study import UsageError
from gflow.study.task import one_thread, read_artifacts


class PrepareError(Exception):
    """``prepare`` of a study failed."""


def prepare(plan: Plan, store: Store, shown: Meter) -> Path | None:
    """The file of the run's artifacts, built where it is not there yet."""
    if plan.study.prepare is None:
        return None
    names = tuple(case.name for case in plan.cases)
    path = store.folder / "artifacts" / f"{digest({**plan.identity, 'cases': names, 'device': plan.device})[:16]}.pt"
    if path.exists():
        return path
    shown.say("preparing")
    context = Context(
        study=plan.study.name,
        version=plan.study.version,
        case="prepare",
        seed=0,
        device_name=plan.device,
        dtype_name=plan.options.dtype,
        selected=names,
        folder=store.folder,
        progress=shown.say,
    )
    try:
        with one_thread():
            built = plan.study.prepare(plan.config, context)
        _save_artifacts(store, path, built, plan.device)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # a study's own error: no task can run without its artifacts
        raise PrepareError(f"{type(error).__name__}: {error}") from error
    return path


def _save_artifacts(store: Store, path: Path, built: Mapping[str, Any], device: str) -> None:
    """Write artifacts in one step, after checking that workers will read them."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(built), buffer)
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(".check")
    store.write(scratch, buffer.getvalue())
    try:
        read_artifacts(str(scratch), device)
    except Exception as error:
        scratch.unlink()
        raise TypeError(f"prepare: expected state dicts, tensors and plain values, got {error}") from error
    scratch.replace(path)
