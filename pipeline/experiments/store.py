"""The store of a study: one folder per finished stage, shared by any number of studies.

STORE/store.json                    format version
STORE/KIND/KEY/stage.json           what was made, when, and the digest of every file
STORE/KIND/KEY/PRODUCT              the file or folder that the stage made
STORE/KIND/KEY/log.txt              what its command printed
STORE/KIND/KEY.lock                 held by the process that makes it
STORE/answers/                      cached answers of language models
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from knowledge.common.files import write_whole
from pipeline.experiments.stages import KINDS, Stage

FORMAT_VERSION = 1
RECORD = "stage.json"
LOG = "log.txt"
# `removed`: done, but some of its files were deleted. `spare`: missing or removed, while all stages
# that read it are done.
State = Literal["done", "missing", "partial", "failed", "damaged", "removed", "spare"]


@dataclass(frozen=True)
class Record:
    """The content of `stage.json`.

    Attributes:
        files: size and sha256 by path below the stage's folder; empty unless done.
        error: why the stage failed, in one line.
        seconds: of the run that finished it.
        steps: training steps, for the estimate of time.
        peak_mib, gpu_mib: peak memory of the process and of its GPU.
    """

    status: Literal["done", "failed", "interrupted"]
    seconds: float
    error: str = ""
    steps: int = 0
    peak_mib: float | None = None
    gpu_mib: float | None = None
    files: dict[str, tuple[int, str]] = field(default_factory=dict)


class Store:
    """A folder of finished stages.

    Raises:
        ValueError: the folder is a store of a newer version, or holds other files.
        OSError: it cannot be created.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        marker = root / "store.json"
        if marker.is_file():
            version = _read_json(marker).get("format_version")
            if version != FORMAT_VERSION:
                raise ValueError(
                    f"{root}: a store of format {version}; this version reads format "
                    f"{FORMAT_VERSION}: update tak-seg, or give another --store"
                )
        elif root.is_dir() and any(root.iterdir()):
            raise ValueError(f"{root}: expected a store or an empty folder; give another --store")

    def create(self) -> None:
        """Create the folder and its marker."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not (self.root / "store.json").is_file():
            content = {"format_version": FORMAT_VERSION}
            write_whole(self.root / "store.json", json.dumps(content) + "\n")

    def folder(self, stage: Stage) -> Path:
        """The folder of a stage."""
        return self.root / stage.kind / stage.key

    def product(self, stage: Stage) -> Path:
        """The file or folder that a stage writes."""
        return self.folder(stage) / stage.product

    def log(self, stage: Stage) -> Path:
        """The output of the command of a stage."""
        return self.folder(stage) / LOG

    def record(self, stage: Stage) -> Record | None:
        """The record of a stage; None if there is none, or one that cannot be read."""
        content = _read_json(self.folder(stage) / RECORD)
        try:
            known = {name: content[name] for name in Record.__dataclass_fields__ if name in content}
            return Record(**known)
        except (KeyError, TypeError):
            return None

    def state(self, stage: Stage, *, thorough: bool = False) -> State:
        """Whether a stage is done; `thorough` compares contents and not sizes alone."""
        folder, record = self.folder(stage), self.record(stage)
        if record is None:
            return "partial" if self.product(stage).exists() else "missing"
        if record.status != "done":
            return "failed" if record.status == "failed" else "partial"
        removed = False
        for name, (size, digest) in record.files.items():
            path = folder / name
            if not path.is_file():
                removed = True
            elif path.stat().st_size != size or (thorough and _digest(path) != digest):
                return "damaged"
        return "removed" if removed else "done"

    def clear(self, stage: Stage) -> None:
        """Remove a stage whose files are damaged, so that it is run again."""
        shutil.rmtree(self.folder(stage), ignore_errors=True)

    def finish(
        self, stage: Stage, seconds: float, peak_mib: float | None, gpu_mib: float | None = None
    ) -> None:
        """Record a stage as done, with the digest of every file."""
        folder, product = self.folder(stage), self.product(stage)
        paths = [product] if product.is_file() else sorted(product.rglob("*"))
        files = {
            str(path.relative_to(folder)): (path.stat().st_size, _digest(path))
            for path in paths
            if path.is_file() and not path.name.startswith(".")
        }
        steps = self.training_steps(stage) or 0
        self._write(stage, Record("done", seconds, "", steps, peak_mib, gpu_mib, files))

    def fail(self, stage: Stage, error: str, seconds: float, *, interrupted: bool = False) -> None:
        """Record why a stage failed; its files stay for the next attempt."""
        status: Literal["failed", "interrupted"] = "interrupted" if interrupted else "failed"
        self._write(stage, Record(status, seconds, error, stage.steps))

    def _write(self, stage: Stage, record: Record) -> None:
        content = {
            "format_version": FORMAT_VERSION,
            "kind": stage.kind,
            "key": stage.key,
            "facts": dict(stage.facts),
            "inputs": [earlier.key for earlier in stage.inputs],
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            **vars(record),
        }
        text = json.dumps(content, indent=1, default=str, ensure_ascii=False)
        write_whole(self.folder(stage) / RECORD, text + "\n")

    @contextmanager
    def lock(self, stage: Stage) -> Iterator[bool]:
        """Lock a stage while it runs; yields False if another process holds the lock."""
        path = self.root / stage.kind / f"{stage.key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def training_steps(self, stage: Stage) -> int | None:
        """Steps of a training; None if its recipe counts epochs and no data are prepared yet.

        An epoch has a step per unlabeled case.
        """
        epochs = stage.facts.get("recipe", {}).get("training", {}).get("epochs")
        if stage.steps or not epochs:
            return stage.steps
        prepared = next((each for each in stage.inputs if each.kind == "prepare"), None)
        folder = Path(stage.words[1]) if prepared is None else self.product(prepared)
        split = _read_json(folder / "dataset.json").get("split")
        return int(epochs) * len(split["unlabeled"]) if split else None

    def step_seconds(self) -> dict[str, float]:
        """Measured seconds per training step by `cost_class`, from finished trainings."""
        measured: dict[str, float] = {}
        for path in (self.root / "train").glob(f"*/{RECORD}"):
            content = _read_json(path)
            if content.get("status") == "done" and content.get("steps"):
                name = cost_class(content["facts"])
                measured[name] = float(content["seconds"]) / content["steps"]
        return measured

    def peaks(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The largest measured memory in MiB, of host and GPU, by kind and `cost_class`.

        The class of an evaluation is that of its training; of other kinds it is empty.
        """
        peaks: dict[tuple[str, str], tuple[float, float]] = {}
        classes: dict[str, str] = {}
        for kind in KINDS:  # trainings come before evaluations
            for path in (self.root / kind).glob(f"*/{RECORD}"):
                content = _read_json(path)
                if content.get("status") == "done" and content.get("peak_mib"):
                    if kind == "train":
                        classes[path.parent.name] = cost_class(content["facts"])
                    sources = (path.parent.name, *content.get("inputs", ()))
                    name = next((classes[key] for key in sources if key in classes), "")
                    host, gpu = peaks.get((kind, name), (0.0, 0.0))
                    measured = float(content["peak_mib"]), float(content.get("gpu_mib") or 0.0)
                    peaks[kind, name] = max(host, measured[0]), max(gpu, measured[1])
        return peaks


def cost_class(facts: Any) -> str:
    """The class of equal cost per training step: all tables of the recipe except the text."""
    recipe = facts.get("recipe", {})
    kept = {name: table for name, table in recipe.items() if name not in ("seed", "text")}
    training = {k: v for k, v in kept.get("training", {}).items() if k not in ("steps", "rate")}
    return json.dumps(kept | {"training": training}, sort_keys=True, default=str)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty if there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
