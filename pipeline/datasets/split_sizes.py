"""Sizes of the parts of a split, from shares and numbers of cases."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from segmentation.data.split import Split

TEST, VALIDATION = "20%", "10%"  # shares without lists and options


@dataclass(frozen=True)
class SplitRequest:
    """Options of `tak split`.

    Attributes:
        labeled: a share of the training cases, `5%`, rounded down, or a number; None for all
            that have a mask.
        validation, test: a share or number of the cases with a mask; None to keep those lists.
        folds: number of parts for cross-validation, each the test part once; 0 for one split.
        patients: file with the patient of each case; None for `patients.txt` in the folder.
    """

    labeled: str | None = None
    validation: str | None = None
    test: str | None = None
    folds: int = 0
    patients: Path | None = None

    @property
    def draws_all(self) -> bool:
        """Whether an option requests other lists than the labeled one."""
        return bool(self.folds) or self.validation is not None or self.test is not None


def check_request(request: SplitRequest, split: str | None) -> None:
    """Refuse options that contradict each other.

    Raises:
        ValueError: names them.
    """
    if request.draws_all and split is not None:
        raise ValueError(
            f"--split {split} keeps its lists; --test, --validation, --folds draw them"
        )
    if request.folds and request.test is not None:
        raise ValueError("--folds makes every fold the test part once; omit --test")
    if request.folds in (1,) or request.folds < 0:
        raise ValueError(f"--folds {request.folds}: expected 2 or more")


def part_sizes(request: SplitRequest, masked: int) -> dict[str, int]:
    """Number of cases with a mask per part; at least one is left for training."""
    given = request.draws_all
    test = count_of("--test", request.test or ("0" if given else TEST), masked)
    validation = count_of(
        "--validation", request.validation or ("0" if given else VALIDATION), masked
    )
    if test + validation >= masked:
        raise ValueError(
            f"{test} test and {validation} validation cases of {masked} with a mask leave none to "
            "train on"
        )
    return {"train": masked - test - validation, "validation": validation, "test": test}


def check_numbers(request: SplitRequest, base: Split | None, cases: int, masked: int) -> None:
    """Check shares and numbers before masks are read."""
    if base is not None and request.labeled is None:
        raise ValueError(
            "--labeled is missing: how many training cases are labeled? A share, 5%, or a number"
        )
    if base is not None and request.labeled is not None:
        labeled_number(request.labeled, cases, masked)
        return
    for option, text in (("--labeled", request.labeled), ("--validation", request.validation)):
        if text is not None:
            _number(option, text, cases)
    if not request.folds:
        part_sizes(request, masked)


def labeled_number(text: str, train: int, with_mask: int) -> int:
    """The number of labeled cases, checked against those with a mask."""
    number = max(_number("--labeled", text, train), 1 if text.endswith("%") else 0)
    if not 1 <= number <= with_mask:
        raise ValueError(
            f"--labeled {text}: that is {number} cases, and {with_mask} of the "
            f"{train} training cases have a mask; draw 1 to {with_mask}"
        )
    return number


def count_of(option: str, text: str, cases: int) -> int:
    """A number or share of 0 or more."""
    number = _number(option, text, cases)
    if number < 0:
        raise ValueError(f"{option} {text}: expected 0 cases or more")
    return number


def _number(option: str, text: str, cases: int) -> int:
    """A number, or a share of the cases, rounded down."""
    try:
        if not text.endswith("%"):
            return int(text)
        share = Decimal(text.removesuffix("%"))
    except (ValueError, InvalidOperation):
        raise ValueError(f"{option} {text}: expected a share such as 5%, or a number") from None
    if not (share.is_finite() and 0 < share <= 100):
        raise ValueError(f"{option} {text}: expected a share above 0% and up to 100%")
    return int(share * cases / 100)
