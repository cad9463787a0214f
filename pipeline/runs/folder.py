"""One process per run: a second one would mix its log, settings and states with the first one's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from knowledge.common.files import write_whole
from pipeline.config.recipe import RunConfig
from segmentation.training.log import LOG
from segmentation.training.trackers import IDENTIFIERS

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nothing is kept out
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder while this one does; makes the folder.

    The system drops the lock with the process, however that ends, and worker processes do not hold
    it. A file system without locks keeps nothing out.

    Raises:
        FileExistsError: another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with path.open("w") as file:
        if fcntl:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise FileExistsError(
                    f"{folder}: another process trains there now; wait for it, or start another "
                    "run with another -o"
                ) from None
            except OSError:  # a file system without locks
                pass
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def has_checkpoint(path: Path) -> bool:
    """Whether a folder is that of one run."""
    return any((path / name).is_file() for name in ("best.pt", "last.pt"))


CONFIG = "config.toml"


BANK = "bank.h5"  # in a run's folder: the copy of the text vectors that it was trained with


def config_text(config: RunConfig) -> str:
    """What the file `CONFIG` of a run holds."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _claim(folder: Path, config: RunConfig, bank: Path | None) -> None:
    """Make the folder of a new run.

    A folder without a checkpoint holds nothing worth keeping: its log is begun anew. The bank is
    copied into it, so that the run keeps the texts that it was trained with.
    """
    for stale in (folder / LOG, folder / IDENTIFIERS, *folder.glob("events.out.tfevents.*")):
        stale.unlink(missing_ok=True)
    write_whole(folder / CONFIG, config_text(config))
    if bank is not None and bank.resolve() != (folder / BANK).resolve():
        write_whole(folder / BANK, bank.read_bytes())
