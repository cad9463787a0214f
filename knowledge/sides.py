"""Left and right in the names of organs."""

_SIDES = {"left": "right", "right": "left"}


def mirror(organ: str) -> str | None:
    """The name of the partner on the other side: `left` and `right` exchanged; None without."""
    words = organ.split()
    sides = [index for index, word in enumerate(words) if word.lower() in _SIDES]
    if len(sides) != 1 or len(words) == 1:
        return None
    words[sides[0]] = _SIDES[words[sides[0]].lower()]
    return " ".join(words)


def side(organ: str) -> str | None:
    """`left` or `right` when the name has one of these words."""
    return next((word for word in organ.lower().split() if word in _SIDES), None)
