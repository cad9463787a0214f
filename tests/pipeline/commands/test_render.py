"""`tak render`, and the pictures in questions of `tak describe`."""

from pathlib import Path

import pytest

import tests.support.renderer  # noqa: F401  (before any picture is drawn)
from tests.support.chat_server import chat_server


def test_renderings_are_made_and_sent(tak_here, tmp_path: Path, phantoms: Path) -> None:
    pytest.importorskip("pyvista")
    code, out, _ = tak_here("render", phantoms, "-o", "pictures", "--size", 64)
    assert code == 0
    assert "56 pictures of case phantom_0000" in out
    with chat_server() as server:
        options = ("--provider", "openai_compatible", "--model", "m", "--base-url", server.url)
        images = ("--images", "multi", "--renderings", "pictures")
        code, _, _ = tak_here(
            "describe", "phantom", *options, *images, "--cache", "c", "-o", "d.json"
        )
        assert code == 0
        assert all(len(body["messages"][-1]["content"]) == 5 for body in server.questions)
    code, _, err = tak_here("describe", "phantom", *images)
    assert code == 1
    assert "recorded answers cannot be combined with pictures" in err
