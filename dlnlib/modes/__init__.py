"""Mode strengths of an aligned deep linear network, in closed form.

The equation solved, for each mode on its own, is::

    tau da/dt = L a^(2-2/L) (s - a),    a(0) = a0,

with s the singular value of the input-output correlation and L the number of weight matrices
(Saxe, McClelland and Ganguli 2014; Arora, Cohen, Hu and Luo 2019 for general L).  For L = 2 it
is logistic; deeper modes follow an implicit closed form, `dlnlib.symbolic.implicit_time`.  At
``depth=math.inf`` time is rescaled by L: the equation is ``tau da/dt = a^2 (s - a)``.
Weight decay gamma adds ``-L gamma a`` to the right-hand side; with two layers it turns s into
s - gamma.
"""

# fmt: off
from dlnlib.modes.sensitivity import mode_sensitivity
from dlnlib.modes.strength import growth_rate, learning_time, mode_strength

__all__ = [
    "growth_rate", "learning_time", "mode_sensitivity", "mode_strength",
]
