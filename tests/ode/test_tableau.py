"""The tableaux are what they say: rational order conditions, true at the order and false above it."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import scipy.integrate

from gflow.ode import DOPRI5, EULER, EXTRAGRADIENT, HEUN, RK4, RK4_38, TSIT5, ButcherTableau
from tests.ode.problems import CONTINUOUS, EMBEDDED, TABLEAUX, named
from tests.ode.trees import continuous_order_of, density, order_of, size, trees


def tolerance(tableau):
    """Tsitouras's coefficients are decimals; the conditions of all others hold exactly."""
    return 1e-15 if tableau.name == "Tsitouras" else 0.0


def order(tableau, weights):
    return order_of(tableau.a, weights, tolerance=tolerance(tableau))


def test_there_are_as_many_rooted_trees_as_there_should_be():
    assert [len(trees(n)) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]
    assert all(size(tree) == n for n in range(1, 7) for tree in trees(n))
    # The tall tree with four nodes has density 4!, the bush 4.
    assert {density(tree) for tree in trees(4)} == {4, 8, 12, 24}


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_order_conditions_hold_to_the_order_and_fail_above(tableau):
    assert order(tableau, tableau.b) == tableau.order


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_embedded_weights_have_their_order_and_fail_above(tableau):
    assert order(tableau, tableau.b_embedded) == tableau.embedded_order
    assert abs(sum(tableau.b_error)) <= tolerance(tableau)
    assert any(tableau.b_error)


def mutants():
    """Tableaux of order 4 and 5 with one coefficient of a moved by 1/1000."""
    for tableau in (DOPRI5, TSIT5, RK4, RK4_38):
        for i, row in enumerate(tableau.a):
            for j in range(i):
                moved = (*row[:j], row[j] + Fraction(1, 1000), *row[j + 1 :])
                yield pytest.param(
                    replace(tableau, a=(*tableau.a[:i], moved, *tableau.a[i + 1 :])), id=f"{tableau.name}-a{i}{j}"
                )


@pytest.mark.parametrize("mutant", list(mutants()))
def test_a_mutated_coefficient_breaks_an_order_or_fsal(mutant):
    good = order(mutant, mutant.b) == mutant.order
    if mutant.b_embedded is not None:
        good = good and order(mutant, mutant.b_embedded) == mutant.embedded_order and mutant.fsal
    assert not good


# Continuous weights


def smooth_at_the_ends(tableau):
    """Whether the slope of the extension is k_1 at x = 0 and k_s at x = 1, that of the next step by FSAL."""
    first = [row[0] for row in tableau.b_dense]
    last = [sum((j + 1) * q for j, q in enumerate(row)) for row in tableau.b_dense]
    unit = [Fraction(0)] * (tableau.stages - 1)
    pairs = [*zip(first, [Fraction(1), *unit], strict=True), *zip(last, [*unit, Fraction(1)], strict=True)]
    return all(abs(p - q) <= tolerance(tableau) for p, q in pairs)


def continuous_order(tableau):
    return continuous_order_of(tableau.a, tableau.b_dense, tolerance=tolerance(tableau))


@pytest.mark.parametrize("tableau", **named(CONTINUOUS))
def test_continuous_weights_have_order_4_identically_in_x_and_join_smoothly(tableau):
    assert continuous_order(tableau) == 4
    assert smooth_at_the_ends(tableau)
    ends = zip(tableau.b_dense, tableau.b, strict=True)
    assert all(abs(sum(row) - b) <= tolerance(tableau) for row, b in ends)


@pytest.mark.parametrize("tableau", **named(CONTINUOUS))
def test_a_mutated_continuous_weight_breaks_its_order_or_the_joint(tableau):
    """Weight moved from one stage to another, in a way that keeps the ends and the sum of all."""
    for i, k in combinations(range(tableau.stages), 2):
        rows = list(map(list, tableau.b_dense))
        for row, sign in ((i, 1), (k, -1)):
            rows[row][1] += Fraction(sign, 1000)
            rows[row][2] -= Fraction(sign, 1000)
        mutant = replace(tableau, b_dense=tuple(map(tuple, rows)))
        assert not (continuous_order(mutant) == 4 and smooth_at_the_ends(mutant))


def test_dopri5_and_its_continuous_weights_are_scipys():
    theirs = scipy.integrate.RK45
    assert np.array_equal(np.array(DOPRI5.b_dense, dtype=float), theirs.P)
    assert np.array_equal(np.array(DOPRI5.b[:-1], dtype=float), theirs.B)
    np.testing.assert_allclose(-np.array(DOPRI5.b_error, dtype=float), theirs.E, rtol=0, atol=1e-16)


