"""Two processes with the same command in the same folder: both end, and nothing is mixed up."""

import random
import time
from pathlib import Path

from tests.reliability import forks
from tests.reliability.contents import contents_of, differences
from tests.reliability.full import judge, undisturbed
from tests.reliability.jobs import Job


def together(job: Job, folder: Path, number: int, seed: int = 0) -> list[str]:
    """Start the command twice, the second time at a random moment of the first; failures."""
    done, expected = undisturbed(job, folder)
    chance = random.Random(f"{job.name}{seed}")
    failures = []
    for _ in range(number):
        job.prepare(folder)
        moment, begin = chance.choice([0.0, chance.uniform(0, done.seconds)]), time.monotonic()
        first = forks.start(job.words, folder, tag="1-")
        time.sleep(moment)
        second = forks.start(job.words, folder, tag="2-")
        ended = [
            forks.wait_for(process, folder, begin, tag=tag)
            for process, tag in ((first, "1-"), (second, "2-"))
        ]
        faults = [fault for each in ended for fault in judge(each)]
        if all(each.code for each in ended):
            faults.append(f"neither ended well: {[each.err[-200:] for each in ended]}")
        else:
            faults += differences(expected, contents_of(folder, job.ignored))
        failures += [f"{job.name}, twice, {moment:.2f} s apart: {fault}" for fault in faults]
    return failures
