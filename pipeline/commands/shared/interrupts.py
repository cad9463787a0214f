"""Ctrl-C and SIGTERM end a command with one line that says what was kept."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer


@contextmanager
def stopped_with(message: str) -> Iterator[None]:
    """End with the message and exit code 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        message: what was kept and how to resume.
    """
    terminated: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # only the main thread may set handlers
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"stopped; {message}", err=True)
        raise typer.Exit(143 if terminated else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
