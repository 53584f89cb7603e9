"""Dask: workers give the serial rows, and one that dies takes no other row with it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.study.conftest import Run, equal_part, rows

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


def test_an_address_without_a_scheduler_is_refused_before_any_work(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gflow.study.executor._ANSWER", 0.5)
    assert run("a", "--cluster", "tcp://127.0.0.1:9") == 2
    assert capsys.readouterr().err.startswith("error: --cluster: expected the address of a running dask scheduler")
    assert not (tmp_path / "a").exists()
