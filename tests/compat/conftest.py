"""The frozen copies have tests of their own: `test_compat.py` runs them in their folders."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

collect_ignore = ["frozen"]
