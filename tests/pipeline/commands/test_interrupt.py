"""Ctrl-C and SIGTERM while a model is asked: the end comes at once, and no answer is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.chat_server import Body, Reply, asked_organ, chat_server, good_answer, is_probe
from tests.support.paths import ROOT
from tests.support.processes import wait_until


@pytest.mark.skipif(os.name != "posix", reason="SIGINT as a terminal sends it")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_at_once_keeps_answers_and_the_next_run_asks_for_the_rest(
    number: int, code: int, tmp_path: Path
) -> None:
    patient = False

    def behave(body: Body) -> Reply:
        reply = good_answer(body)
        slow = not is_probe(body) and asked_organ(body) in ("hub", "rim")
        reply.delay_seconds = 60.0 if slow and not patient else 0.0
        return reply

    (tmp_path / "wheel.toml").write_text('organs = ["axle", "hub", "rim"]')
    with chat_server(behave) as server:
        command = [sys.executable, "-m", "pipeline", "describe", "wheel.toml", "-o", "d.json"]
        command += ["--provider", "openai_compatible", "--model", "m", "--cache", "c"]
        command += ["--base-url", server.url, "--concurrency", "3"]
        where = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
        # A script that runs in the background ignores SIGINT, and so would all that it starts.
        where["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **where)
        # Background and axle are answered twice each; three slow calls are under way.
        wait_until(lambda: len(list((tmp_path / "c").rglob("??/*.json"))) == 4)
        wait_until(lambda: len(server.questions) == 7)
        start = time.monotonic()
        run.send_signal(number)
        _, err = run.communicate(timeout=30)
        assert time.monotonic() - start < 10
        assert run.returncode == code
        assert re.fullmatch(
            r"stopped; 5 calls, 600 tokens, cost unknown spent, besides calls in progress; valid "
            r"answers are kept in c, and the same command asks only for the rest\n",
            err.decode(),
        )
        files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) == 6  # the organ list, four answers, what the server can do
        assert not [name for name in files if name.startswith(".")]
        before, patient = len(server.questions), True
        subprocess.run(command, check=True, capture_output=True, **where)
        assert len(server.questions) == before + 4
    made = json.loads((tmp_path / "d.json").read_text())
    assert made["totals"]["calls"] == 9
