"""Any service that speaks the OpenAI chat protocol: OpenAI, Azure, vLLM, Ollama, llama.cpp."""

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from knowledge.common.suggest import unknown
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.chat import ChatClient, LimitRenamed, completion_of
from knowledge.providers.base.find_json import InvalidAnswer, find_json
from knowledge.providers.base.messages import messages_of, without_system
from knowledge.providers.base.provider import (
    OUTPUTS,
    Answer,
    BatchAnswer,
    Provider,
    ProviderOptions,
    Question,
)
from knowledge.providers.base.refusals import (
    refuses_content,
    refuses_format,
    refuses_system_role,
)
from knowledge.providers.base.reply import EmptyReply, has_thoughts, text_of, usage_of
from knowledge.providers.base.retry import CallFailed, Retry
from knowledge.providers.base.server_memory import ServerMemory
from knowledge.providers.base.thoughts import without_thoughts
from knowledge.providers.base.usage import EstimatedUsage, Usage

# The schema has every kind of rule that the schema of an answer has.
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
_PASSING = (_FILTERED, _EMPTY)  # prove nothing about the output
PROBE_ATTEMPTS = 3  # of one output, while its answers are empty or filtered


class OpenAICompatible(Provider):
    """Chat completions with structured output, as far as the server can do that.

    With `output="auto"` the server is probed once, best output first: an enforced JSON schema, JSON
    mode with a schema (llama-cpp-python), JSON mode, JSON requested in the prompt, plain sentences.
    The result is remembered in the file `memory` and recorded with each answer; an output counts as
    unsupported only if the server refused it or answered it with other text. Tool calls are never
    used.
    """

    name: ClassVar[str] = "openai_compatible"

    def __init__(self, options: ProviderOptions, key: str) -> None:
        if options.output not in ("auto", *OUTPUTS):
            raise LookupError(unknown("output", options.output, ("auto", *OUTPUTS)))
        self.options = options
        self.max_answer_tokens = options.max_answer_tokens
        self._client = ChatClient(options, key)
        self._retry = Retry(options.retries)
        self._memory = ServerMemory(options.memory)
        self._lock = threading.Lock()
        self._output = None if options.output == "auto" else options.output
        self._probed = Usage()
        self._system_role = True

    @classmethod
    def from_options(cls, options: ProviderOptions) -> "OpenAICompatible":
        """The provider of a model; the key comes from the environment, local servers need none.

        Raises:
            ValueError: no `model`.
        """
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
            if refuses_content(failed):
                # The service refuses this question; the others go on.
                return self._answer("", output, failed.total, fault=_FILTERED)
            raise self._client.explain(failed) from None
        return self._read(reply, output, spent)

    def batch_request(self, question: Question) -> dict[str, Any]:
        """The body of a batch line; a service that nobody can probe is asked for a schema.

        `max_completion_tokens` is the one limit that all models of OpenAI and vLLM know.
        """
        body = self._body(question, self._batch_output)
        return {**body, "max_completion_tokens": self.max_answer_tokens}

    def batch_answer(self, question: Question, body: dict[str, Any]) -> BatchAnswer:
        """The answer that a batch line holds; errors as in `Provider.batch_answer`."""
        request = self._body(question, self._batch_output)
        try:
            reply = completion_of(body)
        except EmptyReply as error:
            raise ValueError(str(error)) from None
        spent = usage_of(reply, request["messages"])
        answer = self._read(reply, self._batch_output, spent)
        created = getattr(reply, "created", None)
        date = "" if not isinstance(created, int) else _iso_date(created)
        most = self._client.at_most(request) if isinstance(spent, EstimatedUsage) else spent
        return BatchAnswer(replace(answer, date=date), most)

    def most_usage(self, question: Question) -> Usage:
        """The most that one call may take."""
        return self._client.at_most(self._body(question, self._batch_output))

    @property
    def _batch_output(self) -> str:
        return OUTPUTS[0] if self.options.output == "auto" else self.options.output

    def _read(self, reply: Any, output: str, spent: Usage) -> Answer:
        """The answer of a reply."""
        text = text_of(reply)
        fault = _fault(reply.choices[0], text, self.max_answer_tokens)
        service = str(getattr(reply, "system_fingerprint", None) or "")
        return self._answer(text, output, spent, fault=fault, model=reply.model, service=service)

    def _answer(
        self,
        text: str,
        output: str,
        spent: Usage,
        *,
        fault: str,
        model: str | None = None,
        service: str = "",
    ) -> Answer:
        """An answer with the date of now, and with the usage of the probe if not counted yet."""
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
                known = None if self.options.probe_again else self._memory.get(*self._server)
                self._output = known if known in OUTPUTS else self._probe(budget)
            return self._output

    def _probe(self, budget: Budget) -> str:
        """The best output that this server and model support, found by a small question.

        Outputs that stay undecided, since all answers were empty or filtered, are tried again when
        another has worked. Only what is certain is remembered.
        """
        undecided: list[str] = []
        for output in OUTPUTS[:-1]:
            works = self._works(output, budget)
            if works is None:
                undecided.append(output)
            elif works:
                return self._better_than(output, undecided, budget)
        return undecided[0] if undecided else self._remember("plain")

    def _better_than(self, certain: str, undecided: list[str], budget: Budget) -> str:
        """The first output that works after all, else the one that is certain to work."""
        still_undecided = False
        for output in undecided:
            works = self._works(output, budget)
            if works:
                return output if still_undecided else self._remember(output)
            still_undecided = still_undecided or works is None
        return certain if still_undecided else self._remember(certain)

    def _works(self, output: str, budget: Budget) -> bool | None:
        """Whether the server supports an output; None if its answers leave that open.

        Raises:
            CallFailed: the call failed otherwise.
            OSError: the model needs more tokens than the limit for the smallest of answers.
        """
        for _ in range(PROBE_ATTEMPTS):
            try:
                reply, spent = self._send(PROBE, output, budget)
            except CallFailed as failed:
                if refuses_content(failed):
                    self._probed = self._probed + failed.total
                    continue
                if output == "text" or not refuses_format(failed):
                    raise
                self._probed = self._probed + failed.total
                return False
            self._probed = self._probed + spent
            works = self._understood(reply)
            if works is not None:
                return works
        return None

    def _understood(self, reply: Any) -> bool | None:
        """Whether a reply to the probe is JSON; None if it is empty or filtered.

        Raises:
            OSError: it was cut off, which says nothing about the output.
        """
        choice, answer = reply.choices[0], without_thoughts(text_of(reply)).strip()
        try:
            find_json(answer)
            return True
        except InvalidAnswer:
            pass
        if choice.finish_reason == "length":
            raise OSError(
                f"{self._client.url}: the answer of {self.options.model} to the smallest question "
                f"was cut off after {self.max_answer_tokens} tokens, often because of its "
                "thoughts: allow more (--max-answer-tokens), or name the output (--output plain)"
            )
        fault = _fault(choice, answer, self.max_answer_tokens)
        return None if fault.startswith(_PASSING) else False

    def _send(self, question: Question, output: str, budget: Budget) -> tuple[Any, Usage]:
        """The reply of the server, and its usage with that of failed attempts."""
        try:
            return self._sent(question, output, budget)
        except LimitRenamed as renamed:
            reply, spent = self._sent(question, output, budget)
            return reply, renamed.total + spent
        except CallFailed as failed:
            if not (self._system_role and question.system and refuses_system_role(failed)):
                raise
            reply, spent = self._sent(without_system(question), output, budget)
            self._system_role = False  # which has been the reason
            return reply, failed.total + spent

    def _sent(self, question: Question, output: str, budget: Budget) -> tuple[Any, Usage]:
        body = self._body(question, output)
        worst = self._client.at_most(body)
        return self._retry.run(lambda: self._client.complete(body), worst, budget)

    def _body(self, question: Question, output: str) -> dict[str, Any]:
        """The request without the limit of the answer."""
        if not self._system_role:
            question = without_system(question)
        messages = messages_of(question, output)
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

    def _remember(self, output: str) -> str:
        self._memory.put(*self._server, output)
        return output

    @property
    def _server(self) -> tuple[str, str]:
        return self._client.url, self.options.model


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
    if str(choice.finish_reason).startswith("content_filter"):
        return _FILTERED
    if text.strip():
        return ""
    return f"{_EMPTY} beside its thoughts" if has_thoughts(choice) else _EMPTY


def _iso_date(seconds: int) -> str:
    """Seconds since 1970 as a date; empty for a number that is none."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return ""
