"""Places for outputs, refused before any work is done."""

from pathlib import Path

from pipeline.files.kinds import KINDS, _folder, kind_of


def require_writable(out: Path, made: str, *inputs: Path | None) -> Path:
    """The path of a file to write, unless something worth keeping lies there.

    Args:
        made: the kind that will be written; what is of this kind already is written over.
        inputs: what it is made from.

    Raises:
        IsADirectoryError, NotADirectoryError: a folder is there, or a file where a folder must be.
        FileExistsError: an input, or a file of another kind, lies there.
    """
    if out.is_dir():
        raise IsADirectoryError(f"-o {out} is a folder; give the name of a file in it")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"-o {out}: {above} is a file, where a folder is needed")
    if any(given is not None and given.resolve() == out.resolve() for given in inputs):
        raise FileExistsError(f"-o {out} would be written over what it is made from")
    kind = kind_of(out) if out.is_file() else None
    if kind is not None and kind != made:
        raise FileExistsError(f"-o {out} is {KINDS[kind].what} that would be lost; name another")
    return out


def require_writable_folder(out: Path, *kinds: str) -> Path:
    """The path of a folder to write to, unless it holds something of another kind.

    Raises:
        NotADirectoryError: a file is there, or above it.
        FileExistsError: a folder of another kind; says which.
    """
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"-o {out}: {above} is a file, where a folder is needed")
    present = list(_folder(out)) if out.is_dir() else []
    if present and not set(present) & set(kinds):
        raise FileExistsError(f"-o {out} is {KINDS[present[0]].what}; name a folder of its own")
    return out
