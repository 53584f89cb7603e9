"""Dask: workers give the serial rows, and one that dies takes no other row with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gflow.study.task import Task, execute
from tests.study.conftest import Run, equal_part, rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("default")  # dask's processes warn about themselves


@pytest.mark.slow
def test_two_workers_give_the_serial_rows_and_outlive_a_task_that_kills_them(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gflow.study.executor._DEATHS", 2)  # tried again once: a worker starts in seconds
    assert run("serial", "--workers", "1") == 0
    assert run("dask", "--workers", "2", "--bad", "die:64", "--seeds", "0") == 1
    found = rows(tmp_path / "dask")
    assert "the worker died" in str(found["mean/n=64", 0]["failed"])
    alive = [line for line in equal_part(tmp_path / "dask") if '"failed"' not in line]
    serial = [x for x in equal_part(tmp_path / "serial") if '"seed": 0' in x and "n=64" not in x.split(",")[0]]
    assert alive == serial
    assert "distributed" not in capfd.readouterr().err


def test_a_running_scheduler_is_used_by_its_address(run: Run, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with (
        warnings.catch_warnings(),
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
    ):
        warnings.simplefilter("ignore")
        assert run("cluster", "--cluster", cluster.scheduler_address) == 0
    run("serial")
    assert equal_part(tmp_path / "cluster") == equal_part(tmp_path / "serial")


def test_a_scheduler_that_is_lost_ends_the_run_in_one_line_and_keeps_its_rows(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import CancelledError, LocalCluster

    def lose(_self: object, _dask: object, _client: object, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        yield execute(tasks[0])
        raise CancelledError

    monkeypatch.setattr("gflow.study.executor.DaskExecutor._rows", lose)
    with (
        warnings.catch_warnings(),
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
    ):
        warnings.simplefilter("ignore")
        assert run("a", "--cluster", cluster.scheduler_address) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: --cluster: expected an answer of the scheduler, got none: inproc://")
    assert message.endswith("the rows so far are kept, go on with --resume")
    assert len(rows(tmp_path / "a")) == 1


@pytest.mark.slow
def _heed_interrupts() -> None:
    """A shell without job control has its background jobs, and all their children, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupt_of_the_process_group_is_one_line_and_keeps_the_rows(tmp_path: Path) -> None:
    flags = ["--out", str(tmp_path / "a"), "--pause", "0.5", "--workers", "2", "--seeds", "0-9"]
    path = tmp_path / "a/rows.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.study.dummy", *flags],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    ) as driver:
        deadline = time.monotonic() + 120
        while not (path.exists() and path.read_bytes().count(b"\n") >= 1):
            assert time.monotonic() < deadline
            assert driver.poll() is None
            time.sleep(0.05)
        os.killpg(driver.pid, signal.SIGINT)
        shown = driver.communicate(timeout=60)[1]
    assert driver.returncode == 130
    assert "Traceback" not in shown
    assert shown.splitlines()[-1] == "stopped; the rows so far are kept, go on with --resume"
    assert 1 <= len(rows(tmp_path / "a")) < 30


def test_an_address_without_a_scheduler_is_refused_before_any_work(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gflow.study.executor._ANSWER", 0.5)
    assert run("a", "--cluster", "tcp://127.0.0.1:9") == 2
    assert capsys.readouterr().err.startswith("error: --cluster: expected the address of a running dask scheduler")
    assert not (tmp_path / "a").exists()
