"""Reasons of refused calls, read from their messages: format, content, system role, overload."""

import re

from knowledge.providers.base.retry import CallFailed

# A server that is not ready yet, whatever its status says.
_NOT_READY = re.compile(r"\b(loading|try again|overloaded|warming up|temporarily)\b", re.IGNORECASE)
# Content filters of Azure, OpenAI, OpenRouter, DashScope, DeepSeek.
_FILTER = re.compile(
    r"content_?filter|content_policy_violation|ResponsibleAIPolicyViolation|data_inspection_failed"
    r"|content management policy|content exists risk|flagged by moderation|requires moderation",
    re.IGNORECASE,
)
# Broad, since an attempt without a system message decides (`OpenAICompatible`).
_SYSTEM_ROLE = re.compile(
    r"\bsystem\b.{0,40}\brole|\brole.{0,40}\bsystem\b"
    r"|\bsystem\W{0,3}(message|prompt|instruction)|\bdeveloper instruction"
    r"|(not|n't|un)\s?support\w*\W.{0,20}\bsystem\b"
    r"|roles must alternate|\buser\b.{0,10}\bassistant\b",
    re.IGNORECASE | re.DOTALL,
)


def worth_repeating(error: Exception) -> bool:
    """Whether a refused call may succeed later."""
    status = _status(error)
    # An empty account is a 429 that is not worth a second call.
    empty = getattr(error, "code", None) == "insufficient_quota"
    if empty or _names_format(error) or _names_system_role(error):
        return False
    return status in (408, 409, 429) or status >= 500 or bool(_NOT_READY.search(_words(error)))


def refuses_format(failed: CallFailed) -> bool:
    """Whether the service cannot give the output asked for: it says so, or the call is malformed.

    Some servers answer a `response_format` that they do not know with a 500 that names it.
    """
    error = failed.error
    if refuses_content(failed) or _NOT_READY.search(_words(error)):
        return False
    return _status(error) in (400, 422) or _names_format(error)


def refuses_content(failed: CallFailed) -> bool:
    """Whether the service refused one question for its content, as Azure's filter does."""
    return _status(failed.error) in (400, 403) and names_filter(_words(failed.error))


def names_filter(words: str) -> bool:
    """Whether the words of a refusal are those of a content filter."""
    return bool(_FILTER.search(words))


def refuses_system_role(failed: CallFailed) -> bool:
    """Whether the service may have refused a call since its model takes no system message."""
    return _names_system_role(failed.error)


def _status(error: Exception) -> int:
    """The HTTP status of a refusal; 0 of any other failure."""
    return int(getattr(error, "status_code", 0))


def _words(error: Exception) -> str:
    """Code, message and body of a refusal."""
    return " ".join(str(getattr(error, name, "")) for name in ("code", "message", "body"))


def _names_format(error: Exception) -> bool:
    return _status(error) not in (0, 401, 403, 429) and "response_format" in _words(error)


def _names_system_role(error: Exception) -> bool:
    return _status(error) in (400, 422, 500) and bool(_SYSTEM_ROLE.search(_words(error)))
