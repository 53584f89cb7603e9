"""The palette: colours stay apart for every eye, and on the page."""

from __future__ import annotations

import itertools

import matplotlib
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from matplotlib.colors import to_hex, to_rgb

from gflow.plot import COLOURS, PAGES, PALETTES, ink, muted, panels, theme, ticks_at

# Machado, Oliveira, Fernandes (2009), severity 1, linear sRGB.
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
SCHEMES = ("light", "dark")


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_pairs_of_colours_stay_apart_for_every_eye(scheme: str, vision: str) -> None:
    seen = [lab(VISION[vision] @ linear(c)) for c in PALETTES[scheme]]
    # 20 CIELAB units: neighbours of the original Okabe-Ito palette come as close as 16.
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 20


@pytest.mark.parametrize("scheme", SCHEMES)
def test_colours_and_text_stand_out_from_the_page(scheme: str) -> None:
    assert min(contrast(c, PAGES[scheme]) for c in PALETTES[scheme]) > 2.8  # WCAG asks 3 of lines
    with theme(scheme):
        assert contrast(ink(), PAGES[scheme]) > 7
        assert contrast(muted(), PAGES[scheme]) > 4.5


def test_a_theme_leaves_no_trace() -> None:
    before = dict(matplotlib.rcParams)
    with theme("dark"):
        assert dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before


def test_a_named_colour_follows_the_theme() -> None:
    drawn = []
    for scheme in SCHEMES:
        with theme(scheme):
            _, (axes,) = panels()
            (line,) = axes.plot([0, 1], [0, 1], color=COLOURS["global"])
            drawn.append(to_hex(line.get_color()))
    assert [d.upper() for d in drawn] == [PALETTES[s][1] for s in SCHEMES]


def test_an_unknown_theme_is_refused() -> None:
    with pytest.raises((ValueError, TypeCheckError), match="'sepia'"), theme("sepia"):
        pass


def test_ticks_stand_at_the_sweep_and_nowhere_else() -> None:
    with theme("light"):
        _, (axes,) = panels()
        axes.set_xscale("log")
        ticks_at(axes.xaxis, [8, 32, 0.5])
        assert [t.get_text() for t in axes.get_xticklabels()] == ["8", "32", "0.5"]
        assert len(axes.xaxis.get_minorticklocs()) == 0
