"""`tak bank import` and `tak bank export`: how a user names aspects."""

import numpy as np
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
    assert "expected names separated by commas" in str(done.exception)
    assert not (tmp_path / "bank.h5").exists()


def test_every_control_is_named_in_help_and_geometry_is_measured_on_scans(tmp_path):
    from knowledge.bank.control_kinds import KINDS
    from knowledge.encoders.hashing import Hashing
    from tests.support.paths import ROOT

    saved = ROOT / "tests" / "support" / "saved"
    classes, encoder = ("background", "liver", "spleen", "stomach"), Hashing(32)
    texts = tuple((f"{name} on the left", f"a shape of {name}") for name in classes)
    like, out = tmp_path / "bank.h5", tmp_path / "out.h5"
    Bank(
        classes=classes,
        aspects=("position", "shape"),
        vectors=np.stack([encoder.encode(row) for row in texts]),
        texts=texts,
        token_counts=np.full((4, 2), 4, np.int32),
        encoder=encoder.spec,
        fingerprint=encoder.fingerprint(),
        origin={"kind": "descriptions", "models": ["a", "b"], "answered": [], "supported": None},
    ).write(like)
    shown = bank("inspect", like).output
    assert "a, b" in shown
    assert "['" not in shown
    assert "None" not in shown
    help_ = bank("control", "--help").output
    for kind in KINDS:
        assert kind in help_
        scans = ["--scans", saved / "prepared"] if kind == "geometry" else []
        done = bank("control", kind, "--like", like, "-o", out, *scans)
        assert done.exit_code == 0, done.exception
        made = Bank.read(out)
        assert made.origin["kind"] == kind
        assert made.classes == classes
        shown = bank("inspect", out).output
        assert kind in shown
    assert "geometry, which needs it" in str(
        bank("control", "geometry", "--like", like, "-o", out).exception
    )
