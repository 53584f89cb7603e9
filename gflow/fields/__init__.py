"""Velocity fields of generative flows, each stating its own direction of time."""

from gflow.fields.diffusion import ProbabilityFlow, ReverseDrift
from gflow.fields.direction import Reversed, reverse

__all__ = ["ProbabilityFlow", "ReverseDrift", "Reversed", "reverse"]
