"""Butcher tableaux as exact data. Knows no state and no step."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_ROUNDING = 1e-15
"""What published decimals may be off by; exact rationals are off by nothing."""


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
    b_dense: tuple[tuple[Fraction, ...], ...] | None = None
    """Continuous weights b_i(x), u(t + x h) = y0 + h sum_i b_i(x) k_i: row i holds the coefficients of x, x^2, ..."""

    def __post_init__(self) -> None:
        """Check shapes and consistency."""
        if [len(row) for row in self.a] != list(range(len(self.b))):
            raise ValueError(f"{self.name}: row i of a must have i entries for i = 0..{len(self.b) - 1}")
        for label, weights in (("b", self.b), ("b_embedded", self.b_embedded)):
            if weights is not None and abs(float(sum(weights) - 1)) > _ROUNDING:
                raise ValueError(f"{self.name}: sum({label}) = {sum(weights)}, must be 1")
        if (self.b_embedded is None) != (self.embedded_order is None):
            raise ValueError(f"{self.name}: b_embedded and embedded_order go together")
        if self.b_embedded is not None and len(self.b_embedded) != len(self.b):
            raise ValueError(f"{self.name}: b_embedded needs {len(self.b)} entries, got {len(self.b_embedded)}")
        if self.b_dense is not None:
            ends = [sum(row, Fraction(0)) for row in self.b_dense]
            if len(ends) != len(self.b) or len({len(row) for row in self.b_dense}) != 1:
                raise ValueError(f"{self.name}: b_dense must have a row for each stage, all of one length")
            if any(abs(float(p - q)) > _ROUNDING for p, q in zip(ends, self.b, strict=True)):
                raise ValueError(f"{self.name}: each row of b_dense must sum to its weight in b")

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
# Korpelevich (1976).
EXTRAGRADIENT = ButcherTableau("extragradient", 1, _rows("", "1"), _row("0 1"))
"""The extragradient method, an Euler prediction whose slope is used at the start: order 1, two stages (INT-7)."""
RK4 = ButcherTableau("RK4", 4, _rows("", "1/2", "0 1/2", "0 0 1"), _row("1/6 1/3 1/3 1/6"))
"""The classical Runge-Kutta method: order 4, four stages."""
# Kutta (1901).
RK4_38 = ButcherTableau("RK4 3/8", 4, _rows("", "1/3", "-1/3 1", "1 -1 1"), _row("1/8 3/8 3/8 1/8"))
"""The 3/8 rule: order 4, four stages."""
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
# Continuous weights by Shampine (1986), Math. Comp. 46, 135-150.
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
    _rows(
        "1 -8048581381/2820520608 8663915743/2820520608 -12715105075/11282082432",
        "0 0 0 0",
        "0 131558114200/32700410799 -68118460800/10900136933 87487479700/32700410799",
        "0 -1754552775/470086768 14199869525/1410260304 -10690763975/1880347072",
        "0 127303824393/49829197408 -318862633887/49829197408 701980252875/199316789632",
        "0 -282668133/205662961 2019193451/616988883 -1453857185/822651844",
        "0 40617522/29380423 -110615467/29380423 69997945/29380423",
    ),
)
"""Dormand and Prince (1980), J. Comput. Appl. Math. 6, 19-26: order 5(4), seven stages, FSAL."""
# The published decimals of 16 digits satisfy the order conditions to 1e-14; these are the nearest that satisfy them to
# 3e-20, by a Newton step that changes none by more than 8e-16.
TSIT5 = ButcherTableau(
    "Tsitouras",
    5,
    _rows(
        "",
        "0.161",
        "-0.00848065549235699395096549 0.335480655492356993950965",
        "2.89715305710549357552045 -6.35944848997507511284633 4.36229543286958153732588",
        "5.32586482843925681285831 -11.7488835640628282524808 7.49553934288983636967183 -0.0924950663617552450905829",
        "5.86145544294642028788442 -12.9209693178471097699347 8.15936789857615885820359 -0.0715849732814009918650477 "
        "-0.0282690503940683842882131",
        "0.0964607668180652244535264 0.0100000000000000173600502 0.479889650414499557491123 1.37900857410374197830399 "
        "-3.29006951543608087227161 2.32471052409977409466292",
    ),
    _row(
        "0.0964607668180652244535264 0.0100000000000000173600502 0.479889650414499557491123 1.37900857410374197830399 "
        "-3.29006951543608087227161 2.32471052409977409466292 0"
    ),
    _row(
        "0.0982407778702909953636384 0.0108164344596567660582513 0.472008772404237559786346 1.52371958127700489140245 "
        "-3.87242668088863609425932 2.78279263002896103258194 -0.0151515151515151509332973"
    ),
    4,
    _rows(
        "1 -2.76370619727482595273455 2.91325546182191280328321 -1.05308849772902162609513",
        "0 0.131700000000000231889309 -0.223400000000000394338417 0.101700000000000179809159",
        "0 3.9302962368947513444088 -5.94103387213150445885311 2.49062728565125267193543",
        "0 -12.4110771669336772273612 30.3381886302823223679383 -16.5481028892449031622732",
        "0 37.5093134165110389725274 -88.1789048947664014341413 47.3795219628192815893423",
        "0 -27.8965262891972873082776 65.0918946747936709952069 -34.8706578614966095922664",
        "0 1.49999999999999993954778 -3.99999999999999987909555 2.49999999999999993954778",
    ),
)
"""Tsitouras (2011), Comput. Math. Appl. 62, 770-775: order 5(4), seven stages, FSAL."""
