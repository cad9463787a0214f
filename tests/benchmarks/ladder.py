"""Cost against size, with the exponent of its growth: `--ladder`.

An item whose exponent is 1 costs twice as much for twice the size; 2 means four times. The size is
the number of classes, or that of `tests.benchmarks.growth`.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tests.benchmarks.growth import GROWTHS

Row = dict[str, Any]
CLASSES = (16, 32, 64, 105)  # AMOS and a background to TotalSegmentator and one
ITEMS = ("contrast_sampling", "text_head", "ga_losses", "pseudo_labels", "sliding_windows")
COSTS = {"cpu_s": "CPU, s", "peak_gib": "peak, GiB", "sent_mb": "sent, MB"}


def run(want: argparse.Namespace, options: Sequence[str]) -> Iterator[str]:
    """Lines of the table: an item's costs per size, and the exponents."""
    for item in want.only or (*ITEMS, *GROWTHS):
        growth = GROWTHS.get(item)
        sizes = growth.sizes if growth else CLASSES
        of = growth.of if growth else "classes"
        rows = [measured(item, size, options) for size in want.sizes or sizes]
        for row in rows:
            yield line(item, of, row)
        done = [row for row in rows if "fault" not in row]
        for key, title in COSTS.items():
            if len(done) > 1 and all(key in row for row in done):
                power = exponent([row["size"] for row in done], [row[key] for row in done])
                yield f"{item:24} {title} grows with the power {power:.2f} of the {of}"


def measured(item: str, size: int, options: Sequence[str]) -> Row:
    """The costs of an item in a process of its own."""
    command = ["tests.benchmarks.worker", item, *options, "--classes", str(size)]
    if item in GROWTHS:
        command = ["tests.benchmarks.growth", item, str(size)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        return {"size": size, "fault": lines[-1]}
    return {"size": size, **json.loads(done.stdout.splitlines()[-1])}


def line(item: str, of: str, row: Row) -> str:
    """A row of the table."""
    if "fault" in row:
        return f"{item:24} {row['size']:4} {of}   failed: {row['fault']}"
    costs = [f"{title} {row[key]:.4g}" for key, title in COSTS.items() if key in row]
    return f"{item:24} {row['size']:4} {of}   {'   '.join(costs)}"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of a straight line through (log size, log cost), by least squares."""
    logs = [(math.log(size), math.log(cost)) for size, cost in zip(sizes, costs, strict=True)]
    middle = sum(x for x, _ in logs) / len(logs)
    spread = sum((x - middle) ** 2 for x, _ in logs)
    return sum((x - middle) * y for x, y in logs) / spread
