"""gflow: numerical analysis of the flows behind generative models.

One equation runs through the package, ``dy/dt = v(t, y)``. Importing it is light: transport
solvers, plotting and the study harness load only when their modules are imported.
"""

__version__ = "0.1.0"
