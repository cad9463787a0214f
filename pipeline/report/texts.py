"""Texts and claims of each organ, with the verdicts of labeled scans."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge.bank.bank import Bank
from knowledge.common.files import parse_json, read_text
from knowledge.common.models import checked
from knowledge.descriptions import BACKGROUND, Claim, DescriptionSet
from knowledge.grounding.claims import CheckReport, Result

NOT_TESTED = "not tested"
_ORDER = ("contradicted", "supported", "untestable", NOT_TESTED)


@dataclass(frozen=True)
class ClaimLine:
    """One claim in words, with its verdict and the measurements.

    Attributes:
        agreed: whether all scans that can test it agree.
        measured: the mean, such as `54 mm`; empty if not measured.
        counted: number of supporting scans, such as `3 of 4 scans`.
    """

    text: str
    verdict: str
    agreed: bool = True
    measured: str = ""
    counted: str = ""


@dataclass(frozen=True)
class OrganText:
    """Texts and claims of one class.

    Attributes:
        texts: (aspect, text, tokens), tokens 0 if not counted.
        claims: contradicted ones first.
    """

    name: str
    texts: tuple[tuple[str, str, int], ...]
    claims: tuple[ClaimLine, ...]


def organ_texts(
    bank: Bank,
    classes: Sequence[str],
    aspects: Sequence[str] | None,
    descriptions: DescriptionSet | None,
    outcome: CheckReport | None,
) -> list[OrganText]:
    """Texts and claims by class, background last.

    Raises:
        ValueError: descriptions of another bank.
        LookupError: the bank has no such class.
    """
    if descriptions is not None and bank.description_digest != descriptions.digest:
        raise ValueError(
            f"the bank was made from descriptions {bank.description_digest[:12] or 'unknown'}, "
            f"not from these, {descriptions.digest[:12]}; give the file that `tak encode` read"
        )
    claims = _claims(descriptions, outcome)
    bank.select(classes, aspects)  # raises if one is missing
    columns = [bank.aspects.index(name) for name in aspects or bank.aspects]
    texts_by_class = []
    for name in sorted(classes, key=lambda name: name == BACKGROUND):
        row = bank.classes.index(name)
        texts = tuple(
            (
                bank.aspects[column],
                bank.texts[row][column] or f"no text: {bank.control or 'none is known'}",
                int(bank.token_counts[row, column]),
            )
            for column in columns
        )
        texts_by_class.append(OrganText(name, texts, tuple(claims.get(name, ()))))
    return texts_by_class


def read_outcome(path: Path) -> CheckReport:
    """The verdicts in a file of `tak check --report`.

    Raises:
        FileNotFoundError, ValueError: no such file, or another one.
    """
    content = parse_json(read_text(path), path)
    if isinstance(content, dict):
        for derived in ("supported_share", "independent"):
            content.pop(derived, None)
    return checked(content, CheckReport, path)


def verdict_mismatch(outcome: CheckReport, bank: Bank | None) -> str:
    """A warning if verdicts may be of other texts than the bank's; empty if they match."""
    source = "" if bank is None else bank.description_digest
    if not outcome.descriptions:
        return (
            "It is unknown of which texts these verdicts are: an earlier version wrote their file "
            "and did not note it. `tak check --report` writes it anew."
        )
    if not source:
        return (
            f"The verdicts are of descriptions {outcome.descriptions[:12]}; from which ones the "
            "bank was made is unknown."
        )
    if outcome.descriptions != source:
        return (
            f"The verdicts are of other texts: of descriptions {outcome.descriptions[:12]}, while "
            f"the bank was made from {source[:12]}. Give the verdicts on the file that `tak "
            "encode` read."
        )
    return ""


def _claims(
    descriptions: DescriptionSet | None, outcome: CheckReport | None
) -> dict[str, list[ClaimLine]]:
    """Claims by organ: those of the descriptions if given, else the tested ones."""
    results = {result.claim: result for result in outcome.results} if outcome else {}
    claims = descriptions.claims if descriptions is not None else tuple(results)
    by_organ: dict[str, list[ClaimLine]] = {}
    for claim in claims:
        by_organ.setdefault(claim.organ, []).append(_line(claim, results.get(claim)))
    for lines in by_organ.values():
        lines.sort(key=lambda line: _ORDER.index(line.verdict))
    return by_organ


def _line(claim: Claim, result: Result | None) -> ClaimLine:
    text = f"{claim.relation.replace('_', ' ')} {claim.other}"
    if result is None:
        return ClaimLine(text, NOT_TESTED)
    tested = result.supported + result.contradicted
    return ClaimLine(
        text=text,
        verdict=result.verdict,
        agreed=tested > 0 and tested in (result.supported, result.contradicted),
        measured="" if result.measured is None else _amount(result.measured, result.unit),
        counted=f"{result.supported} of {tested} scans" if tested else "no scan can tell",
    )


def _amount(value: float, unit: str) -> str:
    """Shares (`of the circle`) in percent, lengths unchanged."""
    return (
        f"{100 * value:.0f}\u00a0% {unit}" if unit.startswith("of ") else f"{value:.0f}\u00a0{unit}"
    )
