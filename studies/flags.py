"""Values of a flag as they are shown where they are refused."""

from __future__ import annotations

from collections.abc import Sequence


def shown(values: Sequence[float]) -> str:
    """Numbers as they are typed, to six digits: ``0.1 2 30``; ``none`` where there is none."""
    return " ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in values) or "none"
