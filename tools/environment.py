"""What a kernel may take from the shell that starts it, and what results depend on besides code.

`make` cleans the shell of more (see the Makefile); this holds where it is not used: for
``jupyter-book build .``, ``pytest`` and ``python -m tools.bless``.
"""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("PYTHON", "MPL", "MATPLOTLIB", "JUPYTER_", "IPYTHON")
KEPT = {"PYTHONDONTWRITEBYTECODE", "MPLCONFIGDIR"}
NUMERICAL = ("NUMBA_", "OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NPY_", "SCIPY_", "SKLEARN_")


def kernel_environment(root: Path = ROOT, shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The shell's variables without those that change Python, figures or kernels."""
    clean = {k: v for k, v in shell.items() if k in KEPT or not k.startswith(FOREIGN)}
    return clean | {
        "PYTHONPATH": str(root),  # this clone's dlnlib, wherever the environment was installed
        "PYTHONHASHSEED": "0",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(root / "_build" / ".ipython"),
    }


def installed(shell: Mapping[str, str] = os.environ) -> str:
    """Versions of Python and all packages, the processor, and the settings of numerical code."""
    packages = sorted(f"{d.name}=={d.version}" for d in distributions() if d.name != "dlnlib")
    settings = sorted(f"{k}={v}" for k, v in shell.items() if k.startswith(NUMERICAL))
    return "\n".join([sys.version, platform.machine(), *packages, *settings])


def settle(root: Path = ROOT) -> None:
    """Give this process, and the kernels that it starts, the environment above."""
    clean = kernel_environment(root)
    os.environ.clear()
    os.environ.update(clean)
