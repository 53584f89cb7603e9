"""What a task gets from the harness: randomness by role, device, artifacts, a place for arrays."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Generator


def _silent(_text: str) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Context:
    """The surroundings of one repeat of one case, or of ``prepare`` (case ``prepare``, seed 0)."""

    study: str
    """Name of the study."""
    version: int
    """Version of the study."""
    case: str
    """Name of the case."""
    seed: int
    """The seed value, as typed."""
    device_name: str = "cpu"
    """``cpu`` or ``cuda``."""
    dtype_name: str = "float64"
    """``float32`` or ``float64``."""
    selected: tuple[str, ...] = ()
    """Names of all cases of this run: ``prepare`` builds no more than they need."""
    folder: Path | None = None
    """Folder of the run; None where nothing may be saved."""
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    """What ``prepare`` returned, read from its file; shared by the tasks of a worker: do not change it."""
    progress: Callable[[str], None] = _silent
    """Shows one line of progress; for ``prepare``."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What ``note`` collected."""

    @property
    def device(self) -> torch.device:
        """The device to compute on."""
        import torch

        return torch.device(self.device_name)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type to compute in."""
        import torch

        dtype: torch.dtype = getattr(torch, self.dtype_name)
        return dtype

    @cached_property
    def generator(self) -> Generator:
        """The main generator of the task; every access is the same one, further along its stream."""
        return self.generator_for("main")

    def seed_for(self, role: str, *, key: str | None = None) -> int:
        """A 63-bit seed from study, version, case, seed and role: nothing else, so no order matters.

        Args:
            role: what the numbers are for (``data``, ``latent``, ``weights``): roles are independent.
            key: replaces the name of the case; two cases that give the same key and role share their
                random numbers, so that their difference is not one of samples.
        """
        name = self.case if key is None else f"shared:{key}"
        text = "\x1f".join((self.study, str(self.version), name, str(self.seed), role))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def generator_for(self, role: str, *, key: str | None = None, device: str | None = None) -> Generator:
        """A fresh generator on ``device`` (default: the task's), seeded by ``seed_for(role, key=key)``."""
        import torch

        return torch.Generator(device or self.device_name).manual_seed(self.seed_for(role, key=key))

    def note(self, **values: Any) -> None:
        """Add values to the row's provenance: timings and all else that two equal runs may not share."""
        self.notes.update(values)

    def save_arrays(self, key: str, **arrays: Any) -> str:
        """Write ``arrays/<name>.npz`` and return the name, by which the row refers to it.

        Tensors and numpy arrays; the file is complete or absent, and equal arrays give equal bytes.
        The name holds case and seed, so ``key`` need be unique in its task only.

        Raises:
            ValueError: an array of Python objects, or a context without a folder.
        """
        import numpy as np

        if self.folder is None:
            raise ValueError(f"save_arrays: this context has no folder, got key {key!r}")
        plain: dict[str, Any] = {
            k: np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for k, v in arrays.items()
        }
        objects = [k for k, v in plain.items() if v.dtype.hasobject]
        if objects:
            raise ValueError(f"save_arrays: expected numbers, got Python objects in {objects}")
        name = _file_name(f"{self.case}_{self.seed}_{key}")
        path = self.folder / "arrays" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        with scratch.open("wb") as file:
            np.savez_compressed(file, **plain)
        scratch.replace(path)
        return name


def _file_name(text: str) -> str:
    """A safe file name; texts that differ only in unsafe characters keep different names."""
    safe = re.sub(r"[^\w.=+-]", "-", text, flags=re.ASCII)
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
