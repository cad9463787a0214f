"""Concurrent questions, in threads that an interrupt does not wait for."""

import queue
import threading
from collections.abc import Callable

from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.common.text import one_line
from knowledge.providers.base.answer_store import CachedAnswer
from knowledge.providers.base.budget import Budget, Stopped

_MOST_SHOWN = 420  # characters of failures in one message


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
    """Run `work` on every index, at most `concurrency` at once, and `keep` each answer at once.

    `keep` is called by one thread at a time. Unusable answers are collected; after any other error
    the calls in progress end and their answers are kept, and no further call is made. An interrupt
    (Ctrl-C) waits for nothing: answers that come later are dropped.

    Raises:
        UnusableAnswers: after everything else was asked; names those of all `questions`, cached
            ones included, that have no answer.
    """
    done: queue.SimpleQueue[tuple[int, Exception | None] | None] = queue.SimpleQueue()
    workers = _Workers(work, keep, indices, budget, done)
    running = min(concurrency, len(indices))
    for _ in range(running):
        # Daemons, since the interpreter waits for other threads before it exits.
        threading.Thread(target=workers.run, daemon=True).start()
    failed: dict[int, UnusableAnswers] = {}
    fatal: Exception | None = None
    try:
        while running:
            report = done.get()
            if report is None:
                running -= 1
                continue
            index, error = report
            if isinstance(error, UnusableAnswers):
                failed[index] = error
            elif error is not None and not isinstance(error, Stopped):
                fatal = fatal or error
                budget.stop()
            if fatal is None:
                progress(index)
    except BaseException:
        budget.stop()
        workers.drop_later()
        raise
    if fatal is not None:
        raise fatal
    if failed:
        raise _summary([failed[index] for index in sorted(failed)], questions)


class _Workers:
    """State that the threads share: open questions, and a lock for keeping answers."""

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
        self._open = iter(indices)
        self._budget = budget
        self._done = done
        self._keeping = threading.Lock()
        self._dropping = False

    def run(self) -> None:
        """Body of a thread: answer questions until none is left or the budget is stopped."""
        while not self._budget.stopped.is_set():
            with self._keeping:
                index = next(self._open, None)
            if index is None:
                break
            self._done.put((index, self._answered(index)))
        self._done.put(None)

    def drop_later(self) -> None:
        """Drop all later answers; returns when no answer is being written."""
        with self._keeping:
            self._dropping = True

    def _answered(self, index: int) -> Exception | None:
        try:
            answer = self._work(index)
            with self._keeping:
                if not self._dropping:
                    self._keep(index, answer)
        except Exception as error:
            return error
        return None


def _summary(failures: list[UnusableAnswers], asked: int) -> UnusableAnswers:
    more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
    first = failures[:3]
    shown = "; ".join(one_line(failure, _MOST_SHOWN // len(first)) for failure in first)
    kept = f"; the other {asked - len(failures)} answers are kept" * (asked > len(failures))
    return UnusableAnswers(
        f"{len(failures)} of {asked} questions: {shown}{more}{kept}",
        failed=len(failures),
        asked=asked,
        each=tuple(failures),
    )
