"""The log of a job: a line when a stage begins, and one when it ends."""

from pipeline.experiments.engines.observer import LineObserver
from pipeline.experiments.engines.workers import Outcome
from pipeline.experiments.stages import Stage

STAGE = Stage("train", {"seed": 1}, ("train",))


def test_every_event_is_a_line_with_the_stage(capsys):
    observer = LineObserver()
    observer.started(STAGE)
    observer.ended(STAGE, Outcome(0, "", 1.25))
    observer.ended(STAGE, Outcome(1, "the disk is full", 0.5))
    observer.reused(STAGE)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(f"train {STAGE.key[:8]}: ") for line in lines)
    assert [line.partition(": ")[2] for line in lines] == [
        "started",
        "done, 1.2 s",
        "the disk is full, 0.5 s",
        "finished by another process",
    ]
