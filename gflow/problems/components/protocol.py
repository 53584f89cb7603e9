"""What the components of a mixture can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from gflow.lipschitz.mixed import AffineMix
from gflow.velocity import Time

# Numbers in the largest temporary of one block of rows: 64 MiB in float64.
BLOCK = 2**23


@runtime_checkable
class Components(Protocol):
    """k Gaussians in R^d; the mixture's log-weights (k,) come with each call."""

    @property
    def means(self) -> Float[Tensor, "k d"]:
        """The centres."""
        ...

    def noised(self, alpha: Time, sigma: Time) -> Components:
        """The components of ``alpha x + sigma z``."""
        ...

    def log_prob(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
        """The log-density."""
        ...

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """The gradient of the log-density."""
        ...

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """The Hessian of the log-density."""
        ...

    def affine_mix(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> AffineMix:
        """The score at ``x`` as a mix of the components' affine scores: arrays (n, k, d)."""
        ...

    def width(self) -> int:
        """Numbers per point in the largest temporary of ``hessian``."""
        ...

    def covariances(self) -> Tensor:
        """(k,) variances where isotropic, else (k, d, d)."""
        ...

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Samples of the components ``index`` from standard normal ``z``."""
        ...


def covariance(gamma: Float[Tensor, "n k"], deviation: Float[Tensor, "n k d"]) -> Float[Tensor, "n d d"]:
    """``sum_k gamma_k e_k e_k^T`` of deviations from the mean: no cancellation, unlike E s s^T - ..."""
    return (gamma.unsqueeze(2) * deviation).mT @ deviation
