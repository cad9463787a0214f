"""Several processes of one training, as `torchrun` starts them."""

import os
import socket
import subprocess
import sys

from tests.support.paths import ROOT


def free_port():
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_ranks(words, size=2, **options):
    """Start a Python module in several processes that know each other."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    common = os.environ | place | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", *map(str, words)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            **options,
        )
        for rank in range(size)
    ]


def run_ranks(words, size=2):
    """Run a module in several processes to the end."""
    for process in start_ranks(words, size, stderr=subprocess.PIPE, text=True):
        _, errors = process.communicate(timeout=400)
        assert process.returncode == 0, errors
