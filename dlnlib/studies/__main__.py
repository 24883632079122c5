"""``python -m dlnlib.studies [name ...]``."""

import sys

from dlnlib.studies.catalogue import main

sys.exit(main())
