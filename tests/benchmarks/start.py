"""How long the command `tak` takes to start: its help, and the way to the first training step."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_TAK = [sys.executable, "-m", "pipeline"]
_POPULATION = ["--labeled", "2", "--unlabeled", "2", "--validation", "1", "--test", "1"]
_POLL_SECONDS = 0.02


def help_seconds(repeats: int) -> list[float]:
    """Wall seconds of `tak --help`, without the first call, which fills the disk cache."""
    spans = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        subprocess.run([*_TAK, "--help"], check=True, capture_output=True)
        spans.append(time.perf_counter() - begin)
    return spans[1:]


def train_seconds(repeats: int) -> list[float]:
    """Wall seconds from the start of `tak train --recipe demo` to the record of its first step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command in _preparation(folder):
            subprocess.run([*_TAK, *command], check=True, capture_output=True)
        return [_first_step(folder, place) for place in range(repeats + 1)][1:]


def _preparation(folder: Path) -> list[list[str]]:
    scans, prepared = str(folder / "scans"), str(folder / "prepared")
    texts, bank = str(folder / "texts.json"), str(folder / "bank.h5")
    return [
        ["phantom", scans, *_POPULATION],
        ["describe", "phantom", "--provider", "recorded", "-o", texts],
        ["encode", texts, "--encoder", "hashing", "-o", bank],
        ["prepare", scans, "-o", prepared],
    ]


def _first_step(folder: Path, place: int) -> float:
    run = folder / f"run-{place}"
    command = ["train", str(folder / "prepared"), "--recipe", "demo"]
    command += ["--bank", str(folder / "bank.h5"), "-o", str(run)]
    begin = time.perf_counter()
    with subprocess.Popen(
        [*_TAK, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as it:
        try:
            while not _has_step(run / "log.jsonl"):
                if it.poll() is not None:
                    said = it.stdout.read().decode() if it.stdout else ""
                    raise RuntimeError(f"tak {' '.join(command)} ended before a step: {said}")
                time.sleep(_POLL_SECONDS)
            return time.perf_counter() - begin
        finally:
            it.kill()


def _has_step(log: Path) -> bool:
    if not log.is_file():
        return False
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be half a record
    return any("loss" in json.loads(line) for line in lines)
