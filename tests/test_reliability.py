"""A small part of `python -m tests.reliability`."""

import os

import pytest

from tests.reliability import forks, identifiers, kill, power, signals
from tests.reliability.jobs import counted_server, jobs, make_scans
from tests.reliability.readers import readers
from tests.reliability.strange import strange

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="forks"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # forks beside threads
]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    forks.preload()
    return jobs(make_scans(tmp_path_factory.mktemp("scans")), "http://127.0.0.1:9/v1")


@pytest.mark.parametrize("name", ["split", "encode"])
def test_a_killed_command_leaves_nothing_broken_and_the_next_call_ends(work, name, tmp_path):
    (tmp_path / "work").mkdir()
    assert kill.kills(work[name], tmp_path / "work" / name, 4) == []


@pytest.mark.parametrize("name", ["prepare", "bundle"])
def test_a_signal_ends_a_command_with_its_code_and_one_line(work, name, tmp_path):
    (tmp_path / "work").mkdir()
    assert signals.signals(work[name], tmp_path / "work" / name, 4) == []


@pytest.mark.parametrize("name", ["recipe", "study", "log", "scores", "descriptions"])
def test_a_damaged_file_is_accepted_or_refused_in_one_line_that_names_it(work, name, tmp_path):
    assert strange(name, readers()[name], tmp_path, 40) == []


@pytest.mark.slow
@pytest.mark.skipif(not power.possible(), reason="needs root, loop devices and mkfs")
@pytest.mark.parametrize("name", ["encode", "train"])
@pytest.mark.parametrize("system", power.possible())
def test_a_power_cut_loses_nothing_that_was_announced(work, name, system, tmp_path):
    assert power.cuts(work[name], system, tmp_path / name / "disk", 2) == []


@pytest.mark.slow
def test_what_names_a_patient_reaches_no_file_and_no_server(work, tmp_path):
    questions = tmp_path / "questions.jsonl"
    with counted_server(questions) as url:
        raw = make_scans(tmp_path / "scans")
        assert identifiers.identifiers(tmp_path / "work", raw, url, questions) == []
