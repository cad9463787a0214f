"""`tak train`, `tak evaluate`, `tak predict` as a user calls them, on tiny phantoms."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from knowledge.bank.bank import Bank
from segmentation.data.preparation import read_case
from tests.support.command_line import changed, tak, tak_here


def test_a_run_leaves_what_the_readme_names(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.toml", "log.jsonl", "last.pt", "best.pt"} <= names
    assert any(name.startswith("events") for name in names)
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == [1, 2, 3, 4, 5, 6]
    assert "contrast" in records[-2]["terms"]
    assert set(records[-1]["organs"]) == {"student", "teacher"}


def test_evaluation_writes_a_table_csv_and_json_that_agree(run, prepared, tmp_path):
    done = tak("evaluate", run, prepared.root, "-o", tmp_path, "--untrained")
    assert "mean of small" in done.stdout
    result = json.loads((tmp_path / "evaluation-test.json").read_text())
    assert result["protocol"] == prepared.spec.protocol
    assert list(result["cases"]) == list(prepared.split.test)
    assert json.loads((tmp_path / "evaluation-test-untrained.json").read_text())["step"] == 0
    with (tmp_path / "evaluation-test.csv").open() as file:
        rows = list(csv.DictReader(file))
    for metric in ("dice", "nsd", "hd95_mm", "assd_mm"):
        by_case = {}
        for organ in prepared.spec.classes[1:]:
            scored = [row for row in rows if row["organ"] == organ and row[metric]]
            mean = result["organs"][organ][metric]["mean"]
            if not scored:
                assert mean is None
                continue
            assert mean == pytest.approx(np.mean([float(row[metric]) for row in scored]), abs=1e-5)
            for row in scored:
                by_case.setdefault(row["case"], []).append(float(row[metric]))
        means = [np.mean(values) for values in by_case.values()]
        assert result["means"]["all"][metric]["mean"] == pytest.approx(np.mean(means), abs=1e-5)
    dices = [[float(r["dice"]) for r in rows if r["case"] == case] for case in result["cases"]]
    deviation = np.std([np.mean(values) for values in dices], ddof=1)
    assert result["means"]["all"]["dice"]["deviation"] == pytest.approx(deviation, abs=1e-5)
    assert "distances not scored" in result["empty_masks"]


def test_scores_of_another_checkpoint_or_network_get_names_of_their_own(run, prepared, tmp_path):
    options = ("--checkpoint", "last", "--predictor", "teacher")
    tak("evaluate", run, prepared.root, "-o", tmp_path, *options)
    (file,) = tmp_path.glob("*.json")
    assert file.name == "evaluation-test-last-teacher.json"


def test_the_evaluated_mask_is_the_one_that_predict_writes(run, prepared, population, tmp_path):
    tak("evaluate", run, prepared.root, "-o", tmp_path)
    result = json.loads((tmp_path / "evaluation-test.json").read_text())
    case = prepared.split.test[0]
    scan = population / "imagesTs" / f"{case}_0000.nii.gz"
    tak("predict", run, scan, "-o", tmp_path / "mask.nii.gz")
    mask, image = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(scan)
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    guess, truth = np.asarray(mask.dataobj), read_case(prepared.file(case)).source_label
    for label, organ in enumerate(prepared.spec.classes[1:], start=1):
        a, b = guess == label, truth == label
        if a.any() or b.any():
            dice = 2 * (a & b).sum() / (a.sum() + b.sum())
            assert result["cases"][case][organ]["dice"] == pytest.approx(dice, abs=1e-6)


def test_a_run_keeps_its_bank_and_says_where_it_comes_from(run, prepared, bank, tmp_path):
    assert (run / "bank.h5").read_bytes() == bank.read_bytes()
    told = json.loads((run / "run.json").read_text())
    assert told["bank_digest"] == Bank.read(bank).digest
    assert told["classes"] == list(prepared.spec.classes)
    (session,) = told["sessions"]
    assert session["command"].startswith(f"tak train {prepared.root} --recipe demo --bank")
    assert session["versions"].keys() > {"tak-seg", "python", "torch"}
    assert session["device"].startswith("cpu: ")
    assert session["seconds"] > 0
    assert tak_here("bundle", run, "-o", tmp_path / "model.zip").exit_code == 0
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert "knowledge/texts.json" in archive.namelist()


def test_the_log_begins_with_cases_and_voxels(run, prepared):
    first = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    counts = np.sum(
        [
            np.bincount(read_case(prepared.file(case)).label.ravel(), minlength=14)
            for case in prepared.split.labeled
        ],
        axis=0,
    )
    assert first["step"] == 0
    assert first["labeled_voxels"] == dict(zip(prepared.spec.classes, counts.tolist(), strict=True))
    assert first["cases"]["validation"] == 1


def test_two_parts_that_share_an_image_are_refused(prepared, bank, tmp_path):
    data = tmp_path / "prepared"
    shutil.copytree(prepared.root, data)
    content = json.loads((data / "dataset.json").read_text())
    known, split = content["cases"], content["split"]
    seen, kept = split["labeled"][0], split["test"][0]
    known[kept]["image_sha256"] = known[seen]["image_sha256"]
    (data / "dataset.json").write_text(json.dumps(content))
    command = ["train", data, "--recipe", "demo", "--bank", bank, "-o", tmp_path / "run"]
    done = tak_here(*command, *changed())
    assert f"{seen} (labeled) and {kept} (test)" in str(done.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "tac"], "no 'tac' among recipes: there is"),
        (["--set", "method.name=magic"], "no method 'magic'; there is"),
        (["--set", "training.stepz=3"], "unknown key"),
        (["--set", "text.aspects=['color']"], "has no aspect 'color'; there is shape, position"),
        (["--device", "cuda:9"], "this machine has"),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_one_line_and_leaves_nothing(prepared, bank, tmp_path, words, message):
    out = tmp_path / "run"
    command = ["train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", out, *changed()]
    done = tak(*command, *words, ok=False)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_bank_that_lacks_a_class_is_refused(prepared, bank, tmp_path):
    whole = Bank.read(bank)
    replace(
        whole, classes=whole.classes[:-1], vectors=whole.vectors[:-1],
        texts=whole.texts[:-1], token_counts=whole.token_counts[:-1],
    ).write(tmp_path / "small.h5")  # fmt: skip
    done = tak(
        "train", prepared.root, "--recipe", "demo", "--bank", tmp_path / "small.h5",
        "-o", tmp_path / "run", *changed(), ok=False,
    )  # fmt: skip
    assert "has no class 'duodenum'" in done.stderr


def test_a_run_of_other_classes_is_not_evaluated(run, population, tmp_path):
    text = (population / "dataset.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text.replace('"spleen"', '"milt"'))
    out = tmp_path / "prepared"
    tak("prepare", population, "-o", out, "--descriptor", own, "--spacing", 12, 12, 12)
    done = tak("evaluate", run, out, ok=False)
    assert "has the classes background, spleen" in done.stderr
    assert "has the classes background, milt" in done.stderr


def test_data_prepared_in_another_way_are_neither_scored_nor_trained_on(
    run, population, bank, tmp_path
):
    out = tmp_path / "coarse"
    tak("prepare", population, "-o", out, "--spacing", 14, 14, 14)
    done = tak("evaluate", run, out, ok=False)
    assert "was trained on phantom, protocol phantom-12x12x12mm" in done.stderr
    command = ["train", out, "--recipe", "demo", "--bank", bank, "-o", run, *changed()]
    assert "prepared or split in another way" in tak(*command, "--resume", ok=False).stderr


def test_a_run_without_validation_says_how_to_use_its_last_state(run, prepared, tmp_path):
    (tmp_path / "last.pt").write_bytes((run / "last.pt").read_bytes())
    done = tak("evaluate", tmp_path, prepared.root, ok=False)
    assert "--checkpoint last" in done.stderr
    tak("evaluate", tmp_path, prepared.root, "--checkpoint", "last")


def test_what_is_not_a_run_or_a_scan_is_named(run, population, tmp_path):
    scan = next((population / "imagesTs").iterdir())
    empty = tmp_path / "empty"
    empty.mkdir()
    mask = tmp_path / "mask.nii.gz"
    assert "no checkpoint there" in tak("predict", empty, scan, "-o", mask, ok=False).stderr
    broken = tmp_path / "scan.nii.gz"
    broken.write_bytes(scan.read_bytes()[:3000])
    assert "scan.nii.gz" in tak("predict", run, broken, "-o", mask, ok=False).stderr
    missing = tmp_path / "missing.nii.gz"
    assert "missing.nii.gz" in tak("predict", run, missing, "-o", mask, ok=False).stderr
    assert not mask.exists()
