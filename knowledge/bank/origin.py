"""The origin of a bank in words, and caveats about its texts: edited, shortened, not verified."""

from collections.abc import Mapping
from typing import Any

from knowledge.descriptions import DescriptionSet


def marks(descriptions: DescriptionSet) -> dict[str, Any]:
    """The entries of a bank's origin that `caveats` reads; empty for texts as answered."""
    entries: dict[str, Any] = {}
    if descriptions.edited:
        entries["edited"] = list(descriptions.edited)
    if descriptions.share_mismatch:
        entries["supported_share_of"] = descriptions.supported_share_of
    if not descriptions.supported_share_independent:
        entries["supported_share_independent"] = False
    return entries


def caveats(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences about what sets texts apart from the answers and verdicts of their origin.

    Args:
        origin: of a bank; of a merged one, each part is read.
    """
    sentences = []
    if edited := _listed(origin.get("edited")):
        sentences.append(f"Edited by hand after the answer: {'; '.join(edited)}.")
    if shortened := _listed(origin.get("shortened")):
        sentences.append(f"Shortened for the encoder by a model: {'; '.join(shortened)}.")
    share = origin.get("supported_share")
    shown = f" of {share:.3f}" if isinstance(share, float | int) else ""
    if measured_on := origin.get("supported_share_of"):
        sentences.append(
            f"The supported share{shown} was measured on other texts (descriptions "
            f"{str(measured_on)[:12]}); `tak check --record` measures it anew."
        )
    if origin.get("supported_share_independent") is False:
        sentences.append(
            f"The supported share{shown} is not independent: the scans that it was measured on "
            "corrected the answers."
        )
    parts = origin.get("parts")
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, Mapping) and isinstance(part.get("origin"), Mapping):
            sentences += caveats(part["origin"])
    return tuple(dict.fromkeys(sentences))


def in_words(value: object) -> str:
    """A value of an origin for display: lists by commas, tables as `key value`."""
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        nested = any(isinstance(item, list | dict) for item in value)
        return "; ".join(map(in_words, value)) if nested else ", ".join(map(str, value))
    return str(value)


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
