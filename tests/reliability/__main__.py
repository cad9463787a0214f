"""Disturb everything that writes or reads: `python -m tests.reliability [--quick] [--only PART]`.

Commands are killed and signaled at random moments, run against full disks and limits, readers get
damaged files. Figures and failures go to `tests/RELIABILITY.md`; the exit code is 1 if anything
failed. POSIX only.
"""

import argparse
import datetime
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.reliability import (
    forks,
    full,
    identifiers,
    kill,
    power,
    readers,
    service,
    signals,
    soak,
    together,
)
from tests.reliability.jobs import Job, counted_server, jobs, make_scans
from tests.reliability.strange import Reader, strange

PAGE = Path(__file__).parents[1] / "RELIABILITY.md"
Rows = list[tuple[str, int, list[str], float]]  # subject, number of tries, failures, seconds
Subject = TypeVar("Subject", Job, Reader)


def main() -> None:
    """Run the parts that are asked for; write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Few repetitions.")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="One part.")
    parser.add_argument("--subject", action="append", help="One command or reader of the parts.")
    parser.add_argument("--number", type=int, help="Repetitions of each disturbance.")
    parser.add_argument("--seed", type=int, default=0, help="Random seed.")
    want = parser.parse_args()
    chosen = want.only or list(PARTS)
    forks.preload()
    failures, found = 0, False
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        for part in chosen:
            rows = PARTS[part](Path(place) / part, want.number or (4 if want.quick else 100), want)
            failures += sum(len(faults) for _, _, faults, _ in rows)
            found = found or bool(rows)
            if rows:
                write_section(part, rows)
    if want.subject and not found:
        parser.error(f"--subject: none of {', '.join(chosen)} has {' or '.join(want.subject)}")
    sys.exit(failures > 0)


def _each(
    disturb: Callable[[Job, Path, int, int], list[str]],
    place: Path,
    number: int,
    want: argparse.Namespace,
) -> Rows:
    work = place / "work"
    work.mkdir(parents=True)
    raw = make_scans(place / "scans")
    rows: Rows = []
    with counted_server(work / "questions.jsonl") as url:
        for job in _wanted(jobs(raw, url), want).values():
            begin = time.monotonic()
            faults = disturb(job, work / job.name, number, want.seed)
            rows.append((job.name, number, faults, time.monotonic() - begin))
            print(*rows[-1], flush=True)
    return rows


def _wanted(subjects: dict[str, Subject], want: argparse.Namespace) -> dict[str, Subject]:
    return {name: s for name, s in subjects.items() if not want.subject or name in want.subject}


def _kill(place: Path, number: int, want: argparse.Namespace) -> Rows:
    return _each(kill.kills, place, number, want)


def _signals(place: Path, number: int, want: argparse.Namespace) -> Rows:
    rows = _each(signals.signals, place, number, want)
    if want.subject:
        return rows
    folder = place / "work" / "encode"
    begin = time.monotonic()
    words = ("encode", "descriptions.json", "--encoder", "hashing:16", "-o", "b.h5")
    faults = signals.early_signals(words, folder, number, want.seed)
    return [*rows, ("start of a process", number, faults, time.monotonic() - begin)]


def _limits(place: Path, number: int, want: argparse.Namespace) -> Rows:
    return _each(full.limits, place, number, want)


def _disk(place: Path, number: int, want: argparse.Namespace) -> Rows:
    if sys.platform != "linux" or os.geteuid() != 0:
        print("full disks need root on Linux: skipped")
        return []
    return _each(full.full_disk, place, number, want)


def _read_only(place: Path, number: int, want: argparse.Namespace) -> Rows:
    if sys.platform != "linux" or os.geteuid() != 0:
        print("read-only file systems need root on Linux: skipped")
        return []
    return _each(full.read_only, place, 1, want)


def _together(place: Path, number: int, want: argparse.Namespace) -> Rows:
    return _each(together.together, place, number, want)


def _power(place: Path, number: int, want: argparse.Namespace) -> Rows:
    systems = power.possible()
    if not systems:
        print("power cuts need root, loop devices and mkfs of ext4 or XFS on Linux: skipped")
    rows: Rows = []
    tries = max(2, number // 5)
    for system in systems:

        def cut(job: Job, folder: Path, number: int, seed: int, system: str = system) -> list[str]:
            return power.cuts(job, system, folder, number, seed)

        done = _each(cut, place / system, tries, want)
        rows += [(f"{name}, {system}", number, faults, took) for name, number, faults, took in done]
    return rows


def _service(place: Path, number: int, want: argparse.Namespace) -> Rows:
    begin, faults = time.monotonic(), []
    with service.service() as url:
        for index, name in enumerate(service.BEHAVIORS):
            faults += service.ask(name, url, place / str(index) / "work")
    return [("describe", len(service.BEHAVIORS), faults, time.monotonic() - begin)]


def _identifiers(place: Path, number: int, want: argparse.Namespace) -> Rows:
    place.mkdir(parents=True)
    begin, questions = time.monotonic(), place / "questions.jsonl"
    with counted_server(questions) as url:
        faults = identifiers.identifiers(
            place / "work", make_scans(place / "scans"), url, questions
        )
    return [("all commands", len(identifiers.scenario("")), faults, time.monotonic() - begin)]


def _strange(place: Path, number: int, want: argparse.Namespace) -> Rows:
    rows: Rows = []
    tries = 3 * number
    for name, reader in _wanted(readers.readers(), want).items():
        begin = time.monotonic()
        faults = strange(name, reader, place / name.replace(" ", "-"), tries, want.seed)
        rows.append((name, tries, faults, time.monotonic() - begin))
        print(*rows[-1], flush=True)
    return rows


def _soak(place: Path, number: int, want: argparse.Namespace) -> Rows:
    rows: Rows = []
    steps, scans = (500, 100) if want.quick else (20_000, 2_000)
    for subject, number, work in (
        ("training steps", steps, lambda: soak.soak_training(place, steps)),
        ("predictions", scans, lambda: soak.soak_predictions(scans)),
    ):
        if not want.subject or subject in want.subject:
            begin = time.monotonic()
            facts, faults = work()
            print(*facts, flush=True)
            rows.append((subject, number, faults, time.monotonic() - begin))
    return rows


PARTS: dict[str, Callable[[Path, int, argparse.Namespace], Rows]] = {
    "kill": _kill,
    "signals": _signals,
    "file size limits": _limits,
    "full disk": _disk,
    "read only": _read_only,
    "two at once": _together,
    "power cuts": _power,
    "service": _service,
    "identifiers": _identifiers,
    "strange": _strange,
    "soak": _soak,
}


def write_section(part: str, rows: Rows, page: Path = PAGE) -> None:
    """Put the rows of a part into the page; other rows, and what else its section says, stay."""
    text = page.read_text(encoding="utf-8") if page.is_file() else "# Reliability\n"
    head, _, rest = text.partition(f"\n## {part}\n")
    section, other, after = rest.partition("\n## ")
    blocks = [block.strip("\n") for block in section.split("\n\n")]
    table = next((block for block in blocks if block.startswith("| ")), "")
    known = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()[2:]}
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    for name, tries, faults, seconds in rows:
        known[name] = f"| {name} | {tries} | {len(faults)} | {seconds:.0f} | {day} |"
    lines = ["| subject | tries | failures | seconds | date |", "|---|---|---|---|---|"]
    kept = [block for block in blocks if block and block != table and block[:2] != "- "]
    notes = [block for block in kept if block.startswith("Found")]
    said = [block for block in kept if block not in notes]
    faults = [fault for _, _, every, _ in rows for fault in every]
    listed = "\n".join(f"- {' '.join(fault.split())[:400]}" for fault in faults[:30])
    parts = [*said, "\n".join([*lines, *known.values()]), *([listed] if listed else []), *notes]
    tail = f"\n## {after}" if other else ""
    body = "\n\n".join(parts)
    page.write_text(f"{head.rstrip()}\n\n## {part}\n\n{body}\n{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
