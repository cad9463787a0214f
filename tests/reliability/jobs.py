"""The commands that are disturbed, each with tiny settings and files of its own."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability import forks
from tests.support.chat_server import Body, Reply, chat_server, good_answer, is_probe
from tests.support.paths import SUPPORT
from tests.support.tiny_study import write_study

SAVED = SUPPORT / "saved"
TINY = (
    "network.width=4", "network.levels=3", "training.patch=[16, 16, 16]", "method.cube=8",
    "method.location_hidden=16", "training.steps=6", "training.warmup_steps=2",
    "training.validate_every=3", "training.checkpoint_every=2", "training.log_every=1",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A command in a folder.

    Attributes:
        words: of the command.
        again: words of the second call, given the folder; the same by default.
        inputs: folders and files that are copied into the folder.
        ignored: parts of the names of files that need not be equal, such as logs.
    """

    name: str
    words: tuple[str, ...]
    again: Callable[[Path], tuple[str, ...]] | None = None
    inputs: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    setup: Callable[[Path], None] = field(default=lambda folder: None)

    def prepare(self, folder: Path) -> None:
        """Make the folder with all that the command reads."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)  # it may be a mounted file system
        for name in self.inputs:
            source = SAVED / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / name)
        self.setup(folder)

    def words_again(self, folder: Path) -> tuple[str, ...]:
        """The words of a call after one that was cut off."""
        return self.again(folder) if self.again else self.words


def _train_again(folder: Path) -> tuple[str, ...]:
    resume = ("--resume",) if (folder / "out" / "last.pt").is_file() else ()
    return (*_TRAIN, *resume)


_TRAIN = ("train", "prepared", "--recipe", "demo", "--bank", "bank.h5", "-o", "out",
          *(word for change in TINY for word in ("--set", change)))  # fmt: skip


def _organs(folder: Path) -> None:
    (folder / "wheel.toml").write_text('organs = ["axle", "hub", "rim"]', encoding="utf-8")


def _scan(folder: Path) -> None:
    import nibabel
    import numpy as np

    voxels = np.random.default_rng(0).integers(-500, 500, (20, 18, 16)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([16.0, 16, 16, 1])), folder / "ct.nii.gz")


def jobs(raw: Path, url: str) -> dict[str, Job]:
    """The commands by name.

    Args:
        raw: phantom scans.
        url: of the server that answers questions.
    """

    def scans(folder: Path) -> None:
        shutil.copytree(raw, folder / "raw")

    ask = ("describe", "wheel.toml", "-o", "d.json", "--provider", "openai_compatible", "--model",
           "m", "--cache", "cache", "--base-url", url, "--concurrency", "2")  # fmt: skip
    every = (
        Job("describe", ask, setup=_organs),
        Job("encode", ("encode", "descriptions.json", "--encoder", "hashing:16", "-o", "b.h5"),
            inputs=("descriptions.json",)),
        Job("prepare", ("prepare", "raw", "-o", "out", "--spacing", "16", "16", "16"), setup=scans),
        Job("split", ("split", "raw", "-o", "out", "--test", "1", "--labeled", "1"), setup=scans,
            again=lambda folder: ("--help",) if (folder / "out").exists() else
            ("split", "raw", "-o", "out", "--test", "1", "--labeled", "1")),
        Job("train", _TRAIN, _train_again, ("prepared", "bank.h5"), ignored=("run.json",)),
        Job("predict", ("predict", "run", "ct.nii.gz", "-o", "out/m.nii.gz", "--json",
                        "--save-probabilities"), inputs=("run",), setup=_scan),
        Job("evaluate", ("evaluate", "run", "prepared"), inputs=("run", "prepared")),
        Job("report", ("report", "run", "--data", "prepared", "-o", "out"),
            inputs=("run", "prepared")),
        Job("bundle", ("bundle", "run", "-o", "out.zip"), inputs=("run",)),
        Job("study", ("study", "tiny.toml", "--jobs", "1", "-o", "out"),
            setup=lambda folder: write_study(folder),
            ignored=("log.txt", ".lock", "run.json", "study.", "stage.json")),
    )  # fmt: skip
    return {job.name: job for job in every}


def make_scans(folder: Path) -> Path:
    """Four phantom scans."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ("phantom", "raw", "--labeled", 1, "--unlabeled", 1, "--validation", 1, "--test", 1,
             "--spacing", 12)  # fmt: skip
    done = forks.run(words, folder)
    assert done.code == 0, done.err
    return folder / "raw"


@contextmanager
def counted_server(log: Path) -> Iterator[str]:
    """A server of good answers in a process of its own; every question is a line of `log`."""
    ready, write = os.pipe()
    process = os.fork()
    if process == 0:

        def behave(body: Body) -> Reply:
            if not is_probe(body):
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(body, sort_keys=True) + "\n")
            return good_answer(body)

        with chat_server(behave) as server:
            os.write(write, server.url.encode())
            threading.Event().wait()
    url = os.read(ready, 1000).decode()
    try:
        yield url
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(ready)
        os.close(write)
