"""The one training loop: scores, critics and velocities are all fitted by ``fit``. Knows no loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Generic

import torch
from torch import Tensor, nn

from gflow.learn.constraint import step_modules
from gflow.learn.result import FitError, FitRecord, FitResult, FitStatus, M

Loss = Callable[[nn.Module, torch.Generator], Tensor]
"""``loss(module, generator)``: draws its own batch from the generator, returns a 0-d tensor."""
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""Builds an optimizer of the given parameters: ``lambda p: torch.optim.Adam(p, lr=1e-3)``."""
RateSchedule = Callable[[float], float]
"""Factor of the learning rate at the given fraction of the training, in [0, 1]."""


def constant(_fraction: float) -> float:
    """The learning rate as the optimizer was given it."""
    return 1.0


def cosine(fraction: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * fraction))


def fit(
    module: M,
    loss: Loss,
    *,
    steps: int,
    optimizer: OptimizerFactory,
    ema_decay: float,
    generator: torch.Generator,
    held_out: Loss | None = None,
    every: int | None = None,
    rate: RateSchedule = constant,
    patience: int | None = None,
    throw: bool = True,
) -> FitResult[M]:
    """Minimize ``loss`` over all parameters of a copy of ``module``; the argument is not changed.

    The result holds the exponential moving average of the weights, ``a += (1 - d_k)(w_k - a)`` with
    ``d_k = min(ema_decay, (1 + k)/(10 + k))``, so that the start is forgotten (0 gives the last
    weights). Weights enter it only after their own loss and gradient proved finite. Deterministic
    given ``module``, the arguments and the state of ``generator``, on one device and thread count.
    Submodules with ``at_step`` (``StepModule``) are called once before each step, those of the
    average on its own weights.

    Args:
        module: network, on its device and in its dtype.
        loss: see ``Loss``; a closure over the data serves scores, critics and velocities alike.
        steps: optimizer steps; one more loss is evaluated to judge the last weights.
        optimizer: any torch optimizer; one that calls its closure again (L-BFGS) sees the same batch.
        ema_decay: in [0, 1).
        generator: the only source of randomness; advanced by the call.
        held_out: loss of the averaged weights, evaluated with one fixed seed at every record.
        every: steps between records; by default a twentieth of ``steps``.
        rate: learning rate over the training.
        patience: stop after so many records in a row without a new lowest held-out loss, and keep the
            weights of the lowest; None keeps those of the end.
        throw: raise on failure rather than return the status.

    Raises:
        ValueError: ``steps < 1``, ``every < 1``, ``patience < 1`` or without ``held_out``, ``ema_decay``
            outside [0, 1), a module without parameters, a loss that is not a 0-d tensor or does not
            depend on the parameters.
        FitError: a loss or gradient that is not finite; ``.result`` holds the last good weights.
    """
    if steps < 1 or (every is not None and every < 1):
        raise ValueError(f"fit: steps and every must be at least 1, got {steps} and {every}")
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay: expected a number in [0, 1), got {ema_decay}")
    if patience is not None and (patience < 1 or held_out is None):
        raise ValueError(f"patience: needs a held_out loss and at least 1 record, got {patience}")
    run = _Run(module, loss, optimizer, generator, held_out, keep=patience is not None)
    status, step = FitStatus.DONE, steps
    for k in range(steps + 1):
        try:
            run.advance(k, steps, min(ema_decay, (1 + k) / (10 + k)), every or max(1, steps // 20), rate)
        except _NotFiniteError as stop:
            status, step = stop.status, k
            break
        if patience is not None and run.idle >= patience:
            status, step = FitStatus.HELD_OUT, k
            break
    kept, module = (step, run.average) if patience is None or run.best is None else run.best
    result = FitResult(module, tuple(run.history), status, step, kept)
    if throw and status not in (FitStatus.DONE, FitStatus.HELD_OUT):
        raise FitError(result.message, result)
    return result


class _NotFiniteError(Exception):
    def __init__(self, status: FitStatus) -> None:
        self.status = status


class _Run(Generic[M]):
    """The mutable part of one training."""

    def __init__(
        self,
        module: M,
        loss: Loss,
        optimizer: OptimizerFactory,
        generator: torch.Generator,
        held_out: Loss | None,
        *,
        keep: bool,
    ) -> None:
        self.work = copy.deepcopy(module).requires_grad_(True).train()
        self.average = copy.deepcopy(module).requires_grad_(False).eval()
        self.parameters, self.means = list(self.work.parameters()), list(self.average.parameters())
        self.constrained = step_modules(self.work), step_modules(self.average)
        own = {id(buffer) for module in self.constrained[1] for buffer in module.buffers()}
        pairs = zip(self.average.buffers(), self.work.buffers(), strict=True)
        self.copied = [(kept, buffer) for kept, buffer in pairs if id(kept) not in own]
        if not self.parameters:
            raise ValueError("module: has no parameters to train")
        self.optimizer = optimizer(self.parameters)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.loss, self.held_out = loss, held_out
        self.generator = generator
        self.held_out_seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        self.history: list[FitRecord] = []
        self.since: list[float] = []
        self.keep = keep
        self.lowest, self.idle = math.inf, 0
        self.best: tuple[int, M] | None = None

    def advance(self, k: int, steps: int, decay: float, every: int, rate: RateSchedule) -> None:
        """Judge the weights after k steps, average and record them; then take the next step, if any."""
        for module in self.constrained[0]:
            module.at_step(k)
        draws = self.generator.get_state()
        judged: list[Tensor] = [self._differentiate(draws)]
        self.since.append(float(judged[0]))
        self._average(k, decay)
        if k % every == 0 or k == steps:
            self._record(k)
        if k == steps:
            return
        for group, initial in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = initial * rate(k / steps)
        self.optimizer.step(lambda: float(judged.pop() if judged else self._differentiate(draws)))

    def _differentiate(self, draws: Tensor) -> Tensor:
        """The loss on the batch of this step, its gradient left in the parameters, both finite."""
        self.generator.set_state(draws)
        self.optimizer.zero_grad()
        value = self.loss(self.work, self.generator)
        if value.ndim or not value.requires_grad:
            raise ValueError(
                f"loss: expected a 0-d tensor that depends on the parameters, got shape {tuple(value.shape)}, "
                f"requires_grad={value.requires_grad}"
            )
        if not bool(torch.isfinite(value)):
            raise _NotFiniteError(FitStatus.LOSS_NOT_FINITE)
        value.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not bool(torch.isfinite(nn.utils.get_total_norm(gradients))):
            raise _NotFiniteError(FitStatus.GRADIENT_NOT_FINITE)
        return value.detach()

    def _average(self, k: int, decay: float) -> None:
        with torch.no_grad():
            for mean, now in zip(self.means, self.parameters, strict=True):
                mean.lerp_(now, 1 - decay)
            for kept, buffer in self.copied:
                kept.copy_(buffer)
        for module in self.constrained[1]:
            module.at_step(k)

    def _record(self, k: int) -> None:
        held_out = None
        if self.held_out is not None:
            fixed = torch.Generator(self.generator.device).manual_seed(self.held_out_seed)
            held_out = float(self.held_out(self.average, fixed).detach())
            if self.keep:
                self._compare(k, held_out)
        self.history.append(FitRecord(k, math.fsum(self.since) / len(self.since), held_out))
        self.since.clear()

    def _compare(self, k: int, held_out: float) -> None:
        """Keep the weights of the lowest held-out loss; NaN is not lower."""
        self.idle += 1
        if held_out < self.lowest:
            self.lowest, self.idle, self.best = held_out, 0, (k, copy.deepcopy(self.average))