TSITOURAS_A = (
    "0.161",
    "-0.008480655492356989 0.3354806554923570",
    "2.897153057105493 -6.359448489975075 4.362295432869581",
    "5.325864828439257 -11.74888356406283 7.495539342889836 -0.09249506636175525",
    "5.861455442946420 -12.92096931784711 8.159367898576159 -0.07158497328140100 -0.02826905039406838",
    "0.09646076681806523 0.01 0.4798896504144996 1.379008574103742 -3.290069515436081 2.324710524099774",
)
TSITOURAS_ERROR = (
    "-0.001780011052226 -0.000816434459657 0.007880878010262 -0.144711007173263 0.582357165452555 "
    "-0.458082105929187 0.015151515151515"
)
# b_i(x) as published: a constant and the roots or quadratic factors beside x or x^2, lowest power first.
TSITOURAS_DENSE = (
    (-1.0530884977290216, (0, 1), (-1.3299890189751412, 1), (0.7139816917074209, -1.4364028541716351, 1)),
    (0.1017, (0, 0, 1), (1.2949852507374631, -2.1966568338249754, 1)),
    (2.490627285651252793, (0, 0, 1), (1.57803468208092486, -2.38535645472061657, 1)),
    (-16.54810288924490272, (0, 0, 1), (-1.21712927295533244, 1), (-0.61620406037800089, 1)),
    (47.37952196281928122, (0, 0, 1), (-1.203071208372362603, 1), (-0.658047292653547382, 1)),
    (-34.87065786149660974, (0, 0, 1), (-1.2, 1), (-0.666666666666666667, 1)),
    (2.5, (0, 0, 1), (-1, 1), (-0.6, 1)),
)


def test_tsit5_is_the_published_one_to_its_sixteen_digits():
    for text, row in zip(TSITOURAS_A, TSIT5.a[1:], strict=True):
        for word, ours in zip(text.split(), row, strict=True):
            assert abs(Fraction(word) - ours) <= 1e-15 * max(1.0, abs(ours))
    for word, ours in zip(TSITOURAS_ERROR.split(), TSIT5.b_error, strict=True):
        assert abs(Fraction(word) - ours) <= 1e-15
    for (constant, *factors), ours in zip(TSITOURAS_DENSE, TSIT5.b_dense, strict=True):
        published = np.array([constant])
        for factor in factors:
            published = np.polynomial.polynomial.polymul(published, factor)
        # The product of factors rounds in double precision, coefficients up to 88.
        np.testing.assert_allclose(published[1:], np.array(ours, dtype=float), rtol=1e-15, atol=1e-15)


def test_nodes_and_fsal_are_derived():
    assert DOPRI5.c == tuple(map(Fraction, ("0", "1/5", "3/10", "4/5", "8/9", "1", "1")))
    assert RK4_38.c == tuple(map(Fraction, ("0", "1/3", "2/3", "1")))
    assert [float(c) for c in TSIT5.c] == pytest.approx([0, 0.161, 0.327, 0.9, 0.9800255409045097, 1, 1], abs=1e-15)
    assert [x.name for x in TABLEAUX if x.fsal] == ["Bogacki-Shampine", "Dormand-Prince", "Tsitouras"]
    row = (Fraction(1), *[Fraction(0)] * 5)
    assert not replace(DOPRI5, a=(*DOPRI5.a[:-1], row)).fsal  # b ends with 0, yet the last stage is elsewhere
    assert (EULER.stages, EXTRAGRADIENT.stages, RK4.stages, DOPRI5.stages) == (1, 2, 4, 7)
    assert EULER.b_error is None


def test_equal_tableaux_are_equal_keys_and_mutants_are_not():
    twin = replace(DOPRI5)
    assert twin == DOPRI5
    assert hash(twin) == hash(DOPRI5)
    assert replace(HEUN, b=(Fraction(1, 3), Fraction(2, 3))) != HEUN


ONE = (Fraction(1),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": ((), (Fraction(1), Fraction(1)))}, "row i of a must have i entries"),
        ({"b": (Fraction(1, 2), Fraction(1, 3))}, r"sum\(b\) = 5/6, must be 1"),
        ({"b_embedded": (Fraction(1), Fraction(1)), "embedded_order": 1}, r"sum\(b_embedded\) = 2"),
        ({"b_embedded": (Fraction(1), Fraction(0))}, "go together"),
        ({"embedded_order": 1}, "go together"),
        ({"b_embedded": (Fraction(1),), "embedded_order": 1}, "needs 2 entries, got 1"),
        ({"b_dense": (ONE,)}, "b_dense must have a row for each stage"),
        ({"b_dense": (ONE, ONE + ONE)}, "b_dense must have a row for each stage, all of one length"),
        ({"b_dense": (ONE, ONE)}, "each row of b_dense must sum to its weight in b"),
    ],
)
def test_bad_tableaux_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=f"Heun: .*{message}"):
        replace(HEUN, **changes)


def test_a_users_own_tableau_is_data():
    ralston = ButcherTableau("Ralston", 2, ((), (Fraction(2, 3),)), (Fraction(1, 4), Fraction(3, 4)))
    assert order_of(ralston.a, ralston.b) == 2
    assert ralston.c == (0, Fraction(2, 3))
