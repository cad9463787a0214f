"""A benchmark: a named population whose voxels are known by their digest."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from pydantic import Field, ValidationError

from segmentation.common.models import Strict, explain
from segmentation.common.processes import map_processes
from segmentation.data.descriptor import read_toml
from segmentation.phantom.population import Population, case_files


class Benchmark(Strict):
    """A benchmark as its TOML file describes it.

    Attributes:
        version: raised with every change of the voxels.
        descriptor: data set whose organs the scans show.
        spacing_mm: of the grid that scans are prepared on.
        scan_mm: mean voxel size of the scanners, or
        scan_shape: voxels of every scan along the patient's x, y, z.
        labeled, unlabeled, validation, test: numbers of cases; all have masks.
        sha256: of all voxels, see `digest`; empty where it is not known yet.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    version: int = Field(ge=1)
    descriptor: str
    spacing_mm: tuple[float, float, float]
    scan_mm: float | None = None
    scan_shape: tuple[int, int, int] | None = None
    labeled: int = Field(ge=1)
    unlabeled: int = Field(ge=0)
    validation: int = Field(ge=0)
    test: int = Field(ge=0)
    seed: int = 0
    variety: Literal["plain", "clinical"] = "clinical"
    sha256: str = ""

    @classmethod
    def read(cls, path: Path) -> "Benchmark":
        """The benchmark of a TOML file.

        Raises:
            FileNotFoundError, ValueError: no such file, or not a benchmark; names the key.
        """
        try:
            return cls.model_validate(read_toml(path))
        except ValidationError as fault:
            raise ValueError(explain(fault, path, cls)) from None

    @property
    def population(self) -> Population:
        """The population for `make_population`."""
        return Population(
            self.labeled,
            self.unlabeled,
            self.validation,
            self.test,
            self.scan_mm,
            self.scan_shape,
            self.seed,
            self.variety,
            "all",
        )


def digest(
    out: Path,
    population: Population,
    *,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> str:
    """The sha256 over the voxels and affines (to 1e-4 mm) of all cases, in order of their names.

    Files may be compressed differently and still agree. Rounding differs between processors and
    library versions now and then, and a single HU changes the digest.
    """
    every = [(case, part) for part, cases in population.parts().items() for case in cases]
    work = partial(_case_digest, out=out, masks=population.masks)
    digests = {}
    for case, case_digest in map_processes(work, every, jobs):
        digests[case] = case_digest
        if progress:
            progress(case)
    lines = "".join(f"{case} {digests[case]}\n" for case in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def _case_digest(task: tuple[str, str], out: Path, masks: str) -> tuple[str, str]:
    case, part = task
    taken = hashlib.sha256()
    for path in case_files(out, case, part, masks):
        if path is not None:
            image = nibabel.load(path)
            taken.update(np.ascontiguousarray(np.asanyarray(image.dataobj)).tobytes())
            taken.update(np.round(image.affine, 4).astype("<f4").tobytes())
    return case, taken.hexdigest()
