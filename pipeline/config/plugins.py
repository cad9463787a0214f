"""Plugins: methods, heads, alignments, encoders and providers outside the package.

They come from installed distributions, by entry points of the groups `tak_seg.methods`,
`tak_seg.heads`, `tak_seg.alignments`, `tak_seg.encoders` and `tak_seg.providers`, and from files
`methods/NAME.py`, `heads/NAME.py` ... in the folders that `--plugins` or `TAK_PLUGINS` name.
"""

import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

VARIABLE = "TAK_PLUGINS"
# Folders and the last part of entry point groups, by the package of the shipped choices.
GROUPS = {
    "segmentation.methods": "methods",
    "segmentation.networks.heads": "heads",
    "segmentation.networks.alignments": "alignments",
    "knowledge.encoders": "encoders",
    "knowledge.providers": "providers",
}


@dataclass(frozen=True)
class Source:
    """The module of one choice, not yet imported.

    Attributes:
        name: the choice's name in recipes and on the command line.
        origin: where it comes from, in words; empty for a shipped choice.
        module: the dotted name under which it is imported.
        path: the file of a plugin folder; None where Python's own import finds the module.
    """

    name: str
    origin: str
    module: str
    path: Path | None = None

    def file(self) -> Path:
        """The source file; parent packages are imported, the module itself is not.

        Raises:
            ValueError: there is no such module, or it has no source.
        """
        if self.path is not None:
            return self.path
        try:
            found = importlib.util.find_spec(self.module)
        except ImportError:
            found = None
        if found is None or not found.origin or not found.origin.endswith(".py"):
            raise ValueError(f"{self.name!r} of {self.origin}: there is no module {self.module}")
        return Path(found.origin)

    def digest(self) -> str:
        """The SHA-256 of the source file."""
        return hashlib.sha256(self.file().read_bytes()).hexdigest()

    def load(self) -> ModuleType:
        """The imported module.

        Raises:
            ValueError: a plugin's code fails while it is imported; names file, line and fault.
        """
        if not self.origin:
            return importlib.import_module(self.module)
        try:
            if self.path is None:
                return importlib.import_module(self.module)
            return _load_file(self.module, self.path)
        except Exception as fault:
            raise ValueError(
                f"{self.path or self.module}: {type(fault).__name__}: {fault}{_line_of(fault)} "
                f"({self.origin}; TAK_DEBUG=1 shows the traceback)"
            ) from fault


def shipped_sources(package: str) -> list[Source]:
    """The choices that come with tak-seg, sorted by name."""
    folder = importlib.import_module(package).__path__
    modules = (module.name for module in pkgutil.iter_modules(folder) if not module.ispkg)
    return [Source(name, "", f"{package}.{name}") for name in sorted(modules)]


def plugin_sources(package: str) -> list[Source]:
    """The choices of installed distributions and of plugin folders, in this order.

    A folder that does not exist has none; `plugin_folders` raises for it.
    """
    group = GROUPS[package]
    return [*_installed(f"tak_seg.{group}"), *_in_folders(group)]


def plugin_folders() -> list[Path]:
    """The folders that `TAK_PLUGINS` names, separated as in PATH.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder.
        ValueError: it has none of the folders of plugins.
    """
    folders = _named_folders()
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"--plugins {folder} ({VARIABLE}): there is no such folder")
        if not folder.is_dir():
            raise NotADirectoryError(
                f"--plugins {folder} ({VARIABLE}): expected a folder, got a file"
            )
        if not any((folder / group).is_dir() for group in GROUPS.values()):
            raise ValueError(
                f"--plugins {folder} ({VARIABLE}): expected folders {', '.join(GROUPS.values())} "
                "with one file per choice, such as methods/NAME.py; got none of them"
            )
    return folders


def _named_folders() -> list[Path]:
    return [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]


def _in_folders(group: str) -> Iterator[Source]:
    for number, folder in enumerate(_named_folders()):
        for path in sorted((folder / group).glob("*.py")):
            if path.stem.isidentifier() and not path.stem.startswith("_"):
                module = f"tak_plugins_{number}.{group}.{path.stem}"
                yield Source(path.stem, f"folder {folder}", module, path)


@cache
def _installed(group: str) -> tuple[Source, ...]:
    """Entry points of a group; the list of installed distributions is read once per process."""
    from importlib.metadata import entry_points

    return tuple(
        Source(
            point.name,
            f"package {point.dist.name} {point.dist.version}" if point.dist else "a package",
            point.module,
        )
        for point in sorted(entry_points(group=group), key=lambda point: point.name)
    )


def _line_of(fault: Exception) -> str:
    """Where the code that failed stands, unless the message of the fault says it already."""
    frames = [
        frame
        for frame in traceback.extract_tb(fault.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename != __file__
    ]
    return f", at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _load_file(name: str, path: Path) -> ModuleType:
    """The module of a file, imported once per process."""
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is imported
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
