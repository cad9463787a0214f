"""`tak check`: the claims of a description set, tested on labeled scans."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    descriptions: Annotated[Path, typer.Argument(help="Descriptions made by `tak describe`.")],
    scans: Annotated[Path, typer.Option(help="Prepared folder, raw data set, or folder of masks.")],
    descriptor: Annotated[
        str | None, typer.Option(help="Which label is which organ. [default: SCANS/dataset.toml]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split whose labeled cases are used.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="At most so many cases; 0: all.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write the outcome as JSON.")] = None,
    record: Annotated[
        bool, typer.Option(help="Note the share of supported claims in DESCRIPTIONS.")
    ] = True,
) -> None:
    """Test every claim of a description set on labeled scans.

    Says for each claim whether it is supported, contradicted or untestable, in how many cases,
    by how many mm; and what contradicts itself, names no organ of the list, or mixes up left and
    right. Ends with exit code 1 when something is wrong.

    Example: `tak check descriptions/phantom.json --scans phantoms`
    """
    from knowledge.descriptions import DescriptionSet
    from knowledge.grounding.claims import check as check_claims
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
        share = {"supported_share": outcome.supported_share}
        described.model_copy(update=share).write(descriptions)
    if outcome.problems or outcome.count("contradicted"):
        raise typer.Exit(1)
