"""`tak study` on two processes: every stage once, failures apart, nothing lost when killed."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from pipeline.experiments.engines.run_study import Pool, Runner
from pipeline.experiments.planning import plan
from pipeline.experiments.results.study_results import collect
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from pipeline.runs.folder import RunFolder
from tests.support.paths import ROOT
from tests.support.processes import wait_until
from tests.support.study_runs import Recorder, tak_study
from tests.support.tiny_study import TINY_FIXED, write_study

HEAD = 'title = "Tiny"\nseeds = [0, 1]\n'
AXES = '[axes]\nwording = ["paper", "terse"]\nbank = ["text", "shuffled"]\n'


def run(path, store, jobs=2):
    """Run a study in this process; gives its result and what ran."""
    kept, recorder = Store(store), Recorder()
    kept.create()
    result = Runner(plan(Study.read(path), kept), kept, Pool(jobs), recorder).run()
    return result, recorder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study of 2 wordings x 2 banks x 2 seeds: its file, store and output."""
    folder = tmp_path_factory.mktemp("study")
    path = write_study(folder, HEAD, AXES)
    process = tak_study(path, "--jobs", 2, cwd=folder)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    return folder


def copied(finished, folder):
    shutil.copytree(finished, folder / "copy")
    return folder / "copy"


