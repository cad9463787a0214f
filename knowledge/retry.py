"""Failed calls to a service: which to repeat, how long to wait, what to tell the user."""

import email.utils
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import openai

from knowledge.provider import ProviderOptions, Usage

FIRST_WAIT_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
LONGEST_ASKED_WAIT_SECONDS = 900.0


class EmptyReply(Exception):
    """The service answered, but not with a chat completion."""


REPEATABLE = (
    openai.APIConnectionError,
    openai.RateLimitError,
    openai.InternalServerError,
    openai.ConflictError,
    openai.APIResponseValidationError,
    json.JSONDecodeError,
    EmptyReply,
)


class Retry:
    """Repeats calls that may yet succeed; shared by threads, so that one's wait holds for all.

    Waits as long as `Retry-After` asks, else twice as long each time, with jitter.
    """

    def __init__(self, retries: int, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.retries = retries
        self._sleep = sleep
        self._resume_at = 0.0
        self._lock = threading.Lock()

    def run(self, call: Callable[[], Any], input_tokens: int) -> tuple[Any, Usage]:
        """The call's result and what its failed attempts may have cost.

        A time-out or a cut connection is counted with its input, since the service may have read
        it; a refusal (429, 5xx) as a call without tokens.
        """
        wasted = Usage()
        for attempt in range(self.retries + 1):
            self._hold()
            try:
                return call(), wasted
            except REPEATABLE as error:
                wait = wait_seconds(error, attempt)
                if attempt == self.retries or _hopeless(error) or wait is None:
                    raise
                unanswered = isinstance(error, openai.APIConnectionError)
                wasted = wasted + Usage(calls=1, input_tokens=input_tokens if unanswered else 0)
                with self._lock:
                    self._resume_at = max(self._resume_at, time.monotonic() + wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _hold(self) -> None:
        with self._lock:
            wait = self._resume_at - time.monotonic()
        if wait > 0:
            self._sleep(wait)


def wait_seconds(error: Exception, attempt: int) -> float | None:
    """How long to wait before the next attempt, or None when the service asks for too long."""
    asked = _retry_after(error)
    if asked is None:
        backoff = min(LONGEST_BACKOFF_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
        return backoff * random.uniform(0.5, 1.0)
    return asked if asked <= LONGEST_ASKED_WAIT_SECONDS else None


def _retry_after(error: Exception) -> float | None:
    """The header `Retry-After`: seconds, or a date."""
    if not isinstance(error, openai.APIStatusError):
        return None
    text = error.response.headers.get("retry-after")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _hopeless(error: Exception) -> bool:
    """A 429 that says the account is empty is not worth a second call."""
    return isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota"


def explain(
    error: Exception, url: str, options: ProviderOptions, key: str, models: Callable[[], list[str]]
) -> Exception:
    """What went wrong, as one message for the user that never holds the key."""
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return OSError(
            f"{url} refuses the key ({error.status_code}): check the environment variable "
            f"{options.key_env}"
        )
    if isinstance(error, openai.NotFoundError):
        return _not_found(url, options.model, models)
    if isinstance(error, openai.APITimeoutError):
        return OSError(f"no answer from {url} within {options.timeout_seconds:g} s (--timeout)")
    if isinstance(error, openai.APIConnectionError):
        return OSError(f"cannot reach the server at {url}: {error.__cause__ or error}")
    if isinstance(error, openai.RateLimitError):
        return OSError(f"{url} keeps refusing (429, rate or quota): {_detail(error, key)}")
    if isinstance(error, openai.APIStatusError):
        return OSError(f"{url} answered {error.status_code}: {_detail(error, key)}")
    return OSError(f"{url} does not answer with chat completions: {_detail(error, key)}")


def _not_found(url: str, model: str, models: Callable[[], list[str]]) -> Exception:
    try:
        known = models()
    except (openai.OpenAIError, ValueError, TypeError, AttributeError):
        return OSError(
            f"{url} answered 404: it is no OpenAI-compatible address (these usually end in /v1), "
            f"or it has no model {model!r}"
        )
    shown = ", ".join(known[:20]) or "none"
    return LookupError(f"no model {model!r} at {url}; there is {shown}")


def _detail(error: Exception, key: str) -> str:
    message = getattr(error, "message", "") or str(error) or type(error).__name__
    line = " ".join(message.split()).replace(key, "***")
    return line if len(line) <= 300 else f"{line[:297]}..."
