"""Terminal output of commands that train."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipeline.runs.observer import TrainingObserver

if TYPE_CHECKING:
    from pipeline.config.recipe import RunConfig
    from pipeline.terminal.live_table import Watcher


class TerminalObserver(TrainingObserver):
    """Shows a run as a live table, or as lines.

    Args:
        watcher: of `watching`.
        device: as the user knows it.
        folder: of the run.
    """

    def __init__(
        self, watcher: "Watcher", config: "RunConfig", device: object, folder: Path
    ) -> None:
        self.watcher, self.config, self.device, self.folder = watcher, config, device, folder

    def ready(self, step: int) -> None:
        """Print the number of steps, the device and the folder."""
        steps = self.config.training.steps
        if step == steps:
            typer.echo(
                f"{self.folder}: all {steps} steps are completed; `tak evaluate` scores the run"
            )
            return
        after = f" after {step} completed ones" if step else ""
        typer.echo(
            f"{self.config.title}: {steps - step} steps{after} on {self.device}, into {self.folder}"
        )

    def recall(self, record: dict[str, Any]) -> None:
        """Show a record of an earlier session."""
        self.watcher.recall(record)

    def initialized(self, lines: list[str]) -> None:
        """Print what was taken."""
        for line in lines:
            typer.echo(f"init: {line}")

    def report(self, record: dict[str, Any]) -> None:
        """Show a new record."""
        self.watcher.report(record)

    def tick(self, case: str, done: int, total: int) -> None:
        """Show the progress of a validation."""
        self.watcher.tick(case, done, total)
