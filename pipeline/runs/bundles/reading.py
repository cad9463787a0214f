"""Reading a bundle: weights are safetensors, the rest is JSON and text; nothing is unpickled."""

import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from knowledge.common.models import problems
from pipeline.config.recipe import RunConfig
from pipeline.runs.build import RunInputs, build_method
from pipeline.runs.trained_model import TrainedModel, training_label
from segmentation.data.descriptor import DatasetSpec
from segmentation.networks.network import text_vectors, with_current_names

FORMAT_VERSION = 2  # 1: head and alignment kept the text vectors in place of the network
READABLE = (1, 2)
METADATA, CARD = "configs/metadata.json", "docs/README.md"
_LARGEST_TEXT = 2**26  # bytes
WEIGHTS, TEXTS = "models/model.safetensors", "knowledge/texts.json"


def read(path: Path, device: torch.device) -> TrainedModel:
    """The trained model in a bundle.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no bundle, damaged, altered or of a newer version.
    """
    metadata = read_metadata(path)
    try:
        packed = read_member(path, WEIGHTS)
        if hashlib.sha256(packed).hexdigest() != metadata["weights_sha256"]:
            raise ValueError(f"{path}: the weights do not have the digest that the metadata state")
        config = RunConfig.model_validate(metadata["run"])
        spec = DatasetSpec.model_validate(metadata["dataset"])
        weights = with_current_names(load_tensors(packed))
        _check_finite(weights, path)
        network = _network(config, spec, str(metadata["predictor"]), weights)
        step, predictor = int(metadata["step"]), str(metadata["predictor"])
    except ValidationError as fault:
        raise ValueError(f"{path}: {METADATA}: {problems(fault)}") from None
    except (KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as fault:
        reason = str(fault).partition("\n")[0][:200]
        raise ValueError(f"{path}: damaged or altered ({reason})") from None
    return TrainedModel(
        config,
        spec,
        network.to(device).eval(),
        device,
        step,
        predictor,
        path,
        data=metadata.get("data_digest"),  # earlier versions do not have it
        trained_on=training_label(metadata, spec),
        training_cases=frozenset(metadata.get("training_cases", ())),
    )


def _network(
    config: RunConfig, spec: DatasetSpec, predictor: str, weights: dict[str, torch.Tensor]
) -> torch.nn.Module:
    """The named network, built by the run's method, with the weights of the bundle."""
    inputs = RunInputs.for_prediction(spec.classes, text_vectors(weights))
    network = build_method(config, inputs).predictors()[predictor]
    network.load_state_dict(weights)
    return network


def _check_finite(weights: dict[str, torch.Tensor], path: Path) -> None:
    wrong = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if wrong:
        raise ValueError(
            f"{path}: {len(wrong)} weights are NaN or infinite, first {wrong[0][:100]}"
        )


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a bundle.

    Raises:
        FileNotFoundError, ValueError: as for `read`.
    """
    text = read_member(path, METADATA)
    try:
        metadata = json.loads(text)
        version = metadata["tak_format_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path}: {METADATA} is not of a bundle that `tak bundle` wrote") from None
    if version not in READABLE:
        first, last = READABLE[0], READABLE[-1]
        raise ValueError(
            f"{path}: format {str(version)[:20]}; this program reads formats {first} to {last}"
        )
    return metadata


def read_member(path: Path, name: str) -> bytes:
    """The bytes of one file in a bundle; nothing is unpacked to disk."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no bundle there")
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(name).file_size
            # Weights are stored uncompressed and the rest is text: more is no bundle of tak-seg.
            if size > max(_LARGEST_TEXT, path.stat().st_size):
                raise ValueError(f"{path}: {name} would unpack to {size / 2**20:.0f} MiB")
            return archive.read(name)
    except KeyError:
        raise ValueError(f"{path}: not a bundle of tak-seg: no {name} in it") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
    ) as fault:
        raise ValueError(f"{path}: damaged, cut short or no ZIP file ({fault})") from None
