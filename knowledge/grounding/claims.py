"""Whether a description set is true: its claims on labeled scans, and against each other."""

import graphlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from knowledge.common.files import write_whole
from knowledge.common.models import Strict
from knowledge.descriptions import BACKGROUND, Claim, DescriptionSet
from knowledge.grounding.scene import ClaimVerdict, Scene, Verdict
from knowledge.grounding.sides import exchanged_sides, mirror, side

# A claim holds of an anatomy when it holds in this share of the scans that can tell.
HOLDS = 0.75
# Each relation's name for itself, seen from the other organ.
_AXES = {
    "right_of": "left_of",
    "anterior_to": "posterior_to",
    "superior_to": "inferior_to",
    "surrounds": "inside",
}


class Result(Strict):
    """One claim over all scans. `share` is of the scans that can tell; `measured` is a mean."""

    claim: Claim
    verdict: Verdict
    supported: int
    contradicted: int
    untestable: int
    measured: float | None
    unit: str

    @property
    def share(self) -> float | None:
        """Supported scans among those that can tell."""
        told = self.supported + self.contradicted
        return self.supported / told if told else None

    def evidence(self) -> str:
        """The outcome in words fit to show to a model."""
        told = self.supported + self.contradicted
        mean = "" if self.measured is None else f", mean {self.measured:.0f} {self.unit}"
        return f'"{self.claim}" holds in {self.supported} of {told} labeled scans{mean}'


class CheckReport(Strict):
    """What `check` found out about a description set.

    Attributes:
        descriptions: digest of the set; None in files of versions that did not note it.
    """

    cases: tuple[str, ...]
    results: tuple[Result, ...]
    problems: tuple[str, ...]
    descriptions: str | None = None

    @property
    def supported_share(self) -> float | None:
        """Supported claims among those that are supported or contradicted; None without any."""
        supported, contradicted = self.count("supported"), self.count("contradicted")
        told = supported + contradicted
        return supported / told if told else None

    def count(self, verdict: str) -> int:
        """The number of claims with a verdict."""
        return sum(result.verdict == verdict for result in self.results)

    def write(self, path: Path) -> None:
        """Write as JSON, with the share, whole or not at all."""
        content = self.model_dump(mode="json") | {"supported_share": self.supported_share}
        write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def check(
    descriptions: DescriptionSet,
    scenes: Iterable[tuple[str, Scene]],
    *,
    progress: Callable[[str], None] = lambda case: None,
) -> CheckReport:
    """Every claim of a set on labeled scans (case name, scene), and the set against itself."""
    claims = descriptions.claims
    findings: dict[Claim, list[ClaimVerdict]] = {claim: [] for claim in claims}
    cases = []
    for case, scene in scenes:
        cases.append(case)
        for claim in claims:
            findings[claim].append(scene.test(claim))
        progress(case)
    return CheckReport(
        cases=tuple(cases),
        results=tuple(summarize(claim, findings[claim]) for claim in claims),
        problems=tuple(problems(descriptions)),
        descriptions=descriptions.digest,
    )


def summarize(claim: Claim, findings: list[ClaimVerdict]) -> Result:
    """One claim's findings over scans as one verdict.

    Supported or contradicted when at least `HOLDS` of the scans that can tell agree; a claim on
    which scans differ, or on which none can tell, is untestable.
    """
    counts = {
        verdict: sum(finding.verdict == verdict for finding in findings)
        for verdict in ("supported", "contradicted", "untestable")
    }
    told = counts["supported"] + counts["contradicted"]
    verdict: Verdict = "untestable"
    if told and counts["supported"] >= HOLDS * told:
        verdict = "supported"
    elif told and counts["contradicted"] >= HOLDS * told:
        verdict = "contradicted"
    measured = [finding.measured for finding in findings if finding.measured is not None]
    return Result(
        claim=claim,
        verdict=verdict,
        measured=sum(measured) / len(measured) if measured else None,
        unit=next((finding.unit for finding in findings if finding.unit), ""),
        **counts,
    )


def contradictions(claims: tuple[Claim, ...], scenes: Sequence[Scene]) -> dict[Claim, str]:
    """The claims that labeled scans contradict, with the evidence in words."""
    results = (summarize(claim, [scene.test(claim) for scene in scenes]) for claim in claims)
    return {
        result.claim: result.evidence() for result in results if result.verdict == "contradicted"
    }


def problems(descriptions: DescriptionSet) -> list[str]:
    """What is wrong with a set before any scan is looked at."""
    return [
        *_unknown_organs(descriptions),
        *_cycles(descriptions.claims),
        *_side_slips(descriptions),
    ]


def _unknown_organs(descriptions: DescriptionSet) -> list[str]:
    known = set(descriptions.classes) - {BACKGROUND}
    return [
        f"{claim}: {name!r} is not in the organ list"
        for claim in descriptions.claims
        for name in dict.fromkeys((claim.organ, claim.other))
        if name not in known
    ]


def _cycles(claims: tuple[Claim, ...]) -> list[str]:
    """Claims of one axis that cannot all be true: A above B, B above C, C above A."""
    found = []
    for relation, opposite in _AXES.items():
        graph: dict[str, set[str]] = {}
        for claim in claims:
            if claim.relation == relation:
                graph.setdefault(claim.organ, set()).add(claim.other)
            elif claim.relation == opposite:
                graph.setdefault(claim.other, set()).add(claim.organ)
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            chain = f" {relation} ".join(reversed(error.args[1]))
            found.append(f"claims that contradict each other: {chain}")
    return found


def _side_slips(descriptions: DescriptionSet) -> list[str]:
    """Texts with other sides than their claims; paired organs that are taken for their partner."""
    organs = [name for name in descriptions.classes if name != BACKGROUND]
    found = []
    for item in descriptions.descriptions:
        slips = exchanged_sides(item.organ, item.text, item.claims, organs)
        found += [f"left and right exchanged: {item.organ}, {item.aspect}: {it}" for it in slips]
        mirrored = mirror(item.organ)
        if mirrored is None or mirrored not in descriptions.classes:
            continue
        text = item.text.lower()
        if mirrored.lower() in text and item.organ.lower() not in text:
            found.append(
                f"{item.organ}, {item.aspect}: the text names the {mirrored} and not the "
                f"{item.organ}"
            )
        wrong = {"left": "right_of", "right": "left_of"}.get(side(item.organ) or "")
        for claim in item.claims:
            if claim.other == mirrored and claim.relation == wrong:
                found.append(f"left and right exchanged: {claim}")
    return found
