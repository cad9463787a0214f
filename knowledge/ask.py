"""Ask until an answer can be used, within a budget, several questions at once."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace

from knowledge.answers import CachedAnswer
from knowledge.budget import Budget
from knowledge.provider import Answer, Provider, Question, Turn, Usage
from knowledge.reading import InvalidAnswer, read_answer


class UnusableAnswers(ValueError):
    """A model kept giving answers that cannot be used: to `failed` of `asked` questions."""

    def __init__(self, message: str, *, failed: int = 1, asked: int = 1) -> None:
        super().__init__(message)
        self.failed = failed
        self.asked = asked


def ask_until_valid(
    question: Question,
    classes: tuple[str, ...],
    provider: Provider,
    *,
    attempts: int = 3,
    budget: Budget | None = None,
) -> CachedAnswer:
    """Ask, check, and ask again with the complaint, at most `attempts` times.

    Raises:
        UnusableAnswers: none of the answers is valid.
        BudgetSpent, OSError, LookupError: from the budget and the provider.
    """
    usage, turns, complaint = Usage(), question.turns, ""
    for attempt in range(1, attempts + 1):
        answer = _ask_within(budget, provider, replace(question, turns=turns))
        usage = usage + answer.usage
        try:
            if answer.fault:
                raise InvalidAnswer(answer.fault)
            read_answer(answer.text, answer.output, question.organ, classes)
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
        )
    raise UnusableAnswers(
        f"no usable answer about {question.organ}, aspect {question.aspect}, after {attempts} "
        f"attempts: {complaint}"
    )


def _ask_within(budget: Budget | None, provider: Provider, question: Question) -> Answer:
    if budget is None or not provider.costs:
        return provider.ask(question)
    worst = provider.worst_usage(question)
    budget.reserve(worst)
    spent = worst
    try:
        answer = provider.ask(question)
        spent = answer.usage
        return answer
    finally:
        budget.settle(worst, spent)


def in_parallel(
    work: Callable[[int], CachedAnswer],
    indices: list[int],
    concurrency: int,
    asked: list[Question],
    progress: Callable[[Question], None],
) -> list[tuple[int, CachedAnswer]]:
    """Run `work`; unusable answers are gathered, any other error ends the run at once."""
    done: list[tuple[int, CachedAnswer]] = []
    failed: dict[int, str] = {}
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        jobs: dict[Future[CachedAnswer], int] = {pool.submit(work, i): i for i in indices}
        try:
            for job in as_completed(jobs):
                try:
                    done.append((jobs[job], job.result()))
                except UnusableAnswers as error:
                    failed[jobs[job]] = str(error)
                progress(asked[jobs[job]])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    failures = [failed[index] for index in sorted(failed)]
    if failures:
        raise UnusableAnswers(
            f"{len(failures)} of {len(asked)} questions: {'; '.join(failures[:3])}"
            + (f"; and {len(failures) - 3} more" if len(failures) > 3 else "")
            + f"; the other {len(asked) - len(failures)} answers are kept",
            failed=len(failures),
            asked=len(asked),
        )
    return done
