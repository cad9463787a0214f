"""`tak check` and `tak describe --verify`, as users type them."""

import json
from pathlib import Path

from knowledge.bank.bank import Bank
from knowledge.descriptions import DescriptionSet
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe


def test_the_shipped_descriptions_are_true_of_the_phantoms_and_the_bank_says_so(
    tak_here, tmp_path: Path, phantoms: Path
) -> None:
    assert tak_here("describe", "phantom", "-o", "d.json")[0] == 0
    before = (tmp_path / "d.json").read_bytes()
    code, out, _ = tak_here("check", "d.json", "--scans", phantoms, "--report", "r.json")
    assert code == 0
    assert (tmp_path / "d.json").read_bytes() == before
    assert "79 claims on 2 cases: 79 supported, 0 contradicted, 0 untestable" in out
    assert json.loads((tmp_path / "r.json").read_text())["cases"] == [
        "phantom_0000",
        "phantom_0001",
    ]
    assert tak_here("check", "d.json", "--scans", phantoms, "--record")[0] == 0
    assert tak_here("encode", "d.json", "--encoder", "hashing:32")[0] == 0
    origin = Bank.read(tmp_path / "bank.h5").origin
    assert origin["supported_share"] == 1.0
    assert not {"edited", "supported_share_of", "supported_share_independent"} & set(origin)


def test_texts_edited_after_their_answer_and_their_check_are_marked(
    tak_here, tmp_path: Path, phantoms: Path
) -> None:
    assert tak_here("describe", "phantom", "-o", "d.json")[0] == 0
    assert tak_here("check", "d.json", "--scans", phantoms, "--record")[0] == 0
    described = DescriptionSet.read(tmp_path / "d.json")
    assert (described.edited, described.share_mismatch) == ((), False)
    text = described.get("spleen", "shape").text
    content = (tmp_path / "d.json").read_text(encoding="utf-8")
    edited = content.replace(json.dumps(text, ensure_ascii=False), '"Like a fist."')
    (tmp_path / "d.json").write_text(edited, encoding="utf-8")
    code, out, _ = tak_here("check", "d.json", "--scans", phantoms, "--report", "r.json")
    assert code == 0
    assert "edited by hand: spleen, shape" in out
    assert json.loads((tmp_path / "r.json").read_text())["edited"] == ["spleen, shape"]
    code, _, err = tak_here("encode", "d.json", "--encoder", "hashing:32")
    assert code == 0
    assert "caveat: Edited by hand after the answer: spleen, shape." in err
    assert "measured on other texts" in err
    assert "caveat: Edited by hand" in tak_here("bank", "inspect", "bank.h5")[1]
    origin = Bank.read(tmp_path / "bank.h5").origin
    assert origin["edited"] == ["spleen, shape"]
    assert origin["supported_share_of"] == described.digest


def test_exchanged_sides_end_with_exit_code_1(tak_here, tmp_path: Path, phantoms: Path) -> None:
    assert tak_here("describe", "phantom", "-o", "d.json")[0] == 0
    text = (tmp_path / "d.json").read_text().replace('"left_of"', '"@"')
    text = text.replace('"right_of"', '"left_of"').replace('"@"', '"right_of"')
    (tmp_path / "d.json").write_text(text)
    code, out, _ = tak_here(
        "check", "d.json", "--scans", phantoms / "labelsTr", "--descriptor", "phantom"
    )
    assert code == 1
    assert "contradicted" in out
    assert "left and right exchanged: left kidney right_of right kidney" in out


def test_a_live_model_is_corrected_by_labeled_scans(
    tak_here, tmp_path: Path, phantoms: Path
) -> None:
    def mixed_up(body: Body) -> Reply:
        if is_probe(body) or asked_organ(body) != "spleen":
            return good_answer(body)
        relation = "right_of" if len(body["messages"]) < 4 else "left_of"
        claims = [{"relation": relation, "other": "liver"}]
        answer = {"organ": "spleen", "text": f"The spleen lies {relation} the liver."}
        return Reply(json.dumps({**answer, "claims": claims, "attributes": []}))

    with chat_server(mixed_up) as server:
        options = ("--provider", "openai_compatible", "--model", "m", "--base-url", server.url)
        code, _, _ = tak_here(
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
    _, out, _ = tak_here("check", "d.json", "--scans", phantoms, "--report", "r.json", "--record")
    assert "supported share 1.000 (not independent)" in out
    assert "corrected on phantom_0000, phantom_0001" in out
    assert json.loads((tmp_path / "r.json").read_text())["independent"] is False
    assert not DescriptionSet.read(tmp_path / "d.json").supported_share_independent
