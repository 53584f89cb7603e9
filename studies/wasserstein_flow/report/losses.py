"""The part on the losses themselves: h and h', which say where a generator loss pushes and where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from gflow import plot
from gflow.ratio import GENERATOR_LOSSES
from gflow.study import Claim
from gflow.study.study import Arrays
from studies.drawn import Drawn, placed
from studies.repeats import of_kind
from studies.wasserstein_flow.report.rows import Group

_REACH = 6.0
_STYLES = ("-", (0, (4, 1.5)))  # six colours for eight losses: the second round is dashed


def figures(found: Sequence[Group], arrays: Arrays) -> dict[str, Drawn]:  # noqa: ARG001  # no part but this needs none
    """The curves of h and h' of the library's generator losses, beside each other."""
    if not of_kind(found, "decay"):
        return {}
    return {
        "losses": Drawn(
            losses,
            "Generator losses −E h(D) of a critic D that outputs the log-ratio d = log p/q: h, up to a constant, and "
            "h', the factor of ∇d in the velocity of the particles. Where h' is near 0 the generator stands still, "
            "however steep the critic; where it is negative (LSGAN with target 1/2) particles leave what they should "
            "cover.",
        )
    }


def losses() -> Figure:
    """The figure."""
    d = torch.linspace(-_REACH, _REACH, 241, dtype=torch.float64)
    figure, axes = plot.panels(1, 2, height=3.3)
    for k, loss in enumerate(GENERATOR_LOSSES.values()):
        zero = loss.h(torch.zeros(1, dtype=torch.float64))
        style: dict[str, Any] = {"color": f"C{k % 6}", "linestyle": _STYLES[k // 6], "label": loss.name}
        axes[0].plot(d, loss.h(d) - zero, **style)
        axes[1].plot(d, loss.h_prime(d), **style)
    for at, title, low, high in zip(axes, ("$h(d) - h(0)$", "$h'(d)$"), (-4.0, -0.25), (4.0, 2.0), strict=True):
        at.axhline(0.0, color=plot.muted(), linewidth=0.8)
        at.axvline(0.0, color=plot.muted(), linewidth=0.8)
        at.set_title(title)
        at.set_ylim(low, high)
        at.set_xlabel("log-ratio $d$: model too dense ← → data too dense")
    plot.grouped_legend(figure, columns=4)
    return figure


def answer(found: Sequence[Group]) -> str:  # noqa: ARG001  # a part has all four
    """Nothing: the rates say it."""
    return ""


def section(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    """The figure with the question that it answers."""
    if not of_kind(found, "decay"):
        return ""
    return f"""## What a loss does to a velocity

{placed(drawn, "losses")}"""


def claims(found: Sequence[Group]) -> list[Claim]:  # noqa: ARG001  # a part has all four
    """None: tests decide the table of losses (MONO-3)."""
    return []
