"""Label names in the header of a NIfTI mask: TotalSegmentator writes them as a Caret extension."""

import re
import zlib
from html import unescape
from pathlib import Path

import nibabel
from nibabel.filebasedimages import ImageFileError

_LABEL = re.compile(
    r"<Label\b[^>]*?\bKey=\"(\d+)\"[^>]*>\s*(?:<!\[CDATA\[(.*?)\]\]>|([^<]*))\s*</Label>", re.DOTALL
)


def label_table(path: Path) -> dict[str, int]:
    """Label value by name, as the header of a mask states them; empty where it states none.

    Raises:
        ValueError: a damaged file, or a name of two labels.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return {}
    try:
        extensions = nibabel.load(path).header.extensions
        texts = [_text(extension.get_content()) for extension in extensions]
    except (ImageFileError, OSError, EOFError, zlib.error) as fault:
        raise ValueError(f"{path}: damaged or no NIfTI file ({fault})") from None
    table: dict[str, int] = {}
    for value, quoted, plain in _LABEL.findall("\n".join(texts)):
        name = (quoted or unescape(plain)).strip()
        if name and table.setdefault(name, int(value)) != int(value):
            raise ValueError(f"{path}: its header names two labels {name!r}")
    return table


def _text(content: object) -> str:
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
