"""Ctrl-C and SIGTERM end a command with one line that says what was kept.

Imports nothing heavy: `pipeline.__main__` uses it before the first import of a library.
"""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, ClassVar, NoReturn, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ALARM = getattr(signal, "SIGALRM", None)  # Windows has none
_RETRY_SECONDS = 0.02
_CLEANUP_SECONDS = 2.0
# An exception must not pass through the import of an extension module, which then ends in an
# ImportError or crashes, nor through the compiled part of pydantic, which turns it into an error of
# its own; Python discards one that leaves a finalizer.
_UNINTERRUPTIBLE_FILES = ("<frozen importlib", f"{os.sep}pydantic{os.sep}")
_UNINTERRUPTIBLE_FUNCTIONS = ("__del__",)


class _Interrupt:
    """A signal handler that raises KeyboardInterrupt, as soon as that is safe.

    Args:
        message: printed where the process ends at once, by SystemExit, which no library catches.

    Attributes:
        number: the first signal that arrived, None before.
        postponed: of all handlers, the first signal, while it waits for the timer.
    """

    postponed: ClassVar[int | None] = None

    def __init__(self, message: str | None = None) -> None:
        self.message = message
        self.number: int | None = None
        self.since = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first = _Interrupt.postponed  # perhaps by the handler of an outer block
        if number == _ALARM:
            number = first or signal.SIGINT
        if self.number is None:
            self.number = first or number
        if _ALARM is not None and _is_uninterruptible(frame):
            _Interrupt.postponed = self.number
            signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)  # tries again
            return
        now = time.monotonic()
        if self.since and now - self.since < _CLEANUP_SECONDS:
            return  # a second signal must not cut off the removal of unfinished files
        self.since, _Interrupt.postponed = now, None
        if self.message is not None:
            _end(self.message, self.number)
        raise KeyboardInterrupt


def _end(message: str, number: int) -> NoReturn:
    ignore_signals()  # a second signal must not cut the message or change the exit code
    print(f"stopped; {message}", file=sys.stderr)
    raise SystemExit(128 + number)


def _is_uninterruptible(frame: FrameType | None) -> bool:
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if function in _UNINTERRUPTIBLE_FUNCTIONS:
            return True
        if any(part in file for part in _UNINTERRUPTIBLE_FILES):
            return True
        frame = frame.f_back
    return False


@contextmanager
def stopped_with(message: str, *, at_once: bool = False) -> Iterator[None]:
    """End with the message and exit code 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        message: files that are kept and how to resume; the text of the interrupt replaces it.
        at_once: raise SystemExit in place of KeyboardInterrupt, which the parser of the command
            line would answer itself.
    """
    if threading.current_thread() is not threading.main_thread():  # it alone may set handlers
        yield
        return
    interrupt = _Interrupt(message if at_once else None)
    before = _install(interrupt)
    try:
        yield
    except KeyboardInterrupt as end:
        _end(str(end) or message, interrupt.number or signal.SIGINT)
    finally:
        if _ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        _hand_on(interrupt, before)


def _hand_on(interrupt: _Interrupt, before: Mapping[int, Any]) -> None:
    """Repeat a signal that was still postponed when its block ended, for the block around it."""
    number = interrupt.number
    if number is not None and not interrupt.since and isinstance(before.get(number), _Interrupt):
        signal.raise_signal(number)


def _install(interrupt: _Interrupt) -> dict[int, Any]:
    """Handle the signals that are not ignored; returns the former handlers."""
    numbers = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    if _ALARM is not None:
        numbers.append(_ALARM)
    return {number: signal.signal(number, interrupt) for number in numbers}


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM, while a process ends.

    By a handler that does nothing: with SIG_IGN Python prints a traceback of a signal that has
    arrived and is not handled yet ("ignored due to race condition").
    """
    for number in _SIGNALS:
        with suppress(ValueError):  # not in the main thread
            signal.signal(number, _do_nothing)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal by ignoring it."""


def stoppable(command: Callable[_P, _R], message: str) -> Callable[_P, _R]:
    """The command, ended by a signal as `stopped_with` describes."""

    @functools.wraps(command)
    def run(*args: _P.args, **options: _P.kwargs) -> _R:
        with stopped_with(message):
            return command(*args, **options)

    return run
