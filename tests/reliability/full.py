"""Limits of file sizes, full disks and read-only folders at every write of every command."""

import os
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.reliability import forks
from tests.reliability.contents import contents_of, differences
from tests.reliability.jobs import Job

_SIZES = (3_000, 10_000, 30_000, 100_000, 300_000)  # smaller ones hit the standard output


def undisturbed(job: Job, folder: Path) -> tuple[forks.Ended, dict[str, object]]:
    """The end and the contents of a run that nothing disturbs."""
    job.prepare(folder)
    done = forks.run(job.words, folder)
    assert done.code == 0, f"{job.name} failed undisturbed: {done.err}"
    return done, contents_of(folder, job.ignored)


def limits(job: Job, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Run the command with random limits of file sizes, then without; a line per failure."""
    expected = undisturbed(job, folder)[1]
    chance = random.Random(f"{job.name}{seed}")
    failures = []
    for _ in range(number):
        size = chance.choice(_SIZES)
        job.prepare(folder)
        ended = forks.run(job.words, folder, FileLimit(size))
        faults = judge(ended) + _again(job, folder, expected)
        failures += [f"{job.name}, no file over {size} bytes: {fault}" for fault in faults]
    return failures


class FileLimit(forks.Counter):
    """A limit of the size of files that this process writes."""

    def __init__(self, size: int) -> None:
        super().__init__(-1, lambda: None)
        self.size = size

    def install(self) -> None:
        """Set the limit; a write beyond it is an error."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


def full_disk(job: Job, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Run the command on a file system with little space, then with enough; needs root."""
    chance = random.Random(f"{job.name}{seed}")
    expected = undisturbed(job, folder)[1]
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    failures = []
    for _ in range(number):
        shutil.rmtree(folder)
        folder.mkdir()
        with tmpfs(folder, 64 * 2**20):
            job.prepare(folder)
            given = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            free = chance.randint(0, max(8192, used - given))
            filler = _fill(folder, free)
            ended = forks.run(job.words, folder)  # its output lies beside the full disk
            filler.unlink()
            faults = judge(ended) + _again(job, folder, expected)
        failures += [f"{job.name}, {free} bytes free: {fault}" for fault in faults]
    return failures


def read_only(job: Job, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Run the command on a file system that cannot be written, then on the same, writable; root."""
    expected = undisturbed(job, folder)[1]
    shutil.rmtree(folder)
    folder.mkdir()
    with tmpfs(folder, 64 * 2**20):
        job.prepare(folder)
        _remount(folder, "ro")
        ended = forks.run(job.words, folder)
        _remount(folder, "rw")
        faults = judge(ended) + _again(job, folder, expected)
    if ended.code == 0:
        faults.append("it ended with success")
    return [f"{job.name}, read only: {fault}" for fault in faults]


def _remount(folder: Path, mode: str) -> None:
    command = ["mount", "-o", f"remount,{mode}", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[None]:
    """A small file system in memory on a folder."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def _fill(folder: Path, free: int) -> Path:
    """Fill the file system but for so many bytes."""
    filler = folder / "filler"
    space = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - free - 65536))
    return filler


def judge(ended: forks.Ended) -> list[str]:
    """What is wrong with the end of a command that may have had no room."""
    if ended.code == 0:
        return []
    faults = []
    if ended.code != 1:
        faults.append(f"exit code {ended.code}, expected 1; {ended.err[-300:]!r}")
    if "Traceback" in ended.err or "Exception ignored" in ended.err:
        faults.append(f"a traceback: {ended.err[-500:]!r}")
    # A study goes on with other stages after `failed: ...`, and says no more at the end.
    elif not [line for line in ended.err.splitlines() if line.startswith(("error: ", "failed: "))]:
        faults.append(f"no error is printed: {ended.err[-300:]!r}")
    return faults


def _again(job: Job, folder: Path, expected: dict[str, object]) -> list[str]:
    again = forks.run(job.words_again(folder), folder)
    if again.code != 0:
        return [f"the next run ends with {again.code}: {again.err[-300:]!r}"]
    return differences(expected, contents_of(folder, job.ignored))
