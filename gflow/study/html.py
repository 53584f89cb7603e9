"""A report as one HTML file that needs nothing else: styles, figures and math are inside."""

from __future__ import annotations

import base64
import re
from collections import Counter
from html import escape, unescape
from importlib import resources
from typing import TYPE_CHECKING

from gflow.study.markdown import attribute, inline_html, place_figures, plain, to_html
from gflow.study.study import VERDICTS, Verdict

if TYPE_CHECKING:
    from gflow.study.report import Composed
    from gflow.study.study import Claim

_CHIPS: tuple[tuple[Verdict, str, str], ...] = (
    ("ok", "claim holds", "claims hold"),
    ("inconclusive", "claim inconclusive", "claims inconclusive"),
    ("failed", "claim fails", "claims fail"),
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kicker">gflow study &middot; {study}</p>
<h1>{title}</h1>
<ul class="facts">{facts}</ul>
</header>
<main>
{body}{claims}{failures}</main>
<footer>
<h2>How this was computed</h2>
{origin}</footer>
</body>
</html>
"""


def page(composed: Composed) -> str:
    """The page; figures follow the reader's light or dark scheme without a script."""
    marked = place_figures(composed.markdown, composed.figures, lambda name, caption: f"\n\n@@{name}@@{caption}@@\n\n")
    body = to_html(marked)
    for name, by_mode in composed.figures.items():
        body = _insert(body, name, by_mode["light"], by_mode["dark"])
    failures = f'<section class="failures"><h2>What did not finish</h2>\n{to_html(composed.failures)}</section>\n'
    return _PAGE.format(
        title=inline_html(composed.title),
        style=resources.files("gflow.study").joinpath("page.css").read_text(),
        study=escape(composed.facts["study"]),
        facts=_facts(composed),
        body=body,
        claims=_claims(composed),
        failures=failures if composed.failures else "",
        origin=to_html(composed.origin),
    )


def _insert(body: str, name: str, light: bytes, dark: bytes) -> str:
    """Put a figure where its marker stands; its caption is Markdown that is HTML by now."""
    head, found, tail = body.partition(f"<p>@@{name}@@")
    if not found:
        return body
    caption, _, rest = tail.partition("@@</p>")
    figure = (
        f'<figure id="figure-{attribute(name)}"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img src="{_data(light)}" alt="{attribute(plain(_strip_tags(caption)))}"></picture>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
    return head + figure + _insert(rest, name, light, dark)


def _data(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _strip_tags(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html))


def _facts(composed: Composed) -> str:
    """The line under the title: how the claims stand, then what was run."""
    counts = Counter(claim.verdict for claim in composed.claims)
    chips = [
        f'<li class="chip {verdict}">{counts[verdict]} {one if counts[verdict] == 1 else many}</li>'
        for verdict, one, many in _CHIPS
        if counts[verdict]
    ]
    facts = composed.facts
    if facts["failed"] != "0":
        chips.append(f'<li class="chip failed">{facts["failed"]} rows failed</li>')
    rest = [
        f"{facts['preset']} preset",
        f"{facts['rows']} rows",
        f"seeds {facts['seeds']}",
        facts["date"],
        facts["commit"],
    ]
    return "".join([*chips, *(f"<li>{escape(text)}</li>" for text in rest if text)])


def _claims(composed: Composed) -> str:
    if not composed.claims:
        return ""
    items = "\n".join(_claim(claim) for claim in composed.claims)
    return f'<section><h2>Claims</h2>\n<ul class="claims">\n{items}\n</ul></section>\n'


def _claim(claim: Claim) -> str:
    detail = f'<span class="detail">{inline_html(claim.detail)}</span>' if claim.detail else ""
    badge = f'<span class="chip {claim.verdict}">{VERDICTS[claim.verdict]}</span>'
    return f'<li>{badge}<span class="claim">{inline_html(claim.text)}{detail}</span></li>'
