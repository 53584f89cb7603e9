"""The floor of a ladder of errors: round-off, a plateau, or repeats that do not agree. Knows no run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gflow.ode.order_fit import Ladder, interval

# INT-4: below a hundred times round-off an error carries less than two digits.
_ROUND_OFF_MARGIN = 100.0
# Noise adds to an error as a sum of squares: a tenth of the error changes it by 0.5 %.
_PLATEAU_MARGIN = 10.0
# A mean slope below this is no convergence: the lowest order in use is the strong order 1/2.
_FLAT = 0.25


class FloorCause(Enum):
    """What limits the errors from below."""

    ROUND_OFF = "round-off in the dtype of the state"
    PLATEAU = "the error no longer falls at the fine end: Monte Carlo noise, or a part that does not depend on h"
    SPREAD = "the repeats do not agree that the error falls"


@dataclass(frozen=True)
class Floor:
    """Below which size an error says nothing about the order."""

    heights: tuple[float, ...]
    """One for each level; the safety factors, 100 on round-off and 10 on a plateau, are in."""
    cause: FloorCause


def find_floor(ladder: Ladder) -> tuple[Floor, tuple[int, ...]]:
    """The floor, and the levels where every repeat is above it."""
    hs, rms = ladder.hs.tolist(), ladder.rms.tolist()
    heights = (_ROUND_OFF_MARGIN * ladder.round_off).max(0).values
    above = (ladder.errors > heights).all(0).nonzero().flatten().tolist()
    cause = FloorCause.ROUND_OFF
    height = _PLATEAU_MARGIN * plateau([hs[i] for i in above], [rms[i] for i in above])
    if height > 0:
        heights, cause = heights.clamp_min(height), FloorCause.PLATEAU
        above = [i for i in above if rms[i] > height]
    if above and _swamped(ladder.at(above)):
        heights, cause, above = ladder.errors.max(0).values, FloorCause.SPREAD, []
    return Floor(tuple(heights.tolist()), cause), tuple(above)


def plateau(hs: Sequence[float], errors: Sequence[float]) -> float:
    """Height at which the errors stop falling at the fine end, the larger of the last two; 0 where they fall.

    Three levels must lie there, for two may be on either side of a change of sign.
    """
    if len(errors) < 3:
        return 0.0
    height = max(errors[-2:])
    return height if height >= errors[-3] * (hs[-2] / hs[-3]) ** _FLAT else 0.0


def _swamped(ladder: Ladder) -> bool:
    """Whether the fall from the coarsest to the finest level is lost between the repeats.

    It is where its mean is neither larger than the standard deviation (which decides up to six repeats) nor
    than Student's half-width.
    """
    falls = (ladder.errors[:, 0] / ladder.errors[:, -1]).log().tolist()
    if len(falls) == 1:
        return False
    fall = interval(falls)
    return fall.mean <= statistics.stdev(falls) and fall.lo <= 0
