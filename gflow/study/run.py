"""A run from its command line to its report. The only place that decides exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from gflow.study import provenance
from gflow.study.config import digest, from_json, to_json
from gflow.study.context import Context
from gflow.study.executor import DaskExecutor, Executor, SerialExecutor
from gflow.study.options import Options, command, parse, seed_values, select
from gflow.study.progress import Meter, meter
from gflow.study.store import Store
from gflow.study.study import FAILED, Record, Study, UsageError
from gflow.study.task import Task, one_thread, read_artifacts

_SHORT_WORK = 20.0
"""Seconds of estimated work below which worker processes cost more than they save."""


@dataclass(frozen=True)
class Plan:
    """A run that is about to start."""

    study: Study[Any, Any]
    config: Any
    options: Options
    cases: tuple[Any, ...]
    seeds: tuple[int, ...]
    device: str
    identity: Mapping[str, Any]
    """What the rows depend on; its hash names the run."""
    command: str

    @property
    def keys(self) -> list[tuple[str, int]]:
        """All (case, seed), in the order of the report."""
        return [(case.name, seed) for case in self.cases for seed in self.seeds]


def main(study: Study[Any, Any], argv: Sequence[str]) -> int:
    """Run a study's command line; the exit code is 0 ok, 1 failed, 2 usage, 3 inconclusive."""
    try:
        request = parse(study, argv)
        if request.options.report is not None:
            return redraw(study, Store(request.options.report))
        plan = _plan(study, request.config, request.options, argv)
        if request.options.dry_run:
            return _dry_run(plan)
        store = _open(plan)
        _compute(plan, store)
        return redraw(study, store)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the rows so far are kept, go on with --resume\n")
        return 130
    except SystemExit as end:  # --help
        return int(end.code or 0)


def redraw(study: Study[Any, Any], store: Store) -> int:
    """Draw the report of stored rows, say where it is, and return the exit code of its claims."""
    from gflow.study.report import render

    stored = store.load_config()
    try:
        config = from_json(type(study.presets["default"]), stored["config"])
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"--report: expected a run of {study.name}, version {study.version}, got {store.folder}: {error}"
        ) from None
    try:
        rendered = render(study, config, stored, _records(study, config, store), store.arrays())
    except Exception as error:  # a study's report may raise anything; the rows are on the disk
        sys.stderr.write(traceback.format_exc())
        sys.stderr.write(f"error: report: {type(error).__name__}: {error}; all rows are kept in {store.folder}\n")
        return 1
    for name, content in rendered.files.items():
        store.write(store.folder / name, content)
    console = Console(highlight=False)
    console.print(rendered.table())
    console.print(f"report: {store.folder / 'report.html'}", markup=False, soft_wrap=True)
    return rendered.exit_code


def _plan(study: Study[Any, Any], config: Any, options: Options, argv: Sequence[str]) -> Plan:
    """Everything that can be refused, checked before anything is created."""
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers: expected at least 1, got {options.workers}")
    if study.validate is not None:
        study.validate(config)
    seeds = seed_values(options.seeds)
    cases = tuple(select(study.cases(config), options.case))
    if not cases:
        raise UsageError("--case: expected a config with at least one case, got none")
    inputs = dict(study.inputs(config)) if study.inputs else {}
    identity = {
        "study": study.name,
        "version": study.version,
        "dtype": options.dtype,
        "inputs": inputs,
        "config": to_json(config),
    }
    return Plan(study, config, options, cases, seeds, _device(options.device), identity, command(study.module, argv))


def _device(name: str) -> str:
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UsageError("--device: expected a device of this machine, got cuda, and no CUDA device is available")
    return "cpu"


def _dry_run(plan: Plan) -> int:
    from gflow.study.estimate import cost_table

    Console(highlight=False).print(cost_table(plan))
    return 0


