"""Signals that ask a run to stop: the first one is noted, the second one acts as ever."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a flag; the second one acts as ever."""
    caught: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, remember)
    except ValueError:  # not in the main thread: whoever runs us there stops us
        pass
    try:
        yield lambda: bool(caught)
    finally:
        for caught_signal, handler in before.items():
            signal.signal(caught_signal, handler)
