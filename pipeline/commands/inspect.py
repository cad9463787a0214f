"""`tak inspect`: check a data set before training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.datasets.inspection import Inspection

KEPT = "the data are unchanged; the same command starts again"  # after a signal


def inspect(
    root: Annotated[Path, typer.Argument(help="Folder of the data set as downloaded.")],
    descriptor: Annotated[
        str | None,
        typer.Option(help="A shipped data set name, or a TOML file. [default: ROOT/dataset.toml]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for inspection.json and contact-sheet.png."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Check every scan and mask of a data set before training.

    Lists shapes, spacings, orientations, intensities and organ volumes, and reports unreadable
    files, masks that do not fit, unknown labels, duplicate images, left and right exchanged,
    doubtful headers, implausible organ volumes, intensities unlike HU and missing organs. Ends
    with exit code 1 if there are faults.

    Example: `tak inspect phantoms -o inspected --jobs 2`
    """
    import json
    from functools import partial

    from rich.console import Console

    from pipeline.datasets.inspection import inspect as inspect_all
    from pipeline.datasets.opening import open_data
    from pipeline.pictures.contact_sheet import write_sheets
    from pipeline.terminal.progress import counted
    from segmentation.common.files import write_text
    from segmentation.data.preparation import check_output
    from segmentation.data.raw_cases import find_cases

    data = open_data(
        root,
        descriptor,
        require_split=False,
        trust_headers=True,
        draft=True,
        counted=partial(counted, stderr=True),
    )
    if data.drafted:
        typer.echo(data.drafted, err=True)
    spec, reader = data.spec, data.reader
    assert spec is not None
    assert reader is not None
    cases = find_cases(spec, root, reader.layout)
    if output is not None:
        check_output(output, [case.image for case in cases.values()])
    with counted("cases", len(cases), stderr=True) as tick:
        inspection = inspect_all(spec, root, reader=reader, jobs=jobs, progress=tick)
    text = json.dumps(inspection.as_json(), indent=2, ensure_ascii=False) + "\n"
    if as_json:
        typer.echo(text, nl=False)
    else:
        console = Console()
        for table in _tables(inspection):
            console.print(table)
        for finding in inspection.findings:
            console.print(f"{finding.severity}: {finding.text}", markup=False, highlight=False)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "inspection.json", text)
        tiles = [(one.case, one.tile) for one in inspection.looks if one.tile is not None]
        faulty = {case for finding in inspection.faults for case in finding.cases}
        sheets = write_sheets(tiles, faulty, spec, output)
        names = ", ".join(str(path) for path in (output / "inspection.json", *sheets))
        typer.echo(f"wrote {names}", err=True)
    if inspection.faults:
        raise typer.Exit(1)


def _tables(inspection: "Inspection") -> "list[Table]":
    """A table of scans, and a table of organs."""
    from statistics import median

    from rich.table import Table

    scans = Table(
        title=f"{inspection.root}: {len(inspection.looks)} cases of {inspection.spec.name}"
    )
    for column in ("case", "shape", "spacing, mm", "axes", "intensity 1 % .. 99 %", "organs"):
        scans.add_column(column)
    volumes: dict[str, list[float]] = {name: [] for name in inspection.spec.labels}
    for look in inspection.looks:
        if not look.facts:
            scans.add_row(look.case, "unreadable")
            continue
        facts, organs = look.facts, look.facts.get("organs")
        present = [name for name, organ in (organs or {}).items() if organ["voxels"]]
        for name in present:
            volumes[name].append(facts["organs"][name]["volume_ml"])
        scans.add_row(
            look.case,
            " x ".join(map(str, facts["shape"])),
            " x ".join(f"{side:.3g}" for side in facts["spacing_mm"]),
            facts["orientation"],
            "{percentile_1:.0f} .. {percentile_99:.0f}".format(**facts["intensity"]),
            _organs_shown(facts["label"], organs, len(present)),
        )
    table = Table(title="Organ volumes, ml")
    for name in ("organ", "cases", "least", "median", "most"):
        table.add_column(name, justify="left" if name == "organ" else "right")
    for name, measured in volumes.items():
        range_ = (f"{f(measured):.1f}" if measured else "-" for f in (min, median, max))
        table.add_row(name, str(len(measured)), *range_)
    return [scans, table]


def _organs_shown(label: str | None, organs: "dict[str, object] | None", present: int) -> str:
    """The number of organs in a mask, or why there is none."""
    if organs is not None:
        return f"{present} of {len(organs)}"
    return "no mask" if label is None else "faulty mask"
