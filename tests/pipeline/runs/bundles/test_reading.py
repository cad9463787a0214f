import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from pipeline.runs.bundles import reading, writing
from segmentation.data.descriptor import DatasetSpec
from tests.support.paths import DATA
from tests.support.small_run import make_run

CPU = torch.device("cpu")
SPEC = DatasetSpec.read(DATA / "phantom.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("bundle") / "run", SPEC)


@pytest.fixture
def packed(run, tmp_path) -> Path:
    writing.write(run, tmp_path / "model.zip")
    return tmp_path / "model.zip"


def changed(packed: Path, name: str, content: bytes | None) -> Path:
    """The bundle with one file replaced, or without it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
        if content is not None:
            new.writestr(name, content)
    packed.write_bytes(buffer.getvalue())
    return packed


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("name", [reading.WEIGHTS, reading.METADATA])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", pickle.dumps(Bomb())])
def test_an_altered_bundle_is_refused_and_executes_nothing(
    packed, name, content, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"model\.zip: ") as fault:
        reading.read(changed(packed, name, content), CPU)
    assert "\n" not in str(fault.value)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("key", ["run", "dataset", "step", "predictor"])
def test_metadata_that_lack_a_key_are_refused(packed, key):
    metadata = reading.read_metadata(packed)
    del metadata[key]
    with pytest.raises(ValueError, match="damaged or altered"):
        reading.read(changed(packed, reading.METADATA, json.dumps(metadata).encode()), CPU)


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_truncated_bundle_is_refused(packed, kept):
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match="damaged, cut short or no ZIP file"):
        reading.read(packed, CPU)


def test_a_bundle_of_a_newer_version_says_so(packed):
    metadata = reading.read_metadata(packed) | {"tak_format_version": 99}
    with pytest.raises(ValueError, match="format 99; this program reads formats 1 to 2"):
        reading.read(changed(packed, reading.METADATA, json.dumps(metadata).encode()), CPU)


def test_nested_metadata_and_metadata_of_other_types_are_refused(packed):
    for content in (b"[" * 100_000, b'{"tak_format_version": 2, "run": [], "step": []}'):
        with pytest.raises(ValueError, match=r"model\.zip: ") as fault:
            reading.read(changed(packed, reading.METADATA, content), CPU)
        assert len(str(fault.value)) < 500


def test_a_bomb_is_not_unpacked(packed):
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(2**26 + 1))
    with pytest.raises(ValueError, match="bomb would unpack to 64 MiB"):
        reading.read_member(packed, "bomb")


def test_weights_that_are_not_finite_are_named(packed):
    weights = load_tensors(reading.read_member(packed, reading.WEIGHTS))
    weights["head.controller.bias"][3] = float("nan")
    content = save_tensors(weights)
    metadata = reading.read_metadata(packed)
    metadata["weights_sha256"] = hashlib.sha256(content).hexdigest()
    changed(packed, reading.WEIGHTS, content)
    changed(packed, reading.METADATA, json.dumps(metadata).encode())
    with pytest.raises(ValueError, match=r"NaN or infinite, first head\.controller\.bias"):
        reading.read(packed, CPU)
