"""What a training run reports to its caller while it goes."""

from typing import Any


class TrainingObserver:
    """Receives the events of a training run; every method does nothing unless overridden."""

    def recall(self, record: dict[str, Any]) -> None:
        """A record that a resumed run's log already holds; these come first."""

    def ready(self, step: int) -> None:
        """Everything is checked, `step` steps are done, and nothing is learned yet."""

    def report(self, record: dict[str, Any]) -> None:
        """A new record of the log."""

    def tick(self, case: str, done: int, total: int) -> None:
        """A validation begins a case; `done` of `total` are scored."""

    def stopped(self, number: int) -> None:
        """A signal ended the session after a step; last.pt is written."""
