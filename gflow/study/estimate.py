"""What a run will cost, from what its study says of each case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from gflow.study import provenance
from gflow.study.study import UsageError

if TYPE_CHECKING:
    from gflow.study.plan import Plan

_SHORT_WORK = 20.0
"""Seconds of estimated work below which worker processes cost more than they save."""


def total_seconds(plan: Plan) -> float | None:
    """Estimated seconds of all tasks on one core; None where the study does not say."""
    if plan.study.estimate is None:
        return None
    return len(plan.seeds) * sum(plan.study.estimate(plan.config, case)[0] for case in plan.cases)


def workers(plan: Plan, n_tasks: int) -> int:
    """Worker processes that a plan uses for its tasks: what was typed, or the cores where they pay."""
    wanted = plan.options.workers
    if wanted is None:
        seconds = total_seconds(plan)
        short = seconds is not None and seconds < _SHORT_WORK
        wanted = 1 if short or plan.device != "cpu" else provenance.cores()
    return max(1, min(wanted, n_tasks))


def check_memory(plan: Plan) -> None:
    """Refuse a run on this machine that would need more memory than is available, before any work.

    Raises:
        UsageError: with the estimate, what is available, and what would fit.
    """
    free = provenance.available_memory()
    if plan.study.estimate is None or plan.options.cluster is not None or free is None:
        return
    sizes = {case.name: plan.study.estimate(plan.config, case)[1] for case in plan.cases}
    largest, count = max(sizes, key=lambda name: sizes[name]), workers(plan, len(plan.keys))
    first = plan.study.estimate_prepare(plan.config)[1] if plan.study.estimate_prepare else 0.0
    if max(count * sizes[largest], first) <= free:
        return
    have = f"{_memory(free)} available"
    if first > free:
        raise UsageError(f"memory: expected a preparation that fits {have}, got one of about {_memory(first)}")
    if sizes[largest] <= free:
        raise UsageError(
            f"--workers: expected at most {int(free // sizes[largest])} with {have} and about "
            f"{_memory(sizes[largest])} each, for {largest}; got {count}"
        )
    raise UsageError(
        f"memory: expected cases that fit {have}, got {largest}, which needs about {_memory(sizes[largest])}; "
        "--dry-run lists all"
    )


def cost_table(plan: Plan) -> Table:
    """Cases, repeats, seconds and memory of a plan, with the total and the wall time on its workers."""
    table = Table(title=f"{plan.study.name}: {plan.study.question}", title_justify="left", caption_justify="left")
    table.add_column("case", overflow="fold")
    for name in ("repeats", "time each", "memory"):
        table.add_column(name, justify="right")
    known = plan.study.estimate
    peak = 0.0
    for case in plan.cases:
        seconds, size = known(plan.config, case) if known else (None, None)
        peak = max(peak, size or 0.0)
        table.add_row(case.name, str(len(plan.seeds)), _time(seconds), _memory(size))
    if plan.study.prepare is not None:
        seconds, size = plan.study.estimate_prepare(plan.config) if plan.study.estimate_prepare else (None, None)
        table.add_row("preparation", "1", _time(seconds), _memory(size))
    table.caption = _total(plan, peak)
    return table


def _total(plan: Plan, peak: float) -> str:
    total = total_seconds(plan)
    if total is None:
        return f"{len(plan.keys)} rows; the study gives no estimate of time and memory"
    count = workers(plan, len(plan.keys))
    first = plan.study.estimate_prepare(plan.config)[0] if plan.study.estimate_prepare else 0.0
    return (
        f"{len(plan.keys)} rows, about {_time(first + total / count)} with --workers {count}, "
        f"{_memory(count * peak)} in all; nothing was computed"
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _memory(size: float | None) -> str:
    if size is None:
        return "unknown"
    return "< 1 MiB" if size < 2**20 else f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
