"""Files that come with tak-seg: prompts, data sets, recipes, studies, benchmarks."""

import os
from pathlib import Path

from knowledge.common.suggest import did_you_mean
from pipeline.files.kinds import require_kind

_PACKAGE = Path(__file__).parents[1]
_SUFFIXES = dict.fromkeys(("prompts", "data", "recipes", "studies", "benchmarks"), ".toml")
_KINDS = {
    "prompts": "template",
    "data": "descriptor",
    "recipes": "recipe",
    "studies": "study",
    "benchmarks": "",
}


def prompts() -> Path:
    """The folder of prompt templates: `--prompts`, else the shipped one."""
    return folder("prompts")


def data() -> Path:
    """The folder of data set descriptors and recorded answers: `--data`, else the shipped one."""
    return folder("data")


def folder(kind: str) -> Path:
    """The folder of one kind: that of the environment, in the installed package, or next to it.

    Raises:
        FileNotFoundError: there is none.
    """
    chosen = os.environ.get(f"TAK_{kind.upper()}")
    places = [Path(chosen)] if chosen else [_PACKAGE / kind, _PACKAGE.parent / kind]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no folder {kind}: looked at {', '.join(map(str, places))}")


def reference(kind: str) -> Path:
    """The shipped folder of one kind, also if the environment names another.

    Raises:
        FileNotFoundError: there is none.
    """
    for place in (_PACKAGE / kind, _PACKAGE.parent / kind):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no folder {kind} in or next to {_PACKAGE}; install tak-seg again")


def names(kind: str) -> list[str]:
    """The names that `find` knows for a kind, sorted."""
    return sorted(path.stem for path in folder(kind).glob(f"*{_SUFFIXES[kind]}"))


def find(kind: str, name: str | Path) -> Path:
    """The file of a shipped name (`phantom`) or of a path (`own/phantom.toml`).

    Raises:
        FileNotFoundError: a path that does not exist.
        LookupError: neither a file nor a shipped name.
        ValueError: a file of another kind.
    """
    path = Path(name)
    shipped = folder(kind) / f"{name}{_SUFFIXES[kind]}"
    if path.name == str(name) and shipped.is_file():
        return shipped
    if path.is_file() and _KINDS[kind]:
        require_kind(path, _KINDS[kind])
    if path.suffix == _SUFFIXES[kind] and path.is_file():
        return path
    if path.suffix == _SUFFIXES[kind] and path.name != str(name):
        require_kind(path)
    known = names(kind)
    raise LookupError(
        f"no {str(name)!r} among {kind}: there is {', '.join(known) or 'none'}; another file is "
        f"given by its path, ending in {_SUFFIXES[kind]}{did_you_mean(str(name), known)}"
    )
