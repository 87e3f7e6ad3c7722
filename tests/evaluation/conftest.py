"""What the tests of evaluation share."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("evaluation", "search"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))  # for tiny_collection and tiny_model
