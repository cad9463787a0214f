"""Result files: written and read again, named by their choices, damaged ones refused."""

import csv
import json
import math

import pytest

from pipeline.results.result_files import (
    check_replaced,
    evaluation_files,
    evaluation_name,
    read_evaluation,
    write_results,
)
from pipeline.results.scores import METRICS, Evaluation

ORGANS = ("liver", "spleen")
CASES = {
    "a": {"liver": dict.fromkeys(METRICS, 0.25), "spleen": dict.fromkeys(METRICS, math.nan)},
    "b": {"liver": dict.fromkeys(METRICS, 0.5), "spleen": dict.fromkeys(METRICS, 1 / 3)},
}
EVALUATION = Evaluation(
    data_set="toy", protocol="toy", part="test", checkpoint="best.pt", step=7,
    predictor="student", tolerance_mm=2.0, cases=CASES, split="5p", note="masks",
    groups={"all": ORGANS, "large": ORGANS, "small": ()},
)  # fmt: skip


def test_an_evaluation_is_the_same_after_reading(tmp_path):
    file, _ = write_results(EVALUATION, tmp_path / "evaluation-test")
    again = read_evaluation(file)
    assert math.isnan(again.cases["a"]["spleen"]["dice"])
    again.cases["a"]["spleen"] = CASES["a"]["spleen"]  # NaN equals nothing
    assert again == EVALUATION


def test_the_table_has_a_row_per_case_and_organ_and_leaves_unscored_cells_empty(tmp_path):
    _, table = write_results(EVALUATION, tmp_path / "evaluation-test")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["organ"], row["dice"]) for row in rows] == [
        ("a", "liver", "0.250000"),
        ("a", "spleen", ""),
        ("b", "liver", "0.500000"),
        ("b", "spleen", "0.333333"),
    ]
    assert {(row["split"], row["part"]) for row in rows} == {("5p", "test")}


def test_the_json_holds_means_and_deviations_for_other_programs(tmp_path):
    file, _ = write_results(EVALUATION, tmp_path / "evaluation-test")
    content = json.loads(file.read_text())
    assert content["organs"]["liver"]["dice"]["mean"] == pytest.approx(0.375)
    assert content["organs"]["spleen"]["dice"] == {"mean": pytest.approx(1 / 3), "deviation": None}
    assert content["means"]["small"]["dice"]["mean"] is None


def test_the_name_of_a_file_holds_every_choice_that_is_no_default():
    assert evaluation_name("test") == "evaluation-test"
    assert evaluation_name("test", "ga") == "evaluation-test-ga"
    name = evaluation_name("test", "ga", checkpoint="last", predictor="teacher", untrained=True)
    assert name == "evaluation-test-ga-last-teacher-untrained"


def test_result_files_are_found_by_whether_the_network_was_trained(tmp_path):
    for name in ("evaluation-test", "evaluation-test-untrained", "published-test"):
        (tmp_path / f"{name}.json").write_text("{}")
    names = [path.stem for path in evaluation_files(tmp_path)]
    assert sorted(names) == ["evaluation-test", "evaluation-test-untrained"]
    assert [path.stem for path in evaluation_files(tmp_path, untrained=True)] == names[:1]
    assert [path.stem for path in evaluation_files(tmp_path, untrained=False)] == names[1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cases": None}, "AttributeError"),
        ({"cases": {"a": {"liver": {}}}}, "case a has no dice of liver"),
        ({"cases": {"a": {"liver": {"dice": "high"}}}}, "could not convert string"),
        ({"groups": {"all": ["liver"]}}, "KeyError: 'large'"),
        ({"rules": "other"}, "no metric rules 'other'"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path, change, message):
    file, _ = write_results(EVALUATION, tmp_path / "evaluation-test")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    pattern = (
        rf"evaluation-test\.json: not an evaluation of this version .*{message}.*evaluate again"
    )
    with pytest.raises(ValueError, match=pattern):
        read_evaluation(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"cases": {}}'])
def test_a_file_that_is_no_evaluation_is_refused(tmp_path, text):
    (tmp_path / "evaluation-test.json").write_text(text)
    with pytest.raises(ValueError, match=r"evaluation-test\.json: not an evaluation"):
        read_evaluation(tmp_path / "evaluation-test.json")


def test_a_file_without_a_note_is_of_an_earlier_version_and_is_read(tmp_path):
    file, _ = write_results(EVALUATION, tmp_path / "evaluation-test")
    content = json.loads(file.read_text())
    del content["note"]
    file.write_text(json.dumps(content))
    assert read_evaluation(file).note == ""


def test_scores_on_other_data_are_not_replaced_and_unreadable_ones_are(tmp_path):
    file, _ = write_results(EVALUATION, tmp_path / "evaluation-test")
    check_replaced(file, ("toy", "toy", "5p"))
    check_replaced(tmp_path / "none.json", ("toy", "toy", "5p"))
    with pytest.raises(ValueError, match=r"scores on toy, toy, 5p; .* on toy, toy, 10p:"):
        check_replaced(file, ("toy", "toy", "10p"))
    file.write_text("{")
    check_replaced(file, ("toy", "toy", "10p"))
