"""Running studies: in this process with a record of what ran, or as a command."""

import csv
import os
import subprocess
import sys

from pipeline.experiments.results.study_results import collect
from pipeline.experiments.results.writing import write_results
from tests.support.paths import ROOT


class Recorder:
    """Which stages ran, in order."""

    def __init__(self):
        self.kinds, self.errors, self.again = [], [], []

    def started(self, stage):
        self.kinds.append(stage.kind)

    def ended(self, stage, outcome):
        if outcome.code:
            self.errors.append(outcome.error)

    def reused(self, stage):
        self.again.append(stage.kind)


def tak_study(path, *words, cwd, preexec_fn=None, **environment):
    """Start `tak study` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "study", str(path), *map(str, words)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )


def table(folder, planned, store):
    """The rows of `runs.csv` without times and places."""
    write_results(collect(planned, store), planned, store, folder / "out")
    with (folder / "out" / "runs.csv").open() as file:
        return [
            {key: value for key, value in row.items() if key not in ("minutes", "folder")}
            for row in csv.DictReader(file)
        ]
