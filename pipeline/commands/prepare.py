"""`tak prepare`: a data set on the grid and in the window that training takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.shared.options import Descriptor, Jobs

if TYPE_CHECKING:
    from segmentation.data.case_files import Prepared
    from segmentation.data.descriptor import DatasetSpec, Split
    from segmentation.data.readers import Reader


Root = Annotated[
    Path, typer.Argument(help="Folder of the data set as downloaded, or of shared arrays.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the prepared cases.")]
SplitChoice = Annotated[
    str | None,
    typer.Option(help="A split of the descriptor, or a folder of lists; default: the only."),
]
Spacing = Annotated[
    tuple[float, float, float] | None,
    typer.Option(metavar="X Y Z", help="Another grid than the descriptor's, in mm."),
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="amos, synapse, nnunet; npy-ga, npy-dhc or h5-magicnet for shared arrays. "
        "[default: found from the files, else the descriptor's]"
    ),
]
Orientation = Annotated[
    str | None,
    typer.Option(
        metavar="CODES",
        help="Axes of arrays or headers that state none, such as RAS or LPS. "
        "[default for shared arrays: found from the organs]",
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option(help="Shared arrays of the same cases: say how what was prepared differs."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Also redo what is finished.")]


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
    jobs: Jobs = 1,
    force: Force = False,
) -> None:
    """Bring a raw data set to one orientation, window and grid, ready for training.

    Reads AMOS22, Synapse/BTCV and nnU-Net's raw layout, and, as they are, arrays that other
    repositories share prepared: .npy pairs of GALoss/TAK and of DHC, .h5 of MagicNet. Masks of
    unlabeled cases are never opened. A second call does only what is missing or has changed.

    `--compare FOLDER` then says how the prepared cases differ from shared arrays of the same
    cases: axes, grid, intensities, labels.

    Example: `tak prepare AMOS22 -o prepared/amos --descriptor amos --split 5p --jobs 8`
    """
    from pipeline.datasets.descriptors import find_descriptor
    from pipeline.datasets.protocols import claim_of_data, spacing_warning
    from pipeline.terminal.progress import counted
    from segmentation.data.checks import empty_masks
    from segmentation.data.preparation import prepare as prepare_all

    if as_json and compare is None:
        raise ValueError("--json prints a comparison; say with what by --compare FOLDER")
    spec = find_descriptor(root, descriptor)
    parts = _split(spec, root, descriptor, split)
    spec, reader = _reader(spec, root, parts, layout, orientation, spacing)
    with counted("cases", len(parts.cases), stderr=as_json) as tick:
        prepared = prepare_all(
            spec, root, out, parts, reader=reader, jobs=jobs, force=force, progress=tick
        )
    counts = ", ".join(f"{len(cases)} {part}" for part, cases in prepared.split.parts().items())
    claim = claim_of_data(prepared)
    summary = f"{out}: {counts}; {len(spec.organs)} organs, protocol {claim.protocol}"
    typer.echo(summary, err=as_json)
    for departure in claim.departures:
        typer.echo(f"not as {spec.protocol} says: {departure}", err=as_json)
    if reader.note:
        typer.echo(reader.note, err=as_json)
    if doubt := spacing_warning(reader):
        typer.echo(f"warning: {doubt}", err=True)
    for case, fault in empty_masks(prepared).items():
        typer.echo(f"warning: case {case} ({_part(prepared, case)}): {fault}", err=True)
    if compare is not None:
        _compare(prepared, compare, jobs, as_json)


def _split(spec: "DatasetSpec", root: Path, descriptor: str | None, split: str | None) -> "Split":
    """The split that is asked for; the folder's own descriptor is pointed at if there is none."""
    from pipeline.datasets.descriptors import OWN
    from pipeline.files import shipped

    try:
        return spec.split(split, root)
    except LookupError as fault:
        own = root / OWN
        if descriptor is None or not own.is_file():
            raise
        if shipped.find("data", descriptor).resolve() == own.resolve():
            raise
        raise LookupError(
            f"{fault.args[0]}; {root} has a {OWN} of its own, which is taken without --descriptor"
        ) from None


def _part(prepared: "Prepared", case: str) -> str:
    """The part of the split that a case belongs to."""
    return next(part for part, cases in prepared.split.parts().items() if case in cases)


def _compare(prepared: "Prepared", folder: Path, jobs: int, as_json: bool) -> None:
    import json

    from rich.console import Console

    from pipeline.datasets.array_comparison import compare_folder, tables_of
    from pipeline.terminal.progress import counted

    with counted("comparing", len(prepared.cases), stderr=True) as tick:
        found = compare_folder(prepared, folder, jobs=jobs, progress=tick)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = Console()
    for table in tables_of(found):
        console.print(table)
    if found.only_here:
        typer.echo(f"not in {folder}: {', '.join(found.only_here)}")
    for sentence in found.verdict:
        typer.echo(sentence)


def _reader(
    spec: "DatasetSpec",
    root: Path,
    parts: "Split",
    layout: str | None,
    orientation: str | None,
    spacing: tuple[float, float, float] | None,
) -> "tuple[DatasetSpec, Reader]":
    """What reads the folder, and the descriptor for what it gives."""
    from pipeline.terminal.progress import counted
    from segmentation.data.readers import Files
    from segmentation.data.shared_arrays import FORMS, layouts_in, open_arrays
    from segmentation.imaging.affines import checked_orientation

    codes = None if orientation is None else checked_orientation(orientation)
    chosen = (layout,) if layout else layouts_in(root) or (spec.layout,)
    if chosen[0] not in FORMS:
        if spacing is not None:
            spec = spec.with_spacing(spacing)
        return spec, Files(chosen[0], codes)
    with counted("looking at masks", len(parts.with_labels), stderr=True) as tick:
        return open_arrays(
            spec,
            root,
            parts.with_labels,
            chosen,
            orientation=codes,
            spacing_mm=spacing,
            progress=tick,
        )
