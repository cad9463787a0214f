"""Content of a report, read and computed: scores, cases, shapes, texts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from knowledge.bank.bank import Bank
from knowledge.bank.origin import caveats, marks
from knowledge.descriptions import DescriptionSet
from knowledge.grounding.claims import CheckReport
from knowledge.grounding.claims import check as check_claims
from pipeline.datasets.labeled_scans import find_labeled
from pipeline.datasets.protocols import rules_for
from pipeline.report.cases import ShownCase, ranked, show_cases
from pipeline.report.organ_shapes import OrganShape, organ_shapes
from pipeline.report.runs.arms import Arm, read_arms
from pipeline.report.runs.run_data import RunData
from pipeline.report.surfaces.case_surfaces import CaseSurfaces, case_surfaces
from pipeline.report.texts import OrganText, organ_texts, read_outcome, verdict_mismatch
from pipeline.results.result_files import evaluation_name, write_results
from pipeline.runs.open_model import open_model
from pipeline.scoring.comparison import PairedDifference, differences
from pipeline.scoring.evaluation import evaluate
from pipeline.scoring.published import Published, published_beside
from segmentation.data.case_files import Prepared, load_prepared

Counted = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]
SHAPE_CASES = 12  # scans for measuring shapes; more hardly change the means


@dataclass(frozen=True)
class ReportRequest:
    """Options of `tak report`.

    Attributes:
        runs: run folders, or folders of seeds; the first one is reported.
        rules: name of metric rules, or `published`, those of the protocol of the data set.
        data: the prepared data set; without it no scan is shown.
        bank: of the first run, if the run has no copy.
        descriptions: the source of the bank, for its claims.
        check: verdicts on the claims, from `tak check --report`.
        labels: names of the runs, one per run; without them, their choices are their names.
        surfaces: whether to make surfaces of the shown cases.
    """

    runs: tuple[Path, ...]
    part: str
    rules: str
    data: Path | None
    bank: Path | None
    descriptions: Path | None
    check: Path | None
    device: torch.device
    labels: tuple[str, ...] = ()
    surfaces: bool = True


@dataclass(frozen=True)
class Material:
    """Content of a report; empty where there is nothing to show.

    Attributes:
        gains: of the first arm over the second: organ or group -> paired difference of Dice.
        surfaces: of `cases`, in their order; None if they are left out.
        shape_cases: number of scans of which `shapes` was measured; 0 without data.
        outcome: the verdicts on the claims.
        caveats: what sets the texts apart from the answers and verdicts of their origin.
        doubt: why the verdicts may be of other texts than those shown; empty if they match.
    """

    arms: tuple[Arm, ...]
    part: str
    rules: str
    gains: dict[str, PairedDifference]
    cases: tuple[ShownCase, ...]
    surfaces: tuple[CaseSurfaces, ...] | None
    shapes: dict[str, OrganShape]
    shape_cases: int
    bank: Bank | None
    texts: tuple[OrganText, ...]
    outcome: CheckReport | None
    caveats: tuple[str, ...]
    doubt: str
    published: Published

    @property
    def first(self) -> RunData:
        """The run that the report shows in detail."""
        return self.arms[0].first


def collect(request: ReportRequest, counted: Counted) -> Material:
    """Read and compute everything, with progress bars for slow parts.

    Raises:
        FileNotFoundError, LookupError, ValueError: an unusable input, or runs and data that do not
            match.
    """
    arms = read_arms(request.runs, request.part, request.rules, request.labels)
    prepared = None if request.data is None else load_prepared(request.data)
    if prepared is not None:
        _check_fit(arms[0].first, prepared)
        arms = tuple(_scored(arm, prepared, request, counted) for arm in arms)
    first = arms[0].first
    bank = _bank_of(first, request.bank)
    described = None if request.descriptions is None else DescriptionSet.read(request.descriptions)
    outcome = _outcome(request, described, prepared, counted)
    texts: list[OrganText] = []
    if bank is not None:
        aspects = first.config.text.aspects
        texts = organ_texts(bank, first.spec.classes, aspects, described, outcome)
    shown = () if prepared is None else _cases(first, prepared, request, counted)
    shapes, count = _shapes(prepared, request.part, counted) if prepared else ({}, 0)
    return Material(
        arms=arms,
        part=request.part,
        rules=rules_for(request.rules, first.spec),
        gains=gains_of(arms),
        cases=shown,
        surfaces=_surfaces(first, shown, counted) if request.surfaces else None,
        shapes=shapes,
        shape_cases=count,
        bank=bank,
        texts=tuple(texts),
        outcome=outcome,
        caveats=_caveats(bank, described),
        doubt="" if outcome is None else verdict_mismatch(outcome, bank),
        published=published_beside(first.evaluation),
    )


def gains_of(arms: Sequence[Arm]) -> dict[str, PairedDifference]:
    """Paired differences of Dice, first arm minus second; empty unless both were scored."""
    if len(arms) < 2:
        return {}
    after, before = arms[0].scored, arms[1].scored
    if after is None or before is None:
        return {}
    return {row.row: row for row in differences(before, after)}


def _check_fit(run: RunData, prepared: Prepared) -> None:
    if run.spec.digest != prepared.spec.digest:
        raise ValueError(
            f"--data {prepared.root} is not what {run.path} was trained on: organs, window, grid "
            f"or protocol differ ({prepared.spec.protocol} and {run.spec.protocol})"
        )


def _scored(arm: Arm, prepared: Prepared, request: ReportRequest, counted: Counted) -> Arm:
    """The arm with every run scored; missing scores are written to the folder of the run."""
    runs = []
    for run in arm.runs:
        if run.evaluation is None:
            model = open_model(run.path, checkpoint=run.checkpoint, device=request.device)
            rules = rules_for(request.rules, run.spec)
            cases = getattr(prepared.split, request.part)
            with counted(f"scoring {run.name}", len(cases)) as tick:
                evaluation = evaluate(model, prepared, request.part, tick, rules=rules)
            write_results(evaluation, run.path / evaluation_name(request.part, rules))
            run = replace(run, evaluation=evaluation)
        runs.append(run)
    return replace(arm, runs=tuple(runs))


def _cases(
    run: RunData, prepared: Prepared, request: ReportRequest, counted: Counted
) -> tuple[ShownCase, ...]:
    assert run.evaluation is not None
    chosen = ranked(run.evaluation)
    model = open_model(
        run.path,
        checkpoint=Path(run.evaluation.checkpoint).stem,
        predictor=run.evaluation.predictor,
        device=request.device,
    )
    if model.step != run.evaluation.step:
        raise ValueError(
            f"{run.path} was scored at step {run.evaluation.step}, but {model.checkpoint.name} is "
            f"of step {model.step}; run `tak evaluate` again, or report without --data"
        )
    with counted("segmenting cases to show", len(chosen)) as tick:
        return tuple(show_cases(model, prepared, run.evaluation, chosen, tick))


def _surfaces(
    run: RunData, cases: Sequence[ShownCase], counted: Counted
) -> tuple[CaseSurfaces, ...]:
    if not cases:
        return ()
    surfaces = []
    with counted("meshing organs", len(cases)) as tick:
        for case in cases:
            surfaces.append(case_surfaces(case, run.spec.classes))
            tick(case.name)
    return tuple(surfaces)


def _shapes(prepared: Prepared, part: str, counted: Counted) -> tuple[dict[str, OrganShape], int]:
    """Shapes in the scans of the part and the labeled ones; unlabeled ones are not read."""
    cases = [*getattr(prepared.split, part), *prepared.split.labeled][:SHAPE_CASES]
    with counted("measuring shapes", len(cases)) as tick:
        return organ_shapes(prepared, cases, tick), len(cases)


def _bank_of(run: RunData, given: Path | None) -> Bank | None:
    """The bank that the run was trained with: the given one, or the copy of the run.

    Raises:
        ValueError: another bank than the run's, or one for a run without text.
    """
    if given is None:
        return run.bank if run.bank_digest is not None else None
    if run.bank_digest is None:
        raise ValueError(f"--bank {given}: {run.path} was trained without text")
    bank = Bank.read(given)
    if bank.digest != run.bank_digest:
        raise ValueError(
            f"--bank {given}: digest {bank.digest[:12]}, but {run.path} was trained with "
            f"{run.bank_digest[:12]}"
        )
    return bank


def _caveats(bank: Bank | None, described: DescriptionSet | None) -> tuple[str, ...]:
    """Caveats in the bank, and those of its descriptions where they are given.

    A bank of an earlier version has none.
    """
    if bank is None:
        return ()
    return caveats(bank.origin | (marks(described) if described is not None else {}))


def _outcome(
    request: ReportRequest,
    described: DescriptionSet | None,
    prepared: Prepared | None,
    counted: Counted,
) -> CheckReport | None:
    """Verdicts from `tak check`, or computed on the labeled training scans."""
    if request.check is not None:
        outcome = read_outcome(request.check)
        tested = {result.claim for result in outcome.results}
        if described is not None and tested != set(described.claims):
            raise ValueError(
                f"--check {request.check} holds verdicts on other claims than "
                f"{request.descriptions}; run `tak check` on these again"
            )
        return outcome
    if described is None or prepared is None:
        return None
    labeled = find_labeled(prepared.root)
    with counted("testing claims", len(labeled.cases)) as tick:
        return check_claims(described, labeled.scenes(), progress=tick)
