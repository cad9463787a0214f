"""Observers of a run of a study."""

from typing import Protocol

from pipeline.experiments.engines.workers import Outcome
from pipeline.experiments.stages import Stage


class Observer(Protocol):
    """Receives the events of a run of a study."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""

    def ended(self, stage: Stage, outcome: Outcome) -> None:
        """A stage is done, failed or was interrupted."""

    def reused(self, stage: Stage) -> None:
        """Another process has finished the stage."""


class LineObserver:
    """Prints a line per stage, for the log of a job on another machine."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""
        print(f"{stage.label}: started", flush=True)

    def ended(self, stage: Stage, outcome: Outcome) -> None:
        """A stage is done, failed or was interrupted."""
        state = "done" if outcome.code == 0 else outcome.error
        print(f"{stage.label}: {state}, {outcome.seconds:.1f} s", flush=True)

    def reused(self, stage: Stage) -> None:
        """Another process has finished the stage."""
        print(f"{stage.label}: finished by another process", flush=True)
