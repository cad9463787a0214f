"""The benchmark command runs at a tiny size and writes what it promises."""

import json
import subprocess
import sys
from pathlib import Path

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
