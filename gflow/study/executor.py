"""How tasks are executed: one after the other here, or by dask workers on this machine or a cluster."""

from __future__ import annotations

import importlib
import logging
import signal
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from typing import Any, Protocol, runtime_checkable

from gflow.study.study import Study, UsageError
from gflow.study.task import Task, execute, failure

_DEATHS = 3
"""Workers that a task may kill before it is given up."""
_ANSWER = 10.0
"""Seconds that a scheduler may take to answer."""
_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1} | {
    "MALLOC_TRIM_THRESHOLD_": 2**30,
    "MALLOC_MMAP_THRESHOLD_": 2**25,
}
"""Of local workers. Dask's own has malloc return memory to the system at every 64 KiB that come free, so that tensors
of a megabyte fault their pages in again each time they are made: a fifth of the time of a study."""
_PATIENCE = 10.0
"""Seconds between two looks at the local workers while no row comes."""


@runtime_checkable
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

    def check(self) -> None:
        """Raise UsageError where the scheduler of ``address`` does not answer."""
        if self.address is not None:
            _connect(importlib.import_module("distributed"), self.address).close()

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """The rows of the tasks, as they finish; a task of a killed worker is executed again.

        No more tasks are handed out than there are threads: a task that waits beside one that kills
        its worker would be suspected with it.
        """
        dask: Any = importlib.import_module("distributed")  # untyped
        with self._client(dask) as client:
            try:
                yield from self._rows(dask, client, tasks)
            except (OSError, dask.CancelledError) as error:  # the ways in which a connection ends
                if self.address is None:
                    raise
                raise UsageError(
                    f"--cluster: expected an answer of the scheduler, got none: {self.address} is lost "
                    f"({type(error).__name__}); the rows so far are kept, go on with --resume"
                ) from None

    def _rows(self, dask: Any, client: Any, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        run, waiting = uuid.uuid4().hex, deque(enumerate(tasks))
        owners: dict[Any, Task] = {}
        while waiting or owners:
            room = max(1, sum(client.nthreads().values()))
            while waiting and len(owners) < room:
                number, task = waiting.popleft()
                future = client.submit(_execute, task, key=f"gflow-{run}-{number}", pure=False)
                owners[future] = task
            for future in self._done(dask, client, owners):
                yield _row(future, owners.pop(future))

    def _done(self, dask: Any, client: Any, futures: Iterable[Any]) -> list[Any]:
        """The futures that are done, at least one; local workers that their nanny gave up are started again."""
        lost: set[Any] = set()
        while True:
            try:
                return list(dask.wait(list(futures), timeout=_PATIENCE, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                nannies = [] if self.address is not None else client.cluster.workers.values()
                dead = {nanny for nanny in nannies if not nanny.is_alive()}
                for nanny in dead & lost:
                    client.cluster.sync(nanny.instantiate)
                lost = dead - lost

    @contextmanager
    def _client(self, dask: Any) -> Iterator[Any]:
        # Restarted workers and closed connections are handled here: dask's warnings would be noise.
        for name in ("distributed", "distributed.client"):  # dask gives the second a level of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self.address is not None:
            with _connect(dask, self.address) as client:
                yield client
            return
        settings = {
            "logging": {"distributed": "critical"},
            "distributed.scheduler.allowed-failures": _DEATHS - 1,
            "distributed.nanny.pre-spawn-environ": _ENVIRONMENT,
        }
        options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
        with importlib.import_module("dask").config.set(settings), _deaf_to_interrupts():
            cluster = dask.LocalCluster(n_workers=self.workers, **options)
        with cluster, dask.Client(cluster) as client:
            yield client


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes and threads started inside never see Ctrl-C, which a terminal sends to all of them; here it waits.

    The driver alone answers it: each worker would print a traceback of its own.
    """
    resource_tracker.ensure_running()  # its own start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(dask: Any, address: str) -> Any:
    """A client of a running scheduler that has workers."""
    try:
        client = dask.Client(address, timeout=_ANSWER)
    except (OSError, ValueError, TypeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"--cluster: expected the address of a running dask scheduler, got {address}: {why}") from None
    if not client.nthreads():
        client.close()
        raise UsageError(f"--cluster: expected a scheduler with workers, got {address} without; dask worker {address}")
    return client


def _execute(task: Task) -> dict[str, Any]:
    """A task on a worker."""
    _settle()
    return execute(task)


@cache
def _settle() -> None:
    """Wait once in a new worker: dask does not restart one that dies in its first moments, before its nanny saw it."""
    time.sleep(1.0)


def _row(future: Any, task: Task) -> dict[str, Any]:
    """What a future holds; an error of the machinery is a failed row."""
    from distributed import CancelledError, KilledWorker

    try:
        row: dict[str, Any] = future.result()
    except KilledWorker:
        return failure(task, "the worker died each time it ran this task: killed, or out of memory")
    except CancelledError:  # a lost scheduler, which ends the run
        raise
    except Exception as error:  # the machinery's own errors: a module that a node does not have
        return failure(task, f"no answer from the worker: {type(error).__name__}: {error}")
    return row
