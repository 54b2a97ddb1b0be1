"""The tests of this folder share the module that makes videos."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
