"""Replies of the chat protocol: their validity, text and usage."""

import re
from typing import Any

from knowledge.providers.base.provider import IMAGE_TOKENS
from knowledge.providers.base.usage import EstimatedUsage, Usage


class EmptyReply(Exception):
    """The service answered, but not with a chat completion.

    Attributes:
        again: whether a repetition may succeed.
    """

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


# Reasons that stay the same however often one asks.
_PERMANENT = re.compile(
    r"invalid|quota|credit|billing|payment|not.?found|no such|does not exist|unsupported"
    r"|not supported|unauthorized|authenticat|permission|forbidden|api.?key|context.?length"
    r"|moderation",
    re.IGNORECASE,
)


def check_reply(reply: Any) -> None:
    """Refuse a reply that is no chat completion; the client returns any JSON that a service sends.

    Raises:
        EmptyReply: with the service's reason where it gives one.
    """
    choices = getattr(reply, "choices", None)
    if not choices or not isinstance(choices, list):
        raise _reported(reply) or EmptyReply("the reply holds no answer")
    for part in (reply, choices[0]):
        if getattr(part, "error", None) and (reported := _reported(part)):
            raise reported
    text = _content(choices[0])
    if text is None:
        raise EmptyReply("the reply's answer is no text")
    if not isinstance(getattr(reply, "model", None), str | None):
        raise EmptyReply("the reply's model is no name")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EmptyReply("the reply's answer is no Unicode text") from None


def text_of(reply: Any) -> str:
    """The text of a reply's answer, empty if it has none; parts of it are joined."""
    return _content(reply.choices[0]) or ""


def has_thoughts(choice: Any) -> bool:
    """Whether the reply has thoughts in a field of their own."""
    message = choice.message
    return any(getattr(message, name, None) for name in ("reasoning_content", "reasoning"))


def _content(choice: Any) -> str | None:
    """A string, or a list of parts of which those with text count; None for anything else."""
    content = getattr(getattr(choice, "message", None), "content", 0)
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    return "".join(map(_text_of_part, content))


def _text_of_part(part: Any) -> str:
    """The text of a part, unless that is a thought or a picture."""
    if isinstance(part, str):
        return part
    fields = _fields(part)
    text = fields.get("text")
    answers = fields.get("type", "text") in ("text", "output_text")
    return text if answers and isinstance(text, str) else ""


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a JSON object, as the client returns it."""
    return value if isinstance(value, dict) else {**getattr(value, "__dict__", {}), **_extra(value)}


def _extra(value: Any) -> dict[str, Any]:
    return getattr(value, "model_extra", None) or {}


def _reported(reply: Any) -> EmptyReply | None:
    """The error that a reply with status 200, or its choice, reports."""
    fields = _fields(reply)
    error = next((fields[name] for name in ("error", "errors", "detail") if fields.get(name)), None)
    if isinstance(error, list):
        error = error[0]
    if error is None:
        error = fields if fields.get("message") else None
    if error is None:
        return None
    reported = {"message": error} if isinstance(error, str) else _fields(error)
    message = str(reported.get("message") or reported.get("msg") or reported)
    codes = [str(reported.get(name) or "") for name in ("code", "status", "type")]
    number = next((code for code in codes if code.isdigit()), "")
    again = number in ("", "408", "409", "429") or number.startswith("5")
    again = again and not _PERMANENT.search(" ".join([message, *codes]))
    return EmptyReply(f"an error in the reply: {message}", again=again)


def usage_of(reply: Any, messages: list[dict[str, Any]]) -> Usage:
    """The usage that the server reports; an estimate where that is missing or impossible."""
    usage = getattr(reply, "usage", None)
    counts = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None) or 0
    if not all(isinstance(count, int) and count >= 0 for count in counts) or not counts[0]:
        return EstimatedUsage(
            calls=1, input_tokens=_estimate(messages), output_tokens=-(-len(text_of(reply)) // 4)
        )
    return Usage(calls=1, input_tokens=counts[0], output_tokens=counts[1])


def _estimate(messages: list[dict[str, Any]]) -> int:
    """Tokens of the texts, at four characters each, and of the pictures."""
    return sum(
        len(part["text"]) // 4 if part["type"] == "text" else IMAGE_TOKENS
        for part in parts_of(messages)
    )


def parts_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The texts and pictures of a chat."""
    contents = [message["content"] for message in messages]
    return [
        part
        for content in contents
        for part in (content if isinstance(content, list) else [{"type": "text", "text": content}])
    ]
