"""Committed results as pages of the site: ``python -m gflow.study.publish``. Computes no row."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import traceback
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gflow.study.catalogue import discover
from gflow.study.config import differences, from_json, to_json
from gflow.study.markdown import attribute, plain
from gflow.study.report import Composed, compose, sections
from gflow.study.store import Store
from gflow.study.study import Study, UsageError

_HEAD = "<!-- written by python -m gflow.study.publish: do not edit -->\n\n"
_WIDE = "---\nhide: [navigation, toc]\n---\n\n"  # tables of a report take the room of both
_PROPOSITION = re.compile(r"^#+ ([A-Z][A-Z0-9]*-\d+)\b.*\{ #([\w-]+) \}\s*$", flags=re.MULTILINE)


def publish(results: str | Path = "results", docs: str | Path = "docs/reports", studies: str = "studies") -> list[Path]:
    """Write a page for each study, with its figures and data, and an index; returns the pages.

    ``docs`` is generated: it is emptied first. A study whose results are missing, or were made by
    another version or config, gets a page that says so. Where a page names a proposition that has a
    heading with an anchor in ``theory`` beside ``docs``, it links to it.

    Raises:
        UsageError: results of no known study, or a folder that cannot be read.
    """
    known = discover(studies)
    source, target = Path(results), Path(docs)
    stray = [p.name for p in source.iterdir() if p.is_dir() and p.name not in known] if source.is_dir() else []
    if stray:
        raise UsageError(
            f"{source}: expected results of {', '.join(known) or 'no study'}, got {', '.join(sorted(stray))}"
        )
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    pages = [_publish_one(name, study, source / name, target) for name, study in known.items()]
    index = target / "index.md"
    index.write_text(_index(known, source), encoding="utf-8")
    return [index, *pages]


def stale(study: Study[Any, Any], store: Store) -> list[str]:
    """Why the stored results are not those of the study as it is now; empty where they are."""
    if not store.holds_rows():
        return ["there are no results yet"]
    stored = store.load_config()
    preset = study.presets.get(stored["preset"])
    if preset is None:
        return [f"there is no preset {stored['preset']} any more"]
    now = {"version": study.version, "config": to_json(preset)}
    return list(differences({k: stored.get(k) for k in now}, now))


def _publish_one(name: str, study: Study[Any, Any], folder: Path, target: Path) -> Path:
    store, page = Store(folder), target / f"{name}.md"
    changes = stale(study, store)
    box = _not_yet_run(study, changes) if changes else ""
    body = f"# {study.question}\n\n{box}"
    if store.holds_rows():
        try:
            body = _page(study, store, target / name, box)
        except Exception as error:  # rows of another version may break its report; the page says so
            if not changes:
                raise
            sys.stderr.write(traceback.format_exc())
            body += f"\nThe stored rows cannot be shown by the study as it is now: `{type(error).__name__}: {error}`.\n"
    page.write_text(_WIDE + _HEAD + _linked(body, propositions(target.parent / "theory")), encoding="utf-8")
    return page


def propositions(theory: Path) -> dict[str, str]:
    """Where the numbered propositions stand, as links from a report; empty where there is no theory."""
    return {
        name: f"../{theory.name}/{page.name}#{anchor}"
        for page in sorted(theory.glob("*.md"))
        for name, anchor in _PROPOSITION.findall(page.read_text(encoding="utf-8"))
    }


def _linked(body: str, links: Mapping[str, str]) -> str:
    """The text with the names of propositions linked, but not in the description of a figure, code or a link."""
    if not links:
        return body
    names = "|".join(map(re.escape, links))
    name = re.compile(rf"(?<![\w\[`#-])(?:{names})(?![\w-])")
    lines = (
        line if line.startswith("![") else name.sub(lambda m: f"[{m[0]}]({links[m[0]]})", line)
        for line in body.splitlines(keepends=True)
    )
    return "".join(lines)


def _page(study: Study[Any, Any], store: Store, folder: Path, box: str) -> str:
    """The page of a study; figures and data are written to ``folder`` beside it."""
    stored = store.load_config()
    config = from_json(type(study.presets["default"]), stored["config"])
    order = {case.name: i for i, case in enumerate(study.cases(config))}
    records = store.records(lambda r: (order.get(r.case, len(order)), r.case, r.seed), study.columns)
    composed = compose(study, config, stored, records, store.arrays())
    folder.mkdir()
    for name, by_mode in composed.figures.items():
        for mode, svg in by_mode.items():
            (folder / f"{name}_{mode}.svg").write_bytes(svg)
    for data in (store.rows_path, store.config_path):
        shutil.copyfile(data, folder / data.name)
    _pack(store.folder / "arrays", folder / "arrays.zip")
    title, *rest = sections(composed, lambda name, caption: _figure(folder.name, name, caption))
    return "\n\n".join([title, *([box] if box else []), *rest, _data(folder, composed)]) + "\n"


def _pack(arrays: Path, target: Path) -> None:
    """The stored arrays as one archive; equal arrays give equal bytes."""
    found = sorted(arrays.glob("*.npz"))
    if not found:
        return
    with zipfile.ZipFile(target, "w") as archive:
        for path in found:
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())


def _figure(folder: str, name: str, caption: str) -> str:
    """A figure for mkdocs-material: one picture a scheme, the caption, and the way to the data."""
    alt = attribute(plain(caption))
    return (
        f"![{alt}]({folder}/{name}_light.svg#only-light)\n![{alt}]({folder}/{name}_dark.svg#only-dark)\n\n"
        f"*{caption}* [Data](#data-of-the-page)"
    )


def _data(folder: Path, composed: Composed) -> str:
    """All that the figures and tables are drawn from."""
    name = folder.name
    arrays = (
        f"\n- [arrays.zip]({name}/arrays.zip): what the rows name under `arrays`, one file of numpy arrays each."
        if (folder / "arrays.zip").is_file()
        else ""
    )
    return f"""### Data {{ #data-of-the-page }}

- [rows.jsonl]({name}/rows.jsonl): one JSON object for each case and seed, {composed.facts["rows"]} in all.{arrays}
- [config.json]({name}/config.json): the settings."""


def _not_yet_run(study: Study[Any, Any], changes: Sequence[str]) -> str:
    lines = [f"    - `{change}`" for change in changes]
    command = f"    Run it with `python -m {study.module} --out results/{study.name}`."
    return (
        "\n".join(
            [
                '!!! warning "Not yet run"',
                "    This page does not show the study as it is now:",
                "",
                *lines,
                "",
                command,
            ]
        )
        + "\n"
    )


def _index(known: Mapping[str, Study[Any, Any]], source: Path) -> str:
    lines = [_HEAD + "# Studies\n", "| Study | Question | Cost | State |", "| --- | --- | --- | --- |"]
    for name, study in known.items():
        state = "**not yet run**" if stale(study, Store(source / name)) else "published"
        lines.append(f"| [{name}]({name}.md) | {study.question} | {study.cost} | {state} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m gflow.study.publish", description=__doc__)
    parser.add_argument("--results", default="results", help="folder of committed results (default: %(default)s)")
    parser.add_argument("--docs", default="docs/reports", help="folder to write (default: %(default)s)")
    parser.add_argument("--studies", default="studies", help="package of the studies (default: %(default)s)")
    given = parser.parse_args(argv)
    try:
        pages = publish(given.results, given.docs, given.studies)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("".join(f"{page}\n" for page in pages))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
