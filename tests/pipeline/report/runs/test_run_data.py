"""The log of a run as a report reads it."""

from pipeline.report.runs.run_data import curves_of
from tests.support.report_material import make_scored_run


def test_a_log_that_was_cut_off_is_read_up_to_there(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    log = curves_of(run / "log.jsonl")
    assert set(log.terms) == {"total", "dice", "cross_entropy"}
    assert len(log.terms["total"]) == 40
    assert log.terms["cross_entropy"][9] == (10, 0.2)
    assert [step for step, _ in log.organs["student"]["liver"]] == [10, 20, 30, 40]
