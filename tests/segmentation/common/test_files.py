"""Atomic writes on a disk that gets full."""

import errno
import os
import subprocess
import sys

import pytest

from segmentation.common.files import partial_of, replacing, replacing_folder, write_text
from tests.support.paths import ROOT

FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from segmentation.data.case_files import write_case

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_case(Path(sys.argv[1]), {"image": np.random.default_rng(0).random((40, 40, 40))}, {})
except OSError as fault:
    print(fault.filename, fault.errno)
"""


def test_an_error_without_a_file_name_gets_the_one_of_the_target(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "case.h5"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (caught.value.filename, caught.value.errno) == (str(tmp_path / "case.h5"), errno.ENOSPC)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_pass_unchanged(tmp_path):
    write_text(tmp_path / "a", "old")
    for fault in (ValueError("no"), OSError("a sentence"), PermissionError(1, "no", "other")):
        caught = None
        try:
            with replacing(tmp_path / "a"):
                raise fault
        except (ValueError, OSError) as passed:
            caught = passed
        assert caught is fault
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files")
def test_a_case_that_does_not_fit_is_an_error_with_its_name_and_leaves_no_part(tmp_path):
    """In a process of its own: HDF5 used to crash when the process ended."""
    path = tmp_path / "case.h5"
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"{path} {errno.EFBIG}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_with_all_its_files_or_not_at_all(tmp_path):
    def write_half() -> None:
        with replacing_folder(tmp_path / "lists") as partial:
            (partial / "one.txt").write_text("1")
            raise ValueError("half of the files are written")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lists").mkdir()
    with replacing_folder(tmp_path / "lists") as partial:
        (partial / "one.txt").write_text("1")
    assert [path.name for path in tmp_path.rglob("*")] == ["lists", "one.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from segmentation.common.files import replacing, replacing_folder
with {context}(Path(sys.argv[1])) as partial:
    {write}
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize(
    ("context", "write"),
    [("replacing", "partial.write_text('half')"), ("replacing_folder", "partial.joinpath('a')")],
)
def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path, context, write):
    code = KILLED.format(context=context, write=write)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], cwd=ROOT)
    assert done.returncode == -9
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".a.")
    alive = tmp_path / partial_of(tmp_path / "a").name.replace(str(os.getpid()), str(os.getppid()))
    alive.touch()  # of a process that still writes
    write_text(tmp_path / "a", "whole")
    assert set(tmp_path.iterdir()) == {tmp_path / "a", alive}
