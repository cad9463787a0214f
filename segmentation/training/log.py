"""The log of a run: a JSON record per line, and the same numbers for the trackers.

Records: step 0 says what the run begins with; `loss` and `terms` every few steps; `validation`,
`organs` and what else a validation found. `warnings` are sentences for the reader. JSON knows no
NaN: an organ that no case holds is not scored, and its Dice is null.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from segmentation.training.trackers import Picture, Tracker

LOG = "log.jsonl"
_NUMBERS = ("terms", "validation", "organs", "measures")  # where null stands for NaN
RecordCallback = Callable[[dict[str, Any]], None]


class RunLog:
    """Takes a record to the log, to the trackers and to whoever watches.

    A tracker that fails on the way, a server that went away for instance, does not end the run: a
    warning says so once, and the run goes on without it.

    Args:
        step: steps that the run has done before.
    """

    def __init__(self, lines: TextIO, report: RecordCallback, step: int = 0) -> None:
        self.trackers: list[Tracker] = []
        self._lines, self._report, self._step = lines, report, step

    def write(self, record: dict[str, Any], pictures: Mapping[str, Picture] | None = None) -> None:
        """Append a record, on disk at once; pictures go to the trackers alone."""
        self._append(record)
        self._step = step = record["step"]
        values = dict(scalars(record))
        for tracker in tuple(self.trackers):
            try:
                if values:
                    tracker.scalars(values, step)
                for name, picture in (pictures or {}).items():
                    tracker.picture(name, picture, step)
            except Exception as fault:  # each package raises its own
                self.trackers.remove(tracker)
                self._tell(tracker, fault)

    def close(self) -> None:
        """Close the trackers, those that failed left out."""
        for tracker in self.trackers:
            try:
                tracker.close()
            except Exception as fault:
                self._tell(tracker, fault)

    def _tell(self, tracker: Tracker, fault: Exception) -> None:
        told = f"{type(tracker).__name__} failed and gets nothing more; the run goes on: {fault}"
        self._append({"step": self._step, "warnings": [told]})

    def _append(self, record: dict[str, Any]) -> None:
        self._lines.write(_line(record))
        self._lines.flush()
        self._report(record)


@contextmanager
def open_log(
    folder: Path,
    trackers: Sequence[type[Tracker]],
    config: Mapping[str, Any],
    step: int,
    report: RecordCallback,
) -> Iterator[RunLog]:
    """The log of a run that has done `step` steps, open for more.

    Raises:
        ValueError: a tracker did not start; quotes what its package says.
    """
    with ExitStack() as stack:
        lines = stack.enter_context((folder / LOG).open("a", encoding="utf-8"))
        log = stack.enter_context(closing(RunLog(lines, report, step)))
        for kind in trackers:
            try:
                log.trackers.append(kind(folder, config, step))
            except Exception as fault:  # each package raises its own
                raise ValueError(f"{kind.__name__} did not start: {fault}") from fault
        yield log


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, none if there is no log; a line that was cut off is left out.

    What is null for want of a score is NaN again.
    """
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        found.append(record | {key: _with_nan(record[key]) for key in _NUMBERS if key in record})
    return found


def truncate_log(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the records after a step, and a line that was cut off; the records that stay."""
    kept = [record for record in read_log(path) if record["step"] <= step]
    beside = path.with_name(f".{path.name}")
    beside.write_text("".join(map(_line, kept)), encoding="utf-8")
    beside.replace(path)
    return kept


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_strict(record), allow_nan=False) + "\n"


def _strict(content: Any) -> Any:
    """Null for what is not a finite number, at any depth."""
    if isinstance(content, Mapping):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_strict(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _with_nan(content: Any) -> Any:
    """NaN for null, at any depth of a table."""
    if isinstance(content, Mapping):
        return {key: _with_nan(value) for key, value in content.items()}
    return math.nan if content is None else content


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The curves that a record adds to, with their tags."""
    if "loss" in record:
        yield "loss/total", record["loss"]
        yield "rate", record["rate"]
        yield from ((f"loss/{name}", value) for name, value in record["terms"].items())
    if record.get("peak_memory_mib") is not None:
        yield "peak_memory_mib", record["peak_memory_mib"]
    for predictor, organs in record.get("organs", {}).items():
        yield f"dice/{predictor}/mean", record["validation"][predictor]
        yield from ((f"dice/{predictor}/{name}", value) for name, value in organs.items())
    yield from record.get("measures", {}).items()
