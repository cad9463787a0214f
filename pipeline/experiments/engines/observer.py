"""The interface of whoever follows a run of a study."""

from typing import Protocol

from pipeline.experiments.engines.workers import Outcome
from pipeline.experiments.stages import Stage


class Observer(Protocol):
    """Follows a run of a study."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""

    def ended(self, stage: Stage, outcome: Outcome) -> None:
        """A stage is done, failed or was interrupted."""

    def reused(self, stage: Stage) -> None:
        """Another process made the stage meanwhile."""
