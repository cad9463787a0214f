"""Files written whole, and what a killed process leaves."""

import os
import signal
import subprocess
import sys

import pytest

from knowledge.common.files import write_whole
from tests.support.paths import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
from knowledge.common.files import write_whole
os.replace = lambda one, other: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), "new")
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_write_leaves_the_old_file_and_the_next_write_removes_its_rest(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_whole(path, "newer")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "newer"


def test_the_file_and_its_folder_are_flushed_before_the_write_returns(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_mode & 0o40000))
    write_whole(tmp_path / "a.json", "new")
    assert [bool(folder) for folder in flushed] == [False, True]
