"""Velocity fields of generative flows, each stating its own direction of time."""

from gflow.fields.diffusion import ProbabilityFlow, ReverseDrift
from gflow.fields.direction import Reversed, reverse
from gflow.fields.displacement import GaussianDisplacement
from gflow.fields.rectified import RectifiedFlow

__all__ = ["GaussianDisplacement", "ProbabilityFlow", "RectifiedFlow", "ReverseDrift", "Reversed", "reverse"]
