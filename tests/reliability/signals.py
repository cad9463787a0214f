"""SIGTERM and Ctrl-C at random moments: 130 or 143, one line on standard error, no traceback."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.reliability import forks
from tests.reliability.contents import content_of
from tests.reliability.jobs import Job
from tests.support.paths import ROOT

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def signals(job: Job, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Signal the command so many times in forked processes; a line per failure."""
    job.prepare(folder)
    done = forks.run(job.words, folder)
    assert done.code == 0, f"{job.name} failed undisturbed: {done.err}"
    chance = random.Random(f"{job.name}{seed}")
    failures = []
    for turn in range(number):
        first = chance.choice(list(_CODES))
        twice = turn % 2 == 1
        moment = chance.uniform(0.01, done.seconds)
        job.prepare(folder)
        begin = time.monotonic()
        process = forks.start(job.words, folder)
        time.sleep(moment)
        _send(process, first)
        if twice:
            time.sleep(chance.uniform(0, 0.2))
            _send(process, chance.choice(list(_CODES)))
        ended = forks.wait_for(process, folder, begin, limit=60)
        where = f"{first.name}{' and a second signal' if twice else ''} after {moment:.2f} s"
        faults = judge(ended, _CODES[first], finished=ended.code == 0)
        faults += _broken(folder)
        if _hidden(
            folder
        ):  # a thread was writing, or a process of the pool; gone with the next run
            again = forks.run(job.words_again(folder), folder)
            faults += [f"left {name} after the next run ({again.code})" for name in _hidden(folder)]
        failures += [f"{job.name}, {where}: {fault}" for fault in faults]
    return failures


def early_signals(words: tuple[str, ...], folder: Path, number: int, seed: int = 0) -> list[str]:
    """Signal real processes while they start, from the moment on that they handle signals."""
    chance = random.Random(f"early{seed}")
    failures = []
    for _ in range(number):
        first = chance.choice(list(_CODES))
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words], cwd=folder, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        begin = time.monotonic()
        while process.poll() is None and not _handles(process.pid, signal.SIGTERM):
            time.sleep(0.002)
        moment = chance.uniform(0, 2.0)
        time.sleep(moment)
        process.send_signal(first)
        out, err = process.communicate(timeout=60)
        ended = forks.Ended(process.returncode, out, err, time.monotonic() - begin)
        faults = judge(ended, _CODES[first], finished=ended.code == 0)
        failures += [
            f"{words[0]}, {first.name} {moment:.2f} s after its start: {fault}" for fault in faults
        ]
    return failures


def _send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _handles(process: int, number: signal.Signals) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def judge(ended: forks.Ended, code: int, *, finished: bool) -> list[str]:
    """What is wrong with the end of a command after a signal."""
    if finished:
        return []  # all was done before the signal came
    faults = []
    if ended.code != code:
        faults.append(f"exit code {ended.code}, expected {code}; {ended.err[-200:]!r}")
    if "Traceback" in ended.err or "Exception ignored" in ended.err:
        faults.append(f"a traceback: {ended.err[-600:]!r}")
    lines = [line for line in (ended.err + ended.out).splitlines() if "stopped" in line]
    if len(lines) != 1:
        faults.append(f"{len(lines)} lines say what is kept: {ended.err[-300:]!r}")
    return faults


def _hidden(folder: Path) -> list[str]:
    names = (path.relative_to(folder) for path in folder.rglob(".*"))
    return [str(name) for name in names]


def _broken(folder: Path) -> list[str]:
    faults = []
    for path in folder.rglob("*"):
        if not path.is_file() or "tfevents" in path.name or path.name.endswith(".lock"):
            continue
        if path.suffix in (".json", ".h5", ".pt"):
            try:
                content_of(path)
            except Exception as fault:
                faults.append(f"{path.relative_to(folder)} is not whole: {type(fault).__name__}")
    return faults
