"""A synthetic population of abdominal scans as NIfTI files in nnU-Net's raw layout.

```
imagesTr/phantom_0000_0000.nii.gz   labelsTr/phantom_0000.nii.gz   (none for unlabeled cases)
imagesTs/...                        labelsTs/...
splits/{train,labeled,validation,test}.txt   dataset.toml   population.json   dataset.json
```
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from segmentation.anatomy.body import ORGANS
from segmentation.common.files import write_text
from segmentation.common.processes import map_processes
from segmentation.common.suggest import unknown
from segmentation.data.descriptor import DatasetSpec, Organ
from segmentation.imaging.volume import write_labels, write_volume
from segmentation.phantom.clinical import clinical_subject, draw_scanner
from segmentation.phantom.scanner import scan_subject
from segmentation.phantom.subject import Scanner, plain_subject

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Population:
    """Number of subjects per part, voxel size and seed.

    Case k is a function of (seed, k) and the voxel size alone. Exactly one of spacing_mm (the
    mean voxel size of the scans) and shape (voxels along the patient's x, y, z) is given.

    Attributes:
        variety: `plain` subjects vary little; `clinical` ones as patients do.
        masks: `all` writes masks of unlabeled cases too, for other draws of labeled cases.
    """

    labeled: int
    unlabeled: int
    validation: int
    test: int
    spacing_mm: float | None = None
    shape: tuple[int, int, int] | None = None
    seed: int = 0
    variety: Literal["plain", "clinical"] = "plain"
    masks: Literal["labeled", "all"] = "labeled"

    def __post_init__(self) -> None:
        counts = {"unlabeled": self.unlabeled, "validation": self.validation, "test": self.test}
        for part, count in {**counts, "labeled": self.labeled, "seed": self.seed}.items():
            if count < (part == "labeled"):
                raise ValueError(f"{part} must be at least {int(part == 'labeled')}, not {count}")
        if (self.spacing_mm is None) == (self.shape is None):
            raise ValueError("give exactly one of spacing and shape")
        if not all(0 < size < math.inf for size in self.shape or (self.spacing_mm or 0,)):
            raise ValueError(f"voxels need a positive size, not {self.shape or self.spacing_mm}")
        for name, choices in (("variety", ("plain", "clinical")), ("masks", ("labeled", "all"))):
            if getattr(self, name) not in choices:
                raise ValueError(unknown(name, getattr(self, name), choices))

    def parts(self) -> dict[str, list[str]]:
        """Case names of each part, numbered through."""
        total = self.labeled + self.unlabeled + self.validation + self.test
        names = iter([f"phantom_{index:04d}" for index in range(total)])
        counts = {
            "labeled": self.labeled,
            "unlabeled": self.unlabeled,
            "validation": self.validation,
            "test": self.test,
        }
        return {part: [next(names) for _ in range(count)] for part, count in counts.items()}


def make_population(
    spec: DatasetSpec,
    out: Path,
    population: Population,
    *,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> int:
    """Write a population to `out` and return the number of scans written.

    A second call writes only missing files. `progress` is called with the name of each case.

    Raises:
        LookupError: an organ of the descriptor that has no shape; lists those that do.
        ValueError: `out` holds another population, or voxels so large that organs get lost.
    """
    drawn = tuple(_drawn_as(organ) for organ in spec.by_label)
    created = _claim(out, population, spec)
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs", "splits"):
        (out / folder).mkdir(exist_ok=True)
    parts = population.parts()
    every = [(case, part) for part in parts for case in parts[part]]
    missing = [task for task in every if _is_missing(out, *task, population.masks)]
    report = progress or (lambda case: None)
    for case, _ in set(every) - set(missing):
        report(case)
    work = partial(_make_case, names=drawn, out=out, population=population)
    try:
        for case in map_processes(work, missing, jobs):
            report(case)
    except ValueError:
        if created and not any(out.glob("images*/*.nii.gz")):
            shutil.rmtree(out)
        raise
    lists = {part: parts[part] for part in ("labeled", "validation", "test")}
    lists["train"] = parts["labeled"] + parts["unlabeled"]
    for part, cases in lists.items():
        write_text(out / "splits" / f"{part}.txt", "".join(f"{case}\n" for case in cases))
    write_text(out / "dataset.toml", descriptor(spec))
    write_text(
        out / "dataset.json", _nnunet_json(spec, len(parts["labeled"] + parts["validation"]))
    )
    return len(missing)


def descriptor(spec: DatasetSpec) -> str:
    """A TOML descriptor of a phantom population with the organs, window and grid of `spec`."""
    head = {
        "name": "phantom",
        "title": f"Made-up abdominal scans with the organs of {spec.name}",
        "modality": spec.modality,
        "layout": "nnunet",
        "orientation": spec.orientation,
        "window_hu": spec.window_hu,
        "scaling": spec.scaling,
        "protocol": "phantom",
        "splits": "data",
    }
    lines = [*_toml(head), "", "[grid]", *_toml(spec.grid.model_dump(exclude_none=True))]
    for organ in spec.by_label:
        lines += ["", "[[organs]]", *_toml(organ.model_dump(exclude_defaults=True))]
    return "\n".join(lines) + "\n"


def _toml(table: Mapping[str, object]) -> list[str]:
    """Lines `key = value`; strings, numbers and lists of them look the same in JSON and TOML."""
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]


def _drawn_as(organ: Organ) -> str:
    """The name of the shape of an organ: its name, or one of its aliases."""
    for name in (organ.name, *organ.aliases):
        if name.casefold() in ORGANS:
            return name.casefold()
    raise LookupError(unknown("shape for", organ.name, tuple(ORGANS)))


def _claim(out: Path, population: Population, spec: DatasetSpec) -> bool:
    """Record the population in an empty `out`, or check that `out` holds the same one.

    Returns whether the folder was empty before.
    """
    options = asdict(population)
    for name, value in (("variety", "plain"), ("masks", "labeled")):
        if options[name] == value:  # populations of earlier versions do not name these
            del options[name]
    recipe = {
        "format_version": FORMAT_VERSION,
        **options,
        "organs": [organ.model_dump() for organ in spec.by_label],
        "window_hu": spec.window_hu,
        "grid": spec.grid.model_dump(),
    }
    text = json.dumps(recipe, indent=1) + "\n"
    noted = out / "population.json"
    if noted.is_file():
        if noted.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{out} holds another population or the start of one (see {noted}); "
                "delete it or take another folder"
            )
        return False
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no population; take another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(noted, text)
    return True


def case_files(out: Path, case: str, part: str, masks: str) -> tuple[Path, Path | None]:
    """Image and label file of a case; an unlabeled one has no label file unless `masks` is all."""
    side = "Ts" if part == "test" else "Tr"
    label = out / f"labels{side}" / f"{case}.nii.gz"
    image = out / f"images{side}" / f"{case}_0000.nii.gz"
    return image, None if part == "unlabeled" and masks == "labeled" else label


def _is_missing(out: Path, case: str, part: str, masks: str) -> bool:
    return not all(path.is_file() for path in case_files(out, case, part, masks) if path)


def _make_case(
    task: tuple[str, str], names: tuple[str, ...], out: Path, population: Population
) -> str:
    case, part = task
    random = np.random.default_rng([population.seed, int(case.rpartition("_")[2])])
    if population.variety == "plain":
        subject, scanner = plain_subject(names, random), Scanner()
    else:
        subject, scanner = clinical_subject(names, random), draw_scanner(random)
    scan = scan_subject(
        names,
        subject,
        scanner,
        random,
        spacing_mm=population.spacing_mm,
        shape=population.shape,
    )
    image, label = case_files(out, case, part, population.masks)
    write_volume(image, scan.voxels, scan.affine)
    if label:
        write_labels(label, scan.labels, scan.affine)
    return case


def _nnunet_json(spec: DatasetSpec, labeled: int) -> str:
    content = {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in enumerate(spec.classes)},
        "numTraining": labeled,
        "file_ending": ".nii.gz",
    }
    return json.dumps(content, indent=1) + "\n"
