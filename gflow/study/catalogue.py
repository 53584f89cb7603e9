"""The studies of a package: found, listed with question and cost, and run by name."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

from gflow.study.study import Study, UsageError


def discover(package: str) -> dict[str, Study[Any, Any]]:
    """The studies of a package by module name (its last part): modules with a constant ``STUDY``.

    Raises:
        UsageError: a module that cannot be imported, with the reason.
    """
    found = {}
    for info in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__), key=lambda i: i.name):
        if info.name.startswith("_"):
            continue
        try:
            module = importlib.import_module(f"{package}.{info.name}")
        except ImportError as error:
            raise UsageError(f"study: expected {package}.{info.name} to be importable, got {error}") from None
        study = getattr(module, "STUDY", None)
        if isinstance(study, Study) and study.module == module.__name__:  # one that another module imports is no second
            found[info.name] = study
    return found


def main(package: str, argv: Sequence[str] | None = None) -> int:
    """``python -m studies`` lists; ``python -m studies NAME ...`` runs one with the flags that follow."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        studies = discover(package)
        if not arguments or arguments[0] in ("-h", "--help"):
            _list(package, studies)
            return 0
        name = arguments[0]
        if name not in studies:
            raise UsageError(f"study: expected one of {', '.join(studies) or 'none yet'}, got {name}")
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return studies[name].main(arguments[1:])


def _list(package: str, studies: dict[str, Study[Any, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("study", "question", "cost (default preset)", show_edge=False, pad_edge=False)
    for name, study in studies.items():
        table.add_row(name, study.question, study.cost)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\nRun one with: python -m {package}.NAME --preset smoke|default|paper (--help lists its flags)")
