"""`tak report`: a run in one HTML file, compared with baselines."""

from pathlib import Path
from typing import Annotated

import typer

from knowledge.common.suggest import unknown

KEPT = "a page is complete or absent; the same command starts again"  # after a signal


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of runs: the reported one, then its baselines (also scored masks)."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A folder, or a file ending in .html. [default: RUN]"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder that `tak prepare` wrote; shows cases, shapes, uncertainty."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Name of a run in tables and legends; once per RUN, in their order."),
    ] = None,
    part: Annotated[str, typer.Option(help="validation or test.")] = "test",
    rules: Annotated[
        str, typer.Option(help="Metric rules of the scores, as in `tak evaluate`.")
    ] = "scan",
    bank: Annotated[
        Path | None, typer.Option(help="Bank of the first RUN, if it has no copy.")
    ] = None,
    descriptions: Annotated[
        Path | None,
        typer.Option(help="Descriptions that the bank was made from; shows their claims."),
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Verdicts on the claims: `tak check --report FILE`.")
    ] = None,
    surfaces: Annotated[
        bool, typer.Option(help="Surfaces of the shown cases that turn (WebGL), with --data.")
    ] = True,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for every figure as SVG and PDF, for a paper.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; auto selects the best.")
    ] = "auto",
) -> None:
    """Report a run in one HTML file that opens from disk, with figures as PNG files.

    Scores against baselines and published numbers, the best, median and worst case in a slice
    viewer and as surfaces that turn, uncertainty, size and shape of the organs, learning curves,
    the descriptions of the head with their claims, cosines of the text vectors. Runs that differ
    only in their seed are averaged. Scores are read from the files of `tak evaluate`; with --data,
    missing ones are computed. A section that cannot be shown gives the reason.

    Example: `tak report runs/tak runs/magicnet --label TAK --label MagicNet --data prepared`
    """
    from collections import Counter

    from pipeline.files.kinds import require_kind
    from pipeline.files.outputs import require_writable_folder
    from pipeline.report.content import ReportRequest, collect
    from pipeline.report.write import as_json as summary
    from pipeline.report.write import write_report
    from pipeline.runs.devices import select_device
    from pipeline.terminal.progress import counted

    parts = ("validation", "test")
    if part not in parts:
        raise LookupError(unknown("part", part, parts))
    for run in runs:
        require_kind(run, "run")
    for path, kind in ((data, "prepared"), (bank, "bank"), (descriptions, "descriptions")):
        if path is not None:
            require_kind(path, kind)
    folder = require_writable_folder(output or runs[0], "run")

    asked = ReportRequest(
        tuple(runs), part, rules, data, bank, descriptions, check, select_device(device),
        labels=tuple(label or ()), surfaces=surfaces,
    )  # fmt: skip
    material = collect(asked, lambda words, total: counted(words, total, stderr=True))
    written = write_report(material, folder, figures)
    if as_json:
        typer.echo(summary(material, written))
    else:
        counts = Counter(path.parent for path in written[1:])
        folders = [f"{count} figures in {folder}" for folder, count in counts.items()]
        figures_shown = " and ".join(["", *folders]) or ", without figures"
        typer.echo(f"wrote {written[0]}{figures_shown}")
