"""A reply of the chat protocol: checked, its text, and what it took."""

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


def check_reply(reply: Any) -> None:
    """Refuse what is no chat completion; the client hands on whatever JSON a service sends."""
    choices = getattr(reply, "choices", None)
    if not choices or not isinstance(choices, list):
        _raise_reported(reply)
        raise EmptyReply("the reply holds no answer")
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


def _content(choice: Any) -> str | None:
    """A string, or a list of parts of which those with text count; None for anything else."""
    content = getattr(getattr(choice, "message", None), "content", 0)
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    texts = []
    for part in content:
        fields = part if isinstance(part, dict) else getattr(part, "__dict__", {})
        if fields.get("type") in ("text", "output_text") and isinstance(fields.get("text"), str):
            texts.append(fields["text"])
    return "".join(texts)


def _raise_reported(reply: Any) -> None:
    """Some gateways report an error with status 200.

    Raises:
        EmptyReply: with the service's reason.
    """
    error = getattr(reply, "error", None)
    if not error:
        return
    fields = error if isinstance(error, dict) else {"message": str(error)}
    message = str(fields.get("message") or fields)
    code = str(fields.get("code") or fields.get("status") or "")
    passing = code in ("408", "409", "429") or code.startswith("5") or not code.isdigit()
    permanent = any(word in message.lower() for word in ("invalid", "quota", "credit", "not found"))
    raise EmptyReply(f"an error in the reply: {message}", again=passing and not permanent)


def usage_of(reply: Any, messages: list[dict[str, Any]]) -> Usage:
    """What the server says it took; an estimate where it says nothing, or nothing sensible."""
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
