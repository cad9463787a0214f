"""The catalog in the terminal: by kind, with options and defaults."""

from dataclasses import dataclass

from pipeline.terminal.info_view import show_entries


@dataclass
class Key:
    """A stand-in for an option."""

    name: str = "decay"
    kind: str = "float"
    default: object = None
    required: bool = False
    meaning: str = "Of the teacher."


@dataclass
class Entry:
    """A stand-in for an entry."""

    kind: str
    name: str
    summary: str = "Short."
    options: tuple = ()
    usage: tuple = ()
    origin: str = ""


def test_kinds_are_headings_and_details_follow_on_request(capsys):
    entries = [
        Entry("method", "cps"),
        Entry(
            "method", "tak", options=(Key(), Key("cube", required=True), Key("on", "bool", True))
        ),
        Entry("encoder", "hashing", usage=("hashing:64",)),
    ]
    show_entries(entries, detailed=False)
    short = capsys.readouterr().out
    assert [line for line in short.splitlines() if line and line[0] != " "] == ["method", "encoder"]
    assert "decay" not in short
    show_entries(entries, detailed=True)
    out = capsys.readouterr().out
    for words in ("decay  float; default not set", "cube  float; required", "default true"):
        assert words in out
    assert "hashing:64" in out
