"""The folder of a run: config.json, rows.jsonl, arrays, artifacts. Nothing in it is ever half written."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gflow.study.config import differences
from gflow.study.study import FAILED, Record, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ESTIMATE = {"mean", "lo", "hi", "n", "level", "bias"}


class StoreError(UsageError):
    """The folder cannot be read or written; what was stored before is kept."""


class Store:
    """Rows and files of one run.

    A row is one line of ``rows.jsonl``, appended and synced when its task is done. A line that was
    torn by a kill is dropped when read, and its task is computed again.
    """

    def __init__(self, folder: Path, flag: str = "--out") -> None:
        """A store in ``folder``, which ``flag`` named; nothing is read or created yet."""
        self.folder, self.flag = folder, flag
        self.rows_path = folder / "rows.jsonl"
        self.config_path = folder / "config.json"

    def holds_rows(self) -> bool:
        """Whether a run was started here."""
        return self.config_path.exists() or self.rows_path.exists()

    def create(self) -> None:
        """Make the folder; raises StoreError with one line where that cannot be done."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.rows_path.open("ab").close()
        except OSError as error:
            raise StoreError(
                f"--out: expected a folder that can be written, got {self.folder}: {_why(error)}"
            ) from None

    def write(self, path: Path, content: str | bytes) -> None:
        """Replace a file of the folder in one step."""
        data = content.encode() if isinstance(content, str) else content
        scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise StoreError(f"--out: cannot write {path}: {_why(error)}; the rows so far are kept") from None

    def save_config(self, config: Mapping[str, Any]) -> None:
        """Write config.json."""
        self.write(self.config_path, json.dumps(config, indent=2, allow_nan=False) + "\n")

    def load_config(self) -> dict[str, Any]:
        """Read config.json; raises StoreError where there is none, or something else."""
        wanted = f"{self.flag}: expected the folder of a run with a config.json"
        try:
            data: dict[str, Any] = json.loads(self.config_path.read_text())
        except (OSError, ValueError) as error:
            why = _why(error) if isinstance(error, OSError) else error
            raise StoreError(f"{wanted}, got {self.folder}: {why}") from None
        if not isinstance(data, dict) or (missing := [key for key in _CONFIG_KEYS if key not in data]):
            lack = f"without {', '.join(missing)}" if isinstance(data, dict) else "that is no object"
            raise StoreError(f"{wanted}, got {self.config_path} {lack}")
        return data

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one row and sync it to the disk; a row that did not fit is taken back whole."""
        size = self.rows_path.stat().st_size
        try:
            with self.rows_path.open("ab") as file:
                file.write((dump_line(line) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self.rows_path, size)
            raise StoreError(
                f"--out: cannot write {self.rows_path}: {_why(error)}; the rows so far are kept, go on with --resume"
            ) from None

    def lines(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The stored rows by (case, seed), Estimates still as JSON; a torn last line is left out.

        Raises:
            StoreError: a line that is no row of a study, with its number.
        """
        return {(line["case"], line["seed"]): line for _, line in self._numbered()}

    def _numbered(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if not self.rows_path.exists():
            return
        *complete, _torn = self.rows_path.read_bytes().split(b"\n")
        for number, text in enumerate(complete, 1):
            try:
                line = json.loads(text)
                kept = {k: line[k] for k in _KEYS}
                kept |= {"case": str(line["case"]), "seed": int(line["seed"])}
                well_formed = isinstance(kept["row"], dict) and isinstance(kept["provenance"], dict)
            except (ValueError, KeyError, TypeError):
                well_formed = False
            if not well_formed:
                raise self._no_row(number, f"a row of a study, got {text[:60]!r}")
            yield number, kept

    def _no_row(self, number: int, expected: str) -> StoreError:
        return StoreError(f"{self.rows_path}, line {number}: expected {expected}")

    def rewrite(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Replace all rows in one step: without failed and torn ones, or in the order of the cases."""
        content = "".join(dump_line(line) + "\n" for line in lines).encode()
        if content != self.rows_path.read_bytes():
            self.write(self.rows_path, content)

    def records(self, order: Callable[[Record], Any], columns: Sequence[str] = ()) -> list[Record]:
        """The stored rows with their Estimates, sorted.

        Raises:
            StoreError: a line that is no row, or a finished row without one of ``columns``.
        """
        made = {}
        for number, line in self._numbered():
            missing = [name for name in columns if name not in line["row"]]
            if missing and FAILED not in line["row"]:
                raise self._no_row(number, f"a row with {', '.join(columns)}, got one without {', '.join(missing)}")
            try:
                row = decode(line["row"])
            except (ValueError, TypeError) as error:
                raise self._no_row(number, f"a row of a study, got one with {error}") from None
            made[line["case"], line["seed"]] = Record(line["case"], line["seed"], row, line["provenance"])
        return sorted(made.values(), key=order)

    def arrays(self) -> ArrayFolder:
        """The saved arrays."""
        return ArrayFolder(self.folder / "arrays")

    def refuse_other(self, identity: Mapping[str, Any]) -> None:
        """Raise UsageError naming the keys that differ where the folder was made by another config."""
        stored = self.load_config()
        self.refuse_study(stored, identity["study"], "--resume")
        changed = list(differences({k: stored.get(k) for k in identity}, dict(identity)))
        if changed:
            raise UsageError(
                f"--resume: expected the config that {self.folder} was made with, got another: {'; '.join(changed)}"
            )

    def refuse_study(self, stored: Mapping[str, Any], name: str, flag: str) -> None:
        """Raise UsageError where the folder holds a run of another study, whose every setting would differ."""
        if stored["study"] != name:
            held = stored["study"]
            raise UsageError(
                f"{flag}: expected a run of the study {name}, got {self.folder}, which holds the study {held}"
            )


_KEYS = ("case", "seed", "row", "provenance")
_CONFIG_KEYS = ("study", "version", "dtype", "inputs", "config", "hash", "preset", "cases", "seeds", "command")


class ArrayFolder(Mapping[str, "Mapping[str, NDArray[Any]]"]):
    """Saved arrays by key; each file is read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        """The ``.npz`` files of ``folder``, which need not exist."""
        self._folder = folder

    def __getitem__(self, key: str) -> Mapping[str, NDArray[Any]]:
        """The arrays of one file by name."""
        import numpy as np

        path = self._folder / f"{key}.npz"
        if not path.exists():
            raise KeyError(key)
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from None

    def __iter__(self) -> Iterator[str]:
        """The keys, sorted."""
        return iter(sorted(path.stem for path in self._folder.glob("*.npz")))

    def __len__(self) -> int:
        """Number of files."""
        return sum(1 for _ in self)


def dump_line(line: Mapping[str, Any]) -> str:
    """One row as strict JSON; equal values give equal text."""
    ordered = {"case": line["case"], "seed": line["seed"], "row": line["row"], "provenance": line["provenance"]}
    parts = (f"{json.dumps(k)}: {json.dumps(v, sort_keys=True, allow_nan=False)}" for k, v in ordered.items())
    return "{" + ", ".join(parts) + "}"


def encode(value: Any, where: str = "row") -> Any:
    """Measured values as JSON: Estimates by ``to_dict``, dataclasses as objects, 0-d tensors as numbers.

    Raises:
        ValueError: a NaN or infinity outside an Estimate (strict JSON has none), or another type;
            names the place.
    """
    from gflow.estimate import Estimate

    if isinstance(value, Estimate):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): encode(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [encode(v, f"{where}.{i}") for i, v in enumerate(value)]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, an Estimate or None, got {value}")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"{where}: expected JSON values and Estimates, got {type(value).__name__}")


def decode(value: Any) -> Any:
    """The inverse of ``encode`` for Estimates; objects of other kinds stay dicts."""
    if isinstance(value, dict):
        if set(value) - {"log10"} == _ESTIMATE:
            from gflow.estimate import Estimate

            return Estimate.from_dict(value)
        return {k: decode(v) for k, v in value.items()}
    return [decode(v) for v in value] if isinstance(value, list) else value


def _why(error: OSError) -> str:
    return error.strerror or str(error)
