"""Shortening of texts that are too long for an encoder, by a model."""

from dataclasses import replace
from typing import Any

from knowledge.asking.valid_answers import UnusableAnswers, ask_until_valid, still_valid
from knowledge.common.digests import digest_of
from knowledge.descriptions import Description
from knowledge.encoders.base.encoder import TextEncoder
from knowledge.providers.base.answer_store import AnswerCache, CachedAnswer
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import Provider, Question, Turn
from knowledge.questions.answer_format import answer_schema, format_hint, read_answer
from knowledge.questions.questions import question_digest

TASK = """Shorten this text about the {organ} to at most {words} words. Keep what is most telling,
keep every left and right that stays true to the text, and add nothing.

{text}"""
# English prose has about 1.4 tokens per word in the vocabularies of text encoders.
_WORDS_PER_TOKEN = 0.65


class Shortener:
    """Asks a model for a shorter text until it fits by the token count of the encoder."""

    def __init__(
        self,
        provider: Provider,
        encoder: TextEncoder,
        *,
        attempts: int = 4,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.provider = provider
        self.encoder = encoder
        self.attempts = attempts
        self.cache = cache
        self.budget = budget or Budget()

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the provider, with the digest of the prompt."""
        return {**self.provider.identity, "template_digest": digest_of(TASK)}

    def __call__(self, description: Description, limit: int) -> str:
        """A text of at most `limit` tokens.

        Raises:
            UnusableAnswers: all `attempts` answers are too long.
        """
        question = _question(description, limit)
        for _ in range(self.attempts):
            answer = self._ask(question)
            organ = description.organ
            text = read_answer(answer.raw, answer.output, organ, (organ,)).text
            count = self.encoder.count_tokens(text)
            if count <= limit:
                return text
            complaint = f"it still has {count} tokens and may have {limit}; be much briefer"
            question = replace(question, turns=(Turn(answer.raw, complaint),))
        raise UnusableAnswers(
            f"{description.organ}, {description.aspect}: {self.attempts} attempts of the model to "
            f"shorten the text left it above the {limit} tokens that {self.encoder.spec} reads"
        )

    def _ask(self, question: Question) -> CachedAnswer:
        key = question_digest(question, self.provider)
        cached = self.cache.get(key) if self.cache is not None else None
        if cached is not None and still_valid(cached, question.organ, (question.organ,)):
            return cached
        answer = ask_until_valid(question, (question.organ,), self.provider, budget=self.budget)
        if self.cache is not None:
            self.cache.put(key, answer)
        return answer


def _question(description: Description, limit: int) -> Question:
    organ = description.organ
    words = max(5, int(limit * _WORDS_PER_TOKEN))
    return Question(
        organ=organ,
        aspect=description.aspect,
        system="",
        task=TASK.format(organ=organ, words=words, text=description.text),
        format_hint=format_hint(organ, (organ,)),
        schema=answer_schema(organ, (organ,)),
        template="shorten",
        template_digest=digest_of(TASK),
    )
