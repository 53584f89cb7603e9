"""What a command line asks for, checked before anything is created. Computes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gflow.study.config import digest, to_json
from gflow.study.options import Options, command, seed_values, select
from gflow.study.study import Study, UsageError

MOST_WORKERS = 1000
"""Worker processes that one machine is asked for at most; more belong to a cluster."""
ADDRESS = re.compile(r"inproc://\S+|([a-z]+://)?([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}", re.ASCII)
"""Of a dask scheduler: host:port, with or without a protocol; or one in this process."""


@dataclass(frozen=True)
class Plan:
    """A run that is about to start."""

    study: Study[Any, Any]
    config: Any
    options: Options
    cases: tuple[Any, ...]
    seeds: tuple[int, ...]
    device: str
    identity: Mapping[str, Any]
    """What the rows depend on; its hash names the run."""
    command: str

    @property
    def keys(self) -> list[tuple[str, int]]:
        """All (case, seed), in the order of the report."""
        return [(case.name, seed) for case in self.cases for seed in self.seeds]


def make_plan(study: Study[Any, Any], config: Any, options: Options, argv: Sequence[str]) -> Plan:
    """Everything that can be refused, checked before anything is created."""
    if options.workers is not None and not 1 <= options.workers <= MOST_WORKERS:
        raise UsageError(f"--workers: expected 1 to {MOST_WORKERS}, got {options.workers}")
    if options.cluster is not None and not ADDRESS.fullmatch(options.cluster):
        raise UsageError(f"--cluster: expected an address like tcp://host:8786, got {options.cluster!r}")
    seeds = seed_values(options.seeds)
    try:
        if study.validate is not None:
            study.validate(config, options.dtype)
        everything = study.cases(config)
        cases = tuple(select(everything, options.case))
        inputs = dict(study.inputs(config)) if study.inputs else {}
    except (ValueError, OSError) as error:  # a reader's message names what it refuses
        raise UsageError(str(error)) from None
    if not cases:
        raise UsageError("--case: expected a config with at least one case, got none")
    identity = {
        "study": study.name,
        "version": study.version,
        "dtype": options.dtype,
        "inputs": inputs,
        "config": to_json(config),
    }
    return Plan(study, config, options, cases, seeds, _device(options.device), identity, command(study.module, argv))


def default_folder(plan: Plan) -> Path:
    """``runs/<study>/<date>_<preset>_<hash>``; with --resume the newest such folder of this config."""
    parent, ending = Path("runs") / plan.study.name, f"{plan.options.preset}_{digest(plan.identity)[:8]}"
    older = sorted(parent.glob(f"*_{ending}"))
    if plan.options.resume and older:
        return older[-1]
    return parent / f"{datetime.now():%Y-%m-%dT%H%M%S}_{ending}"  # noqa: DTZ005  # a name: local time is meant


def _device(name: str) -> str:
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UsageError("--device: expected a device of this machine, got cuda, and no CUDA device is available")
    return "cpu"
