"""Waiting for what another process does."""

import time


def wait_until(holds, seconds=60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the other process did not come so far"
        time.sleep(0.05)
