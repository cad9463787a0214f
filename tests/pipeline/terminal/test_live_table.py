"""The live table and its plain stand-in, rendered as a terminal of some size would show them."""

import io
import math

import pytest
from rich.cells import cell_len
from rich.console import Console

from pipeline.terminal.live_table import Watcher, sparkline, voxel_table
from pipeline.terminal.run_status import RunStatus, clock, memory, percent

ORGANS = ("spleen one", "kidney of the right side", "aorta")
NAN = float("nan")


def losses(step, seconds):
    terms = {"cross_entropy": 1.25, "dice": 0.5, "within_dice": 0.25}
    return {"step": step, "loss": 2.0, "rate": 0.03, "seconds": seconds, "terms": terms,
            "peak_memory_mib": 1536.0, "memory_of": "GPU"}  # fmt: skip


def validation(step, scores, warnings=()):
    means = {"student": sum(scores) / len(scores), "teacher": 0.5}
    organs = {"student": dict(zip(ORGANS, scores, strict=False))}
    return {"step": step, "validation": means, "organs": organs, "warnings": list(warnings)}


def terminal(width, height=40, *, real):
    return Console(
        file=io.StringIO(), width=width, height=height, force_terminal=real, color_system=None
    )


def fed(console, past=()):
    watcher = Watcher(100, console)
    for record in past:
        watcher.recall(record)
    for record in (
        {"step": 0, "cases": {"labeled": 4}, "labeled_voxels": {"background": 90, "a": 0}},
        losses(10, 20.0), validation(10, [0.1, 0.0, NAN]), losses(20, 40.0),
        validation(20, [0.9, 0.0, NAN], ["never predicted in 2 validations in a row: x"]),
        losses(30, 60.0), validation(30, [0.5, 0.0, NAN]),
    ):  # fmt: skip
        watcher.report(record)
    return watcher


def test_time_left_follows_the_latest_pace_and_not_that_of_earlier_sessions():
    status = RunStatus(100)
    status.recall(losses(10, 5000.0))
    assert status.time_left == "-"
    status.add(losses(20, 1.0))
    status.add(losses(30, 21.0))
    assert status.seconds_per_step == pytest.approx(2.0)
    assert status.time_left == "0:02:20"


def test_the_best_validation_is_the_first_of_the_highest_and_never_nan():
    status = RunStatus(100)
    for step, score in ((1, NAN), (2, 0.4), (3, 0.6), (4, 0.6), (5, NAN)):
        status.add(validation(step, [score]))
    assert status.best() == (3, 0.6)


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_table_holds_step_losses_organs_and_memory_within_the_width(width):
    console = terminal(width, real=True)
    watcher = fed(console)
    watcher.tick("case_7", 1, 24)
    with console.capture() as capture:
        console.print(watcher)
    text = capture.get()
    assert all(cell_len(line) <= width for line in text.splitlines())
    for told in (
        "step 30 of 100", "30 %", "0:02:20 left", "cross_entropy", "1.2500", "rate 0.03",
        "GPU peak 1.5 GiB", "1 warning", "validating case_7, 2 of 24", "Dice, %: student",
    ):  # fmt: skip
        assert told in text, told
    row = next(line for line in text.splitlines() if "spleen one" in line)
    assert row.split("spleen one")[1].split() == ["50.0", "90.0", "▁█▅"]
    assert next(line for line in text.splitlines() if "aorta" in line).count("-") == 2


def test_organs_that_find_no_room_are_the_best_ones():
    console = terminal(80, height=11, real=True)
    watcher = Watcher(100, console)
    scores = {f"organ {index}": index / 30 for index in range(30)}
    watcher.report({"step": 1, "validation": {"student": 0.5}, "organs": {"student": scores}})
    with console.capture() as capture:
        console.print(watcher)
    text = capture.get()
    assert "organ 0" in text
    assert "organ 29" not in text
    assert "28 organs with more" in text


def test_without_a_terminal_there_are_plain_lines():
    console = terminal(80, real=False)
    fed(console)
    lines = console.file.getvalue().splitlines()
    assert "4 labeled cases" in lines[0]
    assert any(
        line.startswith("step 10/100, loss 2, rate 0.03, GPU peak 1.5 GiB") for line in lines
    )
    assert "step 30: validation Dice, %: student -, teacher 50.0 (best - at step 10)" in lines
    assert "warning: step 20: never predicted in 2 validations in a row: x" in lines
    assert not any("\x1b" in line for line in lines)
    assert not any(line.startswith("step 20/100") for line in lines), "a line every 30 s is enough"


def test_what_an_earlier_session_reached_still_counts():
    watcher = fed(terminal(80, real=True), past=[validation(5, [0.95, 0.2, NAN])])
    assert max(watcher.status.history["spleen one"]) == 0.95


def test_an_organ_without_a_voxel_stands_out_at_the_start():
    table = voxel_table({"background": 900, "liver": 100, "spleen": 0})
    assert [row.style for row in table.rows] == [None, None, "bold red"]
    assert list(table.columns[2].cells) == ["90", "10", "0"]


def test_bars_times_sizes_and_scores():
    assert sparkline([0.0, 0.125, 0.5, 0.999, 1.0, NAN]) == "▁▂▅██ "
    assert clock(3725.4) == "1:02:05"
    assert [memory(512.0), memory(2048.0)] == ["512 MiB", "2.0 GiB"]
    assert [percent(0.1234), percent(math.nan)] == ["12.3", "-"]
