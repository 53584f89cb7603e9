"""Gradient error of a trained critic against kernel density estimates at their best bandwidths, in one run.

``python -m benchmarks.critic_fit``: two planar mixtures, 10^4 points of either, L2(q) at 5000 fresh points,
a mean over the seeds with its interval. The bandwidths are chosen by the truth, which no user has; the critic
is stopped by its held-out risk. About four minutes on one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from gflow.estimate import Estimate
from gflow.fields.particles import GaussianKernel
from gflow.fields.particles.kernels import mean_shift
from gflow.learn import MLP
from gflow.problems import GaussianMixture
from gflow.ratio import VANILLA, DensityRatioEstimator, KnownLogRatio, ratio_errors

F64 = torch.float64
N, QUERIES, SEEDS = 10_000, 5_000, range(3)
BANDWIDTHS = tuple(0.1 * 1.25**k for k in range(10))

P = GaussianMixture(
    torch.tensor([0.4, 0.4, 0.2], dtype=F64),
    torch.tensor([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]], dtype=F64),
    torch.full((3,), 0.36, dtype=F64),
)
Q = GaussianMixture(
    torch.tensor([0.5, 0.5], dtype=F64),
    torch.tensor([[-1.0, -0.5], [1.0, 0.8]], dtype=F64),
    torch.full((2,), 0.64, dtype=F64),
)
EXACT = KnownLogRatio(P, Q)


def main() -> None:
    """Print the errors and their ratio."""
    torch.set_num_threads(1)
    rows = [_one(seed) for seed in SEEDS]
    for name, values in zip(("critic", "density estimates", "ratio"), zip(*rows, strict=True), strict=True):
        found = Estimate.pool([Estimate.exact(value) for value in values])
        print(f"{name:18} {found.mean:.3f} [{found.lo:.3f}, {found.hi:.3f}], {len(values)} seeds")


def _one(seed: int) -> tuple[float, float, float]:
    """Error of the critic, of the density estimates, and their ratio."""
    generator = Generator().manual_seed(seed)
    p, q, fresh = P.sample(N, generator), Q.sample(N, generator), Q.sample(QUERIES, generator)
    estimator = DensityRatioEstimator(
        network=MLP(2, 1, hidden=(128, 128), generator=generator),
        objective=VANILLA,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        steps=6000,
        batch=512,
        held_out=0.2,
        every=100,
        patience=10,
        ema_decay=0.995,
    )
    fitted = estimator.fit(p, q, generator)
    critic = ratio_errors(fitted.log_ratio, EXACT, fresh).gradient
    density = _densities(p, q, fresh)
    print(f"seed {seed}: critic {critic:.3f} after {fitted.training.kept} steps, density estimates {density:.3f}")
    return critic, density, critic / density


def _densities(p: Tensor, q: Tensor, x: Tensor) -> float:
    """The least error over all pairs of bandwidths, one for each law."""
    truth = EXACT.gradient(x)
    ends = [_scores(cloud, x) for cloud in (p, q)]
    return min(float((a - b - truth).square().sum(1).mean().sqrt()) for a in ends[0] for b in ends[1])


def _scores(cloud: Tensor, x: Tensor) -> Sequence[Tensor]:
    """The score of the density estimate at each bandwidth."""
    masses = torch.full((len(cloud),), -math.log(len(cloud)), dtype=cloud.dtype)
    return [mean_shift(GaussianKernel(h), x, cloud, masses) / h**2 for h in BANDWIDTHS]


if __name__ == "__main__":
    main()
