"""Files of the OpenAI Batch format: requests to write, answers to read.

OpenAI's Batch API and `vllm run-batch` take and return the same lines.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge.common.files import write_whole

URL = "/v1/chat/completions"
MOST_BYTES = 16 * 2**20  # of a line, as of a live reply


@dataclass(frozen=True)
class BatchLine:
    """One line of an answer file.

    Attributes:
        place: file and line number.
        key: the `custom_id`; empty if the line has none.
        body: of the response; None if the line holds an error.
        error: why there is no answer.
        damaged: whether the line is cut off or of another format.
    """

    place: str
    key: str
    body: dict[str, Any] | None
    error: str = ""
    damaged: bool = False


def write_requests(path: Path, requests: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """Write `(custom_id, body)` pairs, whole or not at all; gives the size in bytes."""
    lines = [
        json.dumps(
            {"custom_id": key, "method": "POST", "url": URL, "body": body}, ensure_ascii=False
        )
        for key, body in requests
    ]
    content = "".join(f"{line}\n" for line in lines).encode()
    write_whole(path, content)
    return len(content)


def read_lines(path: Path) -> Iterator[BatchLine]:
    """The lines of an answer file or an error file; damaged ones say what is wrong.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        ValueError: it holds requests, or nothing.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, where a file is needed")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    empty = True
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                empty = False
                yield _line(f"{path}:{number}", raw.removeprefix(b"\xef\xbb\xbf"))
    if empty:
        raise ValueError(f"{path} is empty; expected the answers of a batch, a JSON line for each")


def _line(place: str, raw: bytes) -> BatchLine:
    if len(raw) > MOST_BYTES:
        return BatchLine(place, "", None, f"longer than {MOST_BYTES >> 20} MiB", damaged=True)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return BatchLine(place, "", None, f"no JSON (cut off?): {error}", damaged=True)
    key = content.get("custom_id") if isinstance(content, dict) else None
    if not isinstance(key, str) or not key:
        return BatchLine(place, "", None, "no custom_id", damaged=True)
    if "response" not in content and "error" not in content:
        if "method" in content or "url" in content:
            raise ValueError(f"{place} is a request, not an answer; give the file of the answers")
        return BatchLine(place, key, None, "neither response nor error", damaged=True)
    response = content.get("response")
    response = response if isinstance(response, dict) else {}
    body, status = response.get("body"), response.get("status_code", 200)
    failed = bool(content.get("error")) or status != 200
    if isinstance(body, dict) and not failed:
        return BatchLine(place, key, body)
    words = _words(content.get("error")) or _words(body) or "no response"
    return BatchLine(place, key, None, words if status == 200 else f"status {status}: {words}")


def _words(error: Any) -> str:
    """Code and message of an error, on one printable line."""
    if isinstance(error, dict):
        inner = error.get("error")
        if isinstance(inner, dict | str) and inner:
            return _words(inner)
        parts = [str(error[name]) for name in ("code", "message") if error.get(name)]
        error = ", ".join(dict.fromkeys(parts)) or json.dumps(error)
    line = "".join(
        letter if letter.isprintable() else "?" for letter in " ".join(str(error or "").split())
    )
    return line if len(line) <= 300 else f"{line[:297]}..."
