"""Digests of weights, and files that are no weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from knowledge.encoders.base.weights import digest_of_weights, load_errors, require_sound_files


def test_a_digest_depends_on_values_and_not_on_names_or_order() -> None:
    one = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(3, 1)})
    other = nn.ModuleDict({"c": one["b"], "d": one["a"]})
    digest = digest_of_weights(one)
    assert digest == digest_of_weights(other)
    assert digest != digest_of_weights(one, without=["a.bias"])
    with torch.no_grad():
        one["a"].bias[0] += 1
    assert digest != digest_of_weights(one)


def test_pointers_and_damaged_files_are_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    require_sound_files(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(OSError, match=r"model\.safetensors is damaged .*: download it again"):
        require_sound_files(tmp_path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(OSError, match="is a git LFS pointer"):
        require_sound_files(path)


def test_whatever_a_library_raises_is_one_printable_line() -> None:
    for error in (KeyError("a\nb"), ValueError("x" * 9999 + "\nmore"), EOFError()):
        expected = pytest.raises(OSError, match="cannot load transformer:x: ")
        with expected as caught, load_errors("transformer:x"):
            raise error
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
