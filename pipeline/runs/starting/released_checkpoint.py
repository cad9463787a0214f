"""Import of checkpoints of the released TAK code as runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.config.recipe import RunConfig
from pipeline.runs.build import RunInputs, build_method
from pipeline.runs.folder import RunFolder
from pipeline.runs.setting import load_run_inputs
from segmentation.data.descriptor import DatasetSpec
from segmentation.networks.released import convert_location_weights, convert_weights
from segmentation.training.checkpoint import Identity, TrainState, read_tensors, save


def adopt(
    checkpoint: Path, config: RunConfig, spec: DatasetSpec, bank: Path, out: Path, *, step: int = 0
) -> None:
    """Create a run whose student and teacher have the weights of a released checkpoint.

    Args:
        bank: the vectors that the network was trained with; released checkpoints have none.
        step: number of training steps; 0 if unknown.

    Raises:
        FileNotFoundError: no checkpoint there.
        FileExistsError: `out` holds a run.
        ValueError: not such a checkpoint, or one of another network than that of the recipe.
    """
    folder = RunFolder(out)
    if folder.holds_run:
        raise FileExistsError(f"{out} holds a run; give another folder by -o")
    published = read_published(checkpoint)
    inputs, digest = load_run_inputs(config, spec, bank)
    method = build_method(config, RunInputs.for_prediction(inputs.classes, inputs.vectors))
    own = method.state_dict()
    try:
        for prefix in ("network.", "teacher."):
            if any(name.startswith(prefix) for name in own):
                own.update(convert_weights(published, own, prefix))
        own.update(convert_location_weights(published))
        method.load_state_dict(own)
    except (ValueError, KeyError, RuntimeError) as fault:
        raise ValueError(f"{checkpoint}: {fault}; is it of the network of this recipe?") from None
    out.mkdir(parents=True, exist_ok=True)
    plain = config.model_dump(mode="json", exclude_none=True)
    folder.write_config(config)
    folder.keep_bank(bank)
    metadata: dict[str, Any] = {"run": plain, "dataset": spec.model_dump(mode="json")}
    metadata["vectors"] = None if inputs.vectors is None else list(inputs.vectors.shape)
    identity = Identity(inputs.classes, digest)
    save(TrainState(step, method.state_dict(), {}, {}, None, identity, metadata), folder.best)


def read_published(path: Path) -> Mapping[str, Tensor]:
    """The parameters in a checkpoint of the released code, read without executing anything.

    Raises:
        FileNotFoundError: no file there.
        ValueError: no table of tensors.
    """
    content = read_tensors(path)
    if isinstance(content, dict) and len(content) == 1:
        content = next(iter(content.values()))  # {"state_dict": {...}}
    if not isinstance(content, dict) or not all(isinstance(x, Tensor) for x in content.values()):
        raise ValueError(f"{path}: no table of parameters, as the released code saves it")
    return content
