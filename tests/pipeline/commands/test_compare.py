"""`tak compare`: a table, JSON, and the command that writes missing scores."""

import json

import numpy as np
import pytest

from pipeline.results.result_files import write_results
from pipeline.results.scores import METRICS, Evaluation

ORGANS = ("liver", "spleen", "duodenum")


@pytest.fixture
def runs(tmp_path):
    """Two runs with scores of four cases on the part `test`."""
    random = np.random.default_rng(3)
    for name in ("magicnet", "tak"):
        cases = {
            f"case_{row}": {organ: dict.fromkeys(METRICS, random.random()) for organ in ORGANS}
            for row in range(4)
        }
        evaluation = Evaluation(
            data_set="toy", protocol="toy", part="test", checkpoint="best.pt", step=1,
            predictor="student", tolerance_mm=1.0, cases=cases,
            groups={"all": ORGANS, "large": ORGANS[:2], "small": ORGANS[2:]},
        )  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.toml").write_text("seed = 0\n[training]\nsteps = 60\n")
        write_results(evaluation, folder / "evaluation-test")
    return tmp_path / "magicnet", tmp_path / "tak"


def test_a_table_names_both_runs_and_the_least_p(tak, runs):
    code, out, _ = tak("compare", *runs)
    assert code == 0
    assert "A is magicnet, B is tak" in out
    assert "no p falls below 0.125" in " ".join(out.split())


def test_json_has_a_row_per_organ_and_group(tak, runs):
    content = json.loads(tak("compare", *runs, "--json")[1])
    assert [row["row"] for row in content["rows"]] == [*ORGANS, "all", "large", "small"]


def test_missing_scores_are_answered_with_the_command_that_writes_them(tak, runs):
    code, _, err = tak("compare", *runs, "--part", "validation")
    assert code == 1
    assert f"tak evaluate {runs[0]} PREPARED --part validation" in " ".join(err.split())


def test_an_unknown_metric_is_answered_with_the_known_ones(tak, runs):
    code, _, err = tak("compare", *runs, "--metric", "hd95")
    assert code == 1
    assert "did you mean hd95_mm?" in err


def test_labels_name_the_runs_in_the_table(tak, runs):
    code, out, _ = tak("compare", *runs, "--label", "MagicNet", "--label", "TAK (ours)")
    assert code == 0
    assert "A is MagicNet, B is TAK (ours)" in " ".join(out.split())
    code, _, err = tak("compare", *runs, "--label", "MagicNet")
    assert code == 1
    assert "expected a name for each of two runs, got 1" in " ".join(err.split())
