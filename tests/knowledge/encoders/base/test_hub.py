"""The hub of text encoders: asked once, earlier downloads when it does not answer."""

import os
import socket

import pytest
from huggingface_hub import constants

from knowledge.encoders.base import hub
from pipeline.texts.encoders import make_encoder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache, online, and no proxy; what a test switches is put back."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def closed(monkeypatch):
    """A hub at a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    return address


def download(cache, owner, name):
    """A repository as `huggingface_hub` keeps it after a download."""
    folder = cache / f"models--{owner}--{name}"
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40) / "config.json").write_text("{}")


def test_a_port_that_listens_answers_and_a_closed_one_does_not(monkeypatch, closed):
    assert not hub.answers()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        assert hub.answers()


def test_a_proxy_is_asked_in_place_of_the_hub(monkeypatch, closed):
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.answers()
    monkeypatch.setenv("http_proxy", closed)
    assert not hub.answers()


@pytest.mark.parametrize(
    "spec",
    ["openclip:ViT-B-32@openai", "openclip:hf-hub:a/b", "transformer:a/b@mean", "transformer:a"],
)
def test_offline_without_a_download_local_ways_are_named_at_once(closed, spec):
    with pytest.raises(OSError, match="cannot be reached") as caught:
        make_encoder(spec)
    for way in (spec, closed, "transformer:FOLDER", "transformer:package/", "openclip:MODEL@FILE"):
        assert way in str(caught.value)


def test_offline_an_earlier_download_is_tried_without_waiting(closed, cache):
    download(cache, "a", "b")
    hub.use_hub("a/b")
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert constants.HF_HUB_OFFLINE
    assert hub.is_downloaded("b")
    with pytest.raises(OSError, match="c/d was not downloaded before"):
        hub.use_hub("c/d")


def test_offline_mode_of_the_user_asks_nobody(monkeypatch, cache):
    download(cache, "a", "b")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "answers", lambda: pytest.fail("asked the hub"))
    hub.use_hub("a/b")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("transformer:./weights", FileNotFoundError, "there is no folder ./weights"),
        ("transformer:/nowhere/model", FileNotFoundError, "there is no folder /nowhere/model"),
        ("transformer:a/b/c", FileNotFoundError, "there is no folder a/b/c"),
        ("transformer:", ValueError, "names no model; expected transformer:OWNER/NAME"),
        ("transformer:a/b@", ValueError, "nothing after @"),
        ("transformer:a/b@prompt=", ValueError, "nothing after @"),
        ("transformer:a/b@median", LookupError, "no pooling 'median'; there is mean"),
        ("transformer:package/a b", ValueError, "'a b' is no name of a Python package"),
        ("openclip:", ValueError, "names no model"),
        ("openclip:ViT-B-32", ValueError, "which weights"),
        ("openclip:ViT-B-23@openai", LookupError, "did you mean ViT-B-32"),
        ("openclip:ViT-B-32@nowhere.pt", FileNotFoundError, "neither a file nor a tag"),
        ("openclip:hf-hub:a b", ValueError, "expected openclip:hf-hub:OWNER/NAME, got 'a b'"),
        ("openclip:local-dir:", FileNotFoundError, "there is no folder ''"),
        ("hashing:0", ValueError, "expected a width of 1 to 65536, got 0"),
        ("hashing:x", ValueError, "expected a width such as 512, got 'x'"),
        ("hashing:99999999999999999999", ValueError, "expected a width of 1 to 65536"),
    ],
)
def test_a_malformed_spec_is_said_to_be_so_before_the_hub_is_asked(
    monkeypatch, spec, error, message
):
    monkeypatch.setattr(hub, "answers", lambda: pytest.fail("asked the hub"))
    with pytest.raises(error, match=message):
        make_encoder(spec)


def test_folders_packages_and_weight_files_need_no_hub(tmp_path):
    from knowledge.encoders.hashing import Hashing
    from knowledge.encoders.openclip import OpenCLIP
    from knowledge.encoders.transformer import Transformer

    (tmp_path / "w.pt").write_bytes(b"")
    assert Transformer.hub_repository(f"{tmp_path}@cls") is None
    assert Transformer.hub_repository("package/x") is None
    assert Transformer.hub_repository("a/b@prompt=document") == "a/b"
    assert OpenCLIP.hub_repository(f"ViT-B-32@{tmp_path / 'w.pt'}") is None
    assert OpenCLIP.hub_repository(f"local-dir:{tmp_path}") is None
    assert OpenCLIP.hub_repository("hf-hub:a/b") == "a/b"
    assert OpenCLIP.hub_repository("ViT-B-32@openai") == "timm/vit_base_patch32_clip_224.openai"
    assert Hashing.hub_repository("64") is None
