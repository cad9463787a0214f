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
        ("some", "write a share such as 5% or a number"),
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
