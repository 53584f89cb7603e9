"""The power law behind a ladder of errors, and whether its slopes are settled. Knows no run and no floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from gflow.estimate import Estimate

LEVEL = 0.95
_CONSTANT, _ORDER = 0, 1
# Order 1/2 against a quarter of the finest step, the slowest case measured, has ten digits after 12.
_ITERATIONS = 30
# Differences of order 0 show nothing of an error; the clamp keeps their logarithm finite, and the residual tells.
_LOWEST = 0.05
# Terms of higher order turn the moves of a deterministic run by less.
_STRAIGHT = 0.9


@dataclass(frozen=True)
class Ladder:
    """Errors of independent repeats on levels of falling step size, float64 on the CPU."""

    hs: Float[Tensor, " levels"]
    partners: Float[Tensor, " levels"]
    """Step size of the run that each error was taken against; 0 for a closed form."""
    errors: Float[Tensor, "repeats levels"]
    """Root mean square over the state."""
    round_off: Float[Tensor, "repeats levels"]
    """How far round-off may have moved each error."""
    coherence: Float[Tensor, " levels"]
    """Cosine between the last two moves of the end state on the way to each level, over all repeats."""

    @property
    def rms(self) -> Float[Tensor, " levels"]:
        """Root mean square over the repeats: the strong error."""
        return self.errors.square().mean(0).sqrt()

    @property
    def relative_round_off(self) -> Float[Tensor, " levels"]:
        """How far round-off may have moved the mean log error."""
        return (self.round_off / self.errors).mean(0)

    def at(self, levels: Sequence[int]) -> Ladder:
        """Some of the levels."""
        i = torch.tensor(levels, dtype=torch.long)
        return Ladder(self.hs[i], self.partners[i], self.errors[:, i], self.round_off[:, i], self.coherence[i])

    def random_part(self, p: float) -> float:
        """Share of the squared error that is a martingale in the refinement; 0 for a deterministic error.

        With an error c h^p + m(h), where E|m(h) - m(g)|^2 = |m|^2 (h^2p - g^2p), two moves by a ratio r of
        steps have the cosine 1 / (1 + x (1 + r^p) / (1 - r^p)), x = |m|^2 / |c|^2.
        """
        cosine = float(self.coherence[-1])
        if cosine > _STRAIGHT:
            return 0.0
        r = math.pow(float(self.hs[-1] / self.hs[-2]), max(p, _LOWEST))
        x = (1 / max(cosine, 1e-6) - 1) * (1 - r) / (1 + r)
        return x / (1 + x)

    def shown(self, p: float) -> tuple[Float[Tensor, " levels"], Float[Tensor, " levels"]]:
        """The part of an order-p error that the difference to the partner shows, and its logarithmic slope in p.

        It is 1 - (g/h)^p for a deterministic error, the root of 1 - (g/h)^2p for a martingale.
        """
        ratio, share = self.partners / self.hs, self.random_part(p)
        q = ratio ** max(p, _LOWEST)
        square = (1 - share) * (1 - q) ** 2 + share * (1 - q**2)
        slope = -torch.xlogy(q * ((1 - share) * (1 - q) + share * q), ratio) / square
        return square.sqrt(), slope

    def slopes(self, p: float) -> Float[Tensor, "repeats pairs"]:
        """log-log slopes between neighbours, of errors whose part that the partner hides is put back."""
        return (self.errors / self.shown(p)[0]).log().diff(dim=1) / self.hs.log().diff()

    def slope_margins(self) -> Float[Tensor, " pairs"]:
        """How far round-off may have moved the mean slopes."""
        relative = self.relative_round_off
        return (relative[1:] + relative[:-1]) / self.hs.log().diff().abs()


@dataclass(frozen=True)
class PowerLaw:
    """Least squares of log error = log C + p log h + a h (+ b h^2), or of its difference to the partner's."""

    coefficients: Float[Tensor, " terms"]
    """log C, p, a (and b), the last in units of the coarsest step."""
    inverse: Float[Tensor, "terms levels"]
    """Change of the coefficients with the log errors."""
    residual: Float[Tensor, " levels"]

    def half_width(self, k: int) -> float:
        """Student's half-width of coefficient ``k`` from the residual, which needs a degree of freedom."""
        freedom = len(self.residual) - len(self.coefficients)
        spread = float(self.residual.norm() * self.inverse[k].norm()) / math.sqrt(freedom)
        return float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * spread


