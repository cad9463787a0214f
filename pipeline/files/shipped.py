"""Files that come with tak-seg, and files of the user beside them: prompts, data sets, recipes."""

import importlib.metadata
import os
import tomllib
from functools import lru_cache
from pathlib import Path

from knowledge.common.suggest import did_you_mean
from pipeline.files.kinds import kind_of, require_kind

_PACKAGE = Path(__file__).parents[1]
_SUFFIXES = dict.fromkeys(("prompts", "data", "recipes", "studies", "benchmarks"), ".toml")
_KINDS = {
    "prompts": "template",
    "data": "descriptor",
    "recipes": "recipe",
    "studies": "study",
    "benchmarks": "",
}


def reference(kind: str) -> Path:
    """The shipped folder of one kind.

    Raises:
        FileNotFoundError: there is none.
    """
    for place in (_PACKAGE / kind, _PACKAGE.parent / kind):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no folder {kind} in or next to {_PACKAGE}; install tak-seg again")


def version() -> str:
    """The version of tak-seg: as installed, or in a checkout alone that of its pyproject.toml."""
    try:
        return importlib.metadata.version("tak-seg")
    except importlib.metadata.PackageNotFoundError:
        text = (_PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])


def user_folder(kind: str) -> Path | None:
    """The user's folder of one kind: `--prompts`, `--data`, or the environment's; None if not set.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder.
    """
    chosen = os.environ.get(variable := f"TAK_{kind.upper()}")
    if not chosen:
        return None
    folder = Path(chosen)
    if not folder.exists():
        raise FileNotFoundError(f"--{kind} {folder} ({variable}): there is no such folder")
    if not folder.is_dir():
        raise NotADirectoryError(f"--{kind} {folder} ({variable}): expected a folder, got a file")
    return folder


def folders(kind: str) -> list[Path]:
    """The folders of one kind: the user's, whose files win, then the shipped one."""
    own = user_folder(kind)
    return [reference(kind)] if own is None else [own, reference(kind)]


def names(kind: str) -> list[str]:
    """The names that `find` knows for a kind, sorted: shipped ones and the user's."""
    shipped = {path.stem for path in reference(kind).glob(f"*{_SUFFIXES[kind]}")}
    own = user_folder(kind)
    if own is not None:
        files = own.glob(f"*{_SUFFIXES[kind]}")
        shipped |= {path.stem for path in files if kind_of(path) == _KINDS[kind]}
    return sorted(shipped)


def find(kind: str, name: str | Path) -> Path:
    """The file of a name (`phantom`), the user's or else the shipped, or of a path.

    Raises:
        FileNotFoundError: a path that does not exist.
        LookupError: neither a file nor a known name.
        ValueError: a file of another kind.
    """
    path = Path(name)
    if path.name == str(name):
        for folder in folders(kind):
            named = folder / f"{name}{_SUFFIXES[kind]}"
            if named.is_file():
                own = _KINDS[kind] and folder != reference(kind)
                return _of_kind(named, _KINDS[kind]) if own else named
    if path.is_file() and _KINDS[kind]:
        _of_kind(path, _KINDS[kind])
    if path.suffix == _SUFFIXES[kind] and path.is_file():
        return path
    known = names(kind)
    if path.suffix == _SUFFIXES[kind]:
        if path.name == str(name) and path.stem in known:
            raise FileNotFoundError(
                f"{path}: there is no such file; {path.stem}, without the ending, is a known name"
            )
        require_kind(path)
    raise LookupError(
        f"no {str(name)!r} among {kind}: there is {', '.join(known) or 'none'}; another file is "
        f"given by its path, ending in {_SUFFIXES[kind]}{did_you_mean(str(name), known)}"
    )


def _of_kind(path: Path, wanted: str) -> Path:
    """The path, if its file is of a kind; a study asks once per cell, a file is parsed once."""
    _check_kind(path, wanted, path.stat().st_mtime_ns)
    return path


@lru_cache(maxsize=256)
def _check_kind(path: Path, wanted: str, modified: int) -> None:
    require_kind(path, wanted)


def recorded_answers(wording: str, model: str = "") -> Path:
    """Recorded answers to a wording: those written by hand, or those of a model.

    Raises:
        LookupError: there are none.
    """
    path = find_in("data", "answers", model, f"{wording}.json")
    if path.is_file() and Path(model).name == model:
        return path
    places = [folder / "answers" for folder in folders("data")]
    if model:
        models = sorted({file.parent.name for place in places for file in place.glob("*/*.json")})
        meant = did_you_mean(model, models)
        raise LookupError(
            f"no recorded answers of {model!r} for template {wording!r}; there are answers of "
            f"{', '.join(models) or 'no model'}{meant}; give another store with --answers FILE, or "
            "ask the model: --provider openai_compatible"
        )
    known = ", ".join(sorted({file.stem for place in places for file in place.glob("*.json")}))
    raise LookupError(
        f"no recorded answers for template {wording!r}; there is {known}; give another store with "
        "--answers FILE"
    )


def find_in(kind: str, *parts: str) -> Path:
    """A file below the folders of one kind (`data`, `answers`, `paper.json`), the user's first.

    It may not exist; then the path is in the shipped folder.
    """
    places = [folder.joinpath(*parts) for folder in folders(kind)]
    return next((path for path in places if path.is_file()), places[-1])
