"""Readers of files: each damaged file is accepted, or refused in one line that names it."""

import os
import random
import re
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.damage import Change

_GIB = 2**30
_SECONDS = 20
_LONGEST = 500
_PACKAGES = ("knowledge", "segmentation", "pipeline")


@dataclass(frozen=True)
class Reader:
    """A reader with a valid file.

    Attributes:
        file: the file that is damaged, below a folder that `build` fills.
        read: gets the folder.
    """

    file: str
    build: Callable[[Path], None]
    change: Change
    read: Callable[[Path], object]


def strange(name: str, reader: Reader, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Read so many damaged files in processes with limits; a line per failure."""
    folder.mkdir(parents=True, exist_ok=True)
    turn, failures = 0, []
    while turn < number:
        report = folder / "report.txt"
        report.unlink(missing_ok=True)
        process = _forked(lambda first=turn: _work(reader, folder, first, number, name, seed))
        begun = time.monotonic()
        status = _wait(process, folder)
        lines = report.read_text(encoding="utf-8").splitlines() if report.is_file() else []
        done = [line for line in lines if line.startswith("turn ")]
        failures += [f"{name} {line}" for line in lines if not line.startswith("turn ")]
        last = int(done[-1].split()[1]) if done else turn
        if status == 0:
            break
        failures.append(f"{name} {last}: the process ended with {status}, {_used(begun):.0f} s")
        turn = last + 1
    if any(folder.rglob("EVIL")) or Path("EVIL").exists():
        failures.append(f"{name}: code of a file was run")
    return failures


def _used(begun: float) -> float:
    return time.monotonic() - begun


def _forked(work: Callable[[], None]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(process: int, folder: Path) -> int:
    """Wait; a process that reads one file for too long is killed."""
    heartbeat = folder / "report.txt"
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        last = heartbeat.stat().st_mtime if heartbeat.is_file() else time.time()
        if time.time() - last > 3 * _SECONDS:  # a loaded machine is slower; CPU time decides below
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.02)


def _work(reader: Reader, folder: Path, first: int, number: int, name: str, seed: int) -> None:
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * _GIB, size + 4 * _GIB))
    warnings.simplefilter("ignore")
    sink = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    valid = folder / "valid"
    shutil.rmtree(valid, ignore_errors=True)
    valid.mkdir()
    reader.build(valid)
    whole = (valid / reader.file).read_bytes()
    with (folder / "report.txt").open("a", encoding="utf-8") as report:
        if first == 0 and (fault := _refused(reader, valid)):
            print(f"undamaged: {fault}", file=report, flush=True)
        for turn in range(first, number):
            print(f"turn {turn}", file=report, flush=True)
            content = reader.change(whole, random.Random(f"{name}{seed}{turn}"))
            (valid / reader.file).write_bytes(content)
            begin = time.process_time()
            fault = _fault(reader, valid)
            seconds = time.process_time() - begin
            if fault or seconds > _SECONDS:
                print(f"{turn}: {fault or f'{seconds:.0f} s of CPU time'}", file=report, flush=True)


def _refused(reader: Reader, valid: Path) -> str:
    try:
        reader.read(valid)
    except BaseException as fault:
        return f"{type(fault).__name__}: {str(fault)[:150]!r} at {_where(fault)}"
    return ""


def _fault(reader: Reader, valid: Path) -> str:
    """Why the answer to a damaged file is not a proper one; empty if it is."""
    try:
        reader.read(valid)
    except (ValueError, OSError, LookupError) as fault:
        text = str(fault)
        if isinstance(fault, KeyError | IndexError | UnicodeError):
            return f"{type(fault).__name__}: {text[:100]!r} at {_where(fault)}"
        text = re.sub(re.escape(str(valid)) + r"/?", "", text)
        if isinstance(fault, OSError) and fault.filename:
            text = f"{Path(str(fault.filename)).name}: {fault.strerror}"
        parts = reader.file.split("/")
        if not any(part in str(fault) or part in text for part in (*parts, Path(parts[-1]).stem)):
            return f"the file is not named: {text[:150]!r} at {_where(fault)}"
        if len(text) > _LONGEST:
            return f"{len(text)} characters: {text[:80]!r}... at {_where(fault)}"
        if not text.isprintable():
            return f"not printable: {text[:200]!r} at {_where(fault)}"
        return ""
    except BaseException as fault:
        return f"{type(fault).__name__}: {str(fault)[:150]!r} at {_where(fault)}"
    return ""


def _where(fault: BaseException) -> str:
    frames = traceback.extract_tb(fault.__traceback__)
    mine = [f for f in frames if any(f"/{name}/" in f.filename for name in _PACKAGES)]
    mine = [f for f in mine if "site-packages" not in f.filename]
    last = mine[-1] if mine else frames[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
