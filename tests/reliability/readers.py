"""Every reader of files, with a valid file to damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.reliability.binary_damage import changed_checkpoint, changed_hdf5
from tests.reliability.damage import (
    Change,
    changed_gzip,
    changed_json,
    changed_lines,
    changed_toml,
    changed_zip,
    damaged_bytes,
)
from tests.reliability.jobs import SAVED
from tests.reliability.strange import Reader
from tests.support.paths import DATA, ROOT
from tests.support.tiny_study import write_study


def readers() -> dict[str, Reader]:
    """The readers by name."""
    return {**_texts(), **_encoders(), **_networks(), **_scans()}


def _copied(source: Path, name: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)

    return build


def _of(
    source: Path, name: str, change: Change, read: Callable[[Path], object], file: str = ""
) -> Reader:
    place = f"{name}/{file}" if file else name
    return Reader(place, _copied(source, name), change, lambda folder: read(folder / name))


def _verdicts(folder: Path) -> None:
    from knowledge.descriptions import Claim
    from knowledge.grounding.claims import CheckReport, summarize
    from knowledge.grounding.scene import ClaimVerdict

    claims = (
        Claim(organ="liver", relation="right_of", other="spleen"),
        Claim(organ="liver", relation="superior_to", other="right kidney"),
    )
    found = [ClaimVerdict("supported", 80.0, "mm"), ClaimVerdict("contradicted", -60.0, "mm")]
    results = tuple(summarize(claim, found) for claim in claims)
    report = CheckReport(cases=("1", "2"), results=results, problems=("none",))
    report.write(folder / "verdicts.json")


def _texts() -> dict[str, Reader]:
    from knowledge.bank.bank import Bank
    from knowledge.bank.tensors import export_tensor, import_tensor
    from knowledge.descriptions import DescriptionSet
    from knowledge.providers.base.answer_store import AnswerStore
    from knowledge.questions.template import Template
    from pipeline.config.recipe_files import read_config
    from pipeline.datasets.organ_lists import read_organ_list
    from pipeline.experiments.study import Study
    from pipeline.report.texts import read_outcome
    from segmentation.data.descriptor import DatasetSpec

    answers = sorted((DATA / "answers").glob("*.json"))[0]
    recipe = ROOT / "pipeline" / "recipes" / "demo.toml"
    bank = Bank.read(SAVED / "bank.h5")

    def tensor(folder: Path) -> None:
        export_tensor(bank, folder / "a.pth", classes=None, aspects=None, dtype="float32")

    return {
        "bank": _of(SAVED / "bank.h5", "bank.h5", changed_hdf5, Bank.read),
        "descriptions": _of(
            SAVED / "descriptions.json", "d.json", changed_json, DescriptionSet.read
        ),
        "answer store": _of(answers, "a.json", changed_json, AnswerStore.read),
        "wording": _of(ROOT / "prompts" / "paper.toml", "w.toml", changed_toml, Template.read),
        "recipe": _of(recipe, "r.toml", changed_toml, read_config),
        "study": Reader("tiny.toml", lambda folder: write_study(folder) and None, changed_toml,
                        lambda folder: Study.read(folder / "tiny.toml")),
        "descriptor": _of(DATA / "phantom.toml", "d.toml", changed_toml, DatasetSpec.read),
        "organ list": _of(DATA / "phantom.toml", "o.toml", changed_toml,
                          lambda path: read_organ_list(str(path))),
        "verdicts": Reader("verdicts.json", _verdicts, changed_json,
                           lambda folder: read_outcome(folder / "verdicts.json")),
        "tensor .pth": Reader("a.pth", tensor, changed_checkpoint_or_bytes, lambda folder:
                              import_tensor(folder / "a.pth", bank.classes, bank.aspects)),
    }  # fmt: skip


def changed_checkpoint_or_bytes(whole: bytes, chance: object) -> bytes:
    """A damaged `.pth` of a bare tensor."""
    import io
    import random

    import torch

    assert isinstance(chance, random.Random)
    if chance.random() < 0.6:
        return damaged_bytes(whole, chance, len(whole))
    tensor = torch.load(io.BytesIO(whole), weights_only=True)
    buffer = io.BytesIO()
    choices = [
        tensor * float("nan"), tensor.to_sparse(), tensor[:3], tensor.int(), {"a": tensor},
        [tensor], "text", None, torch.zeros(0), tensor.to(torch.complex64), tensor[0],
        torch.zeros(1).expand(10**6, 10**6), torch.zeros(2, 3, device="meta"),
    ]  # fmt: skip
    torch.save(chance.choice(choices), buffer)
    return buffer.getvalue()


def _networks() -> dict[str, Reader]:
    import torch

    from pipeline.report.runs.run_data import read_run
    from pipeline.results.result_files import read_evaluation
    from pipeline.runs.open_model import open_model
    from pipeline.runs.reproduction import open_original
    from pipeline.runs.starting.released_checkpoint import read_published
    from segmentation.data.case_files import load_prepared, read_case
    from segmentation.training.log import read_log

    cpu, run, prepared = torch.device("cpu"), SAVED / "run", SAVED / "prepared"

    def network(path: Path) -> object:
        return open_model(path, device=cpu)

    def released(folder: Path) -> None:
        weights = torch.load(run / "best.pt", weights_only=True)["method"]
        torch.save({"state_dict": weights}, folder / "x.pth")

    def with_data(folder: Path) -> None:  # the saved run is of a version that did not record them
        shutil.copytree(run, folder / "run")
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        text = json.dumps(record | {"data": str(prepared)})
        (folder / "run" / "run.json").write_text(text, encoding="utf-8")

    return {
        "checkpoint": _of(run, "run", changed_checkpoint, network, "best.pt"),
        "bundle": _of(SAVED / "bundle.zip", "b.zip", changed_zip, network),
        "released .pth": Reader("x.pth", released, changed_checkpoint,
                                lambda folder: read_published(folder / "x.pth")),
        "scores": _of(run / "evaluation-test.json", "evaluation-test.json", changed_json,
                      read_evaluation),
        "log": _of(run / "log.jsonl", "log.jsonl", changed_lines, read_log),
        "run for a report": _of(run, "run", changed_lines, lambda path: read_run(path, "test"),
                                "log.jsonl"),
        "run.json": Reader("run/run.json", with_data, changed_json,
                           lambda folder: open_original(folder / "run", prepared)),
        "prepared case": _of(prepared / "phantom_0000.h5", "c.h5", changed_hdf5, read_case),
        "dataset.json": _of(prepared, "p", changed_json, load_prepared, "dataset.json"),
    }  # fmt: skip


def _encoders() -> dict[str, Reader]:
    from knowledge.encoders.transformer import Transformer
    from tests.support.small_encoders import bert

    def build(folder: Path) -> None:
        bert(folder / "bert")

    def read(folder: Path) -> object:
        return Transformer.from_argument(f"{folder / 'bert'}@mean", "cpu").encode(
            ["The liver is large."]
        )

    changes = {
        "config.json": changed_json,
        "tokenizer.json": changed_json,
        "tokenizer_config.json": changed_json,
        "model.safetensors": damaged_bytes,
    }
    return {f"encoder {file}": Reader(f"bert/{file}", build, change, read)
            for file, change in changes.items()}  # fmt: skip


def _scans() -> dict[str, Reader]:
    from segmentation.imaging.volume import read_volume

    def scan(suffix: str) -> Callable[[Path], None]:
        def build(folder: Path) -> None:
            voxels = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
            path = folder / f"a{suffix}"
            if suffix.startswith(".nii"):
                import nibabel

                nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 5, 1])), path)
            elif suffix == ".dcm":
                from tests.support.dicom_objects import body, write_enhanced

                write_enhanced(path, body(), [(0, 0, 5.0 * i) for i in range(6)])
            else:
                import SimpleITK

                SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path))

        return build

    return {
        f"scan {suffix}": Reader(
            f"a{suffix}",
            scan(suffix),
            changed_gzip if suffix == ".nii.gz" else damaged_bytes,
            lambda folder, suffix=suffix: read_volume(folder / f"a{suffix}"),
        )
        for suffix in (".nii", ".nii.gz", ".nrrd", ".mha", ".dcm")
    }
