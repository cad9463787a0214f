"""Splits of a data set into labeled, unlabeled, validation and test cases."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from segmentation.common.files import write_text
from segmentation.common.models import Strict, explain
from segmentation.common.text import one_line

PATIENTS = "patients.txt"


class Split(Strict):
    """A split into four disjoint parts.

    Attributes:
        patients: patient by case, where known. Training, validation and test share no patient;
            a patient may have labeled and unlabeled scans.
    """

    labeled: tuple[str, ...] = Field(min_length=1)
    unlabeled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    patients: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        for part, cases in self.parts().items():
            twice = [case for case, count in Counter(cases).items() if count > 1]
            if twice:
                raise ValueError(f"{part} lists {', '.join(twice)} more than once")
        overlaps = []
        for (first, one), (second, other) in combinations(self.parts().items(), 2):
            common = sorted(set(one) & set(other))
            if common:
                overlaps.append(f"{len(common)} in {first} and {second}: {', '.join(common)}")
        if overlaps:
            raise ValueError(f"a case belongs to one part only; shared are {'; '.join(overlaps)}")
        return self

    @model_validator(mode="after")
    def _patients_apart(self) -> Self:
        uses = {"train": self.train, "validation": self.validation, "test": self.test}
        scans: dict[str, dict[str, list[str]]] = {}
        for use, cases in uses.items():
            for case in cases:
                if case in self.patients:
                    scans.setdefault(self.patients[case], {}).setdefault(use, []).append(case)
        overlaps = []
        for patient, used in scans.items():
            if len(used) > 1:
                uses_of = "; ".join(f"{use}: {', '.join(cases)}" for use, cases in used.items())
                overlaps.append(f"{patient} ({uses_of})")
        if overlaps:
            raise ValueError(
                "a patient belongs to training, validation or test only; shared are "
                f"{', '.join(overlaps)}"
            )
        return self

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The four parts by name."""
        return {
            "labeled": self.labeled,
            "unlabeled": self.unlabeled,
            "validation": self.validation,
            "test": self.test,
        }

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each part, by its name; see `list_digest`."""
        return {part: list_digest(cases) for part, cases in self.parts().items()}

    @property
    def train(self) -> tuple[str, ...]:
        """All training cases: labeled, then unlabeled."""
        return self.labeled + self.unlabeled

    @property
    def with_labels(self) -> tuple[str, ...]:
        """The cases whose mask is read: all but the unlabeled ones."""
        return self.labeled + self.validation + self.test

    @property
    def cases(self) -> tuple[str, ...]:
        """Every case of the split."""
        return self.with_labels + self.unlabeled

    @classmethod
    def derive(
        cls,
        train: tuple[str, ...],
        labeled: tuple[str, ...],
        validation: tuple[str, ...],
        test: tuple[str, ...],
        patients: dict[str, str] | None = None,
    ) -> Self:
        """The split whose unlabeled cases are the training cases that are not labeled.

        Raises:
            ValueError: a labeled case is no training case, or two parts share a case.
        """
        unknown = sorted(set(labeled) - set(train))
        if unknown:
            raise ValueError(
                f"{len(unknown)} labeled cases are not in the train list: {', '.join(unknown)}"
            )
        unlabeled = tuple(case for case in train if case not in set(labeled))
        return cls(
            labeled=labeled,
            unlabeled=unlabeled,
            validation=validation,
            test=test,
            patients=patients or {},
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The split in `folder`: labeled, validation, test, and train or unlabeled (`.txt`).

        One case per line. With `train.txt` the unlabeled cases are derived; `unlabeled.txt` is
        for lists that name them directly. A part without cases is an empty file. `patients.txt`,
        if present, has a case and its patient on each line.

        Raises:
            FileNotFoundError: a list is missing.
            ValueError: both or neither of train and unlabeled, or two parts share a case.
        """
        lists = {part: folder / f"{part}.txt" for part in ("train", "unlabeled")}
        given = [part for part, path in lists.items() if path.is_file()]
        if len(given) != 1:
            raise ValueError(
                f"{folder}: a split needs either train.txt or unlabeled.txt; "
                f"found {' and '.join(given) or 'neither'}"
            )
        rest = {part: folder / f"{part}.txt" for part in ("labeled", "validation", "test")}
        return cls.from_lists({given[0]: lists[given[0]], **rest})

    def write(self, folder: Path) -> None:
        """Write the lists that `read` takes: train, labeled, validation, test, known patients."""
        folder.mkdir(parents=True, exist_ok=True)
        lists = {"train": sorted(self.train), **self.parts()}
        for part in ("train", "labeled", "validation", "test"):
            write_text(folder / f"{part}.txt", "".join(f"{case}\n" for case in lists[part]))
        if self.patients:
            lines = [f"{case} {patient}\n" for case, patient in self.patients.items()]
            write_text(folder / PATIENTS, "".join(lines))

    @classmethod
    def from_lists(cls, files: dict[str, Path]) -> Self:
        """The split from one text file per part (`train` or `unlabeled`, and the other three).

        Raises:
            FileNotFoundError: a list is missing.
            ValueError: the parts do not fit together; names the folder and the cases.
        """
        cases = {part: read_list(path) for part, path in files.items()}
        patients = read_patients(files["labeled"].with_name(PATIENTS))
        try:
            if "train" in cases:
                return cls.derive(**cases, patients=patients)
            return cls(**cases, patients=patients)
        except ValidationError as fault:
            raise ValueError(explain(fault, files["labeled"].parent, cls)) from None
        except ValueError as fault:
            raise ValueError(f"{files['labeled']}: {one_line(fault, 400)}") from None


def read_patients(path: Path) -> dict[str, str]:
    """The patient of each case in a text file, `case patient` per line; none without the file."""
    patients: dict[str, str] = {}
    for line in read_list(path) if path.is_file() else ():
        words = line.split()
        if len(words) != 2:
            raise ValueError(f"{path}: {one_line(repr(line), 80)} is not a case and its patient")
        case, patient = words
        if patients.setdefault(case, patient) != patient:
            raise ValueError(f"{path}: {case} is of {patients[case]} and of {patient}")
    return patients


def read_list(path: Path) -> tuple[str, ...]:
    """The case names in a text file, one per line; empty lines do not count."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of cases (one per line; may be empty)")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def list_digest(cases: Iterable[str]) -> str:
    """SHA-256 of a list of cases, whatever their order: sorted, each with a line feed after it.

    `sort LIST.txt | sha256sum` gives the same.
    """
    return hashlib.sha256("".join(f"{case}\n" for case in sorted(cases)).encode()).hexdigest()
