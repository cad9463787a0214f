"""The page of the studies shows the results that are kept, and the studies that are shipped."""

import csv
import json

import pytest

from knowledge.common.digests import digest_of
from pipeline.experiments.study import Study
from pipeline.files import shipped
from tests.benchmarks.study_page import PAGE, RESULTS, filled, tables

# Before all cells were run, as the page says.
STOPPED = {"methods-small", "methods-phantom-amos-small"}
LATER = {"methods-small": {"dycon"}}  # arms that were added after the run, as the page says
NAMES = sorted(path.name for path in RESULTS.iterdir())


def test_the_tables_of_the_page_are_those_of_the_results():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "run python -m tests.benchmarks.study_page"
    assert all(f"<!-- table {name} -->" in page for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_of_the_shipped_study_and_their_means_those_of_the_runs(name):
    content = json.loads((RESULTS / name / "study.json").read_text(encoding="utf-8"))
    study = Study.read(shipped.find("studies", name))
    later = LATER.get(name, set())
    arms = [arm for arm in study.file.arms if arm["name"] not in later]
    assert len(arms) + len(later) == len(study.file.arms)
    ran = study.file.model_copy(update={"arms": arms})
    assert content["study_digest"] == digest_of(ran.model_dump(mode="json"))
    assert bool(content["missing"]) == (name in STOPPED)
    with (RESULTS / name / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) + len(content["missing"]) == sum(cell.arm not in later for cell in study.cells)
    assert len(tables(name)) >= 2
    for arm in content["arms"]:
        values = [float(row["small"]) for row in rows if row["arm"] == arm["arm"]]
        assert sum(values) / len(values) == pytest.approx(arm["mean"]["small"], abs=1e-6)
