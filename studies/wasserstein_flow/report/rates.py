"""How fast KL falls: every loss on the line, and two modes behind a barrier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gflow import plot
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import interval, number
from studies.repeats import of_kind
from studies.wasserstein_flow.report.rows import Group

IDENTITY = 1e-5
"""Largest relative difference of the two slopes of KL (MONO-1)."""
BARRIER = 0.1
"""How far the rate behind the highest barrier may be from its formula, relative."""
FAST = {"logit": "C0", "logit + saturating": "C2", "exponential": "C1", "chi": "C3", "arcsinh": "C5"}
"""Losses with h'(0) >= 1, by colour."""
SLOW = {"saturating": "C0", "non-saturating": "C1", "LSGAN to 1": "C2"}
"""Losses with h'(0) <= 1/2."""
RISING = "LSGAN to 1/2"
TEXT = {"chi": "−e^−d", "exponential": "e^d"}
"""Losses that are shown by their h."""


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:
    """Decay of KL and D_phi, and the wait behind a barrier."""
    made = {"decay": _decay(found, arrays), "modes": _modes(found, arrays)}
    return {name: drawn for name, drawn in made.items() if drawn is not None}


def answer(found: Sequence[Group]) -> str:
    """The rates in one sentence."""
    monotone, modes = _monotone(found), of_kind(found, "modes")
    parts = []
    if monotone:
        fell = [g for g in monotone if all(g.values("falls"))]
        rates = [g.mean("rate") for g in monotone]
        parts.append(
            f"KL fell at every time for {len(fell)} of {len(monotone)} monotone losses, at mean "
            f"rates from {number(min(rates))} to {number(max(rates))}"
        )
    if len(modes) > 1:
        first, last = modes[0], modes[-1]
        parts.append(
            f"between two modes its rate falls from {number(first.mean('rate'))} to {number(last.mean('rate'))} as "
            f"they move from ±{first.case.problem} to ±{last.case.problem}"
        )
    return "; ".join(parts) + "." if parts else ""


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """Rates with their bounds, and the modes."""
    return "\n\n".join(part for part in (_losses(found, drawn), _barriers(found, drawn)) if part)


def claims(found: Sequence[Group]) -> list[Claim]:
    """MONO-1, the rates, and WGF-3."""
    made = (_identity(found), _falls(found), _bounded(found), _contracts(found), _rises(found), _waits(found))
    return [claim for claim in made if claim is not None]


