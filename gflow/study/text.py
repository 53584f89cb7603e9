"""Markdown for reports: tables and estimates as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gflow.estimate import Estimate


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; columns whose cells are all numbers, estimates or empty are set right.

    Floats are shown with three significant digits, Estimates by ``show``; ``|`` is escaped.
    """
    cells = [list(row) for row in rows]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(f"table: expected {len(header)} cells, got {len(row)}: {row}")
    right = [bool(cells) and all(_is_numeric(row[i]) for row in cells) for i in range(len(header))]
    lines = [_line(header), "| " + " | ".join("---:" if r else "---" for r in right) + " |"]
    return "\n".join([*lines, *(_line([_cell(c) for c in row]) for row in cells)]) + "\n"


def show(value: Estimate | float, *, digits: int = 3) -> str:
    """A number with its interval: ``0.0123 [0.0119, 0.0127]``; bounds past 1e6 by their power of ten."""
    if isinstance(value, int | float):
        return _number(float(value), digits)
    if value.log10 is not None and value.log10 > 6:
        return f"10^{value.log10:.1f}"
    mean = _number(value.mean, digits)
    if value.lo == value.hi or (math.isinf(value.lo) and math.isinf(value.hi)):
        return mean
    return f"{mean} [{_number(value.lo, digits)}, {_number(value.hi, digits)}]"


def _number(value: float, digits: int) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def _is_numeric(cell: Any) -> bool:
    return cell is None or cell == "" or hasattr(cell, "bias") or (isinstance(cell, int | float))


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return str(cell)
    return show(cell) if isinstance(cell, float) or hasattr(cell, "bias") else str(cell)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"
