"""Hardware, time and versions of a run, from the sessions in its `run.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.runs.run_record import read_run_record


@dataclass(frozen=True)
class TrainingRecord:
    """All sessions of the training of one run; several values where sessions differ.

    Attributes:
        seconds: of the sessions that ended.
        killed: number of sessions that did not end, whose time is unknown.
        energy_kwh: of all sessions; None if a device did not tell.
        devices: kind of device and name of the GPU or processor.
        versions: package -> versions.
        commits: of the checkout of the package; with `, changed` if files differed from it.
    """

    sessions: int
    seconds: float
    killed: int
    energy_kwh: float | None
    devices: tuple[str, ...]
    platforms: tuple[str, ...]
    threads: tuple[str, ...]
    versions: dict[str, tuple[str, ...]]
    commits: tuple[str, ...]


def read_training_record(path: Path) -> TrainingRecord | None:
    """The record in a `run.json`; None if there is no such file or no session in it.

    Raises:
        ValueError: a damaged file.
    """
    sessions = (read_run_record(path) or {}).get("sessions")
    return _joined(sessions) if sessions else None


def _joined(sessions: Sequence[Mapping[str, Any]]) -> TrainingRecord:
    seconds = [one.get("seconds") for one in sessions]
    energy = [one.get("energy_kwh") for one in sessions]
    known = [float(each) for each in energy if each is not None]
    versions: dict[str, dict[str, None]] = {}
    for one in sessions:
        for package, version in (one.get("versions") or {}).items():
            versions.setdefault(package, {})[str(version)] = None
    return TrainingRecord(
        sessions=len(sessions),
        seconds=sum(float(each) for each in seconds if each is not None),
        killed=sum(each is None for each in seconds),
        energy_kwh=sum(known) if len(known) == len(energy) else None,
        devices=_distinct(sessions, "device"),
        platforms=_distinct(sessions, "platform"),
        threads=_distinct(sessions, "threads"),
        versions={package: tuple(each) for package, each in versions.items()},
        commits=tuple(dict.fromkeys(_commit(one["git"]) for one in sessions if one.get("git"))),
    )


def _distinct(sessions: Sequence[Mapping[str, Any]], key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(one[key]) for one in sessions if one.get(key) is not None))


def _commit(git: Mapping[str, Any]) -> str:
    return f"{str(git.get('commit'))[:12]}{', changed' * bool(git.get('changed'))}"


def duration(seconds: float) -> str:
    """A time as `12 s`, `34 min` or `5 h 06 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
