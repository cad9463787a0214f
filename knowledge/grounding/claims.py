"""Verdicts on the claims of a description set: on labeled scans, and against each other."""

import graphlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from knowledge.common.files import write_whole
from knowledge.common.models import Strict
from knowledge.descriptions import BACKGROUND, Claim, DescriptionSet, Relation
from knowledge.grounding.scene import ClaimVerdict, Scene, Verdict
from knowledge.grounding.sides import exchanged_sides, mirror, side

# A claim holds of an anatomy when it holds in this share of the scans that can test it.
HOLDS = 0.75
# Each relation's name seen from the other organ.
_AXES = {
    "right_of": "left_of",
    "anterior_to": "posterior_to",
    "superior_to": "inferior_to",
    "surrounds": "inside",
}
# Relations with two wordings whose tests give the same verdict.
_INVERSES: dict[str, Relation] = {
    "left_of": "right_of",
    "right_of": "left_of",
    "anterior_to": "posterior_to",
    "posterior_to": "anterior_to",
    "superior_to": "inferior_to",
    "inferior_to": "superior_to",
    "adjacent_to": "adjacent_to",
}


class Result(Strict):
    """The verdict on one claim over all scans; `measured` is the mean over the scans."""

    claim: Claim
    verdict: Verdict
    supported: int
    contradicted: int
    untestable: int
    measured: float | None
    unit: str

    @property
    def share(self) -> float | None:
        """Share of the scans that support the claim among those that can test it."""
        tested = self.supported + self.contradicted
        return self.supported / tested if tested else None

    def evidence(self) -> str:
        """The outcome in words, as evidence for a model."""
        tested = self.supported + self.contradicted
        mean = "" if self.measured is None else f", mean {self.measured:.0f} {self.unit}"
        return f'"{self.claim}" holds in {self.supported} of {tested} labeled scans{mean}'


class CheckReport(Strict):
    """The verdicts on all claims of a description set, and its internal contradictions.

    Attributes:
        descriptions: digest of the set; None in files of versions that did not note it.
        verified_on: those of `cases` whose labels already corrected the answers.
        edited: organs and aspects that were changed by hand after they were answered.
    """

    cases: tuple[str, ...]
    results: tuple[Result, ...]
    problems: tuple[str, ...]
    descriptions: str | None = None
    verified_on: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()

    @property
    def supported_share(self) -> float | None:
        """Supported claims among those that are supported or contradicted; None without any.

        A claim that is made of both organs (A left of B, B right of A) counts once.
        """
        verdicts = {one_sided(result.claim): result.verdict for result in self.results}
        decided = [verdict for verdict in verdicts.values() if verdict != "untestable"]
        return decided.count("supported") / len(decided) if decided else None

    @property
    def independent(self) -> bool:
        """Whether no case that corrected the answers is among those that tested them."""
        return not self.verified_on

    def count(self, verdict: str) -> int:
        """The number of claims with a verdict."""
        return sum(result.verdict == verdict for result in self.results)

    def write(self, path: Path) -> None:
        """Write as JSON, atomically, with the supported share and whether it is independent."""
        content = self.model_dump(mode="json") | {
            "supported_share": self.supported_share,
            "independent": self.independent,
        }
        write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def check(
    descriptions: DescriptionSet,
    scenes: Iterable[tuple[str, Scene]],
    *,
    progress: Callable[[str], None] = lambda case: None,
) -> CheckReport:
    """Every claim of a set on labeled scans (case name, scene), and the set against itself."""
    claims = descriptions.claims
    verdicts: dict[Claim, list[ClaimVerdict]] = {claim: [] for claim in claims}
    cases = []
    for case, scene in scenes:
        cases.append(case)
        for claim in claims:
            verdicts[claim].append(scene.test(claim))
        progress(case)
    return CheckReport(
        cases=tuple(cases),
        results=tuple(summarize(claim, verdicts[claim]) for claim in claims),
        problems=tuple(problems(descriptions)),
        descriptions=descriptions.digest,
        verified_on=tuple(case for case in cases if case in descriptions.verified_on),
        edited=descriptions.edited,
    )


def one_sided(claim: Claim) -> Claim:
    """The canonical form of a claim and its inverse.

    Directions start from the alphabetically first organ, adjacency is symmetric. Surrounding and
    containing are different facts and stay unchanged.
    """
    inverse = _INVERSES.get(claim.relation)
    if inverse is None or claim.organ <= claim.other:
        return claim
    return Claim(organ=claim.other, relation=inverse, other=claim.organ)


def record_share(descriptions: DescriptionSet, report: CheckReport) -> DescriptionSet:
    """The set with the supported share of a report, and on which texts it was measured."""
    share = {
        "supported_share": report.supported_share,
        "supported_share_of": report.descriptions or "",
        "supported_share_independent": report.independent,
    }
    return descriptions.model_copy(update=share)


def summarize(claim: Claim, verdicts: list[ClaimVerdict]) -> Result:
    """One claim's verdicts over scans as one verdict.

    Supported or contradicted when at least `HOLDS` of the scans that can test it agree; a claim on
    which scans differ, or which none can test, is untestable.
    """
    counts = {
        verdict: sum(each.verdict == verdict for each in verdicts)
        for verdict in ("supported", "contradicted", "untestable")
    }
    tested = counts["supported"] + counts["contradicted"]
    verdict: Verdict = "untestable"
    if tested and counts["supported"] >= HOLDS * tested:
        verdict = "supported"
    elif tested and counts["contradicted"] >= HOLDS * tested:
        verdict = "contradicted"
    measured = [each.measured for each in verdicts if each.measured is not None]
    return Result(
        claim=claim,
        verdict=verdict,
        measured=sum(measured) / len(measured) if measured else None,
        unit=next((each.unit for each in verdicts if each.unit), ""),
        **counts,
    )


def contradictions(claims: tuple[Claim, ...], scenes: Sequence[Scene]) -> dict[Claim, str]:
    """The claims that labeled scans contradict, with the evidence in words."""
    results = (summarize(claim, [scene.test(claim) for scene in scenes]) for claim in claims)
    return {
        result.claim: result.evidence() for result in results if result.verdict == "contradicted"
    }


def problems(descriptions: DescriptionSet) -> list[str]:
    """Contradictions within a set, found without any scan."""
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
    cycles = []
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
            cycles.append(f"claims that contradict each other: {chain}")
    return cycles


def _side_slips(descriptions: DescriptionSet) -> list[str]:
    """Texts with other sides than their claims; paired organs that are taken for their partner."""
    organs = [name for name in descriptions.classes if name != BACKGROUND]
    issues = []
    for item in descriptions.descriptions:
        slips = exchanged_sides(item.organ, item.text, item.claims, organs)
        issues += [f"left and right exchanged: {item.organ}, {item.aspect}: {it}" for it in slips]
        mirrored = mirror(item.organ)
        if mirrored is None or mirrored not in descriptions.classes:
            continue
        text = item.text.lower()
        if mirrored.lower() in text and item.organ.lower() not in text:
            issues.append(
                f"{item.organ}, {item.aspect}: the text names the {mirrored} and not the "
                f"{item.organ}"
            )
        wrong = {"left": "right_of", "right": "left_of"}.get(side(item.organ) or "")
        for claim in item.claims:
            if claim.other == mirrored and claim.relation == wrong:
                issues.append(f"left and right exchanged: {claim}")
    return issues
