"""Scores of a run, or the mean over the seeds of one, from their result files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge.common.files import parse_toml, read_text
from pipeline.files.kinds import require_kind
from pipeline.results.result_files import evaluation_name, read_evaluation
from pipeline.results.scores import Evaluation, comparable, mean_of
from pipeline.runs.folder import RunFolder


@dataclass(frozen=True)
class Scored:
    """The scores of a run, or the mean over the seeds of one.

    Attributes:
        seeds: number of runs that were averaged, case by case.
    """

    name: str
    seeds: int
    evaluation: Evaluation


def read_scored(path: Path, part: str, label: str | None = None) -> Scored:
    """Read the scores of a run folder, of a folder of seeds, or of a JSON file.

    Args:
        label: its name; that of the folder or file if None.

    Raises:
        FileNotFoundError: nothing was evaluated there.
        ValueError: seeds that were not scored alike, or a damaged file.
    """
    name = f"{evaluation_name(part)}.json"
    require_kind(path, "evaluation", "run")
    if path.is_file():
        files = [path]
    elif (path / name).is_file():
        files = [path / name]
    else:
        files = sorted(path.glob(f"seed-*/{name}"))
    if not files:
        raise FileNotFoundError(
            f"{path}: no {name} there or in its folders seed-*; `tak evaluate {path} PREPARED "
            f"--part {part}` writes it"
        )
    evaluations = [read_evaluation(file) for file in files]
    for file, other in zip(files[1:], evaluations[1:], strict=True):
        comparable(evaluations[0], other)
        if other.split != evaluations[0].split:
            raise ValueError(
                f"{file} is of the split {other.split} and {files[0]} of {evaluations[0].split}; "
                "seeds of one run are trained on the same cases"
            )
    _check_seeds([RunFolder(file.parent).config for file in files])
    return Scored(label or path.name or str(path), len(evaluations), mean_of(evaluations))


def _check_seeds(configs: Sequence[Path]) -> None:
    """Refuse to average runs that differ by more than their seed.

    Raises:
        ValueError: names both files and the tables that differ.
    """
    first: dict[str, Any] = {}
    for path in configs if len(configs) > 1 else ():
        config = {**parse_toml(read_text(path), path), "seed": None}
        first = first or config
        differing = sorted(key for key in first | config if first.get(key) != config.get(key))
        if differing:
            raise ValueError(
                f"{path} differs from {configs[0]} in {', '.join(differing)}; seeds of one run may "
                "differ only in their seed"
            )
