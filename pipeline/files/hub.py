"""Banks and bundles by name on the Hugging Face Hub: `hf:OWNER/NAME[/FILE][@REVISION]`.

Cache, offline mode and access token are those of `huggingface_hub`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.kinds import require_kind

PREFIX = "hf:"
SUFFIXES = {"bank": ".h5", "bundle": ".zip"}


@dataclass(frozen=True)
class HubName:
    """A name on the hub.

    Attributes:
        repository: `OWNER/NAME`.
        file: a path in it; empty for its only file of the wanted kind.
        revision: a branch, tag or commit; None for the newest.
    """

    repository: str
    file: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, name: str) -> "HubName":
        """The parts of a name.

        Raises:
            ValueError: another form.
        """
        place, at, revision = name.removeprefix(PREFIX).rpartition("@")
        if not at:
            place, revision = revision, ""
        owner, _, rest = place.partition("/")
        repository, _, file = rest.partition("/")
        parts = file.split("/") if file else []
        if not owner or not repository or (at and not revision) or {"", ".", ".."} & set(parts):
            raise ValueError(f"{name}: expected {PREFIX}OWNER/NAME[/FILE][@REVISION]")
        return cls(f"{owner}/{repository}", file, revision or None)


def is_hub_name(path: Path) -> bool:
    """Whether a path is a name on the hub."""
    return str(path).startswith(PREFIX)


def local(path: Path, *wanted: str) -> Path:
    """The path, or the download of a name on the hub, if something of a wanted kind is there.

    Raises:
        FileNotFoundError: nothing is there.
        OSError: the hub cannot be reached and the file was not downloaded before, there is no such
            repository, revision or file, or no access.
        ValueError: a malformed name, several files of the kind, or another kind.
    """
    if not is_hub_name(path):
        return require_kind(path, *wanted)
    name = HubName.parse(str(path))
    suffixes = [SUFFIXES[kind] for kind in wanted if kind in SUFFIXES]
    return require_kind(_download(str(path), name, suffixes), *wanted)


def push(file: Path, target: str, card: str, *, private: bool, message: str) -> tuple[str, bool]:
    """Upload a bank or bundle in one commit; the revision, and whether the card was written.

    A repository that does not exist is made. A README.md that is there stays.

    Raises:
        OSError: the hub cannot be reached, or does not accept the upload.
        ValueError: a malformed name, or no access token.
    """
    name = HubName.parse(target)
    _quiet()
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise ValueError(f"{target}: no access token; `hf auth login` stores one, or set HF_TOKEN")
    with _explained(target):
        api = HfApi()
        api.create_repo(name.repository, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name.file or file.name, file)]
        new = not api.file_exists(name.repository, "README.md", revision=name.revision)
        if new:
            operations.append(CommitOperationAdd("README.md", card.encode()))
        done = api.create_commit(
            name.repository, operations, commit_message=message, revision=name.revision
        )
    return str(done.oid), new


def _download(words: str, name: HubName, suffixes: list[str]) -> Path:
    _quiet()
    from huggingface_hub import constants, hf_hub_download, snapshot_download

    from knowledge.encoders.base.hub import use_hub

    with _explained(words):
        use_hub(name.repository)
        offline = constants.is_offline_mode()
        if name.file:
            return Path(
                hf_hub_download(
                    name.repository, name.file, revision=name.revision, local_files_only=offline
                )
            )
        patterns = [f"*{suffix}" for suffix in suffixes]
        folder = Path(
            snapshot_download(
                name.repository,
                revision=name.revision,
                allow_patterns=patterns,
                local_files_only=offline,
            )
        )
    files = sorted(path for path in folder.rglob("*") if path.suffix in suffixes)
    if len(files) != 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in files[:8]) or "none"
        raise ValueError(
            f"{words}: expected one file *{' or *'.join(suffixes)}, got {listed}; "
            f"name it: {PREFIX}{name.repository}/FILE"
        )
    return files[0]


def _quiet() -> None:
    """Progress bars only where somebody looks, and no messages besides ours."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()


@contextmanager
def _explained(words: str) -> Iterator[None]:
    """Faults of the hub as one line that begins with the name."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError as fault:
        raise ValueError(f"{words}: {_line(fault)}") from None
    except GatedRepoError:
        raise OSError(f"{words}: access must be asked for on the page of the repository") from None
    except RepositoryNotFoundError:
        raise OSError(
            f"{words}: no such repository, or it is private and the access token does not open it"
        ) from None
    except RevisionNotFoundError:
        raise OSError(f"{words}: no such revision") from None
    except LocalEntryNotFoundError:
        raise OSError(f"{words}: not downloaded before, and the hub cannot be reached") from None
    except EntryNotFoundError:
        raise OSError(f"{words}: no such file in the repository") from None
    except HfHubHTTPError as fault:
        raise OSError(f"{words}: {_line(fault)}") from None
    except OSError as fault:
        raise OSError(f"{words}: {_line(fault)}") from None
    except Exception as fault:  # a reply that the client does not expect, a broken connection
        raise OSError(f"{words}: {type(fault).__name__}: {_line(fault)}") from fault


def _line(fault: Exception) -> str:
    fault = fault.__cause__ if isinstance(fault.__cause__, Exception) else fault
    text = str(fault).strip() or type(fault).__name__
    return text.splitlines()[0][:300]
