"""One process per run: a second one would mix its log, settings and states with the first one's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nothing is kept out
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
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
