"""What the rows decide. Thresholds are fixed here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from gflow.estimate import Estimate
from gflow.study import Claim
from gflow.study.study import Verdict
from studies.density_ratio.report.rows import Group, named, planar, point, ratio, sweep
from studies.numbers import MANY, count, interval, listed, number, percent
from studies.repeats import of_kind

APART = 1.5
"""How many times the gradient error of another an estimator of no higher risk can have (RATIO-6)."""
OF_KERNELS = 0.7
"""Largest share of the kernel densities' gradient error that the critic is to have, at the most points."""
FALLS = 100.0
"""By how much E_q h' of the saturating loss falls over the sweep of distances (RATIO-7)."""
LOST, UNSEEN = 0.5, 0.01
"""Relative gradient error, and excess risk, of a critic on clouds that no longer meet."""
HIGH = 8
"""Dimension from which kernel densities are worse than the zero field."""
_SHARES = (OF_KERNELS, 1.0)
_SUM = 1e-10
_WIDTHS = 3.0  # half-widths of a 95 % interval: 5.9 standard errors, for hundreds of rows
_FAR = 8.0


def claims(found: Sequence[Group]) -> list[Claim]:
    """The claims that the cases at hand can decide."""
    made = (
        _risks(found),
        _apart(found),
        _of_kernels(found),
        _dimensions(found),
        _vanishing(found),
        _lost(found),
        _directions(found),
        _lipschitz(found),
    )
    return [claim for claim in made if claim is not None]


def _verdict(good: bool, groups: Sequence[Group]) -> Verdict:
    """A comparison between estimators is made from many seeds."""
    return "inconclusive" if min(g.seeds for g in groups) < MANY else "ok" if good else "failed"


def _risks(found: Sequence[Group]) -> Claim | None:
    """Both sides of RATIO-2 for every log-ratio: where the laws hardly meet, rare points decide and are left out."""
    off = [
        (
            abs(row["excess_measured"].mean - row["excess"])
            / max(row["excess_measured"].hi - row["excess_measured"].mean, 1e-12),
            g.label,
        )
        for g in found
        if g.case.kind not in ("overlap", "digits")
        for row in g.rows
        if "excess" in row
    ]
    if not off:
        return None
    worst, where = max(off)
    return Claim(
        "The vanilla risk of every estimated log-ratio exceeds that of the true one by "
        r"$\int (p + q)\, \mathrm{KL}(\mathrm{Ber}\,\sigma(d^*) \,\|\, \mathrm{Ber}\,\sigma(d))$, up to Monte Carlo "
        "(RATIO-2)",
        "ok" if worst <= _WIDTHS else "failed",
        f"{count(len(off), 'row')}, largest distance {number(worst)} half-widths ({where}); up to {_WIDTHS:g} allowed",
    )


def rivals(found: Sequence[Group]) -> Iterator[tuple[Group, Group, Estimate, Estimate]]:
    """Pairs on the same clouds, the first of no higher risk: with the ratios of their risks and gradient errors.

    Of estimators that are a log-ratio everywhere and that a user can fit.
    """
    usable = [
        g
        for g in found
        if g.case.kind not in ("overlap", "digits") and g.case.estimator != "kde-best" and g.values("gradient")
        if not any(g.values("undefined"))
    ]
    for a, b in permutations(usable, 2):
        if _clouds(a) == _clouds(b):
            risk, gradient = ratio(a, b, "excess"), ratio(a, b, "gradient")
            if risk is not None and gradient is not None and risk.mean <= 1.0:
                yield a, b, risk, gradient


def furthest(found: Sequence[Group]) -> tuple[Group, Group, Estimate, Estimate] | None:
    """The pair of rivals whose gradient errors contradict their risks most surely."""
    return max(rivals(found), key=lambda pair: (pair[3].lo, pair[3].mean), default=None)


def _clouds(g: Group) -> tuple[str, int, int]:
    return g.case.problem, g.case.n, g.case.dim


def _apart(found: Sequence[Group]) -> Claim | None:
    pair = furthest(found)
    if pair is None:
        return None
    a, b, risk, gradient = pair
    return Claim(
        f"An estimator of no higher risk can have {APART:g} times the gradient error on the same clouds (RATIO-6)",
        _verdict(gradient.mean >= APART and gradient.lo > 1.0, (a, b)),
        f"{_where(a)}: excess risk of {a.noun} {interval(risk)} times that of {b.noun}, gradient error "
        f"{interval(gradient)} times",
    )


def _where(g: Group) -> str:
    return f"d = {g.case.dim}, {g.case.n} points"


