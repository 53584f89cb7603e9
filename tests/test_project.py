"""The project as a whole: what importing it costs, and whether its files agree."""

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch
import yaml
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError
from packaging.requirements import Requirement

import gflow
from gflow.estimate import Estimate
from gflow.state import Layout

ROOT = Path(__file__).parents[1]
HEAVY = ("ot", "lap", "lapjv", "matplotlib", "dask", "distributed", "sklearn", "rich", "tyro")


def test_importing_gflow_is_light():
    code = "import sys, gflow; print(*(m for m in sys.argv[1:] if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_annotations_are_checked_in_tests_and_an_int_passes_for_a_float():
    assert Estimate.exact(1).mean == 1
    with pytest.raises((TypeCheckError, BeartypeCallHintViolation)):
        Estimate.exact("1")
    with pytest.raises((TypeCheckError, BeartypeCallHintViolation)):
        Layout.of(torch.ones(2)).unflatten([1.0])


def test_version_is_one_number_and_the_changelog_knows_it():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert citation["version"] == gflow.__version__
    assert sections[0] in ("Unreleased", gflow.__version__)


def test_every_declared_dependency_has_a_pin_inside_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().split()
        if "==" in line
    )
    for text in [*project["dependencies"], *(d for name in ("test", "docs", "fast", "data") for d in extras[name])]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[wanted.name.lower()]), text


def test_make_study_passes_only_exit_code_3_on_as_success(tmp_path):
    (tmp_path / "bin").mkdir()
    for stamp in (".study", "bin/python"):
        (tmp_path / stamp).touch()
    for code, expected in ((0, 0), (1, 2), (2, 2), (3, 0)):
        python = tmp_path / "bin" / "python"
        python.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        python.chmod(0o755)
        os.utime(tmp_path / ".study", (time.time() + 60,) * 2)
        command = ["make", "-s", "study", f"VENV={tmp_path}"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert run.returncode == expected, run.stderr
        assert ("inconclusive" in run.stdout) == (code == 3)
