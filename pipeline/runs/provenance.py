"""Provenance of a run: `run.json` in its folder, with one session per call of training."""

import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from knowledge.common.files import write_whole
from pipeline.config.registry import recipe_plugins
from pipeline.files import shipped
from pipeline.runs.energy import Counter, metered
from pipeline.runs.folder import RunFolder
from pipeline.runs.run_record import EXTENSIONS, INIT_FROM, read_run_record
from segmentation.training.trainer import Trainer

_PACKAGES = ("torch", "monai", "numpy", "nibabel", "h5py")


@contextmanager
def session(
    trainer: Trainer,
    data: Path,
    init_from: Mapping[str, Any] | None = None,
    energy: Sequence[Counter] = (),
) -> Iterator[None]:
    """Record the begin and the end of training in `run.json`.

    The session of a killed process has the end null.

    Args:
        init_from: the record of `initialize`, for a new run.
        energy: counters of the devices.
    """
    path = RunFolder(trainer.folder).provenance
    past = (read_run_record(path) if trainer.step > 0 else None) or {}
    sessions = past.get("sessions", [])
    kept = {key: past[key] for key in (INIT_FROM, EXTENSIONS) if key in past}
    if init_from is not None:
        kept[INIT_FROM] = dict(init_from)
    begun = _begun(trainer)
    content = {
        "classes": list(trainer.identity.classes),
        "bank_digest": trainer.identity.bank,
        "data": str(data.resolve()),
        "data_digest": trainer.identity.data,
        **kept,
        "sessions": [*sessions, begun],
    }
    begin = time.monotonic()
    _write(path, content)
    ended = "interrupted within a step"
    with metered(energy) as kilowatt_hours:
        try:
            yield
            ended = "finished" if trainer.step == trainer.options.steps else "stopped by a signal"
        except Exception as fault:
            ended = f"failed: {type(fault).__name__}: {fault}"
            raise
        finally:
            seconds, used = round(time.monotonic() - begin, 1), kilowatt_hours()
            begun |= {"to_step": trainer.step, "seconds": seconds, "ended": ended}
            begun["energy_kwh"] = None if used is None else round(used, 6)
            _write(path, content)


def _begun(trainer: Trainer) -> dict[str, Any]:
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "from_step": trainer.step,
        "to_step": None,
        "seconds": None,
        "energy_kwh": None,
        "ended": None,
        "command": shlex.join(["tak", *sys.argv[1:]]),
        "versions": {
            "tak-seg": shipped.version(),
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "platform": platform.platform(),
        "device": device_name(trainer.device),
        **({"processes": size} if (size := trainer.ranks.size) > 1 else {}),
        "threads": torch.get_num_threads(),
        **({"plugins": plugins} if (plugins := recipe_plugins(trainer.config["run"])) else {}),
        "git": git_state(Path(__file__).parent),
    }


def device_name(device: torch.device) -> str:
    """The device and the name of its GPU or processor."""
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{device}: {line.partition(':')[2].strip()}"
    return f"{device}: {platform.processor() or platform.machine()}"


def git_state(package: Path) -> dict[str, Any] | None:
    """The commit of the package's checkout, and whether files differ from it.

    None for an installed package, or without git.
    """
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed)}


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True, encoding="utf-8", timeout=20, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
