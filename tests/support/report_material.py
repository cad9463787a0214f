"""A small run as a report finds it: checkpoint, log, scores, descriptions; nothing is trained."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from knowledge.bank.bank import Bank
from knowledge.descriptions import Claim, Description, DescriptionSet, Origin, Sample
from pipeline.report.cases import ShownCase
from pipeline.results.result_files import write_results
from pipeline.results.scores import Evaluation, organ_groups
from segmentation.data.case_files import Prepared
from tests.support.small_run import make_run

ATTACK = '<script>document.title = "owned"</script><img src=x onerror="document.title=1">'


def describe(folder: Path, prepared: Prepared) -> Path:
    """Descriptions with one true and one false claim, and with markup in the first organ's text."""
    classes = prepared.spec.classes
    origin = Origin(
        provider="recorded", model=ATTACK, template="paper", template_digest="", output="text",
        question_digest="",
    )  # fmt: skip
    claims = {
        "liver": (
            Claim(organ="liver", relation="right_of", other="spleen"),
            Claim(organ="liver", relation="left_of", other="stomach"),
        )
    }
    descriptions = tuple(
        Description(
            organ=name,
            aspect=aspect,
            samples=(
                Sample(
                    text=f"{aspect} of {name} {ATTACK if name == classes[1] else ''}",
                    claims=claims.get(name, ()) if aspect == "position" else (),
                    origin=origin,
                ),
            ),
        )
        for name in classes
        for aspect in ("shape", "position")
    )
    described = DescriptionSet(
        classes=classes, aspects=("shape", "position"), template="paper", template_digest="",
        descriptions=descriptions,
    )  # fmt: skip
    described.write(folder / "descriptions.json")
    return folder / "descriptions.json"


def make_scored_run(folder: Path, prepared: Prepared, *, better: float = 0.0) -> Path:
    """A run with a log of 40 steps, scores of its test cases and its bank with texts."""
    run = make_run(folder, prepared.spec)
    described = DescriptionSet.read(describe(folder, prepared))
    texts = tuple(
        tuple(described.get(name, aspect).text for aspect in described.aspects)
        for name in described.classes
    )
    bank = dataclasses.replace(
        Bank.read(run / "bank.h5"), texts=texts, description_digest=described.digest
    )
    bank.write(run / "bank.h5")
    _write_log(run / "log.jsonl", prepared, better)
    evaluation = scores_of(prepared, better)
    write_results(evaluation, run / "evaluation-test")
    return run


def scores_of(prepared: Prepared, better: float = 0.0) -> Evaluation:
    """Made-up scores of the test cases: lower for later organs and later cases."""
    organs = prepared.spec.classes[1:]
    cases = {
        case: {
            name: {
                "dice": 0.9 - 0.04 * rank - 0.1 * place + better,
                "nsd": 0.5,
                "hd95_mm": 9.0,
                "assd_mm": 2.0,
            }
            for rank, name in enumerate(organs)
        }
        for place, case in enumerate(prepared.split.test)
    }
    return Evaluation(
        data_set=prepared.spec.name,
        protocol=prepared.spec.protocol,
        part="test",
        checkpoint="best.pt",
        step=7,
        predictor="student",
        tolerance_mm=1.0,
        cases=cases,
        groups=organ_groups(prepared.spec),
        split="data",
    )


def _write_log(path: Path, prepared: Prepared, better: float) -> None:
    random = np.random.default_rng(0)
    lines = []
    for step in range(1, 41):
        terms = {"dice": 1 / step + 0.1 * random.random(), "cross_entropy": 2 / step}
        lines.append({"step": step, "loss": sum(terms.values()), "rate": 0.1, "terms": terms})
        if step % 10 == 0:
            scores = {name: min(step / 50 + better, 1) for name in prepared.spec.classes[1:]}
            mean = float(np.mean(list(scores.values())))
            record = {"validation": {"student": mean}, "organs": {"student": scores}}
            lines.append({"step": step, **record})
    text = "\n".join(json.dumps(line) for line in lines)
    path.write_text(text + '\n{"step": 41, "lo', encoding="utf-8")  # cut off, as by a crash


def case_of(truth, prediction, **changes):
    """A case of gray voxels with these labels."""
    content = {
        "name": "case",
        "rank": "best",
        "scores": {"liver": 0.5, "spleen": float("nan")},
        "image": np.full(truth.shape, 0.5, np.float32),
        "truth": truth.astype(np.uint8),
        "prediction": prediction.astype(np.uint8),
        "entropy": np.zeros(truth.shape, np.float32),
        "affine": np.diag([2.0, 2.0, 4.0, 1.0]),
    }
    return ShownCase(**(content | changes))
