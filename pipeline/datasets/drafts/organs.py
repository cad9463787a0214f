"""Organs of a drafted descriptor: chosen and merged by name, their sides checked by position."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from knowledge.common.suggest import did_you_mean
from pipeline.datasets.drafts.fingerprint import Fingerprint
from pipeline.datasets.drafts.grid_planning import size_of
from pipeline.datasets.organ_names import plain_words
from pipeline.files import shipped
from segmentation.data.descriptor import DatasetSpec, Organ
from segmentation.data.label_values import Source

_SIDES = ("left", "right")


@dataclass(frozen=True)
class DraftOrgan:
    """One organ of a draft.

    Attributes:
        sources: label values, or names of mask files, in the data.
        names: the names in the data.
        known: the organ of a shipped descriptor with the same name, for its aliases and code.
        side, side_note: left or right from the name, and what the positions say of it.
        volume_ml, present: median volume, and in how many measured cases it is.
    """

    name: str
    sources: tuple[Source, ...]
    names: tuple[str, ...]
    known: Organ | None = None
    side: str | None = None
    side_note: str = ""
    volume_ml: float = 0.0
    present: int = 0

    @property
    def size(self) -> str:
        """`large` or `small`."""
        return size_of(self.volume_ml)


def pick_organs(
    sources: Mapping[str, tuple[Source, ...]], organs: Sequence[str]
) -> list[DraftOrgan]:
    """The organs to keep, with all their label values."""
    if not organs:
        return [_named(name, (name,), sources) for name in sources]
    by_words = {plain_words(name): name for name in sources}
    picked = []
    for text in organs:
        name, sign, parts = text.partition("=")
        words = parts.split("+") if sign else [name]
        names = [by_words.get(plain_words(word)) for word in words]
        for word, known in zip(words, names, strict=True):
            if known is None:
                listed = list(sources)
                more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
                raise LookupError(
                    f"--organ {text}: no organ {word!r} in the data; there is "
                    f"{', '.join(listed[:20])}{more}{did_you_mean(word, listed)}"
                )
        kept = tuple(name for name in names if name is not None)
        picked.append(_named(name, kept, sources))
    return picked


def _named(
    name: str, names: tuple[str, ...], sources: Mapping[str, tuple[Source, ...]]
) -> DraftOrgan:
    """An organ under the name of a shipped descriptor, where words and data agree."""
    values = tuple(value for each in names for value in sources[each])
    known = _shipped_organs().get(plain_words(name))
    shown = known.name if known else re.sub(r"[_\s]+", " ", name).strip()
    side = next((side for side in _SIDES if side in plain_words(name)), None)
    return DraftOrgan(shown, values, names, known, side)


def _shipped_organs() -> dict[tuple[str, ...], Organ]:
    """Organs of the shipped descriptors by the words of their names."""
    organs: dict[tuple[str, ...], Organ] = {}
    for name in sorted(path.stem for path in shipped.reference("data").glob("*.toml")):
        for organ in DatasetSpec.read(shipped.reference("data") / f"{name}.toml").organs:
            organs.setdefault(plain_words(organ.name), organ)
    return organs


def measured_organs(
    picked: Sequence[DraftOrgan], fingerprint: Fingerprint
) -> tuple[list[DraftOrgan], list[str]]:
    """The organs with their measures, and warnings about absent and exchanged ones."""
    index = {organ.name: place for place, organ in enumerate(picked, start=1)}
    words = {plain_words(organ.name): organ.name for organ in picked}
    measured, warnings = [], []
    for organ in picked:
        here = index[organ.name]
        note = ""
        if organ.side:
            other = _SIDES[organ.side == "left"]
            swap = [other if word == organ.side else word for word in plain_words(organ.name)]
            partner = words.get(tuple(sorted(swap)))
            pair = (here, index.get(partner or "", 0))
            gaps = fingerprint.sides(*(pair if organ.side == "right" else pair[::-1]))
            wrong = sum(gap <= 0 for gap in gaps)
            note = _side_note(organ, partner, len(gaps), wrong)
            if wrong and organ.side == "right":
                warnings.append(
                    f"{organ.name} is left of {partner} in {wrong} of {len(gaps)} cases: labels "
                    "exchanged, or a header that mirrors the patient; `tak inspect` names them"
                )
        present = len(fingerprint.organ(here))
        volume = fingerprint.volume_ml(here)
        measured.append(replace(organ, side_note=note, volume_ml=volume, present=present))
    absent = [organ.name for organ in measured if not organ.present]
    if absent:
        more = f" and {len(absent) - 6} more" if len(absent) > 6 else ""
        warnings.append(
            f"in no measured mask, so that their size is a guess: {', '.join(absent[:6])}{more}"
        )
    return measured, warnings


def _side_note(organ: DraftOrgan, partner: str | None, pairs: int, wrong: int) -> str:
    if partner is None:
        return "from its name"
    if not pairs:
        return f"from its name; never measured together with {partner}"
    return f"from its name; positions agree in {pairs - wrong} of {pairs} cases"
