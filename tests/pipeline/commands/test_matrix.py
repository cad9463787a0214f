"""`tak matrix`: its table in the terminal."""

from pathlib import Path

from typer import Typer
from typer.testing import CliRunner

from pipeline.commands.matrix import matrix

OFFLINE = """
organs = "phantom"
templates = ["paper", "detailed", "terse", "class-name", "scan-of"]
encoder = "hashing:64"
models = [{ name = "shipped", provider = "recorded" }]
"""


def test_the_printed_table_reads_at_80_columns(tmp_path: Path, monkeypatch) -> None:
    app = Typer()
    app.command()(matrix)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "matrix.toml").write_text(OFFLINE)
    done = CliRunner().invoke(app, [str(tmp_path / "matrix.toml")])
    assert done.exit_code == 0, done.exception
    table = [line for line in done.output.splitlines() if line.startswith(("│", "┃"))]
    assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)
    for name in ("paper,", "class-name,", "scan-of, none", "mean cosine"):
        assert name in done.output
