"""`tak split` as a user calls it, on phantoms."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.split import Split


def tak(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("kind", ["raw", "prepared"])
def test_a_labeled_part_is_drawn_and_the_other_lists_stay(kind, population, prepared, tmp_path):
    folder = population if kind == "raw" else prepared.root
    done = tak("split", folder, "--labeled", 1, "--seed", 3, "-o", tmp_path / "lists", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    found, before = Split.read(tmp_path / "lists"), prepared.split
    assert list(found.labeled) == told["labeled"]
    assert set(found.labeled) < set(before.labeled)
    assert set(found.train) == set(before.train)
    assert (found.validation, found.test) == (before.validation, before.test)
    assert told["organs"].keys() == prepared.spec.labels.keys()
    again = tak("split", folder, "--labeled", "25%", "--seed", 3, "-o", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert Split.read(tmp_path / "again") == found
    assert "1 of 4 training cases labeled (2 have a mask)" in again.output


def test_what_was_drawn_can_be_prepared(population, tmp_path):
    tak("split", population, "--labeled", 1, "-o", tmp_path / "lists")
    spec = DatasetSpec.read(population / "dataset.toml")
    assert len(spec.split(tmp_path / "lists", population).unlabeled) == 3


@pytest.mark.parametrize(
    ("labeled", "message"),
    [
        ("some", "expected a share such as 5%, or a number"),
        ("0%", "above 0% and up to 100%"),
        ("3", "--labeled 3: that is 3 cases, and 2 of the 4 training cases have a mask"),
    ],
)
def test_a_share_that_cannot_be_drawn_writes_nothing(population, tmp_path, labeled, message):
    done = tak("split", population, "--labeled", labeled, "-o", tmp_path / "lists")
    assert message in str(done.exception)
    assert not (tmp_path / "lists").exists()


def test_lists_are_never_overwritten(population, tmp_path):
    shutil.copy(population / "splits" / "test.txt", tmp_path)
    assert "is not empty" in str(tak("split", population, "--labeled", 1, "-o", tmp_path).exception)


def test_all_lists_are_drawn_by_counts_or_shares(population, tmp_path):
    words = ("--test", 2, "--validation", "20%", "--labeled", 1, "--seed", 1)
    done = tak("split", population, *words, "-o", tmp_path / "lists")
    assert done.exit_code == 0, done.exception
    split = Split.read(tmp_path / "lists")
    assert [len(split.test), len(split.validation), len(split.labeled)] == [2, 1, 1]
    assert len(split.unlabeled) == 3  # two without a mask, one that was not drawn
    again = tak("split", population, *words, "-o", tmp_path / "again")
    assert again.exit_code == 0
    assert Split.read(tmp_path / "again") == split
    other = tak("split", population, *words[:-1], 2, "-o", tmp_path / "other")
    assert other.exit_code == 0
    assert Split.read(tmp_path / "other") != split


def test_data_without_lists_get_all_of_them(population, tmp_path):
    shutil.copytree(population, tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "splits")
    done = tak("split", tmp_path / "raw", "-o", tmp_path / "raw" / "splits")
    assert done.exit_code == 0, done.exception
    split = Split.read(tmp_path / "raw" / "splits")
    assert [len(split.test), len(split.validation), len(split.labeled)] == [1, 0, 4]
    spec = DatasetSpec.read(tmp_path / "raw" / "dataset.toml")
    assert spec.split(None, tmp_path / "raw") == split


def test_every_case_with_a_mask_is_tested_in_one_fold(population, prepared, tmp_path):
    words = ("--folds", 5, "--validation", 1, "--labeled", 2)
    done = tak("split", population, *words, "-o", tmp_path / "cv")
    assert done.exit_code == 0, done.exception
    splits = [Split.read(tmp_path / "cv" / f"fold-{fold}") for fold in range(5)]
    tested = [case for split in splits for case in split.test]
    assert sorted(tested) == sorted(prepared.split.with_labels)
    for split in splits:
        assert [len(split.test), len(split.validation), len(split.labeled)] == [1, 1, 2]
        assert set(prepared.split.unlabeled) <= set(split.unlabeled)
    json_out = tak("split", population, *words, "-o", tmp_path / "cv2", "--json")
    assert len(json.loads(json_out.stdout)["folds"]) == 5


def test_patients_stay_together_and_their_unlabeled_scans_out(population, prepared, tmp_path):
    masked = sorted(prepared.split.with_labels)
    bare = prepared.split.unlabeled
    file = tmp_path / "who.txt"
    lines = [f"{masked[0]} p", f"{masked[1]} p", f"{bare[0]} p", *(f"{c} {c}" for c in masked[2:])]
    file.write_text("\n".join(lines))
    for seed in range(6):
        out = tmp_path / str(seed)
        words = ("--test", 2, "--labeled", 1, "--patients", file, "--seed", seed)
        done = tak("split", population, *words, "-o", out)
        assert done.exit_code == 0, done.exception
        split = Split.read(out)
        assert (masked[0] in split.train) == (masked[1] in split.train)
        assert (bare[0] in split.train) == (masked[0] in split.train)
        assert ("left out" in done.output) == (masked[0] not in split.train)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--test", 5), "5 test and 0 validation cases of 5 with a mask leave none to train on"),
        (("--folds", 9), "only 5 patients have a mask"),
        (("--folds", 1), "--folds 1: expected 2 or more"),
        (("--folds", 2, "--test", 1), "every fold the test part once; omit --test"),
        (("--test", 1, "--split", "data"), "--split data keeps its lists"),
        (("--test", "many"), "--test many: expected a share such as 5%, or a number"),
        (("--test", 1, "--labeled", "x"), "--labeled x: expected a share"),
        (("--patients", "none.txt", "--test", 1), "--patients none.txt: there is no such file"),
        ((), "--labeled is missing"),
    ],
)
def test_draws_that_cannot_be_are_refused(population, tmp_path, words, message):
    done = tak("split", population, *words, "-o", tmp_path / "lists")
    assert message in str(done.exception)
    assert not (tmp_path / "lists").exists()
