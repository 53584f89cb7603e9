"""The report of a run as files: figures in two themes, Markdown, and one page of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gflow.study import html, provenance
from gflow.study.config import to_json
from gflow.study.figure import draw
from gflow.study.markdown import attribute, place_figures, plain
from gflow.study.study import VERDICTS, Arrays, Claim, Record, Report, Study
from gflow.study.text import table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Composed:
    """All that a report says, before it is laid out for a file, a page or the site."""

    title: str
    markdown: str
    """The study's own text, with figure placeholders."""
    figures: Mapping[str, Mapping[str, bytes]]
    """SVG by name and theme."""
    claims: Sequence[Claim]
    failures: str
    """Markdown on what did not finish; empty where all did."""
    origin: str
    """Markdown on how the rows came to be: command, machine, commit, config."""
    facts: Mapping[str, str]
    """What the head of the page says: rows, seeds, date."""


@dataclass(frozen=True)
class Rendered:
    """A report ready to be written."""

    files: Mapping[str, str | bytes]
    """Content by path in the folder of the run."""
    claims: Sequence[Claim]
    finished_rows: int
    failed_rows: int

    @property
    def exit_code(self) -> int:
        """0 ok, 1 a claim or a row failed, 3 a claim is open or no row is there to tell."""
        verdicts = {claim.verdict for claim in self.claims}
        if self.failed_rows or "failed" in verdicts:
            return 1
        return 3 if "inconclusive" in verdicts or not self.finished_rows else 0

    def table(self) -> Table:
        """The claims for a terminal."""
        from rich.markup import escape
        from rich.table import Table

        colours = {"ok": "green", "failed": "red", "inconclusive": "yellow"}
        shown = Table("", "claim", "numbers", show_edge=False, pad_edge=False)
        for claim in self.claims:
            verdict = f"[{colours[claim.verdict]}]{VERDICTS[claim.verdict]}[/]"
            shown.add_row(verdict, escape(plain(claim.text)), escape(plain(claim.detail)))
        if not self.finished_rows:
            shown.add_row("[yellow]inconclusive[/]", "no row is there to report on", "")
        if self.failed_rows:
            rows = "1 row" if self.failed_rows == 1 else f"{self.failed_rows} rows"
            shown.add_row("[red]failed[/]", f"{rows} did not finish", "see the report")
        return shown


def render(
    study: Study[Any, Any], config: Any, stored: Mapping[str, Any], records: Sequence[Record], arrays: Arrays
) -> Rendered:
    """The files of a report; pure, so that rows drawn again give the same bytes."""
    composed = compose(study, config, stored, records, arrays)
    files: dict[str, str | bytes] = {
        f"figures/{name}_{mode}.svg": svg for name, by_mode in composed.figures.items() for mode, svg in by_mode.items()
    }
    files["report.md"] = _markdown(composed)
    files["report.html"] = html.page(composed)
    failed = sum(1 for r in records if r.failed)
    return Rendered(files, composed.claims, len(records) - failed, failed)


def compose(
    study: Study[Any, Any], config: Any, stored: Mapping[str, Any], records: Sequence[Record], arrays: Arrays
) -> Composed:
    """The parts of a report from stored rows."""
    finished = [r for r in records if r.failed is None]
    report = study.report(config, finished, arrays) if finished else Report("No row is there to report on.")
    return Composed(
        title=study.question,
        markdown=report.markdown.strip(),
        figures={name: draw(name, make) for name, make in report.figures.items()},
        claims=tuple(report.claims),
        failures=_failures(stored, records),
        origin=_origin(study, config, stored, records),
        facts=_facts(study, stored, records),
    )


def claims_table(claims: Sequence[Claim]) -> str:
    """The claims as Markdown."""
    return table(["verdict", "claim", "numbers"], [(f"**{VERDICTS[c.verdict]}**", c.text, c.detail) for c in claims])


def _markdown(composed: Composed) -> str:
    def picture(name: str, caption: str) -> str:
        return (
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="figures/{name}_dark.svg">'
            f'<img src="figures/{name}_light.svg" alt="{attribute(plain(caption))}"></picture>\n\n*{caption}*'
        )

    return "\n\n".join(sections(composed, picture)) + "\n"


def sections(composed: Composed, picture: Any) -> Iterator[str]:
    """The report as Markdown sections, its figures shown by ``picture(name, caption)``."""
    yield f"# {composed.title}"
    yield place_figures(composed.markdown, composed.figures, picture)
    if composed.claims:
        yield f"## Claims\n\n{claims_table(composed.claims)}"
    if composed.failures:
        yield f"## What did not finish\n\n{composed.failures}"
    yield f"## How this was computed\n\n{composed.origin}"


def _facts(study: Study[Any, Any], stored: Mapping[str, Any], records: Sequence[Record]) -> dict[str, str]:
    known = provenance.summary([r.provenance for r in records])
    return {
        "study": study.name,
        "preset": str(stored["preset"]),
        "rows": str(len(records)),
        "failed": str(sum(1 for r in records if r.failed)),
        "seeds": _seeds(stored["seeds"]),
        "date": known["Computed"],
        "commit": known["Commit"][:12],
    }


def _failures(stored: Mapping[str, Any], records: Sequence[Record]) -> str:
    parts = []
    failed = [(r.case, r.seed, f"`{_short(r.failed)}`") for r in records if r.failed]
    if failed:
        parts.append(table(["case", "seed", "error"], failed))
    there = {r.key for r in records}
    missing = [
        f"{case} seed {seed}" for case in stored["cases"] for seed in stored["seeds"] if (case, seed) not in there
    ]
    if missing:
        shown = ", ".join(missing[:6]) + (", ..." if len(missing) > 6 else "")
        parts.append(f"Not computed yet: {shown} ({len(missing)} in all).")
    return "\n".join(parts)


def _short(text: str | None) -> str:
    line = " ".join((text or "").replace("`", "'").split())
    return line if len(line) <= 300 else line[:297] + "..."


def _origin(study: Study[Any, Any], config: Any, stored: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Command, machine, commit, versions, seeds and config."""
    known = provenance.summary([r.provenance for r in records])
    study_line = f"{study.name}, version {stored['version']}, config `{stored['hash']}`"
    lines = {
        "Seeds": _seeds(stored["seeds"]),
        "Rows": f"{len(records)}, of which {sum(1 for r in records if r.failed)} failed",
        "Precision": str(stored["dtype"]),
        **{name: value for name, value in known.items() if value},
        **{f"Input: {name}": f"`{value}`" for name, value in stored.get("inputs", {}).items()},
    }
    preset = study.presets.get(stored["preset"])
    return (
        f"```sh\n{stored['command']}\n```\n\n"
        + table(["Study", study_line], lines.items())
        + f"\n### Config\n\nPreset `{stored['preset']}`; what differs from it is bold.\n\n"
        + table(["field", "value"], _fields(to_json(config), to_json(preset) if preset is not None else {}))
    )


def _fields(config: Mapping[str, Any], preset: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        usual = preset.get(key)
        if isinstance(value, Mapping):
            yield from _fields(value, usual if isinstance(usual, Mapping) else {}, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            shown = shown or "(empty)"
            yield f"`{prefix}{key}`", f"`{shown}`" if value == usual else f"**`{shown}`**"


def _seeds(values: Sequence[int]) -> str:
    """Seeds as they are typed: runs of neighbours as ranges."""
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
