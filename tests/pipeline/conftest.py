"""What several tests of the pipeline share."""

import json
import sys

import pytest

from pipeline.cli import main


@pytest.fixture
def tak(monkeypatch, capsys):
    """Run `tak` in this process; gives exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tak", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    return run


@pytest.fixture(scope="session")
def small_report(prepared, tmp_path_factory):
    """The folder of a report of a run against a baseline, and what `--json` said of it."""
    import torch
    from typer.testing import CliRunner

    from pipeline.cli import app
    from tests.support.report_material import make_scored_run

    folder = tmp_path_factory.mktemp("report")
    run = make_scored_run(folder / "run", prepared, better=0.05)
    baseline = make_scored_run(folder / "baseline", prepared)
    state = torch.load(baseline / "best.pt", weights_only=True)
    state["config"]["run"]["training"]["rate"] = 0.02  # makes it an arm of its own
    torch.save(state, baseline / "best.pt")
    words = [run, baseline, "--data", prepared.root, "-o", folder / "out", "--json"]
    words += ["--descriptions", run / "descriptions.json"]
    done = CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0
    return folder / "out", json.loads(done.stdout)


@pytest.fixture(scope="session")
def bank(prepared, tmp_path_factory):
    """A bank of random vectors for the classes of the population."""
    from tests.support.small_run import make_bank

    path = tmp_path_factory.mktemp("bank") / "bank.h5"
    make_bank(path, prepared.spec)
    return path


@pytest.fixture(scope="session")
def run(prepared, bank, tmp_path_factory):
    """A finished run of the recipe `demo`, made tiny."""
    from tests.support.command_line import changed, tak

    folder = tmp_path_factory.mktemp("runs") / "tak"
    tak("train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", folder, *changed())
    return folder
