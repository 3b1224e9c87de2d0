"""The campaign's parts live in scripts/, so that users can run them in full; here they run reduced."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "campaign"))
