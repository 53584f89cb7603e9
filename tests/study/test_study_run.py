"""Runs of the dummy study in this process: rows, resume, refusals, exit codes."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gflow.study import provenance
from tests.study.conftest import Run, equal_part, rows
from tests.study.dummy import STUDY, Config

ROOT = Path(__file__).parents[2]


def test_rows_carry_values_and_provenance_apart(run: Run, tmp_path: Path) -> None:
    assert run("a", "--preset", "smoke", "--seeds", "7") == 0
    line = json.loads((tmp_path / "a/rows.jsonl").read_text())
    assert list(line) == ["case", "seed", "row", "provenance"]
    assert (line["case"], line["seed"]) == ("mean/n=16", 7)
    assert line["row"]["z"]["level"] == 1.0
    assert line["row"]["z"]["bias"] == "none"
    assert {"commit", "dirty", "host", "seconds", "started", "versions", "device"} <= set(line["provenance"])
    assert line["provenance"]["threads"] == line["provenance"]["threads_seen"] == 1
    assert (tmp_path / "a/arrays" / f"{line['row']['draws']}.npz").exists()


def test_two_equal_runs_have_equal_rows(run: Run, tmp_path: Path) -> None:
    assert run("a") == run("b") == 0
    assert equal_part(tmp_path / "a") == equal_part(tmp_path / "b")
    assert len(set(equal_part(tmp_path / "a"))) == 9
    for one in (tmp_path / "a/arrays").iterdir():
        assert one.read_bytes() == (tmp_path / "b/arrays" / one.name).read_bytes()


def test_seeds_and_cases_are_independent_and_shared_roles_are_shared(run: Run, tmp_path: Path) -> None:
    run("a", "--seeds", "0,1")
    found = rows(tmp_path / "a")
    assert len({row["z"]["mean"] for row in found.values()}) == 6  # type: ignore[index]
    for seed in (0, 1):
        assert len({row["shared"] for (_, s), row in found.items() if s == seed}) == 1
    assert found["mean/n=16", 0]["shared"] != found["mean/n=16", 1]["shared"]


def test_a_run_cut_anywhere_resumes_to_the_same_lines(run: Run, tmp_path: Path) -> None:
    run("whole")
    for kept in (0, 4, 9):
        folder = tmp_path / f"cut{kept}"
        run(folder.name)
        lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
        (folder / "rows.jsonl").write_text("".join(lines[:kept]))
        assert run(folder.name, "--resume") == 0
        assert equal_part(folder) == equal_part(tmp_path / "whole")
        assert (folder / "rows.jsonl").read_text().splitlines(keepends=True)[:kept] == lines[:kept]


def test_a_torn_last_line_is_dropped_and_computed_again(run: Run, tmp_path: Path) -> None:
    run("a")
    whole = equal_part(tmp_path / "a")
    path = tmp_path / "a/rows.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert run("a", "--resume") == 0
    assert equal_part(tmp_path / "a") == whole


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a")
    path = tmp_path / "a/rows.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1][:30] + "\n", *lines[2:]]))
    assert run("a", "--resume") == 2
    assert "rows.jsonl, line 2: expected a row" in capsys.readouterr().err


def test_resume_starts_where_nothing_is_and_extends_seeds(run: Run, tmp_path: Path) -> None:
    assert run("a", "--resume", "--seeds", "0") == 0
    assert run("a", "--resume", "--seeds", "1-2") == 0
    run("b")
    assert equal_part(tmp_path / "a") == equal_part(tmp_path / "b")
    assert json.loads((tmp_path / "a/config.json").read_text())["seeds"] == [0, 1, 2]


def test_a_killed_driver_resumes_to_the_same_lines(run: Run, tmp_path: Path) -> None:
    flags = ["--out", str(tmp_path / "a"), "--pause", "0.15", "--workers", "1"]
    path = tmp_path / "a/rows.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.study.dummy", *flags], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as driver:
        deadline = time.monotonic() + 120
        while not (path.exists() and path.read_bytes().count(b"\n") >= 2):
            assert time.monotonic() < deadline
            assert driver.poll() is None
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
    assert 2 <= path.read_bytes().count(b"\n") < 9
    assert STUDY.main([*flags, "--resume"]) == 0
    run("b", "--pause", "0.15")
    assert equal_part(tmp_path / "a") == equal_part(tmp_path / "b")


def test_a_task_that_raises_is_a_failed_row_and_the_others_finish(run: Run, tmp_path: Path) -> None:
    assert run("a", "--bad", "raise:64", "--seeds", "0") == 1
    found = rows(tmp_path / "a")
    assert found["mean/n=64", 0] == {"failed": "RuntimeError: no mean of 64 numbers"}
    assert "z" in found["mean/n=16", 0]
    assert "z" in found["mean/n=256", 0]
    assert "no mean of 64 numbers" in (tmp_path / "a/report.html").read_text()


def test_failed_rows_are_tried_again_on_resume(run: Run, tmp_path: Path) -> None:
    assert run("a", "--bad", "once:64", "--seeds", "0") == 1
    assert run("a", "--bad", "once:64", "--seeds", "0", "--resume") == 0
    assert all("failed" not in row for row in rows(tmp_path / "a").values())


def test_a_nan_in_a_row_is_a_failed_row_that_names_the_place(run: Run, tmp_path: Path) -> None:
    assert run("a", "--bad", "nan:64", "--seeds", "0") == 1
    assert "row.parts.deep: expected a finite number" in str(rows(tmp_path / "a")["mean/n=64", 0]["failed"])
    assert "NaN" not in (tmp_path / "a/rows.jsonl").read_text()


@pytest.mark.parametrize(
    ("flags", "code"),
    [((), 0), (("--limit", "0.001"), 1), (("--mood", "torn"), 3), (("--mood", "torn", "--limit", "0.001"), 1)],
)
def test_exit_codes_follow_the_claims(run: Run, flags: tuple[str, ...], code: int) -> None:
    assert run("a", "--seeds", "0", *flags) == code


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--preset", "nope"), "--preset: expected one of smoke, default, paper, got nope"),
        (("--case", "nope"), "--case: expected one of mean (--dry-run lists all), got nope"),
        (("--seeds", "9-0"), "--seeds: expected values like 0-9 or 3,7717, got '9-0'"),
        (("--limit", "x"), "--limit: expected a number, got x"),
        (("--mood", "angry"), "--mood: expected one of calm, torn, got angry"),
        (("--limmit", "3"), "--limmit: expected a flag of this study, got an unknown one. Perhaps you meant --limit?"),
        (("--sizes", "1"), "--sizes: expected numbers above 1, got 1"),
        (("--workers", "0"), "--workers: expected 1 to 1000, got 0"),
        (("--workers", "-3"), "--workers: expected 1 to 1000, got -3"),
        (("--workers", "100000"), "--workers: expected 1 to 1000, got 100000"),
        (("--cluster", "nonsense", "--dry-run"), "--cluster: expected an address like tcp://host:8786, got 'nonsense'"),
        (
            ("--cluster", "tcp://host", "--dry-run"),
            "--cluster: expected an address like tcp://host:8786, got 'tcp://host'",
        ),
        (("--cluster", "host:port"), "--cluster: expected an address like tcp://host:8786, got 'host:port'"),
        (("--limit",), "--limit: expected a value, got none"),
        (("--inner.scale", "-1"), "--inner.scale: expected a positive number, got -1.0"),
    ],
)
def test_usage_errors_are_one_line_and_start_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    assert run("a", *flags) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a", "--device", "cuda") == 2
    assert "--device: expected a device of this machine, got cuda" in capsys.readouterr().err


def test_a_folder_with_rows_is_refused_without_resume(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", "--seeds", "0")
    assert run("a", "--seeds", "0") == 2
    assert "which holds rows; go on with --resume" in capsys.readouterr().err


def test_another_config_is_refused_with_the_keys_that_differ(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a", "--seeds", "0")
    before = (tmp_path / "a/rows.jsonl").read_bytes()
    capsys.readouterr()
    assert run("a", "--resume", "--limit", "3", "--inner.scale", "2", "--dtype", "float32") == 2
    message = capsys.readouterr().err
    for change in ("dtype: ", "config.limit: 10.0 -> 3.0", "config.inner.scale: 1.0 -> 2.0"):
        assert change in message
    assert "config.sizes" not in message
    assert message.count("\n") == 1
    assert (tmp_path / "a/rows.jsonl").read_bytes() == before


@pytest.mark.parametrize("flag", ["--resume", "--report"])
def test_the_folder_of_another_study_is_refused_by_its_name(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    run("a", "--seeds", "0")
    other = tmp_path / "a/config.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"study": "orders", "config": {"elsewhere": 1}}))
    capsys.readouterr()
    assert (run("a", "--resume") if flag == "--resume" else STUDY.main(["--report", str(tmp_path / "a")])) == 2
    assert capsys.readouterr().err == (
        f"error: {flag}: expected a run of the study {STUDY.name}, got {tmp_path / 'a'}, which holds the study orders\n"
    )


def test_another_input_file_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data.txt"
    data.write_text("one")
    assert run("a", "--seeds", "0", "--data", str(data)) == 0
    assert json.loads((tmp_path / "a/rows.jsonl").read_text().splitlines()[0])["provenance"]["inputs"]["sha256"]
    data.write_text("two")
    assert run("a", "--seeds", "0", "--data", str(data), "--resume") == 2
    assert "inputs.sha256: " in capsys.readouterr().err


def test_a_missing_input_file_is_a_usage_error(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a", "--data", "/nowhere/data.txt") == 2
    assert "/nowhere/data.txt" in capsys.readouterr().err


def test_an_unwritable_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert STUDY.main(["--out", str(tmp_path / "file/run")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: --out: expected a folder that can be written, got ")
    assert message.count("\n") == 1


def test_a_full_disk_keeps_the_rows_and_resumes(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("whole", "--seeds", "0-3")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "whole/rows.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))  # the kernel refuses to write past it
    try:
        assert run("a", "--seeds", "0-3") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: --out: cannot write ")
    assert "go on with --resume" in message
    kept = equal_part(tmp_path / "a")
    assert kept == equal_part(tmp_path / "whole")[: len(kept)]
    assert 0 < len(kept) < 12
    assert run("a", "--seeds", "0-3", "--resume") == 0
    assert equal_part(tmp_path / "a") == equal_part(tmp_path / "whole")


def test_a_typed_flag_beats_the_preset_in_any_order(run: Run, tmp_path: Path) -> None:
    assert STUDY.presets["paper"].sizes != (4, 8)
    run("a", "--sizes", "4", "8", "--preset", "paper", "--seeds", "0")
    run("b", "--preset=paper", "--sizes", "4", "8", "--seeds", "0")
    for name in "ab":
        stored = json.loads((tmp_path / name / "config.json").read_text())
        assert stored["config"]["sizes"] == [4, 8]
        assert stored["preset"] == "paper"


def test_case_selects_by_name_group_and_pattern(run: Run, tmp_path: Path) -> None:
    run("a", "--case", "mean/n=16", "--case", "*=256", "--seeds", "0")
    assert [case for case, _ in rows(tmp_path / "a")] == ["mean/n=16", "mean/n=256"]
    run("b", "--case", "mean", "--seeds", "0")
    assert len(rows(tmp_path / "b")) == 3


def test_artifacts_are_built_once_for_the_selected_cases(run: Run, tmp_path: Path) -> None:
    run("a", "--seeds", "0", "--case", "mean/n=16")
    (one,) = (tmp_path / "a/artifacts").iterdir()
    written = one.stat().st_mtime_ns
    run("a", "--seeds", "1", "--case", "mean/n=16", "--resume")
    assert [p.stat().st_mtime_ns for p in (tmp_path / "a/artifacts").iterdir()] == [written]
    assert torch.load(one, weights_only=True)["names"] == ["mean/n=16"]


def test_prepare_that_fails_stops_the_run_with_one_message(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a", "--bad", "prepare:1") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: prepare: RuntimeError: no artifacts")


def test_artifacts_that_workers_would_not_read_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a", "--bad", "object:1") == 1
    assert "expected state dicts, tensors and plain values" in capsys.readouterr().err


def test_dry_run_lists_cases_and_costs_and_computes_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("a", "--dry-run", "--pause", "100") == 0
    shown = capsys.readouterr().out
    assert "mean/n=256" in shown
    assert "9 rows" in shown
    assert "nothing was computed" in shown
    assert not (tmp_path / "a").exists()


def test_memory_is_compared_with_what_is_there_before_any_work(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "available_memory", lambda: 3 * 2**20)
    sizes = ("--sizes", "128", "262144")  # 2 MiB, and three tasks
    assert run("a", *sizes, "--workers", "3") == 2
    assert capsys.readouterr().err == (
        "error: --workers: expected at most 1 with 3 MiB available and about 2 MiB each, for mean/n=262144; got 3\n"
    )
    assert run("a", "--sizes", "524288") == 2
    assert capsys.readouterr().err.startswith(
        "error: memory: expected cases that fit 3 MiB available, got mean/n=524288, which needs about 4 MiB"
    )
    assert not (tmp_path / "a").exists()
    assert run("a", "--sizes", "524288", "--dry-run") == 0
    assert run("a", *sizes, "--workers", "1") == 0


def test_report_draws_stored_rows_again_byte_for_byte(run: Run, tmp_path: Path) -> None:
    run("a", "--seeds", "0", "--draw")
    files = [p for p in (tmp_path / "a").rglob("*") if p.suffix in (".svg", ".html", ".md")]
    before = {p: p.read_bytes() for p in files}
    assert {p.name for p in files} == {"report.html", "report.md", "means_light.svg", "means_dark.svg"}
    for path in files:
        path.unlink()
    assert STUDY.main(["--report", str(tmp_path / "a")]) == 0
    assert {p: p.read_bytes() for p in files} == before


def test_report_takes_no_other_flag(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", "--seeds", "0")
    assert STUDY.main(["--report", str(tmp_path / "a"), "--limit", "0.1"]) == 2
    assert "--report: expected no other flag" in capsys.readouterr().err
    assert STUDY.main(["--report", str(tmp_path / "none")]) == 2


def test_report_names_its_flag_where_the_folder_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, why in (
        (None, "No such file or directory"),
        ("[1]", "that is no object"),
        ("{}", "without study, version"),
    ):
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        assert STUDY.main(["--report", str(tmp_path)]) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: --report: expected the folder of a run with a config.json, got ")
        assert why in message
        assert message.count("\n") == 1


def test_a_report_of_no_rows_is_inconclusive(run: Run, tmp_path: Path) -> None:
    run("a", "--seeds", "0")
    (tmp_path / "a/rows.jsonl").write_text("")
    assert STUDY.main(["--report", str(tmp_path / "a")]) == 3


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda line: {**line, "row": {"shared": 1.0}}, "expected a row with z, shared, got one without z"),
        (lambda line: {**line, "row": 3}, "expected a row of a study, got b'"),
        (lambda line: [line], "expected a row of a study, got b'"),
    ],
)
def test_a_row_that_the_report_cannot_read_is_named_by_file_and_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: Callable[[Any], Any], message: str
) -> None:
    run("a", "--seeds", "0")
    path = tmp_path / "a/rows.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(broken(json.loads(lines[1])))
    path.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    assert STUDY.main(["--report", str(tmp_path / "a")]) == 2
    shown = capsys.readouterr().err
    assert f"rows.jsonl, line 2: {message}" in shown
    assert shown.count("\n") == 1


def test_cases_of_one_name_are_a_usage_error(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a", "--sizes", "16", "16") == 2
    assert capsys.readouterr().err == "error: cases: names must be unique, got ['mean/n=16', 'mean/n=16']\n"
    assert not (tmp_path / "a").exists()


def test_the_commit_is_that_of_gflow_wherever_the_run_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = provenance.commit()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() == here
    # A copy of the package in another repository, which does not track it, has no commit.
    monkeypatch.setattr(provenance, "_HERE", tmp_path)
    assert provenance.commit() == {}
    assert provenance.summary([{}])["Commit"] == "unknown"


def test_a_report_that_raises_keeps_the_rows(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a", "--bad", "report:1", "--seeds", "0") == 1
    assert "error: report: RuntimeError" in capsys.readouterr().err
    assert len(rows(tmp_path / "a")) == 3


def test_default_folder_is_named_by_date_preset_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert STUDY.main(["--preset", "smoke"]) == 0
    (folder,) = (tmp_path / "runs/dummy").iterdir()
    date, preset, key = folder.name.split("_")
    assert date.startswith("20")
    assert preset == "smoke"
    assert json.loads((folder / "config.json").read_text())["hash"].startswith(key)
    assert STUDY.main(["--preset", "smoke", "--resume", "--seeds", "1"]) == 0
    assert [p.name for p in (tmp_path / "runs/dummy").iterdir()] == [folder.name]
    assert len(equal_part(folder)) == 2


def test_help_names_every_flag_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert STUDY.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for flag in ("preset", "seeds", "case", "workers", "cluster", "out", "resume", "report", "dry-run", "inner.scale"):
        assert f"--{flag}" in shown


def test_presets_share_one_config_class() -> None:
    assert {type(config) for config in STUDY.presets.values()} == {Config}
