"""Cost against the number of classes, with the exponent of its growth: `--ladder`.

An item whose exponent is 1 costs twice as much for twice as many classes; 2 means four times.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

Row = dict[str, Any]
CLASSES = (16, 32, 64, 105)  # AMOS and a background to TotalSegmentator and one
ITEMS = ("contrast_sampling", "text_head", "ga_losses", "pseudo_labels", "sliding_windows")
COSTS = {"cpu_s": "CPU, s", "peak_gib": "peak, GiB"}


def run(want: argparse.Namespace, command: Sequence[str]) -> Iterator[str]:
    """Lines of the table: an item's costs per number of classes, and the exponents."""
    for item in want.only or ITEMS:
        rows = [measured(item, count, command) for count in want.classes or CLASSES]
        for row in rows:
            yield line(item, row)
        done = [row for row in rows if "fault" not in row]
        for key, title in COSTS.items():
            if len(done) > 1 and all(key in row for row in done):
                power = exponent([row["classes"] for row in done], [row[key] for row in done])
                yield f"{item:24} {title} grows with the power {power:.2f} of the classes"


def measured(item: str, classes: int, command: Sequence[str]) -> Row:
    """The costs of an item in a process of its own."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.benchmarks.worker",
            item,
            *command,
            "--classes",
            str(classes),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        return {"classes": classes, "fault": lines[-1]}
    return {"classes": classes, **json.loads(done.stdout.splitlines()[-1])}


def line(item: str, row: Row) -> str:
    """A row of the table."""
    if "fault" in row:
        return f"{item:24} {row['classes']:4} classes   failed: {row['fault']}"
    costs = [f"{title} {row[key]:.4g}" for key, title in COSTS.items() if key in row]
    return f"{item:24} {row['classes']:4} classes   {'   '.join(costs)}"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of a straight line through (log size, log cost), by least squares."""
    logs = [(math.log(size), math.log(cost)) for size, cost in zip(sizes, costs, strict=True)]
    middle = sum(x for x, _ in logs) / len(logs)
    spread = sum((x - middle) ** 2 for x, _ in logs)
    return sum((x - middle) * y for x, y in logs) / spread
