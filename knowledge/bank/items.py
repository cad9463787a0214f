"""Items of an HDF5 file of unknown origin: kind, shape and size are checked before any is read."""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from knowledge.bank.heaps import Heaps

# The most bytes of one item. Vectors of 1,000 classes x 5 aspects x 4096 take 80 MB.
MAX_BYTES = 2**29
_LONGEST = 300


def read_array(file: h5py.File, name: str, ndim: int, kinds: str) -> NDArray[Any]:
    """A dataset of numbers with `ndim` axes, of a NumPy kind among `kinds` ("f", "iu").

    Raises:
        ValueError: missing, a link, of another kind or shape, too large, or never written.
    """
    dataset = _dataset(file, name, ndim)
    if dataset.dtype.kind not in kinds:
        expected = {"f": "floating-point numbers", "iu": "integers"}[kinds]
        raise ValueError(f"{name}: expected {expected}, got {dataset.dtype}")
    return dataset[:]


def read_strings(file: h5py.File, name: str, ndim: int, heaps: Heaps) -> NDArray[np.object_]:
    """A dataset of UTF-8 strings with `ndim` axes; errors as in `read_array`."""
    dataset = _dataset(file, name, ndim)
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None:
        raise ValueError(f"{name}: expected strings, got {dataset.dtype}")
    if kind.length is None and dataset.size:
        offset = dataset.id.get_offset()
        if offset is None:
            raise ValueError(f"{name}: strings in chunks are not read; store them contiguously")
        heaps.require_references(offset, int(dataset.size))
    return dataset.asstr()[:]


def read_attribute(file: h5py.File, name: str, kind: type[str] | type[int]) -> Any:
    """A scalar attribute as `str` or `int`.

    Raises:
        ValueError: missing, not a scalar, or of another kind.
    """
    if name not in file.attrs:
        raise ValueError(f"attribute {name} is missing")
    attribute = file.attrs.get_id(name)
    if attribute.shape != ():
        raise ValueError(f"attribute {name}: expected one value, got shape {attribute.shape}")
    # The type is checked before reading: HDF5 crashes on some damaged ones.
    expected = h5py.h5t.STRING if kind is str else h5py.h5t.INTEGER
    if attribute.get_type().get_class() != expected:
        raise ValueError(f"attribute {name}: expected {kind.__name__}, got {attribute.dtype}")
    return kind(file.attrs[name])


def require_checked_strings(file: h5py.File, heaps: Heaps) -> None:
    """Refuse a file with string attributes that `heaps` did not recognize, and so did not check.

    Raises:
        ValueError: the type of an attribute is damaged, or stored in another form.
    """
    attributes = [file.attrs.get_id(name) for name in file.attrs]
    strings = sum(
        attribute.shape == ()
        and attribute.get_type().get_class() == h5py.h5t.STRING
        and attribute.get_type().is_variable_str()
        for attribute in attributes
    )
    if strings > heaps.string_attributes:
        raise ValueError(f"{strings} text attributes, of which {heaps.string_attributes} are sound")


def printable(value: object, longest: int = _LONGEST) -> str:
    """A value in one line of at most `longest` characters that command no terminal."""
    text = str(value)[: longest + 1].replace("\n", " ")
    plain = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return plain if len(plain) <= longest else plain[:longest] + " ..."


def _dataset(file: h5py.File, name: str, ndim: int) -> h5py.Dataset:
    # A soft or external link could lead out of the file.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing, or a link")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name}: expected a dataset, got a {type(dataset).__name__.lower()}")
    if dataset.shape is None or len(dataset.shape) != ndim:
        raise ValueError(f"{name}: expected {ndim} axes, got shape {printable(dataset.shape, 80)}")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name}: its values are stored in another file")
    # Of Python integers: NumPy's would overflow on absurd shapes.
    size = dataset.dtype.itemsize
    for length in dataset.shape:
        size *= int(length)
    if size > MAX_BYTES:
        shape = printable(dataset.shape, 80)
        raise ValueError(f"{name}: shape {shape} takes more than {MAX_BYTES >> 20} MiB")
    # HDF5 returns zeros for what was declared and never written.
    if size and not dataset.id.get_storage_size():
        raise ValueError(f"{name}: shape {dataset.shape} was declared, but never written")
    return dataset
