"""Concurrent questions: bounded, each kept at once, faults collected."""

import threading

import pytest

from knowledge.asking.parallel import in_parallel
from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.providers.base.budget import Budget


def run(work, count=8, concurrency=3):
    """Run `work` on `count` indices; returns what was kept and the progress."""
    kept, steps = {}, []
    in_parallel(
        work, kept.__setitem__, list(range(count)), questions=count, concurrency=concurrency,
        budget=Budget(), progress=steps.append,
    )  # fmt: skip
    return kept, steps


def test_every_answer_is_kept_and_counted_once():
    kept, steps = run(lambda index: index**2)
    assert kept == {index: index**2 for index in range(8)}
    assert sorted(steps) == list(range(8))


def test_as_many_run_at_once_as_asked_for_and_no_more():
    together = threading.Barrier(3, timeout=20)  # breaks if fewer than three run at once
    running, most, lock = set(), [], threading.Lock()

    def work(index):
        with lock:
            running.add(index)
            most.append(len(running))
        together.wait()
        with lock:
            running.discard(index)
        return index

    run(work, count=9)
    assert max(most) == 3


def test_unusable_answers_do_not_keep_others_from_being_asked():
    def work(index):
        if index % 3 == 0:
            raise UnusableAnswers(f"question {index}")
        return index

    kept = {}
    with pytest.raises(
        UnusableAnswers, match=r"3 of 9 questions: question 0; .*the other 6"
    ) as end:
        in_parallel(
            work, kept.__setitem__, list(range(8)), questions=9, concurrency=2, budget=Budget()
        )
    assert sorted(kept) == [1, 2, 4, 5, 7]
    assert (end.value.failed, end.value.asked) == (3, 9)


def test_another_error_stops_and_calls_in_progress_are_kept():
    begun = threading.Event()

    def work(index):
        if index == 0:
            begun.wait(20)
            raise OSError("the server is gone")
        begun.set()
        return index

    kept = {}
    budget = Budget()
    with pytest.raises(OSError, match="the server is gone"):
        in_parallel(work, kept.__setitem__, [0, 1], questions=2, concurrency=2, budget=budget)
    assert kept == {1: 1}
    assert budget.stopped.is_set()
