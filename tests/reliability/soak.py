"""Thousands of steps and predictions: does memory, or the number of open files, grow?"""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np

from tests.reliability import forks
from tests.reliability.jobs import SAVED, TINY

_GROWTH_MIB = 4.0  # per 1000 steps or predictions in the second half of a soak


def soak_training(folder: Path, steps: int) -> tuple[list[str], list[str]]:
    """Train so many tiny steps; facts and failures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("prepared", "bank.h5"):
        copy = shutil.copytree if (SAVED / name).is_dir() else shutil.copy
        copy(SAVED / name, folder / name)
    changes = [
        *TINY, f"training.steps={steps}", f"training.validate_every={max(1, steps // 100)}",
        f"training.checkpoint_every={max(1, steps // 100)}", "training.log_every=10",
    ]  # fmt: skip
    words = ["train", "prepared", "--recipe", "demo", "--bank", "bank.h5", "-o", "out"]
    words += [word for change in changes for word in ("--set", change)]
    begin = time.monotonic()
    process = forks.start(words, folder)
    samples: list[tuple[int, float, int]] = []
    while not os.waitpid(process, os.WNOHANG)[0]:
        samples.append((_step(folder / "out" / "log.jsonl"), *_use(process)))
        time.sleep(2)
    return _judged("training steps", samples, steps, time.monotonic() - begin)


def soak_predictions(number: int) -> tuple[list[str], list[str]]:
    """Predict so often in this process; facts and failures."""
    import torch

    from pipeline.prediction.predictor import Predictor
    from segmentation.imaging.volume import Volume

    predictor = Predictor(SAVED / "run", device="cpu")
    voxels = np.random.default_rng(0).integers(-500, 500, (20, 18, 16)).astype(np.float32)
    scan = Volume(voxels, np.diag([16.0, 16, 16, 1]))
    samples, begin = [], time.monotonic()
    for turn in range(number):
        with torch.inference_mode():
            predictor.segment(scan)
        if turn % max(1, number // 100) == 0:
            samples.append((turn, *_use(os.getpid())))
    return _judged("predictions", samples, number, time.monotonic() - begin)


def _step(log: Path) -> int:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4000))
            lines = file.read().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError, KeyError):
        return 0


def _use(process: int) -> tuple[float, int]:
    """Resident memory in MiB and number of open files."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
        files = len(os.listdir(f"/proc/{process}/fd"))
        return int(status.split("VmRSS:")[1].split()[0]) / 1024, files
    except (OSError, IndexError):
        return float("nan"), 0


def _judged(
    what: str, samples: list[tuple[int, float, int]], number: int, seconds: float
) -> tuple[list[str], list[str]]:
    usable = [each for each in samples if each[1] == each[1] and each[0] > 0]
    half = [each for each in usable if each[0] >= number / 2]
    if len(half) < 3:
        return [f"{what}: too few samples"], []
    steps, memory = np.array([s[0] for s in half]), np.array([s[1] for s in half])
    slope = float(np.polyfit(steps, memory, 1)[0]) * 1000 if len(set(steps)) > 1 else 0.0
    first, last = usable[0], usable[-1]
    facts = [
        f"{number} {what} in {seconds:.0f} s: {first[1]:.0f} MiB at {first[0]}, "
        f"{half[0][1]:.0f} at {half[0][0]}, {last[1]:.0f} at {last[0]}; second half "
        f"{slope:+.1f} MiB per 1000; open files {first[2]} to {last[2]}"
    ]
    failures = []
    if slope > _GROWTH_MIB:
        failures.append(f"{what}: memory grows by {slope:.1f} MiB per 1000")
    if last[2] > half[0][2] + 3:
        failures.append(f"{what}: open files grow from {half[0][2]} to {last[2]}")
    return facts, failures
