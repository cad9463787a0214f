"""The folder of a run: file names, lock, configuration and copy of the bank."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from filelock import FileLock, Timeout

from knowledge.common.files import parse_toml, read_text, write_whole
from knowledge.common.models import checked
from pipeline.config.recipe import RunConfig
from segmentation.training.run_files import BEST, LAST, LOG
from segmentation.training.trackers import IDENTIFIERS

LOCK = "run.lock"


class FolderInUse(FileExistsError):
    """Another process trains in the folder."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, which may not exist yet."""

    path: Path

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.path / BEST

    @property
    def last(self) -> Path:
        """The checkpoint from which the run is resumed."""
        return self.path / LAST

    @property
    def config(self) -> Path:
        """The run's recipe, fully resolved."""
        return self.path / "config.toml"

    @property
    def bank(self) -> Path:
        """The run's copy of the text vectors that it is trained with."""
        return self.path / "bank.h5"

    @property
    def relations(self) -> Path:
        """The relations of organs that the run uses, and those that were left out."""
        return self.path / "relations.json"

    @property
    def log(self) -> Path:
        """The records of training, one per line."""
        return self.path / LOG

    @property
    def provenance(self) -> Path:
        """Versions, device, command and times of every session of training."""
        return self.path / "run.json"

    @property
    def holds_run(self) -> bool:
        """Whether the folder holds a checkpoint."""
        return self.best.is_file() or self.last.is_file()

    def checkpoint(self, name: str) -> Path:
        """The checkpoint of that name, `best` or `last`."""
        return self.path / f"{name}.pt"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder against training by other processes; creates it if needed.

        The system releases the lock with the process, however that ends.

        Raises:
            FolderInUse: another process trains here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            with lock:
                yield
                # While locked: afterward the file may belong to another process.
                (self.path / LOCK).unlink(missing_ok=True)
        except Timeout:
            raise FolderInUse(
                f"{self.path}: another process trains there now; wait for it, or start another "
                "run with another -o"
            ) from None

    def read_config(self) -> RunConfig:
        """The configuration that the run was started with.

        Raises:
            FileNotFoundError: no run there.
            ValueError: not a configuration of this version.
        """
        if not self.config.is_file():
            raise FileNotFoundError(
                f"{self.path}: no run to resume there; omit --resume to start one"
            )
        content = parse_toml(read_text(self.config), self.config)
        return checked(content, RunConfig, self.config)

    def write_config(self, config: RunConfig) -> None:
        """Write the configuration atomically."""
        write_whole(self.config, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))

    def keep_bank(self, bank: Path) -> None:
        """Copy the bank of the run here."""
        if bank.resolve() != self.bank.resolve():
            write_whole(self.bank, bank.read_bytes())

    def begin(self, config: RunConfig, bank: Path | None) -> None:
        """Initialize the folder for a new run; removes the log of one that has no checkpoint."""
        for stale in (self.log, self.path / IDENTIFIERS, *self.path.glob("events.out.tfevents.*")):
            stale.unlink(missing_ok=True)
        self.write_config(config)
        if bank is not None:
            self.keep_bank(bank)
