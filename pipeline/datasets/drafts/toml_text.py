"""The TOML file of a drafted descriptor, with a comment that explains every choice."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.datasets.drafts.fingerprint import Fingerprint
from pipeline.datasets.drafts.grid_planning import MEASURED_GIB, MEASURED_SIDE, SMALL_BELOW_ML, Plan
from pipeline.datasets.drafts.organs import DraftOrgan


def toml_of(
    root: Path,
    layout: str,
    origin: str,
    organs: Sequence[DraftOrgan],
    window_hu: tuple[int, int],
    fingerprint: Fingerprint,
    suggested: Plan,
    memory_gib: float,
    *,
    left_out: int,
) -> str:
    """The descriptor as TOML.

    Args:
        origin: where the names of the organs are from.
        left_out: organs of the data that were not chosen.
    """
    name = data_set_name(root)
    cases = f"{len(fingerprint.cases)} of {fingerprint.of_cases} cases with a mask"
    low, high = fingerprint.percentiles_hu
    stored = ", ".join(f"{codes} ({n})" for codes, n in fingerprint.orientations.items())
    lines = [
        f"# Drafted by `tak init` from {cases}. Every value may be edited.",
        f"name = {_text(name)}",
        f"title = {_text(f'{root.resolve().name}, {len(organs)} organs')}",
        'modality = "CT"',
        f"layout = {_text(layout)}",
        f"# Scans are stored as {stored}; all are brought to RAS+.",
        'orientation = "RAS"',
        f"# 0.5 and 99.5 percentile of the labeled intensities: {low:.0f} and {high:.0f} HU.",
        f"window_hu = [{window_hu[0]}, {window_hu[1]}]",
        "# A name for organs, window and grid together; results carry it.",
        f"protocol = {_text(name)}",
        "# Lists of cases in the folder splits of the data, or given by --split; `tak split` draws",
        "# them.",
        'splits = "data"',
    ]
    if left_out:
        lines += [
            f"# {left_out} organs of the data were not chosen; their labels become background.",
            'other_labels = "background"',
        ]
    lines += ["", "[grid]", *_grid(fingerprint, suggested, memory_gib), ""]
    lines += [
        f"# Organs are named by {_one_line(origin)}. Organs of {SMALL_BELOW_ML:g} ml and more "
        "count as large.",
    ]
    plain = [organ.sources for organ in organs] == [(i,) for i in range(1, len(organs) + 1)]
    for organ in organs:
        lines += _organ(organ, len(fingerprint.cases), plain)
    return "\n".join(lines) + "\n"


def data_set_name(root: Path) -> str:
    """A name of small letters, digits, `-` and `_` from the folder's."""
    name = re.sub(r"[^a-z0-9_-]+", "-", root.resolve().name.lower()).strip("-_")
    return name or "own-data"


def _grid(fingerprint: Fingerprint, suggested: Plan, memory_gib: float) -> list[str]:
    median = " x ".join(f"{side:.3g}" for side in fingerprint.spacing_mm)
    shape = " x ".join(map(str, suggested.shape))
    patch = list(suggested.patch)
    reason = "the median spacing"
    if suggested.coarser:
        reason = (
            f"coarser than the median spacing of {median} mm, so that a patch sees more of a scan; "
            f"the thinnest organ is {fingerprint.thinnest_mm:.0f} mm across"
        )
    comment = (
        f"A typical scan of {' x '.join(f'{side:.0f}' for side in fingerprint.extent_mm)} mm has "
        f"{shape} voxels on this grid: {reason}. For {memory_gib:g} GiB a patch of {patch} "
        f"({100 * suggested.share:.0f} % of such a scan) and cubes of {suggested.cube}: scaled "
        f"from {MEASURED_GIB:g} GiB at {MEASURED_SIDE} voxels a side, measured for one step of the "
        "recipe tak with 16 classes in fp16; fp32 takes more; try it before a long run:"
    )
    sets = f"training.patch={patch} method.cube={suggested.cube} network.levels={suggested.levels}"
    command = re.sub(r"(\w+\.\w+=(?:\[[^]]*\]|\S+))", r"--set '\1'", sets)
    spacing = ", ".join(f"{side:g}" for side in suggested.spacing_mm)
    return [*_wrapped(comment), f"#   tak train ... {command}", f"spacing_mm = [{spacing}]"]


def _organ(organ: DraftOrgan, cases: int, plain: bool) -> list[str]:
    sources = list(organ.sources)
    label = json.dumps(sources[0] if len(sources) == 1 and not _is_name(sources) else sources)
    note = (
        "" if plain and organ.names == (organ.name,) else f"  # {_one_line(', '.join(organ.names))}"
    )
    lines = ["", "[[organs]]", f"name = {_text(organ.name)}", f"label = {label}{note}"]
    if organ.known and organ.known.aliases:
        lines.append(f"aliases = {json.dumps(list(organ.known.aliases), ensure_ascii=False)}")
    if organ.side:
        lines.append(f"side = {_text(organ.side)}  # {_one_line(organ.side_note)}")
    volume = f"{organ.volume_ml:.0f}" if organ.volume_ml >= 100 else f"{organ.volume_ml:.2g}"
    measured = f"median {volume} ml in {organ.present} of {cases} cases"
    lines.append(f"size = {_text(organ.size)}  # {measured}")
    if organ.known and organ.known.snomed:
        lines.append(f"snomed = {_text(organ.known.snomed)}")
    return lines


def _is_name(sources: list[int | str]) -> bool:
    return any(isinstance(source, str) for source in sources)


def _wrapped(text: str) -> list[str]:
    import textwrap

    return [f"# {line}" for line in textwrap.wrap(text, 96)]


def _text(value: str) -> str:
    """A TOML string; JSON's escapes are TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    """Without line breaks and control characters, for a comment."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)
