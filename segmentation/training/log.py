"""The log of a run, one JSON record per line; the same numbers go to the trackers.

Records: step 0 describes the data of the run; `loss` and `terms` every few steps; `validation`,
`organs` and further results of every validation. `warnings` are sentences for the reader. JSON has
no NaN: an organ that no case contains is not scored, and its Dice is null.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TextIO

from segmentation.common.files import write_text
from segmentation.common.text import one_line
from segmentation.training.run_files import LOG
from segmentation.training.trackers import Picture, Tracker

_LARGEST = 1e300  # larger whole numbers fit into no float
_NUMBERS = ("terms", "validation", "organs", "measures")  # tables in which null means NaN
RecordCallback = Callable[[dict[str, Any]], None]


class RunLog:
    """Writes records to the log file, to the trackers and to a callback.

    A tracker that fails, for example because its server is gone, does not end the run: one warning
    is logged, and the tracker is removed.

    Args:
        lines: the open log file.
        report: called with every record.
        step: completed steps of the run.
    """

    def __init__(self, lines: TextIO, report: RecordCallback, step: int = 0) -> None:
        self.trackers: list[Tracker] = []
        self._lines, self._report, self._step = lines, report, step

    def write(self, record: dict[str, Any], pictures: Mapping[str, Picture] | None = None) -> None:
        """Append a record and flush the file; pictures go to the trackers only.

        Raises:
            OSError: the file cannot be written, for example on a full disk.
        """
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
                self._warn(tracker, fault)

    def sync(self) -> None:
        """Put all records on the disk (fsync), before a checkpoint that counts on them.

        Raises:
            OSError: the file cannot be written.
        """
        if self._lines.name != os.devnull:
            os.fsync(self._lines.fileno())

    def close(self) -> None:
        """Close the trackers that have not failed."""
        for tracker in self.trackers:
            try:
                tracker.close()
            except Exception as fault:
                self._warn(tracker, fault)

    def _warn(self, tracker: Tracker, fault: Exception) -> None:
        warning = f"{type(tracker).__name__} failed, training continues without it: {fault}"
        self._append({"step": self._step, "warnings": [warning]})

    def _append(self, record: dict[str, Any]) -> None:
        try:
            self._lines.write(_line(record))
            self._lines.flush()
        except OSError as fault:
            raise OSError(
                f"{self._lines.name}: the log could not be written ({fault.strerror}); free some "
                "disk space and --resume from the last checkpoint"
            ) from fault
        self._report(record)


@contextmanager
def open_log(
    folder: Path,
    trackers: Sequence[type[Tracker]],
    config: Mapping[str, Any],
    step: int,
    report: RecordCallback,
) -> Iterator[RunLog]:
    """Open the log of a run with `step` completed steps for appending.

    Raises:
        ValueError: a tracker did not start; quotes the error of its package.
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


@contextmanager
def silent_log() -> Iterator[RunLog]:
    """A log that goes nowhere, of a process that writes no folder."""
    with Path(os.devnull).open("a", encoding="utf-8") as lines:
        yield RunLog(lines, lambda record: None)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, none if there is no log; incomplete lines are skipped.

    Scores that are null in the file are NaN.

    Raises:
        ValueError: a damaged record; names file and line.
    """
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as fault:
        raise ValueError(f"{path}: not a text file in UTF-8 ({one_line(fault)})") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        except (RecursionError, ValueError) as fault:  # nested too deeply, or too many digits
            raise ValueError(f"{path}:{number}: damaged ({one_line(fault)})") from None
        if not _is_record(record):
            raise ValueError(f"{path}:{number}: damaged; expected a record of a step with numbers")
        records.append(record | {key: _with_nan(record[key]) for key in _NUMBERS if key in record})
    return records


def _is_record(record: Any) -> bool:
    """Whether a line holds what readers of a log count on."""
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return False
    terms, organs = record.get("terms", {}), record.get("organs", {})
    if not (isinstance(terms, dict) and isinstance(organs, dict)):
        return False
    if "terms" in record and "loss" not in record:
        return False
    tables = [terms, {"loss": record.get("loss")}, *organs.values()]
    return all(isinstance(table, dict) and all(map(_is_score, table.values())) for table in tables)


def _is_score(value: Any) -> bool:
    whole = isinstance(value, int) and abs(value) < _LARGEST
    return value is None or isinstance(value, float) or whole


def truncate_log(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the records after a step and incomplete lines; returns the remaining records."""
    records = [record for record in read_log(path) if record["step"] <= step]
    write_text(path, "".join(map(_line, records)))
    return records


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_strict(record), allow_nan=False) + "\n"


def _strict(content: Any) -> Any:
    """Null in place of non-finite numbers, at any depth."""
    if isinstance(content, Mapping):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_strict(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _with_nan(content: Any) -> Any:
    """NaN in place of null, at any depth of a table."""
    if isinstance(content, Mapping):
        return {key: _with_nan(value) for key, value in content.items()}
    return math.nan if content is None else content


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Tags and values that a record adds to curves."""
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
