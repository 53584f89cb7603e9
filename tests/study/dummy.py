"""Does the mean of n normal numbers lie near zero? A study of milliseconds for the harness's tests."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from gflow.estimate import Estimate
from gflow.study import Claim, Context, Record, Report, Study, UsageError, show, table
from gflow.study.study import Arrays


@dataclass(frozen=True)
class Inner:
    """Settings of settings."""

    scale: float = 1.0
    """Standard deviation of the numbers."""

    def __post_init__(self) -> None:
        """Refuse a scale that is none."""
        if self.scale <= 0:
            raise ValueError(f"--inner.scale: expected a positive number, got {self.scale}")


@dataclass(frozen=True)
class Config:
    """Config of the dummy study."""

    sizes: tuple[int, ...] = (16, 64, 256)
    """Numbers in each mean."""
    limit: float = 10.0
    """The claim: |mean| sqrt(n) stays below it."""
    mood: Literal["calm", "torn"] = "calm"
    """torn makes the second claim inconclusive."""
    bad: str = ""
    """What goes wrong, and at which size: raise:16, once:16, die:16, nan:16, prepare:1, object:1, report:1."""
    pause: float = 0.0
    """Seconds that each task sleeps."""
    draw: bool = False
    """Draw the figure, which costs more than all else."""
    data: Path | None = None
    """A file whose hash is an input of the rows."""
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Size:
    """One size."""

    n: int

    @property
    def name(self) -> str:
        """The name of the case."""
        return f"mean/n={self.n}"


def validate(config: Config, _dtype: str) -> None:
    """Refuse sizes below 2."""
    if min(config.sizes, default=2) < 2:
        raise UsageError(f"--sizes: expected numbers above 1, got {min(config.sizes)}")


def cases(config: Config) -> Sequence[Size]:
    """One case a size."""
    return [Size(n) for n in config.sizes]


def prepare(config: Config, context: Context) -> dict[str, Any]:
    """A weight for each selected case."""
    context.progress("drawing the shift")
    if config.bad == "prepare:1":
        raise RuntimeError("no artifacts")
    if config.bad == "object:1":
        return {"shift": Inner()}
    return {"shift": torch.zeros((), dtype=context.dtype), "names": list(context.selected)}


def run(config: Config, case: Size, context: Context) -> dict[str, Any]:
    """The mean of n numbers."""
    time.sleep(config.pause)
    misbehave(config.bad, case.n, context)
    draws = config.inner.scale * torch.randn(
        case.n, generator=context.generator, dtype=context.dtype, device=context.device
    )
    mean = draws.mean() + context.artifacts["shift"]
    context.note(device_seen=str(draws.device), threads_seen=torch.get_num_threads())
    shared = torch.rand((), generator=context.generator_for("shared", key="all"), dtype=torch.float64)
    return {
        "z": Estimate.exact(float(mean) * case.n**0.5),
        "shared": shared,
        "draws": context.save_arrays("draws", draws=draws),
        "parts": {"n": case.n, "list": [1, 2.5, None], "deep": math.nan if config.bad == f"nan:{case.n}" else 0.0},
    }


def misbehave(bad: str, n: int, context: Context) -> None:
    """Raise or die where the config says so."""
    kind, _, size = bad.partition(":")
    if size != str(n):
        return
    if kind == "once" and context.folder is not None:
        first, mark = not (context.folder / "seen").exists(), context.folder / "seen"
        mark.touch()
        kind = "raise" if first else ""
    if kind == "raise":
        raise RuntimeError(f"no mean of {n} numbers")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def inputs(config: Config) -> dict[str, str]:
    """The hash of the data file."""
    return {} if config.data is None else {"sha256": hashlib.sha256(config.data.read_bytes()).hexdigest()}


FIGURE = r"""![Scaled means $\sqrt{n}\,\bar x_n$ against size, with the 95 % interval between repeats (left);
the draws of the first row (right; LAW-1).](figure:means)"""


def report(config: Config, rows: Sequence[Record], arrays: Arrays) -> Report:
    """Means against sizes."""
    from gflow import plot  # what draws loads here: workers import this module, too

    if config.bad == "report:1":
        raise RuntimeError("nothing to say")
    pooled = {
        n: Estimate.pool(r.row["z"] for r in rows if r.row["parts"]["n"] == n)
        for n in config.sizes
        if any(r.row["parts"]["n"] == n for r in rows)
    }
    worst = max(abs(e.mean) for e in pooled.values())
    first = arrays[rows[0].row["draws"]]["draws"]

    def means() -> Any:
        figure, (left, right) = plot.panels(1, 2)
        plot.series(left, list(pooled), list(pooled.values()), colour="ode", label=r"$\sqrt{n}$ mean")
        left.axhline(0, color=plot.muted(), linewidth=0.8)
        left.set(xscale="log", xlabel="numbers in the mean", ylabel="scaled mean", title="The mean stays near zero")
        plot.ticks_at(left.xaxis, list(pooled))
        left.legend()
        right.hist(np.asarray(first), bins=12, color=plot.COLOURS["samples"])
        right.set(xlabel="value", ylabel="count", title="The draws of one row")
        return figure

    return Report(
        markdown=f"""Yes: the scaled mean stays below {config.limit:g} at every size. The largest is {worst:.2g}.
Nothing else was asked; the standard error $\\sigma/\\sqrt{{n}}$ explains all of it.

{table(["n", "scaled mean", "rows"], [(n, e, e.n) for n, e in pooled.items()])}

{FIGURE if config.draw else ""}
""",
        figures={"means": means} if config.draw else {},
        claims=[
            Claim(
                f"the scaled mean stays below {config.limit:g}",
                "ok" if worst < config.limit else "failed",
                f"largest {worst:.3g}",
            ),
            Claim(
                "there is **one** mood",
                "ok" if config.mood == "calm" else "inconclusive",
                show(pooled[next(iter(pooled))]),
            ),
        ],
    )


STUDY: Study[Config, Size] = Study(
    name="dummy",
    question="Does the mean of normal numbers lie near zero?",
    version=1,
    presets={
        "smoke": Config(sizes=(16,)),
        "default": Config(),
        "paper": Config(sizes=(16, 64, 256, 1024)),
    },
    seeds={"default": "0-2"},
    cost="a second",
    cases=cases,
    prepare=prepare,
    validate=validate,
    inputs=inputs,
    estimate=lambda config, case: (0.01 + config.pause, 8.0 * case.n),
    run=run,
    report=report,
    columns=("z", "shared"),
)

if __name__ == "__main__":
    raise SystemExit(STUDY.main())
