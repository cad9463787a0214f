"""Hardware, time and versions of a run as `run.json` records them."""

import json

import pytest

from pipeline.report.runs.training_record import duration, read_training_record
from tests.pipeline.report.test_page import Page, ran
from tests.support.paths import ROOT
from tests.support.report_material import make_scored_run

SESSION = {
    "seconds": 3600.0,
    "energy_kwh": 0.25,
    "versions": {"tak-seg": "0.1.0", "torch": "2.0"},
    "platform": "Linux",
    "device": "cuda: NVIDIA H100",
    "threads": 8,
    "git": {"commit": "f" * 40, "changed": True},
}


def test_the_record_of_an_earlier_version_is_read():
    record = read_training_record(ROOT / "tests" / "support" / "saved" / "run" / "run.json")
    assert record.devices == ("cpu: AMD EPYC",)
    assert (record.sessions, record.killed, record.seconds) == (1, 0, 12.3)
    assert record.versions["torch"] == ("2.15.0",)
    assert record.commits == ("f4b04a9f237c",)


def test_sessions_add_up_and_a_killed_one_has_no_time(tmp_path):
    killed = SESSION | {"seconds": None, "versions": {"torch": "2.1"}, "git": None}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"sessions": [SESSION, killed, SESSION]}))
    record = read_training_record(path)
    assert (record.sessions, record.killed, record.seconds) == (3, 1, 7200.0)
    assert record.energy_kwh == 0.75
    assert record.versions == {"tak-seg": ("0.1.0",), "torch": ("2.0", "2.1")}
    assert record.commits == ("ffffffffffff, changed",)


def test_the_energy_is_known_only_if_that_of_every_session_is(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"sessions": [SESSION, SESSION | {"energy_kwh": None}]}))
    assert read_training_record(path).energy_kwh is None


def test_the_page_says_hardware_time_and_versions_or_that_they_are_not_recorded(prepared, tmp_path):
    run, other = (make_scored_run(tmp_path / name, prepared) for name in "ab")
    killed = SESSION | {"seconds": None}
    (run / "run.json").write_text(json.dumps({"sessions": [SESSION, killed]}))
    (other / "run.json").unlink(missing_ok=True)
    ran(run, other, "-o", tmp_path / "page.html")
    text = Page((tmp_path / "page.html").read_text(encoding="utf-8")).texts["about"]
    assert "cuda: NVIDIA H100; Linux" in text
    assert "at least 60 min" in text
    assert "0.5 kWh" in text
    assert "in 2 sessions, 1 of them killed" in text
    assert "torch 2.0" in text
    assert "not recorded" in text


@pytest.mark.parametrize("content", ["[]", '{"sessions": 5}', '{"sessions": [1]}', "{"])
def test_a_damaged_record_is_refused_by_name(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"run\.json"):
        read_training_record(path)


def test_durations_are_in_the_unit_that_fits():
    assert [duration(value) for value in (12.3, 119, 600, 7260)] == [
        "12 s",
        "119 s",
        "10 min",
        "2 h 01 min",
    ]
