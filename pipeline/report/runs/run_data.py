"""Content of a run's folder for a report: configuration, log, scores, checkpoint, bank."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from knowledge.bank.bank import Bank
from pipeline.config.recipe import RunConfig
from pipeline.datasets.protocols import rules_for
from pipeline.report.runs.training_record import TrainingRecord, read_training_record
from pipeline.results.result_files import evaluation_name, read_evaluation
from pipeline.results.scores import Evaluation
from pipeline.runs.folder import RunFolder
from segmentation.data.descriptor import DatasetSpec
from segmentation.evaluation.rules import RULES
from segmentation.training.checkpoint import TrainState, load
from segmentation.training.log import read_log


@dataclass(frozen=True)
class Log:
    """The records of `log.jsonl`: loss terms per logged step, Dice per validation.

    Attributes:
        terms: term -> [(step, value)], the weighted terms and `total`, their sum.
        organs: predictor -> organ -> [(step, Dice)]; NaN where an organ was not scored.
        step: of the last record; 0 without any.
    """

    terms: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    organs: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)
    step: int = 0


@dataclass(frozen=True)
class RunData:
    """One run folder.

    Attributes:
        evaluation: of the part and by the rules of the report; None if it was not scored.
        other_rules: rules by which the part was also scored.
        bank: the copy of the bank in the run, None if there is none.
        checkpoint: `best`, or `last` if the run was never validated.
        bank_digest: of the text vectors that the run was trained with; None without text.
        data_digest: of preparation and split of its data; None if not recorded.
        training: hardware, time and versions; None if not recorded.
        masks: whether these are scored masks of another program, with configuration and descriptor
            of the reported run; they have no log, bank or checkpoint.
    """

    path: Path
    config: RunConfig
    spec: DatasetSpec
    log: Log
    evaluation: Evaluation | None
    other_rules: tuple[str, ...]
    bank: Bank | None
    bank_digest: str | None
    data_digest: str | None
    checkpoint: str
    step: int
    training: TrainingRecord | None = None
    masks: bool = False

    @property
    def name(self) -> str:
        """The name of the folder, after that of its folder of seeds if there is one."""
        path = self.path.resolve()
        return f"{path.parent.name}/{path.name}" if path.name.startswith("seed-") else path.name

    @property
    def unfinished(self) -> bool:
        """Whether the log ends before the last step: the run is in training, or was stopped."""
        return 0 < self.log.step < self.config.training.steps


def read_run(path: Path, part: str, rules: str = "scan") -> RunData:
    """One run folder.

    Args:
        part, rules: of the evaluation to read; `published` are the rules of its protocol.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        LookupError: no such rules.
        ValueError: a file of the run cannot be read.
    """
    state, file = _checkpoint(path)
    spec = DatasetSpec.check(state.config["dataset"], file)
    wanted = rules_for(rules, spec)
    scores = {one.name: path / f"{evaluation_name(part, one.name)}.json" for one in RULES}
    folder = RunFolder(path)
    return RunData(
        path=path,
        config=RunConfig.model_validate(state.config["run"]),
        spec=spec,
        log=curves_of(folder.log),
        evaluation=read_evaluation(scores[wanted]) if scores[wanted].is_file() else None,
        other_rules=tuple(
            name for name, file in scores.items() if name != wanted and file.is_file()
        ),
        bank=Bank.read(folder.bank) if folder.bank.is_file() else None,
        bank_digest=state.identity.bank,
        data_digest=state.identity.data,
        checkpoint=file.stem,
        step=state.step,
        training=read_training_record(folder.provenance),
    )


def read_masks(path: Path, beside: RunData, part: str, rules: str = "scan") -> RunData:
    """Masks of another program, scored by `tak evaluate MASKS --truth FOLDER`.

    Args:
        beside: the reported run.

    Raises:
        FileNotFoundError: the part was not scored by these rules.
        ValueError: a damaged file.
    """
    file = path / f"{evaluation_name(part, rules_for(rules, beside.spec))}.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} is no run's folder, nor does it hold {file.name}, the scores of masks by "
            "`tak evaluate MASKS --truth FOLDER`"
        )
    evaluation = read_evaluation(file)
    return replace(
        beside,
        path=path,
        log=Log(),
        evaluation=evaluation,
        other_rules=(),
        bank=None,
        bank_digest=None,
        data_digest=None,
        checkpoint=evaluation.checkpoint,
        step=0,
        training=None,
        masks=True,
    )


def curves_of(path: Path) -> Log:
    """The curves in the log of a run; empty without a log."""
    records = read_log(path)
    log = Log(step=max((int(record["step"]) for record in records), default=0))
    for record in records:
        step = int(record["step"])
        if "terms" in record:
            for name, value in {"total": record["loss"], **record["terms"]}.items():
                log.terms.setdefault(name, []).append((step, float(value)))
        for predictor, organs in record.get("organs", {}).items():
            for name, value in organs.items():
                points = log.organs.setdefault(predictor, {}).setdefault(name, [])
                points.append((step, float(value)))
    return log


def _checkpoint(path: Path) -> tuple[TrainState, Path]:
    folder = RunFolder(path)
    for file in (folder.best, folder.last):
        if file.is_file():
            return load(file), file
    what = "has no checkpoint yet" if folder.config.is_file() else "is no run's folder"
    raise FileNotFoundError(f"{path} {what}; `tak train` leaves best.pt and last.pt there")
