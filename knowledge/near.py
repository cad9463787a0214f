"""The known name that a mistyped one probably means."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, letter case and dashes aside; None if none is like it."""
    by_plain = {_plain(each): each for each in known}
    found = get_close_matches(_plain(name), by_plain, n=1, cutoff=0.6)
    return by_plain[found[0]] if found else None


def meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` for the end of a message; nothing where no known name is like it."""
    found = nearest(name, known)
    return "" if found is None else f"; did you mean {found}?"


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")
