"""Figures of samples: clouds of both laws, digits, and how near they are to the training points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gflow import plot
from gflow.estimate import Estimate
from gflow.study.study import Arrays
from studies.drawn import Drawn
from studies.numbers import count, listed, number, percent, pooled
from studies.repeats import of_kind
from studies.w2_bound.report.figures.drawn import sizes
from studies.w2_bound.report.rows import Group, best_network, short, sweep

_PANELS = 4
_IMAGES = 10
Points = NDArray[np.floating]


def samples(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """The reference's cloud and the sampler's, of the first seed, one panel a case."""
    chosen = [group for group in _with_clouds(found) if group.rows[0]["arrays"] in arrays][:_PANELS]
    if not chosen:
        return None
    clouds = [_in_the_plane(arrays[group.rows[0]["arrays"]]) for group in chosen]
    mixtures = [pair for group, pair in zip(chosen, clouds, strict=True) if _is_mixture(group)]

    def make() -> Figure:
        columns = max(3, len(chosen))
        figure, axes = plot.panels(1, columns, height=(plot.WIDTH - 0.5) / columns + 0.55)
        for spare in axes[len(chosen) :]:
            spare.remove()
        for at, group, pair in zip(axes, chosen, clouds, strict=False):
            centre, half_width = _frame(mixtures if _is_mixture(group) else [pair])
            colours = {"reference": "data", "sampler": "samples"}
            plot.particles(at, pair, colours=colours, centre=centre, half_width=half_width)
            at.set_title(short(group).replace("narrow, ", "narrow,\n"), fontsize=8.5)
            for axis in (at.xaxis, at.yaxis):
                axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        plot.grouped_legend(figure)
        return figure

    parts = [
        f"{g.label} (d = {g.rows[0]['d']}, seed {g.records[0].seed}) {number(g.rows[0]['w2'].mean)}" for g in chosen
    ]
    flat = "" if all(g.rows[0]["d"] <= 2 for g in chosen) else "Clouds of d > 2 are shown in two principal axes. "
    return Drawn(
        make,
        "Clouds of the reference law and of the sampler at its end; exact $W_2$ of the row's ladder: "
        f"{'; '.join(parts)}. "
        f"{flat}Equal aspect, at most 400 points of each law.",
    )


def digits(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """Images by both scores and both samplers, and the distances that tell copies from new images."""
    groups = [g for g in of_kind(found, "digits") if g.rows[0]["arrays"] in arrays]
    if not groups:
        return None
    rows = _images(groups, arrays)
    columns = min(_IMAGES, *(len(images) for images in rows.values()))

    def make() -> Figure:
        figure, (left, right) = plot.panels(1, 2, height=0.34 * len(rows) + 1.05, width_ratios=(1.75, 1))
        plot.image_grid(left, rows, columns=columns, shape=(8, 8))
        left.set_title("Samples")
        left.set_anchor("N")
        _nearest(right, groups)
        plot.grouped_legend(figure)
        return figure

    shown = f"{count(columns, 'image')} a row, of the first seed, not chosen"
    return Drawn(make, f"{_copy_words(groups)} {sizes(groups, 'bars')}; {shown}.")


def _images(groups: Sequence[Group], arrays: Arrays) -> dict[str, Points]:
    stored = {g.case.sampler: arrays[g.rows[0]["arrays"]] for g in groups}
    first = next(iter(stored.values()))
    rows: dict[str, Points] = {"held-out, noised": first["held_out"]} if "held_out" in first else {}
    rows |= {f"exact, {name.upper()}": columns["reference"] for name, columns in stored.items()}
    return rows | {f"network, {name.upper()}": columns["sampled"] for name, columns in stored.items()}


def nearest(group: Group, law: str, key: str) -> Estimate:
    """A nearest-neighbour number of a case over its seeds: ``train``, ``held_out`` or ``copies`` of a law."""
    return pooled([Estimate.exact(float(row["nearest"][law][key])) for row in group.rows])


def _nearest(axes: Axes, groups: Sequence[Group]) -> None:
    """Distances to the nearest training and held-out points; copies lie left of the dashed line."""
    labels, at = [], []
    for place, (law, group) in enumerate((law, group) for law in ("exact", "network") for group in groups):
        train, other = (nearest(group, law, key) for key in ("train", "held_out"))
        axes.hlines(place, train.mean, other.mean, color=plot.muted(), linewidth=1.0, zorder=2)
        first = place == 0
        plot.intervals(
            axes,
            [place - 0.13],
            [train],
            colour="C1",
            label="to training images" if first else "",
            marker="o",
            horizontal=True,
        )
        plot.intervals(
            axes,
            [place + 0.13],
            [other],
            colour="C0",
            label="to held-out images" if first else "",
            marker="s",
            horizontal=True,
        )
        labels.append(f"{law}, {group.case.sampler.upper()}")
        at.append(float(place))
    level = nearest(groups[0], "held_out", "train")
    axes.axvline(
        level.mean,
        color=plot.muted(),
        linestyle=(0, (4, 2)),
        linewidth=1.1,
        label="noised held-out images to training images",
    )
    axes.set_yticks(at, labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("median distance")
    axes.set_title("Nearest neighbours")


def _copy_words(groups: Sequence[Group]) -> str:
    parts = [
        f"{law} score, {g.case.sampler.upper()}: {percent(nearest(g, law, 'copies').mean)} copies"
        for law in ("exact", "network")
        for g in groups
    ]
    level = number(nearest(groups[0], "held_out", "train").mean)
    return (
        f"Digits by the exact score of the noised training half and by the network: {listed(parts)} (nearest training "
        "image at less than a third of the distance of the second). Right: median distances; a held-out image, noised "
        f"to the stopping time as the samples are, is {level} from its nearest training image, the dashed line."
    )


def _with_clouds(found: Sequence[Group]) -> list[Group]:
    own = of_kind(found, "data", "score", "field")
    if own:
        return own
    chosen = [sweep(found, "error")[-1:], sweep(found, "kwon")[-1:], best_network(found), sweep(found, "sde")[-1:]]
    return [group for groups in chosen for group in groups] or of_kind(found, "mixture")[:1]


def _in_the_plane(stored: Mapping[str, Points]) -> dict[str, Points]:
    """Both clouds in the plane; above two dimensions the reference's principal axes."""
    pair = {"reference": np.asarray(stored["reference"]), "sampler": np.asarray(stored["sampled"])}
    reference = pair["reference"]
    if reference.shape[1] == 2:
        return pair
    if reference.shape[1] == 1:
        return {name: np.column_stack([x[:, 0], np.zeros(len(x))]) for name, x in pair.items()}
    axes = np.linalg.svd(reference - reference.mean(0), full_matrices=False)[2][:2]
    return {name: (x - reference.mean(0)) @ axes.T for name, x in pair.items()}


def _is_mixture(group: Group) -> bool:
    return group.case.kind in ("mixture", "network")


def _frame(pairs: Sequence[Mapping[str, Points]]) -> tuple[tuple[float, float], float]:
    """Centre and half width of the square that holds every cloud; panels that share it can be compared."""
    both = np.concatenate([cloud for pair in pairs for cloud in pair.values()])
    low, high = both.min(0), both.max(0)
    half = float((high - low).max()) / 2 * 1.08
    return (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2), half or 1.0
