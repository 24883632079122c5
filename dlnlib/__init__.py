"""Learning dynamics of deep linear networks, followed through their spectral entropy."""

__version__ = "0.1.0"