def test_every_cell_is_scored_and_the_tables_add_up(finished):
    content = json.loads((finished / "tiny" / "study.json").read_text())
    assert [arm["arm"] for arm in content["arms"]] == [
        "paper, text", "paper, shuffled", "terse, text", "terse, shuffled",
    ]  # fmt: skip
    assert {arm["runs"] for arm in content["arms"]} == {2}
    assert content["missing"] == {}
    with (finished / "tiny" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {(row["untrained"], os.path.basename(row["folder"])) for row in rows} == {("", "run")}
    mean = sum(float(row["all"]) for row in rows if row["arm"] == "terse, text") / 2
    assert mean == pytest.approx(content["arms"][2]["mean"]["all"], abs=1e-6)
    text = (finished / "tiny" / "study.md").read_text()
    assert content["study_digest"] in text
    page = (finished / "tiny" / "study.html").read_text()
    assert "terse, shuffled" in page
    assert content["study_digest"] in page
    tex = (finished / "tiny" / "study.tex").read_text()
    assert tex.count(r"\\") == 5
    assert r"\toprule" in tex


def test_a_study_that_is_done_runs_nothing_again(finished):
    result, ran = run(finished / "tiny.toml", finished / "store")
    assert (result.made, ran.kinds, result.failed) == (0, [], {})


def test_another_study_reuses_what_it_shares(finished, tmp_path):
    folder = copied(finished, tmp_path)
    tail = AXES.replace('"text", "shuffled"', '"text", "onehot"').replace('"paper", ', "")
    path = write_study(tmp_path, HEAD, tail)
    _, ran = run(path, folder / "store")
    assert sorted(ran.kinds) == ["control", "evaluate", "evaluate", "train", "train"]


def test_a_damaged_stage_is_made_again_with_the_same_result(finished, tmp_path):
    folder = copied(finished, tmp_path)
    store = Store(folder / "store")
    planned = plan(Study.read(folder / "tiny.toml"), store)
    banks = [stage for stage in planned.stages if stage.kind == "encode"]
    before = store.product(banks[0]).read_bytes()
    store.product(banks[0]).write_bytes(before[:-10])
    _, ran = run(folder / "tiny.toml", folder / "store")
    assert ran.kinds == ["encode"]
    assert store.product(banks[0]).read_bytes() == before


def test_a_failing_cell_does_not_stop_the_others_and_is_tried_again(tmp_path):
    answers = tmp_path / "answers.json"
    answers.write_text("{}")
    tail = '[[arms]]\nname = "good"\n[[arms]]\nname = "bad"\nanswers = "answers.json"\n'
    path = write_study(tmp_path, tail=tail)
    result, ran = run(path, tmp_path / "store")
    assert len(result.failed) == 1
    assert "answers.json" in ran.errors[0]
    assert [stage.kind for stage in result.blocked] == ["encode", "train", "evaluate"]
    assert ran.kinds.count("evaluate") == 1
    _, again = run(path, tmp_path / "store")
    assert again.kinds == ["describe"], "the failed one alone"


@pytest.mark.slow
def test_checkpoints_of_scored_runs_may_be_deleted(finished, tmp_path):
    folder = copied(finished, tmp_path)
    for checkpoint in (folder / "store").rglob("*.pt"):
        checkpoint.unlink()
    shutil.rmtree(next((folder / "store" / "prepare").glob("*[!k]")))
    result, recorder = run(folder / "tiny.toml", folder / "store")
    assert (recorder.kinds, result.made) == ([], 0)
    evaluated = next(path for path in (folder / "store" / "evaluate").iterdir() if path.is_dir())
    shutil.rmtree(evaluated)
    _, recorder = run(folder / "tiny.toml", folder / "store")
    assert sorted(recorder.kinds) == ["evaluate", "prepare", "train"]


@pytest.mark.slow
def test_a_finished_training_is_scored_before_the_next_one_starts(tmp_path):
    path = write_study(tmp_path, HEAD)
    result, recorder = run(path, tmp_path / "store", jobs=1)
    assert not result.failed
    assert recorder.kinds[-4:] == ["train", "evaluate", "train", "evaluate"]


@pytest.mark.slow
def test_stages_of_some_kinds_can_be_made_alone_and_the_rest_elsewhere(tmp_path):
    path = write_study(tmp_path, HEAD, '[axes]\nbank = ["text", "shuffled"]\n')
    process = tak_study(path, "--only", "control", "--jobs", 1, cwd=tmp_path)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    kept = Store(tmp_path / "store")
    planned = plan(Study.read(path), kept)
    done = {stage.kind for stage in planned.stages if planned.states[stage.key] == "done"}
    assert done == {"describe", "encode", "control"}
    wrong = tak_study(path, "--only", "encoder", cwd=tmp_path)
    _, errors = wrong.communicate(timeout=60)
    assert wrong.returncode == 1
    assert "--only: no stage 'encoder'" in errors
    assert "encode" in errors


@pytest.mark.slow
def test_contradicted_claims_are_a_result_and_not_a_failure(tmp_path):
    shipped = (ROOT / "data" / "answers" / "terse.json").read_text(encoding="utf-8")
    turned = shipped.replace('"left_of"', '"?"').replace('"right_of"', '"left_of"')
    (tmp_path / "turned.json").write_text(turned.replace('"?"', '"right_of"'), encoding="utf-8")
    tail = '[[arms]]\nname = "turned"\nwording = "terse"\nanswers = "turned.json"\n'
    path = write_study(tmp_path, 'title = "Turned"\ncheck = true\n', tail)
    result, _ = run(path, tmp_path / "store")
    assert not result.failed
    store = Store(tmp_path / "store")
    (run_of_arm,) = collect(plan(Study.read(path), store), store).scores.runs
    assert 0 < run_of_arm.supported < 0.9


def training_pids(store):
    """Processes of workers, by their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    command = file.read().split(b"\0")
                cwd = os.readlink(f"/proc/{entry}/cwd")
            except OSError:
                continue
            if b"pipeline.worker" in command and cwd == str(store.parent):
                found.append(int(entry))
    return found


LONG = TINY_FIXED.replace('"training.steps" = 6', '"training.steps" = 60')


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_worker_fails_its_stage_alone_and_the_next_run_resumes_it(tmp_path):
    path = write_study(tmp_path, fixed=LONG)
    store = tmp_path / "store"
    process = tak_study(path, "--jobs", 1, cwd=tmp_path)
    wait_until(lambda: list(store.glob("train/*/run/last.pt")))
    (worker,) = training_pids(store)
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the process died (SIGKILL)" in errors
    assert "Traceback" not in errors
    again = tak_study(path, "--jobs", 1, cwd=tmp_path)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    log = next(store.glob("train/*/log.txt")).read_text()
    assert log.count("$ tak train") == 2
    assert "--resume" in log


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_saves_what_runs_and_the_same_command_continues(tmp_path):
    path = write_study(tmp_path, fixed=LONG)
    store = tmp_path / "store"
    process = tak_study(path, "--jobs", 1, cwd=tmp_path, preexec_fn=_default_sigint)
    wait_until(lambda: list(store.glob("train/*/run/last.pt")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "the same command continues" in errors
    assert "Traceback" not in errors
    result, ran = run(path, store, jobs=1)
    assert ran.kinds == ["train", "evaluate"]
    assert not result.failed


def _default_sigint():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
def test_two_studies_at_once_compute_every_stage_once(tmp_path):
    path = write_study(tmp_path)
    both = [tak_study(path, "--jobs", 1, "-o", f"out{i}", cwd=tmp_path) for i in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    for log in (tmp_path / "store").glob("*/*/log.txt"):
        assert log.read_text().count("$ tak") == 1, log
    first, second = ((tmp_path / f"out{i}" / "runs.csv").read_text() for i in range(2))
    assert first == second


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_plan_of_a_thousand_finished_cells_is_quick_and_small(tmp_path):
    seeds = list(range(250))
    path = write_study(tmp_path, f'title = "Large"\nseeds = {seeds}\n', AXES)
    store = Store(tmp_path / "store")
    store.create()
    planned = plan(Study.read(path), store)
    assert len(planned.cells) == 1000
    for stage in planned.stages:
        store.folder(stage).mkdir(parents=True)
        if stage.product.endswith((".h5", ".json")):
            store.product(stage).write_text("{}")
        else:
            store.product(stage).mkdir()
            for number in range(12 if stage.kind == "train" else 4):
                (store.product(stage) / f"file{number}").write_text("content")
        store.finish(stage, 1.0, None)
    code = (
        "import sys, time; from pipeline.cli import main; sys.argv[0] = 'tak'\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "status = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]\n"
        "print(int(status) // 1024, 'torch' in sys.modules, time.process_time())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "study", path, "--plan", "--store", store.root],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "no training to run" in done.stdout
    mib, torch, seconds = done.stdout.splitlines()[-1].split()
    assert torch == "False"
    assert int(mib) < 300
    assert float(seconds) < 3, "of the processor, which a busy machine does not stretch"


@pytest.mark.slow
def test_a_study_waits_for_the_training_of_one_that_was_killed(tmp_path):
    path = write_study(tmp_path)
    store = Store(tmp_path / "store")
    store.create()
    stage = next(each for each in plan(Study.read(path), store).stages if each.kind == "train")
    with RunFolder(store.product(stage)).lock():
        process = tak_study(path, "--jobs", 1, cwd=tmp_path)
        log = store.log(stage)
        wait_until(lambda: log.is_file() and log.read_text().count("$ tak train") > 1, seconds=120)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
