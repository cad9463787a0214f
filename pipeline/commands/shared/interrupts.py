"""Ctrl-C and SIGTERM end a command with one line that says what was kept.

Imports nothing heavy: `pipeline.__main__` uses it before the first import of a library.
"""

import functools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ALARM = getattr(signal, "SIGALRM", None)  # Windows has none
_RETRY_SECONDS = 0.02
_CLEANUP_SECONDS = 2.0
# Functions that an exception must not leave: extension modules whose import is interrupted end in
# an ImportError or crash, and Python discards an exception that leaves a finalizer.
_UNINTERRUPTIBLE_FILES = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_UNINTERRUPTIBLE_FUNCTIONS = ("__del__",)


class _Interrupt:
    """A signal handler that raises KeyboardInterrupt, as soon as that is safe.

    Attributes:
        number: the first signal that arrived, None before.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.since = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
        if _ALARM is not None and _is_uninterruptible(frame):
            signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)  # tries again
            return
        now = time.monotonic()
        if self.since and now - self.since < _CLEANUP_SECONDS:
            return  # a second signal must not cut off the removal of unfinished files
        self.since = now
        raise KeyboardInterrupt


def _is_uninterruptible(frame: FrameType | None) -> bool:
    while frame is not None:
        code = frame.f_code
        if code.co_filename in _UNINTERRUPTIBLE_FILES or code.co_name in _UNINTERRUPTIBLE_FUNCTIONS:
            return True
        frame = frame.f_back
    return False


@contextmanager
def stopped_with(message: str) -> Iterator[None]:
    """End with the message and exit code 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        message: files that are kept and how to resume; the text of the interrupt replaces it.
    """
    if threading.current_thread() is not threading.main_thread():  # it alone may set handlers
        yield
        return
    interrupt = _Interrupt()
    before = _install(interrupt)
    try:
        yield
    except KeyboardInterrupt as end:
        ignore_signals()  # a second signal must not cut the message or change the exit code
        print(f"stopped; {str(end) or message}", file=sys.stderr)
        raise SystemExit(128 + (interrupt.number or signal.SIGINT)) from None
    finally:
        if _ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _install(interrupt: _Interrupt) -> dict[int, Any]:
    """Handle the signals that are not ignored; returns the former handlers."""
    numbers = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    if _ALARM is not None:
        numbers.append(_ALARM)
    return {number: signal.signal(number, interrupt) for number in numbers}


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM, while a process ends."""
    for number in _SIGNALS:
        with suppress(ValueError):  # not in the main thread
            signal.signal(number, signal.SIG_IGN)


def stoppable(command: Callable[_P, _R], message: str) -> Callable[_P, _R]:
    """The command, ended by a signal as `stopped_with` describes."""

    @functools.wraps(command)
    def run(*args: _P.args, **options: _P.kwargs) -> _R:
        with stopped_with(message):
            return command(*args, **options)

    return run
