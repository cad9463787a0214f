"""Global heaps of an HDF5 file, checked before the library follows their sizes.

HDF5 stores strings of variable length in heaps. The library trusts the sizes in them: a damaged one
makes it loop forever, or allocate up to 4 GiB for one string. Layout: "HDF5 File Format
Specification" 3.0, III.E (global heap) and IV.B (references to it).
"""

import struct
from collections.abc import Iterator

_SIGNATURE = b"GCOL"
_HEAP_HEADER = struct.Struct("<4sB3xQ")
_OBJECT_HEADER = struct.Struct("<HHIQ")
_REFERENCE = struct.Struct("<IQI")


# A scalar attribute of one UTF-8 or ASCII string of variable length, as HDF5 writes it: its type
# (class 9, 16 bytes, of characters) and its dataspace. The reference to the heap comes next.
_STRING_ATTRIBUTE = bytes.fromhex("10000000100000000100000000000800000000000100000000000000")


class Heaps:
    """The string heaps of a file's content, each sound in itself.

    `string_attributes` is the number of attributes that are one string, with a sound reference.

    Raises:
        ValueError: an object ends beyond its heap.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        # Sizes of objects by heap address and index. Heaps are aligned to 8 bytes.
        self._sizes = {
            start: _object_sizes(content, start)
            for start in _positions(content, _SIGNATURE)
            if start % 8 == 0
        }
        starts = [
            start + len(_STRING_ATTRIBUTE) for start in _positions(content, _STRING_ATTRIBUTE)
        ]
        # Attributes that were replaced leave their bytes behind, so an unsound one is no fault yet.
        self.string_attributes = sum(self._fits(start) for start in starts)

    def require_references(self, first: int, count: int) -> None:
        """Check `count` references from byte `first` on: in a heap, and not beyond their object.

        Raises:
            ValueError: says where.
        """
        for position in range(first, first + count * _REFERENCE.size, _REFERENCE.size):
            if not self._fits(position):
                raise ValueError(f"the string at byte {position} is longer than its place")

    def _fits(self, position: int) -> bool:
        """Whether the reference at a byte leads into a heap, and is not longer than its object."""
        if position + _REFERENCE.size > len(self._content):
            return False
        length, address, index = _REFERENCE.unpack_from(self._content, position)
        return bool(length <= self._sizes.get(address, {}).get(index, 0))


def _object_sizes(content: bytes, start: int) -> dict[int, int]:
    """The sizes in bytes of the objects of the heap at `start`, by their index."""
    if start + _HEAP_HEADER.size > len(content):
        raise ValueError(f"the string heap at byte {start} is truncated")
    _, version, size = _HEAP_HEADER.unpack_from(content, start)
    end = start + size
    if version != 1 or size < _HEAP_HEADER.size or end > len(content):
        raise ValueError(f"the string heap at byte {start} is damaged (size {size})")
    sizes: dict[int, int] = {}
    position = start + _HEAP_HEADER.size
    while position + _OBJECT_HEADER.size <= end:
        index, _, _, length = _OBJECT_HEADER.unpack_from(content, position)
        if index == 0:  # the free space: the rest of the heap, its own header included
            if position + length > end:
                raise ValueError(f"the string heap at byte {start} has a damaged free space")
            break
        position += _OBJECT_HEADER.size + (length + 7) // 8 * 8  # objects are padded to 8 bytes
        if position > end or index in sizes:
            raise ValueError(f"the string heap at byte {start} has a damaged object {index}")
        sizes[index] = length
    return sizes


def _positions(content: bytes, pattern: bytes) -> Iterator[int]:
    position = content.find(pattern)
    while position >= 0:
        yield position
        position = content.find(pattern, position + 1)
