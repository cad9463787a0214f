"""`tak check`: the claims of a description set, tested on labeled scans."""

from pathlib import Path
from typing import Annotated

import typer

KEPT = "verdicts are complete or absent; the same command starts again"  # after a signal


def check(
    descriptions: Annotated[Path, typer.Argument(help="Descriptions made by `tak describe`.")],
    scans: Annotated[Path, typer.Option(help="Prepared folder, raw data set, or folder of masks.")],
    descriptor: Annotated[
        str | None, typer.Option(help="Data set descriptor. [default: SCANS/dataset.toml]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split that names the labeled cases.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="Maximal number of cases (0: all).")] = 0,
    report: Annotated[Path | None, typer.Option(help="File for the verdicts (JSON).")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Record the supported share in DESCRIPTIONS.")
    ] = False,
) -> None:
    """Test every claim of a description set on labeled scans.

    Prints for each claim whether it is supported, contradicted or untestable, in how many cases
    and by how many mm; then claims that contradict each other, unknown organs, and exchanged left
    and right. Exit code 1 if anything is contradicted. DESCRIPTIONS changes only with --record.

    Example: `tak check descriptions/phantom.json --scans phantoms`
    """
    from knowledge.descriptions import DescriptionSet
    from knowledge.grounding.claims import check as check_claims
    from knowledge.grounding.claims import record_share
    from pipeline.datasets.labeled_scans import find_labeled
    from pipeline.files.kinds import require_kind
    from pipeline.terminal.progress import counted
    from pipeline.texts.tables import show_report

    described = DescriptionSet.read(require_kind(descriptions, "descriptions"))
    labeled = find_labeled(scans, descriptor=descriptor, split=split, limit=cases)
    with counted("cases", len(labeled.cases)) as tick:
        outcome = check_claims(described, labeled.scenes(), progress=tick)
    show_report(outcome)
    if report is not None:
        outcome.write(report)
    if record:
        record_share(described, outcome).write(descriptions)
    if outcome.problems or outcome.count("contradicted"):
        raise typer.Exit(1)
