"""Writing of bundles: network, metadata, texts, scores and model card as one ZIP file or folder.

Weights are safetensors, the rest is JSON and text, so that nothing is unpickled. The layout is that
of MONAI bundles: configs/metadata.json, models/ and docs/.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from knowledge.bank.bank import Bank
from knowledge.common.files import write_whole
from pipeline.files import shipped
from pipeline.files.kinds import require_kind
from pipeline.results.result_files import evaluation_files, read_evaluation
from pipeline.results.scores import Evaluation
from pipeline.runs.bundles.exporting import program_bytes, write_onnx
from pipeline.runs.bundles.model_card import model_card, with_monai_usage
from pipeline.runs.bundles.monai_config import CONFIG, PROGRAM, inference_config
from pipeline.runs.bundles.reading import CARD, FORMAT_VERSION, METADATA, TEXTS, WEIGHTS
from pipeline.runs.folder import RunFolder
from pipeline.runs.open_model import open_model
from pipeline.runs.trained_model import TrainedModel
from segmentation.training.checkpoint import load

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_DATE = (1980, 1, 1, 0, 0, 0)  # the same run gives the same bytes


def write(
    run: Path,
    target: Path,
    *,
    checkpoint: str = "best",
    predictor: str | None = None,
    bank: Path | None = None,
) -> dict[str, Any]:
    """Write the bundle of a run, and return its metadata.

    Args:
        run: a run's folder, or a checkpoint file.
        target: NAME.zip for `tak`, written atomically; NAME.onnx for the network alone; or a folder
            that MONAI's own `monai.bundle` runs.
        bank: the bank of the run, for its texts; the copy in the run's folder if None.

    Raises:
        FileNotFoundError, ValueError: no run there, a name of another kind, or another bank than
            the run's.
        FileExistsError, NotADirectoryError: something else is at the folder's place.
        LookupError: no predictor of that name.
        OSError: ONNX without its packages.
    """
    suffix = target.suffix.lower()
    if suffix not in (".zip", ".onnx", ""):
        raise ValueError(
            f"-o {target}: a bundle's name ends in .zip; .onnx writes the network alone, and a "
            "name without a suffix a folder for MONAI"
        )
    if not suffix:
        _check_folder(target)
    model = open_model(run, checkpoint=checkpoint, predictor=predictor, device=torch.device("cpu"))
    if not suffix:
        config = inference_config(model)
    files, metadata = _contents(run, model, bank)
    if suffix == ".onnx":
        write_onnx(model, target)
    elif suffix == ".zip":
        write_whole(target, _zipped(files))
    else:
        files |= {CONFIG: _json(config), PROGRAM: program_bytes(model)}
        files[CARD] = with_monai_usage(files[CARD].decode()).encode()
        for name in sorted(files, key=METADATA.__eq__):  # metadata last: with them it is complete
            write_whole(target / name, files[name])
    return metadata


def _check_folder(target: Path) -> None:
    """Refuse a place that holds anything but such a bundle."""
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"-o {target}: expected a folder, but there is a file")
    if target.is_dir() and any(target.iterdir()) and not (target / CONFIG).is_file():
        raise FileExistsError(f"-o {target}: holds something else; give a new or empty folder")


def _contents(
    run: Path, model: TrainedModel, bank: Path | None
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a bundle by name, and its metadata."""
    weights = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.network.state_dict().items()
    }
    packed = save_tensors(weights)
    digest = load(model.checkpoint).identity.bank
    folder = RunFolder(run if run.is_dir() else run.parent)
    if bank is None and digest is not None and folder.bank.is_file():
        bank = folder.bank
    texts = None if bank is None else _texts(Bank.read(require_kind(bank, "bank")), bank, digest)
    evaluations = _evaluations(folder.path, model)
    metadata = _metadata(model, digest, hashlib.sha256(packed).hexdigest())
    files = {METADATA: _json(metadata), WEIGHTS: packed}
    files |= {f"metrics/{path.name}": path.read_bytes() for path in evaluations}
    if texts is not None:
        files[TEXTS] = _json(texts)
    scores = {path.name: evaluation for path, evaluation in evaluations.items()}
    files[CARD] = model_card(metadata, scores, texts).encode()
    return files, metadata


def _metadata(model: TrainedModel, bank: str | None, weights: str) -> dict[str, Any]:
    """Metadata with the keys of MONAI, and the tables of the run."""
    spec, config = model.spec, model.config
    packages = {name: version(name) for name in ("numpy", "monai", "nibabel", "safetensors")}
    image = {
        "type": "image",
        "format": "hounsfield",
        "modality": spec.modality,
        "num_channels": 1,
        "spatial_shape": list(config.training.patch),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    prediction = {
        "type": "image",
        "format": "segmentation",
        "num_channels": len(spec.classes),
        "spatial_shape": list(config.training.patch),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {str(label): name for label, name in enumerate(spec.classes)},
    }
    return {
        "tak_format_version": FORMAT_VERSION,
        "schema": _SCHEMA,
        "version": shipped.version(),
        "monai_version": packages.pop("monai"),
        "pytorch_version": str(torch.__version__),
        "numpy_version": packages.pop("numpy"),
        "required_packages_version": packages,
        "name": config.title,
        "task": f"segmentation of {len(spec.organs)} organs",
        "description": f"{config.title}, trained on {spec.title} ({model.trained_on})",
        "data_source": spec.title,
        "authors": "not stated",
        "copyright": "not stated",
        "intended_use": "research; not for clinical decisions",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
        "run": config.model_dump(mode="json", exclude_none=True),
        "dataset": spec.model_dump(mode="json"),
        "step": model.step,
        "checkpoint": model.checkpoint.stem,
        "predictor": model.predictor,
        "bank_digest": bank,
        "data_digest": model.data,
        "trained_on": model.trained_on,
        "training_cases": sorted(model.training_cases),
        "weights_sha256": weights,
    }


def _texts(bank: Bank, path: Path, digest: str | None) -> dict[str, Any]:
    """Texts and origin of a bank, if it is the one that the run was trained with."""
    if bank.digest != digest:
        raise ValueError(
            f"the bank {path} has the digest {bank.digest[:12]}; the run was trained with "
            f"{'no bank' if digest is None else digest[:12]}"
        )
    return {
        "bank_digest": bank.digest,
        "encoder": bank.encoder,
        "origin": bank.origin,
        "aspects": list(bank.aspects),
        "texts": {
            name: dict(zip(bank.aspects, row, strict=True))
            for name, row in zip(bank.classes, bank.texts, strict=True)
        },
    }


def _evaluations(folder: Path, model: TrainedModel) -> dict[Path, Evaluation]:
    """The evaluations of these weights in the run's folder, by file.

    Raises:
        ValueError: a damaged file, or one of another version.
    """
    evaluations = {path: read_evaluation(path) for path in evaluation_files(folder)}
    return {
        path: evaluation
        for path, evaluation in evaluations.items()
        if (evaluation.step, evaluation.predictor) == (model.step, model.predictor)
    }


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            stored = name == WEIGHTS
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return buffer.getvalue()
