"""The verbs of `tak bank` in a row, and mistakes of banks and texts in one message each."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from knowledge.asking.assembly import literal
from knowledge.bank.bank import Bank
from knowledge.bank.encoding import encode
from knowledge.encoders.hashing import Hashing
from knowledge.questions.template import Template, Wording
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Descriptions `a.json` and banks of them by two encoders, `a.h5` and `wide.h5`."""
    folder = tmp_path_factory.mktemp("banks")
    wording = Wording(title="t", aspects={"name": "{organ}"})
    made = literal(Template("t", wording), ("background", "knob", "hub"))
    made.write(folder / "a.json")
    encode(made, Hashing(32)).write(folder / "a.h5")
    encode(made, Hashing(64)).write(folder / "wide.h5")
    return folder


def test_the_verbs_of_a_bank(tak_here, tmp_path: Path) -> None:
    for name, template in (("a", "paper"), ("b", "terse"), ("n", "class-name")):
        assert tak_here("describe", "synapse", "--template", template, "-o", f"{name}.json")[0] == 0
        encoder = ("--encoder", "hashing:32", "-o", f"{name}.h5")
        assert tak_here("encode", f"{name}.json", *encoder)[0] == 0
    code, out, _ = tak_here("bank", "diff", "a.h5", "b.h5")
    assert code == 0
    assert "28 vectors in both, mean cosine" in out
    assert tak_here("bank", "plot", "a.h5", "-o", "a.png")[0] == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert tak_here("bank", "merge", "a.h5", "n.h5", "-o", "both.h5")[0] == 0
    assert Bank.read(tmp_path / "both.h5").aspects == ("position", "shape", "name")
    assert tak_here("bank", "export", "a.h5", "--aspects", "shape,position", "-o", "a.pth")[0] == 0
    assert torch.load(tmp_path / "a.pth", weights_only=True).shape == (28, 32)
    named = ("--classes", "synapse", "--aspects", "shape,position")
    assert tak_here("bank", "import", "a.pth", *named, "-o", "again.h5")[0] == 0
    again, first = Bank.read(tmp_path / "again.h5"), Bank.read(tmp_path / "a.h5")
    assert (again.select(first.classes, first.aspects) == first.vectors).all()
    for kind in ("random", "shuffled", "onehot", "class-name", "template"):
        assert tak_here("bank", "control", kind, "--like", "a.h5", "-o", f"{kind}.h5")[0] == 0
        assert Bank.read(tmp_path / f"{kind}.h5").vectors.shape == (14, 2, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bank", "diff", "a.h5", "wide.h5"), "the banks come from different encoders"),
        (("encode", "a.json", "--encoder", "hashing:64", "--into", "a.h5"), "different encoders"),
        (("bank", "control", "zero", "--like", "a.h5"), "no control 'zero'; there is random"),
        (
            ("bank", "import", "a.h5", "--classes", "amos", "--aspects", "shape"),
            "not a file of plain tensors",
        ),
        (("encode", "a.json", "--long-text", "shorten", "--encoder", "hashing"), "needs a model"),
        (("check", "a.json", "--scans", "nowhere"), "nowhere: there is no such file or folder"),
        (("check", "a.json", "--scans", "."), "has no dataset.toml"),
        (("describe", "amos", "--verify"), "--verify needs labeled scans"),
        (("describe", "amos", "--images", "multi"), "--images multi needs renderings"),
        (("describe", "amos", "--images", "all"), "no images 'all'; there is none, multi"),
        (("study", "nowhere.toml"), "nowhere.toml: there is no such file or folder"),
    ],
)
def test_a_mistake_ends_with_one_message(
    tak_here, monkeypatch: pytest.MonkeyPatch, banks: Path, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(banks)
    code, _, err = tak_here(*arguments)
    assert code == 1
    assert message in err
    assert "Traceback" not in err


def test_reading_a_bank_needs_neither_torch_nor_an_encoder() -> None:
    heavy = "('torch', 'transformers', 'open_clip', 'openai', 'pyvista', 'scipy')"
    code = f"import sys, knowledge.bank; print([m for m in {heavy} if m in sys.modules])"
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
