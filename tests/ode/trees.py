"""Order of a tableau from the rooted-tree conditions, in exact arithmetic (Butcher 1963; Hairer et al. II.2)."""

from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, product
from math import prod

Tree = tuple  # a root with a sorted tuple of subtrees


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """All rooted trees with ``order`` nodes."""
    return tuple(sorted({tuple(sorted(kids)) for kids in _forests(order - 1, order - 1)}))


@cache
def _forests(total: int, largest: int) -> tuple[Tree, ...]:
    """All multisets of trees with ``total`` nodes, none of more than ``largest``."""
    if total == 0:
        return ((),)
    if largest == 0:
        return ()
    return tuple(
        rest + group
        for count in range(total // largest + 1)
        for rest, group in product(
            _forests(total - count * largest, largest - 1),
            combinations_with_replacement(trees(largest), count) if count else ((),),
        )
    )


def size(tree: Tree) -> int:
    return 1 + sum(size(kid) for kid in tree)


def density(tree: Tree) -> int:
    return size(tree) * prod(density(kid) for kid in tree)


def weight(tree: Tree, a, b) -> Fraction:
    """The elementary weight sum_i b_i Phi_i(tree)."""
    return _dot(b, _stages(tree, a))


def _stages(tree: Tree, a) -> list[Fraction]:
    kids = [_stages(kid, a) for kid in tree]
    return [prod((_dot(row, kid) for kid in kids), start=Fraction(1)) for row in a]


def _dot(row, values) -> Fraction:
    """The sum over the entries of a row of a, which is shorter than the stages."""
    return sum((p * q for p, q in zip(row, values, strict=False)), Fraction(0))


def order_of(a, b, limit: int = 6, tolerance: float = 0.0) -> int:
    """The largest p <= limit for which every condition up to p holds, to ``tolerance`` (0: exactly)."""
    for p in range(1, limit + 1):
        if any(abs(weight(tree, a, b) - Fraction(1, density(tree))) > tolerance for tree in trees(p)):
            return p - 1
    return limit


def continuous_order_of(a, b_dense, limit: int = 5, tolerance: float = 0.0) -> int:
    """The largest p <= limit for which sum_i b_i(x) Phi_i(tree) = x^|tree| / density identically in x up to p."""
    powers = list(zip(*b_dense, strict=True))
    for p in range(1, limit + 1):
        for tree in trees(p):
            wanted = [Fraction(int(j == p), density(tree)) for j in range(1, max(p, len(powers)) + 1)]
            given = [weight(tree, a, b) for b in powers] + [Fraction(0)] * (p - len(powers))
            if any(abs(x - y) > tolerance for x, y in zip(given, wanted, strict=True)):
                return p - 1
    return limit
