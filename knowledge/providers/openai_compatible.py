"""Any service that speaks the OpenAI chat protocol: OpenAI, Azure, vLLM, Ollama, llama.cpp."""

import base64
import os
import threading
from pathlib import Path
from typing import Any, ClassVar

import openai

from knowledge.files import Strict, canonical_json, read_json, write_whole
from knowledge.provider import OUTPUTS, Answer, Provider, ProviderOptions, Question, Usage
from knowledge.reading import InvalidAnswer, find_json
from knowledge.retry import REPEATABLE, EmptyReply, Retry, explain


class Unsupported(Exception):
    """The server refuses this kind of output."""


PROBE = (
    "Answer with one JSON object and nothing else. Its keys are "
    '"ready" with the value true and "list" with an empty list.'
)
# Holds every kind of rule that the schema of an answer has, so that what works here works there.
PROBE_SCHEMA = {
    "type": "object",
    "properties": {
        "ready": {"type": "boolean"},
        "list": {"type": "array", "items": {"type": "string", "enum": ["a"]}, "maxItems": 1},
    },
    "required": ["ready", "list"],
    "additionalProperties": False,
}


class ServerMemory(Strict):
    """Which output each server and model was found able to do."""

    outputs: dict[str, str]


class OpenAICompatible(Provider):
    """Chat completions with structured output, as far as the server can do that.

    With `output="auto"` the server is probed once per run, best way first: a JSON schema that it
    enforces, its JSON mode, JSON asked for in words, plain sentences. What worked is remembered in
    the file `memory` and recorded with each answer. Tool calls are never used.
    """

    name: ClassVar[str] = "openai_compatible"

    def __init__(self, options: ProviderOptions, key: str) -> None:
        if options.output not in ("auto", *OUTPUTS):
            raise LookupError(f"no output {options.output!r}; there is auto, {', '.join(OUTPUTS)}")
        self.options = options
        self.max_answer_tokens = options.max_answer_tokens
        self._client = openai.OpenAI(
            api_key=key or "none",
            base_url=options.base_url,
            timeout=options.timeout_seconds,
            max_retries=0,
        )
        self.url = str(self._client.base_url).rstrip("/")
        self._keyless = not key and options.base_url is None
        self._retry = Retry(options.retries)
        self._lock = threading.Lock()
        self._output = None if options.output == "auto" else options.output
        self._limit_key = "max_tokens"
        self._probed = Usage()

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
            "base_url": self.url,
            "output": chosen.output,
            "temperature": chosen.temperature,
            "seed": chosen.seed,
            "max_answer_tokens": chosen.max_answer_tokens,
        }

    def ask(self, question: Question) -> Answer:
        """The server's answer; errors as in `Provider.ask`.

        Raises:
            ValueError: the service needs a key and the environment has none.
        """
        if self._keyless:
            raise ValueError(
                f"no key: set {self.options.key_env} in the environment, or name another server "
                "(--base-url URL), or replay recorded answers (--provider recorded)"
            )
        output = self._settled_output()
        schema = question.schema if output == "json_schema" else None
        messages = _messages(question, output)
        reply, wasted = self._send(messages, output, schema, question.sample)
        choice = reply.choices[0]
        text = choice.message.content or ""
        with self._lock:
            spent = _usage(reply, _input_estimate(messages)) + wasted
            usage, self._probed = spent + self._probed, Usage()
        return Answer(
            text=text,
            model=reply.model or self.options.model,
            output=output,
            usage=usage,
            fault=_fault(choice, text, self.max_answer_tokens),
        )

    def _settled_output(self) -> str:
        with self._lock:
            if self._output is None:
                self._output = self._remembered() or self._probe()
            return self._output

    def _probe(self) -> str:
        """The best output that this server and model can do, by asking a small question."""
        question = [{"role": "user", "content": PROBE}]
        for output in OUTPUTS[:-1]:
            schema = PROBE_SCHEMA if output == "json_schema" else None
            try:
                reply, wasted = self._send(question, output, schema, 0)
            except Unsupported:
                continue
            self._probed = self._probed + _usage(reply, _input_estimate(question)) + wasted
            try:
                find_json(reply.choices[0].message.content or "")
            except InvalidAnswer:
                continue
            return self._remember(output)
        return self._remember("plain")

    def _send(
        self,
        messages: list[dict[str, Any]],
        output: str,
        schema: dict[str, Any] | None,
        sample: int,
    ) -> tuple[Any, Usage]:
        """The server's reply, and what attempts that came to nothing may have cost."""
        body: dict[str, Any] = {"model": self.options.model, "messages": messages}
        if self.options.temperature is not None:
            body["temperature"] = self.options.temperature
        if self.options.seed is not None:
            body["seed"] = self.options.seed + sample
        if output == "json_schema":
            strict = {"name": "answer", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": strict}
        elif output == "json_object":
            body["response_format"] = {"type": "json_object"}
        try:
            return self._retry.run(lambda: self._create(body), _input_estimate(messages))
        except openai.BadRequestError as error:
            if output in ("json_schema", "json_object") and self._output is None:
                raise Unsupported from error
            raise self._explained(error) from error
        except (openai.OpenAIError, *REPEATABLE) as error:
            raise self._explained(error) from error

    def _create(self, body: dict[str, Any]) -> Any:
        """One HTTP call. Newer models of OpenAI have another word for the limit of the answer."""
        limit = self.options.max_answer_tokens
        create: Any = self._client.chat.completions.create
        try:
            reply = create(**body, **{self._limit_key: limit})
        except openai.BadRequestError as error:
            if "max_completion_tokens" not in str(error) or self._limit_key != "max_tokens":
                raise
            self._limit_key = "max_completion_tokens"
            reply = create(**body, **{self._limit_key: limit})
        if not getattr(reply, "choices", None):
            raise EmptyReply("the reply holds no answer")
        return reply

    def _explained(self, error: Exception) -> Exception:
        return explain(error, self.url, self.options, self._client.api_key, self._models)

    def _models(self) -> list[str]:
        return [model.id for model in self._client.models.list()]

    def _remembered(self) -> str | None:
        memory = self.options.memory
        if memory is None or not memory.is_file():
            return None
        try:
            output = read_json(memory, ServerMemory).outputs.get(self._server)
        except ValueError:
            return None
        return output if output in OUTPUTS else None

    def _remember(self, output: str) -> str:
        memory = self.options.memory
        if memory is not None:
            known = {}
            if memory.is_file():
                try:
                    known = read_json(memory, ServerMemory).outputs
                except ValueError:
                    known = {}
            known = {**known, self._server: output}
            write_whole(memory, canonical_json({"outputs": known}))
        return output

    @property
    def _server(self) -> str:
        return f"{self.url} {self.options.model}"


def _messages(question: Question, output: str) -> list[dict[str, Any]]:
    """The chat so far: system, question with pictures, earlier answers with complaints."""
    text = question.task
    if output != "plain":
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


def _input_estimate(messages: list[dict[str, Any]]) -> int:
    """Tokens of the texts, at four characters each; pictures count 1500."""
    tokens = 0
    for message in messages:
        content = message["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        for part in parts:
            tokens += len(part["text"]) // 4 if part["type"] == "text" else 1500
    return tokens


def _usage(reply: Any, input_tokens: int) -> Usage:
    """What the server says it took; an estimate where it says nothing."""
    usage = reply.usage
    if usage is None:
        text = reply.choices[0].message.content or ""
        return Usage(calls=1, input_tokens=input_tokens, output_tokens=-(-len(text) // 4))
    return Usage(
        calls=1,
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
    )


def _fault(choice: Any, text: str, limit: int) -> str:
    refusal = getattr(choice.message, "refusal", None)
    if refusal:
        return f"the model refuses: {refusal}"
    if choice.finish_reason == "length":
        return f"the answer was cut off after {limit} tokens (--max-answer-tokens); be briefer"
    if choice.finish_reason == "content_filter":
        return "the service's content filter stopped the answer"
    return "" if text.strip() else "the answer is empty"