def _open(plan: Plan) -> Store:
    """The store of the run, ready for rows; a resumed one without torn and failed rows."""
    store = Store(plan.options.out or _default_folder(plan))
    cases, seeds = [case.name for case in plan.cases], list(plan.seeds)
    first_command = plan.command
    if store.holds_rows():
        if not plan.options.resume:
            raise UsageError(
                f"--out: expected an empty folder, got {store.folder} which holds rows; go on with --resume"
            )
        store.refuse_other(plan.identity)
        stored, lines = store.load_config(), store.lines()
        store.create()
        store.rewrite([x for x in lines.values() if FAILED not in x["row"]])
        cases = [c.name for c in plan.study.cases(plan.config) if c.name in {*cases, *stored["cases"]}]
        seeds = sorted({*seeds, *stored["seeds"]})
        first_command = stored["command"]
    store.create()
    store.save_config(
        {
            **plan.identity,
            "hash": digest(plan.identity)[:12],
            "module": plan.study.module,
            "preset": plan.options.preset,
            "cases": cases,
            "seeds": seeds,
            "command": first_command,
        }
    )
    return store


def _default_folder(plan: Plan) -> Path:
    """``runs/<study>/<date>_<preset>_<hash>``; with --resume the newest such folder of this config."""
    parent, ending = Path("runs") / plan.study.name, f"{plan.options.preset}_{digest(plan.identity)[:8]}"
    older = sorted(parent.glob(f"*_{ending}"))
    if plan.options.resume and older:
        return older[-1]
    return parent / f"{datetime.now():%Y-%m-%dT%H%M%S}_{ending}"  # noqa: DTZ005  # a name: local time is meant


def _compute(plan: Plan, store: Store) -> None:
    """Compute the rows that are missing, storing each as it is done."""
    stored = store.lines()
    missing = [key for key in plan.keys if key not in stored]
    if missing:
        with meter(len(plan.keys), len(plan.keys) - len(missing)) as shown:
            artifacts = _prepare(plan, store, shown)
            tasks = _tasks(plan, store, missing, artifacts)
            for line in _executor(plan, len(tasks)).run(tasks):
                store.append(line)
                shown.done(line)
    order = {name: i for i, name in enumerate(store.load_config()["cases"])}
    store.rewrite(
        sorted(store.lines().values(), key=lambda x: (order.get(x["case"], len(order)), x["case"], x["seed"]))
    )


def _tasks(plan: Plan, store: Store, keys: Sequence[tuple[str, int]], artifacts: Path | None) -> list[Task]:
    known = {**provenance.commit(), **({"inputs": plan.identity["inputs"]} if plan.identity["inputs"] else {})}
    return [
        Task(
            module=plan.study.module,
            config=plan.identity["config"],
            case=case,
            seed=seed,
            selected=tuple(c.name for c in plan.cases),
            device=plan.device,
            dtype=plan.options.dtype,
            folder=str(store.folder.resolve()),
            artifacts=None if artifacts is None else str(artifacts.resolve()),
            provenance=known,
        )
        for case, seed in keys
    ]


def _executor(plan: Plan, n_tasks: int) -> Executor:
    """The executor that the options ask for."""
    from gflow.study.estimate import total_seconds

    workers = plan.options.workers
    if workers is None:
        seconds = total_seconds(plan)
        short = seconds is not None and seconds < _SHORT_WORK
        workers = 1 if short or plan.device != "cpu" else provenance.cores()
    workers = min(workers, n_tasks)
    if plan.options.cluster is None and workers == 1:
        return SerialExecutor(plan.study)
    if not plan.study.module:
        raise UsageError(
            "--workers: expected a study run by python -m, got a plain script; use python -m or --workers 1"
        )
    return DaskExecutor(workers, plan.options.cluster)


def _prepare(plan: Plan, store: Store, shown: Meter) -> Path | None:
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
    with one_thread():
        built = plan.study.prepare(plan.config, context)
    _save_artifacts(store, path, built, plan.device)
    return path


def _save_artifacts(store: Store, path: Path, built: Mapping[str, Any], device: str) -> None:
    """Write artifacts in one step, after checking that workers will read them."""
    import io

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


def _records(study: Study[Any, Any], config: Any, store: Store) -> list[Record]:
    """The stored rows in the order of the cases, then seeds; cases of another selection last."""
    order = {case.name: i for i, case in enumerate(study.cases(config))}
    return store.records(lambda r: (order.get(r.case, len(order)), r.case, r.seed))
