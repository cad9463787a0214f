"""SIGKILL at random moments: files are whole or absent, a second call ends as if undisturbed."""

import random
import time
from pathlib import Path

from tests.reliability import forks
from tests.reliability.contents import content_of, contents_of, differences
from tests.reliability.jobs import Job


def count_events(job: Job, folder: Path) -> tuple[int, float, dict[str, object]]:
    """Changes of files, seconds and contents of an undisturbed run."""
    job.prepare(folder)
    done = forks.run(job.words, folder, forks.Counter(-1, lambda: None))
    assert done.code == 0, f"{job.name} failed undisturbed: {done.err}"
    number = int(forks.events_file(folder).read_text(encoding="utf-8"))
    return number, done.seconds, contents_of(folder, job.ignored)


def kills(job: Job, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Kill the command so many times, half before a change of a file, half at a random time.

    Returns:
        A line per failure.
    """
    events, seconds, expected = count_events(job, folder)
    chance = random.Random(f"{job.name}{seed}")
    failures = []
    for turn in range(number):
        if turn % 2 and job.name != "study":
            event = chance.randint(1, max(1, events))
            place, moment = f"before change {event} of {events}", None
        else:
            event, moment = -1, chance.uniform(0, seconds)
            place = f"after {moment:.2f} of {seconds:.2f} s"
        for fault in _killed(job, folder, event, moment, expected):
            failures.append(f"{job.name}, killed {place}: {fault}")
    return failures


def _killed(
    job: Job, folder: Path, event: int, moment: float | None, expected: dict[str, object]
) -> list[str]:
    job.prepare(folder)
    counter = forks.Counter(event, forks.kill_self)
    begin = time.monotonic()
    process = forks.start(job.words, folder, counter)
    if moment is not None:
        time.sleep(moment)
        forks.kill(process)
    forks.wait_for(process, folder, begin)
    faults = unreadable(folder, job)
    answered = len(list(folder.glob("cache/??/[!.]*.json")))
    asked = _questions(folder)
    again = forks.run(job.words_again(folder), folder)
    if again.code != 0:
        return [*faults, f"the second call ends with {again.code}: {again.err[-300:]}"]
    try:
        found = contents_of(folder, job.ignored)
    except Exception as fault:
        return [*faults, f"after the second call: {type(fault).__name__}: {fault}"]
    faults += differences(expected, found)
    if job.name == "describe":
        total = len([name for name in expected if name.startswith("cache/") and "/" in name[6:]])
        paid = _questions(folder) - asked
        if paid > total - answered:
            faults.append(f"{paid} questions asked again, {total - answered} were open")
    return faults


def _questions(folder: Path) -> int:
    log = folder.parent / "questions.jsonl"
    return len(log.read_text(encoding="utf-8").splitlines()) if log.is_file() else 0


def unreadable(folder: Path, job: Job) -> list[str]:
    """Files under their final names that are not whole."""
    faults = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        unchecked = any(part in path.name for part in (*job.ignored, "tfevents", ".lock"))
        if path.is_file() and not hidden and not unchecked and path.suffix != ".jsonl":
            try:
                content_of(path)
            except Exception as fault:
                faults.append(f"{path.relative_to(folder)} is not whole: {type(fault).__name__}")
    return faults
