"""The command line of a study: the config's fields and the harness's flags in one parser."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fnmatch
import io
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gflow.study.study import Case, Study, UsageError


def _hint(metavar: str, default: str) -> Any:
    """How an option that may be left out reads in the help."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class Options:
    """How to run."""

    preset: str = "default"
    """Config to start from; every flag you type beats it."""
    seeds: str = "0"
    """Seed values, one repeat of each case per seed: 0-9, or 3,7717."""
    case: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Case to run, by name, group or pattern; repeatable. All cases where none is given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes cuda where there is one."""
    dtype: Literal["float32", "float64"] = "float64"
    """Floating-point type."""
    workers: Annotated[int | None, _hint("N", "the cores; one for cuda or less than 20 s of work")] = None
    """Worker processes, one torch thread each; rows do not depend on it."""
    cluster: Annotated[str | None, _hint("ADDRESS", "none")] = None
    """A running dask scheduler; its workers must see the folder of the run."""
    out: Annotated[Path | None, _hint("DIR", "runs/STUDY/DATE_PRESET_HASH")] = None
    """Folder of the run."""
    resume: bool = False
    """Go on in a folder that holds rows (the newest of this config where --out is not given)."""
    report: Annotated[Path | None, _hint("DIR", "none")] = None
    """Folder of a run whose report is drawn again; computes nothing and takes no other flag."""
    dry_run: bool = False
    """Print cases, estimated time and memory, and stop."""


@dataclass(frozen=True)
class Request:
    """What the user asks for."""

    config: Any
    options: Options


def parse(study: Study[Any, Any], argv: Sequence[str]) -> Request:
    """Config and options of a command line.

    A pre-parser reads ``--preset`` alone; the config it names is the default of the full parser, so
    that a typed flag always wins.

    Raises:
        UsageError: whatever cannot be understood, in one line.
        SystemExit: after ``--help``.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", default="default", nargs="?")
    preset = first.parse_known_args(list(argv))[0].preset
    if preset not in study.presets:
        raise UsageError(f"--preset: expected one of {', '.join(study.presets)}, got {preset or 'none'}")
    default = Options(preset=preset, seeds=study.seeds.get(preset, "0"), dtype=study.dtype)
    request = _tyro(study, argv, study.presets[preset], default)
    if request.options.report is not None and len([a for a in argv if not a.startswith("--report=")]) > 2:
        raise UsageError(f"--report: expected no other flag beside it, got {' '.join(argv)}")
    return request


def seed_values(text: str) -> tuple[int, ...]:
    """The seeds of ``0-9``, ``3,7717`` or ``0-4,100``: sorted, each once.

    Raises:
        UsageError: anything else, an empty range or a repeated seed among it.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part, flags=re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 1_000_000:
            raise UsageError(f"--seeds: expected values like 0-9 or 3,7717, got {text!r}")
        if twice := found.intersection(range(first, last + 1)):
            raise UsageError(f"--seeds: expected each seed once, got {min(twice)} twice in {text!r}")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def select(cases: Sequence[Case], wanted: Sequence[str]) -> list[Case]:
    """The cases that a name, a group (``group/...``) or a pattern with ``*`` selects; all for none."""
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise ValueError(f"cases: names must be unique, got {sorted(n for n in names if names.count(n) > 1)[:4]}")
    chosen: set[str] = set()
    for want in wanted:
        hits = [n for n in names if n == want or n.startswith(want + "/")] or fnmatch.filter(names, want)
        if not hits:
            groups = dict.fromkeys(n.split("/")[0] for n in names)
            raise UsageError(f"--case: expected one of {', '.join(groups)} (--dry-run lists all), got {want}")
        chosen.update(hits)
    return [case for case in cases if not wanted or case.name in chosen]


def _tyro(study: Study[Any, Any], argv: Sequence[str], config: Any, options: Options) -> Request:
    """The full parser; tyro's boxes become one line on the way."""
    kind = type(config)
    clash = {f.name for f in dataclasses.fields(kind)} & {f.name for f in dataclasses.fields(Options)}
    if clash:
        raise TypeError(f"{study.name}: config fields {sorted(clash)} are flags of the harness; rename them")
    both = dataclasses.make_dataclass(
        "Request",
        [("config", Annotated[kind, tyro.conf.arg(name="")]), ("options", Annotated[Options, tyro.conf.arg(name="")])],
    )
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            made = tyro.cli(
                both,
                args=list(argv),
                default=both(config=config, options=options),
                prog=f"python -m {study.module}",
                description=f"{study.question}\n\nPresets: {', '.join(study.presets)}.",
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UsageError(one_line(box.getvalue())) from None
    sys.stderr.write(box.getvalue())
    return Request(made.config, made.options)


_BAD_VALUE = re.compile(
    r"Error parsing (?P<flag>--\S+): (?P<why>.*?) ?Argument helptext: (?P=flag) (?P<kind>\[.*?\]\]|\S+)"
)
_KINDS = {
    "INT": "an integer",
    "N": "an integer",
    "FLOAT": "a number",
    "[INT [INT ...]]": "integers",
    "[FLOAT [FLOAT ...]]": "numbers",
}
_BAD_CHOICE = re.compile(
    r"invalid choice '(?P<got>.*?)' for argument '(?P<flag>--\S+)'\. Expected one of \((?P<kind>.*?)\)"
)
_NO_VALUE = re.compile(r"Missing value for argument '(?P<flag>--\S+)'\. Expected (?P<kind>.*?)\.")
_UNKNOWN = re.compile(r"Unrecognized options: (?P<flag>\S+?),? ")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_CONFIG = re.compile(r"Error parsing \S*: (?P<why>.*?) For full helptext")


def one_line(box: str) -> str:
    """The message of a tyro error box as ``--flag: expected ..., got ...``."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()
    inner = [line.strip().strip("│|") for line in lines if not re.match(r"[╭╰+]", line)]  # + where there is no UTF-8
    text = " ".join(" ".join(line for line in inner if line.strip(" ─-")).split()) + " "
    if found := _BAD_VALUE.search(text):
        kind = _KINDS.get(found["kind"], found["kind"])
        return f"{found['flag']}: expected {kind}, got {_values(found['why'])}"
    if found := _BAD_CHOICE.search(text):
        return f"{found['flag']}: expected one of {found['kind'].replace(chr(39), '')}, got {found['got']}"
    if found := _NO_VALUE.search(text):
        return f"{found['flag']}: expected {found['kind'].replace('1 values', 'a value')}, got none"
    if found := _UNKNOWN.search(text):
        near = re.search(r"Perhaps you meant: (--\S+)", text)
        hint = f"Perhaps you meant {near[1]}?" if near else "--help lists them."
        return f"{found['flag']}: expected a flag of this study, got an unknown one. {hint}"
    found = _CONFIG.search(text)
    return found["why"] if found else text.strip()


def _values(why: str) -> str:
    """What was typed, from tyro's message: a list of arguments, or a value in quotes at the end."""
    listed = re.search(r"arguments: (\[.*\])", why)
    quoted = [single or double for single, double in _QUOTED.findall(listed[1] if listed else why)]
    return " ".join(quoted if listed else quoted[-1:]) or why


def command(module: str, argv: Sequence[str]) -> str:
    """The command that gives these rows again."""
    return shlex.join(["python", "-m", module, *argv]) if module else shlex.join(["python", *sys.argv[:1], *argv])
