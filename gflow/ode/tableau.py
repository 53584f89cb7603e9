"""Butcher tableaux as exact data. Knows no state and no step."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta method, y1 = y0 + h sum b_i k_i, k_i = v(t + c_i h, y0 + h sum a_ij k_j).

    Stages, nodes and FSAL are derived; coefficients become floats only inside a step.

    Raises:
        ValueError: rows that are not strictly lower triangular, or weights that do not sum to 1.
    """

    name: str
    """Name of the method; with the order it identifies it."""
    order: int
    """Order of convergence."""
    a: tuple[tuple[Fraction, ...], ...]
    """Row i holds the i coefficients of stage i (0-based): the strict lower triangle."""
    b: tuple[Fraction, ...]
    """Weights of the step."""
    b_embedded: tuple[Fraction, ...] | None = None
    """Weights of the embedded comparison method, or None."""
    embedded_order: int | None = None
    """Order of the embedded method, or None."""

    def __post_init__(self) -> None:
        """Check shapes and consistency."""
        if [len(row) for row in self.a] != list(range(len(self.b))):
            raise ValueError(f"{self.name}: row i of a must have i entries for i = 0..{len(self.b) - 1}")
        for label, weights in (("b", self.b), ("b_embedded", self.b_embedded)):
            if weights is not None and sum(weights) != 1:
                raise ValueError(f"{self.name}: sum({label}) = {sum(weights)}, must be 1")
        if (self.b_embedded is None) != (self.embedded_order is None):
            raise ValueError(f"{self.name}: b_embedded and embedded_order go together")
        if self.b_embedded is not None and len(self.b_embedded) != len(self.b):
            raise ValueError(f"{self.name}: b_embedded needs {len(self.b)} entries, got {len(self.b_embedded)}")

    def __hash__(self) -> int:
        """By name and order: a step looks its weights up, and hashing 40 fractions would cost more than a stage."""
        return hash((self.name, self.order))

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.b)

    @property
    def c(self) -> tuple[Fraction, ...]:
        """Nodes: the row sums of a."""
        return tuple(sum(row, Fraction(0)) for row in self.a)

    @property
    def fsal(self) -> bool:
        """Whether the last stage is the first stage of the next step."""
        return self.stages > 1 and self.b[-1] == 0 and self.a[-1] == self.b[:-1]

    @property
    def b_error(self) -> tuple[Fraction, ...] | None:
        """Weights of the error estimate, b - b_embedded."""
        if self.b_embedded is None:
            return None
        return tuple(p - q for p, q in zip(self.b, self.b_embedded, strict=True))


def _row(text: str) -> tuple[Fraction, ...]:
    return tuple(Fraction(word) for word in text.split())


def _rows(*texts: str) -> tuple[tuple[Fraction, ...], ...]:
    return tuple(_row(text) for text in texts)


EULER = ButcherTableau("Euler", 1, _rows(""), _row("1"))
"""Euler's method: order 1, one stage."""
MIDPOINT = ButcherTableau("midpoint", 2, _rows("", "1/2"), _row("0 1"))
"""The explicit midpoint rule: order 2, two stages."""
HEUN = ButcherTableau("Heun", 2, _rows("", "1"), _row("1/2 1/2"))
"""Heun's method, the explicit trapezoidal rule: order 2, two stages."""
RK4 = ButcherTableau("RK4", 4, _rows("", "1/2", "0 1/2", "0 0 1"), _row("1/6 1/3 1/3 1/6"))
"""The classical Runge-Kutta method: order 4, four stages."""
HEUN_EULER = ButcherTableau("Heun-Euler", 2, _rows("", "1"), _row("1/2 1/2"), _row("1 0"), 1)
"""Heun's method with Euler's embedded: order 2(1), two stages."""
BOSH3 = ButcherTableau(
    "Bogacki-Shampine",
    3,
    _rows("", "1/2", "0 3/4", "2/9 1/3 4/9"),
    _row("2/9 1/3 4/9 0"),
    _row("7/24 1/4 1/3 1/8"),
    2,
)
"""Bogacki and Shampine (1989), Appl. Math. Lett. 2, 321-325: order 3(2), four stages, FSAL."""
DOPRI5 = ButcherTableau(
    "Dormand-Prince",
    5,
    _rows(
        "",
        "1/5",
        "3/40 9/40",
        "44/45 -56/15 32/9",
        "19372/6561 -25360/2187 64448/6561 -212/729",
        "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
    ),
    _row("35/384 0 500/1113 125/192 -2187/6784 11/84 0"),
    _row("5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40"),
    4,
)
"""Dormand and Prince (1980), J. Comput. Appl. Math. 6, 19-26: order 5(4), seven stages, FSAL."""
