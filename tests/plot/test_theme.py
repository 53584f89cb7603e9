"""The palette stays apart for every reader, on both pages; a theme leaves nothing behind."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from gflow.plot import COLOURS, PAGES, PALETTES, RUNGS, ink, page, theme

# Severity 1.0 of Machado, Oliveira and Fernandes (2009), on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour, deficiency):
    xyz = _TO_XYZ @ np.clip(DEFICIENCIES[deficiency] @ linear(colour), 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    high, low = sorted((float(_TO_XYZ[1] @ linear(c)) for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("deficiency", list(DEFICIENCIES))
def test_any_two_colours_of_a_palette_stay_apart(mode, deficiency):
    gaps = [np.linalg.norm(lab(a, deficiency) - lab(b, deficiency)) for a, b in combinations(PALETTES[mode], 2)]
    assert min(gaps) > 11  # five times a just noticeable difference


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_lines_stand_out_from_the_page_and_text_can_be_read(mode):
    assert min(contrast(colour, PAGES[mode]) for colour in PALETTES[mode]) > 3  # WCAG 2.1 for graphics
    with theme(mode):
        assert contrast(ink(), page()) > 7
        assert page() == PAGES[mode]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_marks_in_ink_can_be_told_from_every_colour(mode):
    with theme(mode):
        assert min(contrast(colour, ink()) for colour in PALETTES[mode]) > 1.5


def test_a_place_of_the_palette_has_one_hue_in_both_themes():
    for pair in zip(*PALETTES.values(), strict=True):
        light, dark = (np.arctan2(*lab(colour, "none")[:0:-1]) for colour in pair)
        assert abs(np.angle(np.exp(1j * (light - dark)), deg=True)) < 15


def test_rungs_and_terms_of_a_budget_have_colours_of_their_own():
    terms = ("truncation", "initial", "model", "discretization", "monte_carlo")
    for names in (RUNGS, terms):
        assert len({COLOURS[name] for name in names}) == len(names)


def test_a_theme_is_undone_and_every_quantity_has_a_colour_of_the_palette():
    before = dict(matplotlib.rcParams)
    with theme("dark"):
        assert matplotlib.rcParams["savefig.facecolor"] == "none"
    assert dict(matplotlib.rcParams) == before
    assert set(COLOURS.values()) <= {f"C{k}" for k in range(6)}
