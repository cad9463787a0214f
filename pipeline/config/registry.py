"""A name and a folder of modules to a class: the folder is the registry."""

import importlib
import inspect
import pkgutil
from typing import TypeVar

from knowledge.common.suggest import did_you_mean

T = TypeVar("T")


def names(package: str) -> list[str]:
    """The names that can be chosen from a package, sorted: its modules."""
    folder = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.ispkg)


def load_choice(package: str, name: str, base: type[T]) -> type[T]:
    """The one child of `base` that the module `name` of a package defines.

    Raises:
        LookupError: no such module; the message lists those that exist.
        TypeError: the module defines no such class, or several.
    """
    if name not in names(package):
        known = names(package)
        raise LookupError(
            f"no {name!r} in {package}; there is {', '.join(known)}{did_you_mean(name, known)}"
        )
    module = importlib.import_module(f"{package}.{name}")
    found = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{package}.{name} must define one {base.__name__}, not {len(found)}")
    return found[0]
