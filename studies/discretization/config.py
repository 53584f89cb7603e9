"""What `studies.discretization` computes: its settings, its cases, and what is refused before work starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gflow.study import UsageError
from studies.flags import shown

Kind = Literal["flow", "critic", "lag", "game", "rule", "minibatch"]


@dataclass(frozen=True)
class Config:
    """Settings of the study; every one is a flag."""

    n: int = 100
    """Particles of each cloud."""
    steps: tuple[int, ...] = (20, 40, 80, 160, 320, 640)
    """Numbers of steps on which orders are measured, at least five; multiples of 4, for 1 to 8 steps per critic."""
    certified_up_to: int = 160
    """Largest number of steps that gets a certificate; a quarter of it on digits, where balls cost most."""
    tolerances: tuple[float, ...] = (1e-2, 1e-4, 1e-6, 1e-8)
    """Relative and absolute tolerances of the adaptive runs."""
    targets: tuple[float, ...] = (1e-1, 1e-2)
    """W2 for which the number of steps is asked."""
    kappas: tuple[float, ...] = (20.0, 40.0, 80.0, 160.0, 320.0)
    """Rates of the lagging critic, at least five of them."""
    n_digits: int = 8
    """Particles of the digits."""
    digits_steps: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Numbers of steps on digits, at least five of them."""
    train_steps: int = 1500
    """Training steps of the digits' score network."""
    width: int = 64
    """Width of its hidden layers."""
    streams: int = 64
    """Independent minibatch streams behind the error at the end of a run."""


@dataclass(frozen=True)
class Case:
    """One scheme on one problem."""

    name: str
    kind: Kind
    problem: str
    scheme: str
    order: float
    """The order that the measurement is compared with."""
    named: float | None = None
    """The order that the scheme's name or source promises, where it is another one."""
    finer: float = 1.0
    """Factor of the numbers of steps: pairs near a separatrix are late to show an order, and high orders on easy
    problems are soon lost in round-off."""

    def steps(self, base: Sequence[int]) -> list[int]:
        """The numbers of steps on which the order is measured."""
        return [round(n * self.finer) for n in base]


METHODS = ("euler", "midpoint", "heun", "bosh3", "rk4", "dopri5", "tsit5")
_ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "bosh3": 3, "rk4": 4, "dopri5": 5, "tsit5": 5}
_FLOWS = {
    "gaussian": ("euler", "heun", "bosh3", "rk4", "dopri5"),
    "mixture": METHODS,
    "rectified": ("euler", "heun", "bosh3", "rk4", "dopri5"),
    "digits": ("euler", "heun", "rk4"),
}
_LEAST_LEVELS = 5


def cases(config: Config) -> tuple[Case, ...]:  # noqa: ARG001  # every config has all of them
    """All cases, in the order of the report."""
    flows = (
        Case(f"{problem}/{method}", "flow", problem, method, _ORDERS[method], finer=_finer(problem, method))
        for problem, methods in _FLOWS.items()
        for method in methods
    )
    return (*flows, *_CRITICS, *_GAMES, *_OTHERS)


def _finer(problem: str, method: str) -> float:
    order = _ORDERS[method]
    if problem in ("gaussian", "rectified"):
        return {4: 0.5, 5: 0.25}.get(order, 1.0)
    if problem == "digits":
        return 16.0 if order == 4 else 8.0
    return 8.0 if order <= 2 else 4.0 if order <= 4 else 1.0


# What the source of a scheme promises, beside what it does (INT-3, PARAM-8, PARAM-9, CODE-1, CODE-2, INT-6).
_CRITICS = (
    Case("critic/tracking-euler", "critic", "tracking", "euler", 1),
    Case("critic/tracking-midpoint", "critic", "tracking", "midpoint", 2),
    Case("critic/tracking-heun", "critic", "tracking", "heun", 2),
    Case("critic/tracking-rk4", "critic", "tracking", "rk4", 4, finer=0.25),
    Case("critic/frozen-midpoint", "critic", "frozen", "midpoint", 1, named=2),
    Case("critic/frozen-rk4", "critic", "frozen", "rk4", 1, named=4),
    Case("critic/one-refresh-midpoint", "critic", "one-refresh", "midpoint", 2),
    *(Case(f"critic/{k}-steps", "critic", f"{k}-steps", "euler", 1) for k in (1, 2, 4, 8)),
    Case("lag/critic", "lag", "joint", "dopri5", 1),
)
_GAMES = (
    Case("game/joint-euler", "game", "joint", "euler", 1),
    Case("game/joint-notebook", "game", "joint", "notebook", 1, named=2),
    Case("game/joint-heun", "game", "joint", "heun", 2),
    Case("game/joint-rk4", "game", "joint", "rk4", 4, finer=0.5),
    Case("game/frozen-euler", "game", "frozen", "euler", 1),
    Case("game/frozen-notebook", "game", "frozen", "notebook", 1, named=2),
    Case("game/frozen-heun", "game", "frozen", "heun", 1, named=2),
    Case("game/frozen-rk4", "game", "frozen", "rk4", 1, named=4),
    Case("game/penalty-inside", "game", "inside", "heun", 2),
    Case("game/penalty-outside", "game", "outside", "heun", 1, named=2),
)
_OTHERS = (
    Case("rule/euler", "rule", "change", "euler", 1),
    Case("minibatch/same-draw", "minibatch", "same", "heun_euler", 2),
    Case("minibatch/fresh-draws", "minibatch", "fresh", "heun_euler", 1, named=2),
)


def validate(config: Config, dtype: str) -> None:
    """Refuse what cannot run."""
    if dtype != "float64":
        raise UsageError(f"--dtype: orders are measured in float64, got {dtype}")
    for name, least in (("n", 8), ("n_digits", 4)):
        if getattr(config, name) < least:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least {least}, got {getattr(config, name)}")
    for name in ("train_steps", "width", "streams", "certified_up_to"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(config, name)}")
    for name in ("steps", "digits_steps", "kappas"):
        values = getattr(config, name)
        if len(values) < _LEAST_LEVELS or min(values) <= 0 or list(values) != sorted(set(values)):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag}: expected at least {_LEAST_LEVELS} increasing positive numbers, got {shown(values)}"
            )
    if any(n % 4 for n in config.steps):
        raise UsageError(f"--steps: expected multiples of 4, got {shown(config.steps)}")
    for name in ("tolerances", "targets"):
        values = getattr(config, name)
        if not values or min(values) <= 0 or max(values) >= 1:
            raise UsageError(f"--{name}: expected numbers in (0, 1), got {shown(values)}")


def cost(config: Config, case: Case) -> tuple[float, float]:
    """Seconds on one core and bytes of one repeat, from timings at the default sizes."""
    if case.kind != "flow":
        return {"game": 8.0, "lag": 2.0}.get(case.kind, 1.5) * sum(config.steps) / 1260, 3e8
    if case.problem == "digits":
        return 15.0 * config.n_digits / 8 * sum(config.digits_steps) / 248, 6e8
    seconds = {"gaussian": 4.0, "mixture": 14.0, "rectified": 11.0}[case.problem]
    return seconds * (0.5 + config.n / 200) * sum(config.steps) / 1260, 4e8


def cost_of_training(config: Config) -> tuple[float, float]:
    """Seconds and bytes of the score network's training."""
    return 0.004 * config.train_steps * max(1.0, config.width / 64), 6e8
