"""What the terminal shows of a run that goes on: every validation once."""

import json

from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.terminal import live_table as live
from segmentation.training.log import LOG

RECIPE = """
title = "tiny"
method = {name = "supervised"}
loss = {name = "dice_ce"}
[network]
width = 4
levels = 3
[training]
steps = 2
patch = [8, 8, 8]
labeled_per_step = 1
unlabeled_per_step = 0
validate_every = 1
checkpoint_every = 1
log_every = 1
[inference]
overlap = 0.0
"""


def test_validations_that_a_resume_drops_are_not_in_the_trend(prepared, tmp_path, monkeypatch):
    """Killed in step 2, a run goes on from step 1, and validates at 2 again."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    words = ["train", str(prepared.root), "--recipe", str(tmp_path / "tiny.toml")]
    words += ["-o", str(tmp_path / "run")]
    run = tmp_path / "run"

    def killed(self, name):
        original(self, name)
        if name == "last.pt":
            raise KeyboardInterrupt

    from segmentation.training.trainer import Trainer

    original = Trainer._save
    monkeypatch.setattr(Trainer, "_save", killed)
    CliRunner().invoke(app, words)
    monkeypatch.setattr(Trainer, "_save", original)
    with (run / LOG).open("a") as log:
        lost = {"step": 2, "validation": {"student": 0.5}, "organs": {"student": {"liver": 0.5}}}
        log.write(json.dumps(lost) + "\n")
    watchers = []
    real = live.Watcher

    def watcher(*given):
        watchers.append(real(*given))
        return watchers[-1]

    monkeypatch.setattr(live, "Watcher", watcher)
    done = CliRunner().invoke(app, [*words, "--resume"])
    assert done.exit_code == 0, done.output
    (seen,) = watchers
    assert [step for step, _ in seen.status.means] == [1, 2]
