"""Names of runs in a report, and which runs share one."""

import pytest
import torch

from pipeline.report.runs.arms import read_arms
from tests.pipeline.report.test_page import Page, ran, refusal
from tests.support.report_material import make_scored_run


def with_seed(run, seed):
    """The run with another seed in its checkpoint."""
    state = torch.load(run / "best.pt", weights_only=True)
    state["config"]["run"]["seed"] = seed
    torch.save(state, run / "best.pt")
    return run


@pytest.fixture
def runs(prepared, tmp_path):
    """Three runs of one configuration with the seeds 0, 1 and 0."""
    names = zip("abc", (0, 1, 0), strict=True)
    return [with_seed(make_scored_run(tmp_path / name, prepared), seed) for name, seed in names]


def test_labels_name_arms_and_part_equal_runs(runs):
    labels = ["TAK", "TAK", "again"]
    arms = read_arms(runs, "test", labels=labels)
    assert [(arm.label, arm.seeds) for arm in arms] == [("TAK", (0, 1)), ("again", (0,))]
    assert [arm.label for arm in read_arms(runs[:2], "test", labels="xy")] == ["x", "y"]


def test_a_label_belongs_to_one_run_or_its_seeds(runs):
    with pytest.raises(ValueError, match=r"'TAK' names .*a and .*c, which differ"):
        read_arms(runs, "test", labels=["TAK"] * 3)
    for labels in (["TAK"], ["TAK", " ", "x"]):
        with pytest.raises(ValueError, match=r"expected a name for each of 3 runs.*'TAK'"):
            read_arms(runs, "test", labels=labels)


def test_tables_and_headings_of_the_page_carry_the_labels(runs, tmp_path):
    ran(runs[0], runs[2], "--label", "Ours & co", "--label", "Theirs", "-o", tmp_path / "p.html")
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    for section in ("summary", "organs", "measures", "learning", "about"):
        assert "Ours & co" in page.texts[section], section
        assert "Theirs" in page.texts[section], section
    assert "this run" not in page.texts["organs"]
    assert "expected a name" in refusal(runs[0], "--label", "a", "--label", "b")
