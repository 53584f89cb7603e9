"""A run from its command line to its report. The only place that decides exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gflow.study import provenance
from gflow.study.artifacts import PrepareError, prepare
from gflow.study.config import digest, from_json
from gflow.study.estimate import check_memory, cost_table, workers
from gflow.study.executor import DaskExecutor, Executor, SerialExecutor
from gflow.study.options import parse
from gflow.study.plan import Plan, default_folder, make_plan
from gflow.study.progress import meter
from gflow.study.store import Store
from gflow.study.study import FAILED, Record, Study, UsageError
from gflow.study.task import Task


def main(study: Study[Any, Any], argv: Sequence[str]) -> int:
    """Run a study's command line; the exit code is 0 ok, 1 failed, 2 usage, 3 inconclusive."""
    try:
        try:
            request = parse(study, argv)
        except SystemExit:  # --help was shown; a study that quits later is an error like any other
            return 0
        if request.options.report is not None:
            return redraw(study, Store(request.options.report, "--report"))
        plan = make_plan(study, request.config, request.options, argv)
        if request.options.dry_run:
            return _dry_run(plan)
        check_memory(plan)
        executor = _executor(plan)
        store = _open(plan)
        _compute(plan, store, executor)
        return redraw(study, store)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except PrepareError as error:
        sys.stderr.write(traceback.format_exc())
        sys.stderr.write(f"error: prepare: {error}; the rows so far are kept\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the rows so far are kept, go on with --resume\n")
        return 130


def redraw(study: Study[Any, Any], store: Store) -> int:
    """Draw the report of stored rows, say where it is, and return the exit code of its claims."""
    from gflow.study.report import render

    stored = store.load_config()
    store.refuse_study(stored, study.name, "--report")
    try:
        config = from_json(type(study.presets["default"]), stored["config"])
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"--report: expected a run of {study.name}, version {study.version}, got {store.folder}: {error}"
        ) from None
    try:
        rendered = render(study, config, stored, _records(study, config, store), store.arrays())
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # a study's report may raise anything; the rows are on the disk
        sys.stderr.write(traceback.format_exc())
        sys.stderr.write(f"error: report: {type(error).__name__}: {error}; all rows are kept in {store.folder}\n")
        return 1
    for name, content in rendered.files.items():
        store.write(store.folder / name, content)
    console = Console(highlight=False)
    console.print(rendered.table())
    console.print(f"report: {store.folder / 'report.html'}", markup=False, soft_wrap=True)
    return rendered.exit_code


def _dry_run(plan: Plan) -> int:
    Console(highlight=False).print(cost_table(plan))
    return 0


def _open(plan: Plan) -> Store:
    """The store of the run, ready for rows; a resumed one without torn and failed rows."""
    store = Store(plan.options.out or default_folder(plan))
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
        again = {key for key in plan.keys if key in lines and FAILED in lines[key]["row"]}
        store.rewrite([x for key, x in lines.items() if key not in again])
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


def _compute(plan: Plan, store: Store, executor: Executor) -> None:
    """Compute the rows that are missing, storing each as it is done."""
    stored = store.lines()
    missing = [key for key in plan.keys if key not in stored]
    if missing:
        with meter(len(plan.keys), len(plan.keys) - len(missing)) as shown:
            artifacts = prepare(plan, store, shown)
            for line in executor.run(_tasks(plan, store, missing, artifacts)):
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


def _executor(plan: Plan) -> Executor:
    """The executor that the options ask for; a cluster has answered before any work starts."""
    count = workers(plan, len(plan.keys))
    if plan.options.cluster is None and count == 1:
        return SerialExecutor(plan.study)
    if not plan.study.module:
        raise UsageError(
            "--workers: expected a study run by python -m, got a plain script; use python -m or --workers 1"
        )
    executor = DaskExecutor(count, plan.options.cluster)
    executor.check()
    return executor


def _records(study: Study[Any, Any], config: Any, store: Store) -> list[Record]:
    """The stored rows in the order of the cases, then seeds; cases of another selection last."""
    order = {case.name: i for i, case in enumerate(study.cases(config))}
    return store.records(lambda r: (order.get(r.case, len(order)), r.case, r.seed), study.columns)
