"""Progress in the terminal: bars with time left."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def _progress(*, stderr: bool = False) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=stderr),
    )


@contextmanager
def counted(
    description: str, total: int, *, stderr: bool = False
) -> Iterator[Callable[[str], None]]:
    """A progress bar that moves by one with every call, which gives the name of the item."""
    with _progress(stderr=stderr) as bars:
        task = bars.add_task(description, total=total, note="")

        def tick(note: str) -> None:
            bars.update(task, advance=1, note=note)

        yield tick


@contextmanager
def parts_of(description: str, total: int) -> Iterator[Callable[[str], Callable[[float], None]]]:
    """A progress bar on stderr over long items: start one by its name, then report its share."""
    with _progress(stderr=True) as bars:
        task = bars.add_task(description, total=total, note="")
        started = itertools.count()

        def start(note: str) -> Callable[[float], None]:
            before = next(started)
            bars.update(task, completed=before, note=note)
            return lambda share: bars.update(task, completed=before + share)

        yield start
        bars.update(task, completed=total, note="")
