"""Power cuts: the command runs on a file system whose backing file is copied at a random moment.

The copy is what a disk would hold after the cut: data that were only in the page cache are missing.
It is mounted, which replays its journal, read, and the same command is run on it again. Half of
the cuts come right after the command has ended with success: then every file must be there.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.reliability import forks
from tests.reliability.contents import contents_of, differences
from tests.reliability.jobs import Job
from tests.reliability.kill import unreadable

# Smallest sizes that the programs accept, in MiB, with room for the largest command.
SYSTEMS = {"ext4": ("mkfs.ext4", "-q", 96), "xfs": ("mkfs.xfs", "-q", 320)}


def possible() -> list[str]:
    """The file systems that can be made and mounted here; none without root."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("losetup"):
        return []
    known = Path("/proc/filesystems").read_text(encoding="utf-8").split()
    return [name for name, (make, *_) in SYSTEMS.items() if name in known and shutil.which(make)]


def cuts(job: Job, system: str, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Cut the power so many times on one kind of file system; a line per failure.

    Args:
        folder: mount point; images lie beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ignored = (*job.ignored, ".lock")  # a lock is the kernel's; its file may stay
    chance = random.Random(f"{job.name}{system}{seed}")
    image, copy = folder.with_name("disk.img"), folder.with_name("cut.img")
    with mounted(_made(image, system), folder):
        _begin(job, folder)
        done = forks.run(job.words, folder)
        assert done.code == 0, f"{job.name} failed undisturbed: {done.err}"
        expected = contents_of(folder, ignored)
    failures = []
    for turn in range(number):
        moment = None if turn % 2 else chance.uniform(0, done.seconds)
        with mounted(_made(image, system), folder):
            _begin(job, folder)
            os.sync()  # what the command reads was there before
            ended = _cut(job, folder, image, copy, moment)
        place = "after the end" if moment is None else f"after {moment:.2f} s"
        with mounted(copy, folder):
            faults = unreadable(folder, job)
            if ended:
                faults += differences(expected, contents_of(folder, ignored))
            again = forks.run(job.words_again(folder), folder)
            if again.code != 0:
                faults.append(f"the next run ends with {again.code}: {again.err[-300:]!r}")
            else:
                faults += differences(expected, contents_of(folder, ignored))
        failures += [f"{job.name} on {system}, power cut {place}: {fault}" for fault in faults]
    return failures


def _begin(job: Job, folder: Path) -> None:
    """The job's files in the mounted folder, which itself cannot be removed."""
    place = folder.with_name("begin")
    job.prepare(place)
    shutil.copytree(place, folder, dirs_exist_ok=True)


def _cut(job: Job, folder: Path, image: Path, copy: Path, moment: float | None) -> bool:
    """Copy the image at a moment of a run, None for its end; whether the run had ended well."""
    begin = time.monotonic()
    process = forks.start(job.words, folder)
    if moment is None:
        ended = forks.wait_for(process, folder, begin)
        _copy(image, copy)
        return ended.code == 0
    time.sleep(moment)
    _copy(image, copy)
    forks.kill(process)
    forks.wait_for(process, folder, begin)
    return False


def _copy(image: Path, copy: Path) -> None:
    """A copy that no write has touched meanwhile: the state of one moment."""
    for _ in range(200):
        before = image.stat().st_mtime_ns
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        if image.stat().st_mtime_ns == before:
            return
    raise RuntimeError("the disk was written to without a pause")


def _made(image: Path, system: str) -> Path:
    make, quiet, size = SYSTEMS[system]
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(int(size) * 2**20)
    subprocess.run([str(make), str(quiet), image], check=True, capture_output=True)
    return image


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """An image mounted on a folder."""
    subprocess.run(["mount", "-o", "loop", image, folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True)
