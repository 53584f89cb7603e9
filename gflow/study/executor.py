"""How tasks are executed: one after the other here, or by dask workers on this machine or a cluster."""

from __future__ import annotations

import importlib
import logging
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from gflow.study.study import Study, UsageError
from gflow.study.task import Task, execute, failure

_DEATHS = 3
"""Workers that a task may kill before it is given up."""


class Executor(Protocol):
    """Executes tasks and hands over each row, as stored, the moment it is done.

    A task that raises, or that kills its worker again and again, ends as a failed row; the others
    are not touched by it. Another engine needs these lines only.
    """

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """The rows of the tasks, in the order in which they finish."""
        ...


@dataclass(frozen=True)
class SerialExecutor:
    """In this process, in order."""

    study: Study[Any, Any]
    """The study itself: no module is imported again."""

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """The rows of the tasks, in their order."""
        return (execute(task, self.study) for task in tasks)


@dataclass(frozen=True)
class DaskExecutor:
    """By dask.distributed: worker processes of one thread here, or the workers of a scheduler."""

    workers: int
    """Number of local worker processes."""
    address: str | None = None
    """Address of a running scheduler, whose workers are used instead."""

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """The rows of the tasks, as they finish; a task of a killed worker is executed again.

        No more tasks are handed out than there are threads: a task that waits beside one that kills
        its worker would be suspected with it.
        """
        dask: Any = importlib.import_module("distributed")  # untyped
        with self._client(dask) as client:
            waiting, done = deque(tasks), dask.as_completed()
            owners: dict[str, Task] = {}
            run = uuid.uuid4().hex

            def hand_out() -> None:
                room = max(1, sum(client.nthreads().values()))
                while waiting and len(owners) < room:
                    task = waiting.popleft()
                    future = client.submit(execute, task, key=f"gflow-{run}-{len(waiting)}", pure=False)
                    owners[future.key] = task
                    done.add(future)

            hand_out()
            for future in done:
                task = owners.pop(future.key)
                row = _row(future, task)
                hand_out()
                yield row

    @contextmanager
    def _client(self, dask: Any) -> Iterator[Any]:
        # Restarted workers and closed connections are handled here: dask's warnings would be noise.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        quiet = {"logging": {"distributed": "critical"}, "distributed.scheduler.allowed-failures": _DEATHS - 1}
        if self.address is not None:
            with _connect(dask, self.address) as client:
                yield client
            return
        with (
            importlib.import_module("dask").config.set(quiet),
            dask.LocalCluster(
                n_workers=self.workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
            ) as cluster,
            dask.Client(cluster) as client,
        ):
            yield client


def _connect(dask: Any, address: str) -> Any:
    """A client of a running scheduler that has workers."""
    try:
        client = dask.Client(address, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"--cluster: expected the address of a running dask scheduler, got {address}: {error}"
        ) from None
    if not client.nthreads():
        client.close()
        raise UsageError(
            f"--cluster: expected a scheduler with workers, got {address} with none: dask worker {address}"
        )
    return client


def _row(future: Any, task: Task) -> dict[str, Any]:
    """What a future holds; an error of the machinery is a failed row."""
    from distributed import KilledWorker

    if future.status == "finished":
        row: dict[str, Any] = future.result()
        return row
    error = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        return failure(task, "the worker died each time it ran this task: killed, or out of memory")
    return failure(task, f"no answer from the worker: {error or future.status}")
