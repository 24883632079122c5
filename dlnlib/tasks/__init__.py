"""What a network learns: trees, noisy teachers, real digits, your own data; and their modes."""

from dlnlib.tasks import (
    AffineMap,
    Modes,
    Task,
    digits_task,
    hierarchical_tree,
    leaf_groups,
    linear_task,
    project,
    spiked_teacher,
    svd_modes,
    teacher_targets,
    tree_covariance,
    tree_spectrum,
    whiten,
)

__all__ = [
    "AffineMap",
    "Modes",
    "Task",
    "digits_task",
    "hierarchical_tree",
    "leaf_groups",
    "linear_task",
    "project",
    "spiked_teacher",
    "svd_modes",
    "teacher_targets",
    "tree_covariance",
    "tree_spectrum",
    "whiten",
]
