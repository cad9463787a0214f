"""Results by published rules, beside published numbers, and what may not stand there."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.datasets.protocols import claim_of_data, data_digest, rules_for
from pipeline.runs.open_model import open_model
from pipeline.scoring.evaluation import claim_of_run, evaluate
from pipeline.scoring.published import chosen_methods, published_rows, setting_for, settings
from segmentation.data.case_files import FORMAT_VERSION, load_prepared, write_case
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.protocol import ProtocolLabel
from segmentation.training.checkpoint import load, save
from tests.conftest import ROOT
from tests.support.small_run import make_run


def tak(*words, ok=True):
    done = CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "80"})
    assert (done.exit_code == 0) == ok, done.output
    return done


def small_synapse(folder, split):
    """Synapse in miniature, as `prepare` leaves it: 30 cases of 16 x 16 x 12 voxels."""
    folder.mkdir()
    spec = DatasetSpec.read(ROOT / "data" / "synapse.toml")
    label = np.zeros((16, 16, 12), dtype=np.uint8)
    for value in range(1, len(spec.classes)):
        label[value, 2:6, 3:9] = value
    arrays = {"image": label.astype(np.float32) / 13, "label": label, "source_label": label}
    attributes = {
        "format_version": FORMAT_VERSION,
        "affine": np.eye(4),
        "source_affine": np.eye(4),
        "source_shape": label.shape,
    }
    for case in split.cases:
        write_case(folder / f"{case}.h5", arrays, attributes)
    content = {
        "format_version": FORMAT_VERSION,
        "spec": spec.model_dump(mode="json"),
        "split": split.model_dump(mode="json"),
        "cases": {case: {} for case in split.cases},
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return load_prepared(folder)


def trained_on(run, prepared):
    """Note in a run's checkpoint that it was trained on prepared data."""
    state = load(run / "best.pt")
    identity = replace(state.identity, data=data_digest(prepared))
    save(replace(state, identity=identity), run / "best.pt")
    return run


@pytest.fixture(scope="module")
def synapse(tmp_path_factory):
    spec = DatasetSpec.read(ROOT / "data" / "synapse.toml")
    return small_synapse(tmp_path_factory.mktemp("synapse") / "prepared", spec.split("20p"))


@pytest.fixture(scope="module")
def run(synapse, tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("runs") / "run", synapse.spec)
    return trained_on(folder, synapse)


def test_four_settings_of_sixteen_methods_are_shipped():
    known = {(setting.protocol, setting.split) for setting in settings()}
    data_sets = {("amos-ga", "2p"), ("amos-ga", "5p"), ("synapse-ga", "10p"), ("synapse-ga", "20p")}
    assert known == data_sets
    assert all(len(setting.methods) == 16 for setting in settings())


def test_published_rows_carry_the_names_of_the_descriptor():
    rows = published_rows("amos-ga", "5p")
    spec = DatasetSpec.read(ROOT / "data" / "amos.toml")
    assert all(tuple(row) == spec.classes[1:] for row in rows.values())
    assert published_rows("synapse-ga", "20p")["TAK"]["portal and splenic vein"] == 0.706


@pytest.mark.parametrize("setting", settings(), ids=str)
def test_published_means_are_those_of_the_published_organs(setting):
    spec_name = setting.protocol.removesuffix("-ga")
    spec = DatasetSpec.read(ROOT / "data" / f"{spec_name}.toml")
    for method, row in setting.methods.items():
        for group, mean in setting.means[method].items():
            organs = [o.name for o in spec.organs if group in ("all", o.size)]
            assert np.mean([row[organ] for organ in organs]) == pytest.approx(mean, abs=6e-4)


def test_what_was_not_published_is_answered_with_what_was():
    with pytest.raises(LookupError, match="no published numbers for phantom data; there are some"):
        published_rows("phantom", "data")


def test_methods_are_chosen_by_name_and_otherwise_the_best_of_the_rest():
    amos = next(s for s in settings() if (s.protocol, s.split) == ("amos-ga", "5p"))
    assert chosen_methods(amos, "published") == ("MagicNet", "GA", "TAK")
    assert chosen_methods(amos, "dhc, tak") == ("DHC", "TAK")
    with pytest.raises(LookupError, match="no published nnU-Net; there is published, V-Net"):
        chosen_methods(amos, "GA,nnU-Net")


