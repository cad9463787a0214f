"""The hub of text encoders: asked once, left alone when it does not answer."""

import os
import socket

import pytest

from knowledge.encoders.base import hub


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No cache of downloads, and none of the settings that the machine may have."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ENDPOINT", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def closed():
    """The address of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_port_that_listens_answers_and_a_closed_one_does_not(monkeypatch, closed):
    monkeypatch.setenv("HF_ENDPOINT", closed)
    assert not hub.answers()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.answers()


def test_a_proxy_stands_for_the_hub(monkeypatch, closed):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.answers()
    monkeypatch.setenv("http_proxy", closed)
    assert not hub.answers()


@pytest.mark.parametrize(
    ("encoder", "argument"),
    [("openclip", "ViT-B-32@openai"), ("openclip", "hf-hub:a/b"), ("transformer", "a/b@mean")],
)
def test_without_network_and_downloads_the_ways_are_named_at_once(
    monkeypatch, closed, encoder, argument
):
    monkeypatch.setenv("HF_ENDPOINT", closed)
    with pytest.raises(OSError, match="cannot be reached") as told:
        hub.use_hub(encoder, argument)
    for way in ("transformer:FOLDER", "transformer:package/", "openclip:MODEL@FILE", "hashing:"):
        assert way in str(told.value)
    os.environ.pop("HF_HUB_OFFLINE")


def test_earlier_downloads_are_tried_without_waiting(monkeypatch, closed, alone):
    monkeypatch.setenv("HF_ENDPOINT", closed)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # so that it is put back afterwards
    monkeypatch.delenv("HF_HUB_OFFLINE")
    (alone / "hf" / "hub" / "models--a--b" / "snapshots" / "1").mkdir(parents=True)
    assert hub.use_hub("transformer", "a/b")
    assert os.environ.pop("HF_HUB_OFFLINE") == "1"


@pytest.mark.parametrize(
    ("encoder", "argument"),
    [("hashing", "64"), ("openclip", "local-dir:weights"), ("transformer", "package/x")],
)
def test_weights_that_are_here_ask_nobody(monkeypatch, encoder, argument):
    monkeypatch.setattr(hub, "answers", lambda: pytest.fail("asked the hub"))
    assert not hub.use_hub(encoder, argument)


def test_folders_and_weight_files_ask_nobody(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "answers", lambda: pytest.fail("asked the hub"))
    (tmp_path / "w.pt").write_bytes(b"")
    assert not hub.use_hub("transformer", f"{tmp_path}@cls")
    assert not hub.use_hub("openclip", f"ViT-B-32@{tmp_path / 'w.pt'}")


@pytest.mark.parametrize("path", ["./weights", "/nowhere/model", "a/b/c"])
def test_a_folder_that_is_not_there_is_no_name_on_the_hub(path):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {path}"):
        hub.use_hub("transformer", path)
