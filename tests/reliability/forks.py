"""`tak` in forked processes: libraries are imported once, a process costs milliseconds."""

import importlib
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_MODULES = (
    "pipeline.cli", "pipeline.prediction.outputs", "pipeline.report.write",
    "pipeline.runs.training", "pipeline.runs.bundles.writing", "pipeline.scoring.score_run",
    "pipeline.texts.asking", "pipeline.texts.encoders", "segmentation.data.preparation",
    "segmentation.training.trackers", "pipeline.datasets.split_drawing",
    "pipeline.experiments.study",
)  # fmt: skip
_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (negative: signal), everything printed, seconds."""

    code: int
    out: str
    err: str
    seconds: float


class Counter:
    """Counts changes of files by this process, and calls `act` before one of them.

    Renames, removals, new folders and files opened for writing are reported by Python's audit
    hooks; so every step of a write is met, however short it is.
    """

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.at, self.act, self.count = at, act, 0

    def install(self) -> None:
        """Count from now on; cannot be taken back within a process."""
        sys.addaudithook(self._see)

    def _see(self, event: str, args: tuple[object, ...]) -> None:
        if event == "open":
            mode, flags = args[1], args[2]
            writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else mode
            if not writes or not isinstance(args[0], str | bytes | os.PathLike):
                return
            if os.fspath(args[0]) in ("/dev/null", "/dev/tty"):
                return
        elif event not in _WRITES:
            return
        self.count += 1
        if self.count == self.at:
            self.act()


def kill_self() -> None:
    """End this process as power off would."""
    os.kill(os.getpid(), signal.SIGKILL)


def preload() -> None:
    """Import what the commands import."""
    for name in _MODULES:
        importlib.import_module(name)


def start(
    words: Sequence[object], folder: Path, counter: Counter | None = None, tag: str = ""
) -> int:
    """Start `tak` in a forked process that works in `folder`; returns its id.

    Output goes to `out.txt` and `err.txt` beside the folder, the count to `events.txt`; `tag`
    stands before the names of the first two.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about threads of the server
        process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        for stream, name in ((1, "out.txt"), (2, "err.txt")):
            file = os.open(folder.with_name(tag + name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        sys.argv = ["tak", *map(str, words)]
        code = _run(counter)
        if counter is not None:
            events_file(folder).write_text(str(counter.count), encoding="utf-8")
    finally:
        os._exit(code)


def events_file(folder: Path) -> Path:
    """Where a process that counted changes of files leaves their number."""
    return folder.with_name("events.txt")


def _run(counter: Counter | None) -> int:
    from pipeline.__main__ import main

    try:
        if counter is not None:
            counter.install()
        main()
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def kill(process: int) -> None:
    """SIGKILL to the process and all that it has started."""
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:  # so early that it has no group of its own yet
        os.kill(process, signal.SIGKILL)


def wait_for(process: int, folder: Path, begin: float, limit: float = 300, tag: str = "") -> Ended:
    """Wait for the process; one beyond the limit is killed, its code is -9."""
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begin > limit:
            kill(process)
            _, status = os.waitpid(process, 0)
            break
        time.sleep(0.01)
    out, err = (
        folder.with_name(tag + name).read_text(encoding="utf-8", errors="replace")
        for name in ("out.txt", "err.txt")
    )
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, out, err, time.monotonic() - begin)


def run(words: Sequence[object], folder: Path, counter: Counter | None = None) -> Ended:
    """Run `tak` in a forked process to its end."""
    begin = time.monotonic()
    return wait_for(start(words, folder, counter), folder, begin)
