"""The benchmark command runs at a tiny size and writes what it promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import ladder

ROOT = Path(__file__).parents[1]


def run(*words):
    command = [sys.executable, "-m", "tests.benchmarks", "--setting", "tiny", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_items_are_timed_and_kept_as_json_and_markdown(tmp_path):
    items = ["text_head", "data_stream"]
    done = run(
        "--only", *items, "--repeats", "2", "--warm-up", "1", "--out", str(tmp_path / "b.json")
    )
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "b.json").read_text())
    assert [row["item"] for row in about["rows"]] == items
    assert all(row["wall_s"] > 0 and row["peak_gib"] > 0 for row in about["rows"])
    assert about["torch"] in (tmp_path / "b.md").read_text()
    assert "text_head" in done.stdout


def test_an_unknown_item_is_answered_with_the_known_ones():
    done = run("--only", "text_heat")
    assert done.returncode != 0
    assert "no item text_heat; there is" in done.stderr
    assert "step:magicnet" in done.stderr


@pytest.mark.slow
def test_the_ladder_gives_costs_and_the_exponent_of_their_growth():
    words = ("--ladder", "--only", "pseudo_labels", "questions", "--sizes", "8", "16")
    done = run(*words, "--repeats", "1", "--warm-up", "0")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["8", "16"]
    assert "peak, GiB grows with the power" in lines[3]
    sent = re.search(r"questions +sent, MB grows with the power (.*) of the organs", done.stdout)
    assert 1 < float(sent[1]) < 2.2  # every question of a short list names all organs


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power_law(power):
    sizes = [16, 32, 64, 105]
    costs = [3 * size**power for size in sizes]
    assert ladder.exponent(sizes, costs) == pytest.approx(power)