def _losses(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
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
            interval(g.over_seeds("guaranteed")),
            interval(g.over_seeds("rate")),
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
densities by at most {number(100 * grid, 2)} %: the error of the cells.

{table(header, rows)}
{_wrong_way(decay)}

{placed(drawn, "decay")}"""


def _wrong_way(decay: Sequence[Group]) -> str:
    """What the loss with h' < 0 does."""
    group = next((g for g in decay if g.case.problem == RISING), None)
    if group is None:
        return ""
    return (
        f"{RISING} has h' < 0 where p > q: from a narrow normal law KL *rises*, by "
        f"{number(100 * group.mean('rise'), 2)} % in a time of {number(group.mean('horizon'))}. Where h' < 0 "
        "the equation is a heat equation run backwards, ill-posed on the continuum: on finer cells rounding grows faster, and longer runs would show the grid."
    )


def _barriers(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    modes = of_kind(found, "modes")
    if not modes:
        return ""
    header = ("modes at", "barrier log p(a)/p(0)", "late rate of KL", "formula", "KL at the end")
    rows = [
        (
            f"±{g.case.problem}",
            number(g.mean("barrier")),
            interval(g.over_seeds("rate")),
            number(g.mean("predicted")),
            number(g.mean("kl", 1)),
        )
        for g in modes
    ]
    return f"""## What a barrier costs

Two normal laws of equal weight at ±a, reached from weights 0.6 and 0.4 and from within the modes: each mode settles at
rate 2, and then mass has to cross. The formula is twice the spectral gap $4/\\int_{{-a}}^a dx/p$ of a high barrier; the
rate is exponentially small in the barrier, and no step size changes that (WGF-3).

{table(header, rows)}
{placed(drawn, "modes")}"""


def _decay(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """KL of the fast and slow losses, their own divergences, and the loss that is not monotone."""
    stored = {g.case.problem: arrays[key] for g in of_kind(found, "decay") if (key := g.rows[0]["arrays"]) in arrays}
    if not stored:
        return None

    def make() -> Figure:
        figure, (fast, slow, own, rising) = plot.panels(2, 2, height=5.6)
        _curves(fast, stored, FAST, "kl")
        _curves(slow, stored, SLOW, "kl")
        _curves(own, stored, FAST | {name: c for name, c in SLOW.items()}, "own")
        for at, names in ((fast, ("logit",)), (slow, tuple(SLOW))):
            for name in names:
                if name in stored:
                    saved = stored[name]
                    style = {"color": SLOW.get(name, plot.muted()) if at is slow else plot.muted()}
                    at.plot(
                        saved["t"], saved["bound"] / saved["kl"][0], linestyle=(0, (1, 1.5)), linewidth=1.1, **style
                    )
        if RISING in stored:
            saved = stored[RISING]
            rising.plot(saved["t"], 100.0 * (saved["kl"] / saved["kl"][0] - 1.0), color="C1")
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
            line = {"color": colour, "linestyle": dashed, "label": TEXT.get(name, name)}
            at.plot(saved["t"], saved[key] / saved[key][0], **line)
    at.set_yscale("log")
    if at.lines:
        at.legend(loc="lower left", handlelength=1.4)


def _modes(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """KL over time, and the late rate against the barrier."""
    groups = [g for g in of_kind(found, "modes") if g.rows[0]["arrays"] in arrays]
    if not groups:
        return None

    def make() -> Figure:
        figure, (left, right) = plot.panels(1, 2, height=2.9)
        for k, g in enumerate(groups):
            saved = arrays[g.rows[0]["arrays"]]
            left.plot(saved["t"][1:], saved["kl"][1:], color=f"C{k % 6}", label=f"±{g.case.problem}")
        left.set_xscale("log")
        left.set_yscale("log")
        left.set_xlabel("time $t$")
        left.set_ylabel("KL")
        left.set_title("A fast part, then the barrier")
        left.legend(title="modes at", loc="lower left")
        barriers = [g.mean("barrier") for g in groups]
        right.set_yscale("log")
        right.plot(barriers, [g.mean("predicted") for g in groups], color=plot.muted(), label="formula")
        plot.intervals(right, barriers, [g.over_seeds("rate") for g in groups], colour="C0", label="measured")
        right.set_xlabel("barrier $\\log p(a)/p(0)$")
        right.set_ylabel("late rate of KL")
        right.set_title("Exponentially slow")
        right.legend(loc="lower left")
        return figure

    first, last = groups[0], groups[-1]
    return Drawn(
        make,
        f"Two modes reached from wrong weights. From ±{first.case.problem} to ±{last.case.problem} the late rate of KL "
        f"falls from {number(first.mean('rate'))} to {number(last.mean('rate'))}. Seed {first.records[0].seed} on "
        "the left.",
    )


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


def _waits(found: Sequence[Group]) -> Claim | None:
    """The rate falls with the barrier, and behind the highest one is that of the formula."""
    modes = of_kind(found, "modes")
    if len(modes) < 2:
        return None
    rates = [g.mean("rate") for g in modes]
    off = abs(rates[-1] / modes[-1].mean("predicted") - 1.0)
    falls = all(after < before for before, after in pairwise(rates))
    verdict = "failed" if not falls else "ok" if off <= BARRIER else "inconclusive"
    return Claim(
        "Between modes the rate of KL falls exponentially in the barrier (WGF-3)",
        verdict,  # type: ignore[arg-type]  # one of the three
        f"rates {', '.join(number(r) for r in rates)}; off the formula by {number(100.0 * off, 2)} % at "
        f"±{modes[-1].case.problem}",
    )


def _own(group: Group) -> str:
    """Whether the divergence that the loss descends fell, where it has an elementary form."""
    fell = group.values("own_falls")
    return "" if fell[0] is None else "yes" if all(fell) else "no"


def _monotone(found: Sequence[Group]) -> list[Group]:
    return [g for g in of_kind(found, "decay") if g.case.problem != RISING]
