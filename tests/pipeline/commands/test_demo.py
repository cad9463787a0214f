"""The demonstration from a wheel, in a folder that knows nothing of this checkout."""

import csv
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.commands import demo
from tests.support.paths import ROOT

SHORT = ("training.steps=6", "training.warmup_steps=3", "training.validate_every=6")


def run(*command, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, ROOT, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment that holds the wheel; dependencies are taken from this one, code is not."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    inner = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    outer = sysconfig.get_path("purelib")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index",
        wheel, cwd=folder)  # fmt: skip
    (Path(inner.strip()) / "dependencies.pth").write_text(outer + "\n")
    where = run(python, "-c", "import pipeline; print(pipeline.__file__)", cwd=folder)
    assert where.startswith(str(folder)), "the checkout is imported, not the wheel"
    return folder / "bin" / "tak"


def check(folder, run_name):
    """What the demonstration promises lies there and fits together."""
    result = json.loads((folder / run_name / "evaluation-test.json").read_text())
    assert result["protocol"] == "phantom"
    assert len(result["cases"]) == 4
    with (folder / run_name / "evaluation-test.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4 * 13
    mask = nibabel.load(folder / "mask.nii.gz")
    scan = nibabel.load(folder / "phantoms-demo" / "imagesTs" / "phantom_0014_0000.nii.gz")
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)
    descriptions = json.loads((folder / "descriptions.json").read_text())
    assert "duodenum" in json.dumps(descriptions)
    return result


@pytest.mark.slow
def test_the_wheel_runs_the_demonstration_from_an_empty_folder(installed, tmp_path):
    settings = [word for change in SHORT for word in ("--set", change)]
    printed = run(installed, "demo", "-o", "out", *settings, cwd=tmp_path)
    for verb in (
        "phantom",
        "describe",
        "encode",
        "prepare",
        "train",
        "evaluate",
        "predict",
        "report",
    ):
        assert re.search(rf"^\$ \S*tak {verb} ", printed, re.MULTILINE)
    check(tmp_path / "out", "run-demo-0")
    assert (tmp_path / "out" / "report" / "report.html").is_file()
    again = run(installed, "demo", "-o", "out", *settings, cwd=tmp_path)
    assert again.startswith("Nothing is new")
    assert "$ " not in again


def test_only_the_same_finished_demonstration_is_not_run_again(tak, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(demo, "_run", lambda context, command: ran.append(command[0]))

    def verbs(*words):
        ran.clear()
        code, _, err = tak("demo", "-o", tmp_path, *words)
        assert code == 0, err
        return ran

    everything = [
        "phantom",
        "describe",
        "encode",
        "prepare",
        "train",
        "evaluate",
        "predict",
        "report",
    ]
    products = ("report/report.html", "run-demo-0/evaluation-test.csv", "mask.nii.gz",
                "descriptions.json")  # fmt: skip
    for name in products:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert verbs() == everything
    (tmp_path / "run-demo-0" / "last.pt").touch()  # --resume is no other command
    assert verbs() == []
    assert verbs("--seed", "1") == everything
    assert verbs() == everything  # the mask is of seed 1
    assert verbs() == []
    assert verbs("--set", "training.rate=0.1") == everything
    (tmp_path / "mask.nii.gz").unlink()
    assert verbs("--set", "training.rate=0.1") == everything


def test_the_wheel_holds_prompts_data_and_recipes(wheel):
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    for part in ("pipeline/prompts/", "pipeline/data/", "pipeline/recipes/"):
        assert any(name.startswith(part) and name.endswith(".toml") for name in names), part
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.slow
def test_the_demonstration_reaches_its_goal_in_its_time(tmp_path):
    import resource
    import time

    begin = time.monotonic()
    run(sys.executable, "-m", "pipeline", "demo", "-o", "out", cwd=tmp_path)
    assert time.monotonic() - begin < 300
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 6 * 2**20  # KiB
    assert check(tmp_path / "out", "run-demo-0")["means"]["all"]["dice"]["mean"] > 0.45


@pytest.mark.slow
@pytest.mark.network
def test_a_wheel_installs_with_its_dependencies_into_an_empty_environment(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    pip = tmp_path / "env" / "bin" / "pip"
    run(pip, "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}[demo]", cwd=tmp_path)
    tak = tmp_path / "env" / "bin" / "tak"
    settings = [word for change in SHORT for word in ("--set", change)]
    run(tak, "demo", "-o", "out", *settings, cwd=tmp_path)
    check(tmp_path / "out", "run-demo-0")