def test_numbers_stand_beside_the_same_protocol_split_part_and_rules_alone():
    claim = ProtocolLabel("amos-ga", "5p")
    assert setting_for(claim, "test", "ga").methods == published_rows("amos-ga", "5p")
    for other, part, rules, told in (
        (claim, "test", "scan", "--rules published scores by their rules"),
        (claim, "validation", "ga", "--part test scores their cases"),
        (ProtocolLabel("amos-ga", "10p"), "test", "ga", "protocol or split are not comparable"),
        (
            ProtocolLabel("amos-ga, own grid", "5p", ("grid 2 mm",)),
            "test",
            "ga",
            "rules ga: grid 2 mm",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            setting_for(other, part, rules)


def test_a_run_on_the_protocol_is_shown_beside_published_numbers(
    run, synapse, tmp_path, monkeypatch
):
    monkeypatch.setattr("segmentation.evaluation.rules.GA_SHAPE", (16, 16, 8))  # for time
    command = ("evaluate", run, synapse.root, "--rules", "published", "-o", tmp_path)
    shown = tak(*command, "--beside", "published").stdout
    assert "protocol synapse-ga, split 20p; metric rules ga" in shown
    assert "not computed by the published code" in shown
    assert "this run predicts with a stride of 8 x 8 x 8, the published ones 32 x" in shown
    assert "whose recipe is not known" in shown
    lines = [line for line in shown.splitlines() if not line.startswith(("wrote", "scoring"))]
    assert max(map(len, lines)) <= 80
    result = json.loads((tmp_path / "evaluation-test-ga.json").read_text())
    assert (result["protocol"], result["split"], result["rules"]) == ("synapse-ga", "20p", "ga")
    assert "128" in result["rule_facts"]["empty_masks"]
    beside = json.loads((tmp_path / "published-test-ga.json").read_text())
    assert beside["dice"]["TAK"]["liver"] == 0.91
    own = [scores["liver"]["dice"] for scores in result["cases"].values()]
    assert beside["dice"]["this run"]["liver"] == pytest.approx(np.mean(own))
    with (tmp_path / "published-test-ga.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert rows["all"]["GA"] == "0.6843"
    assert {row["split"] for row in rows.values()} == {"20p"}


def test_nothing_is_scored_before_a_comparison_is_refused(run, synapse, tmp_path):
    words = ("evaluate", run, synapse.root, "--beside", "published", "-o", tmp_path)
    done = tak(*words, ok=False)
    assert "--rules published scores by their rules" in str(done.exception or done.output)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("millimeters", ["-1", "nan", "inf"])
def test_a_tolerance_is_a_distance(run, synapse, tmp_path, millimeters):
    words = ("evaluate", run, synapse.root, "--tolerance", millimeters, "-o", tmp_path)
    done = tak(*words, ok=False)
    assert f"--tolerance {millimeters}: expected a distance" in str(done.exception or done.output)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_learned_from_other_cases_does_not_carry_the_protocol(synapse, tmp_path):
    folder = make_run(tmp_path / "run", synapse.spec)
    opened = open_model(folder, device=torch.device("cpu"))
    claim = claim_of_run(opened, synapse)
    assert claim.protocol == "synapse-ga, own training cases"
    assert "does not say on which cases" in claim.departures[0]
    spec = DatasetSpec.read(ROOT / "data" / "synapse.toml")
    other = small_synapse(tmp_path / "other", spec.split("10p"))
    opened = open_model(trained_on(folder, other), device=torch.device("cpu"))
    assert "trained on another split" in claim_of_run(opened, synapse).departures[0]
    assert claim_of_data(synapse).protocol == "synapse-ga"


def test_a_phantom_has_no_published_rules_and_no_published_numbers(prepared, tmp_path):
    folder = make_run(tmp_path / "run", prepared.spec)
    with pytest.raises(LookupError, match="is no published one"):
        rules_for("published", prepared.spec)
    done = tak("evaluate", folder, prepared.root, "--beside", "published", ok=False)
    assert "numbers were published for amos-ga 2p" in str(done.exception or done.output)


def test_a_bundle_is_scored_like_the_run_that_it_was_made_of(run, synapse, tmp_path):
    bundle = tmp_path / "run.zip"
    tak("bundle", run, "-o", bundle)
    for model, folder in ((run, tmp_path / "a"), (bundle, tmp_path / "b")):
        folder.mkdir()
        tak("evaluate", model, synapse.root, "--rules", "dhc", "-o", folder)
    a, b = (json.loads((tmp_path / name / "evaluation-test-dhc.json").read_text()) for name in "ab")
    assert a["cases"] == b["cases"]
    assert a["protocol"] == b["protocol"] == "synapse-ga"
    done = tak("evaluate", bundle, synapse.root, "--untrained", ok=False)
    assert "a bundle holds no untrained network" in str(done.exception or done.output)


def test_stored_grid_rules_read_the_prepared_mask(run, synapse):
    class Copies:
        """Predicts what the image shows, which is the mask."""

        def planes(self, image):
            labels = (image * 13).round().long()
            return iter(torch.nn.functional.one_hot(labels, 14).permute(0, 3, 1, 2).float())

        def __getattr__(self, name):
            return getattr(opened, name)

    opened = open_model(run, device=torch.device("cpu"))
    found = evaluate(Copies(), synapse, "test", lambda case: None, rules="magicnet")
    assert found.organ("liver", "dice") == (1, 0)
    assert found.organ("liver", "nsd_1_voxel")[0] == pytest.approx(1)
    assert found.organ("liver", "asd_voxels") == (0, 0)
