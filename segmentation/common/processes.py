"""A parallel map over worker processes."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")


Result = TypeVar("Result")


def map_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[Result]:
    """Results of `work` over the tasks from `jobs` processes, in order of completion.

    The first error is raised, and tasks that have not started are canceled.

    Raises:
        ChildProcessError: a process was killed, as the system does when memory runs out.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected a number of processes, at least 1, got {jobs}")
    if jobs == 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=processes) as pool:
        try:
            for done in as_completed([pool.submit(work, task) for task in tasks]):
                yield done.result()
        except BrokenProcessPool as fault:
            raise ChildProcessError(
                f"one of {jobs} worker processes was killed, perhaps because memory ran out; "
                "run again with a smaller --jobs"
            ) from fault
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
