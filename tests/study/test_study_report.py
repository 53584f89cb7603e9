"""Reports: Markdown, math, figures in two themes, and a page that needs nothing from outside."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from matplotlib.figure import Figure

from gflow.estimate import Estimate
from gflow.plot import panels
from gflow.study import Claim, show, table
from gflow.study.figure import draw
from gflow.study.markdown import place_figures, plain, to_html
from gflow.study.mathml import FUNCTIONS, GREEK, OPERATORS, mathml
from tests.study.conftest import Run


class Links(HTMLParser):
    """Every place from which a page may load something."""

    def __init__(self) -> None:
        """No link yet."""
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the links and the nesting."""
        self.tags.append(tag)
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself opens nothing."""
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close in order."""
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(run: Run, tmp_path: Path) -> None:
    assert run("a", "--seeds", "0", "--draw", "--bad", "raise:64") == 1
    text = (tmp_path / "a/report.html").read_text()
    page = Links()
    page.feed(text)
    assert not page.open
    assert "script" not in page.tags
    assert len(page.loads) == 2
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.loads)
    assert not re.search(r"url\(|@import", text)
    assert text.count("prefers-color-scheme: dark") == 2  # the style, and the one figure
    assert "@@" not in text
    for content in ("python -m tests.study.dummy", "RuntimeError: no mean of 64", "largest", "inner.scale", "torch"):
        assert content in text


def test_the_markdown_of_a_report_refers_to_files_that_are_there(run: Run, tmp_path: Path) -> None:
    run("a", "--seeds", "0", "--draw")
    text = (tmp_path / "a/report.md").read_text()
    named = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert len(named) == 2
    for name in named:
        assert ET.parse(tmp_path / "a" / name).getroot().tag.endswith("svg")
    assert "figure:" not in text


def test_figures_differ_between_themes_and_not_between_draws() -> None:
    def make() -> Figure:
        figure, (axes,) = panels(width=2, height=1.5)
        axes.plot([0, 1], [0, 1], label="x")
        axes.legend()
        return figure

    one = draw("f", make)
    assert one == draw("f", make)
    assert one["light"] != one["dark"]
    assert b"<dc:date>" not in one["light"]
    assert b"<text" not in one["light"]  # outlines: the same without the font


def test_a_figure_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match="'f'|None"):
        draw("f", lambda: None)  # type: ignore[arg-type, return-value]


def test_figures_are_placed_once_and_the_others_follow() -> None:
    text = place_figures(
        "a\n\n![one [x, y]](figure:f-1)\n\nb", ["f-1", "g"], lambda name, caption: f"<{name}|{caption}>"
    )
    assert text == "a\n\n<f-1|one [x, y]>\n\nb\n\n<g|g>\n"
    with pytest.raises(ValueError, match="nope"):
        place_figures("![x](figure:nope)", ["f"], lambda name, _: name)


def test_captions_are_plain_text_for_alt() -> None:
    assert plain(r"**Bold** $\sqrt{n}\,\sigma_1 \le 2$ and `code_name`") == "Bold √n σ_1 ≤ 2 and code_name"


@given(
    st.lists(st.sampled_from([*GREEK, *OPERATORS, *FUNCTIONS]), max_size=6),
    st.text(alphabet="xyz019+-=<>&,.()|/ ", max_size=6),
)
def test_math_is_well_formed_xml(commands: list[str], rest: str) -> None:
    tex = " ".join(f"\\{c}" for c in commands) + " " + rest.replace("&", "")
    body = mathml(rf"\frac{{{tex}}}{{2}}^{{{tex}}}_i")
    assert ET.fromstring(body).tag == "math"


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("W_2^2", "<msubsup><mi>W</mi><mrow><mn>2</mn></mrow><mrow><mn>2</mn></mrow></msubsup>"),
        (r"\frac{12}{x}", "<mfrac><mrow><mrow><mn>12</mn></mrow></mrow>"),
        (r"\sqrt[3]{x}", "<mroot><mrow><mrow><mi>x</mi></mrow></mrow><mrow><mn>3</mn></mrow></mroot>"),
        (r"f'", "<msup><mi>f</mi><mrow><mo>′</mo></mrow></msup>"),
        (r"\mathbb{E}", "𝔼"),
        (r"\mathcal{N}", "𝒩"),
        (r"\sum_{i=1}^n", "<munderover>"),
        (r"\int_0^T", "<msubsup>"),
        (r"a < b", "&lt;"),
    ],
)
def test_math_says_what_the_tex_says(tex: str, expected: str) -> None:
    assert expected in mathml(tex)


@pytest.mark.parametrize("tex", [r"\foo", r"\frac{1}", "{x", "x}", "x^", r"\begin{x}", "a & b"])
def test_math_that_is_not_understood_is_shown_as_written(tex: str) -> None:
    shown = mathml(tex)
    assert shown.startswith('<code class="tex">')
    assert tex.replace("&", "&amp;") in shown


def test_dollars_that_are_no_math_stay() -> None:
    assert "<math" not in to_html("costs $5 and $6 more, $ x $, and `$x$`")
    assert to_html("so $x$, and\n$$y$$").count("<math") == 2


def test_raw_html_is_escaped_and_tables_scroll() -> None:
    html = to_html("<script>x</script>\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n")
    assert "<script" not in html
    assert '<div class="scroll"><table>' in html
    assert "x|y" in html
    assert "text-align:right" in html


def test_tables_set_numbers_right_and_refuse_ragged_rows() -> None:
    text = table(["name", "value", "n"], [("a|b", Estimate(0.5, 0.25, 0.75), 3), ("c", 1e-9, None)])
    assert text.splitlines()[1] == "| --- | ---: | ---: |"
    assert text.splitlines()[2] == "| a\\|b | 0.5 [0.25, 0.75] | 3 |"
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        table(["a", "b"], [("x",)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Estimate(0.5, -math.inf, math.inf), "0.5"),
        (Estimate(0.5, -math.inf, 0.75), "0.5 [−∞, 0.75]"),
        (Estimate.exact(2.0), "2"),
        (Estimate.bound(1000.0), "10^434.3"),
        (-0.001234, "−0.00123"),
    ],
)
def test_estimates_are_shown_with_what_is_known(value: Any, text: str) -> None:
    assert show(value) == text


def test_a_claim_has_one_of_three_verdicts() -> None:
    with pytest.raises((ValueError, TypeCheckError), match="verdict"):
        Claim("x", "maybe")  # type: ignore[arg-type]
