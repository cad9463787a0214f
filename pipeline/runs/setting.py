"""Inputs of a run from its data set and bank: classes and text vectors."""

from pathlib import Path

import torch

from knowledge.bank.bank import Bank
from pipeline.config.recipe import RunConfig, TextConfig
from pipeline.files.kinds import require_kind
from pipeline.runs.build import RunInputs
from segmentation.data.descriptor import DatasetSpec


def load_run_inputs(
    config: RunConfig, spec: DatasetSpec, bank_path: Path | None
) -> tuple[RunInputs, str | None]:
    """Classes and text vectors of a run, and the digest of the bank.

    Raises:
        ValueError: a run with text and no bank, or a bank and nothing that reads it.
        LookupError: the bank has no such class or aspect.
    """
    if not config.needs_bank:
        if bank_path is not None:
            raise ValueError(f"--bank {bank_path}: this recipe has neither text head nor alignment")
        return RunInputs(spec.classes), None
    if bank_path is None:
        raise ValueError("this recipe reads text: give --bank FILE (see `tak encode --help`)")
    bank = Bank.read(require_kind(bank_path, "bank"))
    vectors = torch.from_numpy(bank.select(spec.classes, config.text.aspects))
    return RunInputs(spec.classes, scale_vectors(vectors, config.text)), bank.digest


def scale_vectors(vectors: torch.Tensor, text: TextConfig) -> torch.Tensor:
    """Vectors [C, A, E], centered over the classes and scaled, as the recipe demands."""
    if text.center:
        vectors = vectors - vectors.mean(0, keepdim=True)
    if text.norm is not None:
        lengths = vectors.norm(dim=-1, keepdim=True)
        vectors = text.norm * vectors / lengths.clamp(min=1e-12)
    return vectors
