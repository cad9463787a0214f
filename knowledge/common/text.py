"""Text of files and libraries for one line of a message."""


def one_line(text: object, most: int = 200) -> str:
    """A text as one printable line of limited length: no control or direction characters."""
    line = " ".join(str(text)[: 20 * most].split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."
