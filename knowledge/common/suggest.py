"""The known name that a mistyped one probably means."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, letter case and dashes aside; None if none is like it."""
    by_plain = {_plain(each): each for each in known}
    matches = get_close_matches(_plain(name), by_plain, n=1, cutoff=0.6)
    return by_plain[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` for the end of a message; nothing where no known name is like it."""
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {near}?"


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """That there is no such choice, those that there are, and the one that was meant."""
    return f"no {kind} {name!r}; there is {', '.join(known)}{did_you_mean(name, known)}"


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")