def power_law(ladder: Ladder, log_errors: Float[Tensor, " levels"], corrections: int = 1) -> PowerLaw:
    """The power law of one row with ``corrections`` terms a h, b h^2, by Newton's iteration for the partner's part.

    Linear, and so exact at once, for a closed form.
    """
    p, last = 1.0, math.inf
    for _ in range(_ITERATIONS):
        design, offset = _linearised(ladder, p, corrections)
        inverse = torch.linalg.pinv(design)
        theta = inverse @ (log_errors - offset)
        p, last = float(theta[_ORDER]), p
        if abs(p - last) < 1e-12 * abs(p):
            break
    return PowerLaw(theta, inverse, log_errors - offset - design @ theta)


def _linearised(ladder: Ladder, p: float, corrections: int) -> tuple[Float[Tensor, "levels terms"], Tensor]:
    """The law near order p as design @ coefficients + offset; each term is seen as far as the partner shows it."""
    shown, slope = ladder.shown(p)
    relative = ladder.hs / ladder.hs[0]
    terms = [relative**k * ladder.shown(p + k)[0] / shown for k in range(1, corrections + 1)]
    design = torch.stack((torch.ones_like(shown), ladder.hs.log() + slope, *terms), 1)
    return design, shown.log() - p * slope


def fit(ladder: Ladder) -> tuple[Estimate, Estimate]:
    """The order and log C, averaged over the repeats, with 95 % intervals.

    Student's interval, from the residual for one repeat and between several, knows no misfit that is smooth:
    alone it covers 18 % of smooth ladders with ratio 1.5. Twice the change that a term b h^2 makes, as far as
    the repeats agree on it, brings this to 93 % or more. What round-off may have done to the errors is added.
    """
    rows = ladder.errors.log()
    laws = [power_law(ladder, row) for row in rows]
    refined = [power_law(ladder, row, corrections=2) for row in rows]
    return _estimate(ladder, laws, refined, _ORDER), _estimate(ladder, laws, refined, _CONSTANT)


def _estimate(ladder: Ladder, laws: list[PowerLaw], refined: list[PowerLaw], k: int) -> Estimate:
    values = [float(law.coefficients[k]) for law in laws]
    change = interval([float(law.coefficients[k]) - value for law, value in zip(refined, values, strict=True)])
    misfit = 2 * max(change.lo, -change.hi, 0.0)
    if len(laws) == 1:
        misfit = max(misfit, laws[0].half_width(k))
    rounded = (laws[0].inverse[k].abs() * ladder.relative_round_off).sum()
    return interval(values, margin=misfit + float(rounded))


def interval(values: Sequence[float], *, margin: float = 0.0) -> Estimate:
    """Mean of repeats with Student's half-width, 0 for one repeat, plus ``margin``."""
    pooled = Estimate.pool((Estimate.exact(v) for v in values), level=LEVEL)
    half = margin + (pooled.hi - pooled.mean if pooled.n > 1 else 0.0)
    return Estimate(pooled.mean, pooled.mean - half, pooled.mean + half, pooled.n, LEVEL)


def finest_slope(ladder: Ladder, p: float) -> Estimate:
    """Local order between the two finest levels, averaged over the repeats."""
    return interval(ladder.slopes(p)[:, -1].tolist(), margin=float(ladder.slope_margins()[-1]))


def settled(ladder: Ladder, p: float, tolerance: float) -> bool:
    """Whether the finest local slope is p to the tolerance, and the slopes before run towards it.

    The change of a slope p + a h is halved with h. One that falls more slowly than the root of h, or turns
    round, comes from terms whose end is not in sight; a tenth of the tolerance is let pass.
    """
    finest = finest_slope(ladder, p)
    if finest.lo > p + tolerance or finest.hi < p - tolerance:
        return False
    before, last = ladder.slopes(p).diff(dim=1)[:, -2:].T
    change = interval(last.tolist(), margin=float(ladder.slope_margins()[-2:].sum()))
    if change.lo <= tolerance / 10 and change.hi >= -tolerance / 10:
        return True
    # Where between two levels a slope p + a h has its value: so a ladder need not be geometric.
    where = ladder.hs.diff() / ladder.hs.log().diff()
    expected = float((where[-1] - where[-2]) / (where[-2] - where[-3]))
    drift = float(before.mean())
    return 0 <= change.mean * drift <= max(expected, math.sqrt(expected)) * drift**2
