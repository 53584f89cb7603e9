"""How fast KL falls on the line, for every loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gflow import plot
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import listed, number
from studies.repeats import of_kind
from studies.wasserstein_flow.report.rows import Group

IDENTITY = 1e-5
"""Largest relative difference of the two slopes of KL (MONO-1)."""
FAST = {"logit": "C0", "logit + saturating": "C2", "exponential": "C1", "chi": "C3", "arcsinh": "C5"}
"""Losses with h'(0) >= 1, by colour."""
SLOW = {"saturating": "C0", "non-saturating": "C1", "LSGAN to 1": "C2"}
"""Losses with h'(0) <= 1/2."""
RISING = "LSGAN to 1/2"
TEXT = {"chi": "$-e^{-d}$", "exponential": "$e^d$"}
"""Losses that are shown by their h."""


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:
    """Decay of KL and of D_phi."""
    drawn = _decay(found, arrays)
    return {} if drawn is None else {"decay": drawn}


def answer(found: Sequence[Group]) -> str:
    """The rates in one sentence."""
    monotone = _monotone(found)
    if not monotone:
        return ""
    fell = [g for g in monotone if all(g.values("falls"))]
    rates = [g.mean("rate") for g in monotone]
    return (
        f"KL fell at every time for {len(fell)} of {len(monotone)} monotone losses, at mean rates from "
        f"{number(min(rates))} to {number(max(rates))}."
    )


def claims(found: Sequence[Group]) -> list[Claim]:
    """MONO-1, MONO-2 and the rates."""
    made = (_identity(found), _falls(found), _bounded(found), _contracts(found), _rises(found), _breaks(found))
    return [claim for claim in made if claim is not None]


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """Rates with what is guaranteed, and the loss that is not monotone."""
    decay = of_kind(found, "decay")
    if not decay:
        return ""
    header = (
        "loss, by h",
        "least h′ met",
        "guaranteed rate",
        "measured rate",
        "KL at the end/start",
        "own $D_φ$ falls",
    )
    rows = [
        (
            TEXT.get(g.case.problem, g.case.problem),
            number(min(g.values("least_h_prime"))),
            g.spread("guaranteed"),
            g.spread("rate"),
            number(g.mean("kl", 1) / g.mean("kl", 0)),
            _own(g),
        )
        for g in _monotone(found)
    ]
    grid = max(abs(a / b - 1.0) for g in decay for a, b in g.values("start_rate"))
    return f"""## How fast KL falls on the line

$p = N(0, 1)$ on $[-4, 4]$, so that α = 1, from a mixture with lighter tails. Rates are means of $-d \\log KL/dt$ over
the run. What is *guaranteed* is $2α \\int \\inf h'(d_t)\\,dt$ over its length, the infimum over the log-ratios that
the law has at the time (MONO-1 with the logarithmic Sobolev inequality): where h' ≥ 1 everywhere it is never below
2α. The sum over faces, of which the slope of KL is made, differs at the start from $E_q h'(d)|\\nabla d|^2$ of the
densities by at most {number(100 * grid, 2)} %: the error of the cells. Seeds start from other mixtures; ranges are
over them.

{table(header, rows)}
{_wrong_way(decay)}

{placed(drawn, "decay")}"""


def _wrong_way(decay: Sequence[Group]) -> str:
    """What the loss with h' < 0 does."""
    group = next((g for g in decay if g.case.problem == RISING), None)
    if group is None:
        return ""
    rise, time = number(100 * group.mean("rise"), 2), number(group.mean("horizon"))
    ends = [f"{group.spread('reach', k, 1)} on {group.rows[0]['reach'][k][0]} cells" for k in (0, 1)]
    return (
        f"{RISING} has h' < 0 where p > q: from a narrow normal law KL *rises*, by {rise} % in a time of {time}. Where "
        "h' < 0 the equation is a heat equation run backwards, ill-posed on the continuum: the run "
        f"breaks down at time {listed(ends)}."
    )


