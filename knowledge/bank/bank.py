"""Bank: text vectors [class, aspect, width] with their labels and origin; HDF5 in and out."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from knowledge.bank.heaps import Heaps
from knowledge.bank.items import (
    printable,
    read_array,
    read_attribute,
    read_strings,
    require_checked_strings,
)
from knowledge.common.files import write_whole
from knowledge.common.suggest import unknown
from knowledge.encoders.base.encoder import Vectors

FORMAT = "tak-bank"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Bank:
    """Text vectors of a class list, by class name and aspect.

    Letters: C classes, A aspects, E width, F fingerprint sentences.

    Attributes:
        vectors: float32 [C, A, E], as the encoder pools them, not normalized.
        texts: what was encoded, [C][A].
        token_counts: int32 [C, A], by the encoder's own tokenizer; 0 where not counted.
        fingerprint: float32 [F, E], the encoder's vectors of fixed sentences; F = 0 when unknown.
        token_limit: the most tokens that the encoder reads, or None.
        long_text: what was done to texts beyond the limit.
        description_digest: the sha256 of the description set, or "".
        origin: where texts and vectors come from, as JSON-able values.
    """

    classes: tuple[str, ...]
    aspects: tuple[str, ...]
    vectors: Vectors
    texts: tuple[tuple[str, ...], ...]
    token_counts: NDArray[np.int32]
    encoder: str
    fingerprint: Vectors
    token_limit: int | None = None
    long_text: str = "error"
    description_digest: str = ""
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = (len(self.classes), len(self.aspects))
        if self.vectors.ndim != 3 or self.vectors.shape[:2] != counts:
            raise ValueError(
                f"vectors of shape {self.vectors.shape} do not fit {counts[0]} classes and "
                f"{counts[1]} aspects"
            )
        if self.token_counts.shape != counts:
            raise ValueError(f"token counts of shape {self.token_counts.shape}, not {counts}")
        if [len(row) for row in self.texts] != [counts[1]] * counts[0]:
            raise ValueError(f"texts must be {counts[0]} rows of {counts[1]}")
        for kind, names in (("class", self.classes), ("aspect", self.aspects)):
            if len(set(names)) != len(names):
                raise ValueError(f"a {kind} is named twice: {printable(', '.join(names))}")
        for what, values in (("vectors", self.vectors), ("fingerprint", self.fingerprint)):
            if not np.isfinite(values).all():
                raise ValueError(f"{what} must be finite")
        if self.fingerprint.ndim != 2:
            raise ValueError(f"fingerprint: expected 2 axes, got shape {self.fingerprint.shape}")
        if (self.token_counts < 0).any() or (self.token_limit or 0) < 0:
            raise ValueError("token counts and their limit must not be negative")

    @property
    def width(self) -> int:
        """The length E of a vector."""
        return int(self.vectors.shape[2])

    @property
    def control(self) -> str | None:
        """The control and the bank that it stands in for, in words; None if it is no control.

        The words of `class-name` and `template` are encoded as they stand, by the same encoder.
        """
        if "like" not in self.origin:
            return None
        of = f"the bank {str(self.origin['like'])[:12]}"
        seed = f", seed {self.origin['seed']}" if "seed" in self.origin else ""
        return f"control {self.origin['kind']} of {of}{seed}"

    @cached_property
    def digest(self) -> str:
        """The sha256 of names and vectors: the identity of the bank for networks."""
        names = json.dumps([self.classes, self.aspects], ensure_ascii=False)
        content = np.ascontiguousarray(self.vectors, "<f4").tobytes()
        return hashlib.sha256(names.encode() + b"\0" + content).hexdigest()

    def select(self, classes: Sequence[str], aspects: Sequence[str] | None = None) -> Vectors:
        """Vectors float32 [C, A, E] of these classes and aspects (all when None), in this order.

        Raises:
            LookupError: no such class or aspect; lists the known ones.
        """
        rows = [self._index("class", name, self.classes) for name in classes]
        chosen = self.aspects if aspects is None else aspects
        columns = [self._index("aspect", name, self.aspects) for name in chosen]
        return np.ascontiguousarray(self.vectors[rows][:, columns])

    def write(self, path: Path) -> None:
        """Write as HDF5: plain datasets and attributes, strings in UTF-8, atomically."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            self._fill(file)
        write_whole(Path(path), buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> "Bank":
        """The bank of an HDF5 file; needs neither the encoder nor torch.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a bank, truncated, altered, of a newer version, or with items of
                another kind, shape or size than a bank has; one line that names the file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no bank {path}; make one with `tak encode`")
        try:
            content = path.read_bytes()
            heaps = _heaps(content)
            with h5py.File(io.BytesIO(content), "r") as file:
                require_checked_strings(file, heaps)
                _check_format(file)
                bank, digest = _read_items(file, heaps), read_attribute(file, "digest", str)
        except ValueError as error:
            raise ValueError(f"{path}: {printable(error)}") from error
        except Exception as error:  # whatever h5py raises on damaged bytes
            reason = f"{type(error).__name__}: {printable(error)}"
            raise ValueError(f"{path} is not a readable bank (truncated?): {reason}") from error
        if bank.digest != digest:
            raise ValueError(f"{path} was altered: its vectors do not have the digest it states")
        return bank

    def _fill(self, file: h5py.File) -> None:
        text = h5py.string_dtype("utf-8")
        file.create_dataset("vectors", data=np.ascontiguousarray(self.vectors, "<f4"))
        file.create_dataset("classes", data=list(self.classes), dtype=text)
        file.create_dataset("aspects", data=list(self.aspects), dtype=text)
        file.create_dataset("texts", data=[list(row) for row in self.texts], dtype=text)
        file.create_dataset("token_counts", data=self.token_counts.astype("<i4"))
        file.create_dataset("fingerprint", data=np.ascontiguousarray(self.fingerprint, "<f4"))
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["encoder"] = self.encoder
        file.attrs["token_limit"] = self.token_limit or 0
        file.attrs["long_text"] = self.long_text
        file.attrs["description_digest"] = self.description_digest
        file.attrs["origin"] = json.dumps(self.origin, sort_keys=True, ensure_ascii=False)
        file.attrs["digest"] = self.digest

    def _index(self, kind: str, name: str, names: tuple[str, ...]) -> int:
        if name not in names:
            raise LookupError(
                f"the bank ({self.encoder}, {self.digest[:12]}) has {unknown(kind, name, names)}"
            )
        return names.index(name)


def _heaps(content: bytes) -> Heaps:
    try:
        return Heaps(content)
    except ValueError as error:
        raise ValueError(f"not a readable bank (truncated?): {error}") from error


def _check_format(file: h5py.File) -> None:
    if "format" not in file.attrs or read_attribute(file, "format", str) != FORMAT:
        raise ValueError("an HDF5 file, but not a bank")
    version = read_attribute(file, "format_version", int)
    if version > FORMAT_VERSION:
        raise ValueError(
            f"a bank of format {version}; this version reads up to {FORMAT_VERSION}: update tak-seg"
        )


def _read_items(file: h5py.File, heaps: Heaps) -> Bank:
    return Bank(
        classes=tuple(read_strings(file, "classes", 1, heaps)),
        aspects=tuple(read_strings(file, "aspects", 1, heaps)),
        vectors=read_array(file, "vectors", 3, "f").astype(np.float32),
        texts=tuple(tuple(row) for row in read_strings(file, "texts", 2, heaps)),
        token_counts=read_array(file, "token_counts", 2, "iu").astype(np.int32),
        encoder=read_attribute(file, "encoder", str),
        fingerprint=read_array(file, "fingerprint", 2, "f").astype(np.float32),
        token_limit=read_attribute(file, "token_limit", int) or None,
        long_text=read_attribute(file, "long_text", str),
        description_digest=read_attribute(file, "description_digest", str),
        origin=_origin(read_attribute(file, "origin", str)),
    )


def _origin(text: str) -> dict[str, Any]:
    try:
        origin = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"attribute origin is not valid JSON: {type(error).__name__}") from error
    if not isinstance(origin, dict):
        raise ValueError("attribute origin: expected a JSON object")
    if "like" in origin and not isinstance(origin.get("kind"), str):
        raise ValueError("attribute origin: a control names its kind")
    return origin
