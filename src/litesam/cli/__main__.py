"""``python -m litesam.cli``: the same as the command ``litesam``."""

import sys

from litesam.cli import main

sys.exit(main())
