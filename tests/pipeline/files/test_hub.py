"""Names on the hub, against a stand-in of its HTTP API; the client is huggingface_hub itself."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from pipeline.files.hub import HubName, local
from pipeline.files.kinds import kind_of
from tests.support.command_line import tak
from tests.support.hub_server import hub_server
from tests.support.paths import ROOT

SAVED = ROOT / "tests" / "support" / "saved"
BANK, BUNDLE = SAVED / "bank.h5", SAVED / "bundle.zip"

# Of the client's own upload.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A running stand-in, a cache and a token for the client of this process."""
    with hub_server() as state:
        files = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", state.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.url + files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # `use_hub` sets it; undone with the test
        monkeypatch.setenv("HF_TOKEN", state.token)
        yield state


def said(*words, ok=True):
    """The output of a command, or its error."""
    done = tak(*words, ok=ok)
    return done.stdout if ok else done.stderr


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:me/organs", ("me/organs", "", None)),
        ("hf:me/organs@v1.0", ("me/organs", "", "v1.0")),
        ("hf:me/organs/banks/terse.h5", ("me/organs", "banks/terse.h5", None)),
        ("hf:me/organs/terse.h5@feature/x", ("me/organs", "terse.h5", "feature/x")),
    ],
)
def test_a_name_has_repository_file_and_revision(text, parts):
    assert HubName.parse(text) == HubName(*parts)


@pytest.mark.parametrize(
    "text", ["hf:", "hf:organs", "hf:/organs", "hf:me/", "hf:me/organs@", "hf:me/organs/../x.h5"]
)
def test_another_form_is_refused(text):
    with pytest.raises(ValueError, match="expected hf:OWNER/NAME"):
        HubName.parse(text)


def test_a_path_stays_a_path():
    assert local(BANK, "bank") is BANK
    with pytest.raises(ValueError, match="expected a bundle"):
        local(BANK, "bundle")


def test_what_is_pushed_can_be_used_by_its_name_also_offline(hub, tmp_path, monkeypatch):
    output = said("push", BANK, "hf:me/organs", "--message", "Texts of May")
    commit, files = hub.commits["me/organs"][-1]
    assert output.endswith(f"use it as hf:me/organs@{commit[:12]}\n")
    assert files["bank.h5"] == BANK.read_bytes()
    card = files["README.md"].decode()
    assert "| encoder |" in card
    assert "## Texts" in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "tak-seg"

    shown = said("bank", "inspect", f"hf:me/organs@{commit}")
    assert shown == said("bank", "inspect", BANK)

    hub.commit("me/organs", {"README.md": b"my own card"})
    assert "README.md was there and stays" in said("push", BANK, "hf:me/organs/second.h5")
    assert hub.commits["me/organs"][-1][1]["README.md"] == b"my own card"
    several = said("bank", "inspect", "hf:me/organs", ok=False)
    assert "expected one file *.h5, got bank.h5, second.h5" in several
    assert said("bank", "inspect", "hf:me/organs/second.h5") == shown

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    assert said("bank", "inspect", f"hf:me/organs@{commit}") == shown
    fault = said("bank", "inspect", "hf:me/others", ok=False)
    assert "cannot be reached" in fault
    assert fault.count("\n") == 1


def test_a_bundle_predicts_by_its_name_and_needs_the_token_where_it_is_private(
    hub, population, tmp_path, monkeypatch
):
    said("push", BUNDLE, "hf:me/model", "--private")
    assert b"tak predict" in hub.commits["me/model"][-1][1]["README.md"]
    (scan, *_) = sorted((population / "imagesTs").glob("*.nii.gz"))
    masks = tmp_path / "by-name.nii.gz", tmp_path / "by-path.nii.gz"
    for model, mask in zip(("hf:me/model", BUNDLE), masks, strict=True):
        said("predict", model, scan, "-o", mask, "--device", "cpu")
    assert masks[0].read_bytes() == masks[1].read_bytes()

    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other"))
    fault = said("bank", "inspect", "hf:me/model", ok=False)
    assert "no such repository, or it is private" in fault
    assert "hf_wrong" not in fault


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("hf:me/nothing", "no such repository"),
        ("hf:me/organs@v9", "no such revision"),
        ("hf:me/organs/other.h5", "no such file"),
        ("hf:me/empty", "expected one file *.h5, got none"),
    ],
)
def test_what_is_not_there_is_one_line(hub, name, fault):
    hub.commit("me/organs", {"bank.h5": BANK.read_bytes(), "README.md": b"text"})
    hub.commit("me/empty", {"README.md": b"text"})
    with pytest.raises((OSError, ValueError)) as caught:
        local(Path(name), "bank")
    assert fault in str(caught.value)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_pushing_needs_a_token_and_a_bank_or_bundle(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "401" in said("push", BANK, "hf:me/organs", ok=False)
    monkeypatch.delenv("HF_TOKEN")
    assert "`hf auth login`" in said("push", BANK, "hf:me/organs", ok=False)
    assert "expected a bank of text vectors or a bundle" in said(
        "push", SAVED / "descriptions.json", "hf:me/x", ok=False
    )
    assert kind_of(BANK) == "bank"
    assert not hub.commits
