"""Files: read into strict models, written atomically, and what a killed process leaves."""

import os
import signal
import subprocess
import sys

import pytest

from knowledge.common.files import read_json, read_text, read_toml, without_nan, write_whole
from knowledge.common.models import Strict
from tests.support.paths import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
from knowledge.common.files import write_whole
os.replace = lambda one, other: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), "new")
"""


class Pair(Strict):
    """A model with two keys."""

    first: int
    second: str = ""


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfliver\n")
    assert read_text(tmp_path / "a.txt") == "liver\n"


def test_toml_and_json_become_the_same_model(tmp_path):
    (tmp_path / "a.toml").write_text('first = 3\nsecond = "x"\n')
    (tmp_path / "a.json").write_text('{"first": 3, "second": "x"}')
    expected = Pair(first=3, second="x")
    assert read_toml(tmp_path / "a.toml", Pair) == read_json(tmp_path / "a.json", Pair) == expected


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("a.json", b"{", ValueError, r"a\.json is not valid JSON"),
        ("a.json", b'{"firts": 3}', ValueError, "unknown key 'firts'; did you mean first"),
        ("a.toml", b"first = ", ValueError, r"a\.toml is not valid TOML"),
        ("a.toml", b"\xff", ValueError, r"a\.toml.*UTF-8"),
        ("a.toml", None, FileNotFoundError, r"there is no file .*a\.toml"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_fault(tmp_path, name, content, kind, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=message):
        (read_json if name.endswith("json") else read_toml)(tmp_path / name, Pair)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="expected a file, got a folder"):
        read_text(tmp_path)


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch):
    write_whole(tmp_path / "deep" / "a.txt", "old")
    monkeypatch.setattr(os, "replace", lambda *names: 1 / 0)
    monkeypatch.setattr(os, "rename", lambda *names: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "deep" / "a.txt", "new")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text() == "old"


def test_nan_becomes_null_at_any_depth():
    nan = float("nan")
    assert without_nan({"a": [nan, 1.0], "b": {"c": nan}}) == {"a": [None, 1.0], "b": {"c": None}}


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
