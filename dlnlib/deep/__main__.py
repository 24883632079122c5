"""``python -m dlnlib.deep``: train DenseNets, and set them beside those of the book."""

import sys

from dlnlib.deep.command import main

sys.exit(main())
