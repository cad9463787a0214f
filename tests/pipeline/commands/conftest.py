"""Fixtures that several tests of commands use."""

import sys
from pathlib import Path

import pytest

from pipeline.cli import main


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small population on disk."""
    from pipeline.files import shipped
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.phantom.population import Population, make_population

    folder = tmp_path_factory.mktemp("phantoms")
    population = Population(labeled=2, unlabeled=1, validation=1, test=0, spacing_mm=7.0)
    make_population(DatasetSpec.read(shipped.find("data", "phantom")), folder, population)
    return folder


@pytest.fixture
def tak_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
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
