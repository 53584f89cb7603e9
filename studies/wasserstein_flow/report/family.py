"""MonoFlow leaves the Gaussian family (MONO-4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from gflow import plot
from gflow.study import Claim, table
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.numbers import listed, number
from studies.repeats import of_kind
from studies.wasserstein_flow.report.rows import Group

EXACT = 1e-4
"""How far a rate on the cells may be from its closed form."""
_COLOURS = {"logit": "C0", "saturating": "C1", "non-saturating": "C2", "arcsinh": "C3"}
_CUMULANTS = ("mean", "variance", "third cumulant")


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:
    """Mean, variance and skewness over time, with their closed slopes at the start."""
    groups = [g for g in of_kind(found, "family") if g.rows[0]["arrays"] in arrays]
    if not groups:
        return {}

    def make() -> Figure:
        figure, axes = plot.panels(1, 3, height=2.9)
        for g in groups:
            saved = arrays[g.rows[0]["arrays"]]
            for k, (at, name) in enumerate(zip(axes, ("mean", "variance", "skewness"), strict=True)):
                colour = _COLOURS[g.case.problem]
                at.plot(saved["t"], saved[name], label=g.case.problem, color=colour)
                # The tangent at the start; at variance 1 skewness and third cumulant have the same slope.
                reach = saved["t"][:5]
                tangent = saved[name][0] + g.rows[0]["exact"][k] * reach
                at.plot(reach, tangent, linestyle=(0, (1, 1.2)), linewidth=1.1, color=colour)
        for at, title in zip(axes, ("Mean", "Variance", "Skewness"), strict=True):
            at.set_title(title)
            at.set_xlabel("time $t$")
        plot.grouped_legend(figure)
        return figure

    shown = listed([f"{number(g.mean('skewness'), 2)} ({g.case.problem})" for g in groups])
    return {
        "family": Drawn(
            make,
            f"From one normal law to another of the same variance. Dotted: slopes at the start, MONO-4. "
            f"Skewness furthest from 0: {shown}.",
        )
    }


def answer(found: Sequence[Group]) -> str:
    """Which losses keep laws normal."""
    away = {g.case.problem: g.mean("skewness") for g in of_kind(found, "family") if g.case.problem != "logit"}
    if not away:
        return ""
    most = max(away, key=lambda name: abs(away[name]))
    return (
        "Only the logit loss keeps normal laws normal: between two of them the skewness reaches "
        f"{number(away[most], 2)} for {most}."
    )


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """Rates at the start, two ways, and the figure."""
    groups = of_kind(found, "family")
    if not groups:
        return ""
    header = ("loss", *(f"{name}: cells, closed form" for name in _CUMULANTS), "skewness furthest from 0", "at time")
    rows = [
        (
            g.case.problem,
            *(f"{_rate(g, 'cells', k)}, {_rate(g, 'exact', k)}" for k in range(3)),
            number(g.mean("skewness"), 2),
            number(g.mean("at")),
        )
        for g in groups
    ]
    return f"""## Laws that start normal do not stay so

From $N(0, 1)$ towards a normal law of variance 1, the rates at the start of mean, variance and third cumulant: on the
cells, from the rate of every mass at two widths, against Gauss-Hermite quadrature of $m E h'$, $2 m^2 E h''$ and
$3 m E (z^2 - 1) h'$ (MONO-4). A fit of means and covariances alone misses what the third column shows. The cumulant may
turn round later: the sign at the start is not that of the whole way.

{table(header, rows)}
{placed(drawn, "family")}"""


def claims(found: Sequence[Group]) -> list[Claim]:
    """The closed forms hold, and skewness tells the losses apart."""
    groups = of_kind(found, "family")
    if not groups:
        return []
    off = {
        g.case.problem: max(
            abs(a - b)
            for cells, exact in zip(g.values("cells"), g.values("exact"), strict=True)
            for a, b in zip(cells, exact, strict=True)
        )
        for g in groups
    }
    worst = max(off, key=lambda name: off[name])
    made = [
        Claim(
            f"Mean, variance and third cumulant start at the rates of MONO-4, within {number(EXACT)}",
            "ok" if off[worst] <= EXACT else "failed",
            f"largest difference {number(off[worst])} ({worst})",
        )
    ]
    # The error of the cells, of order 2 in their width, is what skewness must exceed to be there.
    width = groups[0].mean("width") ** 2
    skew = {g.case.problem: max(abs(s) for s in g.values("skewness")) for g in groups}
    leaves = {name: s > width for name, s in skew.items()}
    made.append(
        Claim(
            "MonoFlow leaves the Gaussian family for every h that is not affine, and for no other (MONO-4)",
            "ok" if all(left == (name != "logit") for name, left in leaves.items()) else "failed",
            f"largest skewness {', '.join(f'{number(s, 2)} ({name})' for name, s in skew.items())}; the cells' error "
            f"is of the order of {number(width, 1)}",
        )
    )
    return made


def _rate(group: Group, name: str, k: int) -> str:
    """Six decimals, without a sign on zero."""
    value = round(group.mean(name, k), 6) + 0.0
    return f"{value:.6f}".replace("-", "−")
