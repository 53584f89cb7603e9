"""Config dataclasses as JSON: written, read back strictly, hashed and compared. Knows no study."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> Any:
    """A config as JSON values: dataclasses become objects, tuples lists, paths and enums strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"config: cannot be written as JSON: {type(value).__name__} {value!r}")


def from_json(cls: type[T], data: Any, where: str = "config") -> T:
    """The inverse of ``to_json`` for a config class; nothing is guessed.

    Raises:
        ValueError: an unknown or missing field, or a value of another type; names the field.
    """
    return _read(cls, data, where)  # type: ignore[no-any-return]  # _read follows the annotation


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of ``value``, 64 hex digits."""
    text = json.dumps(to_json(value), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """One line for each place where two JSON values differ: ``config.steps: [1] -> [2]``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(k for k in new if k not in old)]:
            name = f"{where}.{key}" if where else str(key)
            if key in old and key in new:
                yield from differences(old[key], new[key], name)
            else:
                yield f"{name}: {_brief(old.get(key))} -> {_brief(new.get(key))}"
    elif old != new:
        yield f"{where}: {_brief(old)} -> {_brief(new)}"


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong(where: str, expected: str, data: Any) -> ValueError:
    return ValueError(f"{where}: expected {expected}, got {_brief(data)}")


def _read(kind: Any, data: Any, where: str) -> Any:
    """``data`` as a value of the annotation ``kind``."""
    origin = get_origin(kind)
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, data, where)
    if origin is Literal:
        if data in get_args(kind):
            return data
        raise _wrong(where, f"one of {', '.join(map(str, get_args(kind)))}", data)
    if origin in (Union, types.UnionType):
        return _read_union(kind, data, where)
    if origin in (tuple, list, Sequence, dict, Mapping):
        return _read_container(origin, get_args(kind), data, where)
    return _read_scalar(kind, data, where)


def _read_dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _wrong(where, f"an object ({kind.__name__})", data)
    fields = [f.name for f in dataclasses.fields(kind)]
    unknown, missing = [k for k in data if k not in fields], [f for f in fields if f not in data]
    if unknown or missing:
        raise ValueError(f"{where}: unknown fields {unknown}, missing fields {missing}")
    hints = get_type_hints(kind)
    return kind(**{name: _read(hints[name], data[name], f"{where}.{name}") for name in fields})


def _read_union(kind: Any, data: Any, where: str) -> Any:
    for option in get_args(kind):
        try:
            return _read(option, data, where)
        except ValueError:
            continue
    raise _wrong(where, str(kind), data)


def _read_container(origin: Any, args: tuple[Any, ...], data: Any, where: str) -> Any:
    if origin in (dict, Mapping):
        if not isinstance(data, Mapping):
            raise _wrong(where, "an object", data)
        return {k: _read(args[1], v, f"{where}.{k}") for k, v in data.items()}
    if not isinstance(data, list):
        raise _wrong(where, "a list", data)
    if origin is tuple and args[-1:] != (...,):
        if len(args) != len(data):
            raise _wrong(where, f"{len(args)} values", data)
        return tuple(_read(a, v, f"{where}.{i}") for i, (a, v) in enumerate(zip(args, data, strict=True)))
    items = [_read(args[0], v, f"{where}.{i}") for i, v in enumerate(data)]
    return items if origin is list else tuple(items)


def _read_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind in (None, type(None)):
        if data is None:
            return None
    elif kind is float:
        if isinstance(data, int | float) and not isinstance(data, bool):
            return float(data)
        if isinstance(data, str) and data in _NOT_FINITE:
            return _NOT_FINITE[data]
    elif kind is Path:
        if isinstance(data, str):
            return Path(data)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        if data in kind.__members__:
            return kind[data]
    elif kind in (int, str, bool):
        if type(data) is kind:
            return data
    else:
        raise TypeError(f"{where}: fields of type {kind} cannot be read from JSON")
    raise _wrong(where, "null" if kind in (None, type(None)) else str(kind.__name__), data)
