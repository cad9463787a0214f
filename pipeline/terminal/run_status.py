"""Status of a run: step, losses, pace and scores, from the records of its log."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

_PACE_RECORDS = 20  # of the latest records, from which the time left is estimated


@dataclass
class RunStatus:
    """Status of a run of `steps` steps, updated by every record of its log.

    Attributes:
        memory_of: the owner of `peak_memory_mib`, `GPU` or `process`.
        warnings: their number.
        history: Dice per organ of the first predictor over the validations.
        means: step and mean Dice of every validation, by predictor.
    """

    steps: int
    step: int = 0
    loss: float = math.nan
    rate: float = math.nan
    peak_memory_mib: float | None = None
    memory_of: str = ""
    warnings: int = 0
    terms: Mapping[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    means: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)
    _pace: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_PACE_RECORDS))

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record of this session."""
        if "seconds" in record:
            self._pace.append((record["step"], record["seconds"]))
        self.recall(record)

    def recall(self, record: Mapping[str, Any]) -> None:
        """Add a record of an earlier session, which does not count for the time left."""
        self.step = record["step"]
        self.warnings += len(record.get("warnings", ()))
        if "loss" in record:
            self.loss, self.rate, self.terms = record["loss"], record["rate"], record["terms"]
            self.peak_memory_mib = record.get("peak_memory_mib")
            self.memory_of = record.get("memory_of", "")
        if "validation" in record:
            self.means.append((record["step"], record["validation"]))
            for organ, score in next(iter(record["organs"].values())).items():
                self.history.setdefault(organ, []).append(score)

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the latest records, validations included; None before the second one."""
        if len(self._pace) < 2:
            return None
        (first, begin), (last, end) = self._pace[0], self._pace[-1]
        return (end - begin) / (last - first)

    @property
    def time_left(self) -> str:
        """Estimated time left as h:mm:ss; `-` before the second record."""
        pace = self.seconds_per_step
        return "-" if pace is None else clock(pace * (self.steps - self.step))

    @property
    def first_predictor(self) -> str:
        """The predictor that chooses the checkpoint."""
        return next(iter(self.means[-1][1]))

    def best(self) -> tuple[int, float]:
        """Step and mean of the best validation of the first predictor; the first of equals."""
        name = self.first_predictor
        scored = [(step, means[name]) for step, means in self.means]
        return max(scored, key=lambda pair: (not math.isnan(pair[1]), pair[1]))


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


def memory(mebibytes: float) -> str:
    """A size as MiB or GiB."""
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"


def percent(score: float) -> str:
    """A score in [0, 1] as a percentage; `-` for NaN."""
    return "-" if math.isnan(score) else f"{100 * score:.1f}"
