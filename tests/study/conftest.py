"""The dummy study, run in this process, and what its rows look like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.study.dummy import STUDY

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run("out", "--limit", "3")``: the exit code of the dummy study with ``--out tmp_path/out``."""

    def start(folder: str, *flags: str) -> int:
        return STUDY.main(["--out", str(tmp_path / folder), *flags])

    return start


def equal_part(folder: Path) -> list[str]:
    """Lines of rows.jsonl up to the provenance: what two equal runs share byte for byte."""
    return [line.split(', "provenance": ')[0] for line in (folder / "rows.jsonl").read_text().splitlines()]


def rows(folder: Path) -> dict[tuple[str, int], dict[str, object]]:
    """The ``row`` objects by case and seed."""
    lines = map(json.loads, (folder / "rows.jsonl").read_text().splitlines())
    return {(line["case"], line["seed"]): line["row"] for line in lines}
