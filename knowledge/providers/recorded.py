"""Answers replayed from a file: no service, no key, no cost."""

from typing import Any, ClassVar

from knowledge.providers.base.answer_store import AnswerStore
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import Answer, Provider, ProviderOptions, Question
from knowledge.providers.base.usage import Usage


class Recorded(Provider):
    """Replays an answer store; the answers pass the same checks as live ones."""

    name: ClassVar[str] = "recorded"
    costs: ClassVar[bool] = False

    def __init__(self, store: AnswerStore, where: str = "the answer store") -> None:
        self.store = store
        self.where = where

    @classmethod
    def from_options(cls, options: ProviderOptions) -> "Recorded":
        """Needs `answers`, a store's path."""
        if options.answers is None:
            raise ValueError("the provider recorded needs an answer store (--answers FILE)")
        return cls(AnswerStore.read(options.answers), str(options.answers))

    @property
    def vocabulary(self) -> frozenset[str]:
        """The organs of the store, so that it serves any part of their list."""
        return self.store.organs

    @property
    def identity(self) -> dict[str, Any]:
        """The model that once answered, and its parameters."""
        return {"model": self.store.model, **self.store.parameters}

    def ask(self, question: Question, budget: Budget) -> Answer:
        """The recorded answer.

        Raises:
            ValueError: the answers were given to another template, or pictures are shown.
            LookupError: there is none for this question.
        """
        if question.template_digest != self.store.template_digest:
            raise ValueError(
                f"{self.where} answers template {self.store.template!r} "
                f"({self.store.template_digest[:12]}), not {question.template!r} "
                f"({question.template_digest[:12]}): use that template, or ask a model"
            )
        if question.images:
            raise ValueError(
                "recorded answers cannot be combined with pictures; leave out --images"
            )
        stored = self.store.get(question.organ, question.aspect, question.sample)
        return Answer(
            text=stored.raw,
            model=stored.model or self.store.model,
            output=str(self.store.parameters.get("output", "text")),
            usage=Usage(),
            service=stored.service,
            date=stored.date,
        )
