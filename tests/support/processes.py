"""Waiting for what another process does."""

import time


def wait_until(holds) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "the other process did not come so far"
        time.sleep(0.05)
