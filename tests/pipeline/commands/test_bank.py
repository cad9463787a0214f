"""`tak bank import` and `tak bank export`: how a user names aspects."""

import pytest
import torch
from typer.testing import CliRunner

from knowledge.bank.bank import Bank
from pipeline.cli import app


def bank(*words):
    return CliRunner().invoke(app, ["bank", *map(str, words)])


def test_aspects_may_have_spaces_after_the_commas_and_go_out_as_they_came_in(tmp_path):
    rows = torch.randn(28, 5)  # 14 classes, 2 aspects
    torch.save(rows, tmp_path / "in.pth")
    made, out = tmp_path / "bank.h5", tmp_path / "out.pth"
    words = ["--classes", "phantom", "--aspects", "shape, position", "-o", made]
    assert bank("import", tmp_path / "in.pth", *words).exit_code == 0
    assert Bank.read(made).aspects == ("shape", "position")
    assert bank("export", made, "--aspects", "position, shape", "-o", out).exit_code == 0
    assert torch.equal(torch.load(out), torch.cat([rows[14:], rows[:14]]))


@pytest.mark.parametrize("aspects", ["shape,", ",", "shape,,position"])
def test_an_aspect_without_a_name_is_refused(tmp_path, aspects):
    torch.save(torch.randn(28, 5), tmp_path / "in.pth")
    words = ["--classes", "phantom", "--aspects", aspects, "-o", tmp_path / "bank.h5"]
    done = bank("import", tmp_path / "in.pth", *words)
    assert "write names" in str(done.exception)
    assert not (tmp_path / "bank.h5").exists()
