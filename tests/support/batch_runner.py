"""A program that answers a batch file as `vllm run-batch -i IN -o OUT` does, by a chat server.

    python -m tests.support.batch_runner IN.jsonl OUT.jsonl http://127.0.0.1:PORT

Every request is sent to the server under its own address; a refused one becomes a line with the
status and the error, as OpenAI's error file has it.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path


def answer(line: str, server: str) -> dict:
    """The answer line of a request line."""
    request = json.loads(line)
    assert set(request) == {"custom_id", "method", "url", "body"}
    post = urllib.request.Request(
        server + request["url"],
        json.dumps(request["body"]).encode(),
        {"Content-Type": "application/json"},
        method=request["method"],
    )
    try:
        with urllib.request.urlopen(post, timeout=30) as reply:
            status, body = reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        status, body = error.code, json.loads(error.read())
        error.close()
    return {
        "id": f"batch_req_{request['custom_id'][:8]}",
        "custom_id": request["custom_id"],
        "response": {"status_code": status, "request_id": "r", "body": body},
        "error": None,
    }


def run(requests: Path, answers: Path, server: str) -> None:
    """Answer every line of a file."""
    lines = [answer(line, server) for line in requests.read_text(encoding="utf-8").splitlines()]
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
