"""Reading a bundle: weights are safetensors, the rest is JSON and text; nothing is unpickled."""

import hashlib
import json
import zipfile
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
        network = _network(config, spec, str(metadata["predictor"]), weights)
        step, predictor = int(metadata["step"]), str(metadata["predictor"])
    except ValidationError as fault:
        raise ValueError(f"{path}: {METADATA}: {problems(fault)}") from None
    except (KeyError, RuntimeError, SafetensorError) as fault:
        raise ValueError(f"{path}: damaged or altered ({str(fault).splitlines()[0]})") from None
    return TrainedModel(
        config,
        spec,
        network.to(device).eval(),
        device,
        step,
        predictor,
        path,
        data=metadata.get("data_digest"),  # earlier versions did not store it
        trained_on=training_label(metadata, spec),
        training_cases=frozenset(metadata.get("training_cases", ())),
    )


def _network(
    config: RunConfig, spec: DatasetSpec, predictor: str, weights: dict[str, torch.Tensor]
) -> torch.nn.Module:
    """The network of that name as the run's method builds it, with the bundle's weights."""
    inputs = RunInputs.for_prediction(spec.classes, text_vectors(weights))
    network = build_method(config, inputs).predictors()[predictor]
    network.load_state_dict(weights)
    return network


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a bundle.

    Raises:
        FileNotFoundError, ValueError: as for `read`.
    """
    try:
        metadata = json.loads(read_member(path, METADATA))
        version = metadata["tak_format_version"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ValueError(f"{path}: {METADATA} is not of a bundle that `tak bundle` wrote") from None
    if version not in READABLE:
        raise ValueError(
            f"{path}: format {version}; this program reads formats {READABLE[0]} to {READABLE[-1]}"
        )
    return metadata


def read_member(path: Path, name: str) -> bytes:
    """The bytes of one file in a bundle; nothing is unpacked to disk."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no bundle there")
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except KeyError:
        raise ValueError(f"{path}: no bundle of tak-seg, it lacks {name}") from None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as fault:
        raise ValueError(f"{path}: damaged, cut short or no ZIP file ({fault})") from None
