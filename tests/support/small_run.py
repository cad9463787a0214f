"""A recipe for runs of seconds, and a run that was never trained, as training leaves it on disk."""

from pathlib import Path

import numpy as np

from knowledge.bank.bank import Bank
from pipeline.config.recipe_files import read_config
from pipeline.runs.build import build_method
from pipeline.runs.setting import load_run_inputs
from segmentation.data.descriptor import DatasetSpec
from segmentation.training.checkpoint import Identity, TrainState, save

SMALL = Path(__file__).with_name("small.toml")
UNTRAINED = (
    "head.name=text", "training.steps=10", "training.warmup_steps=2", "training.patch=[8, 8, 8]",
    "inference.windows_per_call=32",
)  # fmt: skip
TRAINED_ON = "phantom, own grid; split own-12345678"


def make_bank(path: Path, spec: DatasetSpec) -> Bank:
    """A bank of random vectors for the classes, with a text each."""
    random = np.random.default_rng(0)
    bank = Bank(
        classes=spec.classes,
        aspects=("shape", "position"),
        vectors=random.normal(size=(len(spec.classes), 2, 12)).astype(np.float32),
        texts=tuple((f"shape of {name}", f"position of {name}") for name in spec.classes),
        token_counts=np.zeros((len(spec.classes), 2), np.int32),
        encoder="random numbers",
        fingerprint=np.zeros((0, 12), np.float32),
        origin={"model": "nobody <b>said</b> it"},
    )
    bank.write(path)
    return bank


def make_run(folder: Path, spec: DatasetSpec) -> Path:
    """A run with a text head in `folder`, and its bank beside it in `bank.h5`."""
    folder.mkdir(parents=True)
    make_bank(folder / "bank.h5", spec)
    config = read_config(SMALL, UNTRAINED)
    setting, digest = load_run_inputs(config, spec, folder / "bank.h5")
    method = build_method(config, setting)
    for parameter in method.predictors()["student"].head.parameters():
        parameter.data *= 3  # else an untrained head sees one class everywhere
    assert setting.vectors is not None
    state = TrainState(
        step=7,
        method=method.state_dict(),
        optimizer={},
        scaler={},
        best=None,
        identity=Identity(spec.classes, digest),
        config={
            "run": config.model_dump(mode="json", exclude_none=True),
            "dataset": spec.model_dump(mode="json"),
            "vectors": list(setting.vectors.shape),
            "trained_on": TRAINED_ON,
        },
    )
    save(state, folder / "best.pt")
    return folder
