"""`tak describe`, `tak encode`, `tak bank`: what a user types, sees and gets as files."""

import sys
from pathlib import Path

import pytest
from chat_server import Reply, chat_server

from knowledge.bank import Bank
from knowledge.description import DescriptionSet
from pipeline.cli import main

ROOT = Path(__file__).parents[2]


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
    assert "at most $" in out
    assert not list(tmp_path.iterdir())


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
        (("describe", "amos", "--answers", "x.json"), "there is no file x.json"),
        (("encode", "x.json"), "there is no file x.json"),
        (("bank", "inspect", "x.h5"), "there is no bank x.h5"),
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
    assert "spent before the end: 88 calls" in err
    assert not (tmp_path / "d.json").exists()


def test_a_misspelled_key_in_a_template_is_named(tak, tmp_path: Path) -> None:
    text = (ROOT / "prompts" / "paper.toml").read_text().replace("system =", "sistem =")
    (tmp_path / "mine.toml").write_text(text)
    code, _, err = tak("describe", "phantom", "--template", "mine.toml")
    assert code == 1
    assert "error: mine.toml: unknown key 'sistem'" in err
