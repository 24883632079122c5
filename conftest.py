"""Without PyTorch, what needs it is not collected: `make deeptest` installs it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["dlnlib/deep", "tests/deep"]
