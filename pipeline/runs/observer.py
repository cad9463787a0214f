"""Events that a training run reports to its caller."""

from typing import Any


class TrainingObserver:
    """Receives the events of a training run; most methods do nothing unless overridden.

    Attributes:
        stopped_by: the signal that ended the session early, None without one.
    """

    stopped_by: int | None = None

    def recall(self, record: dict[str, Any]) -> None:
        """A record of the log before the run was resumed; these come first."""

    def ready(self, step: int) -> None:
        """All checks have passed after `step` completed steps; training begins now."""

    def initialized(self, lines: list[str]) -> None:
        """A new run took trained weights; which ones, in words."""

    def report(self, record: dict[str, Any]) -> None:
        """A new record of the log."""

    def tick(self, case: str, done: int, total: int) -> None:
        """A validation begins a case; `done` of `total` are scored."""

    def stopped(self, number: int) -> None:
        """A signal ended the session after a step; last.pt is written."""
        self.stopped_by = number