def _decay(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """KL of the fast and slow losses, their own divergences, and the loss that is not monotone."""
    stored = {g.case.problem: arrays[key] for g in of_kind(found, "decay") if (key := g.rows[0]["arrays"]) in arrays}
    if not stored:
        return None

    def make() -> Figure:
        figure, (fast, slow, own, rising) = plot.panels(2, 2, height=5.6)
        _curves(fast, stored, FAST, "kl")
        _curves(slow, stored, SLOW, "kl")
        _curves(own, stored, FAST | SLOW, "own")
        _bound(fast, stored, "logit", plot.muted())
        for name, colour in SLOW.items():
            _bound(slow, stored, name, colour)
        if RISING in stored:
            saved = stored[RISING]
            rising.plot(saved["t"], 100.0 * (saved["kl"] / saved["kl"][0] - 1.0), color="C4")
        titles = ("h′(0) ≥ 1: KL", "h′(0) ≤ 1/2: KL", "Divergence of the loss itself", f"{RISING}: KL rises")
        labels = ("KL/KL(0)", "KL/KL(0)", "$D_φ/D_φ(0)$", "rise of KL in %")
        for at, title, label in zip((fast, slow, own, rising), titles, labels, strict=True):
            at.set_title(title)
            at.set_ylabel(label)
            at.set_xlabel("time $t$")
        return figure

    rates = [g.mean("rate") for g in _monotone(found)]
    shown = f"Mean rates {number(min(rates))} to {number(max(rates))}. " if rates else ""
    return Drawn(
        make,
        f"Decay along the flow of every loss, by finite volumes; dotted, what is guaranteed: $e^{{-2αt}}$ on the left, "
        f"each loss's own bound on the right. {shown}Below, the divergence that each loss descends, and the one loss "
        f"with h' < 0. Seed {of_kind(found, 'decay')[0].records[0].seed}.",
    )


def _curves(at: Axes, stored: Mapping[str, Any], colours: Mapping[str, str], key: str) -> None:
    """One line per loss, over its start; losses that are slow are dashed where they stand beside fast ones."""
    for name, colour in colours.items():
        if name in stored and key in stored[name]:
            saved = stored[name]
            dashed = "--" if name in SLOW and "logit" in colours else "-"
            label = TEXT.get(name, name)
            at.plot(saved["t"], saved[key] / saved[key][0], color=colour, linestyle=dashed, label=label)
    at.set_yscale("log")
    if at.lines:
        at.legend(loc="lower left", handlelength=1.4)


def _bound(at: Axes, stored: Mapping[str, Any], name: str, colour: str) -> None:
    """What a loss is guaranteed, over its start."""
    if name in stored:
        saved = stored[name]
        at.plot(saved["t"], saved["bound"] / saved["kl"][0], color=colour, linestyle=(0, (1, 1.5)), linewidth=1.1)


def _identity(found: Sequence[Group]) -> Claim | None:
    differences = {g.case.problem: max(g.values("identity")) for g in of_kind(found, "decay")}
    if not differences:
        return None
    worst = max(differences, key=lambda name: differences[name])
    return Claim(
        f"The slope of KL is the sum over faces of h' times the dissipation, for every loss, within {number(IDENTITY)} "
        "(MONO-1)",
        "ok" if differences[worst] <= IDENTITY else "failed",
        f"largest relative difference {number(differences[worst])} ({worst})",
    )


def _falls(found: Sequence[Group]) -> Claim | None:
    monotone = _monotone(found)
    if not monotone:
        return None
    wrong = [g.case.problem for g in monotone if not all(g.values("falls"))]
    own = [v for g in monotone for v in g.values("own_falls") if v is not None]
    return Claim(
        "Where h' ≥ 0, KL and the divergence that the loss descends fall at every time (MONO-1, MONO-2)",
        "ok" if not wrong and all(own) else "failed",
        f"{len(monotone) - len(wrong)} of {len(monotone)} losses for KL, {sum(own)} of {len(own)} runs for $D_φ$",
    )


def _bounded(found: Sequence[Group]) -> Claim | None:
    ratios = {g.case.problem: min(g.values("bound_over_kl")) for g in _monotone(found)}
    if not ratios:
        return None
    least = min(ratios, key=lambda name: ratios[name])
    return Claim(
        "KL never exceeds KL(0) exp(−2α ∫ inf h'), so that it falls at least at the rate 2α inf h' (MONO-1, WGF-3)",
        "ok" if ratios[least] >= 1.0 else "failed",
        f"smallest bound over KL {number(ratios[least], 4)} ({least})",
    )


def _contracts(found: Sequence[Group]) -> Claim | None:
    ratios = [r for g in of_kind(found, "decay") for r in g.values("w2_bound_over_w2") if r is not None]
    if not ratios:
        return None
    return Claim(
        "For h = id, $W_2$(q, p) never exceeds $e^{-αt}$ times its start (WGF-3)",
        "ok" if min(ratios) >= 1.0 else "failed",
        f"smallest bound over $W_2$ {number(min(ratios), 4)}",
    )


def _rises(found: Sequence[Group]) -> Claim | None:
    rises = [r for g in of_kind(found, "decay") if g.case.problem == RISING for r in g.values("rise")]
    if not rises:
        return None
    return Claim(
        f"{RISING}, whose h' is negative where p > q, raises KL from a narrow law (MONO-1, MONO-3)",
        "ok" if min(rises) > 0.0 else "failed",
        f"by {number(100.0 * min(rises), 2)} % at least",
    )


def _breaks(found: Sequence[Group]) -> Claim | None:
    """An ill-posed equation is the sooner at its end the finer the cells."""
    ends = [ends for g in of_kind(found, "decay") if g.case.problem == RISING for ends in g.values("reach")]
    if not ends:
        return None
    shares = [fine / coarse for (_, coarse), (_, fine) in ends]
    return Claim(
        f"The flow of {RISING} is ill-posed: on cells half as wide it breaks down sooner",
        "ok" if max(shares) < 1.0 else "failed",
        f"at {number(max(shares), 2)} times the time at most",
    )


def _own(group: Group) -> str:
    """Whether the divergence that the loss descends fell, where it has an elementary form."""
    fell = group.values("own_falls")
    return "" if fell[0] is None else "yes" if all(fell) else "no"


def _monotone(found: Sequence[Group]) -> list[Group]:
    return [g for g in of_kind(found, "decay") if g.case.problem != RISING]
