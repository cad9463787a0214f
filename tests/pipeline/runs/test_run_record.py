"""`run.json` of damaged and of earlier runs."""

import json

import pytest

from pipeline.runs.run_record import read_run_record
from tests.support.command_line import tak
from tests.support.paths import ROOT

SAVED = ROOT / "tests" / "support" / "saved" / "run"


def test_the_record_of_an_earlier_version_is_read_and_none_is_none(tmp_path):
    assert read_run_record(SAVED / "run.json")["sessions"][0]["to_step"] == 40
    assert read_run_record(tmp_path / "run.json") is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sessions": "none"}, "sessions"),
        ({"sessions": [5]}, "sessions.0"),
        ({"sessions": [{"device": 5}]}, "sessions.0.device"),
        ({"sessions": [{"versions": {"torch": None}}]}, "sessions.0.versions.torch"),
        ({"sessions": [{"git": {"commit": 1}}]}, "sessions.0.git.commit"),
        ({"data": 5}, "data"),
        ({"extensions": {"to": 5}}, "extensions"),
        ({"init_from": {"source": "a"}}, "init_from.file"),
    ],
)
def test_a_key_of_another_type_is_refused_by_its_name(tmp_path, change, named):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(change))
    with pytest.raises(ValueError, match=rf"run\.json: {named}: .*can be resumed"):
        read_run_record(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"sessions": [1]}'])
def test_a_run_with_a_damaged_record_is_resumed_without_it_alone(
    content, run, prepared, bank, tmp_path
):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.toml", "last.pt", "best.pt", "log.jsonl", "bank.h5"):
        (copy / name).write_bytes((run / name).read_bytes())
    (copy / "run.json").write_text(content)
    for words in (["train", "-o", copy, "--resume"], ["rerun", copy], ["report", copy]):
        told = tak(*words, ok=False)
        assert "run.json" in told.stderr
        assert "Traceback" not in told.stderr
    (copy / "run.json").unlink()
    tak("train", prepared.root, "-o", copy, "--resume")
