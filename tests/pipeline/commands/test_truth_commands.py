"""`tak check`, `tak render`, `tak describe --verify`, `tak bank ...`, as users type them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tests.support.renderer  # noqa: F401  (before any picture is drawn)
from knowledge.asking.assembly import literal
from knowledge.bank.bank import Bank
from knowledge.bank.encoding import encode
from knowledge.descriptions import DescriptionSet
from knowledge.encoders.hashing import Hashing
from knowledge.questions.template import Template, Wording
from pipeline.cli import main
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small population on disk."""
    from pipeline.files import shipped
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.phantom.population import Population, make_population

    folder = tmp_path_factory.mktemp("phantoms")
    population = Population(labeled=2, unlabeled=1, validation=1, test=0, spacing_mm=7.0)
    make_population(DatasetSpec.read(shipped.find("data", "phantom")), folder, population)
    return folder


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


@pytest.fixture
def tak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Run `tak` with arguments in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tak", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_the_shipped_descriptions_are_true_of_the_phantoms_and_the_bank_says_so(
    tak, tmp_path: Path, phantoms: Path
) -> None:
    assert tak("describe", "phantom", "-o", "d.json")[0] == 0
    before = (tmp_path / "d.json").read_bytes()
    code, out, _ = tak("check", "d.json", "--scans", phantoms, "--report", "r.json")
    assert code == 0
    assert (tmp_path / "d.json").read_bytes() == before
    assert "79 claims on 2 cases: 79 supported, 0 contradicted, 0 untestable" in out
    assert json.loads((tmp_path / "r.json").read_text())["cases"] == [
        "phantom_0000",
        "phantom_0001",
    ]
    assert tak("check", "d.json", "--scans", phantoms, "--record")[0] == 0
    assert tak("encode", "d.json", "--encoder", "hashing:32")[0] == 0
    origin = Bank.read(tmp_path / "bank.h5").origin
    assert origin["supported_share"] == 1.0
    assert not {"edited", "supported_share_of", "supported_share_independent"} & set(origin)


def test_texts_edited_after_their_answer_and_their_check_are_marked(
    tak, tmp_path: Path, phantoms: Path
) -> None:
    assert tak("describe", "phantom", "-o", "d.json")[0] == 0
    assert tak("check", "d.json", "--scans", phantoms, "--record")[0] == 0
    described = DescriptionSet.read(tmp_path / "d.json")
    assert (described.edited, described.share_mismatch) == ((), False)
    text = described.get("spleen", "shape").text
    content = (tmp_path / "d.json").read_text(encoding="utf-8")
    edited = content.replace(json.dumps(text, ensure_ascii=False), '"Like a fist."')
    (tmp_path / "d.json").write_text(edited, encoding="utf-8")
    code, out, _ = tak("check", "d.json", "--scans", phantoms, "--report", "r.json")
    assert code == 0
    assert "edited by hand: spleen, shape" in out
    assert json.loads((tmp_path / "r.json").read_text())["edited"] == ["spleen, shape"]
    assert tak("encode", "d.json", "--encoder", "hashing:32")[0] == 0
    origin = Bank.read(tmp_path / "bank.h5").origin
    assert origin["edited"] == ["spleen, shape"]
    assert origin["supported_share_of"] == described.digest


def test_exchanged_sides_end_with_exit_code_1(tak, tmp_path: Path, phantoms: Path) -> None:
    assert tak("describe", "phantom", "-o", "d.json")[0] == 0
    text = (tmp_path / "d.json").read_text().replace('"left_of"', '"@"')
    text = text.replace('"right_of"', '"left_of"').replace('"@"', '"right_of"')
    (tmp_path / "d.json").write_text(text)
    code, out, _ = tak(
        "check", "d.json", "--scans", phantoms / "labelsTr", "--descriptor", "phantom"
    )
    assert code == 1
    assert "contradicted" in out
    assert "left and right exchanged: left kidney right_of right kidney" in out


