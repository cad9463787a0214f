"""Index of a folder of renderings: the pictures of each organ, and their case."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from knowledge.common.files import read_json, write_whole
from knowledge.common.models import Strict, readable
from knowledge.common.suggest import did_you_mean

INDEX = "renderings.json"


RENDERINGS_VERSION = 1


class Renderings(Strict):
    """The file `renderings.json`; paths are relative to it, pictures of the background show all."""

    format_version: int = RENDERINGS_VERSION
    case: str
    pictures: dict[str, tuple[str, ...]] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _not_newer(cls, raw: Any) -> Any:
        return readable(raw, RENDERINGS_VERSION, "renderings")

    def write(self, folder: Path) -> None:
        """Write the index; call this last, so that an index implies complete pictures."""
        content = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        write_whole(folder / INDEX, content + "\n")


def find_pictures(folder: Path, classes: tuple[str, ...]) -> dict[str, tuple[Path, ...]]:
    """The pictures of each class.

    Raises:
        FileNotFoundError: no index, or a picture that it names is not there.
        LookupError: there is no picture of a class.
    """
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"{folder} has no {INDEX}; make renderings with `tak render`")
    index = read_json(folder / INDEX, Renderings)
    missing = [name for name in classes if name not in index.pictures]
    if missing:
        raise LookupError(
            f"{folder} has no pictures of {', '.join(missing)}: case {index.case} shows "
            f"{', '.join(index.pictures)}{did_you_mean(missing[0], index.pictures)}; render "
            "another case"
        )
    pictures = {name: tuple(folder / file for file in index.pictures[name]) for name in classes}
    for paths in pictures.values():
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(f"there is no picture {path}, which {INDEX} names")
    return pictures
