"""`python -m zoo_core` is the `zoo` command."""

import sys

from zoo_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
