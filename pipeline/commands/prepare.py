"""`tak prepare`: convert a data set to the grid and window used for training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.shared.options import Descriptor, Jobs

if TYPE_CHECKING:
    from segmentation.data.case_files import Prepared
    from segmentation.data.readers import Reader

KEPT = "finished cases are kept; the same command continues"  # after a signal
Root = Annotated[
    Path, typer.Argument(help="Folder of the data set as downloaded, or of shared arrays.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the prepared cases.")]
SplitChoice = Annotated[
    str | None,
    typer.Option(help="Split of the descriptor, or a folder of lists. [default: the only one]"),
]
Spacing = Annotated[
    tuple[float, float, float] | None,
    typer.Option(metavar="X Y Z", help="Grid spacing in mm, instead of the descriptor's."),
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="amos, synapse, nnunet, totalsegmentator, pairs; npy-ga, npy-dhc or h5-magicnet for "
        "shared arrays. "
        "[default: detected from the files, else the descriptor's]"
    ),
]
Orientation = Annotated[
    str | None,
    typer.Option(
        metavar="CODES",
        help="Axes of arrays or files without a stated orientation, such as RAS or LPS. "
        "[default for shared arrays: estimated from the organs]",
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option(help="Shared arrays of the same cases to compare with."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")]
TrustHeaders = Annotated[
    bool,
    typer.Option(
        "--trust-headers",
        help="Read files with a doubtful header (voxel size, orientation) unchanged.",
    ),
]
Compress = Annotated[
    bool, typer.Option("--compress", help="Compress the images: less disk, slower batches.")
]
Force = Annotated[bool, typer.Option("--force", help="Redo finished cases.")]


def prepare(
    root: Root,
    out: Out,
    descriptor: Descriptor = None,
    split: SplitChoice = None,
    spacing: Spacing = None,
    layout: Layout = None,
    orientation: Orientation = None,
    compare: Compare = None,
    as_json: AsJson = False,
    trust_headers: TrustHeaders = False,
    compress: Compress = False,
    jobs: Jobs = 1,
    force: Force = False,
) -> None:
    """Convert a raw data set to one orientation, window and grid for training.

    Reads AMOS22, Synapse/BTCV and nnU-Net's raw layout (NIfTI, NRRD, MetaImage, or a folder of
    DICOM slices per case), and, unchanged, prepared arrays of other repositories: .npy pairs of
    GALoss/TAK and of DHC, .h5 of MagicNet. Masks of unlabeled cases are not read. A second call
    prepares only missing or changed cases. Issues that `tak inspect` lists are printed as
    warnings.

    `--compare FOLDER` also prints how the prepared cases differ from shared arrays of the same
    cases: axes, grid, intensities, labels.

    Example: `tak prepare AMOS22 -o prepared/amos --descriptor amos --split 5p --jobs 8`
    """
    from functools import partial

    from pipeline.datasets.opening import open_data
    from pipeline.datasets.protocols import claim_of_data
    from pipeline.terminal.progress import counted
    from segmentation.data.preparation import prepare as prepare_all

    if as_json and compare is None:
        raise ValueError("--json prints a comparison: give --compare FOLDER")
    data = open_data(
        root,
        descriptor,
        split,
        layout,
        orientation,
        spacing,
        trust_headers=trust_headers,
        draft=True,
        counted=partial(counted, stderr=True),
    )
    if data.drafted:
        typer.echo(data.drafted, err=True)
    spec, parts, reader = data.spec, data.split, data.reader
    assert spec is not None
    assert parts is not None
    with counted("cases", len(parts.cases), stderr=as_json) as tick:
        prepared = prepare_all(
            spec,
            root,
            out,
            parts,
            reader=reader,
            jobs=jobs,
            force=force,
            compress=compress,
            progress=tick,
        )
    counts = ", ".join(f"{len(cases)} {part}" for part, cases in prepared.split.parts().items())
    claim = claim_of_data(prepared)
    summary = f"{out}: {counts}; {len(spec.organs)} organs, protocol {claim.protocol}"
    typer.echo(summary, err=as_json)
    for departure in claim.departures:
        typer.echo(f"deviation from {spec.protocol}: {departure}", err=as_json)
    if reader is not None:
        if reader.note:
            typer.echo(reader.note, err=as_json)
        _warn(prepared, reader)
    if compare is not None:
        _compare(prepared, compare, jobs, as_json)


def _warn(prepared: "Prepared", reader: "Reader") -> None:
    """Print the issues that `tak inspect` also lists."""
    from pipeline.datasets.protocols import volume_warnings
    from segmentation.data.checks import empty_masks

    for warning in volume_warnings(prepared, reader):
        typer.echo(f"warning: {warning}", err=True)
    for record in prepared.cases.values():
        for warning in record.get("warnings", ()):
            typer.echo(f"warning: {warning}", err=True)
    for case, fault in empty_masks(prepared).items():
        typer.echo(f"warning: case {case} ({_part(prepared, case)}): {fault}", err=True)


def _part(prepared: "Prepared", case: str) -> str:
    """The part of the split that a case belongs to."""
    return next(part for part, cases in prepared.split.parts().items() if case in cases)


def _compare(prepared: "Prepared", folder: Path, jobs: int, as_json: bool) -> None:
    import json

    from rich.console import Console

    from pipeline.datasets.array_comparison import compare_folder
    from pipeline.datasets.tables import tables_of
    from pipeline.terminal.progress import counted

    with counted("comparing", len(prepared.cases), stderr=True) as tick:
        comparison = compare_folder(prepared, folder, jobs=jobs, progress=tick)
    if as_json:
        typer.echo(json.dumps(comparison.as_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = Console()
    for table in tables_of(comparison):
        console.print(table)
    if comparison.only_here:
        typer.echo(f"not in {folder}: {', '.join(comparison.only_here)}")
    for sentence in comparison.verdict:
        typer.echo(sentence)
