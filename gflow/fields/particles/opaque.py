"""Velocities that depend on the particles in ways that autograd has not seen."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import torch
from jaxtyping import Float
from torch import Tensor


def opaque(y: Float[Tensor, "n d"], v: Float[Tensor, "n d"], message: str) -> Float[Tensor, "n d"]:
    """``v``, computed from ``y`` without a graph; a derivative raises RuntimeError where it would be wrong."""
    return cast(Tensor, _Opaque.apply(y, v, message))  # type: ignore[no-untyped-call]


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(y: Tensor, v: Tensor, message: str) -> Tensor:  # noqa: ARG004
        return v.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        ctx.message = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> NoReturn:  # noqa: ARG004
        raise RuntimeError(ctx.message)
