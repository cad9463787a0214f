"""OpenCLIP towers, against OpenCLIP itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch


def test_an_openclip_tower_from_a_weights_file(tmp_path: Path) -> None:
    import open_clip

    from knowledge.encoders.openclip import OpenCLIP

    config = {
        "embed_dim": 6,
        "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 4, "patch_size": 4},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 8,
            "heads": 2,
            "layers": 1,
        },
    }
    (tmp_path / "tiny-test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-test").eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = OpenCLIP.from_argument(f"tiny-test@{tmp_path / 'weights.pt'}", "cpu")
    with torch.no_grad():
        expected = model.encode_text(open_clip.tokenize(["A tube."]))[0].numpy()
    np.testing.assert_allclose(encoder.encode(["A tube."])[0], expected, atol=1e-6)
    assert encoder.token_limit == 77
    assert encoder.count_tokens("A tube.") == 5
    assert encoder.count_tokens("word " * 100) == 102


def test_openclip_never_goes_on_with_random_weights(tmp_path: Path) -> None:
    from knowledge.encoders.openclip import OpenCLIP

    with pytest.raises(ValueError, match=r"which weights.*tags: openai"):
        OpenCLIP.from_argument("ViT-B-32", "cpu")
    with pytest.raises(LookupError, match="no model 'ViT-Z-99'; there is"):
        OpenCLIP.from_argument("ViT-Z-99@openai", "cpu")
    with pytest.raises(OSError, match="cannot load openclip:ViT-B-32@"):
        OpenCLIP.from_argument(f"ViT-B-32@{tmp_path / 'nowhere.pt'}", "cpu")
