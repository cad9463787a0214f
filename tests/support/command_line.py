"""`tak` as a user calls it, and the changes that make the recipe `demo` a run of seconds."""

import contextlib
import io
import subprocess
import sys
from unittest import mock

from typer.testing import CliRunner

from pipeline.cli import app, main

TINY = (
    "network.width=4", "network.levels=3", "training.patch=[16, 16, 16]", "method.cube=8",
    "method.location_hidden=16", "training.steps=6", "training.warmup_steps=2",
    "training.validate_every=3", "training.checkpoint_every=2", "training.log_every=1",
)  # fmt: skip


def tak(*words, ok=True):
    """Run `tak` in this process up to its exit code: seconds faster than a process of its own."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["tak", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    done = subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done


def tak_here(*words):
    """Run `tak` within this process, which saves the start."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)


def changed(*changes):
    """The words of a command that make the recipe `demo` tiny, and change it further."""
    return [word for change in (*TINY, *changes) for word in ("--set", change)]
