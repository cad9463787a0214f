"""Disturb everything that writes or reads: `python -m tests.reliability [--quick] [--only PART]`.

Commands are killed and signaled at random moments, run against full disks and limits, readers get
damaged files. Figures and failures go to `tests/RELIABILITY.md`; the exit code is 1 if anything
failed. POSIX only.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability import forks, full, kill, power, readers, service, signals, soak, together
from tests.reliability.jobs import Job, counted_server, jobs, make_scans
from tests.reliability.strange import strange

PAGE = Path(__file__).parents[1] / "RELIABILITY.md"
Rows = list[tuple[str, int, list[str], float]]  # subject, number of tries, failures, seconds


def main() -> None:
    """Run the parts that are asked for; write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Few repetitions.")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="One part.")
    parser.add_argument("--number", type=int, help="Repetitions of each disturbance.")
    parser.add_argument("--seed", type=int, default=0, help="Random seed.")
    want = parser.parse_args()
    chosen = want.only or list(PARTS)
    forks.preload()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        for part in chosen:
            rows = PARTS[part](Path(place) / part, want.number or (4 if want.quick else 100), want)
            failures += sum(len(faults) for _, _, faults, _ in rows)
            write_section(part, rows)
    sys.exit(failures > 0)


def _each(
    disturb: Callable[[Job, Path, int, int], list[str]], place: Path, number: int, seed: int
) -> Rows:
    work = place / "work"
    work.mkdir(parents=True)
    raw = make_scans(place / "scans")
    rows: Rows = []
    with counted_server(work / "questions.jsonl") as url:
        for job in jobs(raw, url).values():
            tries = max(2, number // 5) if job.name == "study" else number
            begin = time.monotonic()
            faults = disturb(job, work / job.name, tries, seed)
            rows.append((job.name, tries, faults, time.monotonic() - begin))
            print(*rows[-1], flush=True)
    return rows


def _kill(place: Path, number: int, want: argparse.Namespace) -> Rows:
    return _each(kill.kills, place, number, want.seed)


def _signals(place: Path, number: int, want: argparse.Namespace) -> Rows:
    rows = _each(signals.signals, place, number, want.seed)
    folder = place / "work" / "encode"
    begin = time.monotonic()
    words = ("encode", "descriptions.json", "--encoder", "hashing:16", "-o", "b.h5")
    faults = signals.early_signals(words, folder, number, want.seed)
    return [*rows, ("start of a process", number, faults, time.monotonic() - begin)]


def _limits(place: Path, number: int, want: argparse.Namespace) -> Rows:
    return _each(full.limits, place, number, want.seed)


def _disk(place: Path, number: int, want: argparse.Namespace) -> Rows:
    if sys.platform != "linux" or os.geteuid() != 0:
        print("full disks need root on Linux: skipped")
        return []
    return _each(full.full_disk, place, number, want.seed)


def _read_only(place: Path, number: int, want: argparse.Namespace) -> Rows:
    if sys.platform != "linux" or os.geteuid() != 0:
        print("read-only file systems need root on Linux: skipped")
        return []
    return [(name, 1, *rest) for name, _, *rest in _each(full.read_only, place, 1, want.seed)]


def _together(place: Path, number: int, want: argparse.Namespace) -> Rows:
    return _each(together.together, place, number, want.seed)


def _power(place: Path, number: int, want: argparse.Namespace) -> Rows:
    systems = power.possible()
    if not systems:
        print("power cuts need root, loop devices and mkfs of ext4 or XFS on Linux: skipped")
    rows: Rows = []
    tries = max(2, number // 5)
    for system in systems:

        def cut(job: Job, folder: Path, number: int, seed: int, system: str = system) -> list[str]:
            return power.cuts(job, system, folder, tries, seed)

        rows += [(f"{name}, {system}", tries, *rest) for name, _, *rest in
                 _each(cut, place / system, number, want.seed)]  # fmt: skip
    return rows


def _service(place: Path, number: int, want: argparse.Namespace) -> Rows:
    begin, faults = time.monotonic(), []
    with service.service() as url:
        for index, name in enumerate(service.BEHAVIORS):
            faults += service.ask(name, url, place / str(index) / "work")
    return [("describe", len(service.BEHAVIORS), faults, time.monotonic() - begin)]


def _strange(place: Path, number: int, want: argparse.Namespace) -> Rows:
    rows: Rows = []
    tries = 3 * number
    for name, reader in readers.readers().items():
        begin = time.monotonic()
        faults = strange(name, reader, place / name.replace(" ", "-"), tries, want.seed)
        rows.append((name, tries, faults, time.monotonic() - begin))
        print(*rows[-1], flush=True)
    return rows


def _soak(place: Path, number: int, want: argparse.Namespace) -> Rows:
    rows: Rows = []
    for facts, faults in (
        soak.soak_training(place, 500 if want.quick else 20_000),
        soak.soak_predictions(100 if want.quick else 2_000),
    ):
        rows.append((facts[0], 1, faults, 0.0))
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
    "strange": _strange,
    "soak": _soak,
}


def write_section(part: str, rows: Rows) -> None:
    """Replace the section of a part in the page."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "# Reliability\n"
    head, _, rest = text.partition(f"\n## {part}\n")
    after = rest.partition("\n## ")
    tail = f"\n## {after[2]}" if after[1] else ""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"\n## {part}\n",
        f"{day}, {platform.system()}, Python {platform.python_version()}.\n",
        "| subject | tries | failures | seconds |",
        "|---|---|---|---|",
        *(f"| {name} | {tries} | {len(f)} | {seconds:.0f} |" for name, tries, f, seconds in rows),
    ]
    faults = [fault for _, _, every, _ in rows for fault in every]
    lines += (
        ["", *(f"- {' '.join(fault.split())[:400]}" for fault in faults[:30])] if faults else []
    )
    PAGE.write_text(head.rstrip() + "\n" + "\n".join(lines) + "\n" + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
