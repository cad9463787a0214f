"""Start or resume a training run."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline.config.recipe import RunConfig
from pipeline.datasets.protocols import case_marks, claim_of_data, data_digest
from pipeline.runs.build import RunInputs, build_method
from pipeline.runs.devices import explain_device_errors
from pipeline.runs.energy import counters
from pipeline.runs.folder import RunFolder
from pipeline.runs.observer import TrainingObserver
from pipeline.runs.provenance import session
from pipeline.runs.relations import (
    RunRelations,
    as_relations,
    relations_of_run,
    summary,
    write_relations,
)
from pipeline.runs.setting import load_run_inputs
from pipeline.runs.starting.initialization import in_words, initialize
from pipeline.runs.starting.resuming import check_config, check_inputs
from pipeline.runs.trained_model import choose_predictor
from pipeline.runs.validation import validator
from segmentation.common.files import make_writable
from segmentation.data.checks import check_images
from segmentation.data.preparation import Prepared
from segmentation.training.augmentation import Augmenter
from segmentation.training.checkpoint import Identity, discard_partial
from segmentation.training.distributed.ranks import Ranks
from segmentation.training.patches import PatchStream
from segmentation.training.trackers import TensorBoard, Tracker
from segmentation.training.trainer import Trainer

_LESS = "a smaller training.patch, fewer patches per step or network.recompute = true take less"


def start(
    folder: Path,
    config: RunConfig,
    prepared: Prepared,
    bank_path: Path | None,
    *,
    device: torch.device,
    resume: bool,
    observer: TrainingObserver | None = None,
    trackers: Sequence[type[Tracker]] = (TensorBoard,),
    init_from: Path | None = None,
    ranks: Ranks | None = None,
) -> bool:
    """Train a run in `folder`; False if a signal stopped it early.

    Args:
        bank_path: text vectors; a resumed run uses its copy if None.
        observer: receives the records of the log and the progress of validations.
        trackers: receive curves and pictures.
        init_from: a run, checkpoint, bundle or published weights whose weights a new run takes.
        ranks: the processes that train it together; this one alone by default.

    Raises:
        FileExistsError: the folder holds a run and `resume` is False, or another process trains
            there.
        ValueError: `resume` with another configuration than the run was started with, or parts
            of the split with a common image.
    """
    observer, ranks = observer or TrainingObserver(), ranks or Ranks()
    run = RunFolder(folder)
    if resume and bank_path is None and config.needs_bank and run.bank.is_file():
        bank_path = run.bank
    inputs, identity = _checked(folder, config, prepared, bank_path, resume)
    relations = relations_of_run(folder, config, prepared, resume=resume)
    inputs = replace(inputs, relations=as_relations(relations, prepared.spec.classes))
    method = build_method(config, inputs)
    taken = None if init_from is None else initialize(method, init_from, inputs.classes)
    method = method.to(device)
    choose_predictor(method, config.inference.predictor)
    validate = validator(config, prepared, device, observer.tick, ranks)
    trainer = Trainer(
        method,
        _stream(config, prepared, device, ranks),
        config.training,
        folder,
        identity=identity,
        config=_metadata(config, prepared, inputs),
        device=device,
        validate=validate if prepared.split.validation else None,
        opening=_opening(prepared, relations),
        trackers=trackers,
        report=observer.report,
        ranks=ranks,
    )
    ranks.wait()  # for the checks of all, before the first process writes
    make_writable(folder)
    with run.lock() if ranks.first else nullcontext():
        if ranks.first:
            discard_partial(folder)
        if ranks.first and not resume:
            run.begin(config, bank_path)
            if relations is not None:
                write_relations(folder, relations)
        past = trainer.resume() if resume else []
        ranks.share(method)
        observer.ready(trainer.step)
        for record in past:
            observer.recall(record)
        if taken is not None:
            observer.initialized(in_words(taken, inputs.classes))
        energy = counters(device, ranks)
        kept = session(trainer, prepared.root, taken, energy) if ranks.first else nullcontext()
        with kept, explain_device_errors(device, _LESS):
            finished = trainer.run()
    if not finished and trainer.stopped_by:
        observer.stopped(trainer.stopped_by)
    return finished


def _checked(
    folder: Path, config: RunConfig, prepared: Prepared, bank_path: Path | None, resume: bool
) -> tuple[RunInputs, Identity]:
    """The inputs of a run, checked against the folder in which it is started or resumed."""
    if resume:
        check_config(folder, config)
    elif RunFolder(folder).holds_run:
        raise FileExistsError(f"{folder} holds a run; resume it with --resume, or give another -o")
    inputs, digest = load_run_inputs(config, prepared.spec, bank_path)
    identity = Identity(inputs.classes, digest, data_digest(prepared))
    if resume:
        words = claim_of_data(prepared).words
        check_inputs(folder, identity, bank_path, prepared.root, words)
    check_images(prepared)
    return replace(inputs, voxels=labeled_voxels(prepared)), identity


def _metadata(config: RunConfig, prepared: Prepared, inputs: RunInputs) -> dict[str, Any]:
    """Run metadata that every checkpoint stores, as plain values."""
    return {
        "run": config.model_dump(mode="json", exclude_none=True),
        "dataset": prepared.spec.model_dump(mode="json"),
        "vectors": None if inputs.vectors is None else list(inputs.vectors.shape),
        "trained_on": claim_of_data(prepared).words,
        "training_cases": case_marks((*prepared.split.labeled, *prepared.split.unlabeled)),
    }


def _opening(prepared: Prepared, relations: RunRelations | None) -> dict[str, Any]:
    """The first record of the log: cases per part, voxels per class, organs without labels."""
    voxels = dict(zip(prepared.spec.classes, labeled_voxels(prepared), strict=True))
    absent = [name for name, count in voxels.items() if not count]
    warnings = [f"in no labeled case, so never learned: {', '.join(absent)}"] * bool(absent)
    if not prepared.split.validation:
        warnings.append(
            "no validation case: nothing chooses a best checkpoint, so best.pt will hold the last "
            "weights"
        )
    return {
        "cases": {part: len(cases) for part, cases in prepared.split.parts().items()},
        "labeled_voxels": voxels,
        "warnings": warnings,
        **summary(relations),
    }


def _stream(
    config: RunConfig, prepared: Prepared, device: torch.device, ranks: Ranks
) -> PatchStream:
    options, split = config.training, prepared.split
    on_device = options.volumes_on == "device"
    return PatchStream(
        [prepared.file(case) for case in split.labeled],
        [prepared.file(case) for case in split.unlabeled],
        patch=options.patch,
        labeled_per_step=options.labeled_per_step,
        unlabeled_per_step=options.unlabeled_per_step,
        seed=config.seed,
        case_order=options.case_order,
        crops=options.crops,
        cached_cases=None if on_device else options.cached_cases,
        device=device if on_device else None,
        device_gib=options.volumes_gib,
        augmenter=_augmenter(config, prepared),
        rank=ranks.rank,
        ranks=ranks.size,
    )


def _augmenter(config: RunConfig, prepared: Prepared) -> Augmenter | None:
    """The transforms of a run's patches, None if its recipe sets none."""
    if not config.augmentation.active:
        return None
    organs = prepared.spec.by_label
    return Augmenter(
        config.augmentation,
        small=[organ.label for organ in organs if organ.size == "small"],
        seed=config.seed,
        sided=any(organ.side for organ in organs),
    )


def labeled_voxels(prepared: Prepared) -> tuple[int, ...]:
    """Voxels per class, background first, in the labeled cases on the prepared grid.

    Raises:
        ValueError: a labeled case has no label.
    """
    counts = {case: prepared.cases[case]["voxels_per_class"] for case in prepared.split.labeled}
    bare = [case for case, voxels in counts.items() if voxels is None]
    if bare:
        raise ValueError(f"{prepared.root}: labeled cases without a label: {', '.join(bare)}")
    return tuple(map(sum, zip(*counts.values(), strict=True)))
