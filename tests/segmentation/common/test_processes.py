"""The parallel map over processes."""

import os
import signal

import pytest

from segmentation.common.processes import map_processes


def double(number):
    return 2 * number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_those_of_map_in_any_order(jobs):
    assert sorted(map_processes(double, range(5), jobs)) == [0, 2, 4, 6, 8]


def test_a_killed_process_is_one_line_with_a_remedy():
    with pytest.raises(ChildProcessError, match=r"was killed, perhaps .* smaller --jobs"):
        list(map_processes(die, range(4), 2))


def test_no_process_at_all_is_refused():
    with pytest.raises(ValueError, match="jobs: expected a number of processes, at least 1, got 0"):
        list(map_processes(double, range(3), 0))