def _of_kernels(found: Sequence[Group]) -> Claim | None:
    """At the most points of the size sweep, against the likeliest and against the best bandwidths."""
    critics = sweep(found, "size", "critic")
    likely, best = (sweep(found, "size", e)[-1:] for e in ("kde", "kde-best"))
    others = [g for g in (*likely, *best) if critics and g.case.n == critics[-1].case.n]
    ratios = [r for g in others if (r := ratio(critics[-1], g, "gradient")) is not None]
    if len(ratios) < len(_SHARES):
        return None
    good = all(r.hi <= share for r, share in zip(ratios, _SHARES, strict=True))
    shown = [f"{interval(r)} of {g.label}" for r, g in zip(ratios, others, strict=True)]
    return Claim(
        f"At the most points the plain critic's gradient error is at most {OF_KERNELS:g} of kernel densities', and "
        "below theirs at the bandwidths that the truth chooses",
        _verdict(good, (critics[-1], *others)),
        f"{critics[-1].case.n} points: {listed(shown)}",
    )


def _dimensions(found: Sequence[Group]) -> Claim | None:
    critics = {point(g, "dimension"): g for g in sweep(found, "dimension", "critic")}
    kernels = {point(g, "dimension"): g for g in sweep(found, "dimension", "kde") if point(g, "dimension") in critics}
    high = {d: g for d, g in kernels.items() if d >= HIGH}
    if not high:
        return None
    below = all(_relative(critics[d]) < _relative(g) for d, g in kernels.items())
    worse = min(_relative(g) for g in high.values()) > 1.0
    shown = [f"d = {d:g}: {percent(_relative(critics[d]))} against {percent(_relative(g))}" for d, g in kernels.items()]
    return Claim(
        "Where one log-ratio is hidden in d dimensions, the critic's gradient error is below kernel densities' in "
        f"every d, and theirs is above the size of the gradient itself from d = {HIGH}",
        _verdict(below and worse, [*kernels.values(), *(critics[d] for d in kernels)]),
        "; ".join(shown),
    )


def _relative(g: Group) -> float:
    found = g.mean("relative")
    assert found is not None
    return found.mean


def _vanishing(found: Sequence[Group]) -> Claim | None:
    """The exact critic: its gradient, and the rates of both losses, by quadrature."""
    exact = {g.case.shift: g.rows[0] for g in of_kind(found, "overlap")}
    if len(exact) < 2:
        return None
    near, far = (exact[m] for m in (min(exact), max(exact)))
    fall = near["exact_rates"]["saturating"] / far["exact_rates"]["saturating"]
    sums = max(abs(sum(row["exact_rates"].values()) - 1.0) for row in exact.values())
    kept = all(abs(row["size"] / m - 1.0) <= _SUM for m, row in exact.items())
    enough = max(exact) >= _FAR
    return Claim(
        "Between N(0, 1) and N(m, 1) the exact critic's gradient is m for every m, while E_q h' of the saturating loss "
        f"falls at least {FALLS:g}-fold by m = {_FAR:g}; with the non-saturating one it adds up to 1 (RATIO-7)",
        "failed" if not kept or sums > _SUM or (enough and fall < FALLS) else "ok" if enough else "inconclusive",
        f"from m = {min(exact):g} to {max(exact):g} it falls {number(fall)}-fold; the sums are within {number(sums)} "
        "of 1",
    )


def _lost(found: Sequence[Group]) -> Claim | None:
    """The trained critic at the largest distance."""
    far = [g for g in sweep(found, "overlap", "critic") if g.case.shift >= _FAR]
    if not far:
        return None
    g = far[-1]
    error, risk = g.mean("relative"), g.average("excess")
    if error is None or risk is None:
        return None
    return Claim(
        f"A critic trained on clouds that no longer meet loses at least {percent(LOST)} of the gradient by itself, "
        f"with an excess risk below {UNSEEN:g}",
        _verdict(error.lo >= LOST and risk.mean < UNSEEN, (g,)),
        f"m = {g.case.shift:g}: error {percent(error.mean)} of the gradient, excess risk {number(risk.mean)}",
    )


def _directions(found: Sequence[Group]) -> Claim | None:
    """Critics of another optimum point elsewhere; compared seed by seed."""
    base = named(found, "base/critic")
    others = [g for g in planar(found) if g.case.objective == "wasserstein"]
    if base is None or not others:
        return None
    lower = all(min(base.values("cosine")) > max(g.values("cosine")) for g in others)
    shown = [f"{g.label} {_range(g)}" for g in (base, *others)]
    return Claim(
        "Critics of a Wasserstein objective point away from ∇ log r further than the vanilla critic in every seed: "
        "their optimum is another function (RATIO-5)",
        _verdict(lower, (base, *others)),
        f"cosines in L²(q): {'; '.join(shown)}",
    )


def _range(g: Group) -> str:
    values = g.values("cosine")
    return f"{min(values):.2f} to {max(values):.2f}".replace("-", "−")


def _lipschitz(found: Sequence[Group]) -> Claim | None:
    bounds = [row["lipschitz"] for g in found for row in g.rows if row["lipschitz"]["high"] is not None]
    if not bounds:
        return None
    ratios = [each["high"] / each["low"] for each in bounds if each["low"] > 0]
    return Claim(
        "No critic is steeper at a point than its bound by the layers' norms",
        "ok" if min(ratios) >= 1.0 - 1e-6 else "failed",
        f"{count(len(ratios), 'critic')}: the bound is {number(min(ratios))} to {number(max(ratios))} times the "
        "largest slope seen",
    )
