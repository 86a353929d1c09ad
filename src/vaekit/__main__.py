"""`python -m vaekit` is the command `vaekit`."""

import sys

from vaekit.cli.main import main

sys.exit(main())
