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
        message: what was kept and how to resume; an interrupt with a text of its own replaces it.
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
    interrupt_handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        # A second signal must not cut the message or change the exit code.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        typer.echo(f"stopped; {str(interrupt) or message}", err=True)
        raise typer.Exit(143 if terminated else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt_handler)


@contextmanager
def signals_postponed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM take effect when the block has ended.

    Extension modules that are interrupted while they are imported end in an ImportError, or crash.
    """
    pending: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {
            number: signal.signal(number, lambda number, frame: pending.append(number))
            for number in numbers
        }
    except ValueError:  # only the main thread may set handlers
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])
