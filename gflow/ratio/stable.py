"""Elementary functions whose values and gradients both keep their digits, in float32 too."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def softplus(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``log(1 + e^x)``, exact to rounding for every x; torch's own is ``x`` from 20 on, which float64 can tell."""
    return -logsigmoid(-x)


def sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``1/(1 + e^-x)`` with gradient ``sigma(x) sigma(-x)``: torch's own is ``s (1 - s)``, in float32 0 from 17 on."""
    return logsigmoid(x).exp()


def expm1(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``e^x - 1`` with gradient ``e^x``: torch's own has ``expm1(x) + 1``, which in float32 is 0 below x = -17."""
    near = x.abs() < 1.0
    return torch.where(near, torch.expm1(torch.where(near, x, 0.0)), x.exp() - 1.0)


def log_one_minus_exp(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``log(1 - e^t)`` for t < 0, by whichever of expm1 and log1p keeps the digits."""
    near = t > -math.log(2.0)
    # Both branches are differentiated: the one not taken must be finite.
    small, large = torch.where(near, t, -1.0), torch.where(near, -1.0, t)
    return torch.where(near, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))
