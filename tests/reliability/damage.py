"""Damaged and hostile versions of valid files."""

import copy
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

DEEP = "[" * 100_000
STRANGE_TEXT = "\u202e\x1b[31m" + "x" * 50_000
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**18, -(10**30), 1e308, float("nan"), float("inf"), "", "..",
    STRANGE_TEXT, "/etc/passwd", "../../evil", "\x00", [], {}, [[[]]], {"a": {"b": 1}}, [None] * 50,
    "1", "\ud7ff",
)  # fmt: skip


def damaged_bytes(whole: bytes, chance: random.Random, header: int = 600) -> bytes:
    """A truncation, flipped bits, overwritten, random or repeated pieces."""
    content = bytearray(whole)
    end = len(content) if chance.random() < 0.4 else min(len(content), header)
    place = chance.randrange(end)
    kind = chance.randrange(7)
    if kind == 0:
        return bytes(content[:place])
    if kind == 1:
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(end)] ^= 1 << chance.randrange(8)
    elif kind == 2:
        content[place : place + 8] = bytes([chance.choice([0, 255, 127, 48, 57])]) * 8
    elif kind == 3:
        content[place : place + 1] = chance.randbytes(chance.randint(1, 40))
    elif kind == 4:
        content[place:place] = bytes(content[place : place + 16]) * chance.randint(1, 200)
    elif kind == 5:
        return chance.choice([b"", b"\x00", whole * 2, chance.randbytes(300), b"\xff\xfe" + whole])
    else:
        del content[place : place + chance.randint(1, 64)]
    return bytes(content)


def _places(content: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        pairs: list[tuple[Any, Any]] = list(content.items())
    else:
        pairs = list(enumerate(content)) if isinstance(content, list) else []
    for key, value in pairs:
        found.append((content, key))
        found += _places(value)
    return found


def changed_json(whole: bytes, chance: random.Random) -> bytes:
    """A JSON text with a value of another type, a strange or missing key, or no JSON at all."""
    kind = chance.randrange(10)
    if kind == 0:
        return chance.choice([
            DEEP.encode(), b'{"a":' * 50_000, b"null", b"[]", b"{}", b"1e999", b"NaN", b"1" * 6000,
            b'"' + STRANGE_TEXT.encode() + b'"', b"\xff\xfe", b"", b'{"format_version": 10000000}',
        ])  # fmt: skip
    if kind == 1:
        return damaged_bytes(whole, chance, len(whole))
    content = copy.deepcopy(json.loads(whole))
    for _ in range(chance.choice([1, 1, 1, 3])):
        places = _places(content)
        if not places:
            break
        owner, key = chance.choice(places)
        act = chance.randrange(4)
        if act == 0:
            del owner[key]
        elif act == 1 and isinstance(owner, dict):
            owner[chance.choice([STRANGE_TEXT, "\x1b]0;a\x07", "", "__class__"])] = owner.pop(key)
        else:
            owner[key] = copy.deepcopy(chance.choice(_VALUES))
    text = json.dumps(content, ensure_ascii=chance.random() < 0.5)
    if kind == 2:
        text = text.replace("1", "1" * 5000, 1)
    if kind == 3:
        place = chance.randrange(len(text))
        text = text[:place] + DEEP + text[place:]
    return text.encode(errors="surrogatepass")


def changed_lines(whole: bytes, chance: random.Random) -> bytes:
    """JSON lines of which one is changed."""
    lines = whole.splitlines()
    place = chance.randrange(len(lines))
    lines[place] = changed_json(lines[place], chance)
    return b"\n".join(lines) + b"\n"


def changed_toml(whole: bytes, chance: random.Random) -> bytes:
    """A TOML text with another value in a line, a line less, or damaged bytes."""
    kind = chance.randrange(8)
    if kind == 0:
        return damaged_bytes(whole, chance, len(whole))
    if kind == 1:
        return whole + b"a = " + DEEP.encode()
    lines = whole.decode().splitlines()
    places = [place for place, line in enumerate(lines) if "=" in line]
    place = chance.choice(places)
    name = lines[place].partition("=")[0]
    values = [
        "true", "-1", "1e999", "nan", "inf", "1979-05-27", '""', "[]", "{}", "[[1]]", "9" * 5000,
        json.dumps("\u202e" + "x" * 50_000, ensure_ascii=False), '"../../x"', "{a.b.c = 1}",
        '["a", 1]', "[" + "1," * 20_000 + "]", '"\\u001B[31m"',
    ]  # fmt: skip
    if kind == 2:
        del lines[place]
    elif kind == 3:
        lines[place] = f'"{"k" * 50_000}" = 1'
    elif kind == 4:
        lines.insert(place, '"\\u202e\\u001b[31m" = 1')
    else:
        lines[place] = f"{name}= {chance.choice(values)}"
    return "\n".join(lines).encode()


def zip_of(members: dict[str, bytes]) -> bytes:
    """An archive of the members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def changed_zip(whole: bytes, chance: random.Random) -> bytes:
    """An archive with damaged members, a bomb, paths out of the folder, or missing members."""
    if chance.random() < 0.3:
        return damaged_bytes(whole, chance, len(whole))
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = chance.choice(list(members))
    kind = chance.randrange(5)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[name] = bytes(50_000_000)
    elif kind == 2:
        members["../../evil.txt"] = members["/tmp/evil"] = b"evil"
        members[name] = b""
    elif name.endswith(".json"):
        members[name] = changed_json(members[name], chance)
    else:
        members[name] = damaged_bytes(members[name], chance)
    return zip_of(members)


def changed_gzip(whole: bytes, chance: random.Random) -> bytes:
    """A compressed file whose content is damaged, or that expands without end."""
    if chance.random() < 0.03:
        return gzip.compress(gzip.decompress(whole) + bytes(200_000_000), 1)
    if chance.random() < 0.7:
        return gzip.compress(damaged_bytes(gzip.decompress(whole), chance), 1)
    return damaged_bytes(whole, chance)


Change = Callable[[bytes, random.Random], bytes]
