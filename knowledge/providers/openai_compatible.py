"""Any service that speaks the OpenAI chat protocol: OpenAI, Azure, vLLM, Ollama, llama.cpp."""

import base64
import os
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from knowledge.common.digests import canonical_json
from knowledge.common.files import read_json, write_whole
from knowledge.common.models import Strict
from knowledge.common.suggest import unknown
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.chat import (
    ChatClient,
    LimitRenamed,
    filtered,
    refuses_format,
    refuses_system,
)
from knowledge.providers.base.find_json import InvalidAnswer, find_json
from knowledge.providers.base.provider import OUTPUTS, Answer, Provider, ProviderOptions, Question
from knowledge.providers.base.reply import text_of
from knowledge.providers.base.retry import CallFailed, Retry
from knowledge.providers.base.thoughts import without_thoughts
from knowledge.providers.base.usage import Usage

# The schema holds every kind of rule that an answer's has: what works here works there.
PROBE = Question(
    organ="",
    aspect="",
    system="",
    task="Answer with one JSON object and nothing else. Its keys are "
    '"ready" with the value true and "list" with an empty list.',
    format_hint="",
    schema={
        "type": "object",
        "properties": {
            "ready": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "string", "enum": ["a"]}, "maxItems": 1},
        },
        "required": ["ready", "list"],
        "additionalProperties": False,
    },
    template="",
    template_digest="",
)


_FILTERED = "the service's content filter stopped the answer"
_EMPTY = "the answer is empty"
_PASSING = (_FILTERED, _EMPTY)  # say nothing of what a server can do
PROBE_ATTEMPTS = 3  # of one output, while the answers say nothing about it


class Remembered(Strict):
    """What a server and model can do, and when they were probed (ISO 8601, UTC)."""

    url: str
    model: str
    output: str
    date: str


class ServerMemory(Strict):
    """What servers were found able to do.

    Attributes:
        outputs: by address and model, of version 0.1; read no more, since passing faults of a
            probe were remembered as well.
    """

    servers: list[Remembered] = Field(default_factory=list)
    outputs: dict[str, str] = Field(default_factory=dict)


