"""Provider: answers questions of text and images, and reports the usage."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from knowledge.common.digests import canonical_json
from knowledge.providers.base.usage import Usage

if TYPE_CHECKING:
    from knowledge.providers.base.budget import Budget

# Where a picture's tokens are not known beforehand.
IMAGE_TOKENS = 1500


@dataclass(frozen=True)
class Turn:
    """An earlier answer to the same question and its fault."""

    answer: str
    complaint: str


@dataclass(frozen=True)
class Question:
    """The question about one aspect of one organ.

    `task` is the template's wording, `format_hint` says how to answer in JSON and `schema` says
    it to the server; a provider that asks for prose leaves both out. `images` are PNG files.
    """

    organ: str
    aspect: str
    system: str
    task: str
    format_hint: str
    schema: dict[str, Any]
    template: str
    template_digest: str
    sample: int = 0
    images: tuple[Path, ...] = ()
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The raw answer to a question. `output` is the form that was requested (see `OUTPUTS`).

    `usage` is that of all calls, failed ones included. `fault` is the reason of the service why the
    answer is unusable: cut off, refused; else empty. `service` is the reported state of the service
    (OpenAI's `system_fingerprint`); answers differ between states even with equal seeds. `date` is
    that of the answer (ISO 8601, UTC), empty if unknown.
    """

    text: str
    model: str
    output: str
    usage: Usage
    fault: str = ""
    service: str = ""
    date: str = ""


@dataclass(frozen=True)
class BatchAnswer:
    """The answer of a batch line, and the most that its call may have taken."""

    answer: Answer
    most: Usage


@dataclass(frozen=True)
class ProviderOptions:
    """Options of a service; each provider uses those that concern it.

    `memory` is a file of probe results (`ServerMemory`); with `probe_again` it is not read.

    `headers` and `query` go out with every call; their values may be secret, and are never stored.
    `tokens_per_image` is the maximum that a picture may count, for limits. The costliest known is a
    large one in detail for GPT-4o mini: 2833 + 8 tiles * 5667 = 48169 (OpenAI, 2024).
    """

    model: str = ""
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    answers: Path | None = None
    output: str = "auto"
    temperature: float | None = None
    seed: int | None = None
    max_answer_tokens: int = 800
    timeout_seconds: float = 120.0
    retries: int = 5
    memory: Path | None = None
    probe_again: bool = False
    tokens_per_image: int = 50_000


# Forms of an answer, best first. `auto` takes the first that the server supports.
OUTPUTS = ("json_schema", "json_object_schema", "json_object", "text", "plain")


class Provider(ABC):
    """A service that answers questions. `identity` is what must be equal for equal answers."""

    name: ClassVar[str]
    costs: ClassVar[bool] = True
    max_answer_tokens: int = 0

    @property
    def vocabulary(self) -> frozenset[str]:
        """Organs that answers may name although the questions do not; none for a live service."""
        return frozenset()

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Service, model and parameters, as they enter the cache key and the origin; no secrets."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: ProviderOptions) -> "Provider":
        """The provider with the user's options; ValueError when one that it needs is missing."""

    @abstractmethod
    def ask(self, question: Question, budget: "Budget") -> Answer:
        """The answer to one question; every call to a service is an attempt of the budget.

        Raises:
            OSError: the service is not there, refuses, or gives up; the message says which.
            LookupError: no such model, or no recorded answer.
            BudgetSpent: the next call might pass a limit.
        """

    def batch_request(self, question: Question) -> dict[str, Any]:
        """The request body of a question in the OpenAI Batch format.

        Raises:
            ValueError: this provider asks nothing in batches.
        """
        raise ValueError(
            f"the provider {self.name} has no batches; --provider openai_compatible has"
        )

    def batch_answer(self, question: Question, body: dict[str, Any]) -> BatchAnswer:
        """The answer to a question from the response body of its batch line.

        Raises:
            ValueError: the body holds no answer, or this provider asks nothing in batches.
        """
        raise ValueError(f"the provider {self.name} has no batches")

    def most_usage(self, question: Question) -> Usage:
        """The most that one call may take; without better knowledge, what it is expected to."""
        return self.expected_usage(question)

    def expected_usage(self, question: Question) -> Usage:
        """The expected usage of one call: an estimate of the input, the longest answer.

        The input is taken at three bytes per token, which English prose stays below, and at
        `IMAGE_TOKENS` per image; services count the schema as well.
        """
        texts = [question.system, question.task, question.format_hint]
        texts += [canonical_json(question.schema)]
        texts += [text for turn in question.turns for text in (turn.answer, turn.complaint)]
        size = sum(len(text.encode()) for text in texts)
        messages = 1 + 2 * len(question.turns)
        input_tokens = size // 3 + IMAGE_TOKENS * len(question.images) + 30 * messages
        return Usage(calls=1, input_tokens=input_tokens, output_tokens=self.max_answer_tokens)
