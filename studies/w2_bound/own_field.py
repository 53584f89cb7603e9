"""A field of the user's: imported by name, and watched at every call. Knows no bound."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.study import UsageError
from gflow.velocity import Time

_NO_GRAPH = "does not require grad"
_DTYPES = ("same dtype", "scalar type", "bias type")
"""Of torch's messages: a graph that is not there, and layers of another type than their input."""


class FieldError(ValueError):
    """A user's field failed; the message names its flag, its own time and the particles."""


class UserField:
    """A field or score (t, y) -> (n, d) that names its flag where it fails.

    It works on a copy of the points, so that writing into them does no harm, and outside of
    ``torch.func`` without a graph: the parameters of a network are no variables here.
    """

    def __init__(self, call: Callable[..., Any], flag: str) -> None:
        """Watch ``call``; there is a ``jacobian`` exactly when it has one."""
        self._call, self._flag = call, flag
        if hasattr(call, "jacobian"):
            self.jacobian = self._jacobian

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The velocity at the field's own time t.

        Raises:
            FieldError: the field raises, or returns no tensor, another shape or dtype, NaN or infinity.
        """
        with torch.set_grad_enabled(y.requires_grad):  # true inside a pull-back of torch.func only
            return self._checked("", self._call, t, y, y.shape)

    def _jacobian(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        call: Callable[..., Any] = self._call.jacobian  # type: ignore[attr-defined]  # set only when it exists
        return self._checked("jacobian: ", call, t, y, (*y.shape, y.shape[1]))

    def _checked(self, what: str, call: Callable[..., Any], t: Time, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        where = f"{self._flag}: {what}at t = {float(t):.6g}"
        try:
            value = call(t, y.clone())
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise FieldError(f"{where}: {first_line(error)}{_hint(error, y.dtype)}") from error
        if not isinstance(value, Tensor):
            raise FieldError(f"{where}: expected a torch tensor, got {type(value).__name__}")
        if value.shape != shape or value.dtype != y.dtype:
            wanted, given = f"{tuple(shape)} of {y.dtype}", f"{tuple(value.shape)} of {value.dtype}"
            hint = _try(value.dtype) if value.shape == shape else ""
            raise FieldError(f"{where}: expected {wanted}, got {given}{hint}")
        if not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).flatten(1).any(1).sum())
            raise FieldError(f"{where}: expected finite numbers, got NaN or infinity for {bad} of {len(y)} particles")
        return value


def named(name: str, flag: str) -> UserField:
    """The field or score ``package.module:name``; a network is put in evaluation mode.

    Raises:
        UsageError: naming ``flag``, where the name cannot be imported or is nothing to call.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{flag}: expected package.module:name, got {name!r}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the user's module raises belongs to this flag
        raise UsageError(f"{flag}: cannot import {module_name!r}: {first_line(error)}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{flag}: module {module_name!r} has no {attribute!r}")
    found = getattr(module, attribute)
    if isinstance(found, type):
        raise UsageError(
            f"{flag}: expected something to call as (t, y), got the class {attribute}; "
            f"make an instance of it in {module_name!r} and name that"
        )
    if not callable(found):
        raise UsageError(f"{flag}: expected something to call as (t, y), got {type(found).__name__}")
    return UserField(found.eval() if isinstance(found, torch.nn.Module) else found, flag)


def _hint(error: BaseException, dtype: torch.dtype) -> str:
    """What helps against two errors that say little to whom they reach first."""
    text = str(error)
    if isinstance(error, RuntimeError) and _NO_GRAPH in text:
        return (
            "; fields run without an autograd graph and are differentiated by torch.func: take torch.func.grad "
            "of a sum over the rows, or torch.func.vmap of a row's gradient, in place of torch.autograd.grad and "
            "requires_grad_()"
        )
    other = torch.float32 if dtype == torch.float64 else torch.float64
    return _try(other) if isinstance(error, RuntimeError) and any(sign in text for sign in _DTYPES) else ""


def _try(dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    return (
        f"; try --dtype {name}, if that is what a network of it computes in" if name in ("float32", "float64") else ""
    )


def first_line(error: BaseException) -> str:
    """Kind and first line of an error of the user's code."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
