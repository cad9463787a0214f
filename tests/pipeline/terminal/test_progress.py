"""Progress bars: as many steps as calls, on the stream that was chosen."""

from pipeline.terminal.progress import counted, parts_of


def test_a_bar_counts_calls_and_shows_the_last_name(capsys):
    with counted("scoring", 3, stderr=True) as tick:
        for name in ("a", "b", "c"):
            tick(name)
    out, err = capsys.readouterr()
    assert out == ""
    assert "scoring" in err
    assert "3/3" in err
    assert "c" in err.split()


def test_a_long_item_reports_its_share_and_the_end_is_full(capsys):
    with parts_of("segmenting", 2) as start:
        start("ct.nii.gz")(0.5)
        start("mr.nii.gz")(1.0)
    _, err = capsys.readouterr()
    assert "2/2" in err
    assert "100%" in err
