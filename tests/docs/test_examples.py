"""The Python examples of README and documentation run as printed, and print what they say they print."""

from pathlib import Path

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!r]*/*.md"))]


@pytest.mark.parametrize("example", list(find_examples(*PAGES)), ids=str)
def test_example_runs_as_printed(example: CodeExample, eval_example: EvalExample):
    eval_example.run_print_check(example)
