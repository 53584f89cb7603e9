"""Flows of divergences as velocity fields on cell masses: conservative finite volumes, for ground truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import scipy.sparse
import torch
from jaxtyping import Float
from scipy.sparse.linalg import expm_multiply
from torch import Tensor

from gflow.fields.grid import Grid, LogDensity
from gflow.ratio import GeneratorLoss
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class FokkerPlanckFlow:
    """``d_t q = div(p grad (q/p))`` on cell masses: the flow of KL(q || p), Fokker-Planck (WGF-1).

    No flux through the walls of the box. Between cells i and j, a width w apart, mass flows at the rate
    ``sqrt(p_i p_j) (q_i/p_i - q_j/p_j) / w^2`` (Heida 2018; of Scharfetter-Gummel type): p is stationary
    exactly, the exact solution stays positive, KL falls by a sum over faces, and the error is of order 2 in w.
    Cells in which p is 0 are walls. The state has shape ``grid.cells``, time runs from 0; explicit steps need
    ``h`` of order w^2, ``positive_step``, and ``propagate`` needs none.

    Raises:
        ValueError: as ``Grid.log_masses``.
    """

    grid: Grid
    """The cells; dtype and device of the flow."""
    log_p: LogDensity
    """Log-density of the law to be reached, up to a constant; read at the centres only."""
    log_target: Float[Tensor, "*cells"] = field(init=False, repr=False)
    """Logarithms of the masses of p: where the flow ends."""
    _rates: tuple[tuple[Tensor, Tensor], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the density and form the rates of all faces."""
        target = self.grid.log_masses(self.log_p)
        object.__setattr__(self, "log_target", target)
        rates = []
        for axis, width in enumerate(self.grid.widths):
            below, above = _sides(target, axis)
            half = (above - below) / 2
            # Up and down the axis; -inf - -inf and -inf against a number are faces of walls.
            pair = (torch.where(half.isfinite(), (sign * half).exp() / width**2, 0.0) for sign in (1, -1))
            rates.append(tuple(pair))
        object.__setattr__(self, "_rates", tuple(rates))

    def __call__(self, t: Time, masses: Float[Tensor, "*cells"], /) -> Float[Tensor, "*cells"]:  # noqa: ARG002
        """The rate of change of each mass; linear in the masses, sum 0.

        Raises:
            ValueError: masses that do not fit the grid.
        """
        self.grid.require(masses)
        return _divergence(self.fluxes(masses), masses)

    def fluxes(self, masses: Float[Tensor, "*cells"], /) -> list[Tensor]:
        """Mass per time through the inner faces of each axis, positive up the axis."""
        sides = (_sides(masses, axis) for axis in range(self.grid.dim))
        return [up * below - down * above for (up, down), (below, above) in zip(self._rates, sides, strict=True)]

    def kl(self, masses: Float[Tensor, "*cells"], /) -> float:
        """KL(q || p) between the laws of cells; ``inf`` with mass in walls."""
        self.grid.require(masses)
        return float((torch.xlogy(masses, masses) - torch.where(masses > 0, masses * self.log_target, 0.0)).sum())

    @property
    def positive_step(self) -> float:
        """The largest step of Euler that keeps every law positive: one over the fastest rate out of a cell."""
        out = torch.zeros_like(self.log_target)
        for axis, (up, down) in enumerate(self._rates):
            below, above = _sides(out, axis)
            below += up
            above += down
        return float(1 / out.max())

    def propagate(self, masses: Float[Tensor, "*cells"], t: float, /) -> Float[Tensor, "*cells"]:
        """The masses after time ``t >= 0``, by scipy's action of the matrix exponential (CPU, float64).

        Al-Mohy and Higham (2011): to rounding, at a cost that grows with ``t / positive_step``.

        Raises:
            ValueError: a negative time, or masses that do not fit the grid.
        """
        self.grid.require(masses)
        if not t >= 0.0:
            raise ValueError(f"t: expected t >= 0, got {t}")
        start = masses.detach().reshape(-1).double().cpu().numpy()
        return torch.from_numpy(expm_multiply(t * self._matrix(), start)).to(masses).reshape(masses.shape)

    def _matrix(self) -> scipy.sparse.csr_array:
        """The generator, (k, k)."""
        size = self.log_target.numel()
        index = torch.arange(size).reshape(self.grid.cells)
        rows, columns, values = [], [], []
        for axis, (up, down) in enumerate(self._rates):
            below, above = (side.reshape(-1) for side in _sides(index, axis))
            up, down = (rate.reshape(-1).double().cpu() for rate in (up, down))
            rows += [above, below, below, above]
            columns += [below, below, above, above]
            values += [up, -up, down, -down]
        entries = (torch.cat(values).numpy(), (torch.cat(rows).numpy(), torch.cat(columns).numpy()))
        return scipy.sparse.coo_array(entries, shape=(size, size)).tocsr()


