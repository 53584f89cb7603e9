"""The project as a whole: what importing it costs, and whether its files agree."""

import subprocess
import sys

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from gflow.estimate import Estimate
from gflow.state import Layout

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
