"""The page of the studies shows the results that are kept, and the studies that are shipped."""

import csv
import json

import pytest

from pipeline.experiments.study import Study
from pipeline.files import shipped
from tests.benchmarks.study_page import PAGE, RESULTS, filled, tables

NAMES = sorted(path.name for path in RESULTS.iterdir())


def test_the_tables_of_the_page_are_those_of_the_results():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "run python -m tests.benchmarks.study_page"
    assert all(f"<!-- table {name} -->" in page for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_of_the_shipped_study_and_their_means_those_of_the_runs(name):
    content = json.loads((RESULTS / name / "study.json").read_text(encoding="utf-8"))
    study = Study.read(shipped.find("studies", f"{name}-phantom-amos-small"))
    assert content["study_digest"] == study.digest
    assert content["missing"] == {}
    with (RESULTS / name / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(study.cells)
    assert len(tables(name)) >= 2
    for arm in content["arms"]:
        values = [float(row["small"]) for row in rows if row["arm"] == arm["arm"]]
        assert sum(values) / len(values) == pytest.approx(arm["mean"]["small"], abs=1e-6)
