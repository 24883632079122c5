r"""What a network learns: trees, noisy teachers, real digits, data of your own; and their modes.

A task is its input-output correlation :math:`\Sigma_{yx} = E[y x^T]`, of shape (out, in), for
whitened inputs, :math:`E[x x^T] = I`; gradient flow sees nothing else of the data.  Samples are
rows: inputs are (P, in) and outputs (P, out), and an average over them stands for E.

References
----------
Tree: Saxe, McClelland & Ganguli, PNAS 116, 11537 (2019).  Spiked teacher: Benaych-Georges &
Nadakuditi, J. Multivariate Anal. 111, 120 (2012).
"""

# fmt: off
from dlnlib.tasks.basis import AffineMap, Modes, project, svd_modes, whiten
from dlnlib.tasks.task import Task, digits_task, linear_task, spiked_teacher, teacher_targets
from dlnlib.tasks.tree import hierarchical_tree, leaf_groups, tree_covariance, tree_spectrum

__all__ = [
    "AffineMap", "Modes", "Task", "digits_task", "hierarchical_tree", "leaf_groups", "linear_task",
    "project", "spiked_teacher", "svd_modes", "teacher_targets", "tree_covariance", "tree_spectrum",
    "whiten",
]
