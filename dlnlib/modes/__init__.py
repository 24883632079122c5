"""The strength of one mode over time, in closed form at any depth."""

from dlnlib.modes import growth_rate, learning_time, mode_strength

__all__ = [
    "growth_rate",
    "learning_time",
    "mode_strength",
]
