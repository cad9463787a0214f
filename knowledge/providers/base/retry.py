"""Retries of failed calls, with exponential backoff and `Retry-After`."""

import email.utils
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from knowledge.providers.base.budget import Budget
from knowledge.providers.base.usage import Usage

FIRST_WAIT_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
LONGEST_ASKED_WAIT_SECONDS = 900.0
T = TypeVar("T")


class CallFailed(Exception):
    """A failed call.

    Attributes:
        error: the reason.
        again: whether to retry.
        spent: usage of the call; None if unknown, which counts as its maximum.
        retry_after: the header of that name, seconds or a date; else empty.
        total: usage of this call and the attempts before it; set by `Retry.run`.
    """

    def __init__(
        self, error: Exception, *, again: bool, spent: Usage | None, retry_after: str = ""
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.spent = spent
        self.retry_after = retry_after
        self.total = Usage()


class Retry:
    """Repeats failed calls; shared by threads, so that all wait when one has to.

    Waits as long as `Retry-After` demands, else exponentially longer, with jitter.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self._resume_at = 0.0
        self._lock = threading.Lock()

    def run(
        self, call: Callable[[], tuple[T, Usage]], worst: Usage, budget: Budget
    ) -> tuple[T, Usage]:
        """The result of the call, and its usage with that of failed attempts.

        Raises:
            CallFailed: the last attempt failed, or one that is not to be retried.
            BudgetSpent, Stopped: the budget allows no further attempt, which may cost `worst`.
        """
        total = Usage()
        for attempt in range(self.retries + 1):
            self._hold(budget)
            with budget.attempt(worst) as counted:
                try:
                    result, counted.spent = call()
                    return result, total + counted.spent
                except CallFailed as failed:
                    if failed.spent is not None:
                        counted.spent = failed.spent
                    total = failed.total = total + counted.spent
                    wait = wait_seconds(failed.retry_after, attempt)
                    if attempt == self.retries or not failed.again or wait is None:
                        raise
            with self._lock:
                self._resume_at = max(self._resume_at, time.monotonic() + wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _hold(self, budget: Budget) -> None:
        with self._lock:
            wait = self._resume_at - time.monotonic()
        if wait > 0:
            budget.stopped.wait(wait)


def wait_seconds(retry_after: str, attempt: int) -> float | None:
    """Seconds before the next attempt; None if the service demands too many."""
    asked = _seconds(retry_after)
    if asked is None:
        backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
        return backoff * random.uniform(0.5, 1.0)
    return asked if asked <= LONGEST_ASKED_WAIT_SECONDS else None


def _seconds(text: str) -> float | None:
    """The seconds of a header `Retry-After`, which may be a date; None if it is neither."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
