"""Text headers of NRRD and MetaImage: checked before ITK reads a file, and their issues.

ITK crashes on some damaged headers, allocates what they declare, and fills in a voxel size of 1 mm
and an orientation where they state none.
"""

import re
from collections.abc import Mapping
from math import isfinite, prod
from pathlib import Path

from segmentation.common.text import one_line
from segmentation.imaging.headers import HeaderIssue, check_size

_MOST_BYTES = 2**20  # of a text header
_MOST_AXES = 6
_BYTES = {"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2,
          "uint16": 2, "int": 4, "uint": 4, "int32": 4, "uint32": 4, "long": 4, "ulong": 4,
          "long_long": 8, "ulong_long": 8, "longlong": 8, "ulonglong": 8, "int64": 8, "uint64": 8,
          "float": 4, "double": 8}  # fmt: skip
_N = r"[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|nan)"
_VECTOR = rf"\( *{_N}(?: *, *{_N}){{0,5}} *\)"
_WORDS = r"[\w ?*().,\"/+-]{0,500}"
_NRRD_FIELDS = {  # a pattern of the value by field, without blanks
    "type": r"[a-z0-9_ ]{1,30}", "dimension": r"\d{1,5}", "sizes": r"[\d -]{1,200}",
    "endian": "little|big", "encoding": "raw|gzip|gz|bzip2|bz2|text|txt|ascii|hex",
    "space": r"[\w -]{1,60}", "spacedimension": r"\d", "spaceorigin": _VECTOR,
    "spacedirections": rf"(?:{_VECTOR}|none)(?: +(?:{_VECTOR}|none)){{0,5}}",
    "measurementframe": rf"{_VECTOR}(?: +{_VECTOR}){{0,5}}", "spacings": rf"{_N}(?: +{_N}){{0,5}}",
    "thicknesses": rf"{_N}(?: +{_N}){{0,5}}", "kinds": _WORDS, "centers": _WORDS,
    "centerings": _WORDS, "labels": _WORDS, "units": _WORDS, "spaceunits": _WORDS,
    "content": _WORDS, "datafile": r"[^%\x00]{1,1000}", "lineskip": r"\d{1,6}",
    "byteskip": r"-1|\d{1,12}", "min": _N, "max": _N, "oldmin": _N, "oldmax": _N,
    "axismins": rf"{_N}(?: +{_N}){{0,5}}", "axismaxs": rf"{_N}(?: +{_N}){{0,5}}",
    "number": r"\d+", "sampleunits": _WORDS,
}  # fmt: skip
_ANATOMICAL = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior",
               "ras", "las", "lps")  # fmt: skip
_NO_SIZE = HeaderIssue(
    "spacing", "the header states no voxel size; 1 mm was taken, so volumes may be wrong"
)


def check_header(path: Path) -> tuple[HeaderIssue, ...]:
    """Check the text header of a NRRD or MetaImage file, and return its issues.

    Raises:
        ValueError: a header that ITK cannot be trusted with; names file and field.
    """
    with path.open("rb") as file:
        start = file.read(_MOST_BYTES)
    is_nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    try:
        return (_check_nrrd if is_nrrd else _check_meta)(path, start)
    except _Wrong as fault:
        reason = one_line(fault)
        raise ValueError(f"{path}: damaged or not readable ({reason})") from None


class _Wrong(Exception):
    """A field of a header that cannot be right."""


def _check_nrrd(path: Path, start: bytes) -> tuple[HeaderIssue, ...]:
    head = start.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    if not head.isascii():
        raise _Wrong("its header is no text")
    first, *lines = head.decode("utf-8", "replace").split("\n")
    if not first.startswith("NRRD000"):
        raise _Wrong("no NRRD header at its beginning")
    fields: dict[str, str] = {}
    for line in lines:
        key, separator, value = (part.strip() for part in line.partition(":"))
        if line.startswith("#") or value.startswith("=") or not line:
            continue
        pattern = _NRRD_FIELDS.get(key.lower().replace(" ", ""))
        if not separator or pattern is None or key.lower() in fields:
            raise _Wrong(f"a header line that is no NRRD field: {one_line(line, 40)}")
        if not re.fullmatch(pattern, value, re.IGNORECASE):
            raise _Wrong(f"{key}: {value}")
        fields[key.lower()] = value
    _check_axes(fields)
    sizes = _integers(fields, "sizes", _axes(fields, "dimension"))
    kind = fields.get("type", "").lower().replace("unsigned ", "u").replace("signed ", "")
    kind = kind.replace("_t", "").replace(" int", "").replace(" ", "_")
    check_size(path, sizes, _item_bytes(kind, fields.get("type", "")), _stored(path, fields))
    issues = []
    if not {"spacings", "space directions"} & fields.keys():
        issues.append(_NO_SIZE)
    space = fields.get("space", "").lower()
    if space.removesuffix("-time") not in _ANATOMICAL or "space directions" not in fields:
        stated = f"only the space {one_line(space, 40)!r}" if space else "no space"
        issues.append(_no_orientation(f"the NRRD header states {stated}"))
    return tuple(issues)


