"""One critic step with gradient penalty against a plain PyTorch double backward, in one run.

``python -m benchmarks.critic_step [--compile] [--repeats 300]``: batch 512 in the plane, three layers of 128, float32,
one thread, Adam. The steps take turns; a ratio is gflow's CPU time over the plain step's next to it, with
quartiles over the repeats and an interval of level 0.95 of the median by order statistics. Half a minute.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from scipy.stats import binom
from torch import Generator, Tensor, nn

from gflow.learn import MLP
from gflow.ratio import VANILLA, CriticTrainer, wgan_gp

BATCH, WIDTHS, WARM_UP = 512, (128, 128, 128), 10
Step = Callable[[], None]


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="also the compiled loss")
    parser.add_argument("--repeats", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = Generator().manual_seed(0)
    p, q = torch.randn(BATCH, 2, generator=generator), torch.randn(BATCH, 2, generator=generator) + 1.0
    steps = {"gflow": gflow_step(p, q, compiled=False), "plain": plain_step(p, q)}
    if given.compile:
        steps["gflow, compiled"] = gflow_step(p, q, compiled=True)
    times = alternate(steps, given.repeats)
    print(f"plain            {1e3 * statistics.median(times['plain']):6.2f} ms")
    for name, seconds in ((name, seconds) for name, seconds in times.items() if name != "plain"):
        ratios = sorted(a / b for a, b in zip(seconds, times["plain"], strict=True))
        q1, median, q3 = statistics.quantiles(ratios, n=4)
        lo, hi = (ratios[int(i)] for i in binom.interval(0.95, len(ratios), 0.5))
        print(
            f"{name:16} {1e3 * statistics.median(seconds):6.2f} ms, over plain {median:.3f} [{lo:.3f}, {hi:.3f}], "
            f"quartiles {q1:.2f} to {q3:.2f}"
        )


def gflow_step(p: Tensor, q: Tensor, *, compiled: bool) -> Step:
    """The loss of a trainer with the penalty of WGAN-GP."""
    generator = Generator().manual_seed(1)
    critic = MLP(2, 1, hidden=WIDTHS, generator=generator, dtype=torch.float32)
    penalty = wgan_gp()
    trainer = CriticTrainer(
        critic, VANILLA, torch.optim.Adam, steps=1, batch=BATCH, held_out=0.5, every=1, patience=1, penalty=penalty
    )
    loss = torch.compile(trainer.batch_loss) if compiled else trainer.batch_loss
    if compiled:
        require_equal(trainer, loss, critic, p, q)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss(critic, p, q, penalty.points(p, q, generator)).backward()
        optimizer.step()

    return step


def require_equal(
    trainer: CriticTrainer, compiled: Callable[..., Tensor], critic: nn.Module, p: Tensor, q: Tensor
) -> None:
    """The compiled loss and its gradient are the plain ones; the suite's type checks cannot be traced, so here."""
    found = []
    for loss in (trainer.batch_loss, compiled):
        value = loss(critic, p, q, 0.5 * (p + q))
        found.append([value, *torch.autograd.grad(value, list(critic.parameters()))])
    for expected, other in zip(*found, strict=True):
        torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-5)


def plain_step(p: Tensor, q: Tensor) -> Step:
    """The same as it is commonly written."""
    layers: list[nn.Module] = []
    for a, b in zip((2, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Linear(a, b), nn.SiLU()]
    critic = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], 1))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    cross_entropy = nn.functional.binary_cross_entropy_with_logits

    def step() -> None:
        optimizer.zero_grad()
        on_p, on_q = critic(p), critic(q)
        loss = cross_entropy(on_p, torch.ones_like(on_p)) + cross_entropy(on_q, torch.zeros_like(on_q))
        t = torch.rand(len(p), 1)
        between = (q + t * (p - q)).requires_grad_(True)
        outputs = critic(between)
        (gradient,) = torch.autograd.grad(outputs, between, torch.ones_like(outputs), create_graph=True)
        loss = loss + 10.0 * ((gradient.norm(2, dim=1) - 1.0) ** 2).mean()
        loss.backward()
        optimizer.step()

    return step


def alternate(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of this thread, which other processes disturb less than wall time, the steps taking turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(WARM_UP + repeats):
        # There and back, so that no step always meets the caches that one other left.
        for name, step in list(steps.items())[:: 1 if k % 2 else -1]:
            start = time.thread_time()
            step()
            if k >= WARM_UP:
                times[name].append(time.thread_time() - start)
    return times


if __name__ == "__main__":
    main()
