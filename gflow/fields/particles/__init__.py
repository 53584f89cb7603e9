"""Particle flows: velocity fields on a cloud (n, d) whose rows see each other, in training time from 0."""

from gflow.fields.particles.kernel_flows import DriftingFlow, KernelDensityFlow, MMDFlow, Score, SteinFlow
from gflow.fields.particles.kernels import GaussianKernel, Kernel, LaplacianKernel
from gflow.fields.particles.refitted import RefittedFlow
from gflow.fields.particles.stepwise import NoisyMMDFlow, NoisyMMDStep, SlicedFlow
from gflow.fields.particles.tracked import MinibatchTrackedFlow, TrackedFlow
from gflow.fields.particles.transport_flows import SinkhornFlow, SlicedField

__all__ = [
    "DriftingFlow",
    "GaussianKernel",
    "Kernel",
    "KernelDensityFlow",
    "LaplacianKernel",
    "MMDFlow",
    "MinibatchTrackedFlow",
    "NoisyMMDFlow",
    "NoisyMMDStep",
    "RefittedFlow",
    "Score",
    "SinkhornFlow",
    "SlicedField",
    "SlicedFlow",
    "SteinFlow",
    "TrackedFlow",
]
