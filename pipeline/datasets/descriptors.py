"""Lookup of the descriptor of a folder of scans: by name, or the `dataset.toml` in the folder."""

from pathlib import Path

from pipeline.files import shipped
from pipeline.files.kinds import require_kind
from segmentation.data.descriptor import DatasetSpec

OWN = "dataset.toml"


def find_descriptor(root: Path, descriptor: str | None) -> DatasetSpec:
    """The descriptor of that name or file, or the `dataset.toml` of a data set as downloaded.

    Raises:
        FileNotFoundError: no such folder.
        LookupError, ValueError: no such descriptor, or none is given; another kind of folder.
    """
    if not require_kind(root, "raw", "lists").is_dir():
        raise NotADirectoryError(f"{root} is a file; expected the folder of a data set")
    if descriptor is not None:
        return DatasetSpec.read(shipped.find("data", descriptor))
    if (root / OWN).is_file():
        return DatasetSpec.read(root / OWN)
    if not any(root.iterdir()):
        raise FileNotFoundError(f"{root} is empty; expected the folder of a data set")
    raise ValueError(
        f"{root} has no {OWN}; `tak init {root}` writes one, or name a data set by --descriptor: "
        f"{', '.join(shipped.names('data'))}, or a TOML file"
    )
