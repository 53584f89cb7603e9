"""What the user brings: a cloud, a start, a field, a score; loaded and checked before long work."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.lipschitz import check_rows_independent
from gflow.problems import read_cloud
from gflow.study import UsageError

if TYPE_CHECKING:
    from gflow.velocity import VelocityField
    from studies.w2_bound.config import Config


def check(config: Config, dtype: torch.dtype) -> None:
    """Load everything that is named and try the fields on a few points of ``dtype``.

    Raises:
        UsageError: naming the flag, what was expected and what was given.
    """
    if config.field and (config.data or config.score):
        raise UsageError("--field: it selects a case of its own; leave out --data and --score")
    if config.data:
        _least(read_data(config.data), 8, "--data")
    if config.field:
        if not config.reference:
            raise UsageError("--reference: --field needs a field to compare with, package.module:name; got none")
        if config.t0 == config.t1:
            raise UsageError(f"--t1: expected a time other than --t0, got {config.t1}")
        start = _some(config).to(dtype)
        for flag, name in (("--field", config.field), ("--reference", config.reference)):
            _try(named(name, flag), config.t0, start, flag)
    if config.score:
        if not config.data and not config.reference:
            raise UsageError(
                "--score: needs --data FILE, or --reference package.module:name, to compare with; got neither"
            )
        start = (read_data(config.data)[:4] if config.data else _some(config)).to(dtype)
        time = 0.5 if config.path != "ve" else 1.0
        scores = [("--score", config.score)] + ([("--reference", config.reference)] if not config.data else [])
        for flag, name in scores:
            _try(named(name, flag), time, start, flag)
    elif config.reference and not config.field:
        raise UsageError("--reference: it goes with --field or --score; got neither")


def inputs(config: Config) -> dict[str, str]:
    """sha256 of the files that the rows depend on."""
    files = {name: getattr(config, name) for name in ("data", "start")}
    return {name: sha256(text) for name, text in files.items() if text and not text.startswith("normal:")}


def sha256(name: str) -> str:
    """Digest of a file; ``file.npz:key`` is read as the file."""
    path = Path(name) if Path(name).exists() else Path(name.rpartition(":")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_data(name: str) -> Float[Tensor, "n d"]:
    """The cloud of ``--data``."""
    try:
        return read_cloud(name)
    except (ValueError, OSError) as error:
        raise UsageError(f"--data: {error}") from error


def read_start(name: str, n: int, like: Tensor, generator: Generator) -> Float[Tensor, "n d"]:
    """The points of ``--start``: a file, or n standard normal draws."""
    if not name.startswith("normal:"):
        try:
            return read_cloud(name).to(like)
        except (ValueError, OSError) as error:
            raise UsageError(f"--start: {error}") from error
    text = name.removeprefix("normal:")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--start: expected a file or normal:d with a dimension d >= 1, got {name!r}")
    z = torch.randn(n, int(text), generator=generator, dtype=like.dtype, device=generator.device)
    return z.to(like.device)


def named(name: str, flag: str) -> VelocityField[Tensor]:
    """The field or score ``package.module:name``, called as (t, y)."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{flag}: expected package.module:name, got {name!r}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises belongs to this flag
        raise UsageError(f"{flag}: cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{flag}: module {module_name!r} has no {attribute!r}")
    found = getattr(module, attribute)
    if not callable(found):
        raise UsageError(f"{flag}: expected something to call as (t, y), got {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # callable, tried on points before work starts


def _some(config: Config) -> Float[Tensor, "n d"]:
    generator = torch.Generator().manual_seed(0)
    return _least(read_start(config.start, 8, torch.zeros(1, dtype=torch.float64), generator), 4, "--start")[:4]


def _least(cloud: Tensor, least: int, flag: str) -> Tensor:
    if len(cloud) < least:
        raise UsageError(f"{flag}: expected at least {least} points, got {len(cloud)}")
    return cloud


def _try(field: VelocityField[Tensor], t: float, points: Float[Tensor, "n d"], flag: str) -> None:
    """One evaluation: shape, dtype, finite values, rows that do not depend on each other."""
    try:
        value = field(t, points)
        if not isinstance(value, Tensor):
            raise TypeError(f"expected a tensor, got {type(value).__name__}")
        if value.shape != points.shape or value.dtype != points.dtype:
            wanted, given = (f"{tuple(q.shape)} of {q.dtype}" for q in (points, value))
            raise ValueError(f"expected {wanted} at t = {t:g}, got {given}")
        bad = int((~torch.isfinite(value)).any(1).sum())
        if bad:
            raise ValueError(
                f"expected finite velocities at t = {t:g}, got NaN or infinity for {bad} of {len(points)} particles"
            )
        check_rows_independent(field, t, points)
    except Exception as error:  # the user's code may raise anything, and it belongs to this flag
        raise UsageError(f"{flag}: {error} (tried on points of {points.dtype}, as --dtype says)") from error
