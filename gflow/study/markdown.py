"""Markdown of reports: figures placed in it, and its HTML. Knows no study."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING

from gflow.study.mathml import in_words, mathml

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

_FIGURE = re.compile(r"!\[(?P<caption>.*?)\]\(figure:(?P<name>[\w.-]+)\)", flags=re.DOTALL)
_MATH = re.compile(r"\$\$(.+?)\$\$|\$(?![\s$])((?:\\.|[^$`\\])+?)(?<!\s)\$(?!\d)", flags=re.DOTALL)


def place_figures(markdown: str, names: Iterable[str], show: Callable[[str, str], str]) -> str:
    """Replace each ``![caption](figure:name)`` by ``show(name, caption)``; what is not placed is added at the end.

    Raises:
        ValueError: a figure is placed that is not drawn.
    """
    known = list(names)
    placed = [match["name"] for match in _FIGURE.finditer(markdown)]
    unknown = [name for name in placed if name not in known]
    if unknown:
        raise ValueError(f"figure: expected one of {known}, got {unknown} in the text of the report")
    rest = "".join(f"\n\n![{name}](figure:{name})\n" for name in known if name not in placed)
    return _FIGURE.sub(lambda match: show(match["name"], " ".join(match["caption"].split())), markdown + rest)


def plain(caption: str) -> str:
    """One line of Markdown as plain text: for ``alt``, and for a terminal."""
    spoken = _MATH.sub(lambda match: in_words(match[1] or match[2]), caption)
    return re.sub(r"[*`]", "", spoken)


def to_html(markdown: str) -> str:
    """Markdown (CommonMark, tables, ``$math$``) as HTML; raw HTML in it is escaped, tables can scroll."""
    html = _parser().render(markdown)
    return str(html).replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")


def inline_html(markdown: str) -> str:
    """One line of Markdown as HTML without a paragraph around it."""
    return str(_parser().renderInline(markdown))


def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("escape", "math", _math_rule)
    parser.add_render_rule("math", lambda _self, tokens, i, _options, _env: str(tokens[i].content))
    return parser


def _math_rule(state: StateInline, silent: bool) -> bool:
    r"""``$...$`` and ``$$...$$`` as MathML; a dollar before a digit or a space is a dollar, ``\$`` always."""
    found = _MATH.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        token = state.push("math", "", 0)
        token.content = mathml(found[1] or found[2], display=found[1] is not None)
    state.pos = found.end()
    return True


def attribute(text: str) -> str:
    """Text as the value of an HTML attribute."""
    return escape(text, quote=True)
