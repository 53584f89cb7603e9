"""The Python examples of README and documentation run as printed, and print what their ``# >`` lines say."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def examples():
    """Each fenced Python block with the page and line where it begins."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start(1))
            name = f"{page.relative_to(ROOT).as_posix()}:{line}"
            # Blank lines in front make a traceback show the line of the page.
            yield pytest.param(name, "\n" * line + block[1], id=name)


@pytest.mark.parametrize(("name", "code"), list(examples()))
def test_example_runs_as_printed(name, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, name, "exec", dont_inherit=True), {"__name__": "example"})
    assert printed.getvalue().splitlines() == re.findall(r"^ *# > ?(.*)$", code, re.MULTILINE)
