"""Where and how a row was computed: machine, commit, versions. All that two equal runs may not share."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_PACKAGES = ("gflow", "torch", "numpy", "scipy", "POT")


def commit() -> dict[str, Any]:
    """Commit of gflow's checkout and whether it has uncommitted changes; empty for an installed copy."""
    # An installed copy may lie inside another repository, which does not track it: that commit is not gflow's.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None or (head := _git("rev-parse", "HEAD")) is None:
        return {}
    return {"commit": head, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


@cache
def machine() -> dict[str, Any]:
    """Host, processor, system and versions of this process."""
    import gflow

    versions = {"python": platform.python_version(), "gflow": gflow.__version__}
    for name in _PACKAGES[1:]:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "host": socket.gethostname(),
        "cpu": _processor(),
        "cores": cores(),
        "platform": platform.platform(),
        "versions": versions,
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """Bytes that new processes may take without swapping, as Linux estimates; None on other systems."""
    path = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", path.read_text(), re.MULTILINE) if path.exists() else None
    return 1024 * int(found[1]) if found else None


def device(name: str) -> str:
    """``cpu``, or the name of the accelerator."""
    if name == "cpu":
        return name
    import torch

    return f"{name} ({torch.cuda.get_device_name()})"


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The provenance of many rows in words, each distinct value once."""
    seconds = sum(float(p.get("seconds", 0.0)) for p in rows)
    state = " (with uncommitted changes)"
    versions = [", ".join(f"{k} {v}" for k, v in p.get("versions", {}).items()) for p in rows]
    return {
        "Machine": _distinct(f"{p.get('cpu')}, {p.get('cores')} cores, {p.get('platform')}" for p in rows),
        "Device": _distinct(p.get("device") for p in rows) + ", one thread per task",
        "Commit": _distinct(f"{p.get('commit', 'unknown')[:12]}{state if p.get('dirty') else ''}" for p in rows),
        "Versions": _distinct(versions),
        "Time in tasks": f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:.0f} min",
        "Computed": _dates(rows),
    }


def _distinct(values: Any) -> str:
    return "; ".join(dict.fromkeys(str(v) for v in values)) or "none"


def _dates(rows: Sequence[Mapping[str, Any]]) -> str:
    days = sorted({str(p.get("started", ""))[:10] for p in rows})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _git(*command: str) -> str | None:
    try:
        done = subprocess.run(["git", *command], cwd=_HERE, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
