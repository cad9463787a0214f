"""README and docs: every code block runs or says why not, every command and every link exists.

A block is run unless an HTML comment before it says why it is not:

    <!-- not run: needs a key -->

`tak` commands are parsed in any case, so that a command or an option that no longer exists fails.
Blocks of one page run in order, in a folder that holds `prepared/`, `phantoms/`, `runs/tak`,
`runs/magicnet`, `bank.h5`, `descriptions.json` and `ct.nii.gz`.
"""

import json
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import app
from tests.support.paths import ROOT

SAVED = ROOT / "tests" / "support" / "saved"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUN = {"sh", "python"}


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    reason: str | None
    line: int

    @property
    def commands(self):
        """The `tak` commands of a shell block, as lists of words."""
        lines = self.code.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [line[1:] for line in words if line and line[0] == "tak"]


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["language"],
            match["code"],
            match["reason"],
            text[: match.start()].count("\n") + 1,
        )
        for match in FENCE.finditer(text)
    ]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture
def workspace(tmp_path, monkeypatch, population):
    """The folder in which the blocks of a page run."""
    shutil.copytree(SAVED / "prepared", tmp_path / "prepared")
    shutil.copytree(population, tmp_path / "phantoms")
    for run in ("tak", "magicnet"):
        shutil.copytree(SAVED / "run", tmp_path / "runs" / run)
    for file in ("bank.h5", "descriptions.json"):
        shutil.copy(SAVED / file, tmp_path)
    scan = next((population / "imagesTs").glob("*.nii.gz"))
    shutil.copy(scan, tmp_path / "ct.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_blocks_run(page, workspace):
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        if block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "python":
            program = compile(block.code, where, "exec")
            if block.reason is None:
                exec(program, {"__name__": "__main__"})
        elif block.language == "sh" and block.reason is None:
            runs = [line for line in block.code.splitlines() if line and not line.startswith("#")]
            assert runs, f"{where}: an empty block"
            for words in block.commands:
                done = CliRunner().invoke(app, words)
                assert done.exit_code == 0, f"{where}: tak {shlex.join(words)}\n{done.output}"
            others = [line for line in runs if not line.startswith(("tak ", " ", "}", ")"))]
            assert not others, f"{where}: only tak commands are run, not {others[0]!r}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page):
    group = typer.main.get_command(app)
    for block in blocks(page):
        for words in block.commands if block.language == "sh" else ():
            command, rest = group, list(words)
            try:
                while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
                    label = rest.pop(0)
                    if label not in command.commands:
                        raise LookupError(f"no command {label!r}")
                    command = command.commands[label]
                command.make_context("tak", rest)
            except (Exception, SystemExit) as error:
                message = getattr(error, "message", str(error))
                if isinstance(error, SystemExit | typer.Exit) and not message.strip("0"):
                    continue  # --help, --version
                pytest.fail(f"{name(page)}:{block.line}: tak {shlex.join(words)}: {message}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{name(page)}: {target}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
