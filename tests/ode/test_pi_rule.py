"""The formula of the PI controller, which its limits and its fixed point leave open."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from gflow.ode import PIController
from tests.strategies import floats


@given(floats(0.02, 0.99), floats(0.001, 1.0), floats(0.1, 2.0))
def test_an_accepted_step_is_followed_by_that_of_the_pi_rule(error, memory, h):
    """h' = .9 h err^-(1/5 - .75 .04) mem^.04 for an embedded order of 4 (Hairer, Norsett and Wanner II.4)."""
    state = torch.zeros(3, dtype=torch.float64)
    decision = PIController(rtol=0.0, atol=1.0).decide(h, state, state, torch.full_like(state, error), 4, memory)
    assert decision.accept
    assert decision.h / h == pytest.approx(0.9 * error ** -(1 / 5 - 0.03) * memory**0.04, rel=1e-12)
    assert decision.memory == pytest.approx(error)
