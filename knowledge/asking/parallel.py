"""Several questions at once, in threads that an interruption leaves behind."""

import queue
import threading
from collections.abc import Callable

from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.providers.base.answer_store import CachedAnswer
from knowledge.providers.base.budget import Budget, Stopped


def in_parallel(
    work: Callable[[int], CachedAnswer],
    keep: Callable[[int, CachedAnswer], None],
    indices: list[int],
    *,
    questions: int,
    concurrency: int,
    budget: Budget,
    progress: Callable[[int], None] = lambda index: None,
) -> None:
    """Run `work` on every index, at most `concurrency` at once, and `keep` each answer as it comes.

    `keep` is called by one thread at a time. Unusable answers are gathered; any other error lets
    the calls under way end, keeps their answers, and allows no further one. An interruption
    (Ctrl-C) waits for nothing: what comes later is not kept.

    Raises:
        UnusableAnswers: after everything else was asked; says which of so many `questions`, those
            answered before included, have no answer.
    """
    done: queue.SimpleQueue[tuple[int, Exception | None] | None] = queue.SimpleQueue()
    crew = _Crew(work, keep, indices, budget, done)
    running = min(concurrency, len(indices))
    for _ in range(running):
        # Daemons, since the interpreter waits for all other threads before it ends.
        threading.Thread(target=crew.run, daemon=True).start()
    failed: dict[int, str] = {}
    fatal: Exception | None = None
    try:
        while running:
            report = done.get()
            if report is None:
                running -= 1
                continue
            index, error = report
            if isinstance(error, UnusableAnswers):
                failed[index] = str(error)
            elif error is not None and not isinstance(error, Stopped):
                fatal = fatal or error
                budget.stop()
            if fatal is None:
                progress(index)
    except BaseException:
        budget.stop()
        crew.leave()
        raise
    if fatal is not None:
        raise fatal
    if failed:
        raise _together([failed[index] for index in sorted(failed)], questions)


class _Crew:
    """What the threads share: questions to take, and a lock under which answers are kept."""

    def __init__(
        self,
        work: Callable[[int], CachedAnswer],
        keep: Callable[[int, CachedAnswer], None],
        indices: list[int],
        budget: Budget,
        done: "queue.SimpleQueue[tuple[int, Exception | None] | None]",
    ) -> None:
        self._work = work
        self._keep = keep
        self._todo = iter(indices)
        self._budget = budget
        self._done = done
        self._keeping = threading.Lock()
        self._left = False

    def run(self) -> None:
        """One thread: questions until there are none left or asking is stopped."""
        while not self._budget.stopped.is_set():
            with self._keeping:
                index = next(self._todo, None)
            if index is None:
                break
            self._done.put((index, self._answered(index)))
        self._done.put(None)

    def leave(self) -> None:
        """From now on nothing is kept; returns when nobody is writing any more."""
        with self._keeping:
            self._left = True

    def _answered(self, index: int) -> Exception | None:
        try:
            answer = self._work(index)
            with self._keeping:
                if not self._left:
                    self._keep(index, answer)
        except Exception as error:
            return error
        return None


def _together(failures: list[str], asked: int) -> UnusableAnswers:
    more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
    return UnusableAnswers(
        f"{len(failures)} of {asked} questions: {'; '.join(failures[:3])}{more}; the other "
        f"{asked - len(failures)} answers are kept",
        failed=len(failures),
        asked=asked,
    )
