"""What the user brings: a cloud, a start, a field, a score; loaded and checked before long work."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.problems import read_cloud
from gflow.problems.distribution import normal
from gflow.study import UsageError
from studies.flags import shown
from studies.w2_bound.config import cases
from studies.w2_bound.own_field import UserField, named
from studies.w2_bound.probe import probe
from studies.w2_bound.problem import Diffusion, named_path

if TYPE_CHECKING:
    from studies.w2_bound.config import Config

_SETTINGS = {
    *("n", "n_cloud", "eps", "steps", "sde_steps", "stops", "noise"),
    *("train_steps", "width", "floor_repeats", "variation_nodes"),
}
_LEAST_DATA = 8
_LEAST_START = 4
_PROBED = 64  # points on which a field is tried
_PROBES = 5  # times between its end times, these among them
_NOISE = 1e-2  # the smallest noise of a path that the study uses


def check(config: Config, dtype: torch.dtype) -> None:
    """Load everything that is named and try the fields on points of ``dtype``, between their end times.

    Raises:
        UsageError: naming the flag, what was expected and what was given.
    """
    _check_together(config)
    if config.data:
        _check_data(read_data(config.data), dtype)
    if not (config.field or config.score):
        return
    points = (read_data(config.data) if config.data else _some(config))[:_PROBED].to(dtype)
    source = f"--data {config.data}" if config.data else f"--start {config.start}"
    origin = f"tried on {len(points)} points of {source}, d = {points.shape[1]}, in {dtype} as --dtype says"
    model = "--field" if config.field else "--score"
    flags = {model: config.field or config.score, **({} if config.data else {"--reference": config.reference})}
    for flag, name in flags.items():
        field = named(name, flag)
        probe(field, flag, _times(config, field), points, origin)


def _times(config: Config, field: UserField) -> list[float]:
    """Where a field is tried, from one end of its time to the other."""
    if config.field:
        ends = (config.t0, config.t1)
    else:
        problem = Diffusion(named_path(config.path), field, field, cases(config)[0].stop)
        ends = (problem.start_time, problem.stop_time)
    return torch.linspace(*ends, _PROBES, dtype=torch.float64).tolist()


def _check_together(config: Config) -> None:
    """Refuse flags that contradict each other, lack another one, or have no effect without it."""
    if config.field and (config.data or config.score):
        raise UsageError("--field: it selects a case of its own; leave out --data and --score")
    if config.field and not config.reference:
        raise UsageError("--reference: --field needs a field to compare with, package.module:name; got none")
    if config.score and not config.data and not config.reference:
        raise UsageError("--score: needs --data FILE, or --reference package.module:name, to compare with; got neither")
    if config.score and config.data and config.reference:
        raise UsageError("--reference: --data gives --score what it is compared with; leave one of them out")
    if config.field and config.t0 == config.t1:
        raise UsageError(f"--t1: expected a time other than --t0, got {config.t1}")
    default = {f.name: f.default for f in dataclasses.fields(config)}
    own = bool(config.field or config.score)
    needs = {  # whether each is used, and what it is used with
        "reference": (own, "--field or --score"),
        "start": (own and not config.data, "--field, or --score and no --data,"),
        "t0": (bool(config.field), "--field"),
        "t1": (bool(config.field), "--field"),
        "path": (bool(config.score or config.data), "--score or --data"),
    }
    for name, (used, wanted) in needs.items():
        given = getattr(config, name)
        if not used and given != default[name]:
            raise UsageError(f"--{name}: needs {wanted} and has no effect without; got {given}")
    if own or config.data:
        _check_sweeps(config)


def _check_sweeps(config: Config) -> None:
    """Refuse settings of the published cases beside a case of the user's that does not read them.

    A preset sets them too, so that only a value that no preset has is known to be typed.
    """
    from studies.w2_bound import STUDY

    beside = "--field" if config.field else "--score" if config.score else "--data"
    used = {"floor_repeats"}
    if config.data:
        used |= {"n_cloud", "variation_nodes"} | (set() if config.score else {"train_steps", "width"})
    elif config.start.startswith("normal:"):
        used |= {"n"}
    for name in sorted(_SETTINGS - used):
        given = getattr(config, name)
        if all(given != getattr(preset, name) for preset in STUDY.presets.values()):
            flag, value = f"--{name.replace('_', '-')}", given if isinstance(given, int) else shown(given)
            rest = f"{beside} and a file of --start" if name == "n" and not config.data else beside
            raise UsageError(f"{flag}: has no effect beside {rest}; leave it out, got {value}")


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
    return normal(n, like.new_empty(int(text)), generator)


def _check_data(cloud: Float[Tensor, "n d"], dtype: torch.dtype) -> None:
    """Refuse a cloud of ``--data`` that cannot be halved and noised."""
    if len(cloud) < _LEAST_DATA:
        raise UsageError(f"--data: expected at least {_LEAST_DATA} points, got {len(cloud)}")
    size, most = float(cloud.abs().max()), _NOISE / (100 * torch.finfo(dtype).eps)
    if size > most:
        raise UsageError(
            f"--data: expected numbers up to {most:.0e}, beyond which {dtype} rounds the noise away, got {size:.3g}; "
            "scale the data to about 1, the size of the noise"
        )
    rounded = cloud.to(dtype)
    if bool((rounded == rounded[0]).all()):
        raise UsageError(f"--data: expected points that differ, got {len(cloud)} equal ones")


def _some(config: Config) -> Float[Tensor, "n d"]:
    generator = torch.Generator().manual_seed(0)
    start = read_start(config.start, _PROBED, torch.zeros(1, dtype=torch.float64), generator)
    if len(start) < _LEAST_START:
        raise UsageError(f"--start: expected at least {_LEAST_START} points, got {len(start)}")
    return start
