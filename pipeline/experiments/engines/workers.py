"""Processes that run `tak` commands of a study one after another, with imports done once.

A worker reads one JSON line per command from its standard input and answers with one. The command
runs in the process of the worker, and its output goes to the log of the stage.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

IN_USE = 75  # EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True)
class Outcome:
    """The outcome of a command.

    Attributes:
        code: exit code; 130 if asked to stop, IN_USE if another process trains in its folder.
        error: why it failed, in one line.
        peak_mib, gpu_mib: peak memory of the process, and of its share of a GPU.
    """

    code: int
    error: str
    seconds: float
    peak_mib: float | None = None
    gpu_mib: float | None = None


class Worker:
    """A process that runs commands; started for the first one, and again if it died.

    Args:
        environment: additional variables, such as threads and visible devices.

    Attributes:
        idle: set while no command runs.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.idle = threading.Event()
        self.idle.set()
        self.process: subprocess.Popen[str] | None = None

    def run(self, words: Sequence[str], log: Path) -> Outcome:
        """Run one command; a worker that dies is a failed command, not an exception."""
        self.idle.clear()
        try:
            return self._run(words, log)
        finally:
            self.idle.set()

    def _run(self, words: Sequence[str], log: Path) -> Outcome:
        begin = time.monotonic()
        process = self._process()
        assert process.stdin is not None
        assert process.stdout is not None
        answer = ""
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"words": list(words), "log": str(log)}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        seconds = time.monotonic() - begin
        if answer:
            content = json.loads(answer)
            memory = content["peak_mib"], content["gpu_mib"]
            return Outcome(content["code"], content["error"], seconds, *memory)
        code = process.wait()
        self.process = None
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome(1, f"the process died ({reason}); its log is {log}", seconds)

    def stop(self) -> None:
        """Ask the running command to save and end (SIGTERM)."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def close(self) -> None:
        """End the process, which must be idle."""
        if self.process is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()  # type: ignore[union-attr]
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()  # type: ignore[union-attr]
            self.process = None

    def _process(self) -> "subprocess.Popen[str]":
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=os.environ | self.environment,
                start_new_session=True,  # Ctrl-C at the terminal reaches only the study
            )
        return self.process
