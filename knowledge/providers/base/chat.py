"""Calls of the chat protocol over HTTP, and messages of their failures, without secrets."""

import json
import unicodedata
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from knowledge.common.suggest import did_you_mean
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.receiving import receive
from knowledge.providers.base.redaction import Redactor
from knowledge.providers.base.refusals import worth_repeating
from knowledge.providers.base.reply import EmptyReply, check_reply, parts_of, usage_of
from knowledge.providers.base.retry import CallFailed
from knowledge.providers.base.usage import Usage

# Headers that carry a key: with one of them no other key is sent.
KEY_HEADERS = ("authorization", "api-key", "x-api-key")
# Tokens that services add: marks around each message; a date, a greeting, rules about the format.
MESSAGE_TOKENS = 30
CALL_TOKENS = 300
# Ways to fail before anything was sent, by the names of the client's HTTP library.
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")


_FAILURES = (openai.OpenAIError, TimeoutError, json.JSONDecodeError, RecursionError, EmptyReply)


class LimitRenamed(CallFailed):
    """The service has another name for the limit of the answer; the next call uses it."""


class _Http(openai.DefaultHttpxClient):
    """The HTTP client under that of OpenAI; follows no redirect.

    Whoever a service points to would get the headers, keys among them, and the question.
    """

    def __init__(self, seconds: float, redactor: Redactor) -> None:
        super().__init__(follow_redirects=False)
        self._seconds = seconds
        self._redactor = redactor

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """The complete reply, without secrets."""
        unread = partial(super().send, stream=True, **options)
        return receive(unread, request, seconds=self._seconds, redactor=self._redactor)


class ChatClient:
    """A service by its address, key, headers and query; `complete` is one HTTP call.

    Raises:
        ValueError: an address that holds a password or a query, or a key that no header can hold.
    """

    def __init__(self, options: ProviderOptions, key: str) -> None:
        key = key.strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"{options.key_env} holds characters that no key has")
        self.options = options
        keyed = any(name.lower() in KEY_HEADERS for name in options.headers)
        # Given with each call, since the client accepts the absence of a key only there.
        # Connections are not kept: answers take seconds, and nobody has to close a client.
        self._headers: dict[str, Any] = {"Connection": "close", **options.headers}
        if not any(name.lower() == "authorization" for name in options.headers):
            self._headers |= {"Authorization": openai.Omit()} if keyed or not key else {}
        secrets = [key, *options.headers.values()]
        secrets += [value for name, value in options.query.items() if name != "api-version"]
        self._redactor = Redactor(secrets)
        self._client = openai.OpenAI(
            api_key=key or "none",
            base_url=_checked(options.base_url),
            timeout=options.timeout_seconds,
            max_retries=0,
            default_query=dict(options.query),
            http_client=_Http(options.timeout_seconds, self._redactor),
        )
        self.url = str(self._client.base_url).rstrip("/")
        self.needs_key = not (key or keyed) and urlsplit(self.url).hostname == "api.openai.com"
        self._limit_key = "max_tokens"

    def complete(self, body: dict[str, Any]) -> tuple[Any, Usage]:
        """The reply to a request body, and its usage as the service reports it.

        Raises:
            CallFailed: with its cost, and whether to repeat it.
            LimitRenamed: to be repeated at once.
        """
        limit_key = self._limit_key
        create: Any = self._client.chat.completions.create
        try:
            limit = {limit_key: self.options.max_answer_tokens}
            reply = create(**body, **limit, extra_headers=self._headers)
            check_reply(reply)
            return reply, usage_of(reply, body["messages"])
        except openai.BadRequestError as error:
            # Newer models of OpenAI have another name for the limit of the answer.
            if limit_key == "max_tokens" and "max_completion_tokens" in str(error):
                self._limit_key = "max_completion_tokens"
                raise LimitRenamed(error, again=False, spent=Usage(calls=1)) from None
            raise _failure(error) from None
        except _FAILURES as error:
            raise _failure(error) from None

    def at_most(self, body: dict[str, Any]) -> Usage:
        """The maximum usage of a call with this request body.

        A token holds at least one byte of the text, as it stands or as a tokenizer rewrites it
        (NFKC). A picture counts as `tokens_per_image`.
        """
        parts = parts_of(body["messages"])
        texts = [part["text"] for part in parts if part["type"] == "text"]
        pictures = len(parts) - len(texts)
        texts.append(json.dumps(body.get("response_format", {}), ensure_ascii=False))
        size = sum(
            max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))
            for text in texts
        )
        added = CALL_TOKENS + MESSAGE_TOKENS * len(body["messages"])
        return Usage(
            calls=1,
            input_tokens=size + added + pictures * self.options.tokens_per_image,
            output_tokens=self.options.max_answer_tokens,
        )

    def explain(self, failed: CallFailed) -> Exception:
        """The error to raise for a failed call, with a message that never holds a key."""
        error, url = failed.error, self.url
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return OSError(
                f"{url} refuses the key ({error.status_code}): check the environment variable "
                f"{self.options.key_env}, or the --header that carries it"
            )
        if isinstance(error, openai.NotFoundError):
            return self._not_found()
        if isinstance(error, openai.APITimeoutError | TimeoutError):
            seconds = self.options.timeout_seconds
            return OSError(f"no answer from {url} within {seconds:g} s (--timeout)")
        if isinstance(error, openai.APIConnectionError):
            return OSError(
                f"cannot reach the server at {url}: {self._detail(error.__cause__ or error)}"
            )
        if isinstance(error, openai.RateLimitError):
            return OSError(f"{url} keeps refusing (429, rate or quota): {self._detail(error)}")
        if isinstance(error, openai.APIStatusError) and error.response.is_redirect:
            host = urlsplit(error.response.headers.get("location", "")).hostname
            return OSError(
                f"{url} answered {error.status_code} and points to "
                f"{f'the host {host!r}' if host else 'another path'}, where nothing was sent; name "
                "the right address as --base-url"
            )
        if isinstance(error, openai.APIStatusError):
            return OSError(f"{url} answered {error.status_code}: {self._detail(error)}")
        return OSError(f"{url} does not answer with chat completions: {self._detail(error)}")

    def _not_found(self) -> Exception:
        model = self.options.model
        try:
            known = [item.id for item in self._client.models.list(extra_headers=self._headers)]
        except (*_FAILURES, ValueError, TypeError, AttributeError):
            return OSError(
                f"{self.url} answered 404: it is no OpenAI-compatible address (these usually end "
                f"in /v1), or it has no model {model!r}"
            )
        names = [str(name) if str(name).isprintable() else repr(name) for name in known]
        shown = ", ".join(names[:20]) or "none"
        meant = did_you_mean(str(model), names)
        return LookupError(f"no model {model!r} at {self.url}; there is {shown}{meant}")

    def _detail(self, error: BaseException) -> str:
        message = getattr(error, "message", "") or str(error) or type(error).__name__
        # Errors of the HTTP library quote what a server sent before it was a reply.
        words = " ".join(self._redactor.text(message).split())
        line = "".join(letter if letter.isprintable() else "?" for letter in words)
        return line if len(line) <= 300 else f"{line[:297]}..."


