"""Drafts of descriptors from folders of scans and masks, as `tak init` writes them.

Names of organs are read, everything else is measured; every choice has a comment that says from
what it was made.
"""

import tomllib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.drafts.fingerprint import (
    MOST_CASES,
    Fingerprint,
    chosen_cases,
    find_sources,
    measure,
)
from pipeline.datasets.drafts.grid_planning import Plan, plan, window_hu
from pipeline.datasets.drafts.organs import measured_organs, pick_organs
from pipeline.datasets.drafts.toml_text import toml_of
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.label_values import LabelValues
from segmentation.data.layouts import LAYOUTS, checked_layout, detect_layout
from segmentation.data.raw_cases import cases_in

MEMORY_GIB = 10.0
_IGNORED = ("background", "ignore")  # nnU-Net's label for voxels that count nowhere
Counted = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True)
class Draft:
    """A drafted descriptor.

    Attributes:
        text: the TOML file with comments.
        warnings: what should be looked at before it is used.
    """

    text: str
    spec: DatasetSpec
    fingerprint: Fingerprint
    plan: Plan
    warnings: tuple[str, ...]

    @property
    def summary(self) -> str:
        """Organs, window and grid in one line."""
        low, high = self.spec.window_hu
        cases, of = len(self.fingerprint.cases), self.fingerprint.of_cases
        return (
            f"{len(self.spec.organs)} organs, layout {self.spec.layout}, window {low:g} to "
            f"{high:g} HU, grid {self.spec.grid}, measured in {cases} of {of} cases with a mask"
        )


def draft_descriptor(
    root: Path,
    *,
    layout: str | None = None,
    labels: str | None = None,
    organs: Sequence[str] = (),
    memory_gib: float = MEMORY_GIB,
    most_cases: int = MOST_CASES,
    jobs: int = 1,
    counted: Counted | None = None,
) -> Draft:
    """Measure a folder of scans and masks and draft its descriptor.

    Args:
        layout: None to detect it.
        labels: what names the labels; None for the folder's `dataset.json`, the masks' headers or
            the names of mask files.
        organs: names to choose, and merges as `kidney=kidney_left+kidney_right`; none for all.
        most_cases: how many cases are measured; 0 for all.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder, or no scan or mask in it.
        LookupError: an organ that the data do not name.
        ValueError: an unknown layout, or a file that cannot be read.
    """
    layout = _layout(root, layout)
    cases = cases_in(root, layout)
    masked = [case for case in cases.values() if case.label is not None]
    chosen = chosen_cases(cases, most_cases)
    if not chosen:
        raise FileNotFoundError(
            f"{root}: no mask in the layout {layout} ({LAYOUTS[layout].expected}); a descriptor is "
            "drafted from scans with masks"
        )
    sources, origin = find_sources(root, chosen, labels, masked)
    sources = {n: v for n, v in sources.items() if n.casefold() not in _IGNORED}
    picked = pick_organs(sources, organs)
    left_out = len(sources) - len({name for organ in picked for name in organ.names})
    values = LabelValues(
        {value: index for index, organ in enumerate(picked, start=1) for value in organ.sources},
        others="background" if organs else "refuse",
    )
    with _progress(counted, len(chosen)) as tick:
        fingerprint = measure(chosen, len(masked), values, jobs=jobs, progress=tick)
    picked, warnings = measured_organs(picked, fingerprint)
    suggested = plan(fingerprint, memory_gib)
    text = toml_of(
        root,
        layout,
        origin,
        picked,
        window_hu(fingerprint),
        fingerprint,
        suggested,
        memory_gib,
        left_out=left_out if organs else 0,
    )
    spec = DatasetSpec.check(tomllib.loads(text), root / "dataset.toml")
    return Draft(text, spec, fingerprint, suggested, tuple(warnings))


def _layout(root: Path, layout: str | None) -> str:
    if not root.is_dir():
        reason = "is a file" if root.exists() else "there is no such folder"
        raise NotADirectoryError(f"{root}: {reason}; expected a folder of scans and masks")
    name = checked_layout(layout) if layout else detect_layout(root)
    if name is None:
        forms = "; ".join(f"{n}: {each.expected}" for n, each in LAYOUTS.items() if not each.arrays)
        raise FileNotFoundError(f"{root}: scans and masks in no known layout ({forms})")
    if LAYOUTS[name].arrays:
        raise ValueError(f"--layout {name}: shared arrays have the descriptor of their protocol")
    return name


def _progress(counted: Counted | None, total: int) -> AbstractContextManager[Callable[[str], None]]:
    from contextlib import nullcontext

    return counted("measuring", total) if counted else nullcontext(lambda case: None)