@dataclass(frozen=True, eq=False)
class FiniteVolumeFlow:
    """``d_t q = -div(q grad h(log p/q))`` on cell masses: MonoFlow of a generator loss (MONO-2), with ground truth.

    The flux is that of ``FokkerPlanckFlow`` times the slope of the secant of h between the log-ratios of both
    cells: mobility ``sqrt(p_i p_j)`` times the logarithmic mean of q/p (Maas 2011). Hence ``h = id`` is that flow,
    d KL/dt is minus a sum over faces of ``mobility (h(d_j) - h(d_i)) (d_j - d_i) / w^2`` (MONO-1), never positive
    where h is monotone, and D_phi falls likewise. Masses must be positive; cells in which p is 0 are walls and
    keep what they hold. Time from 0.

    Raises:
        ValueError: as ``Grid.log_masses``.
    """

    grid: Grid
    """The cells; dtype and device of the flow."""
    log_p: LogDensity
    """Log-density of the law to be reached, up to a constant."""
    loss: GeneratorLoss
    """The loss whose h it is."""
    linear: FokkerPlanckFlow = field(init=False, repr=False)
    """The flow for h = id, with the target and KL."""

    def __post_init__(self) -> None:
        """Form the linear flow."""
        object.__setattr__(self, "linear", FokkerPlanckFlow(self.grid, self.log_p))

    def __call__(self, t: Time, masses: Float[Tensor, "*cells"], /) -> Float[Tensor, "*cells"]:  # noqa: ARG002
        """The rate of change of each mass, sum 0.

        Raises:
            ValueError: masses that do not fit the grid, or that are not positive where p is.
        """
        d = self._log_ratio(masses)
        return _divergence(self._fluxes(masses, d), masses)

    def dissipation(self, masses: Float[Tensor, "*cells"], /) -> float:
        """``-d KL(q || p)/dt``, the sum over faces; for h = id the relative Fisher information. Raises like a call."""
        d = self._log_ratio(masses)
        climbs = [_difference(d, axis) for axis in range(self.grid.dim)]
        return float(sum((f * c).sum() for f, c in zip(self._fluxes(masses, d), climbs, strict=True)))

    def _log_ratio(self, masses: Tensor) -> Tensor:
        """Log p/q in each cell, 0 in walls."""
        self.grid.require(masses)
        wall = self.linear.log_target == -torch.inf
        if bad := int((~(masses > 0) & ~wall).sum()):
            raise ValueError(
                f"masses: {bad} of {masses.numel()} are not positive, so that h has no argument; take smaller steps"
            )
        return torch.where(wall, 0.0, self.linear.log_target - masses.log())

    def _fluxes(self, masses: Tensor, d: Tensor) -> list[Tensor]:
        slopes = (_secant(self.loss, *_sides(d, axis)) for axis in range(self.grid.dim))
        return [flux * slope for flux, slope in zip(self.linear.fluxes(masses), slopes, strict=True)]


def _secant(loss: GeneratorLoss, a: Tensor, b: Tensor) -> Tensor:
    """``(h(b) - h(a)) / (b - a)``; the derivative at the middle where the difference has lost a third of its digits."""
    gap = b - a
    near = gap.abs() < torch.finfo(gap.dtype).eps ** (1 / 3)
    return torch.where(near, loss.h_prime((a + b) / 2), (loss.h(b) - loss.h(a)) / torch.where(near, 1.0, gap))


def _sides(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Views of the cells below and above each inner face of an axis."""
    count = values.shape[axis] - 1
    return values.narrow(axis, 0, count), values.narrow(axis, 1, count)


def _difference(values: Tensor, axis: int) -> Tensor:
    """Above less below."""
    below, above = _sides(values, axis)
    return above - below


def _divergence(fluxes: list[Tensor], like: Tensor) -> Tensor:
    """What enters less what leaves each cell."""
    total = torch.zeros_like(like)
    for axis, flux in enumerate(fluxes):
        shape = list(flux.shape)
        shape[axis] = 1
        wall = flux.new_zeros(shape)
        total = total - torch.cat((wall, flux, wall), axis).diff(dim=axis)
    return total
