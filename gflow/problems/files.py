"""Real data: scikit-learn's digits, and a user's own cloud from a file. Never downloads anything."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]
_KINDS = (".npy", ".npz", ".csv")
_MAGIC = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")  # an array, an archive of arrays, an empty one


def digits() -> Float64[Tensor, "1797 64"]:
    """The 8 x 8 images of handwritten digits that come with scikit-learn, scaled to [0, 1], float64.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits: needs scikit-learn; install gflow[data]") from error
    return torch.from_numpy(np.asarray(load_digits().data, dtype=np.float64) / 16.0)


def read_cloud(path: str | FilePath) -> Float64[Tensor, "n d"]:
    """A cloud (n, d) in float64 from ``.npy``, ``.npz`` or ``.csv``.

    An ``.npz`` file holds one array, or the key follows it: ``file.npz:key``. A ``.csv`` file has
    one point a line, comma-separated; a first line without any number is a header. Nothing is
    unpickled.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, an unreadable one, a cell that is not a number, a line of
            another length or text that is not UTF-8 (with the line number), data that are not
            (n, d) with n >= 2, or NaN or infinite entries (how many, the first row or line).
    """
    file, key = _split_key(str(path))
    if not file.exists():
        raise FileNotFoundError(f"data file {file}: does not exist")
    if file.suffix.lower() not in _KINDS or not file.is_file():
        raise ValueError(f"data file {file}: expected a file of kind {', '.join(_KINDS)}")
    try:
        array, lines = _read_csv(file) if file.suffix.lower() == ".csv" else (_read_numpy(file, key), None)
    except (OSError, EOFError, zipfile.BadZipFile, csv.Error) as error:
        raise ValueError(f"data file {file}: cannot be read: {error}") from error
    return _checked(file, array, lines)


def _split_key(path: str) -> tuple[FilePath, str | None]:
    """``file.npz:key`` taken apart; a colon elsewhere belongs to the name."""
    head, colon, key = path.rpartition(".npz:")
    return (FilePath(head + ".npz"), key) if colon else (FilePath(path), None)


def _read_numpy(file: FilePath, key: str | None) -> Array:
    with file.open("rb") as stream:
        start = stream.read(8)
    if not start.startswith(_MAGIC):
        what = (
            "an empty file"
            if not start
            else "a pickle"
            if start[:1] == b"\x80"
            else f"a file that starts with {start!r}"
        )
        raise ValueError(f"data file {file}: expected a numeric array (n, d) as NumPy saves it, got {what}")
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return np.asarray(loaded[_choose(file, key, list(loaded.files))])
    except ValueError as error:
        # NumPy reports pickled objects and broken headers by ValueError, without the file's name.
        if str(error).startswith("data file"):
            raise
        if "allow_pickle" in str(error):  # advice that would run code of the file
            raise ValueError(f"data file {file}: expected a numeric array (n, d), got one of Python objects") from error
        raise ValueError(f"data file {file}: {error}") from error


def _choose(file: FilePath, key: str | None, names: list[str]) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if not names:
        raise ValueError(f"data file {file}: expected an array (n, d), got an archive without any")
    if key is None:
        raise ValueError(f"data file {file}: holds {len(names)} arrays {names}; name one as {file.name}:KEY")
    if key not in names:
        raise ValueError(f"data file {file}: has no array {key!r}, only {names}")
    return key


def _read_csv(file: FilePath) -> tuple[Array, list[int]]:
    """The points, and the line of each."""
    rows: list[list[float]] = []
    lines: list[int] = []
    first = True
    reader = csv.reader(io.StringIO(_text(file), newline=""))
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if not (first and not any(_is_number(cell) for cell in cells)):
            rows.append(_numbers(file, reader.line_num, cells, rows))
            lines.append(reader.line_num)
        first = False
    return np.array(rows, dtype=np.float64) if rows else np.empty((0, 0)), lines


def _text(file: FilePath) -> str:
    """The text of a file, with or without a byte order mark."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"data file {file}: line {line}: expected text in UTF-8, got the byte 0x{error.object[error.start]:02x}"
        ) from error


def _numbers(file: FilePath, line: int, cells: list[str], rows: list[list[float]]) -> list[float]:
    for column, cell in enumerate(cells, 1):
        if not _is_number(cell):
            raise ValueError(f"data file {file}: line {line}, column {column}: expected a number, got {cell!r}")
    if rows and len(cells) != len(rows[0]):
        raise ValueError(f"data file {file}: line {line}: expected {len(rows[0])} columns, got {len(cells)}")
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _checked(file: FilePath, array: Array, lines: list[int] | None) -> Float64[Tensor, "n d"]:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"data file {file}: expected real numbers, got dtype {array.dtype}")
    if array.size == 0:
        raise ValueError(f"data file {file}: is empty, shape {array.shape}")
    if array.ndim != 2:
        raise ValueError(f"data file {file}: expected points of shape (n, d), got {array.shape}")
    if len(array) < 2:
        raise ValueError(f"data file {file}: needs at least 2 points, got {len(array)}")
    bad = ~np.isfinite(array)
    if bad.any():
        first = int(np.argmax(bad.any(axis=1)))
        place = f"row {first}, counted from 0" if lines is None else f"line {lines[first]}"
        count = int(bad.sum())
        what = f"{count} entries are NaN or infinite, first" if count > 1 else "one entry is NaN or infinite,"
        raise ValueError(f"data file {file}: {what} in {place}")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