def _check_axes(fields: Mapping[str, str]) -> None:
    """Refuse fields of another number of axes than the image has; the parser of ITK crashes."""
    axes = _axes(fields, "dimension")
    for key in ("kinds", "spacings", "centerings", "centers", "thicknesses"):
        if key in fields and len(fields[key].split()) != axes:
            raise _Wrong(f"{key}: {fields[key]}; expected {axes} values")
    vectors = re.findall(r"\([^)]*\)|none", fields.get("space directions", ""), re.IGNORECASE)
    if vectors and len(vectors) != axes:
        raise _Wrong(f"space directions: {fields['space directions']}; expected {axes} vectors")
    every = vectors + re.findall(r"\([^)]*\)", fields.get("space origin", ""))
    if len({vector.count(",") for vector in every if vector.lower() != "none"}) > 1:
        raise _Wrong("space directions and space origin of unequal lengths")


def _check_meta(path: Path, start: bytes) -> tuple[HeaderIssue, ...]:
    fields: dict[str, str] = {}
    end = 0
    for line in start.split(b"\n"):
        end += len(line) + 1
        key, separator, value = line.decode("utf-8", "replace").strip().partition("=")
        if not separator or not line.isascii():
            raise _Wrong(f"a header line without `key = value`: {one_line(line[:40])}")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    else:
        raise _Wrong("no ElementDataFile in its header")
    axes = _axes(fields, "NDims")
    sizes = _integers(fields, "DimSize", axes)
    for key, count in (("ElementSpacing", axes), ("ElementSize", axes), ("Offset", axes),
                       ("Position", axes), ("Origin", axes), ("CenterOfRotation", axes),
                       ("TransformMatrix", axes**2), ("Rotation", axes**2),
                       ("Orientation", axes**2)):  # fmt: skip
        _numbers(fields, key, count)
    for key, low, high in (("ElementNumberOfChannels", 1, 16), ("HeaderSize", -1, 2**40),
                           ("CompressedDataSize", 0, 2**40)):  # fmt: skip
        if key in fields and not low <= _integer(fields, key) <= high:
            raise _Wrong(f"{key} = {fields[key]}")
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY").lower()
    item = _item_bytes(kind, fields.get("ElementType", ""))
    check_size(path, sizes, item * int(fields.get("ElementNumberOfChannels", 1)),
               _stored(path, fields))  # fmt: skip
    is_raw = fields.get("CompressedData", "False").lower() in ("false", "0")
    is_binary = fields.get("BinaryData", "False").lower() in ("true", "1")
    if fields["ElementDataFile"] == "LOCAL" and is_raw and is_binary:
        expected = prod(sizes) * item * int(fields.get("ElementNumberOfChannels", 1))
        if (got := path.stat().st_size - end) < expected:  # ITK would log this to the terminal
            raise _Wrong(f"expected {expected} bytes of voxels, got {got}")
    issues = []
    if not {"ElementSpacing", "ElementSize"} & fields.keys():
        issues.append(_NO_SIZE)
    if not {"TransformMatrix", "Rotation", "Orientation"} & fields.keys():
        issues.append(_no_orientation("the MetaImage header states no TransformMatrix"))
    return tuple(issues)


def _no_orientation(reason: str) -> HeaderIssue:
    return HeaderIssue(
        "orientation",
        f"{reason}, so nothing says which way its axes run; they were taken as ITK takes them, "
        "and left and right may be exchanged",
    )


def _axes(fields: Mapping[str, str], key: str) -> int:
    axes = _integer(fields, key)
    if not 1 <= axes <= _MOST_AXES:
        raise _Wrong(f"{key} {axes}; expected 1 to {_MOST_AXES}")
    return axes


def _integer(fields: Mapping[str, str], key: str) -> int:
    if key not in fields:
        raise _Wrong(f"no {key} in its header")
    try:
        return int(fields[key][:30])
    except ValueError:
        raise _Wrong(f"{key} {fields[key]}; expected a whole number") from None


def _integers(fields: Mapping[str, str], key: str, count: int) -> list[int]:
    if key not in fields:
        raise _Wrong(f"no {key} in its header")
    words = fields[key].split()
    if len(words) != count or not all(word.isdigit() and int(word[:20]) > 0 for word in words):
        raise _Wrong(f"{key} {fields[key]}; expected {count} positive whole numbers")
    return [int(word[:20]) for word in words]


def _numbers(fields: Mapping[str, str], key: str, count: int) -> None:
    if key not in fields:
        return
    try:
        values = [float(word) for word in fields[key].split()]
    except ValueError:
        values = []
    if len(values) != count or not all(isfinite(value) for value in values):
        raise _Wrong(f"{key} {fields[key]}; expected {count} numbers")


def _item_bytes(kind: str, stated: str) -> int:
    if kind not in _BYTES:
        raise _Wrong(f"voxels of type {stated or 'nothing'}; expected numbers")
    return _BYTES[kind]


def _stored(path: Path, fields: Mapping[str, str]) -> int:
    """Bytes of the file with the voxels; of this one if it cannot be told."""
    name = fields.get("ElementDataFile") or fields.get("data file") or fields.get("datafile") or ""
    other = path.parent / name if name and "\0" not in name else path
    size = path.stat().st_size
    try:
        return max(size, other.stat().st_size) if other.is_file() else size
    except OSError:
        return size
