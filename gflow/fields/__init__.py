"""Velocity fields of generative flows, each stating its own direction of time."""

from gflow.fields.affine import AffineGenerator, FrozenCritic, LaggingCritic
from gflow.fields.diffusion import ProbabilityFlow, ReverseDrift
from gflow.fields.direction import Reversed, reverse
from gflow.fields.displacement import GaussianDisplacement
from gflow.fields.finite_volume import FiniteVolumeFlow, FokkerPlanckFlow
from gflow.fields.gradient_flow import GaussianKLFlow
from gflow.fields.grid import Grid, LogDensity
from gflow.fields.jko import JKOError, JKOResult, JKOStatus, JKOStep, ResidualMap
from gflow.fields.langevin import LangevinDrift
from gflow.fields.mono_flow import MonoFlow
from gflow.fields.rectified import RectifiedFlow
from gflow.fields.time_change import TimeChange

__all__ = [
    "AffineGenerator",
    "FiniteVolumeFlow",
    "FokkerPlanckFlow",
    "FrozenCritic",
    "GaussianDisplacement",
    "GaussianKLFlow",
    "Grid",
    "JKOError",
    "JKOResult",
    "JKOStatus",
    "JKOStep",
    "LaggingCritic",
    "LangevinDrift",
    "LogDensity",
    "MonoFlow",
    "ProbabilityFlow",
    "RectifiedFlow",
    "ResidualMap",
    "ReverseDrift",
    "Reversed",
    "TimeChange",
    "reverse",
]
