"""Lets tests here import what they share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tests are not a package
