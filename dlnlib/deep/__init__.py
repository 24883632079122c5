"""Deep networks in PyTorch: DenseNets on pictures, and the matrices of any model.

The only room that needs PyTorch: ``pip install '.[deep]'`` in the folder of the book.  No chapter
computes with it; they draw from tables that ``make deep`` makes.

References
----------
Huang, Liu, van der Maaten & Weinberger, "Densely connected convolutional networks", CVPR 2017.
Andriushchenko, Varre, Pillaud-Vivien & Flammarion, "SGD with large step sizes learns sparse
features", ICML 2023: schedules, layers, and the coefficient.
"""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "dlnlib.deep needs PyTorch: pip install '.[deep]', or make deep, in the book's folder"
    ) from error

# fmt: off
from dlnlib.deep.densenet import DenseNet
from dlnlib.deep.experiments import Run, planned_runs, run_rows
from dlnlib.deep.images import Images, load_images
from dlnlib.deep.linear import EndToEnd, end_to_end
from dlnlib.deep.training import Setting, Standard, step_sizes, train_epochs
from dlnlib.deep.watch import Activations, watch

__all__ = [
    "Activations", "DenseNet", "EndToEnd", "Images", "Run", "Setting", "Standard", "end_to_end",
    "load_images", "planned_runs", "run_rows", "step_sizes", "train_epochs", "watch",
]
