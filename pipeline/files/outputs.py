"""Checks of output paths, before any work is done."""

from pathlib import Path

from pipeline.files.kinds import KINDS, _folder, kind_of


def require_writable(out: Path, written: str, *inputs: Path | None) -> Path:
    """The path of a file to write, unless that would destroy another file.

    Args:
        written: the kind of the new file; an old one of this kind is replaced.
        inputs: files that are read to write it.

    Raises:
        IsADirectoryError, NotADirectoryError: a folder is there, or a file where a folder must be.
        FileExistsError: an input, or a file of another kind, is there.
    """
    if out.is_dir():
        raise IsADirectoryError(f"-o {out} is a folder; give the name of a file in it")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"-o {out}: expected a folder, but {above} is a file")
    if any(path is not None and path.resolve() == out.resolve() for path in inputs):
        raise FileExistsError(f"-o {out} would replace a file that it is computed from")
    kind = kind_of(out) if out.is_file() else None
    if kind is not None and kind != written:
        raise FileExistsError(
            f"-o {out} is {KINDS[kind].what} that would be lost; give another name"
        )
    return out


def require_writable_folder(out: Path, *kinds: str) -> Path:
    """The path of a folder to write to, unless it is of another kind.

    Raises:
        NotADirectoryError: a file is there, or above it.
        FileExistsError: a folder of another kind; names it.
    """
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"-o {out}: expected a folder, but {above} is a file")
    present = list(_folder(out)) if out.is_dir() else []
    if present and not set(present) & set(kinds):
        raise FileExistsError(f"-o {out} is {KINDS[present[0]].what}; give another folder")
    return out