class OpenAICompatible(Provider):
    """Chat completions with structured output, as far as the server can do that.

    With `output="auto"` the server is probed once per run, best way first: a JSON schema that it
    enforces, its JSON mode with a schema beside it (llama-cpp-python), its JSON mode, JSON asked
    for in words, plain sentences. What worked is remembered in the file `memory` and recorded with
    each answer; only what the server refused or answered with other text counts as what it cannot
    do. Tool calls are never used.
    """

    name: ClassVar[str] = "openai_compatible"

    def __init__(self, options: ProviderOptions, key: str) -> None:
        if options.output not in ("auto", *OUTPUTS):
            raise LookupError(unknown("output", options.output, ("auto", *OUTPUTS)))
        self.options = options
        self.max_answer_tokens = options.max_answer_tokens
        self._client = ChatClient(options, key)
        self._retry = Retry(options.retries)
        self._lock = threading.Lock()
        self._output = None if options.output == "auto" else options.output
        self._probed = Usage()
        self._system_role = True

    @classmethod
    def from_options(cls, options: ProviderOptions) -> "OpenAICompatible":
        """Needs `model`; the key comes from the environment, and local servers need none."""
        if not options.model:
            raise ValueError("the provider openai_compatible needs a model (--model NAME)")
        return cls(options, os.environ.get(options.key_env, ""))

    @property
    def identity(self) -> dict[str, Any]:
        """Address, model and parameters."""
        chosen = self.options
        return {
            "model": chosen.model,
            "base_url": self._client.url,
            "output": chosen.output,
            "temperature": chosen.temperature,
            "seed": chosen.seed,
            "max_answer_tokens": chosen.max_answer_tokens,
        }

    def ask(self, question: Question, budget: Budget) -> Answer:
        """The server's answer; errors as in `Provider.ask`.

        Raises:
            ValueError: the service needs a key and the environment has none.
        """
        if self._client.needs_key:
            raise ValueError(
                f"no key: set {self.options.key_env} in the environment, or name another server "
                "(--base-url URL), or replay recorded answers (--provider recorded)"
            )
        try:
            output = self._settled_output(budget)
            reply, spent = self._send(question, output, budget)
        except CallFailed as failed:
            if filtered(failed):
                # The service refuses this question; the others go on.
                return self._answer("", output, failed.total, fault=_FILTERED)
            # Not chained: what the service said may quote the key.
            raise self._client.explain(failed) from None
        choice = reply.choices[0]
        text = self._client.masked(text_of(reply))
        fault = self._client.masked(_fault(choice, text, self.max_answer_tokens))
        model = self._client.masked(reply.model or self.options.model)
        service = self._client.masked(str(getattr(reply, "system_fingerprint", None) or ""))
        return self._answer(text, output, spent, fault=fault, model=model, service=service)

    def _answer(
        self,
        text: str,
        output: str,
        spent: Usage,
        *,
        fault: str,
        model: str = "",
        service: str = "",
    ) -> Answer:
        """An answer of now, with what the probe took if it has not been counted yet."""
        with self._lock:
            usage, self._probed = spent + self._probed, Usage()
        return Answer(
            text=text,
            model=model or self.options.model,
            output=output,
            usage=usage,
            fault=fault,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            service=service,
        )

    def _settled_output(self, budget: Budget) -> str:
        with self._lock:
            if self._output is None:
                known = None if self.options.probe_again else self._remembered()
                self._output = known or self._probe(budget)
            return self._output

    def _probe(self, budget: Budget) -> str:
        """The best output that this server and model can do, by asking a small question.

        One that stays undecided, since its answers are empty, filtered or cut off, is used in
        this run if nothing better is certain, and not remembered.
        """
        undecided: list[str] = []
        for output in OUTPUTS[:-1]:
            can = self._can(output, budget)
            if can:
                return undecided[0] if undecided else self._remember(output)
            if can is None:
                undecided.append(output)
        return undecided[0] if undecided else self._remember("plain")

    def _can(self, output: str, budget: Budget) -> bool | None:
        """Whether the server can do an output; None if its answers do not say.

        Raises:
            CallFailed: the call failed otherwise.
            OSError: the model needs more tokens than the limit for the smallest of answers.
        """
        for _ in range(PROBE_ATTEMPTS):
            try:
                reply, spent = self._send(PROBE, output, budget)
            except CallFailed as failed:
                if filtered(failed):
                    self._probed = self._probed + failed.total
                    continue
                if output == "text" or not refuses_format(failed):
                    raise
                self._probed = self._probed + failed.total
                return False
            self._probed = self._probed + spent
            choice, answer = reply.choices[0], without_thoughts(text_of(reply)).strip()
            if choice.finish_reason == "length" and (not answer or answer.startswith("{")):
                raise OSError(
                    f"{self._client.url}: the answer of {self.options.model} to the smallest of "
                    f"questions was cut off after {self.max_answer_tokens} tokens, probably by its "
                    "thoughts: give more (--max-answer-tokens)"
                )
            if not answer or _fault(choice, answer, self.max_answer_tokens) in _PASSING:
                continue
            try:
                find_json(answer)
            except InvalidAnswer:
                return False
            return True
        return None

    def _send(self, question: Question, output: str, budget: Budget) -> tuple[Any, Usage]:
        """The server's reply, and what it took with the attempts that came to nothing."""
        try:
            return self._sent(question, output, budget)
        except LimitRenamed as renamed:
            reply, spent = self._sent(question, output, budget)
            return reply, renamed.total + spent
        except CallFailed as failed:
            if not (self._system_role and question.system and refuses_system(failed)):
                raise
            self._system_role = False  # its text goes to the head of the question from here on
            reply, spent = self._sent(question, output, budget)
            return reply, failed.total + spent

    def _sent(self, question: Question, output: str, budget: Budget) -> tuple[Any, Usage]:
        body = self._body(question, output)
        worst = self._client.at_most(body)
        return self._retry.run(lambda: self._client.complete(body), worst, budget)

    def _body(self, question: Question, output: str) -> dict[str, Any]:
        """The request, but for the limit of the answer."""
        if not self._system_role and question.system:
            question = replace(question, system="", task=f"{question.system}\n\n{question.task}")
        messages = _messages(question, output)
        body: dict[str, Any] = {"model": self.options.model, "messages": messages}
        if self.options.temperature is not None:
            body["temperature"] = self.options.temperature
        if self.options.seed is not None:
            body["seed"] = self.options.seed + question.sample
        if output == "json_schema":
            strict = {"name": "answer", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": strict}
        elif output == "json_object_schema":
            body["response_format"] = {"type": "json_object", "schema": question.schema}
        elif output == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _remembered(self) -> str | None:
        for known in self._memory():
            if (known.url, known.model) == self._server and known.output in OUTPUTS:
                return known.output
        return None

    def _remember(self, output: str) -> str:
        if self.options.memory is not None:
            others = [known for known in self._memory() if (known.url, known.model) != self._server]
            url, model = self._server
            date = datetime.now(UTC).isoformat(timespec="seconds")
            now = Remembered(url=url, model=model, output=output, date=date)
            content = ServerMemory(servers=[*others, now]).model_dump(exclude={"outputs"})
            write_whole(self.options.memory, canonical_json(content))
        return output

    def _memory(self) -> list[Remembered]:
        """What the memory file says; a damaged one is written anew."""
        memory = self.options.memory
        if memory is None or not memory.is_file():
            return []
        try:
            return read_json(memory, ServerMemory).servers
        except ValueError:
            return []

    @property
    def _server(self) -> tuple[str, str]:
        return self._client.url, self.options.model


def _messages(question: Question, output: str) -> list[dict[str, Any]]:
    """The chat so far: system, question with pictures, earlier answers with complaints."""
    text = question.task
    if output != "plain" and question.format_hint:
        text = f"{text}\n\n{question.format_hint}"
    content: Any = text
    if question.images:
        content = [{"type": "text", "text": text}]
        content += [
            {"type": "image_url", "image_url": {"url": _data_url(path)}} for path in question.images
        ]
    messages = [{"role": "system", "content": question.system}] if question.system else []
    messages.append({"role": "user", "content": content})
    for turn in question.turns:
        again = f"That answer cannot be used: {turn.complaint}. Answer the question again."
        messages.append({"role": "assistant", "content": turn.answer or "(empty)"})
        messages.append({"role": "user", "content": again})
    return messages


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _fault(choice: Any, text: str, limit: int) -> str:
    refusal = getattr(choice.message, "refusal", None)
    if refusal:
        return f"the model refuses: {str(refusal)[:300]!r}"
    thoughts_alone = not without_thoughts(text).strip()
    if choice.finish_reason == "length" and thoughts_alone:
        return (
            f"the model's thoughts took all {limit} tokens of the answer; give more "
            "(--max-answer-tokens)"
        )
    if choice.finish_reason == "length":
        return f"the answer was cut off after {limit} tokens (--max-answer-tokens); be briefer"
    if choice.finish_reason == "content_filter":
        return _FILTERED
    return "" if text.strip() else _EMPTY
