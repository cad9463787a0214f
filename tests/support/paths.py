"""Folders that tests read from."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
SUPPORT = ROOT / "tests" / "support"
GOLDEN = ROOT / "tests" / "golden"
