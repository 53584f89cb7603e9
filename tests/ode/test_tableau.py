"""The tableaux are what they say: rational order conditions, true at the order and false above it."""

from dataclasses import replace
from fractions import Fraction

import pytest

from gflow.ode import DOPRI5, EULER, HEUN, RK4, ButcherTableau
from tests.ode.problems import EMBEDDED, TABLEAUX, named
from tests.ode.trees import density, order_of, size, trees


def test_there_are_as_many_rooted_trees_as_there_should_be():
    assert [len(trees(n)) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]
    assert all(size(tree) == n for n in range(1, 7) for tree in trees(n))
    # The tall tree with four nodes has density 4!, the bush 4.
    assert {density(tree) for tree in trees(4)} == {4, 8, 12, 24}


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_order_conditions_hold_to_the_order_and_fail_above(tableau):
    assert order_of(tableau.a, tableau.b) == tableau.order


@pytest.mark.parametrize("tableau", **named(EMBEDDED))
def test_embedded_weights_have_their_order_and_fail_above(tableau):
    assert order_of(tableau.a, tableau.b_embedded) == tableau.embedded_order
    assert sum(tableau.b_error) == 0
    assert any(tableau.b_error)


def mutants():
    """DOPRI5 and RK4 with one coefficient of a moved by 1/1000."""
    for tableau in (DOPRI5, RK4):
        for i, row in enumerate(tableau.a):
            for j in range(i):
                moved = (*row[:j], row[j] + Fraction(1, 1000), *row[j + 1 :])
                yield pytest.param(
                    replace(tableau, a=(*tableau.a[:i], moved, *tableau.a[i + 1 :])), id=f"{tableau.name}-a{i}{j}"
                )


@pytest.mark.parametrize("mutant", list(mutants()))
def test_a_mutated_coefficient_breaks_an_order_or_fsal(mutant):
    good = order_of(mutant.a, mutant.b) == mutant.order
    if mutant.b_embedded is not None:
        good = good and order_of(mutant.a, mutant.b_embedded) == mutant.embedded_order and mutant.fsal
    assert not good


def test_nodes_and_fsal_are_derived():
    assert DOPRI5.c == tuple(map(Fraction, ("0", "1/5", "3/10", "4/5", "8/9", "1", "1")))
    assert [tableau.name for tableau in TABLEAUX if tableau.fsal] == ["Bogacki-Shampine", "Dormand-Prince"]
    row = (Fraction(1), *[Fraction(0)] * 5)
    assert not replace(DOPRI5, a=(*DOPRI5.a[:-1], row)).fsal  # b ends with 0, yet the last stage is elsewhere
    assert (EULER.stages, RK4.stages, DOPRI5.stages) == (1, 4, 7)
    assert EULER.b_error is None


def test_equal_tableaux_are_equal_keys_and_mutants_are_not():
    twin = replace(DOPRI5)
    assert twin == DOPRI5
    assert hash(twin) == hash(DOPRI5)
    assert replace(HEUN, b=(Fraction(1, 3), Fraction(2, 3))) != HEUN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": ((), (Fraction(1), Fraction(1)))}, "row i of a must have i entries"),
        ({"b": (Fraction(1, 2), Fraction(1, 3))}, r"sum\(b\) = 5/6, must be 1"),
        ({"b_embedded": (Fraction(1), Fraction(1)), "embedded_order": 1}, r"sum\(b_embedded\) = 2"),
        ({"b_embedded": (Fraction(1), Fraction(0))}, "go together"),
        ({"embedded_order": 1}, "go together"),
        ({"b_embedded": (Fraction(1),), "embedded_order": 1}, "needs 2 entries, got 1"),
    ],
)
def test_bad_tableaux_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=f"Heun: .*{message}"):
        replace(HEUN, **changes)


def test_a_users_own_tableau_is_data():
    ralston = ButcherTableau("Ralston", 2, ((), (Fraction(2, 3),)), (Fraction(1, 4), Fraction(3, 4)))
    assert order_of(ralston.a, ralston.b) == 2
    assert ralston.c == (0, Fraction(2, 3))
