"""Parameter flows of the affine generator, in closed form: its critic tracks, is frozen, or lags behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode import DOPRI5, ExplicitRK, PIController, solve_ivp
from gflow.problems.checks import require_like, require_shape, spectrum
from gflow.problems.gaussian import Gaussian
from gflow.transport import bures_squared
from gflow.velocity import Time

Theta = Mapping[str, Tensor]
"""Parameters of the generator: ``m`` (d,) and ``A`` (d, d)."""
Critic = Mapping[str, Tensor]
"""The Gaussian N(m, S) that the critic takes for the generator's law: ``m`` (d,) and ``S`` (d, d)."""

# Of the solve behind a flow without closed form: the error grows to some 1e-12 over its hundreds of steps.
_TOLERANCE = 1e-12
# Of |P| |S_0|: a commutator below is rounding, and treating it as 0 costs no more.
_COMMUTE = 1e-13


@dataclass(frozen=True, eq=False)
class AffineGenerator:
    """``g(z) = m + A z``, z ~ N(0, I), trained towards p = N(mu, P) by the reverse KL divergence.

    The critic that takes the generator's law q for N(m_c, S_c) has the log-ratio log p - log N(m_c, S_c)
    and moves samples along its gradient ``v(x) = -P^{-1}(x - mu) + S_c^{-1}(x - m_c)``; the parameters
    follow ``F(theta, critic) = E[J^T v(g(z))]``, J the Jacobian of g in theta. As E[J^T J] = I here, the
    tracked flow is the Wasserstein gradient flow of KL(q || p) itself (PARAM-3). Training time runs
    from 0; parameters have the dtype and device of the target.
    """

    target: Gaussian
    """The law p to be reached."""
    _precision: Float[Tensor, "d d"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Invert P once."""
        object.__setattr__(self, "_precision", (self.target.axes / self.target.values) @ self.target.axes.mT)

    def velocity(self, theta: Theta, critic: Critic, /) -> dict[str, Tensor]:
        """``F(theta, critic)``; differentiable by ``torch.func`` in both.

        Raises:
            ValueError: other blocks than ``m, A`` and ``m, S``, or shapes, dtypes or devices that are not the target's.
        """
        m, A = self._parameters(theta)
        _require_blocks("critic", critic, "S", self.target)
        believed = critic["S"].inverse()
        return {
            "m": believed @ (m - critic["m"]) - self._precision @ (m - self.target.mu),
            "A": (believed - self._precision) @ A,
        }

    def tracking(self, t: Time, theta: Theta, /) -> dict[str, Tensor]:  # noqa: ARG002
        """The field whose critic is optimal at every stage: ``m' = -P^{-1}(m - mu), A' = A^{-T} - P^{-1} A``.

        ``F(theta, critic(theta))`` with the condition number of A in place of its square. Raises like ``velocity``.
        """
        m, A = self._parameters(theta)
        return {"m": -self._precision @ (m - self.target.mu), "A": A.inverse().mT - self._precision @ A}

    def frozen(self, critic: Critic, /) -> FrozenCritic:
        """The field whose critic is held; one solve per refresh is a training loop with stale critics (PARAM-8)."""
        return FrozenCritic(self, critic)

    def joint(self, kappa: float, /) -> LaggingCritic:
        """The field on ``{"theta": ..., "critic": ...}`` whose critic follows at rate kappa (PARAM-9)."""
        return LaggingCritic(self, kappa)

    def critic(self, theta: Theta, /) -> dict[str, Tensor]:
        """The optimal critic of theta: ``m`` and ``S = A A^T``. Raises like ``velocity``."""
        m, A = self._parameters(theta)
        return {"m": m, "S": A @ A.mT}

    def exact(self, t: float, theta: Theta, /) -> dict[str, Tensor]:
        """Where the tracked flow is after time ``t >= 0`` from theta (ORC-2).

        m and the law's covariance ``A A^T = S_t = P + E (S_0 - P) E``, ``E = exp(-P^{-1} t)``, are closed
        forms. So is A where S_0 and P commute: ``S_t^{1/2} S_0^{-1/2} A_0``. Otherwise
        ``A' = (S_t^{-1} - P^{-1}) A`` has no elementary solution, and the rotation in A, not the law,
        is solved to about 1e-11. Computed in float64, returned in the dtype of theta; not differentiable.

        Raises:
            ValueError: ``t`` negative or not finite, ``A A^T`` singular to rounding, or as ``velocity`` does.
        """
        m, A = self._parameters(theta)
        if not 0.0 <= t < math.inf:
            raise ValueError(f"t: must be finite and not negative, got {t}")
        spectrum("theta: A A^T", A.double() @ A.double().mT)
        p, axes = torch.linalg.eigh(self.target.C.double())
        offset = axes.mT @ (m - self.target.mu).double()
        mean = self.target.mu + axes @ (torch.exp(-t / p) * offset)
        return {"m": mean.to(m), "A": (axes @ _tracked(p, t, axes.mT @ A.double())).to(A)}

    def w2_squared(self, theta0: Theta, theta1: Theta, /) -> float:
        """W2 squared between the laws of two generators (ORC-1). Raises like ``velocity``."""
        first, second = self.critic(theta0), self.critic(theta1)
        return bures_squared(first["m"], first["S"], second["m"], second["S"])

    def _parameters(self, theta: Theta) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
        """The parameters m and A, checked."""
        _require_blocks("theta", theta, "A", self.target)
        return theta["m"], theta["A"]


@dataclass(frozen=True, eq=False)
class FrozenCritic:
    """``theta' = F(theta, critic)`` with the critic held: a linear flow. Made by ``AffineGenerator.frozen``.

    Raises:
        ValueError: a critic of another shape, dtype or device than the target's, or an ``S`` that is
            not symmetric positive definite.
    """

    generator: AffineGenerator
    critic: Critic
    """What the critic takes the generator's law for."""

    def __post_init__(self) -> None:
        """Check the critic."""
        _require_blocks("critic", self.critic, "S", self.generator.target)
        spectrum("critic.S", self.critic["S"])

    def __call__(self, t: Time, theta: Theta, /) -> dict[str, Tensor]:  # noqa: ARG002
        """The velocity of theta."""
        return self.generator.velocity(theta, self.critic)

    def exact(self, t: float, theta: Theta, /) -> dict[str, Tensor]:
        """Where this flow is after time ``t``, of either sign: ``A_t = exp(K t) A``, ``K = S_c^{-1} - P^{-1}``."""
        slope = self.critic["S"].inverse() - self.generator._precision
        rates, axes = torch.linalg.eigh((slope + slope.mT) / 2)
        growth = torch.expm1(rates * t)
        # expm1(k t) / k, which is t at k = 0: there the critic takes q for p along an axis.
        reach = torch.where(rates == 0, t, growth / torch.where(rates == 0, 1.0, rates))
        start = self.generator.velocity(theta, self.critic)
        return {
            "m": theta["m"] + (axes * reach) @ axes.mT @ start["m"],
            "A": theta["A"] + (axes * growth) @ axes.mT @ theta["A"],
        }


@dataclass(frozen=True, eq=False)
class LaggingCritic:
    """``theta' = F(theta, critic), critic' = kappa (critic*(theta) - critic)``. Made by ``AffineGenerator.joint``.

    The joint field on ``{"theta": {"m", "A"}, "critic": {"m", "S"}}``; start it at
    ``{"theta": theta, "critic": generator.critic(theta)}``. It stays within O(1/kappa) of the tracked
    flow, with ``critic = critic* - D critic*.F / kappa`` to first order (PARAM-9); explicit methods
    need steps of the order of 1/kappa.

    Raises:
        ValueError: ``kappa`` not positive and finite.
    """

    generator: AffineGenerator
    kappa: float
    """Rate of the critic per unit of the generator's time."""

    def __post_init__(self) -> None:
        """Check the rate."""
        if not 0.0 < self.kappa < math.inf:
            raise ValueError(f"kappa: must be positive and finite, got {self.kappa}")

    def __call__(self, t: Time, y: Mapping[str, Mapping[str, Tensor]], /) -> dict[str, dict[str, Tensor]]:  # noqa: ARG002
        """The velocity of the generator and of its critic."""
        theta, critic = y["theta"], y["critic"]
        optimal = self.generator.critic(theta)
        return {
            "theta": self.generator.velocity(theta, critic),
            "critic": {name: self.kappa * (optimal[name] - critic[name]) for name in ("m", "S")},
        }


def _require_blocks(name: str, blocks: Mapping[str, Tensor], matrix: str, target: Gaussian) -> None:
    """Raise ValueError unless the blocks are a mean ``m`` and a matrix that fit the target.

    Called at every evaluation, so it looks at no entry.
    """
    if set(blocks) != {"m", matrix}:
        raise ValueError(f"{name}: expected the blocks m and {matrix}, got {list(blocks)}")
    require_shape(f"{name}.m", blocks["m"], (target.dim,), "(d,)")
    require_shape(f"{name}.{matrix}", blocks[matrix], (target.dim, target.dim), "(d, d)")
    for key, x in blocks.items():
        require_like(f"{name}.{key}", x, target.mu, "the target")


def _tracked(p: Float[Tensor, " d"], t: float, a: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """A_t from A_0 = a in the axes of P = diag(p)."""
    start = a @ a.mT
    decay, gained = torch.exp(-t / p), -p * torch.expm1(-2.0 * t / p)
    mixing = (p.unsqueeze(1) - p) * start
    if float(mixing.abs().max()) <= _COMMUTE * float(p.max() * start.abs().max()):
        # The square of the flow map, symmetric here: S_t S_0^{-1} = E^2 + (I - E^2) P S_0^{-1}.
        root = a.inverse()
        square = torch.diag(decay * decay) + gained.unsqueeze(1) * (root.mT @ root)
        values, axes = torch.linalg.eigh((square + square.mT) / 2)
        flow_map: Tensor = (axes * values.sqrt()) @ axes.mT
        return flow_map @ a
    return _factor(p, start, t) @ _rotation(p, start, t, a)


def _rotation(p: Float[Tensor, " d"], start: Float[Tensor, "d d"], t: float, a: Tensor) -> Float[Tensor, "d d"]:
    """Q_t of ``A_t = L_t Q_t``, L the Cholesky factor of S and Q orthogonal.

    ``Q' = (L^{-1} K L - L^{-1} L') Q`` with ``K = S^{-1} - P^{-1}``. The bracket is skew and L^{-1} L' lower
    triangular, so with U the strict upper triangle of L^{-1} K L it is U - U^T: bounded, and 0 in the end.
    """

    def turning(s: Time, q: Tensor) -> Tensor:
        factor = _factor(p, start, s)
        inverse = torch.linalg.solve_triangular(factor, torch.eye(len(p), dtype=p.dtype, device=p.device), upper=False)
        upper: Tensor = torch.triu(inverse @ inverse.mT - (inverse / p) @ factor, 1)
        return (upper - upper.mT) @ q

    first: Tensor = torch.linalg.solve_triangular(_factor(p, start, 0.0), a, upper=False)
    controller = PIController(rtol=_TOLERANCE, atol=_TOLERANCE)
    return solve_ivp(turning, first, 0.0, t, method=ExplicitRK(DOPRI5), controller=controller).y1


def _factor(p: Float[Tensor, " d"], start: Float[Tensor, "d d"], t: Time) -> Float[Tensor, "d d"]:
    """The Cholesky factor of S_t."""
    factor: Tensor = torch.linalg.cholesky(tracked_covariance(p, start, t))
    return factor


def tracked_covariance(p: Float[Tensor, " d"], start: Float[Tensor, "d d"], t: Time) -> Float[Tensor, "d d"]:
    """``S_t = E S_0 E + (I - E^2) P`` in the axes of P = diag(p): a sum of positive terms, no cancellation."""
    decay = torch.exp(-t / p)
    return decay.unsqueeze(1) * start * decay - torch.diag(p * torch.expm1(-2 * t / p))
