"""Independent affine generators x = m + A z, one a seed, trained side by side: what all rows of the table fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from studies.wasserstein_flow.monoflow import Row, w2_to_target

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Models:
    """N(m, A A^T) for each seed, float32. Seeds share nothing: a sum of their losses trains each as if alone."""

    m: Float[Tensor, "s 2"]
    A: Float[Tensor, "s 2 2"]

    @classmethod
    def start(cls, seeds: int, device: torch.device) -> Models:
        """The experiment's start, m = (1, 1) and A = I, with gradients."""
        A = torch.eye(2, device=device).repeat(seeds, 1, 1)
        return cls(torch.ones(seeds, 2, device=device).requires_grad_(True), A.requires_grad_(True))

    @property
    def parameters(self) -> list[Tensor]:
        """What an optimizer moves."""
        return [self.m, self.A]

    def held(self) -> Models:
        """The same models as constants: nothing is differentiated through them."""
        return Models(self.m.detach(), self.A.detach())

    def points(self, z: Float[Tensor, "s n 2"]) -> Float[Tensor, "s n 2"]:
        """Where the draws go."""
        return self.m[:, None] + z @ self.A.mT

    def log_prob(self, x: Float[Tensor, "s n 2"]) -> Float[Tensor, "s n"]:
        """The log-density of each model at its own points.

        With the experiment's 1e-8 under the logarithm of det A A^T.
        """
        z = (x - self.m[:, None]) @ torch.linalg.inv(self.A).mT
        volume = (torch.linalg.det(self.A).square() + 1e-8).log()
        found: Tensor = -0.5 * (z.square().sum(-1) + volume[:, None]) - math.log(2.0 * math.pi)
        return found

    def covariance(self) -> Float[Tensor, "s 2 2"]:
        """A A^T."""
        return self.A.detach() @ self.A.detach().mT

    def w2(self) -> Float[Tensor, " s"]:
        """W2 of each model to the target, in closed form; float64 on the CPU."""
        return w2_to_target(self.m.detach(), self.covariance())

    def matches(self, row: Row, digits: int = 3) -> bool:
        """Whether mean and covariance of a single model are the printed ones, to so many decimals."""
        (mean,), (covariance,) = self.m.tolist(), self.covariance().tolist()
        found = (*mean, covariance[0][0], covariance[0][1], covariance[1][1])
        printed = (*row.printed_mean, *row.printed_covariance)
        return all(round(a, digits) == round(b, digits) for a, b in zip(found, printed, strict=True))


def draws(n: int, generators: Sequence[Generator], device: torch.device) -> Float[Tensor, "s n 2"]:
    """Standard normal points, n from each seed's generator on its own device."""
    return torch.stack([torch.randn(n, 2, generator=each, device=each.device) for each in generators]).to(device)