def completion_of(body: dict[str, Any]) -> Any:
    """A reply from its JSON, checked as one that came over HTTP.

    Raises:
        EmptyReply: it is no chat completion, or reports an error.
    """
    fields = {key: value for key, value in body.items() if key != "_fields_set"}
    reply = ChatCompletion.construct(**fields)
    check_reply(reply)
    return reply


def _checked(base_url: str | None) -> str | None:
    """The address, which is printed and stored; ValueError if it may hold a secret."""
    if base_url is None:
        return None
    parts = urlsplit(base_url)
    if parts.username or parts.password:
        raise ValueError("--base-url holds a name or password; hand it over as --header NAME=VALUE")
    if parts.query:
        raise ValueError("--base-url holds a query after '?'; hand it over as --query NAME=VALUE")
    return base_url


def _failure(error: Exception) -> CallFailed:
    """A failed call with its cost, and whether to repeat it.

    A connection that was never established cost nothing, and a refusal no tokens. After a time-out,
    a cut connection or an unreadable reply the cost is unknown: the service may have answered.
    """
    if isinstance(error, openai.APIConnectionError):
        unsent = type(error.__cause__).__name__ in _NEVER_SENT
        return CallFailed(error, again=True, spent=Usage() if unsent else None)
    if isinstance(error, openai.APIStatusError):
        return CallFailed(
            error,
            again=worth_repeating(error),
            # A gateway gave up waiting for a model that may still have answered.
            spent=None if error.status_code == 504 else Usage(calls=1),
            retry_after=error.response.headers.get("retry-after", ""),
        )
    if isinstance(error, EmptyReply):
        return CallFailed(error, again=error.again, spent=None)
    unreadable = openai.APIResponseValidationError | json.JSONDecodeError | RecursionError
    return CallFailed(error, again=isinstance(error, unreadable | TimeoutError), spent=None)
