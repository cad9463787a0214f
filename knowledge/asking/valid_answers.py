"""Valid answers: questions asked again, with the fault, until an answer is usable."""

from dataclasses import replace

from knowledge.providers.base.answer_store import CachedAnswer
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.find_json import InvalidAnswer
from knowledge.providers.base.provider import Provider, Question, Turn
from knowledge.providers.base.usage import Usage
from knowledge.questions.answer_format import read_answer


class UnusableAnswers(ValueError):
    """`failed` of `asked` questions have no usable answer.

    Attributes:
        each: the errors of single questions, where this one is about several.
    """

    def __init__(
        self,
        message: str,
        *,
        failed: int = 1,
        asked: int = 1,
        each: tuple["UnusableAnswers", ...] = (),
    ) -> None:
        super().__init__(message)
        self.failed = failed
        self.asked = asked
        self.each = each


class Unanswered(UnusableAnswers):
    """A question that waits for the answers of a batch."""


def still_valid(answer: CachedAnswer, organ: str, classes: tuple[str, ...]) -> bool:
    """Whether a cached answer passes the checks of this version, which may be stricter."""
    try:
        read_answer(answer.raw, answer.output, organ, classes)
    except InvalidAnswer:
        return False
    return True


def ask_until_valid(
    question: Question,
    classes: tuple[str, ...],
    provider: Provider,
    *,
    attempts: int = 3,
    budget: Budget,
) -> CachedAnswer:
    """The first valid answer of at most `attempts`, each asked for with the fault of the last.

    Raises:
        UnusableAnswers: none of the answers is valid.
        BudgetSpent, Stopped, OSError, LookupError: from the budget and the provider.
    """
    usage, turns, complaint = Usage(), question.turns, ""
    for attempt in range(1, attempts + 1):
        answer = provider.ask(replace(question, turns=turns), budget)
        usage = usage + answer.usage
        try:
            if answer.fault:
                raise InvalidAnswer(answer.fault)
            read_answer(
                answer.text,
                answer.output,
                question.organ,
                classes,
                vocabulary=provider.vocabulary,
            )
        except InvalidAnswer as error:
            complaint = str(error)
            turns = (*question.turns, Turn(answer.text, complaint))
            continue
        return CachedAnswer(
            raw=answer.text,
            model=answer.model,
            output=answer.output,
            attempts=attempt,
            usage=usage,
            service=answer.service,
            date=answer.date,
        )
    raise UnusableAnswers(
        f"no usable answer about {question.organ}, aspect {question.aspect}, after {attempts} "
        f"attempts: {complaint}"
    )