def test_a_live_model_is_corrected_by_labeled_scans(tak, tmp_path: Path, phantoms: Path) -> None:
    def mixed_up(body: Body) -> Reply:
        if is_probe(body) or asked_organ(body) != "spleen":
            return good_answer(body)
        relation = "right_of" if len(body["messages"]) < 4 else "left_of"
        claims = [{"relation": relation, "other": "liver"}]
        answer = {"organ": "spleen", "text": f"The spleen lies {relation} the liver."}
        return Reply(json.dumps({**answer, "claims": claims, "attributes": []}))

    with chat_server(mixed_up) as server:
        options = ("--provider", "openai_compatible", "--model", "m", "--base-url", server.url)
        code, _, _ = tak(
            "describe",
            "phantom",
            *options,
            "--cache",
            "c",
            "-o",
            "d.json",
            "--verify",
            "--scans",
            phantoms,
        )
    assert code == 0
    made = DescriptionSet.read(tmp_path / "d.json").get("spleen", "position")
    assert [str(claim) for claim in made.claims] == ["spleen left_of liver"]
    assert made.origin.corrections == 1
    assert DescriptionSet.read(tmp_path / "d.json").verified_on == ("phantom_0000", "phantom_0001")
    _, out, _ = tak("check", "d.json", "--scans", phantoms, "--report", "r.json", "--record")
    assert "supported share 1.000 (not independent)" in out
    assert "corrected on phantom_0000, phantom_0001" in out
    assert json.loads((tmp_path / "r.json").read_text())["independent"] is False
    assert not DescriptionSet.read(tmp_path / "d.json").supported_share_independent


def test_renderings_are_made_and_sent(tak, tmp_path: Path, phantoms: Path) -> None:
    pytest.importorskip("pyvista")
    code, out, _ = tak("render", phantoms, "-o", "pictures", "--size", 64)
    assert code == 0
    assert "56 pictures of case phantom_0000" in out
    with chat_server() as server:
        options = ("--provider", "openai_compatible", "--model", "m", "--base-url", server.url)
        images = ("--images", "multi", "--renderings", "pictures")
        code, _, _ = tak("describe", "phantom", *options, *images, "--cache", "c", "-o", "d.json")
        assert code == 0
        assert all(len(body["messages"][-1]["content"]) == 5 for body in server.questions)
    code, _, err = tak("describe", "phantom", *images)
    assert code == 1
    assert "recorded answers cannot be combined with pictures" in err


def test_the_verbs_of_a_bank(tak, tmp_path: Path) -> None:
    for name, template in (("a", "paper"), ("b", "terse"), ("n", "class-name")):
        assert tak("describe", "synapse", "--template", template, "-o", f"{name}.json")[0] == 0
        encoder = ("--encoder", "hashing:32", "-o", f"{name}.h5")
        assert tak("encode", f"{name}.json", *encoder)[0] == 0
    code, out, _ = tak("bank", "diff", "a.h5", "b.h5")
    assert code == 0
    assert "28 vectors in both, mean cosine" in out
    assert tak("bank", "plot", "a.h5", "-o", "a.png")[0] == 0
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert tak("bank", "merge", "a.h5", "n.h5", "-o", "both.h5")[0] == 0
    assert Bank.read(tmp_path / "both.h5").aspects == ("position", "shape", "name")
    assert tak("bank", "export", "a.h5", "--aspects", "shape,position", "-o", "a.pth")[0] == 0
    assert torch.load(tmp_path / "a.pth", weights_only=True).shape == (28, 32)
    named = ("--classes", "synapse", "--aspects", "shape,position")
    assert tak("bank", "import", "a.pth", *named, "-o", "again.h5")[0] == 0
    again, first = Bank.read(tmp_path / "again.h5"), Bank.read(tmp_path / "a.h5")
    assert (again.select(first.classes, first.aspects) == first.vectors).all()
    for kind in ("random", "shuffled", "onehot", "class-name", "template"):
        assert tak("bank", "control", kind, "--like", "a.h5", "-o", f"{kind}.h5")[0] == 0
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
        (("study", "nowhere.toml"), "no 'nowhere.toml' among studies"),
    ],
)
def test_a_mistake_ends_with_one_message(
    tak, monkeypatch: pytest.MonkeyPatch, banks: Path, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(banks)
    code, _, err = tak(*arguments)
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
